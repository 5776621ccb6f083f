//! Who owns what when: identities, conflicts, releases, splits, and many threads at once.

use super::*;
use crate::error::Status;
use crate::gguf::write::{Writer, sample};
use alloc::{format, vec};
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::Mutex;
use std::thread;

/// The releases seen, by address.
#[derive(Default)]
struct Log(Mutex<Vec<(usize, usize)>>);

impl Log {
    fn release(&self) -> Option<Release> {
        unsafe extern "C" fn note(ctx: *mut c_void, data: *const c_void, bytes: usize) {
            // SAFETY: `ctx` is the log, which outlives the store in every test.
            let log = unsafe { &*ctx.cast::<Log>() };
            log.0.lock().unwrap().push((data as usize, bytes));
        }
        let ctx = core::ptr::from_ref(self).cast_mut().cast();
        Some(Release { call: note, ctx })
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn of(&self, bytes: &[u8]) -> usize {
        let what = (bytes.as_ptr() as usize, bytes.len());
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter(|r| **r == what)
            .count()
    }
}

fn borrow(store: &Store, files: &[&[u8]], id: u32, log: &Log) -> Result<u32> {
    with_mode(store, files, id, Mode::Borrow, log)
}

fn with_mode(store: &Store, files: &[&[u8]], id: u32, mode: Mode, log: &Log) -> Result<u32> {
    let parts: Vec<_> = files.iter().map(|f| Part::new(f)).collect();
    // SAFETY: in these tests the bytes outlive the store.
    unsafe { store.register(&parts, id, mode, &Limits::default(), log.release(), None) }
}

fn other(n: u32) -> Vec<u8> {
    Writer::new()
        .u32("n", n)
        .tensor_f32("x", &[2, 3], &[n as f32; 6])
        .bytes()
}

fn status<T: core::fmt::Debug>(r: Result<T>) -> Status {
    r.unwrap_err().status()
}

const fn is_shared<T: Send + Sync>() {}
const _: () = is_shared::<Store>();
const _: () = is_shared::<Model>();

#[test]
fn borrowed_bytes_are_used_in_place() {
    let (log, file) = (Log::default(), sample());
    let store = Store::new();
    assert_eq!(borrow(&store, &[&file], 7, &log).unwrap(), 7);
    let m = store.open(7).unwrap();
    let t = m
        .tensor(m.find_tensor("token_embd.weight").unwrap())
        .unwrap();
    assert!(file.as_ptr_range().contains(&t.data.as_ptr()));
    assert_eq!(
        (t.name, t.dims, t.row_len(), t.rows()),
        ("token_embd.weight", [8, 5, 1, 1], 8, 5)
    );
    assert_eq!(m.metadata().u32("llama.block_count"), Some(2));
    assert_eq!(m.tensor_count(), 3);
    assert!(m.tensor(3).is_none() && m.find_tensor("nothing").is_none());
    assert_eq!(log.count(), 0);
}

#[test]
fn the_derived_id_is_the_start_of_the_digest() {
    let (log, file) = (Log::default(), sample());
    let store = Store::new();
    let id = borrow(&store, &[&file], 0, &log).unwrap();
    let digest = sha256([&file[..]].into_iter(), None).unwrap();
    assert_eq!(id, derived_id(&digest));
    let info = store.info(id).unwrap();
    assert_eq!(info.digest, Some(digest));
    assert_eq!(info.file_bytes, file.len() as u64);
    assert_eq!((info.registrations, info.users, info.part_count), (1, 0, 1));
    assert_eq!(
        (info.tensor_count, info.kv_count, info.parameter_count),
        (3, 7, 40 + 8 + 64)
    );
}

#[test]
fn a_callers_id_is_not_hashed() {
    let (log, file) = (Log::default(), sample());
    let store = Store::new();
    borrow(&store, &[&file], 9, &log).unwrap();
    assert_eq!(store.info(9).unwrap().digest, None);
    let m = store.open(9).unwrap();
    let digest = m.digest(None).unwrap();
    assert_eq!(store.info(9).unwrap().digest, Some(digest));
    let cancelled = other(1);
    borrow(&store, &[&cancelled], 10, &log).unwrap();
    let m = store.open(10).unwrap();
    assert_eq!(status(m.digest(Some(&mut |_, _| false))), Status::Cancelled);
    assert_eq!(m.known_digest(), None);
}

#[test]
fn the_same_bytes_are_one_entry() {
    let (log, a) = (Log::default(), sample());
    let b = a.clone();
    for id in [0, 5] {
        let store = Store::new();
        let before = log.count();
        let id = borrow(&store, &[&a], id, &log).unwrap();
        assert_eq!(borrow(&store, &[&b], id, &log).unwrap(), id);
        assert_eq!((log.count() - before, log.of(&a)), (1, before / 2));
        assert_eq!(store.info(id).unwrap().registrations, 2);
        assert_eq!(store.ids(&mut []), 1);
        store.remove(id).unwrap();
        assert!(store.open(id).is_ok());
        store.remove(id).unwrap();
        assert_eq!(status(store.open(id)), Status::NotFound);
        assert_eq!(status(store.remove(id)), Status::NotFound);
        assert_eq!((log.count() - before, log.of(&a)), (2, before / 2 + 1));
    }
}

/// The whole matrix: how the id came to be taken × how it is asked for × whether bytes are equal.
#[test]
fn conflicts() {
    let log = Log::default();
    let (a, same, b) = (sample(), sample(), other(1));
    // As long as `a`, and different in the last byte only.
    let mut tail = a.clone();
    *tail.last_mut().unwrap() ^= 1;
    let derived = derived_id(&sha256([&a[..]].into_iter(), None).unwrap());
    for first in [0, derived, 77] {
        for mode in [Mode::Borrow, Mode::Copy] {
            let store = Store::new();
            let id = borrow(&store, &[&a], first, &log).unwrap();
            assert_eq!(with_mode(&store, &[&same], id, mode, &log).unwrap(), id);
            assert_eq!(
                status(with_mode(&store, &[&b], id, mode, &log)),
                Status::IdConflict
            );
            assert_eq!(
                status(with_mode(&store, &[&tail], id, mode, &log)),
                Status::IdConflict
            );
            assert_eq!(store.info(id).unwrap().registrations, 2);
            // Equal bytes may carry several ids, and id 0 finds the derived one.
            assert_eq!(with_mode(&store, &[&same], 1234, mode, &log).unwrap(), 1234);
            assert_eq!(with_mode(&store, &[&same], 0, mode, &log).unwrap(), derived);
            let all = if id == derived { 2 } else { 3 };
            assert_eq!(store.ids(&mut []), all);
            // The same with digests known on one side or on both.
            store.open(id).unwrap().digest(None).unwrap();
            assert_eq!(
                status(with_mode(&store, &[&tail], id, mode, &log)),
                Status::IdConflict
            );
            assert_eq!(with_mode(&store, &[&same], id, mode, &log).unwrap(), id);
        }
    }
    // Somebody sits on the id that the bytes derive: reported, not shared.
    let store = Store::new();
    borrow(&store, &[&b], derived, &log).unwrap();
    assert_eq!(status(borrow(&store, &[&a], 0, &log)), Status::IdConflict);
    assert_eq!(store.open(derived).unwrap().metadata().u32("n"), Some(1));
}

#[test]
fn release_runs_once_whatever_happens() {
    let log = Log::default();
    let (good, bad) = (sample(), vec![1; 100]);
    let store = Store::new();
    // Refused bytes, good ones beside bad ones, no parts, null, too long.
    assert_eq!(status(borrow(&store, &[&bad], 1, &log)), Status::Format);
    assert_eq!((log.of(&bad), log.count()), (1, 1));
    assert!(borrow(&store, &[&good, &bad], 1, &log).is_err());
    assert_eq!((log.of(&good), log.of(&bad), log.count()), (1, 2, 3));
    assert_eq!(
        status(borrow(&store, &[], 1, &log)),
        Status::InvalidArgument
    );
    assert_eq!(log.count(), 3);
    let odd = [
        Part {
            data: core::ptr::null(),
            bytes: 10,
        },
        Part {
            data: good.as_ptr(),
            bytes: usize::MAX,
        },
        Part {
            data: core::ptr::null(),
            bytes: 0,
        },
    ];
    for part in odd {
        for id in [0, 1] {
            // SAFETY: such parts are refused unread.
            let r = unsafe {
                let l = Limits::default();
                store.register(&[part], id, Mode::Copy, &l, log.release(), None)
            };
            assert_eq!(status(r), Status::InvalidArgument);
        }
    }
    assert_eq!(log.count(), 9);
    // Cancelled while hashing.
    let r = {
        let (l, p) = (Limits::default(), [Part::new(&good)]);
        let mut stop = |_, _| false;
        // SAFETY: the bytes outlive the store.
        unsafe { store.register(&p, 0, Mode::Borrow, &l, log.release(), Some(&mut stop)) }
    };
    assert_eq!((status(r), log.count()), (Status::Cancelled, 10));
    // A conflict releases the newcomer.
    borrow(&store, &[&good], 1, &log).unwrap();
    let b = other(2);
    assert!(borrow(&store, &[&b], 1, &log).is_err());
    assert_eq!((log.of(&b), log.count()), (1, 11));
    // A store that goes releases what it has.
    drop(store);
    assert_eq!(log.count(), 12);
}

#[test]
fn copies_are_the_stores_own() {
    let log = Log::default();
    let file = sample();
    let store = Store::new();
    with_mode(&store, &[&file], 3, Mode::Copy, &log).unwrap();
    assert_eq!(log.of(&file), 1, "released at once");
    drop(file);
    let m = store.open(3).unwrap();
    assert!(m.is_copied() && store.info(3).unwrap().copied);
    assert_eq!(m.part(0).unwrap().as_ptr() as usize % 64, 0);
    assert_eq!(m.part(0).unwrap(), sample());
    assert_eq!(
        store
            .register_copy(&[&sample()], 3, &Limits::default())
            .unwrap(),
        3
    );
}

#[test]
fn removal_while_open_keeps_the_bytes() {
    let (log, a, b) = (Log::default(), sample(), other(4));
    let store = Store::new();
    borrow(&store, &[&a], 6, &log).unwrap();
    let m = store.open(6).unwrap();
    let second = Arc::clone(&m);
    assert_eq!(store.info(6).unwrap().users, 2);
    store.remove(6).unwrap();
    assert_eq!(status(store.open(6)), Status::NotFound);
    assert_eq!(status(store.info(6)), Status::NotFound);
    // The name is free for other bytes while the old ones are still in use.
    assert_eq!(borrow(&store, &[&b], 6, &log).unwrap(), 6);
    assert_eq!((log.of(&a), m.part(0).unwrap()), (0, &a[..]));
    drop(m);
    assert_eq!(log.of(&a), 0);
    thread::spawn(move || drop(second)).join().unwrap();
    assert_eq!((log.of(&a), log.of(&b)), (1, 0));
}

#[test]
fn a_release_may_call_the_store() {
    struct Ctx(Store, AtomicU32);
    unsafe extern "C" fn reenter(ctx: *mut c_void, _: *const c_void, _: usize) {
        // SAFETY: the context outlives the models below.
        let ctx = unsafe { &*ctx.cast::<Ctx>() };
        assert_eq!(ctx.0.ids(&mut []), 0);
        ctx.0
            .register_copy(&[&sample()], 8, &Limits::default())
            .unwrap();
        ctx.0.remove(8).unwrap();
        ctx.1.fetch_add(1, SeqCst);
    }
    let ctx = Ctx(Store::new(), AtomicU32::new(0));
    let file = sample();
    let release = Release {
        call: reenter,
        ctx: core::ptr::from_ref(&ctx).cast_mut().cast(),
    };
    for id in [1, 2] {
        let parts = [Part::new(&file)];
        let l = Limits::default();
        // SAFETY: the bytes are released before this returns.
        unsafe {
            ctx.0
                .register(&parts, id, Mode::Borrow, &l, Some(release), None)
        }
        .unwrap();
        ctx.0.remove(id).unwrap();
    }
    assert_eq!(ctx.1.load(SeqCst), 2);
}

#[test]
fn ids_are_enumerated_in_order() {
    let store = Store::new();
    let ids = [5_u32, 1, u32::MAX, 40, 3, 2, 9, 100, 77, 12];
    for id in ids {
        store
            .register_copy(&[&other(id)], id, &Limits::default())
            .unwrap();
    }
    let mut few = [0; 3];
    assert_eq!(store.ids(&mut few), 10);
    assert_eq!(few, [1, 2, 3]);
    let mut all = [0; 12];
    assert_eq!(store.ids(&mut all), 10);
    let mut sorted = ids;
    sorted.sort_unstable();
    assert_eq!(all[..10], sorted);
    assert_eq!(all[10..], [0, 0]);
    for id in ids {
        assert_eq!(store.open(id).unwrap().metadata().u32("n"), Some(id));
        store.remove(id).unwrap();
    }
    assert_eq!(store.ids(&mut []), 0);
}

fn split(no: u16, count: u16, total: i32, names: &[&str]) -> Vec<u8> {
    let mut w = Writer::new()
        .u16("split.no", no)
        .u16("split.count", count)
        .i32("split.tensors.count", total);
    if no == 0 {
        w = w.str("general.architecture", "llama");
    }
    for (i, name) in names.iter().enumerate() {
        w = w.tensor_f32(name, &[4], &[f32::from(no) * 10.0 + i as f32; 4]);
    }
    w.bytes()
}

#[test]
fn split_models_are_one_directory() {
    let files = [
        split(0, 4, 4, &[]),
        split(1, 4, 4, &["m", "b"]),
        split(2, 4, 4, &[]),
        split(3, 4, 4, &["a", "z"]),
    ];
    let views: Vec<&[u8]> = files.iter().map(|f| &f[..]).collect();
    let store = Store::new();
    let id = store.register_copy(&views, 0, &Limits::default()).unwrap();
    let whole: Vec<u8> = files.concat();
    assert_eq!(
        id,
        derived_id(&sha256([&whole[..]].into_iter(), None).unwrap())
    );
    let m = store.open(id).unwrap();
    assert_eq!((m.tensor_count(), m.part_count()), (4, 4));
    assert_eq!(m.metadata().str("general.architecture"), Some("llama"));
    let names: Vec<_> = (0..4).map(|i| m.tensor(i).unwrap().name).collect();
    assert_eq!(names, ["m", "b", "a", "z"]);
    for (i, name) in names.iter().enumerate() {
        assert_eq!(m.find_tensor(name), Some(i as u32));
    }
    assert_eq!(m.find_tensor("c"), None);
    let t = m.tensor(3).unwrap();
    assert_eq!(
        (t.part, t.data),
        (3, &[31.0_f32.to_le_bytes(); 4].concat()[..])
    );
    let mut row = [0.0; 4];
    m.read_tensor_f32(1, 0, 1, &mut row).unwrap();
    assert_eq!(row, [11.0; 4]);
}

#[test]
fn wrong_splits_are_refused() {
    let store = Store::new();
    let try_files = |files: &[Vec<u8>]| {
        let views: Vec<&[u8]> = files.iter().map(|f| &f[..]).collect();
        status(store.register_copy(&views, 1, &Limits::default()))
    };
    let (a, b) = (split(0, 2, 2, &["a"]), split(1, 2, 2, &["b"]));
    assert_eq!(
        try_files(core::slice::from_ref(&a)),
        Status::InvalidArgument
    );
    assert_eq!(try_files(&[b.clone(), a.clone()]), Status::InvalidArgument);
    assert_eq!(try_files(&[a.clone(), a.clone()]), Status::InvalidArgument);
    assert_eq!(
        try_files(&[a.clone(), b.clone(), b.clone()]),
        Status::InvalidArgument
    );
    assert_eq!(try_files(&[sample(), other(1)]), Status::InvalidArgument);
    assert_eq!(
        try_files(&[a.clone(), split(1, 2, 2, &["a"])]),
        Status::Format
    );
    assert_eq!(
        try_files(&[a.clone(), split(1, 2, 3, &["b"])]),
        Status::Format
    );
    assert_eq!(
        try_files(&[a.clone(), split(1, 2, -2, &["b"])]),
        Status::Format
    );
    let odd = Writer::new().str("split.count", "2").bytes();
    assert_eq!(try_files(&[odd]), Status::Format);
    let joined = Writer::new().u16("split.count", 0).bytes();
    assert!(
        store
            .register_copy(&[&joined], 1, &Limits::default())
            .is_ok()
    );
    let few = Limits {
        tensor_count: 1,
        ..Limits::default()
    };
    assert_eq!(
        status(store.register_copy(&[&a, &b], 2, &few)),
        Status::Limit
    );
}

#[test]
fn rows_are_dequantized_and_checked() {
    let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let halves: Vec<u8> = (0..8)
        .flat_map(|i| half::f16::from_f32(i as f32).to_le_bytes())
        .collect();
    // Two blocks of Q8_0, with scales of 1 and 2.
    let mut blocks = vec![0, 0x3c];
    blocks.extend([5_u8; 32]);
    blocks.extend([0, 0x40]);
    blocks.extend([0xfd_u8; 32]);
    let file = Writer::new()
        .tensor_f32("x", &[4, 3, 2], &values)
        .tensor("h", &[4, 2], 1, &halves)
        .tensor("q", &[32, 2], 8, &blocks)
        .bytes();
    let store = Store::new();
    store
        .register_copy(&[&file], 1, &Limits::default())
        .unwrap();
    let m = store.open(1).unwrap();
    let (mut dst, mut wide) = ([-1.0; 10], [0.0; 32]);
    m.read_tensor_f32(0, 4, 2, &mut dst).unwrap();
    assert_eq!(dst[..8], values[16..]);
    assert_eq!(dst[8..], [-1.0; 2]);
    m.read_tensor_f32(1, 1, 1, &mut dst).unwrap();
    assert_eq!(dst[..4], [4.0, 5.0, 6.0, 7.0]);
    m.read_tensor_f32(0, 6, 0, &mut []).unwrap();
    m.read_tensor_f32(2, 1, 1, &mut wide).unwrap();
    assert_eq!(wide, [-6.0; 32]);
    let mut read = |h, first, count| status(m.read_tensor_f32(h, first, count, &mut dst));
    assert_eq!(read(3, 0, 1), Status::NotFound);
    assert_eq!(read(0, 5, 2), Status::InvalidArgument);
    assert_eq!(read(0, u64::MAX, 2), Status::InvalidArgument);
    assert_eq!(read(0, 0, u64::MAX), Status::InvalidArgument);
    assert_eq!(read(0, 0, 3), Status::BufferTooSmall);
}

#[test]
fn cut_files_are_refused_and_released() {
    let (log, file) = (Log::default(), sample());
    let store = Store::new();
    for n in 0..file.len() {
        assert!(borrow(&store, &[&file[..n]], n as u32 % 2, &log).is_err());
        assert_eq!(log.count(), n + 1);
    }
    assert_eq!(store.ids(&mut []), 0);
}

#[test]
fn a_lazy_value_is_built_once_for_all() {
    let lazy = Lazy::new();
    assert!(lazy.get_or_build(|| bail!(NoMemory, "not yet")).is_err());
    assert!(lazy.get().is_none());
    let built: Vec<Arc<usize>> = thread::scope(|s| {
        let lazy = &lazy;
        let threads: Vec<_> = (0..8)
            .map(|i| s.spawn(move || lazy.get_or_build(|| Ok(i)).unwrap()))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(built.iter().all(|b| Arc::ptr_eq(b, &built[0])));
}

/// Threads register, open, read, enumerate and remove the same few ids, with right and wrong
/// bytes; at the end every buffer has been released exactly once.
#[test]
fn threads_fight_over_few_ids() {
    const ROUNDS: u32 = 400;
    let log = Log::default();
    let files: Vec<Vec<u8>> = (0..4).map(other).collect();
    let registered = AtomicUsize::new(0);
    let store = Store::new();
    thread::scope(|s| {
        for seed in 0..8_u32 {
            let (store, files, log, registered) = (&store, &files, &log, &registered);
            s.spawn(move || {
                let mut x = seed * 7919 + 1;
                for _ in 0..ROUNDS {
                    x = x.wrapping_mul(1664525).wrapping_add(1013904223);
                    let id = 1 + (x >> 20) % 3;
                    let file = &files[(x >> 26) as usize % 4];
                    let mode = if x >> 31 == 0 {
                        Mode::Borrow
                    } else {
                        Mode::Copy
                    };
                    registered.fetch_add(1, SeqCst);
                    match with_mode(
                        store,
                        &[file],
                        if x & 0x1000 == 0 { 0 } else { id },
                        mode,
                        log,
                    ) {
                        Ok(id) => {
                            let m = store.open(id).unwrap();
                            let n = m.metadata().u32("n").unwrap();
                            let mut row = [0.0; 2];
                            m.read_tensor_f32(0, 2, 1, &mut row).unwrap();
                            assert_eq!(row, [n as f32; 2]);
                            let mut ids = [0; 8];
                            let count = store.ids(&mut ids);
                            assert!(ids[..count.min(8)].is_sorted());
                            store.remove(id).unwrap();
                        }
                        Err(e) => assert_eq!(e.status(), Status::IdConflict, "{e}"),
                    }
                }
            });
        }
    });
    assert_eq!(store.ids(&mut []), 0);
    assert_eq!(log.count(), registered.load(SeqCst));
}

#[test]
fn the_global_store_is_one() {
    assert!(core::ptr::eq(Store::global(), Store::global()));
    let id = 0xfeed_0001;
    Store::global()
        .register_copy(&[&sample()], id, &Limits::default())
        .unwrap();
    Store::global().remove(id).unwrap();
}

/// A large mapped file costs the pages of its metadata when the caller names it.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[test]
fn registering_touches_only_metadata() {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    unsafe extern "C" {
        fn mmap(at: *mut c_void, n: usize, prot: i32, flags: i32, fd: i32, off: i64)
        -> *mut c_void;
        fn munmap(at: *mut c_void, n: usize) -> i32;
    }
    const LEN: usize = 640 << 20;
    let mut head = Writer::new().str("general.architecture", "llama");
    for i in 0..10 {
        head = head.tensor_at(format!("t{i}").as_bytes(), &[1 << 24], 0, i << 26);
    }
    let head = head.bytes();
    let path = std::env::temp_dir().join(format!("realm-store-{}.gguf", std::process::id()));
    let mut file = std::fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    file.write_all(&head).unwrap();
    file.set_len((LEN + 4096) as u64).unwrap();
    std::fs::remove_file(&path).unwrap();
    // SAFETY: a fresh read-only shared mapping of a file nobody else can reach.
    let at = unsafe { mmap(core::ptr::null_mut(), LEN + 4096, 1, 1, file.as_raw_fd(), 0) };
    assert_ne!(at as isize, -1);
    // SAFETY: mapped just now, unmapped after the last use.
    let bytes = unsafe { core::slice::from_raw_parts(at.cast::<u8>(), LEN + 4096) };
    let resident = || -> u64 {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{:x}-", at as usize);
        let mut lines = maps.lines().skip_while(|l| !l.starts_with(&start));
        let rss = lines.find(|l| l.starts_with("Rss:")).unwrap();
        rss.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let (log, store) = (Log::default(), Store::new());
    for _ in 0..2 {
        // The second time the id is taken, but by the same memory.
        borrow(&store, &[bytes], 1, &log).unwrap();
    }
    assert!(resident() <= 1024, "{} KiB", resident());
    let info = store.info(1).unwrap();
    assert_eq!((info.parameter_count, info.registrations), (10 << 24, 2));
    assert!(info.index_bytes < 16 << 10);
    drop(store);
    // SAFETY: the store is gone, and with it the last view of the mapping.
    unsafe { munmap(at, LEN + 4096) };
}
