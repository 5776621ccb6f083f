//! Programs end to end over the reference: planning, validation, slices, threads, batches, devices.
//!
//! One long file, because every test here uses the little model and the recorder at its top.

use super::memory::{KvDesc, Memory, MemoryLimits};
use super::op::{Code, Operand};
use super::plan::plan;
use super::prepared::Prepared;
use super::program::Program;
use super::run::Run;
use crate::backend::host::{Backend, Backends, Kernel};
use crate::backend::table::*;
use crate::error::Status;
use crate::gguf::{Limits, write::Writer};
use crate::platform::{Platform, REALM_ABI_VERSION, realm_platform, realm_task_fn};
use crate::quant::{GgmlType, quantize_row};
use crate::store::{Model, Store};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr;

/// Numbers in -1..1 from a fixed sequence.
pub(super) struct Rng(pub u64);

impl Rng {
    pub(super) fn bits(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }
    fn f32(&mut self) -> f32 {
        self.bits() as f32 / (1u32 << 30) as f32 - 1.0
    }
    pub(super) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.f32()).collect()
    }
}

/// Records a program's bytes.
#[derive(Default)]
pub(super) struct Recorder {
    regs: Vec<u32>,
    values: Vec<u32>,
    ops: Vec<u32>,
}

const fn reg(i: u32) -> u32 {
    0x8000_0000 | i
}
pub(super) const fn w(i: u32) -> u32 {
    REALM_OPERAND_WEIGHT << 28 | i
}
pub(super) const fn buf(i: u32) -> u32 {
    REALM_OPERAND_BUFFER << 28 | i
}
pub(super) const fn kv(i: u32) -> u32 {
    REALM_OPERAND_KV << 28 | i
}

impl Recorder {
    pub(super) fn register(&mut self, min: u32, max: u32, stride: i32) -> u32 {
        self.regs.extend([min, max, stride as u32, 0]);
        reg(self.regs.len() as u32 / 4 - 1)
    }
    pub(super) fn value(&mut self, ty: u32, cols: u32, rows: u32) -> u32 {
        self.values.extend([ty, cols, rows, 0]);
        REALM_OPERAND_VALUE << 28 | (self.values.len() as u32 / 4 - 1)
    }
    pub(super) fn op(&mut self, code: Code, flags: u16, dst: u32, src: &[u32], param: &[u32]) {
        self.ops.push(code as u32 | u32::from(flags) << 16);
        self.ops.push(dst);
        let mut s = [0; 10];
        s[..src.len()].copy_from_slice(src);
        let mut p = [0; 20];
        p[..param.len()].copy_from_slice(param);
        self.ops.extend(s);
        self.ops.extend(p);
    }
    pub(super) fn bytes(&self) -> Vec<u8> {
        let (r, v, o) = (
            self.regs.len() / 4,
            self.values.len() / 4,
            self.ops.len() / 32,
        );
        let head = [0x4752_5052, 1 << 16, r as u32, v as u32, o as u32, 0, 0, 0];
        head.iter()
            .chain(&self.regs)
            .chain(&self.values)
            .chain(&self.ops)
            .flat_map(|w| w.to_le_bytes())
            .collect()
    }
}

const D: u32 = 64;
const V: u32 = 96;
const H: u32 = 4;
const CTX: u32 = 200;
const BATCH: u32 = 24;

fn quantized(rng: &mut Rng, ty: GgmlType, rows: u32, cols: u32) -> Vec<u8> {
    let bytes = ty.row_bytes(cols.into()).unwrap() as usize;
    let mut out = Vec::new();
    for _ in 0..rows {
        let mut row = vec![0; bytes];
        quantize_row(ty, &rng.floats(cols as usize), &mut row).unwrap();
        out.extend(row);
    }
    out
}

/// Tensors: 0 embedding, 1 norm, 2 q, 3 k, 4 v, 5 out, 6 gate, 7 up, 8 down, 9 head.
fn model() -> Arc<Model> {
    let mut rng = Rng(7);
    let mut f = Writer::new();
    let q8 = GgmlType::Q8_0;
    let shapes = [
        ("embd", GgmlType::F16, V, D),
        ("norm", GgmlType::F32, 1, D),
        ("q", q8, D, D),
        ("k", q8, D / 2, D),
        ("v", GgmlType::F32, D / 2, D),
        ("out", GgmlType::BF16, D, D),
        ("gate", q8, 2 * D, D),
        ("up", q8, 2 * D, D),
        ("down", q8, D, 2 * D),
        ("head", q8, V, D),
    ];
    for (name, ty, rows, cols) in shapes {
        let data = quantized(&mut rng, ty, rows, cols);
        let dims: &[u64] = if rows == 1 {
            &[cols.into()]
        } else {
            &[cols.into(), rows.into()]
        };
        f = f.tensor(name, dims, ty.id(), &data);
    }
    let store = Store::new();
    let id = store
        .register_copy(&[&f.bytes()], 5, &Limits::default())
        .unwrap();
    store.open(id).unwrap()
}

/// One transformer layer and a head; registers n, pos, first output row, output rows.
fn program() -> Vec<u8> {
    let mut r = Recorder::default();
    let (n, pos) = (r.register(1, BATCH, 0), r.register(0, CTX - 1, 0));
    let (out, n_out) = (r.register(0, BATCH - 1, 0), r.register(0, 1, 0));
    let eps = 1e-5f32.to_bits();
    let v = |r: &mut Recorder, cols| r.value(0, cols, n);
    let (x, h) = (v(&mut r, D), v(&mut r, D));
    let (q, k, val, a) = (
        v(&mut r, D),
        v(&mut r, D / 2),
        v(&mut r, D / 2),
        v(&mut r, D),
    );
    let (gate, up) = (v(&mut r, 2 * D), v(&mut r, 2 * D));
    let last = r.value(0, D, n_out);
    r.op(Code::GetRows, 0, x, &[w(0), buf(0)], &[0]);
    r.op(Code::RmsNorm, 0, h, &[x, w(1)], &[eps]);
    r.op(Code::MulMat, 0, q, &[w(2), h], &[]);
    r.op(Code::MulMat, 0, k, &[w(3), h], &[]);
    r.op(Code::MulMat, 0, val, &[w(4), h], &[]);
    let rope = [
        pos,
        16,
        16,
        10000f32.to_bits(),
        1f32.to_bits(),
        0,
        1f32.to_bits(),
    ];
    r.op(Code::Rope, 0, q, &[q], &rope);
    r.op(Code::Rope, 1, k, &[k], &rope);
    r.op(
        Code::FlashAttnExt,
        0,
        a,
        &[q, k, val, kv(0)],
        &[pos, H, 0.25f32.to_bits()],
    );
    r.op(Code::MulMat, 0, h, &[w(5), a], &[]);
    r.op(Code::Add, 0, x, &[x, h], &[]);
    r.op(Code::RmsNorm, 0, h, &[x, w(1)], &[eps]);
    r.op(Code::MulMat, 0, gate, &[w(6), h], &[]);
    r.op(Code::MulMat, 0, up, &[w(7), h], &[]);
    r.op(Code::Glu, 0, gate, &[gate, up], &[2]);
    r.op(Code::MulMat, 0, h, &[w(8), gate], &[]);
    r.op(Code::Add, 0, x, &[x, h], &[]);
    r.op(Code::Cpy, 0, last, &[x], &[out, 0, n_out]);
    r.op(Code::RmsNorm, 0, last, &[last, w(1)], &[eps]);
    r.op(Code::MulMat, 0, buf(1), &[w(9), last], &[]);
    r.op(Code::Argmax, 0, buf(2), &[buf(1)], &[]);
    r.bytes()
}

/// The KV layer that [`program`] attends to.
fn kv_desc(ty: u32) -> KvDesc {
    KvDesc {
        ty,
        n_head_kv: 2,
        head_dim_k: 16,
        head_dim_v: 16,
        max_positions: CTX,
        group: 0,
        window: 0,
    }
}

pub(super) const NO_LIMITS: MemoryLimits = MemoryLimits {
    buffer_bytes: u64::MAX,
    kv_bytes: u64::MAX,
    scratch_bytes: u64::MAX,
};

pub(super) struct Bench {
    pub memory: Memory,
    pub prepared: Arc<Prepared>,
}

fn bench(backends: &Backends, kv_type: u32) -> Bench {
    bench_on(backends, None, kv_type)
}

pub(super) fn bench_on(backends: &Backends, name: Option<&str>, kv_type: u32) -> Bench {
    let mut memory = Memory::new(backends.select(name).unwrap(), NO_LIMITS);
    memory.buffer_create(26, 1, BATCH).unwrap();
    memory.buffer_create(0, V, 1).unwrap();
    memory.buffer_create(26, 1, 1).unwrap();
    memory.kv_create(kv_desc(kv_type)).unwrap();
    let prepared = Arc::new(Prepared::new(&program(), &model(), &mut memory).unwrap());
    Bench { memory, prepared }
}

impl Bench {
    pub fn fork(&self) -> Self {
        Self {
            memory: self.memory.fork().unwrap(),
            prepared: Arc::clone(&self.prepared),
        }
    }

    pub fn step(&mut self, tokens: &[u32], pos: u32, threads: u32, quantum: u64) -> u32 {
        let bytes: Vec<u8> = tokens.iter().flat_map(|t| t.to_le_bytes()).collect();
        self.memory.buffer_write(0, 0, &bytes).unwrap();
        let n = tokens.len() as u32;
        let regs = [n, pos, n - 1, 1];
        let mut run = Run::new(&self.prepared, &regs, 1, threads, &mut self.memory).unwrap();
        let mut slices = 1;
        while !run.advance(&mut self.memory, quantum).unwrap() {
            slices += 1;
        }
        slices
    }

    pub fn logits(&self) -> Vec<u8> {
        let mut out = vec![0; V as usize * 4];
        self.memory.buffer_read(1, 0, &mut out).unwrap();
        out
    }
}

pub(super) fn tokens() -> Vec<u32> {
    let mut rng = Rng(3);
    (0..150).map(|_| rng.bits() % V).collect()
}

fn reference_logits(kv_type: u32) -> Vec<u8> {
    let backends = Backends::new(&Platform::default()).unwrap();
    let mut b = bench_on(&backends, Some("reference"), kv_type);
    for (i, &t) in tokens().iter().enumerate() {
        b.step(&[t], i as u32, 1, 0);
    }
    b.logits()
}

#[test]
fn only_small_steps_that_can_run_twice_are_merged() {
    let backends = Backends::new(&Platform::default()).unwrap();
    let mut b = bench(&backends, 0);
    for (n, repeat, merges) in [(1, 1, true), (8, 1, true), (9, 1, false), (1, 2, false)] {
        let run = Run::new(&b.prepared, &[n, 0, n - 1, 1], repeat, 1, &mut b.memory).unwrap();
        assert_eq!(run.may_merge(), merges, "{n} rows, {repeat} times");
    }
    // Attention that appends (true) or only reads, in this order.
    for (ops, merges) in [
        (&[true][..], true),
        (&[true, false, false], true),
        (&[false], true),
        (&[false, true], false),
        (&[true, true], false),
    ] {
        let mut r = Recorder::default();
        let (n, pos) = (r.register(1, BATCH, 0), r.register(0, CTX - 1, 0));
        let (q, k, a) = (r.value(0, D, n), r.value(0, D / 2, n), r.value(0, D, n));
        r.op(Code::GetRows, 0, q, &[w(0), buf(0)], &[0]);
        r.op(Code::ViewCols, 0, k, &[q], &[0]);
        for &appends in ops {
            let new = if appends { k } else { 0 };
            let param = [pos, H, 0.25f32.to_bits()];
            r.op(Code::FlashAttnExt, 0, a, &[q, new, new, kv(0)], &param);
        }
        let p = Prepared::new(&r.bytes(), &model(), &mut b.memory).unwrap();
        assert_eq!(p.merge.is_some(), merges, "{ops:?}");
    }
    // What is changed in place is kept, up to a size.
    for (cols, merges) in [(1 << 14, true), ((1 << 14) + 1, false)] {
        let mut memory = Memory::new(backends.select(None).unwrap(), NO_LIMITS);
        memory.buffer_create(0, cols, 1).unwrap();
        let mut r = Recorder::default();
        r.op(Code::Scale, 0, buf(0), &[buf(0)], &[2f32.to_bits()]);
        let p = Prepared::new(&r.bytes(), &model(), &mut memory).unwrap();
        assert_eq!(p.merge.is_some(), merges, "{cols}");
    }
}

/// A clock that moves a little at every look, threads, and memory that notices writes beside it: so that slicing is
/// exercised without waiting.
pub(super) fn busy_platform() -> Platform {
    unsafe extern "C" fn clock(_: *mut c_void) -> u64 {
        use core::sync::atomic::{AtomicU64, Ordering};
        static NOW: AtomicU64 = AtomicU64::new(0);
        NOW.fetch_add(100, Ordering::Relaxed)
    }
    /// Bytes on both sides of a block that nobody may write to.
    const GUARD: usize = 4096;
    fn guarded(bytes: usize, align: usize) -> core::alloc::Layout {
        assert!(align <= GUARD);
        core::alloc::Layout::from_size_align(bytes + 2 * GUARD, GUARD).unwrap()
    }
    unsafe extern "C" fn alloc(_: *mut c_void, bytes: usize, align: usize) -> *mut c_void {
        // SAFETY: a valid layout, and parts of what was allocated.
        unsafe {
            let p = alloc::alloc::alloc(guarded(bytes, align));
            p.write_bytes(0xa5, GUARD);
            p.add(GUARD + bytes).write_bytes(0xa5, GUARD);
            p.add(GUARD).cast()
        }
    }
    unsafe extern "C" fn free(_: *mut c_void, p: *mut c_void, bytes: usize, align: usize) {
        // SAFETY: made by `alloc` above.
        unsafe {
            let p = p.cast::<u8>().sub(GUARD);
            for side in [p, p.add(GUARD + bytes)] {
                let side = core::slice::from_raw_parts(side, GUARD);
                assert!(side.iter().all(|&b| b == 0xa5), "a write beside a block");
            }
            alloc::alloc::dealloc(p, guarded(bytes, align));
        }
    }
    unsafe extern "C" fn parallel_for(
        _: *mut c_void,
        n: u32,
        run: realm_task_fn,
        task: *mut c_void,
    ) {
        let task = task as usize;
        std::thread::scope(|s| {
            for i in 0..n {
                // SAFETY: the task is shared by contract.
                s.spawn(move || unsafe { run.unwrap()(task as *mut c_void, i) });
            }
        });
    }
    unsafe extern "C" fn width(_: *mut c_void) -> u32 {
        3
    }
    let table = realm_platform {
        struct_size: size_of::<realm_platform>() as u32,
        abi_version: REALM_ABI_VERSION,
        next: ptr::null(),
        ctx: ptr::null_mut(),
        alloc: Some(alloc),
        free: Some(free),
        clock_ns: Some(clock),
        log: None,
        parallel_for: Some(parallel_for),
        parallel_width: Some(width),
    };
    // SAFETY: a whole table.
    unsafe { Platform::from_table(&raw const table) }.unwrap()
}

/// On the backend of this name: batch sizes, threads and slices against the reference, token by token.
fn same_bits_on(name: &str) {
    for kv_type in [0, 1] {
        let want = reference_logits(kv_type);
        for (batch, threads, quantum) in
            [(24, 1, 0), (7, 1, 1), (24, 3, 0), (13, 3, 350), (1, 2, 1)]
        {
            let backends = Backends::new(&busy_platform()).unwrap();
            let mut b = bench_on(&backends, Some(name), kv_type);
            let mut slices = 0;
            for (i, chunk) in tokens().chunks(batch).enumerate() {
                slices += b.step(chunk, (i * batch) as u32, threads, quantum);
            }
            assert_eq!(
                b.logits(),
                want,
                "{name}: batch {batch}, {threads} threads, quantum {quantum}"
            );
            assert!(
                quantum == 0 || slices > 150u32.div_ceil(batch as u32),
                "{slices} slices"
            );
        }
    }
}

#[test]
fn batches_slices_and_threads_give_the_same_bits() {
    same_bits_on("reference");
}

#[cfg(feature = "cpu")]
#[test]
fn the_cpu_port_gives_the_bits_of_the_reference_at_every_level() {
    use crate::cpu::isa;
    let _forcing = isa::FORCING.lock();
    for level in isa::ALL.into_iter().filter(|l| l.available()) {
        // The process's other tests may see it too: to those that do not ask it makes no difference.
        assert!(isa::force(Some(level)));
        same_bits_on("cpu");
    }
    assert!(isa::force(None));
}

#[test]
fn rewinding_forgets_and_frees() {
    let mut b = bench(&Backends::new(&Platform::default()).unwrap(), 1);
    let t = tokens();
    b.step(&t[..24], 0, 1, 0);
    let one = b.memory.usage().kv_bytes;
    let before = b.logits();
    for i in 1..6 {
        b.step(&t[24 * i..24 * (i + 1)], 24 * i as u32, 1, 0);
    }
    assert_eq!(b.memory.usage().kv_bytes, 3 * one);
    b.memory.kv_truncate(23).unwrap();
    assert_eq!(b.memory.usage().kv_bytes, one);
    b.step(&t[23..24], 23, 1, 0);
    assert_eq!(b.logits(), before);
}

#[test]
fn registers_are_checked_at_every_step() {
    let mut b = bench(&Backends::new(&Platform::default()).unwrap(), 0);
    let bad: [&[u32]; 5] = [
        &[0, 0, 0, 1],
        &[BATCH + 1, 0, 0, 1],
        &[4, CTX, 0, 1],
        &[4, CTX - 3, 0, 1],
        &[4, 0, 0],
    ];
    for regs in bad {
        let e = Run::new(&b.prepared, regs, 1, 1, &mut b.memory)
            .err()
            .unwrap();
        assert_eq!(e.status(), Status::InvalidArgument, "{regs:?}");
    }
    b.memory.buffer_write(0, 0, &V.to_le_bytes()).unwrap();
    let mut run = Run::new(&b.prepared, &[1, 0, 0, 1], 1, 1, &mut b.memory).unwrap();
    let e = run.advance(&mut b.memory, 0).unwrap_err();
    assert_eq!(
        e.status(),
        Status::InvalidArgument,
        "token id past the vocabulary"
    );
}

#[test]
fn limits_hold() {
    let backends = Backends::new(&Platform::default()).unwrap();
    let mut m = Memory::new(
        backends.select(None).unwrap(),
        MemoryLimits {
            buffer_bytes: 1000,
            kv_bytes: 5000,
            scratch_bytes: 10,
        },
    );
    assert_eq!(
        m.buffer_create(0, 251, 1).unwrap_err().status(),
        Status::Limit
    );
    m.buffer_create(26, 1, BATCH).unwrap();
    m.buffer_create(0, V, 1).unwrap();
    m.buffer_create(26, 1, 1).unwrap();
    let desc = kv_desc(0);
    m.kv_create(desc).unwrap();
    let e = Prepared::new(&program(), &model(), &mut m).err().unwrap();
    assert_eq!(e.status(), Status::Limit);
    assert_eq!(m.kv_reach(0, 0, 1).unwrap_err().status(), Status::Limit);
}

#[test]
fn values_alive_together_do_not_overlap() {
    let mut p = Program::parse(&program()).unwrap();
    plan(&mut p, u64::MAX).unwrap();
    let total: u64 = (0..p.values.len() as u32).map(|v| p.value_bytes(v)).sum();
    assert!(p.scratch_bytes < total, "nothing is shared");
    let span = |v: u32| {
        let uses = p.ops.iter().enumerate().filter(|(_, op)| {
            core::iter::once(&op.dst)
                .chain(&op.src)
                .any(|&b| Operand::of(b) == Operand::Value(v))
        });
        let at: Vec<usize> = uses.map(|(i, _)| i).collect();
        (at[0], *at.last().unwrap())
    };
    for a in 0..p.values.len() as u32 {
        for b in 0..a {
            let ((a0, a1), (b0, b1)) = (span(a), span(b));
            let (x, y) = (p.values[a as usize].offset, p.values[b as usize].offset);
            let apart = x + p.value_bytes(a) <= y || y + p.value_bytes(b) <= x;
            assert!(a1 < b0 || b1 < a0 || apart, "values {a} and {b}");
        }
    }
}

#[test]
fn damaged_programs_are_refused_or_harmless() {
    let good = program();
    let backends = Backends::new(&Platform::default()).unwrap();
    let model = model();
    let mut rng = Rng(11);
    let limits = MemoryLimits {
        scratch_bytes: 1 << 24,
        ..NO_LIMITS
    };
    let (mut refused, mut ran) = (0, 0);
    for round in 0..3000 {
        let mut bytes = good.clone();
        for _ in 0..1 + round % 3 {
            let at = 8 + rng.bits() as usize % (bytes.len() - 8);
            let at = at & !3;
            let word = match rng.bits() % 4 {
                0 => rng.bits(),
                1 => rng.bits() % 8,
                2 => 1 << (rng.bits() % 32),
                _ => u32::MAX - rng.bits() % 4,
            };
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let mut memory = Memory::new(backends.select(None).unwrap(), limits);
        memory.buffer_create(26, 1, BATCH).unwrap();
        memory.buffer_create(0, V, 1).unwrap();
        memory.buffer_create(26, 1, 1).unwrap();
        memory.kv_create(kv_desc(1)).unwrap();
        match Prepared::new(&bytes, &model, &mut memory) {
            Err(_) => refused += 1,
            Ok(p) => {
                let regs: Vec<u32> = p
                    .program
                    .registers
                    .iter()
                    .map(|r| r.max.min(r.min + 3))
                    .collect();
                if let Ok(mut run) = Run::new(&Arc::new(p), &regs, 1, 1, &mut memory) {
                    let _ = run.advance(&mut memory, 0);
                    ran += 1;
                }
            }
        }
    }
    assert!(refused > 500 && ran > 20, "{refused} refused, {ran} ran");
    for cut in 0..good.len().min(400) {
        assert!(Program::parse(&good[..cut]).is_err());
    }
}

/// A device whose memory is not addressable: handles are boxed vectors. It runs what `mask` says by handing it to the
/// reference on its own memory.
mod device {
    use super::*;

    struct State {
        reference: realm_backend,
        codes: Vec<u16>,
    }

    unsafe fn memory<'a>(b: *mut c_void) -> &'a mut Vec<u8> {
        // SAFETY: every handle is one of ours.
        unsafe { &mut *b.cast::<Vec<u8>>() }
    }
    unsafe extern "C" fn create(_: *mut c_void, bytes: u64, out: *mut *mut c_void) -> i32 {
        // Room to align, because a vector of bytes is not.
        let v = Box::new(vec![0u8; bytes as usize]);
        // SAFETY: valid for writing.
        unsafe { *out = Box::into_raw(v).cast() };
        0
    }
    unsafe extern "C" fn destroy(_: *mut c_void, b: *mut c_void) {
        // SAFETY: made by `create`.
        drop(unsafe { Box::from_raw(b.cast::<Vec<u8>>()) });
    }
    unsafe extern "C" fn write(
        _: *mut c_void,
        b: *mut c_void,
        at: u64,
        p: *const c_void,
        n: u64,
    ) -> i32 {
        // SAFETY: bounds are the core's promise, and checked here.
        unsafe {
            let from = core::slice::from_raw_parts(p.cast::<u8>(), n as usize);
            memory(b)[at as usize..][..n as usize].copy_from_slice(from);
        }
        0
    }
    unsafe extern "C" fn read(
        _: *mut c_void,
        b: *mut c_void,
        at: u64,
        p: *mut c_void,
        n: u64,
    ) -> i32 {
        // SAFETY: as above.
        unsafe {
            let to = core::slice::from_raw_parts_mut(p.cast::<u8>(), n as usize);
            to.copy_from_slice(&memory(b)[at as usize..][..n as usize]);
        }
        0
    }
    unsafe extern "C" fn supports(ctx: *mut c_void, p: *const realm_program, i: u32) -> i32 {
        // SAFETY: contract of the slot.
        unsafe {
            let s = &*ctx.cast::<State>();
            i32::from(s.codes.contains(&(*(*p).ops.add(i as usize)).code))
        }
    }
    unsafe extern "C" fn prepare(
        ctx: *mut c_void,
        p: *const realm_program,
        first: u32,
        count: u32,
        plan: *mut *mut c_void,
        bytes: *mut u64,
    ) -> i32 {
        // SAFETY: the reference has the same contract.
        unsafe {
            (*ctx.cast::<State>()).reference.prepare.unwrap()(
                ptr::null_mut(),
                p,
                first,
                count,
                plan,
                bytes,
            )
        }
    }
    unsafe extern "C" fn discard(ctx: *mut c_void, plan: *mut c_void) {
        // SAFETY: as above.
        unsafe { (*ctx.cast::<State>()).reference.discard.unwrap()(ptr::null_mut(), plan) }
    }
    unsafe extern "C" fn submit(
        _: *mut c_void,
        _: *mut c_void,
        _: *const realm_step,
        _: u32,
        _: *mut realm_cursor,
    ) -> i32 {
        0
    }
    unsafe extern "C" fn query(
        ctx: *mut c_void,
        plan: *mut c_void,
        steps: *const realm_step,
        n: u32,
        cursor: *mut realm_cursor,
        _: u64,
    ) -> i32 {
        // SAFETY: the handles of the step are vectors; the reference gets their addresses.
        unsafe {
            let s = &*ctx.cast::<State>();
            let address = |b: *mut c_void| {
                if b.is_null() {
                    b
                } else {
                    memory(b).as_mut_ptr().cast()
                }
            };
            let step = *steps;
            let buffers: Vec<*mut c_void> = (0..3).map(|i| address(*step.buffers.add(i))).collect();
            let t = &*step.kv_tables;
            let pages: Vec<*mut c_void> = (0..t.page_count as usize)
                .map(|i| address(*t.pages.add(i)))
                .collect();
            let table = realm_kv_table {
                pages: pages.as_ptr(),
                ..*t
            };
            let here = realm_step {
                scratch: address(step.scratch),
                workspace: address(step.workspace),
                buffers: buffers.as_ptr(),
                kv_tables: &raw const table,
                ..step
            };
            s.reference.query.unwrap()(s.reference.ctx, plan, &raw const here, n, cursor, 0)
        }
    }

    pub fn table(platform: &'static Platform, codes: &[u16]) -> realm_backend {
        let state = Box::leak(Box::new(State {
            reference: crate::graph::reference::table(platform),
            codes: codes.to_vec(),
        }));
        realm_backend {
            name: c"device".as_ptr(),
            flags: 0,
            ctx: ptr::from_mut(state).cast(),
            buffer_create: Some(create),
            buffer_destroy: Some(destroy),
            buffer_write: Some(write),
            buffer_read: Some(read),
            supports: Some(supports),
            prepare: Some(prepare),
            discard: Some(discard),
            submit: Some(submit),
            query: Some(query),
            ..state.reference
        }
    }
}

#[test]
fn a_device_with_gaps_gives_the_same_bits() {
    let platform: &'static Platform = Box::leak(Box::default());
    for (codes, fallback) in [
        (&[1u16, 2, 4, 6, 7, 8, 10, 14, 16][..], false),
        (&[4, 7][..], true),
        (&[2][..], true),
        (&[][..], true),
    ] {
        for kv_type in [0, 1] {
            let mut backends = Backends::new(platform).unwrap();
            let table = device::table(platform, codes);
            // SAFETY: a whole table that lives for ever.
            backends
                .add(unsafe { Backend::from_table(&raw const table, platform) }.unwrap())
                .unwrap();
            let mut b = bench(&backends, kv_type);
            let mut forks = vec![];
            for (i, chunk) in tokens().chunks(20).enumerate() {
                let at = i as u32 * 20;
                if at.is_multiple_of(40) {
                    forks.push((at, b.fork()));
                }
                b.step(chunk, at, 1, 0);
            }
            assert_eq!(b.logits(), reference_logits(kv_type), "{codes:?}");
            assert_eq!(b.memory.usage().fallback_ops > 0, fallback);
            // Forks go astray, back, and where it went, whatever of the pages they share with whom.
            for (at, f) in &mut forks {
                f.step(&[1, 2, 3, 4, 5, 6, 7], *at, 1, 0);
            }
            assert_eq!(b.logits(), reference_logits(kv_type));
            for (at, f) in &mut forks {
                f.memory.kv_truncate(*at).unwrap();
                for (i, chunk) in tokens()[*at as usize..].chunks(20).enumerate() {
                    f.step(chunk, *at + i as u32 * 20, 1, 0);
                }
                assert_eq!(f.logits(), reference_logits(kv_type), "{codes:?} from {at}");
                assert_eq!(f.memory.usage().kv_bytes, b.memory.usage().kv_bytes);
            }
            // And it was not disturbed: its last token, once more.
            b.memory.kv_truncate(149).unwrap();
            b.step(&tokens()[149..], 149, 1, 0);
            assert_eq!(b.logits(), reference_logits(kv_type));
        }
    }
}

#[test]
fn a_hosts_kernel_takes_over_an_operation() {
    unsafe extern "C" fn add(calls: *mut c_void, args: *const realm_kernel_args) -> i32 {
        // SAFETY: the core gives whole operands.
        unsafe {
            *calls.cast::<u32>() += 1;
            let a = &*args;
            let n = (a.dst.rows * u64::from(a.dst.cols)) as usize;
            let (x, y, to) = (
                a.src[0].data.cast::<f32>(),
                a.src[1].data.cast::<f32>(),
                a.dst.data.cast::<f32>(),
            );
            for i in 0..n {
                *to.add(i) = *x.add(i) + *y.add(i);
            }
        }
        0
    }
    let mut calls = 0u32;
    let mut backends = Backends::new(&Platform::default()).unwrap();
    backends
        .add_kernel(Kernel {
            op: Code::Add as u32,
            ty: 0,
            call: Some(add),
            ctx: (&raw mut calls).cast(),
        })
        .unwrap();
    let mut b = bench(&backends, 1);
    for (i, chunk) in tokens().chunks(20).enumerate() {
        b.step(chunk, i as u32 * 20, 1, 0);
    }
    assert_eq!(b.logits(), reference_logits(1));
    assert_eq!(calls, 2 * 8);
}

#[test]
fn repetition_moves_registers_by_their_strides() {
    let backends = Backends::new(&Platform::default()).unwrap();
    let mut memory = Memory::new(backends.select(None).unwrap(), NO_LIMITS);
    memory.buffer_create(26, 1, 8).unwrap();
    memory.buffer_create(26, 1, 8).unwrap();
    let mut r = Recorder::default();
    let (from, to) = (r.register(0, 7, 1), r.register(0, 7, -1));
    r.op(Code::Cpy, 0, buf(1), &[buf(0)], &[from, to, 1]);
    let p = Arc::new(Prepared::new(&r.bytes(), &model(), &mut memory).unwrap());
    let bytes: Vec<u8> = (10..18u32).flat_map(|x| x.to_le_bytes()).collect();
    memory.buffer_write(0, 0, &bytes).unwrap();
    assert!(Run::new(&p, &[0, 7], 9, 1, &mut memory).is_err());
    let mut run = Run::new(&p, &[0, 7], 8, 1, &mut memory).unwrap();
    assert!(run.advance(&mut memory, 0).unwrap());
    let mut out = vec![0; 32];
    memory.buffer_read(1, 0, &mut out).unwrap();
    let want: Vec<u8> = (10..18u32).rev().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(out, want);
}

fn empty_memory(platform: &Platform) -> Memory {
    let backends = Backends::new(platform).unwrap();
    Memory::new(backends.select(None).unwrap(), NO_LIMITS)
}

#[test]
fn attention_cannot_outgrow_its_destination() {
    // Destination and q are buffers, k and v are values with more rows than the destination has.
    for short in [0, 1] {
        let mut memory = empty_memory(&Platform::default());
        memory.buffer_create(26, 1, BATCH).unwrap();
        for i in 0..2 {
            let rows = if i == short { 1 } else { BATCH };
            memory.buffer_create(0, D, rows).unwrap();
        }
        memory.kv_create(kv_desc(0)).unwrap();
        let mut r = Recorder::default();
        let n = r.register(1, BATCH, 0);
        let (x, k) = (r.value(0, D, n), r.value(0, D / 2, n));
        r.op(Code::GetRows, 0, x, &[w(0), buf(0)], &[0]);
        r.op(Code::MulMat, 0, k, &[w(3), x], &[]);
        let params = [0, H, 0.25f32.to_bits()];
        let src = [buf(2), k, k, kv(0)];
        r.op(Code::FlashAttnExt, 0, buf(1), &src, &params);
        let e = Prepared::new(&r.bytes(), &model(), &mut memory).err();
        assert_eq!(e.map(|e| e.status()), Some(Status::Format), "{short}");
    }
}

#[test]
fn steps_survive_scratch_that_was_not_to_be_had() {
    let mut b = bench(&Backends::new(&Platform::default()).unwrap(), 1);
    b.step(&[3, 4], 0, 1, 0);
    let want = b.logits();
    // More than an address space.
    let mut r = Recorder::default();
    let n = r.register(1, 1 << 28, 0);
    let values: Vec<u32> = (0..8192).map(|_| r.value(0, D, n)).collect();
    for &v in &values {
        r.op(Code::GetRows, 0, v, &[w(0), buf(0)], &[0]);
    }
    for &v in &values[1..] {
        r.op(Code::Add, 0, values[0], &[values[0], v], &[]);
    }
    let e = Prepared::new(&r.bytes(), &model(), &mut b.memory).err();
    assert_eq!(e.map(|e| e.status()), Some(Status::NoMemory));
    assert!(b.memory.usage().scratch_bytes < 1 << 30);
    b.memory.kv_truncate(0).unwrap();
    b.step(&[3, 4], 0, 1, 0);
    assert_eq!(b.logits(), want);
}

#[test]
fn products_of_one_input_share_only_the_rows_that_are_prepared() {
    let run = |with_first: bool| {
        let mut memory = empty_memory(&Platform::default());
        memory.buffer_create(0, D, 8).unwrap();
        memory.buffer_create(0, D / 2, 8).unwrap();
        let mut r = Recorder::default();
        let (one, all) = (r.value(0, D, 1), r.value(0, D / 2, 8));
        if with_first {
            r.op(Code::MulMat, 0, one, &[w(2), buf(0)], &[]);
        }
        r.op(Code::MulMat, 0, all, &[w(3), buf(0)], &[]);
        r.op(Code::Cpy, 0, buf(1), &[all], &[0, 0, 8]);
        let p = Arc::new(Prepared::new(&r.bytes(), &model(), &mut memory).unwrap());
        let x = Rng(11).floats(8 * D as usize);
        let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
        memory.buffer_write(0, 0, &bytes).unwrap();
        let mut run = Run::new(&p, &[], 1, 1, &mut memory).unwrap();
        assert!(run.advance(&mut memory, 0).unwrap());
        let mut out = vec![0; 8 * D as usize / 2 * 4];
        memory.buffer_read(1, 0, &mut out).unwrap();
        out
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn doing_nothing_very_often_can_be_interrupted() {
    let mut memory = empty_memory(&busy_platform());
    memory.buffer_create(26, 1, 8).unwrap();
    let empty = Recorder::default().bytes();
    let p = Arc::new(Prepared::new(&empty, &model(), &mut memory).unwrap());
    let mut run = Run::new(&p, &[], super::run::MAX_REPEAT, 1, &mut memory).unwrap();
    assert!(run.advance(&mut memory, 1).unwrap());

    let mut r = Recorder::default();
    let n = r.register(0, 8, 0);
    let x = r.value(0, D, n);
    r.op(Code::GetRows, 0, x, &[w(0), buf(0)], &[0]);
    let p = Arc::new(Prepared::new(&r.bytes(), &model(), &mut memory).unwrap());
    let mut run = Run::new(&p, &[0], super::run::MAX_REPEAT, 1, &mut memory).unwrap();
    assert!(!run.advance(&mut memory, 1000).unwrap());
}

#[test]
fn a_hosts_kernel_alone_is_repeated() {
    unsafe extern "C" fn count(calls: *mut c_void, args: *const realm_kernel_args) -> i32 {
        // SAFETY: the test's counter and the core's registers.
        unsafe { *calls.cast::<u32>() += *(*args).registers };
        0
    }
    let mut calls = 0u32;
    let mut backends = Backends::new(&busy_platform()).unwrap();
    let (op, call) = (Code::Scale as u32, Some(count as _));
    let (ty, ctx) = (u32::MAX, (&raw mut calls).cast());
    backends.add_kernel(Kernel { op, ty, call, ctx }).unwrap();
    let mut memory = Memory::new(backends.select(None).unwrap(), NO_LIMITS);
    memory.buffer_create(0, 4, 1).unwrap();
    let mut r = Recorder::default();
    r.register(0, 100, 1);
    r.op(Code::Scale, 0, buf(0), &[buf(0)], &[0, 0]);
    let p = Arc::new(Prepared::new(&r.bytes(), &model(), &mut memory).unwrap());
    let mut run = Run::new(&p, &[1], 3, 1, &mut memory).unwrap();
    let mut slices = 1;
    while !run.advance(&mut memory, 1).unwrap() {
        slices += 1;
    }
    assert_eq!((calls, slices), (1 + 2 + 3, 3));
}

#[test]
fn ropes_are_bounded() {
    let make = |cols: u32, times: u32| {
        let mut memory = empty_memory(&Platform::default());
        memory.buffer_create(0, cols, 1).unwrap();
        let mut r = Recorder::default();
        let one = 1f32.to_bits();
        let params = [0, cols, cols, 10000f32.to_bits(), one, 0, one];
        for _ in 0..times {
            r.op(Code::Rope, 0, buf(0), &[buf(0)], &params);
        }
        Prepared::new(&r.bytes(), &model(), &mut memory)
            .err()
            .map(|e| e.status())
    };
    assert_eq!(make(1 << 16, 1), None);
    assert_eq!(make(1 << 17, 1), Some(Status::Limit));
    assert_eq!(make(1 << 16, 17), Some(Status::Limit));
}
