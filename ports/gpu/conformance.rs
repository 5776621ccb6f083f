//! The port on the emulated device against the reference.
//!
//! Random programs, those of `graph/fuzz_tests.rs`, go operation by operation: each begins with what the reference has left,
//! so that errors do not add up, and its results are compared within the bound for its kind. ggml's `test-backend-ops` allows a
//! normalised mean squared error of 1e-7 for most and 5e-4 for products and attention; what reorders a sum is held to 1e-11 here (attention: 1e-10), and everything else to
//! the reference's bits.
//!
//! Compiled as a child of `graph`, whose tests it borrows from.

use super::fuzz_tests::{self, BUFFERS, Maker, kept, same};
use super::memory::Memory;
use super::op::Code;
use super::prepared::Prepared;
use super::program::Program;
use super::run::Run;
use super::tests::{Bench, NO_LIMITS, Recorder, bench_on, buf, busy_platform, tokens, w};
use crate::backend::host::{Backend, Backends};
use crate::backend::table::*;
use crate::error::Status;
use crate::gpu::Gpu;
use crate::gpu::device::Device;
use crate::gpu::emulated::Emulated;
use crate::platform::Platform;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

/// The reference, and the port over a device. Both live on, as a table's `ctx` must.
fn with(device: Arc<dyn Device>) -> Backends {
    let platform: Platform = busy_platform();
    let mut backends = Backends::new(&platform).unwrap();
    let gpu: &'static Gpu = Box::leak(Gpu::new(device));
    let table = gpu.table();
    // SAFETY: a whole table whose `ctx` lives on.
    let backend = unsafe { Backend::from_table(&raw const table, &platform) }.unwrap();
    backends.add(backend).unwrap();
    backends
}

/// With an emulated device of its own.
pub(super) fn backends() -> (Backends, Arc<Emulated>) {
    let device = Emulated::new();
    (with(device.clone()), device)
}

/// With the device that is tested, and the name that the port has on it: the emulated one, or where `REALM_GPU` is `cuda` a real one.
pub(crate) fn tested() -> (Backends, &'static str, Option<Arc<Emulated>>) {
    #[cfg(feature = "cuda")]
    if std::env::var("REALM_GPU").is_ok_and(|gpu| gpu == "cuda") {
        use crate::gpu::cuda::{Cuda, Options};
        return (with(Cuda::new(Options::default()).unwrap()), "cuda", None);
    }
    let (backends, device) = backends();
    (backends, "gpu-emulated", Some(device))
}

/// What an operation may differ by, as a normalised mean squared error; none: not by a bit.
fn bound(code: Code) -> Option<f64> {
    match code {
        // One sum in another order.
        Code::MulMat | Code::MulMatId | Code::RmsNorm | Code::Norm => Some(1e-11),
        Code::SoftMax | Code::SumRows | Code::LogSumExp => Some(1e-11),
        // Two, where queries may cancel most of a score.
        Code::FlashAttnExt => Some(1e-10),
        // Angles in fixed point, with polynomials of single precision; logarithms of single precision.
        Code::Rope | Code::SsmScan => Some(1e-11),
        _ => None,
    }
}

/// The error of what has changed since `before`, relative to what should be there. Numbers that are not finite must be the same.
pub(super) fn nmse(got: &[u8], want: &[u8], before: &[u8]) -> f64 {
    let word = |b: &[u8; 4]| f32::from_le_bytes(*b);
    let words = got.as_chunks::<4>().0.iter().zip(want.as_chunks::<4>().0);
    let (mut error, mut all) = (0.0, 0.0);
    for ((g, w), b) in words.zip(before.as_chunks::<4>().0) {
        if g == w && w == b || same(g, w) && !word(w).is_finite() {
            continue;
        }
        let (g, w) = (f64::from(word(g)), f64::from(word(w)));
        error += (g - w) * (g - w);
        all += w * w;
    }
    if error == 0.0 { 0.0 } else { error / all }
}

/// Values become buffers behind the session's own.
fn value_buffer(v: u32) -> u32 {
    BUFFERS.len() as u32 + v
}

const VALUE: u32 = REALM_OPERAND_VALUE;

/// A program of one operation: values that it names are copied in from their buffers, and back after it.
fn alone(program: &Program, op: &realm_op) -> Vec<u8> {
    let mut r = Recorder::default();
    for reg in &program.registers {
        r.register(reg.min, reg.max, reg.stride);
    }
    let mut map: BTreeMap<u32, u32> = BTreeMap::new();
    let mut named: Vec<u32> = vec![op.dst];
    named.extend(op.src);
    for bits in named {
        if bits >> 28 == VALUE && !map.contains_key(&bits) {
            let v = program.values[(bits & 0x0fff_ffff) as usize];
            let new = r.value(v.r#type, v.cols, v.rows);
            r.op(
                Code::Cpy,
                0,
                new,
                &[buf(value_buffer(bits & 0x0fff_ffff))],
                &[0, 0, v.rows],
            );
            map.insert(bits, new);
        }
    }
    let at = |bits: u32| map.get(&bits).copied().unwrap_or(bits);
    let src = op.src.map(at);
    let code = Code::from_u16(op.code).unwrap();
    r.op(code, op.flags, at(op.dst), &src, &op.param);
    let second = (code == Code::TopK).then_some(op.src[1]);
    for bits in [Some(op.dst), second].into_iter().flatten() {
        if let Some(&new) = map.get(&bits) {
            let v = program.values[(bits & 0x0fff_ffff) as usize];
            r.op(
                Code::Cpy,
                0,
                buf(value_buffer(bits & 0x0fff_ffff)),
                &[new],
                &[0, 0, v.rows],
            );
        }
    }
    r.bytes()
}

fn most(program: &Program, dim: u32) -> u32 {
    match dim & 0x8000_0000 {
        0 => dim,
        _ => program.registers[(dim & 63) as usize].max,
    }
}

/// Everything that a session keeps, values included.
fn all(m: &mut Memory, values: &[(u32, u32, u32)]) -> Vec<Vec<u8>> {
    let mut all = kept(m);
    for (i, &(_, cols, rows)) in values.iter().enumerate() {
        let mut out = vec![0; (cols * rows * 4) as usize];
        m.buffer_read(value_buffer(i as u32), 0, &mut out).unwrap();
        all.push(out);
    }
    all
}

/// Gives a session what another one has.
fn give(m: &mut Memory, from: &[Vec<u8>], values: usize) {
    let count = BUFFERS.len();
    for (i, bytes) in from[..count].iter().enumerate() {
        m.buffer_write(i as u32, 0, bytes).unwrap();
    }
    let (pages, rest) = from[count..].split_at(from.len() - count - values);
    let mut pages = pages.iter();
    for g in 0..2 {
        for page in m.pages_mut(g) {
            Arc::get_mut(page)
                .unwrap()
                .write(0, pages.next().unwrap())
                .unwrap();
        }
    }
    assert!(pages.next().is_none());
    for (i, bytes) in rest.iter().enumerate() {
        m.buffer_write(value_buffer(i as u32), 0, bytes).unwrap();
    }
}

pub(super) fn step(
    prepared: &Arc<Prepared>,
    m: &mut Memory,
    registers: &[u32],
    quantum: u64,
) -> bool {
    let Ok(mut run) = Run::new(prepared, registers, 1, 1, m) else {
        return false;
    };
    loop {
        match run.advance(m, quantum) {
            Ok(true) => return true,
            Ok(false) => {}
            Err(_) => return false,
        }
    }
}

#[test]
fn every_operation_of_random_programs_is_within_its_bound() {
    let count = std::env::var("REALM_FUZZ_COUNT").map_or(60, |n| n.parse().unwrap());
    let weights = fuzz_tests::weights();
    let (backends, gpu, _) = tested();
    let mut seen: BTreeMap<u16, (u32, f64)> = BTreeMap::new();
    for seed in 1..=count {
        let (bytes, _) = Maker::new(seed, &weights).program(3 + seed as u32 % 30);
        let program = Program::parse(&bytes).unwrap();
        let values: Vec<(u32, u32, u32)> = program
            .values
            .iter()
            .map(|v| (v.r#type, v.cols, most(&program, v.rows).max(1)))
            .collect();
        let session = |name: &str| {
            let mut m = fuzz_tests::memory(&backends, name, seed % 4);
            for &(ty, cols, rows) in &values {
                m.buffer_create(ty, cols, rows).unwrap();
            }
            m
        };
        let (mut want, mut got) = (session("reference"), session(gpu));
        let n = [1, 1, 2, 5, 9, 24][seed as usize % 6];
        let registers = [n, n.min(8), (seed as u32 * 37) % 150, n - n.min(8)];
        let mut before = all(&mut want, &values);
        for op in &program.ops {
            let bytes = alone(&program, op);
            // Programs that the validator refuses are in the maker's nature.
            let Ok(p) = Prepared::new(&bytes, &weights.model, &mut want) else {
                break;
            };
            let q = Prepared::new(&bytes, &weights.model, &mut got).unwrap();
            let code = Code::from_u16(op.code).unwrap();
            let elsewhere = q.fallback_ops();
            let ran = step(&Arc::new(p), &mut want, &registers, 0);
            let here = step(
                &Arc::new(q),
                &mut got,
                &registers,
                [0, 1, 3000][seed as usize % 3],
            );
            assert_eq!(ran, here, "program {seed}: {code:?}");
            if !ran {
                break;
            }
            let (w, g) = (all(&mut want, &values), all(&mut got, &values));
            assert_eq!(w.len(), g.len());
            let mut worst = 0f64;
            for ((w, g), b) in w.iter().zip(&g).zip(&before) {
                if !same(w, g) {
                    worst = worst.max(nmse(g, w, b));
                }
            }
            let most = bound(code).unwrap_or(0.0);
            assert!(
                worst <= most,
                "program {seed}: {code:?} differs by {worst:e}, at most {most:e}: {op:?}"
            );
            if elsewhere == 0 {
                let (runs, error) = seen.entry(op.code).or_default();
                *runs += 1;
                *error = error.max(worst);
            }
            give(&mut got, &w, values.len());
            before = w;
        }
    }
    for (code, (runs, error)) in &seen {
        let code = Code::from_u16(*code).unwrap();
        std::eprintln!("{:16} {runs:5} times, {error:.1e}", code.name());
    }
    assert!(seen.len() >= 24, "{} kinds of operations of 29", seen.len());
}

/// Runs operations over buffers on both backends, and compares all of these to the bit.
fn same_bits(buffers: &[(u32, u32, u32, Vec<u32>)], record: impl Fn(&mut Recorder)) {
    let (backends, gpu, _) = tested();
    let weights = fuzz_tests::weights();
    let mut results = ["reference", gpu].map(|name| {
        let mut m = Memory::new(backends.select(Some(name)).unwrap(), NO_LIMITS);
        for (i, (ty, cols, rows, words)) in buffers.iter().enumerate() {
            m.buffer_create(*ty, *cols, *rows).unwrap();
            let bytes: Vec<u8> = words.iter().flat_map(|x| x.to_le_bytes()).collect();
            m.buffer_write(i as u32, 0, &bytes).unwrap();
        }
        let mut r = Recorder::default();
        record(&mut r);
        let p = Prepared::new(&r.bytes(), &weights.model, &mut m).unwrap();
        assert_eq!(p.fallback_ops(), 0);
        assert!(step(&Arc::new(p), &mut m, &[], 0));
        let read = |(i, (_, cols, rows, _)): (usize, &(u32, u32, u32, Vec<u32>))| {
            let mut out = vec![0; (cols * rows * 4) as usize];
            m.buffer_read(i as u32, 0, &mut out).unwrap();
            out
        };
        buffers.iter().enumerate().map(read).collect::<Vec<_>>()
    });
    let got = core::mem::take(&mut results[1]);
    for (i, (got, want)) in got.iter().zip(&results[0]).enumerate() {
        assert!(same(got, want), "buffer {i}");
    }
}

#[test]
fn what_changes_logits_gives_the_bits_of_the_reference() {
    let floats = |n: u32| {
        (0..n)
            .map(|i| ((i * 37 % 101) as f32 - 50.0).to_bits())
            .collect::<Vec<_>>()
    };
    let logits = (0, 600, 2, floats(1200));
    // Ids that come twice, and some outside.
    let ids = (26, 1, 5, vec![7, 599, 7, 600, u32::MAX]);
    let bias = (
        0,
        1,
        5,
        [1.5f32, -2.25, 1e-3, 9.0, 9.0].map(f32::to_bits).to_vec(),
    );
    same_bits(&[logits.clone(), ids.clone(), bias], |r| {
        r.op(Code::LogitBias, 0, buf(0), &[buf(0), buf(1), buf(2)], &[5]);
    });
    let distinct = (26, 1, 4, vec![7, 599, 3, 600]);
    let counts = (26, 1, 4, vec![1, 2, 3, 4]);
    let penalties = (0, 3, 1, [1.3f32, 0.7, 0.1].map(f32::to_bits).to_vec());
    same_bits(&[logits.clone(), distinct, counts, penalties], |r| {
        r.op(
            Code::Penalties,
            0,
            buf(0),
            &[buf(0), buf(1), buf(2), buf(3)],
            &[4],
        );
    });
    let bits = (
        26,
        19,
        1,
        (0..19).map(|i| 0x9e37_79b9u32.rotate_left(i)).collect(),
    );
    same_bits(&[logits.clone(), bits], |r| {
        r.op(Code::Mask, 0, buf(0), &[buf(0), buf(1)], &[]);
    });
    let other = (0, 300, 2, floats(600));
    same_bits(&[logits, other, (0, 900, 2, vec![0; 1800])], |r| {
        r.op(Code::Concat, 0, buf(2), &[buf(0), buf(1)], &[3]);
    });
}

#[test]
fn the_best_are_found_however_many_are_equal() {
    let spread = (0..5000)
        .map(|i: u32| ((i * 7919 % 4999) as f32).to_bits())
        .collect::<Vec<_>>();
    let equal = (0..5000)
        .map(|i: u32| ((i % 3) as f32).to_bits())
        .collect::<Vec<_>>();
    let nans = (0..5000)
        .map(|i: u32| if i.is_multiple_of(5) { 1f32 } else { f32::NAN }.to_bits())
        .collect::<Vec<_>>();
    for logits in [spread, equal, nans] {
        for k in [1, 40, 256, 300] {
            let buffers = [
                (0, 5000, 1, logits.clone()),
                (26, 300, 1, vec![7; 300]),
                (0, 300, 1, vec![7; 300]),
            ];
            same_bits(&buffers, |r| {
                r.op(Code::TopK, 0, buf(1), &[buf(0), buf(2)], &[k]);
            });
        }
    }
}

/// The little transformer of `graph/tests.rs`, token by token on the reference.
pub(super) fn little(
    backends: &Backends,
    name: &str,
    kv_type: u32,
    batch: usize,
    quantum: u64,
) -> Bench {
    let mut b = bench_on(backends, Some(name), kv_type);
    for (i, chunk) in tokens().chunks(batch).enumerate() {
        b.step(chunk, (i * batch) as u32, 1, quantum);
    }
    b
}

#[test]
fn batches_and_slices_do_not_show() {
    for kv_type in [0, 1] {
        let (backends, gpu, emulated) = tested();
        let want = little(&backends, "reference", kv_type, 1, 0).logits();
        let one = little(&backends, gpu, kv_type, 1, 0);
        assert_eq!(one.prepared.fallback_ops(), 0);
        if let Some(device) = emulated {
            let replayed = device.replayed.load(Relaxed);
            assert!(replayed > 100, "{replayed} replays of what was captured");
        }
        let got = one.logits();
        let error = nmse(&got, &want, &vec![0; want.len()]);
        assert!(error < 1e-6, "{error:e}");
        for (batch, quantum) in [(24, 0), (7, 1), (13, 3500), (1, 2000)] {
            let b = little(&backends, gpu, kv_type, batch, quantum);
            assert_eq!(b.logits(), got, "batch {batch}, quantum {quantum}");
        }
        // Two sessions take turns, slice by slice, over one plan.
        let (mut a, mut b) = (one.fork(), one.fork());
        let next = tokens();
        let (x, y) = (a.fork(), b.fork());
        let alone = [(x, 0), (y, 1)].map(|(mut s, i)| {
            s.step(&next[i..=i], 150, 1, 0);
            s.logits()
        });
        let (mut first, mut second) = (begin(&mut a, next[0]), begin(&mut b, next[1]));
        let (mut ended, mut turns) = ((false, false), 0);
        while ended != (true, true) {
            ended.0 = ended.0 || first.advance(&mut a.memory, 1).unwrap();
            ended.1 = ended.1 || second.advance(&mut b.memory, 1).unwrap();
            turns += 1;
        }
        assert!(turns > 3, "{turns} turns");
        assert_eq!([a.logits(), b.logits()], alone);
    }
}

fn begin(b: &mut Bench, token: u32) -> Run {
    b.memory.buffer_write(0, 0, &token.to_le_bytes()).unwrap();
    Run::new(&b.prepared, &[1, 150, 0, 1], 1, 1, &mut b.memory).unwrap()
}

#[test]
fn weights_are_uploaded_once_and_everything_is_given_back() {
    let (backends, device) = backends();
    let held = |device: &Emulated| device.bytes.load(Relaxed);
    let weights = fuzz_tests::weights();
    let mut sessions = Vec::new();
    let (t, k, m) = weights.matrices()[0];
    let mut grown = Vec::new();
    for _ in 0..2 {
        let before = held(&device);
        let mut memory = fuzz_tests::memory(&backends, "gpu-emulated", 0);
        let mut r = Recorder::default();
        let (x, y) = (r.value(0, k, 1), r.value(0, m, 1));
        r.op(Code::Cpy, 0, x, &[buf(5)], &[0, 0, 1]);
        r.op(Code::MulMat, 0, y, &[w(t), x], &[]);
        r.op(Code::Cpy, 0, buf(6), &[y], &[0, 0, 1]);
        // A program for each session, as if of two runtimes.
        let p = Arc::new(Prepared::new(&r.bytes(), &weights.model, &mut memory).unwrap());
        assert!(step(&p, &mut memory, &[], 0));
        sessions.push((memory, p));
        grown.push(held(&device) - before);
    }
    let matrix = u64::from(k * m * 4);
    assert_eq!(
        grown[0] - grown[1],
        matrix,
        "{grown:?}: the second finds the first's copy"
    );
    drop(sessions);
    assert_eq!(held(&device), 0);
    assert_eq!(device.graphs.load(Relaxed), 0);
}

#[test]
fn memory_that_is_shared_with_the_host_is_not_copied() {
    let (backends, device) = backends();
    let weights = fuzz_tests::weights();
    let results = [false, true].map(|unified| {
        device.unified.store(unified, Relaxed);
        let mut memory = fuzz_tests::memory(&backends, "gpu-emulated", 0);
        let (t, k, m) = weights.matrices()[0];
        let mut r = Recorder::default();
        let (x, y) = (r.value(0, k, 1), r.value(0, m, 1));
        r.op(Code::Cpy, 0, x, &[buf(5)], &[0, 0, 1]);
        r.op(Code::MulMat, 0, y, &[w(t), x], &[]);
        r.op(Code::Cpy, 0, buf(6), &[y], &[0, 0, 1]);
        let p = Arc::new(Prepared::new(&r.bytes(), &weights.model, &mut memory).unwrap());
        assert!(step(&p, &mut memory, &[], 0));
        let held = device.bytes.load(Relaxed);
        assert_eq!(device.wrapped.load(Relaxed), u64::from(unified));
        (kept(&mut memory), held, u64::from(k * m * 4))
    });
    let [(copied, more, matrix), (wrapped, less, _)] = results;
    assert_eq!(copied, wrapped);
    assert_eq!(more - less, matrix);
    assert_eq!(
        [device.bytes.load(Relaxed), device.wrapped.load(Relaxed)],
        [0, 0]
    );
}

#[test]
fn a_device_that_is_full_says_so() {
    let (backends, device) = backends();
    let weights = fuzz_tests::weights();
    let mut memory = fuzz_tests::memory(&backends, "gpu-emulated", 0);
    let (t, k, m) = weights.matrices()[0];
    let mut r = Recorder::default();
    let (x, y) = (r.value(0, k, 1), r.value(0, m, 1));
    r.op(Code::Cpy, 0, x, &[buf(5)], &[0, 0, 1]);
    r.op(Code::MulMat, 0, y, &[w(t), x], &[]);
    let held = device.bytes.load(Relaxed);
    device.limit.store(held + 1000, Relaxed);
    let refused = Prepared::new(&r.bytes(), &weights.model, &mut memory)
        .err()
        .unwrap();
    assert_eq!(refused.status(), Status::NoMemory);
    assert_eq!(
        device.bytes.load(Relaxed),
        held,
        "nothing is left of what was refused"
    );
    device.limit.store(0, Relaxed);
    assert!(Prepared::new(&r.bytes(), &weights.model, &mut memory).is_ok());
}

#[test]
fn records_are_laid_out_as_kernels_have_them() {
    unsafe extern "C" {
        fn realm_gpu_sizes(sizes: *mut u32);
    }
    let mut sizes = [0u32; 4];
    // SAFETY: room for four.
    unsafe { realm_gpu_sizes(sizes.as_mut_ptr()) };
    assert_eq!(sizes, crate::gpu::SIZES);
}
