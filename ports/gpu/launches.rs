//! What the port makes of programs on the emulated device: batches, operations with a launch in common, and the kernel that interprets launches.
//!
//! Compiled as a child of `graph`, as `conformance.rs` is.

use super::fuzz_tests::{self, kept, same};
use super::gpu_conformance::{backends, little, nmse, step, tested};
use super::op::Code;
use super::prepared::{Prepared, Segment, Worker};
use super::run::Run;
use super::tests::{Bench, Recorder, buf, tokens, w};
use crate::backend::host::Backends;
use crate::backend::table::*;
use crate::gpu::emulated::Emulated;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

/// Runs steps of one plan as a batch.
fn together(prepared: &Prepared, runs: &[Run], quantum: u64) {
    let steps: Vec<realm_step> = runs.iter().map(Run::step).collect();
    let [
        Segment {
            worker: Worker::Plan { backend, plan },
            ..
        },
    ] = &prepared.segments[..]
    else {
        panic!("one segment");
    };
    let (t, n) = (&backend.table, steps.len() as u32);
    let mut cursor = realm_cursor::default();
    // SAFETY: the steps were made for this plan, of sessions that live on.
    unsafe {
        let code = t.submit.unwrap()(t.ctx, *plan, steps.as_ptr(), n, &raw mut cursor);
        assert_eq!(code, 0);
        while match t.query.unwrap()(t.ctx, *plan, steps.as_ptr(), n, &raw mut cursor, quantum) {
            REALM_BACKEND_RUNNING => true,
            code => {
                assert_eq!(code, 0);
                false
            }
        } {}
    }
}

/// Eleven sessions, more than one block of a product takes, with weights of every type.
#[test]
fn products_of_a_batch_have_the_bits_of_those_alone() {
    let (backends, _) = backends();
    let weights = fuzz_tests::weights();
    for &(t, k, m) in weights.matrices() {
        let Some(from) = [(64, 5), (256, 8)]
            .iter()
            .find(|f| (k, m) == (f.0, f.0))
            .map(|f| f.1)
        else {
            continue;
        };
        let mut r = Recorder::default();
        let [x, y, z] = [(); 3].map(|()| r.value(0, k, 1));
        r.op(Code::Cpy, 0, x, &[buf(from)], &[0, 0, 1]);
        r.op(Code::RmsNorm, 0, y, &[x], &[1e-5f32.to_bits()]);
        r.op(Code::MulMat, 0, z, &[w(t), y], &[]);
        r.op(Code::Add, 0, z, &[z, x], &[]);
        r.op(Code::Cpy, 0, buf(from + 1), &[z], &[0, 0, 1]);
        let mut memory = fuzz_tests::memory(&backends, "gpu-emulated", 0);
        let prepared = Arc::new(Prepared::new(&r.bytes(), &weights.model, &mut memory).unwrap());
        if prepared.fallback_ops() > 0 {
            continue;
        }
        let session = |i: u32| {
            let mut own = memory.fork().unwrap();
            let input = |c: u32| (((c * 37 + i * 11) % 101) as f32 - 50.0).to_le_bytes();
            let bytes: Vec<u8> = (0..k).flat_map(input).collect();
            own.buffer_write(from, 0, &bytes).unwrap();
            own
        };
        let alone = |i: u32| {
            let mut own = session(i);
            assert!(step(&prepared, &mut own, &[], 0));
            kept(&mut own).swap_remove(from as usize + 1)
        };
        let mut sessions: Vec<_> = (0..11).map(session).collect();
        let runs: Vec<Run> = sessions
            .iter_mut()
            .map(|s| Run::new(&prepared, &[], 1, 1, s).unwrap())
            .collect();
        together(&prepared, &runs, 0);
        drop(runs);
        for (i, s) in sessions.iter_mut().enumerate() {
            let got = kept(s).swap_remove(from as usize + 1);
            assert!(same(&got, &alone(i as u32)), "matrix {t}, session {i}");
        }
    }
}

#[test]
fn steps_of_several_sessions_are_one_batch() {
    let (backends, gpu, emulated) = tested();
    let begun = little(&backends, gpu, 1, 24, 0);
    let next = tokens();
    let alone: Vec<Vec<u8>> = (0..5)
        .map(|i| {
            let mut s = begun.fork();
            s.step(&next[i..=i], 150 + i as u32, 1, 0);
            s.logits()
        })
        .collect();
    // The third time is a replay: of a graph, or by the kernel that interprets launches.
    for (quantum, interprets) in [0, 0, 0, 2000]
        .iter()
        .flat_map(|&q| [(q, false), (q, true)])
    {
        if let Some(device) = &emulated {
            device.interprets.store(interprets, Relaxed);
        }
        let mut sessions: Vec<Bench> = (0..5).map(|_| begun.fork()).collect();
        let runs: Vec<Run> = sessions
            .iter_mut()
            .enumerate()
            .map(|(i, s)| {
                s.memory.buffer_write(0, 0, &next[i].to_le_bytes()).unwrap();
                let registers = [1, 150 + i as u32, 0, 1];
                Run::new(&s.prepared, &registers, 1, 1, &mut s.memory).unwrap()
            })
            .collect();
        let before = emulated.as_ref().map(|d| d.launched.load(Relaxed));
        together(&begun.prepared, &runs, quantum);
        if let (Some(device), Some(before)) = (&emulated, before) {
            let launched = device.launched.load(Relaxed) - before;
            assert!(launched < 30, "{launched} launches for all five");
        }
        for (i, (s, want)) in sessions.iter().zip(&alone).enumerate() {
            assert_eq!(&s.logits(), want, "session {i}, quantum {quantum}");
        }
    }
}

#[test]
fn products_of_one_input_are_one_launch() {
    let (backends, device) = backends();
    let weights = fuzz_tests::weights();
    for &(t, k, m) in weights.matrices() {
        if m != k {
            continue;
        }
        let mut r = Recorder::default();
        let x = r.value(0, k, 5);
        let from = [(64, 5), (256, 8), (40, 11)]
            .iter()
            .find(|f| f.0 == k)
            .unwrap()
            .1;
        r.op(Code::Cpy, 0, x, &[buf(from)], &[0, 0, 5]);
        let all = [(); 3].map(|()| r.value(0, m, 5));
        for y in all {
            r.op(Code::MulMat, 0, y, &[w(t), x], &[]);
        }
        // Nobody reads the first one: its memory may be the second one's.
        r.op(Code::Add, 0, all[1], &[all[1], all[2]], &[]);
        r.op(Code::Cpy, 0, buf(from + 1), &[all[1]], &[0, 0, 5]);
        let results = ["reference", "gpu-emulated"].map(|name| {
            let mut memory = fuzz_tests::memory(&backends, name, 0);
            let p = Prepared::new(&r.bytes(), &weights.model, &mut memory).unwrap();
            let (before, elsewhere) = (device.launched.load(Relaxed), p.fallback_ops());
            assert!(step(&Arc::new(p), &mut memory, &[], 0));
            let launched = device.launched.load(Relaxed) - before;
            (
                kept(&mut memory).swap_remove(from as usize + 1),
                launched,
                elsewhere,
            )
        });
        let [(want, ..), (got, launched, elsewhere)] = results;
        let error = nmse(&got, &want, &vec![0; want.len()]);
        assert!(error < 1e-11, "matrix {t}: {error:e}");
        // A copy, the input's rounding if any, the products, their sum, a copy.
        assert!(
            elsewhere > 0 || launched <= 6,
            "matrix {t}: {launched} launches"
        );
    }
}

/// What a norm, a product of it, and a product of a gate leave, and how many launches they take: one after the other, or with copies between them.
fn normed(
    backends: &Backends,
    device: &Emulated,
    (t, k, rows): (u32, u32, u32),
    apart: bool,
) -> (Vec<u8>, u64) {
    let weights = fuzz_tests::weights();
    let from = match k {
        64 => 5,
        256 => 8,
        _ => 11,
    };
    let mut r = Recorder::default();
    let [x, y, z, g, p, aside] = [(); 6].map(|()| r.value(0, k, rows));
    let between = |r: &mut Recorder| {
        if apart {
            r.op(Code::Cpy, 0, aside, &[x], &[0, 0, rows]);
        }
    };
    r.op(Code::Cpy, 0, x, &[buf(from)], &[0, 0, rows]);
    r.op(Code::Cpy, 0, g, &[buf(from)], &[0, 0, rows]);
    r.op(Code::RmsNorm, 0, y, &[x], &[1e-5f32.to_bits()]);
    between(&mut r);
    r.op(Code::MulMat, 0, z, &[w(t), y], &[]);
    r.op(Code::Glu, 0, g, &[g, y], &[2]);
    between(&mut r);
    r.op(Code::MulMat, 0, p, &[w(t), g], &[]);
    // Nobody is to find the first one's result in the second one's place.
    r.op(Code::Add, 0, z, &[z, y], &[]);
    r.op(Code::Add, 0, p, &[p, z], &[]);
    r.op(Code::Add, 0, p, &[p, g], &[]);
    r.op(Code::Cpy, 0, buf(from + 1), &[p], &[0, 0, rows]);
    let mut memory = fuzz_tests::memory(backends, "gpu-emulated", 0);
    let prepared = Prepared::new(&r.bytes(), &weights.model, &mut memory).unwrap();
    let before = device.launched.load(Relaxed);
    assert!(step(&Arc::new(prepared), &mut memory, &[], 0));
    let launched = device.launched.load(Relaxed) - before;
    (kept(&mut memory).swap_remove(from as usize + 1), launched)
}

#[test]
fn what_is_done_by_one_launch_has_the_bits_of_those_alone() {
    let (backends, device) = backends();
    let mut fused = 0;
    for &(t, k, m) in fuzz_tests::weights().matrices() {
        if m != k {
            continue;
        }
        for rows in [1, 5] {
            let [(alone, more), (got, less)] =
                [true, false].map(|apart| normed(&backends, &device, (t, k, rows), apart));
            assert!(same(&got, &alone), "matrix {t}, {rows} rows");
            // Two copies, and the two roundings of inputs if there are any.
            assert!(
                [2, 4].contains(&(more - less)),
                "matrix {t}: {more} and {less} launches"
            );
            fused += more - less - 2;
        }
    }
    assert!(fused >= 20, "{fused} launches fewer");
}

/// A product whose weights have no room on the device is the reference's, and what is around it stays.
#[test]
fn what_has_no_room_is_left_to_the_reference() {
    let (backends, device) = backends();
    let weights = fuzz_tests::weights();
    let (t, ..) = *weights
        .matrices()
        .iter()
        .find(|m| (m.1, m.2) == (256, 256))
        .unwrap();
    let mut r = Recorder::default();
    let [x, y, z] = [(); 3].map(|()| r.value(0, 256, 2));
    r.op(Code::Cpy, 0, x, &[buf(8)], &[0, 0, 2]);
    r.op(Code::RmsNorm, 0, y, &[x], &[1e-5f32.to_bits()]);
    r.op(Code::MulMat, 0, z, &[w(t), y], &[]);
    r.op(Code::Add, 0, z, &[z, x], &[]);
    r.op(Code::Cpy, 0, buf(9), &[z], &[0, 0, 2]);
    let results = [0u64, 1 << 17].map(|room| {
        device.limit.store(0, Relaxed);
        let mut memory = fuzz_tests::memory(&backends, "gpu-emulated", 0);
        if room != 0 {
            device
                .limit
                .store(device.bytes.load(Relaxed) + room, Relaxed);
        }
        let p = Prepared::new(&r.bytes(), &weights.model, &mut memory).unwrap();
        assert_eq!(p.fallback_ops(), u64::from(room != 0));
        assert!(step(&Arc::new(p), &mut memory, &[], 0));
        kept(&mut memory).swap_remove(9)
    });
    let [all, part] = results;
    let error = nmse(&part, &all, &vec![0; all.len()]);
    assert!(error < 1e-11, "{error:e}");
}

/// Graphs and the kernel that interprets launches give the same bits.
#[test]
fn one_kernel_interprets_the_launches_of_a_token() {
    for kv_type in [0, 1] {
        let [graph, program] = [false, true].map(|interprets| {
            let (backends, device) = backends();
            device.interprets.store(interprets, Relaxed);
            let logits = little(&backends, "gpu-emulated", kv_type, 1, 0).logits();
            let counts = [&device.interpreted, &device.replayed].map(|n| n.load(Relaxed) > 100);
            assert_eq!(counts, [interprets, !interprets]);
            logits
        });
        assert_eq!(graph, program);
    }
}

#[test]
fn kernels_have_the_same_numbers_on_the_device() {
    unsafe extern "C" {
        fn realm_gpu_call_name(number: u32) -> *const core::ffi::c_char;
    }
    let name = |number: usize| {
        // SAFETY: NULL, or a name that stays.
        unsafe {
            let name = realm_gpu_call_name(number as u32);
            (!name.is_null()).then(|| core::ffi::CStr::from_ptr(name).to_str().unwrap())
        }
    };
    let names: Vec<_> = crate::gpu::interpreted_names().collect();
    for (i, expected) in names.iter().enumerate() {
        assert_eq!(name(i), Some(expected.as_str()));
    }
    assert_eq!(name(names.len()), None);
}
