//! The selective scan: what it computes, that it goes on where it was, and what is refused.

use super::memory::Memory;
use super::op::Code;
use super::prepared::Prepared;
use super::run::Run;
use super::tests::{NO_LIMITS, Recorder, Rng, buf, busy_platform, w};
use crate::backend::host::Backends;
use crate::gguf::{Limits, write::Writer};
use crate::store::{Model, Store};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

/// Heads of so many columns, which share B and C in groups; rows of the state; most tokens.
const HEADS: usize = 4;
const WIDTH: usize = 6;
const GROUPS: usize = 2;
const STATE: usize = 5;
const MOST: usize = 9;
const COLS: usize = HEADS * WIDTH;

/// Rates, factors, and a vector of another length.
fn model() -> (Arc<Model>, [Vec<f32>; 2]) {
    let (rates, factors) = ([-0.4, -1.1, -0.02, -3.0], Rng(4).floats(HEADS));
    let bytes = |x: &[f32]| -> Vec<u8> { x.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let file = Writer::new()
        .tensor("a", &[1, HEADS as u64], 0, &bytes(&rates))
        .tensor("d", &[1, HEADS as u64], 0, &bytes(&factors))
        .tensor("e", &[3], 0, &bytes(&[1.0; 3]));
    let store = Store::new();
    let id = store
        .register_copy(&[&file.bytes()], 5, &Limits::default())
        .unwrap();
    (store.open(id).unwrap(), [rates.to_vec(), factors])
}

/// Buffers: 0 x, 1 dt, 2 B, 3 C, 4 the state twice, 5 y.
fn memory(name: &str) -> Memory {
    let backends = Backends::new(&busy_platform()).unwrap();
    let mut m = Memory::new(backends.select(Some(name)).unwrap(), NO_LIMITS);
    let part = GROUPS * STATE;
    for (cols, rows) in [
        (COLS, MOST),
        (HEADS, MOST),
        (part, MOST),
        (part, MOST),
        (COLS, 2 * STATE),
        (COLS, MOST),
    ] {
        m.buffer_create(0, cols as u32, rows as u32).unwrap();
    }
    m
}

/// Scans from one half of buffer 4 to the other. Registers: tokens, rows of the result, the half that is read (its first row),
/// the one that is written, and whether there is a state at all.
fn program(factors: u32, groups: u32) -> Vec<u8> {
    let (most, rows) = (MOST as u32, STATE as u32);
    let mut r = Recorder::default();
    let n = r.register(1, most, 0);
    let all = r.register(rows + 1, rows + most, 0);
    let (from, to) = (r.register(0, rows, 0), r.register(0, rows, 0));
    let begun = r.register(0, 1, 0);
    let (x, y) = (r.value(0, COLS as u32, n), r.value(0, COLS as u32, n));
    let both = r.value(0, COLS as u32, all);
    r.op(Code::Cpy, 0, x, &[buf(0)], &[0, 0, n]);
    let sources = [x, buf(1), buf(2), buf(3), w(0), buf(4), factors];
    r.op(Code::SsmScan, 0, both, &sources, &[groups, from, begun]);
    r.op(Code::Cpy, 0, buf(4), &[both], &[0, to, rows]);
    r.op(Code::Cpy, 0, y, &[both], &[rows, 0, n]);
    r.op(Code::Cpy, 0, buf(5), &[y], &[0, 0, n]);
    r.bytes()
}

fn put(m: &mut Memory, buffer: u32, x: &[f32]) {
    let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    m.buffer_write(buffer, 0, &bytes).unwrap();
}

fn get(m: &Memory, buffer: u32, n: usize) -> Vec<f32> {
    let mut out = vec![0; n * 4];
    m.buffer_read(buffer, 0, &mut out).unwrap();
    let words = out.as_chunks::<4>().0.iter();
    words.map(|&b| f32::from_le_bytes(b)).collect()
}

/// x, dt, B and C of `MOST` tokens.
fn inputs() -> [Vec<f32>; 4] {
    let mut rng = Rng(8);
    [COLS, HEADS, GROUPS * STATE, GROUPS * STATE].map(|cols| rng.floats(MOST * cols))
}

/// Feeds the tokens in chunks of these sizes; returns what comes out.
fn fed(name: &str, chunks: &[usize], factors: u32) -> Vec<f32> {
    let (model, _) = model();
    let mut m = memory(name);
    let prepared =
        Arc::new(Prepared::new(&program(factors, GROUPS as u32), &model, &mut m).unwrap());
    let (mut at, mut out) = (0, Vec::new());
    for (i, &n) in chunks.iter().enumerate() {
        for (buffer, x) in inputs().iter().enumerate() {
            let cols = x.len() / MOST;
            put(&mut m, buffer as u32, &x[at * cols..(at + n) * cols]);
        }
        let halves = [i % 2 * STATE, (1 - i % 2) * STATE];
        let regs = [n, STATE + n, halves[0], halves[1], usize::from(at > 0)].map(|r| r as u32);
        let mut run = Run::new(&prepared, &regs, 1, 2, &mut m).unwrap();
        while !run.advance(&mut m, 0).unwrap() {}
        out.extend(get(&m, 5, n * COLS));
        at += n;
    }
    out
}

/// The definition, in double precision.
fn defined(with_factors: bool) -> Vec<f64> {
    let (_, [rates, factors]) = model();
    let [x, dt, b, c] = inputs();
    let mut state = vec![0.0; STATE * COLS];
    let mut out = Vec::new();
    for t in 0..MOST {
        for column in 0..COLS {
            let head = column / WIDTH;
            let group = head / (HEADS / GROUPS);
            let x = f64::from(x[t * COLS + column]);
            let delta = libm::log1p(libm::exp(f64::from(dt[t * HEADS + head])));
            let mut y = if with_factors {
                f64::from(factors[head]) * x
            } else {
                0.0
            };
            for s in 0..STATE {
                let at = (t * GROUPS + group) * STATE + s;
                let state = &mut state[s * COLS + column];
                *state = *state * libm::exp(delta * f64::from(rates[head]))
                    + delta * f64::from(b[at]) * x;
                y += f64::from(c[at]) * *state;
            }
            out.push(y);
        }
    }
    out
}

#[test]
fn it_is_what_the_paper_says() {
    for (factors, with) in [(w(1), true), (0, false)] {
        let want = defined(with);
        for name in ["reference", "cpu"] {
            let got = fed(name, &[MOST], factors);
            assert_eq!(got.len(), want.len());
            for (got, want) in got.iter().zip(&want) {
                assert!(
                    (f64::from(*got) - want).abs() < 1e-5,
                    "{name}: {got}, {want}"
                );
            }
        }
    }
}

#[test]
fn it_goes_on_where_it_was_with_the_same_bits() {
    let bits = |x: Vec<f32>| x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    let whole = bits(fed("reference", &[MOST], w(1)));
    for name in ["reference", "cpu"] {
        for chunks in [&[MOST][..], &[4, 5], &[1; MOST], &[1, 3, 2, 3]] {
            assert_eq!(bits(fed(name, chunks, w(1))), whole, "{name} {chunks:?}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (model, _) = model();
    let refused = |bytes: &[u8]| Prepared::new(bytes, &model, &mut memory("cpu")).is_err();
    assert!(!refused(&program(w(1), 2)));
    assert!(refused(&program(w(2), 2)), "factors of other heads");
    assert!(
        refused(&program(w(1), 3)),
        "groups that heads do not divide into"
    );
    assert!(refused(&program(w(1), 0)), "no groups");
    // One operation with sources and a destination that do not go together.
    let one = |rows: u32, replace: (usize, u32), first: u32| {
        let mut r = Recorder::default();
        let n = r.register(1, MOST as u32, 0);
        let (x, both) = (r.value(0, COLS as u32, n), r.value(0, COLS as u32, rows));
        r.op(Code::Cpy, 0, x, &[buf(0)], &[0, 0, n]);
        let mut sources = [x, buf(1), buf(2), buf(3), w(0), buf(4), w(1)];
        sources[replace.0] = replace.1;
        r.op(Code::SsmScan, 0, both, &sources, &[2, first, 1]);
        refused(&r.bytes())
    };
    let rows = (STATE + MOST) as u32;
    assert!(!one(rows, (6, 0), STATE as u32));
    assert!(one(rows - 1, (6, 0), 0), "no room for all");
    assert!(one(rows, (0, buf(0)), 0), "x is no value");
    assert!(one(rows, (1, buf(2)), 0), "steps of other heads");
    assert!(one(rows, (3, buf(1)), 0), "C unlike B");
    assert!(one(rows, (4, 0), 0), "no rates");
    assert!(one(rows, (5, buf(2)), 0), "a state of other columns");
    assert!(one(rows, (5, 0), 0), "no state");
}

#[test]
fn the_state_that_is_read_must_be_there() {
    let (model, _) = model();
    let mut m = memory("cpu");
    let prepared = Arc::new(Prepared::new(&program(w(1), GROUPS as u32), &model, &mut m).unwrap());
    let mut go = |from: u32, all: u32| {
        let run = Run::new(&prepared, &[2, all, from, 0, 1], 1, 1, &mut m);
        run.map(|mut run| while !run.advance(&mut m, 0).unwrap() {})
            .is_ok()
    };
    let rows = STATE as u32;
    assert!(go(rows, rows + 2));
    assert!(!go(rows + 1, rows + 2));
    // Too few rows for the result: some of it is not computed, and nothing else happens.
    assert!(go(0, rows + 1));
}
