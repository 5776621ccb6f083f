//! Experts, sums of parts, learned positions and sinks: what they compute, and what is refused.

use super::memory::{KvDesc, Memory};
use super::op::Code;
use super::prepared::Prepared;
use super::run::Run;
use super::tests::{NO_LIMITS, Recorder, Rng, buf, busy_platform, kv, w};
use crate::backend::host::Backends;
use crate::error::Result;
use crate::gguf::{Limits, write::Writer};
use crate::store::{Model, Store};
use alloc::sync::Arc;
use alloc::vec::Vec;

const K: u32 = 24;
const M: u32 = 20;
const E: u32 = 5;
const ROWS: u32 = 12;
/// Experts that a row names.
const USED: u32 = 3;

/// Tensors: 0 experts `[E, M, K]`, 1 their biases, 2 experts back `[E, K, M]`, 3 a table `[ROWS, K]`, 4 two sinks, 5 weights of a
/// convolution over three rows of K.
struct Fixture {
    model: Arc<Model>,
    tensors: [Vec<f32>; 6],
}

fn fixture() -> Fixture {
    let mut rng = Rng(23);
    let shapes: [&[u32]; 6] = [&[K, M, E], &[M, E], &[M, K, E], &[K, ROWS], &[2], &[3, K]];
    let mut f = Writer::new();
    let mut names = 0..;
    let tensors = shapes.map(|dims| {
        let floats = rng.floats(dims.iter().product::<u32>() as usize);
        let bytes: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
        let dims: Vec<u64> = dims.iter().map(|&d| d.into()).collect();
        let name = std::format!("t{}", names.next().unwrap());
        f = core::mem::take(&mut f).tensor(&name, &dims, 0, &bytes);
        floats
    });
    let store = Store::new();
    let id = store
        .register_copy(&[&f.bytes()], 5, &Limits::default())
        .unwrap();
    Fixture {
        model: store.open(id).unwrap(),
        tensors,
    }
}

/// Buffers: 0 x, 1 ids, 2 weights, 3 all outputs, 4 sums.
fn memory(backends: &Backends, name: &str) -> Memory {
    let mut m = Memory::new(backends.select(Some(name)).unwrap(), NO_LIMITS);
    let shapes = [(0, K), (26, USED), (0, USED), (0, USED * M), (0, K)];
    for (ty, cols) in shapes {
        m.buffer_create(ty, cols, ROWS).unwrap();
    }
    m.kv_create(KvDesc {
        ty: 0,
        n_head_kv: 2,
        head_dim_k: K / 2,
        head_dim_v: K / 2,
        max_positions: 64,
        group: 0,
        window: 0,
    })
    .unwrap();
    m
}

/// Through the experts and back, then the weighted sum.
fn program() -> Vec<u8> {
    let mut r = Recorder::default();
    let n = r.register(1, ROWS, 0);
    let x = r.value(0, K, n);
    let (ids, weights) = (r.value(26, USED, n), r.value(0, USED, n));
    let (all, back) = (r.value(0, USED * M, n), r.value(0, USED * K, n));
    let sum = r.value(0, K, n);
    for (to, from) in [(x, 0), (ids, 1), (weights, 2)] {
        r.op(Code::Cpy, 0, to, &[buf(from)], &[0, 0, n]);
    }
    r.op(Code::MulMatId, 0, all, &[w(0), x, ids, w(1)], &[]);
    r.op(Code::Cpy, 0, buf(3), &[all], &[0, 0, n]);
    r.op(Code::MulMatId, 0, back, &[w(2), all, ids], &[]);
    r.op(Code::WeightedSum, 0, sum, &[back, weights, ids], &[]);
    r.op(Code::Cpy, 0, buf(4), &[sum], &[0, 0, n]);
    r.bytes()
}

fn run(m: &mut Memory, f: &Fixture, program: &[u8], regs: &[u32]) -> Result<()> {
    let prepared = Arc::new(Prepared::new(program, &f.model, m)?);
    let mut run = Run::new(&prepared, regs, 1, 2, m)?;
    while !run.advance(m, 0)? {}
    Ok(())
}

fn write(m: &mut Memory, buffer: u32, words: &[u32]) {
    let bytes: Vec<u8> = words.iter().flat_map(|x| x.to_le_bytes()).collect();
    m.buffer_write(buffer, 0, &bytes).unwrap();
}

fn read(m: &mut Memory, buffer: u32, n: usize) -> Vec<f32> {
    let mut out = alloc::vec![0; n * 4];
    m.buffer_read(buffer, 0, &mut out).unwrap();
    out.as_chunks::<4>()
        .0
        .iter()
        .map(|&b| f32::from_le_bytes(b))
        .collect()
}

/// Rows that name these experts; returns the outputs of both stacks, for one row or for all at once.
fn through(name: &str, f: &Fixture, x: &[f32], ids: &[u32], weights: &[f32]) -> [Vec<f32>; 2] {
    let backends = Backends::new(&busy_platform()).unwrap();
    let mut m = memory(&backends, name);
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    write(&mut m, 0, &bits(x));
    write(&mut m, 1, ids);
    write(&mut m, 2, &bits(weights));
    let n = ids.len() / USED as usize;
    run(&mut m, f, &program(), &[n as u32]).unwrap();
    [
        read(&mut m, 3, n * (USED * M) as usize),
        read(&mut m, 4, n * K as usize),
    ]
}

#[test]
fn rows_go_through_the_experts_they_name() {
    let f = fixture();
    let [first, bias, second, ..] = &f.tensors;
    let mut rng = Rng(5);
    let x = rng.floats((ROWS * K) as usize);
    let weights = rng.floats((ROWS * USED) as usize);
    // Experts in any order, one of them twice.
    let ids: Vec<u32> = (0..ROWS * USED).map(|i| (i * i + i / 7) % E).collect();
    let (k, m, used) = (K as usize, M as usize, USED as usize);
    let dot = |w: &[f32], x: &[f32]| -> f64 {
        let products = w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x));
        products.sum()
    };
    for name in ["reference", "cpu"] {
        let [all, sums] = through(name, &f, &x, &ids, &weights);
        for (row, x) in x.chunks(k).enumerate() {
            for d in 0..k {
                let mut want = 0.0;
                for slot in 0..used {
                    let e = ids[row * used + slot] as usize;
                    let part = &all[(row * used + slot) * m..][..m];
                    for (j, &got) in part.iter().enumerate() {
                        let w = &first[(e * m + j) * k..][..k];
                        let want = dot(w, x) + f64::from(bias[e * m + j]);
                        assert!((f64::from(got) - want).abs() < 1e-5, "{name} {got} {want}");
                    }
                    let back = dot(&second[(e * k + d) * m..][..m], part);
                    want += f64::from(weights[row * used + slot]) * back;
                }
                let got = f64::from(sums[row * k + d]);
                assert!((got - want).abs() < 2e-4, "{name}: {got} {want}");
            }
            // Rows are independent: alone, each has the same bits.
            let (from, to) = (row * used, (row + 1) * used);
            let [one, sum] = through(name, &f, x, &ids[from..to], &weights[from..to]);
            assert_eq!(one, all[from * m..to * m], "{name} {row}");
            assert_eq!(sum, sums[row * k..(row + 1) * k], "{name} {row}");
        }
    }
}

#[test]
fn an_expert_that_there_is_none_of_fails_the_step() {
    let f = fixture();
    for name in ["reference", "cpu"] {
        let backends = Backends::new(&busy_platform()).unwrap();
        for n in [1, ROWS] {
            for bad in [E, u32::MAX, 1 << 31] {
                let mut m = memory(&backends, name);
                let mut ids = alloc::vec![1; (ROWS * USED) as usize];
                ids[1] = bad;
                write(&mut m, 1, &ids);
                assert!(run(&mut m, &f, &program(), &[n]).is_err(), "{name} {bad}");
                ids[1] = E - 1;
                write(&mut m, 1, &ids);
                assert!(run(&mut m, &f, &program(), &[n]).is_ok(), "{name}");
            }
        }
    }
}

/// Whether a program of these operations over the buffers is refused.
fn refused(f: &Fixture, ops: &[(Code, u32, &[u32], &[u32])]) -> bool {
    let backends = Backends::new(&busy_platform()).unwrap();
    let mut r = Recorder::default();
    for (code, dst, src, params) in ops {
        r.op(*code, 0, *dst, src, params);
    }
    let mut m = memory(&backends, "cpu");
    Prepared::new(&r.bytes(), &f.model, &mut m).is_err()
}

#[test]
fn shapes_are_checked() {
    let f = fixture();
    let id = Code::MulMatId;
    let sum = Code::WeightedSum;
    assert!(!refused(
        &f,
        &[(id, buf(3), &[w(0), buf(0), buf(1), w(1)], &[])]
    ));
    for src in [
        [w(0), buf(2), buf(1), 0],
        [w(0), buf(0), buf(2), 0],
        [w(2), buf(0), buf(1), 0],
        [w(0), buf(0), buf(1), w(0)],
        [w(0), buf(0), buf(1), buf(0)],
        [w(0), buf(0), 0, 0],
        [buf(0), buf(0), buf(1), 0],
    ] {
        assert!(refused(&f, &[(id, buf(3), &src, &[])]), "{src:x?}");
    }
    assert!(refused(&f, &[(id, buf(0), &[w(0), buf(0), buf(1)], &[])]));
    // A sum of one row's parts: 3 of 20 are no 24.
    assert!(refused(
        &f,
        &[(sum, buf(4), &[buf(3), buf(2), buf(1)], &[])]
    ));
    assert!(refused(
        &f,
        &[(sum, buf(3), &[buf(3), buf(2), buf(1)], &[])]
    ));
    let soft = |scale: f32| [scale.to_bits()];
    assert!(!refused(
        &f,
        &[(Code::SoftMax, buf(2), &[buf(2)], &soft(1.0))]
    ));
    assert!(refused(
        &f,
        &[(Code::SoftMax, buf(2), &[buf(2)], &soft(f32::NAN))]
    ));
    // The clamped gate has numbers; the others have none.
    let half = 0.5f32.to_bits();
    let glu = |params: &[u32]| refused(&f, &[(Code::Glu, buf(4), &[buf(4), buf(0)], params)]);
    assert!(!glu(&[7, half, half]));
    assert!(glu(&[2, half]) && glu(&[7, half, f32::INFINITY.to_bits()]) && glu(&[5]));
    // As many sinks as heads.
    let params = [0, 2, 1f32.to_bits()];
    let sinks = |sinks: u32| {
        let src = [buf(0), 0, 0, kv(0), sinks];
        refused(&f, &[(Code::FlashAttnExt, buf(4), &src, &params)])
    };
    let flagged = |window: u32| {
        let mut r = Recorder::default();
        let params = [0, 2, 1f32.to_bits(), window];
        let src = [buf(0), 0, 0, kv(0)];
        r.op(Code::FlashAttnExt, 1, buf(4), &src, &params);
        let backends = Backends::new(&busy_platform()).unwrap();
        Prepared::new(&r.bytes(), &f.model, &mut memory(&backends, "cpu")).is_err()
    };
    assert!(!flagged(0) && flagged(5));
    assert!(!sinks(0) && !sinks(w(4)) && sinks(w(1)) && sinks(buf(0)));
}

#[test]
fn a_table_without_ids_gives_its_rows_in_order() {
    let f = fixture();
    let mut r = Recorder::default();
    let (n, from) = (r.register(1, ROWS, 0), r.register(0, ROWS, 0));
    let x = r.value(0, K, n);
    r.op(Code::GetRows, 0, x, &[w(3)], &[from]);
    r.op(Code::Cpy, 0, buf(0), &[x], &[0, 0, n]);
    let program = r.bytes();
    for name in ["reference", "cpu"] {
        let backends = Backends::new(&busy_platform()).unwrap();
        let mut m = memory(&backends, name);
        run(&mut m, &f, &program, &[4, ROWS - 4]).unwrap();
        let (k, rows) = (K as usize, ROWS as usize);
        assert_eq!(read(&mut m, 0, 4 * k), f.tensors[3][(rows - 4) * k..]);
        // One past the end.
        assert!(run(&mut m, &f, &program, &[4, ROWS - 3]).is_err());
    }
}

#[test]
fn a_convolution_goes_on_where_the_rows_before_ended() {
    let f = fixture();
    let k = K as usize;
    let x = Rng(9).floats((ROWS * K) as usize);
    let weights = &f.tensors[5];
    let mut r = Recorder::default();
    let n = r.register(1, ROWS, 0);
    let (v, state, y) = (r.value(0, K, n), r.value(0, K, 2), r.value(0, K, n));
    r.op(Code::Cpy, 0, v, &[buf(0)], &[0, 0, n]);
    r.op(Code::Cpy, 0, state, &[buf(5)], &[0, 0, 2]);
    r.op(Code::SsmConv, 0, y, &[v, state, w(5)], &[]);
    r.op(Code::Cpy, 0, buf(4), &[y], &[0, 0, n]);
    let program = r.bytes();
    for name in ["reference", "cpu"] {
        let backends = Backends::new(&busy_platform()).unwrap();
        let go = |before: &[f32], x: &[f32]| {
            let mut m = memory(&backends, name);
            m.buffer_create(0, K, 2).unwrap();
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
            write(&mut m, 0, &bits(x));
            write(&mut m, 5, &bits(before));
            run(&mut m, &f, &program, &[(x.len() / k) as u32]).unwrap();
            read(&mut m, 4, x.len())
        };
        let zeros = alloc::vec![0.0; 2 * k];
        let all = go(&zeros, &x);
        for (at, &got) in all.iter().enumerate() {
            let (row, c) = (at / k, at % k);
            let tap = |j: usize| match (row + j).checked_sub(2) {
                Some(from) => f64::from(weights[c * 3 + j]) * f64::from(x[from * k + c]),
                None => 0.0,
            };
            let want: f64 = (0..3).map(tap).sum();
            assert!((f64::from(got) - want).abs() < 1e-6, "{name}: {got} {want}");
        }
        let later = go(&x[3 * k..5 * k], &x[5 * k..]);
        assert_eq!(later, all[5 * k..], "{name}");
    }
    // Too few rows before, other columns, and the input as output.
    let conv = Code::SsmConv;
    assert!(refused(&f, &[(conv, buf(4), &[buf(0), buf(3), w(5)], &[])]));
    assert!(!refused(
        &f,
        &[(conv, buf(4), &[buf(0), buf(0), w(5)], &[])]
    ));
    assert!(refused(&f, &[(conv, buf(0), &[buf(0), buf(4), w(5)], &[])]));
    assert!(refused(&f, &[(conv, buf(4), &[buf(0), buf(0), w(3)], &[])]));
    assert!(refused(&f, &[(conv, buf(4), &[buf(0), 0, w(5)], &[])]));
}

#[test]
fn rows_that_are_not_causal_see_one_another() {
    let f = fixture();
    let (k, rows) = (K as usize, 5);
    let x = Rng(3).floats(rows * k);
    let bits: Vec<u32> = x.iter().map(|x| x.to_bits()).collect();
    let attend = |name: &str, flags: u16| {
        let mut r = Recorder::default();
        let n = r.register(1, ROWS, 0);
        let (q, y) = (r.value(0, K, n), r.value(0, K, n));
        r.op(Code::Cpy, 0, q, &[buf(0)], &[0, 0, n]);
        let params = [0, 2, 0.5f32.to_bits()];
        r.op(Code::FlashAttnExt, flags, y, &[q, q, q, kv(0)], &params);
        r.op(Code::Cpy, 0, buf(4), &[y], &[0, 0, n]);
        let backends = Backends::new(&busy_platform()).unwrap();
        let mut m = memory(&backends, name);
        write(&mut m, 0, &bits);
        run(&mut m, &f, &r.bytes(), &[rows as u32]).unwrap();
        read(&mut m, 4, rows * k)
    };
    let all = attend("cpu", 1);
    assert_eq!(all, attend("reference", 1));
    let causal = attend("cpu", 0);
    // The last row sees everything either way.
    assert_eq!(all[(rows - 1) * k..], causal[(rows - 1) * k..]);
    for row in 0..rows {
        for h in 0..2 {
            let head = |r: usize| &x[r * k + h * k / 2..][..k / 2];
            let score = |j: usize| {
                let products = head(row).iter().zip(head(j));
                (0.5 * products
                    .map(|(&a, &b)| f64::from(a) * f64::from(b))
                    .sum::<f64>())
                .exp()
            };
            let sum: f64 = (0..rows).map(score).sum();
            for d in 0..k / 2 {
                let want: f64 = (0..rows).map(|j| score(j) * f64::from(head(j)[d])).sum();
                let got = f64::from(all[row * k + h * k / 2 + d]);
                assert!((got - want / sum).abs() < 1e-5, "{got} {}", want / sum);
            }
        }
    }
}

#[test]
fn columns_are_taken_apart_and_put_together_again() {
    let f = fixture();
    let (k, used) = (K as usize, USED as usize);
    let x = Rng(41).floats((ROWS * K) as usize);
    let bits: Vec<u32> = x.iter().map(|x| x.to_bits()).collect();
    let mut r = Recorder::default();
    let n = r.register(1, ROWS, 0);
    let (v, ids) = (r.value(0, K, n), r.value(26, USED, n));
    let (a, b, back) = (r.value(0, 6, n), r.value(0, 18, n), r.value(0, K, n));
    let (picked, sum, part) = (r.value(0, USED, n), r.value(0, 1, n), r.value(0, USED, n));
    r.op(Code::Cpy, 0, v, &[buf(0)], &[0, 0, n]);
    r.op(Code::Cpy, 0, ids, &[buf(1)], &[0, 0, n]);
    // Two columns of each group of eight, the six others, and both again.
    r.op(Code::ViewCols, 0, a, &[v], &[0, 8]);
    r.op(Code::ViewCols, 0, b, &[v], &[2, 8]);
    r.op(Code::Concat, 0, back, &[a, b], &[3]);
    r.op(Code::Cpy, 0, buf(4), &[back], &[0, 0, n]);
    r.op(Code::Gather, 0, picked, &[v, ids], &[]);
    r.op(Code::SumRows, 0, sum, &[picked], &[]);
    r.op(Code::Div, 0, part, &[picked, sum], &[]);
    r.op(Code::Cpy, 0, buf(2), &[part], &[0, 0, n]);
    let program = r.bytes();
    let named: Vec<u32> = (0..ROWS * USED).map(|i| i * 5 % K).collect();
    for name in ["reference", "cpu"] {
        let backends = Backends::new(&busy_platform()).unwrap();
        let mut m = memory(&backends, name);
        write(&mut m, 0, &bits);
        write(&mut m, 1, &named);
        run(&mut m, &f, &program, &[ROWS]).unwrap();
        assert_eq!(read(&mut m, 4, x.len()), x, "{name}");
        let parts = read(&mut m, 2, named.len());
        for (row, parts) in parts.chunks(used).enumerate() {
            let of = |slot: usize| f64::from(x[row * k + named[row * used + slot] as usize]);
            let sum: f64 = (0..used).map(of).sum();
            for (slot, &got) in parts.iter().enumerate() {
                let want = of(slot) / sum;
                assert!((f64::from(got) - want).abs() < 1e-4 * (1.0 + want.abs()));
            }
        }
        let mut bad = named.clone();
        bad[4] = K;
        write(&mut m, 1, &bad);
        assert!(run(&mut m, &f, &program, &[ROWS]).is_err(), "{name}");
    }
    let view = |params: &[u32]| refused(&f, &[(Code::ViewCols, buf(2), &[buf(0)], params)]);
    assert!(!view(&[21]) && !view(&[7, 8]) && view(&[22]) && view(&[8, 8]) && view(&[0, 9]));
    let concat = |groups: u32| refused(&f, &[(Code::Concat, buf(3), &[buf(0), buf(4)], &[groups])]);
    assert!(concat(1) && concat(5));
    assert!(refused(&f, &[(Code::Div, buf(4), &[buf(0), buf(2)], &[])]));
    assert!(!refused(&f, &[(Code::Div, buf(4), &[buf(4), buf(0)], &[])]));
    assert!(refused(
        &f,
        &[(Code::Gather, buf(4), &[buf(0), buf(1)], &[])]
    ));
    assert!(refused(&f, &[(Code::SumRows, buf(2), &[buf(0)], &[])]));
}

#[test]
fn without_ids_every_head_has_a_weight_of_its_own() {
    let f = fixture();
    let x = Rng(43).floats((ROWS * E * K) as usize);
    let mut r = Recorder::default();
    let n = r.register(1, ROWS, 0);
    let (wide, y) = (r.value(0, E * K, n), r.value(0, E * M, n));
    r.op(Code::Cpy, 0, wide, &[buf(5)], &[0, 0, n]);
    r.op(Code::MulMatId, 0, y, &[w(0), wide], &[]);
    r.op(Code::Cpy, 0, buf(6), &[y], &[0, 0, n]);
    let program = r.bytes();
    let (k, m_rows, e) = (K as usize, M as usize, E as usize);
    let mut all = Vec::new();
    for (name, rows) in [("reference", ROWS), ("cpu", ROWS), ("cpu", 1)] {
        let backends = Backends::new(&busy_platform()).unwrap();
        let mut m = memory(&backends, name);
        m.buffer_create(0, E * K, ROWS).unwrap();
        m.buffer_create(0, E * M, ROWS).unwrap();
        write(
            &mut m,
            5,
            &x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>(),
        );
        run(&mut m, &f, &program, &[rows]).unwrap();
        let got = read(&mut m, 6, rows as usize * e * m_rows);
        for (at, got) in got.iter().enumerate() {
            let (part, j) = (at / m_rows, at % m_rows);
            let weights = &f.tensors[0][((part % e) * m_rows + j) * k..][..k];
            let products = weights.iter().zip(&x[part * k..]);
            let want: f64 = products.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            assert!((f64::from(*got) - want).abs() < 1e-5, "{name} {got} {want}");
        }
        all.push(got);
    }
    assert_eq!(all[0], all[1]);
    assert_eq!(all[2], all[1][..e * m_rows]);
}
