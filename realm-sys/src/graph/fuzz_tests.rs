//! Random programs on the CPU port against the reference: every session buffer and KV page, bit for bit.
//!
//! Programs are made of what models are made of (norms, products of one input, gates, residuals, attention) and of
//! anything else between, so that what the port fuses is common and what it must not fuse is there too. A value is always
//! written whole before it is read.
//!
//! One long file: the shapes that are generated and what is compared of them are one idea.

use super::memory::{KvDesc, Memory};
use super::op::Code;
use super::prepared::{Prepared, Segment, Worker};
use super::run::Run;
use super::tests::{NO_LIMITS, Recorder, Rng, buf, busy_platform, kv, w};
use crate::backend::host::Backends;
use crate::backend::table::{REALM_BACKEND_RUNNING, realm_cursor, realm_step};
use crate::cpu::isa;
use crate::gguf::{Limits, write::Writer};
use crate::quant::{GgmlType, quantize_row};
use crate::store::{Model, Store};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use std::format;

pub(super) const V: u32 = 256;
const ROWS: u32 = 24;
const FEW: u32 = 8;
const CTX: u32 = 200;
/// Columns that values have.
const COLS: [u32; 3] = [64, 256, 40];
const K: u32 = 5;
/// Experts of a stack, and elements and rows of each.
const EXPERTS: u32 = 8;
const STACKS: [(u32, u32); 4] = [(64, 256), (256, 64), (64, 40), (40, 64)];

fn types(k: u32) -> &'static [GgmlType] {
    use GgmlType as T;
    match k {
        64 => &[
            T::F32,
            T::F16,
            T::BF16,
            T::Q8_0,
            T::Q4_0,
            T::Q5_1,
            T::IQ4_NL,
        ],
        256 => &[
            T::F32,
            T::BF16,
            T::Q8_0,
            T::Q4_1,
            T::Q2_K,
            T::Q4_K,
            T::Q6_K,
            T::IQ4_XS,
            T::IQ3_S,
        ],
        _ => &[T::F32, T::F16, T::BF16],
    }
}

pub(super) struct Weights {
    pub(super) model: Arc<Model>,
    /// Tensor and its columns and rows.
    matrices: Vec<(u32, u32, u32)>,
    tables: Vec<(u32, u32)>,
    vectors: Vec<(u32, u32)>,
    /// Experts: tensor, its biases, elements and rows of each.
    stacks: Vec<(u32, u32, u32, u32)>,
    /// Weights of convolutions over three rows, by columns.
    kernels: Vec<(u32, u32)>,
    /// What scores experts, by its columns.
    routers: Vec<(u32, u32)>,
}

#[cfg(feature = "gpu-emulation")]
impl Weights {
    /// Tensors, and their columns and rows.
    pub(super) fn matrices(&self) -> &[(u32, u32, u32)] {
        &self.matrices
    }
}

fn matrix(rng: &mut Rng, ty: GgmlType, rows: u32, cols: u32) -> Vec<u8> {
    let bytes = ty.row_bytes(cols.into()).unwrap() as usize;
    let mut out = Vec::new();
    for _ in 0..rows {
        let mut row = vec![0; bytes];
        if quantize_row(ty, &rng.floats(cols as usize), &mut row).is_err() {
            // Halves below two in magnitude, wherever they are.
            row.iter_mut().for_each(|b| *b = rng.bits() as u8 & 0xbf);
        }
        out.extend(row);
    }
    out
}

pub(super) fn weights() -> Weights {
    let mut rng = Rng(19);
    let mut f = Writer::new();
    let mut made = 0;
    let mut add = |dims: &[u64], ty: GgmlType, data: &[u8]| {
        f = core::mem::take(&mut f).tensor(&format!("t{made}"), dims, ty.id(), data);
        made += 1;
        made - 1
    };
    let (mut matrices, mut tables, mut vectors) = (Vec::new(), Vec::new(), Vec::new());
    for k in COLS {
        for m in COLS {
            for &ty in types(k) {
                let data = matrix(&mut rng, ty, m, k);
                let t = add(&[k.into(), m.into()], ty, &data);
                matrices.push((t, k, m));
            }
        }
        for &ty in types(k).iter().take(4) {
            let data = matrix(&mut rng, ty, V, k);
            tables.push((add(&[k.into(), V.into()], ty, &data), k));
        }
    }
    let mut stacks = Vec::new();
    for (k, m) in STACKS {
        for &ty in types(k) {
            let data = matrix(&mut rng, ty, m * EXPERTS, k);
            let t = add(&[k.into(), m.into(), EXPERTS.into()], ty, &data);
            let data = matrix(&mut rng, GgmlType::F32, EXPERTS, m);
            let bias = add(&[m.into(), EXPERTS.into()], GgmlType::F32, &data);
            stacks.push((t, bias, k, m));
        }
    }
    let mut kernels = Vec::new();
    for k in COLS {
        let data = matrix(&mut rng, GgmlType::F32, k, 3);
        kernels.push((add(&[3, k.into()], GgmlType::F32, &data), k));
    }
    let mut routers = Vec::new();
    for k in COLS {
        let data = matrix(&mut rng, GgmlType::F32, EXPERTS, k);
        routers.push((add(&[k.into(), EXPERTS.into()], GgmlType::F32, &data), k));
    }
    for n in [1, 2, 4, 8, 16, 20, 32, 40, 64, 256] {
        let data = matrix(&mut rng, GgmlType::F32, 1, n);
        vectors.push((add(&[n.into()], GgmlType::F32, &data), n));
    }
    let store = Store::new();
    let id = store
        .register_copy(&[&f.bytes()], 5, &Limits::default())
        .unwrap();
    Weights {
        model: store.open(id).unwrap(),
        matrices,
        tables,
        vectors,
        stacks,
        kernels,
        routers,
    }
}

/// Type, columns and rows of the session's buffers. 0 and 1: ids. Then results, then floats.
pub(super) const BUFFERS: [(u32, u32, u32); 13] = [
    (26, 1, ROWS),
    (26, 1, ROWS),
    (0, 1, ROWS),
    (26, K, ROWS),
    (0, K, ROWS),
    (0, 64, ROWS),
    (0, 64, ROWS),
    (0, 64, FEW),
    (0, 256, ROWS),
    (0, 256, ROWS),
    (0, 256, FEW),
    (0, 40, ROWS),
    (0, 40, ROWS),
];

/// Type, heads, elements of a key and of a value, group, window.
const LAYERS: [(u32, u32, u32, u32, u32, u32); 5] = [
    (0, 4, 16, 16, 0, 0),
    (1, 1, 64, 64, 1, 70),
    (8, 2, 32, 32, 0, 0),
    (1, 1, 64, 256, 0, 0),
    (1, 2, 32, 32, 1, 70),
];

pub(super) fn memory(backends: &Backends, name: &str, seed: u64) -> Memory {
    let mut m = Memory::new(backends.select(Some(name)).unwrap(), NO_LIMITS);
    let mut rng = Rng(seed);
    for (i, (ty, cols, rows)) in BUFFERS.into_iter().enumerate() {
        m.buffer_create(ty, cols, rows).unwrap();
        let n = (cols * rows) as usize;
        let words: Vec<u32> = if ty == 0 {
            let odd = [
                f32::NAN,
                f32::INFINITY,
                f32::NEG_INFINITY,
                1e30,
                1e-40,
                -0.0,
            ];
            let mut float = |x: f32| match rng.bits() {
                n if seed % 4 == 3 && n >> 3 & 63 == 0 => odd[(n as usize >> 9) % odd.len()],
                _ => x,
            };
            let plain = Rng(seed).floats(n);
            plain.into_iter().map(|x| float(x).to_bits()).collect()
        } else {
            (0..n).map(|_| rng.bits() % V).collect()
        };
        let bytes: Vec<u8> = words.iter().flat_map(|x| x.to_le_bytes()).collect();
        m.buffer_write(i as u32, 0, &bytes).unwrap();
    }
    for (ty, n_head_kv, head_dim_k, head_dim_v, group, window) in LAYERS {
        m.kv_create(KvDesc {
            ty,
            n_head_kv,
            head_dim_k,
            head_dim_v,
            max_positions: CTX,
            group,
            window,
        })
        .unwrap();
    }
    m
}

/// Everything a session keeps.
pub(super) fn kept(m: &mut Memory) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (i, (_, cols, rows)) in BUFFERS.into_iter().enumerate() {
        let mut out = vec![0; (cols * rows * 4) as usize];
        m.buffer_read(i as u32, 0, &mut out).unwrap();
        all.push(out);
    }
    for g in 0..2 {
        for page in m.pages_mut(g) {
            let mut out = vec![0; page.bytes() as usize];
            page.read(0, &mut out).unwrap();
            all.push(out);
        }
    }
    all
}

/// Equal bits, or a NaN on both sides.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let words = |(x, y): (&[u8; 4], &[u8; 4])| {
        let (f, g) = (f32::from_le_bytes(*x), f32::from_le_bytes(*y));
        let half = |b: &[u8]| u16::from_le_bytes([b[0], b[1]]) & 0x7fff > 0x7c00;
        let halves = x.chunks(2).zip(y.chunks(2));
        let both = |(a, b): (&[u8], &[u8])| a == b || half(a) && half(b);
        x == y || f.is_nan() && g.is_nan() || halves.into_iter().all(both)
    };
    a.len() == b.len()
        && a.as_chunks::<4>()
            .0
            .iter()
            .zip(b.as_chunks::<4>().0)
            .all(words)
}

struct Value {
    bits: u32,
    cols: u32,
    dim: usize,
}

pub(super) struct Maker<'a> {
    r: Recorder,
    rng: Rng,
    weights: &'a Weights,
    values: Vec<Value>,
    /// Declared, and not written yet.
    unwritten: Vec<Value>,
    /// Lists of ids.
    ids: Vec<Value>,
    dims: [u32; 4],
    pos: u32,
    from: u32,
    text: Vec<std::string::String>,
}

const N: usize = 0;

impl<'a> Maker<'a> {
    pub(super) fn new(seed: u64, weights: &'a Weights) -> Self {
        let mut r = Recorder::default();
        let n = r.register(0, ROWS, 0);
        let few = r.register(0, FEW, 0);
        let pos = r.register(0, CTX - 1, if seed & 1 == 0 { 1 } else { 0 });
        let from = r.register(0, ROWS, 0);
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        rng.bits();
        Self {
            r,
            rng,
            weights,
            values: Vec::new(),
            unwritten: Vec::new(),
            ids: Vec::new(),
            dims: [n, few, 1, 5],
            pos,
            from,
            text: Vec::new(),
        }
    }

    fn below(&mut self, n: u32) -> u32 {
        (self.rng.bits() >> 3) % n
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    fn op(&mut self, code: Code, flags: u16, dst: u32, src: &[u32], param: &[u32]) {
        self.text
            .push(format!("{code:?} {dst:x} <- {src:x?} {param:x?}"));
        self.r.op(code, flags, dst, src, param);
        if let Some(i) = self.unwritten.iter().position(|v| v.bits == dst) {
            let v = self.unwritten.remove(i);
            self.values.push(v);
        }
    }

    fn cols(&mut self) -> u32 {
        COLS[self.below(3) as usize]
    }

    fn dim(&mut self) -> usize {
        [N, N, N, N, N, 1, 1, 2, 3][self.below(9) as usize]
    }

    /// A buffer of floats, most often one that has room for all rows.
    fn buffer(&mut self, cols: u32, dim: usize) -> u32 {
        let most = if self.one_in(30) {
            0
        } else {
            [ROWS, FEW, 1, 5][dim]
        };
        let fit: Vec<u32> = (5..BUFFERS.len() as u32)
            .filter(|&i| BUFFERS[i as usize].1 == cols && BUFFERS[i as usize].2 >= most)
            .collect();
        buf(fit[self.below(fit.len() as u32) as usize])
    }

    fn vector(&mut self, n: u32) -> u32 {
        let found = self.weights.vectors.iter().find(|v| v.1 == n);
        found.map_or(0, |v| w(v.0))
    }

    fn weight(&mut self, k: u32, m: u32) -> u32 {
        let all = &self.weights.matrices;
        let fit: Vec<u32> = all
            .iter()
            .filter(|x| (x.1, x.2) == (k, m))
            .map(|x| x.0)
            .collect();
        w(fit[self.below(fit.len() as u32) as usize])
    }

    /// Something to read, most often what was written last.
    fn source(&mut self, cols: u32, dim: usize) -> u32 {
        if self.one_in(9) {
            return self.buffer(cols, dim);
        }
        self.value(cols, dim)
    }

    fn value(&mut self, cols: u32, dim: usize) -> u32 {
        let fit: Vec<u32> = self
            .values
            .iter()
            .rev()
            .filter(|v| (v.cols, v.dim) == (cols, dim))
            .map(|v| v.bits)
            .collect();
        for bits in fit {
            if !self.one_in(3) {
                return bits;
            }
        }
        let to = self.fresh(cols, dim);
        if self.one_in(3) {
            let from = self.buffer(cols, dim);
            let count = self.dims[dim];
            self.op(Code::Cpy, 0, to, &[from], &[0, 0, count]);
        } else {
            self.get_rows(to, cols, dim);
        }
        to
    }

    fn get_rows(&mut self, to: u32, cols: u32, dim: usize) {
        let fit: Vec<u32> = self
            .weights
            .tables
            .iter()
            .filter(|t| t.1 == cols)
            .map(|t| t.0)
            .collect();
        let table = w(fit[self.below(fit.len() as u32) as usize]);
        let lists: Vec<u32> = self
            .ids
            .iter()
            .filter(|v| v.dim == dim)
            .map(|v| v.bits)
            .collect();
        let ids = match lists.last() {
            Some(&list) if !self.one_in(3) => list,
            _ => buf(self.below(2)),
        };
        if self.one_in(5) {
            let first = if self.one_in(2) { self.pos } else { 3 };
            self.op(Code::GetRows, 0, to, &[table], &[first]);
            return;
        }
        self.op(Code::GetRows, 0, to, &[table, ids], &[0]);
    }

    fn fresh(&mut self, cols: u32, dim: usize) -> u32 {
        let bits = self.r.value(0, cols, self.dims[dim]);
        self.unwritten.push(Value { bits, cols, dim });
        bits
    }

    /// Something to write that is none of `but`.
    fn target(&mut self, cols: u32, dim: usize, but: &[u32]) -> u32 {
        if self.one_in(9) {
            let b = self.buffer(cols, dim);
            if !but.contains(&b) {
                return b;
            }
        }
        if self.one_in(3) {
            let fit: Vec<usize> = (0..self.values.len())
                .filter(|&i| {
                    let v = &self.values[i];
                    (v.cols, v.dim) == (cols, dim) && !but.contains(&v.bits)
                })
                .collect();
            if !fit.is_empty() {
                let i = fit[self.below(fit.len() as u32) as usize];
                let v = self.values.remove(i);
                let bits = v.bits;
                self.values.push(v);
                return bits;
            }
        }
        self.fresh(cols, dim)
    }

    fn norm(&mut self, from: u32, to: u32, cols: u32, group: u32) {
        let weight = if self.one_in(4) {
            0
        } else {
            self.vector(if group == 0 { cols } else { group })
        };
        let eps = 1e-5f32.to_bits();
        if self.one_in(4) {
            let bias = if self.one_in(2) {
                0
            } else {
                self.vector(if group == 0 { cols } else { group })
            };
            self.op(Code::Norm, 0, to, &[from, weight, bias], &[eps, group]);
        } else {
            self.op(Code::RmsNorm, 0, to, &[from, weight], &[eps, group]);
        }
    }

    fn products(&mut self) {
        let (k, dim) = (self.cols(), self.dim());
        let mut x = self.source(k, dim);
        let residual = x;
        if !self.one_in(3) {
            let to = if self.one_in(4) {
                x
            } else {
                self.target(k, dim, &[])
            };
            let group = if self.one_in(4) { 8 } else { 0 };
            self.norm(x, to, k, group);
            x = to;
            if self.one_in(12) {
                self.any();
            }
        }
        let count = 1 + self.below(4);
        let same_m = !self.one_in(3);
        let m0 = self.cols();
        let mut outs = Vec::new();
        for _ in 0..count {
            let m = if same_m { m0 } else { self.cols() };
            let but = if self.one_in(8) {
                vec![x]
            } else {
                [&[x][..], &outs].concat()
            };
            let to = self.target(m, dim, &but);
            let bias = if self.one_in(3) { self.vector(m) } else { 0 };
            let weight = self.weight(k, m);
            self.op(Code::MulMat, 0, to, &[weight, x, bias], &[]);
            outs.push(to);
            if self.one_in(20) {
                self.any();
            }
        }
        match (count, self.below(4)) {
            (2.., 0 | 1) if same_m => {
                let (a, b) = (outs[0], outs[1]);
                let (a, b) = if self.one_in(6) { (b, a) } else { (a, b) };
                let to = match self.below(3) {
                    0 => a,
                    1 => self.fresh(m0, dim),
                    _ => self.target(m0, dim, &[b]),
                };
                let act = self.below(5);
                self.op(Code::Glu, 0, to, &[a, b], &[act]);
            }
            (1, 0) if k == m0 => {
                let (a, b) = if self.one_in(2) {
                    (outs[0], residual)
                } else {
                    (residual, outs[0])
                };
                if a == b {
                    return;
                }
                let to = match self.below(3) {
                    0 => a,
                    1 => self.fresh(m0, dim),
                    _ => self.target(m0, dim, &[b]),
                };
                self.op(Code::Add, 0, to, &[a, b], &[]);
            }
            (1, 1) => {
                let other = self.source(m0, dim);
                let (a, b) = if self.one_in(2) {
                    (outs[0], other)
                } else {
                    (other, outs[0])
                };
                let to = if self.one_in(2) {
                    a
                } else {
                    self.target(m0, dim, &[b])
                };
                self.op(Code::Add, 0, to, &[a, b], &[]);
            }
            (1, 2) => {
                let to = self.buffer(m0, dim);
                let rows = self.dims[dim];
                let at = if self.one_in(4) { self.from } else { 0 };
                self.op(Code::Cpy, 0, to, &[outs[0]], &[0, at, rows]);
            }
            _ => {}
        }
    }

    fn rope_params(&mut self, head: u32) -> [u32; 10] {
        let first = if self.one_in(4) { 3 } else { self.pos };
        let one = 1f32.to_bits();
        let dims = if self.one_in(3) { head / 2 } else { head };
        let base = if self.one_in(4) { 500f32 } else { 10000.0 };
        let ext = if self.one_in(8) { one } else { 0 };
        let scale = if self.one_in(8) { 0.5f32 } else { 1.0 };
        [
            first,
            head,
            dims,
            base.to_bits(),
            scale.to_bits(),
            ext,
            one,
            32f32.to_bits(),
            one,
            4096,
        ]
    }

    fn attention(&mut self) {
        let layer = self.below(LAYERS.len() as u32);
        let (_, heads, dk, dv, ..) = LAYERS[layer as usize];
        let dim = if self.one_in(2) { N } else { self.dim() };
        let q_cols = if dv == 256 || self.one_in(2) { 64 } else { 256 };
        let n_head = q_cols / dk;
        let q = if self.one_in(6) {
            self.source(q_cols, dim)
        } else {
            self.value(q_cols, dim)
        };
        let appends = !self.one_in(5);
        let (mut k, mut v) = (0, 0);
        if appends {
            k = if self.one_in(6) {
                self.source(heads * dk, dim)
            } else {
                self.value(heads * dk, dim)
            };
            v = self.source(heads * dv, dim);
        }
        for _ in 0..self.below(5) {
            let on_k = k != 0 && self.one_in(2);
            let (x, cols) = if on_k { (k, heads * dk) } else { (q, q_cols) };
            let head = if self.one_in(12) { dk / 2 } else { dk };
            let to = if self.one_in(12) {
                self.target(cols, dim, &[])
            } else {
                x
            };
            if self.one_in(3) {
                self.norm(x, to, cols, head);
            } else {
                let params = self.rope_params(head);
                let factors = if self.one_in(6) {
                    self.vector(params[2] / 2)
                } else {
                    0
                };
                let flags = self.below(2) as u16;
                self.op(Code::Rope, flags, to, &[x, factors], &params);
            }
            if self.one_in(16) {
                self.any();
            }
        }
        let to = self.target(n_head * dv, dim, &[q, k, v]);
        let window = [0, 0, 5, 70][self.below(4) as usize];
        let cap = if self.one_in(4) { 20f32 } else { 0.0 };
        let params = [self.pos, n_head, 0.25f32.to_bits(), window, cap.to_bits()];
        let sinks = if self.one_in(3) {
            self.vector(n_head)
        } else {
            0
        };
        let sources = [q, k, v, kv(layer), sinks];
        let flags = u16::from(window == 0 && self.one_in(4));
        self.op(Code::FlashAttnExt, flags, to, &sources, &params);
    }

    fn stack(&mut self, k: u32, m: u32) -> [u32; 2] {
        let all = &self.weights.stacks;
        let fit: Vec<_> = all.iter().filter(|s| (s.2, s.3) == (k, m)).collect();
        let (weight, bias) = (fit.len() as u32, self.one_in(3));
        let &&(t, b, ..) = &fit[self.below(weight) as usize];
        [w(t), if bias { w(b) } else { 0 }]
    }

    /// Experts: scores, the best of them, products with each, and their sum.
    fn experts(&mut self) {
        let (k, m) = STACKS[self.below(4) as usize];
        let dim = self.dim();
        let n = self.dims[dim];
        let x = self.source(k, dim);
        let used = 1 + self.below(3);
        let router = self.weights.routers.iter().find(|r| r.1 == k).unwrap().0;
        let scores = self.r.value(0, EXPERTS, n);
        self.op(Code::MulMat, 0, scores, &[w(router), x], &[]);
        let one = 1f32.to_bits();
        if self.one_in(2) {
            self.op(Code::SoftMax, 0, scores, &[scores], &[one]);
        }
        let (ids, weights) = (self.r.value(26, used, n), self.r.value(0, used, n));
        self.op(Code::TopK, 0, ids, &[scores, weights], &[used]);
        match self.below(3) {
            0 => self.op(Code::SoftMax, 0, weights, &[weights], &[one]),
            1 => {
                self.op(Code::Gather, 0, weights, &[scores, ids], &[]);
                let sum = self.r.value(0, 1, n);
                self.op(Code::SumRows, 0, sum, &[weights], &[]);
                self.op(Code::Div, 0, weights, &[weights, sum], &[]);
            }
            _ => {}
        }
        let mut hidden = [0; 2];
        for to in &mut hidden {
            let [weight, bias] = self.stack(k, m);
            *to = self.r.value(0, used * m, n);
            self.op(Code::MulMatId, 0, *to, &[weight, x, ids, bias], &[]);
            if self.one_in(10) {
                self.any();
            }
        }
        let [gate, up] = hidden;
        let act = if self.one_in(2) {
            [7, 1.7f32.to_bits(), 2f32.to_bits()]
        } else {
            [2, 0, 0]
        };
        self.op(Code::Glu, 0, gate, &[gate, up], &act);
        let (mut all, mut cols) = (gate, m);
        let back: Vec<u32> = STACKS.iter().filter(|s| s.0 == m).map(|s| s.1).collect();
        if !back.is_empty() && !self.one_in(4) {
            cols = back[self.below(back.len() as u32) as usize];
            let [weight, bias] = self.stack(m, cols);
            all = self.r.value(0, used * cols, n);
            self.op(Code::MulMatId, 0, all, &[weight, gate, ids, bias], &[]);
        }
        if cols == 64 && m != 64 && self.one_in(3) {
            // Through all experts instead, each with a part of its own: 8 parts of 64 from 8 of 40, say.
            let [weight, bias] = self.stack(m, cols);
            let wide = self.r.value(0, EXPERTS * m, n);
            let out = self.r.value(0, EXPERTS * cols, n);
            let each = self.r.value(0, EXPERTS * m, n);
            let [first, bias1] = self.stack(k, m);
            self.op(Code::MulMatId, 0, wide, &[first, x, 0, bias1], &[]);
            self.op(Code::Unary, 0, each, &[wide], &[5]);
            self.op(Code::MulMatId, 0, out, &[weight, each, 0, bias], &[]);
            let to = self.target(cols, dim, &[x]);
            self.op(Code::WeightedSum, 0, to, &[out, scores], &[]);
            return;
        }
        let to = self.target(cols, dim, &[x]);
        let ids = if self.one_in(4) { 0 } else { ids };
        self.op(Code::WeightedSum, 0, to, &[all, weights, ids], &[]);
    }

    /// A scan over a state of four rows, which goes back to where it came from.
    fn scan(&mut self, cols: u32, dim: usize, to: u32) {
        let (x, state) = (self.value(cols, dim), self.buffer(cols, 3));
        let [dt, b, c] = [0; 3].map(|_| self.source(cols, dim));
        let vector = self.vector(cols);
        let factors = if self.one_in(2) { vector } else { 0 };
        let both = self.r.value(0, cols, 4 + ROWS);
        let sources = [x, dt, b, c, vector, state, factors];
        let first = if self.one_in(2) { 1 } else { 0 };
        let begun = u32::from(!self.one_in(3));
        self.op(Code::SsmScan, 0, both, &sources, &[cols / 4, first, begun]);
        self.op(Code::Cpy, 0, state, &[both], &[0, 0, 4]);
        let rows = self.dims[dim];
        self.op(Code::Cpy, 0, to, &[both], &[4, 0, rows]);
    }

    fn any(&mut self) {
        let (cols, dim) = (self.cols(), self.dim());
        let x = self.source(cols, dim);
        let to = if self.one_in(2) {
            x
        } else {
            self.target(cols, dim, &[])
        };
        match self.below(15) {
            14 => self.scan(cols, dim, to),
            13 => {
                let kernel = self.weights.kernels.iter().find(|k| k.1 == cols);
                let kernel = w(kernel.unwrap().0);
                let state = match self.one_in(3) {
                    true => self.buffer(cols, 3),
                    false => self.value(cols, 3),
                };
                let to = match to == x || to == state {
                    true => self.fresh(cols, dim),
                    false => to,
                };
                self.op(Code::SsmConv, 0, to, &[x, state, kernel], &[]);
            }
            12 => {
                let half = 0.5f32.to_bits();
                self.op(Code::SoftMax, 0, to, &[x], &[half]);
            }
            0 | 1 => {
                let b = if self.one_in(3) {
                    self.vector(cols)
                } else {
                    self.source(cols, dim)
                };
                let code = if self.one_in(2) { Code::Add } else { Code::Mul };
                let to = if to == b { self.fresh(cols, dim) } else { to };
                self.op(code, 0, to, &[x, b], &[]);
            }
            2 => self.op(
                Code::Scale,
                0,
                to,
                &[x],
                &[0.5f32.to_bits(), 0.1f32.to_bits()],
            ),
            3 => {
                let b = self.source(cols, dim);
                let act = self.below(5);
                let act = match self.one_in(4) {
                    true => [7, 1.7f32.to_bits(), 0.5f32.to_bits()],
                    false => [act, 0, 0],
                };
                let to = if to == b { self.fresh(cols, dim) } else { to };
                self.op(Code::Glu, 0, to, &[x, b], &act);
            }
            4 => {
                let act = self.below(7);
                self.op(Code::Unary, 0, to, &[x], &[act]);
            }
            5 => self.op(Code::Softcap, 0, to, &[x], &[15f32.to_bits()]),
            6 if self.one_in(2) => {
                // Every second eight columns, and back with others between.
                let half = self.r.value(0, cols / 2, self.dims[dim]);
                let at = 8 * self.below(2);
                if cols % 16 == 0 {
                    self.op(Code::ViewCols, 0, half, &[x], &[at, 16]);
                    let both = self.fresh(cols, dim);
                    self.op(Code::Concat, 0, both, &[half, half], &[cols / 16]);
                    let to = self.fresh(cols, dim);
                    self.op(Code::Div, 0, to, &[both, x], &[]);
                }
            }
            6 => {
                let small = if cols == 256 { 64 } else { 40 };
                if cols != 40 {
                    let to = self.target(small, dim, &[x]);
                    let at = self.below(cols - small + 1);
                    self.op(Code::ViewCols, 0, to, &[x], &[at]);
                }
            }
            7 => {
                // Rows move: to a value all of its rows, to a buffer some.
                let all = self.dims[dim];
                match self.below(4) {
                    0 if dim == N => {
                        let x = self.value(cols, N);
                        let to = self.target(cols, 1, &[x]);
                        let few = self.dims[1];
                        self.op(Code::Cpy, 0, to, &[x], &[self.from, 0, few]);
                    }
                    1 => {
                        let x = self.buffer(cols, dim);
                        let to = self.target(cols, dim, &[x]);
                        let from = if self.one_in(2) { self.from } else { 0 };
                        self.op(Code::Cpy, 0, to, &[x], &[from, 0, all]);
                    }
                    _ => {
                        let to = self.buffer(cols, dim);
                        if to != x {
                            let at = if self.one_in(2) {
                                self.from
                            } else {
                                self.below(3)
                            };
                            self.op(Code::Cpy, 0, to, &[x], &[0, at, all]);
                        }
                    }
                }
            }
            8 => {
                if self.one_in(2) {
                    let bits = self.r.value(26, 1, self.dims[dim]);
                    self.op(Code::Argmax, 0, bits, &[x], &[]);
                    self.ids.push(Value { bits, cols: 1, dim });
                } else {
                    let to = buf(self.below(2));
                    self.op(Code::Argmax, 0, to, &[x], &[]);
                }
            }
            9 => {
                let one = 1f32.to_bits();
                self.op(Code::LogSumExp, 0, buf(2), &[x], &[one]);
            }
            10 => self.op(Code::TopK, 0, buf(3), &[x, buf(4)], &[K]),
            _ => {
                let head = if cols == 40 { 40 } else { 32 };
                let params = self.rope_params(head);
                let flags = self.below(2) as u16;
                self.op(Code::Rope, flags, to, &[x], &params);
            }
        }
    }

    pub(super) fn program(mut self, size: u32) -> (Vec<u8>, Vec<std::string::String>) {
        while (self.text.len() as u32) < size {
            match self.below(9) {
                0..=2 => self.products(),
                3 | 4 => self.attention(),
                8 => self.experts(),
                _ => self.any(),
            }
        }
        // What is left shows.
        for i in 0..self.values.len().min(6) {
            let v = &self.values[self.values.len() - 1 - i];
            let (bits, cols, dim) = (v.bits, v.cols, v.dim);
            let to = self.buffer(cols, dim);
            let rows = self.dims[dim];
            self.op(Code::Cpy, 0, to, &[bits], &[0, 0, rows]);
        }
        (self.r.bytes(), self.text)
    }
}

/// Registers and repetitions of a step.
struct Step {
    regs: [u32; 4],
    repeat: u32,
}

fn step(rng: &mut Rng) -> Step {
    let mut below = |n: u32| (rng.bits() >> 3) % n;
    let n = [1, 1, 1, 0, 2, 3, 5, 7, 8, ROWS][below(10) as usize];
    let few = below(n.min(FEW) + 1).max(n.min(1));
    Step {
        regs: [n, few, below(150), below(n - few + 1)],
        repeat: [1, 1, 1, 1, 2, 3][below(6) as usize],
    }
}

/// Runs steps of several sessions, as one batch where `together`. Returns whether all was well.
fn run(
    prepared: &Arc<Prepared>,
    sessions: &mut [Memory],
    steps: &[Step],
    threads: u32,
    quantum: u64,
    together: bool,
) -> Option<bool> {
    if !together {
        let mut well = true;
        for (m, s) in sessions.iter_mut().zip(steps) {
            let mut r = Run::new(prepared, &s.regs, s.repeat, threads, m).ok()?;
            loop {
                match r.advance(m, quantum) {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(_) => {
                        well = false;
                        break;
                    }
                }
            }
        }
        return Some(well);
    }
    let [
        Segment {
            worker: Worker::Plan { backend, plan },
            ..
        },
    ] = &prepared.segments[..]
    else {
        return None;
    };
    let mut runs = Vec::new();
    for (m, s) in sessions.iter_mut().zip(steps) {
        runs.push(Run::new(prepared, &s.regs, s.repeat, threads, m).ok()?);
    }
    let steps: Vec<realm_step> = runs.iter().map(Run::step).collect();
    let mut cursor = realm_cursor::default();
    let (t, n) = (&backend.table, steps.len() as u32);
    loop {
        // SAFETY: the steps were made for this plan, of sessions that live on.
        let code =
            unsafe { t.query.unwrap()(t.ctx, *plan, steps.as_ptr(), n, &raw mut cursor, quantum) };
        match code {
            REALM_BACKEND_RUNNING => {}
            code => return Some(code == 0),
        }
    }
}

/// Compares so many programs from `seed` on; returns how many there were, and how many runs of sessions.
fn compare(seed: u64, count: u64) -> (u64, u64) {
    let weights = weights();
    let reference = Backends::new(&busy_platform()).unwrap();
    let levels: Vec<isa::Isa> = isa::ALL.into_iter().filter(|l| l.available()).collect();
    let (mut programs, mut sessions) = (0, 0);
    for seed in seed..seed + count {
        let mut rng = Rng(seed ^ 0x5555);
        let size = 3 + rng.bits() % 40;
        let (bytes, text) = Maker::new(seed, &weights).program(size);
        let number = [1, 1, 2, 3, 5, 19][(rng.bits() >> 4) as usize % 6];
        let rounds: Vec<Vec<Step>> = (0..2)
            .map(|_| (0..number).map(|_| step(&mut rng)).collect())
            .collect();
        let mut want: Vec<Memory> = (0..number)
            .map(|i| memory(&reference, "reference", i))
            .collect();
        let prepared = match Prepared::new(&bytes, &weights.model, &mut want[0]) {
            Ok(p) => Arc::new(p),
            Err(e) => {
                if std::env::var_os("REALM_FUZZ_SHOW").is_some() {
                    std::eprintln!("{seed}: {}", e.message());
                }
                continue;
            }
        };
        if rounds
            .iter()
            .any(|steps| run(&prepared, &mut want, steps, 1, 0, false) != Some(true))
        {
            continue;
        }
        let want: Vec<_> = want.iter_mut().map(kept).collect();
        programs += 1;
        let _forcing = isa::FORCING.lock();
        for &level in &levels {
            assert!(isa::force(Some(level)));
            let cpu = Backends::new(&busy_platform()).unwrap();
            let mut got: Vec<Memory> = (0..number).map(|i| memory(&cpu, "cpu", i)).collect();
            let prepared = Arc::new(Prepared::new(&bytes, &weights.model, &mut got[0]).unwrap());
            let threads = 1 + rng.bits() % 3;
            let quantum = [0, 0, 1, 350, 5000][(rng.bits() >> 5) as usize % 5];
            let together = number > 1 || rng.bits() & 16 == 0;
            let what = format!(
                "program {seed} at {level:?}, {threads} threads, quantum {quantum}, {number} sessions"
            );
            for steps in &rounds {
                let well = run(&prepared, &mut got, steps, threads, quantum, together);
                assert_eq!(well, Some(true), "{what}: {text:#?}");
            }
            for (s, (got, want)) in got.iter_mut().map(kept).zip(&want).enumerate() {
                let bad = got.iter().zip(want).position(|(a, b)| !same(a, b));
                assert!(
                    bad.is_none() && got.len() == want.len(),
                    "{what}: session {s}, part {bad:?} differs\n{:?}\n{text:#?}",
                    rounds
                        .iter()
                        .map(|r| (r[s].regs, r[s].repeat))
                        .collect::<Vec<_>>()
                );
                sessions += 1;
            }
        }
    }
    assert!(isa::force(None));
    (programs, sessions)
}

#[test]
fn random_programs_give_the_bits_of_the_reference() {
    let number = |name: &str, or: u64| {
        let text = std::env::var(name).ok();
        text.map_or(or, |text| text.parse().unwrap())
    };
    let count = number("REALM_FUZZ_COUNT", 100);
    let (programs, sessions) = compare(number("REALM_FUZZ_SEED", 1), count);
    std::eprintln!("{programs} programs of {count}, {sessions} runs");
    assert!(programs > count / 3, "{programs} of {count} are valid");
}

/// Runs a program on the CPU port at every level and on the reference, with so many sessions of one batch, each with these
/// registers.
fn same_everywhere(bytes: &[u8], steps: &[Step]) {
    let model = &weights().model;
    let backends = Backends::new(&busy_platform()).unwrap();
    let results = |name: &str, together| {
        let mut all: Vec<Memory> = (0..steps.len() as u64)
            .map(|i| memory(&backends, name, i))
            .collect();
        let prepared = Arc::new(Prepared::new(bytes, model, &mut all[0]).unwrap());
        assert_eq!(run(&prepared, &mut all, steps, 3, 0, together), Some(true));
        all.iter_mut().flat_map(kept).collect::<Vec<_>>()
    };
    let want = results("reference", false);
    let _forcing = isa::FORCING.lock();
    for level in isa::ALL.into_iter().filter(|l| l.available()) {
        assert!(isa::force(Some(level)));
        let got = results("cpu", true);
        assert!(want.iter().zip(&got).all(|(a, b)| same(a, b)), "{level:?}");
    }
    assert!(isa::force(None));
}

#[test]
fn rotated_buffers_of_different_sizes_have_angles_for_all_rows() {
    let mut r = Recorder::default();
    let one = 1f32.to_bits();
    let params = [9, 32, 32, 10000f32.to_bits(), one, 0, one];
    for b in [7, 6, 5] {
        r.op(Code::Rope, 0, buf(b), &[buf(b)], &params);
    }
    // Zeros that differ in sign are different parameters.
    for (b, scale) in [(8, 0f32), (9, -0f32)] {
        let params = [9, 32, 32, 10000f32.to_bits(), scale.to_bits(), 0, one];
        r.op(Code::Rope, 0, buf(b), &[buf(b)], &params);
    }
    let step = Step {
        regs: [0; 4],
        repeat: 1,
    };
    // The recorder has no registers.
    let model = &weights().model;
    let backends = Backends::new(&busy_platform()).unwrap();
    let result = |name| {
        let mut m = memory(&backends, name, 1);
        let p = Arc::new(Prepared::new(&r.bytes(), model, &mut m).unwrap());
        let mut run = Run::new(&p, &step.regs[..0], 1, 1, &mut m).unwrap();
        assert!(run.advance(&mut m, 0).unwrap());
        kept(&mut m)
    };
    assert_eq!(result("reference"), result("cpu"));
}

#[test]
fn batches_of_steps_with_few_rows_each_have_room_for_all() {
    let weights = weights();
    for &(t, k, m) in &weights.matrices {
        if (k, m) != (256, 256) {
            continue;
        }
        let mut r = Recorder::default();
        let n = r.register(0, FEW, 0);
        for _ in 0..3 {
            r.register(0, CTX, 0);
        }
        let (x, y) = (r.value(0, k, n), r.value(0, m, n));
        r.op(Code::Cpy, 0, x, &[buf(8)], &[0, 0, n]);
        r.op(Code::MulMat, 0, y, &[w(t), x], &[]);
        r.op(Code::Cpy, 0, buf(9), &[y], &[0, 0, n]);
        let steps: Vec<Step> = (0..64)
            .map(|_| Step {
                regs: [FEW, 0, 0, 0],
                repeat: 1,
            })
            .collect();
        same_everywhere(&r.bytes(), &steps);
    }
}

#[test]
fn large_programs_are_planned_in_good_time() {
    let model = &weights().model;
    let backends = Backends::new(&busy_platform()).unwrap();
    let one = 1f32.to_bits();
    let rope = |i: u32| [0, 16, 2, (10000.0 + i as f32).to_bits(), one, 0, one];
    const MOST: u32 = 16000;
    for kind in 0..5 {
        let mut r = Recorder::default();
        let x = r.value(0, 64, 1);
        r.op(Code::Cpy, 0, x, &[buf(5)], &[0, 0, 1]);
        let weight = weights().matrices[0].0;
        for i in 0..MOST / 2 {
            match kind {
                0 => r.op(Code::Rope, 0, x, &[x], &rope(i)),
                1 => r.op(Code::Scale, 0, x, &[x], &[one]),
                2 => {
                    let y = r.value(0, 64, 1);
                    r.op(Code::MulMat, 0, y, &[w(weight), x], &[]);
                }
                3 => r.op(Code::MulMat, 0, buf(6), &[w(weight), x], &[]),
                _ => {
                    let y = r.value(0, 64, 1);
                    r.op(Code::RmsNorm, 0, y, &[x], &[]);
                    r.op(Code::MulMat, 0, x, &[w(weight), y], &[]);
                }
            }
        }
        // Not in place, just before attention: nothing of all that belongs to it.
        let y = r.value(0, 64, 1);
        r.op(Code::Rope, 0, y, &[x], &rope(0));
        let params = [0, 4, one];
        r.op(Code::FlashAttnExt, 0, buf(5), &[x, y, y, kv(0)], &params);
        let mut m = memory(&backends, "cpu", 1);
        let begun = std::time::Instant::now();
        Prepared::new(&r.bytes(), model, &mut m).unwrap();
        let took = begun.elapsed();
        std::eprintln!("{kind}: {took:?}");
        assert!(took.as_secs() < 20, "{kind}: {took:?}");
    }
}
