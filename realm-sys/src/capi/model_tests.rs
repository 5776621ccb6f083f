//! Models through their C functions: ownership, conflicts, two-call outputs, and nonsense in every argument.

use super::error::*;
use super::meta::*;
use super::model::*;
use super::store::{realm_store, realm_store_create, realm_store_destroy};
use super::tensor::*;
use super::vocab::*;
use crate::gguf::write::{Writer, sample};
use crate::platform::REALM_ABI_VERSION;
use core::ffi::{c_char, c_void};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

const INVALID: realm_status = REALM_STATUS_INVALID_ARGUMENT;
const NULL: *mut realm_error = ptr::null_mut();

fn null<T>() -> *mut T {
    ptr::null_mut()
}

/// A store that is destroyed at the end.
struct Own(*mut realm_store);

impl Own {
    fn new() -> Self {
        let mut s = ptr::null_mut();
        // SAFETY: an output.
        assert_eq!(unsafe { realm_store_create(&raw mut s, NULL) }, 0);
        Self(s)
    }

    /// A store with one model under id 1.
    fn with(bytes: &[u8]) -> Self {
        let own = Self::new();
        let parts = [part(bytes)];
        let mut source = source(&parts, 1, None);
        source.flags = REALM_MODEL_COPY;
        assert_eq!(own.register(&source), (0, 1));
        own
    }

    fn register(&self, source: *const realm_model_source) -> (realm_status, u32) {
        let mut id = 0;
        let mut e = realm_error {
            status: 0,
            message: [0; 252],
        };
        // SAFETY: the tests pass NULL, or structs whose bytes outlive the store.
        let status = unsafe { realm_model_register(self.0, source, &raw mut id, &raw mut e) };
        assert_eq!(status, e.status);
        assert_eq!(status == 0, e.message[0] == 0);
        (status, id)
    }

    fn remove(&self, id: u32) -> realm_status {
        // SAFETY: a live store.
        unsafe { realm_model_remove(self.0, id, NULL) }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // SAFETY: made by `new`.
        unsafe { realm_store_destroy(self.0) }
    }
}

fn part(bytes: &[u8]) -> realm_bytes {
    realm_bytes {
        data: bytes.as_ptr().cast(),
        bytes: bytes.len(),
    }
}

fn source(parts: &[realm_bytes], id: u32, count: Option<&AtomicUsize>) -> realm_model_source {
    unsafe extern "C" fn note(ctx: *mut c_void, _: *const c_void, _: usize) {
        // SAFETY: `ctx` is the counter, which outlives the store.
        unsafe { &*ctx.cast::<AtomicUsize>() }.fetch_add(1, SeqCst);
    }
    realm_model_source {
        struct_size: size_of::<realm_model_source>() as u32,
        abi_version: REALM_ABI_VERSION,
        next: ptr::null(),
        ctx: count.map_or(ptr::null_mut(), |c| ptr::from_ref(c).cast_mut().cast()),
        parts: parts.as_ptr(),
        part_count: parts.len(),
        id,
        flags: 0,
        release: count.map(|_| note as unsafe extern "C" fn(_, _, _)),
        limits: ptr::null(),
        progress: None,
    }
}

fn limits() -> realm_model_limits {
    realm_model_limits {
        struct_size: size_of::<realm_model_limits>() as u32,
        abi_version: REALM_ABI_VERSION,
        next: ptr::null(),
        ctx: ptr::null_mut(),
        max_metadata_bytes: 0,
        max_tensor_count: 0,
        max_kv_count: 0,
        max_array_count: 0,
        max_string_bytes: 0,
    }
}

fn info() -> realm_model_info {
    // SAFETY: all zeros is a value.
    let mut info: realm_model_info = unsafe { core::mem::zeroed() };
    info.struct_size = size_of::<realm_model_info>() as u32;
    info.abi_version = REALM_ABI_VERSION;
    info
}

fn c_string(text: &[c_char]) -> String {
    text.iter()
        .take_while(|c| **c != 0)
        .map(|c| *c as u8 as char)
        .collect()
}

#[test]
fn parts_are_released_once_whatever_happens() {
    let store = Own::new();
    let file = sample();
    let junk = vec![7_u8; 100];
    let count = AtomicUsize::new(0);
    let good = [part(&file)];
    let failing = |parts: &[realm_bytes], change: &dyn Fn(&mut realm_model_source)| {
        count.store(0, SeqCst);
        let mut s = source(parts, 5, Some(&count));
        change(&mut s);
        let (status, id) = store.register(&s);
        assert_ne!(status, 0);
        assert_eq!(id, 0, "an output of a call that failed");
        assert_eq!(count.load(SeqCst), parts.len());
        status
    };
    let null_part = realm_bytes {
        data: ptr::null(),
        bytes: 5,
    };
    let huge_part = realm_bytes {
        bytes: usize::MAX,
        ..part(&file)
    };
    let bad_size = realm_model_limits {
        struct_size: 3,
        ..limits()
    };
    let one_tensor = realm_model_limits {
        max_tensor_count: 1,
        ..limits()
    };
    let odd = ptr::without_provenance::<u8>(1);
    assert_eq!(failing(&[part(&junk)], &|_| {}), REALM_STATUS_FORMAT);
    assert_eq!(failing(&[part(&[])], &|_| {}), REALM_STATUS_FORMAT);
    assert_eq!(failing(&[null_part], &|_| {}), INVALID);
    assert_eq!(failing(&[huge_part], &|_| {}), INVALID);
    assert_eq!(failing(&[part(&file), part(&file)], &|_| {}), INVALID);
    assert_eq!(failing(&good, &|s| s.flags = 2), INVALID);
    assert_eq!(
        failing(&good, &|s| s.next = odd.cast()),
        REALM_STATUS_UNSUPPORTED
    );
    assert_eq!(failing(&good, &|s| s.limits = odd.cast()), INVALID);
    assert_eq!(failing(&good, &|s| s.limits = &bad_size), INVALID);
    assert_eq!(
        failing(&good, &|s| s.limits = &one_tensor),
        REALM_STATUS_LIMIT
    );
    assert_eq!(failing(&[], &|_| {}), INVALID);
    assert_eq!(failing(&[], &|s| s.parts = ptr::null()), INVALID);
    // Nothing can be read here, so nothing is released.
    assert_eq!(
        failing(&[], &|s| (s.parts, s.part_count) = (ptr::null(), 1)),
        INVALID
    );
    assert_eq!(
        failing(&[], &|s| (s.parts, s.part_count) =
            (good.as_ptr(), usize::MAX)),
        INVALID
    );
    assert_eq!(
        failing(&[], &|s| (s.parts, s.part_count) = (odd.cast(), 1)),
        INVALID
    );
    assert_eq!(failing(&[], &|s| s.struct_size = 8), INVALID);
    assert_eq!(
        failing(&[], &|s| s.abi_version = 9 << 16),
        REALM_STATUS_UNSUPPORTED
    );
    assert_eq!(store.register(ptr::null()).0, INVALID);

    // A bad handle or output is no reason to keep the parts either.
    count.store(0, SeqCst);
    let s = source(&good, 5, Some(&count));
    // SAFETY: misaligned pointers are refused.
    unsafe {
        let handle = ptr::without_provenance_mut(1);
        assert_eq!(
            realm_model_register(handle, &s, ptr::null_mut(), NULL),
            INVALID
        );
        let id = ptr::without_provenance_mut(1);
        assert_eq!(realm_model_register(store.0, &s, id, NULL), INVALID);
    }
    assert_eq!(count.load(SeqCst), 2);
}

#[test]
fn a_model_is_registered_found_and_removed() {
    let store = Own::new();
    let (file, other) = (sample(), Writer::new().u32("x", 1).bytes());
    let count = AtomicUsize::new(0);
    let parts = [part(&file)];
    let s = source(&parts, 7, Some(&count));
    assert_eq!(store.register(&s), (0, 7));
    assert_eq!(count.load(SeqCst), 0);
    // The same again, and another under the same id.
    assert_eq!(store.register(&s), (0, 7));
    assert_eq!(count.load(SeqCst), 1);
    let others = [part(&other)];
    let conflict = store.register(&source(&others, 7, Some(&count)));
    assert_eq!(conflict, (REALM_STATUS_ID_CONFLICT, 0));
    assert_eq!(count.load(SeqCst), 2);
    // A copy is released at once.
    let mut copy = source(&others, 0, Some(&count));
    copy.flags = REALM_MODEL_COPY;
    let (status, derived) = store.register(&copy);
    assert_eq!((status, count.load(SeqCst)), (0, 3));

    let mut i = info();
    let mut digest = [0_u8; 32];
    // SAFETY: a live store and whole outputs.
    unsafe {
        assert_eq!(realm_model_get_info(store.0, 7, &raw mut i, NULL), 0);
        assert_eq!(
            (i.id, i.registration_count, i.user_count, i.digest_known),
            (7, 2, 0, 0)
        );
        assert_eq!(
            (i.part_count, i.tensor_count, i.kv_count, i.gguf_version),
            (1, 3, 7, 3)
        );
        assert_eq!(
            (i.file_bytes, i.parameter_count),
            (file.len() as u64, 40 + 8 + 64)
        );
        assert_eq!(
            (c_string(&i.architecture), c_string(&i.name)),
            ("llama".into(), "".into())
        );
        assert_eq!(
            realm_model_digest(store.0, derived, digest.as_mut_ptr(), NULL),
            0
        );
        assert_eq!(crate::store::derived_id(&digest), derived);
        assert_eq!(realm_model_get_info(store.0, derived, &raw mut i, NULL), 0);
        assert_eq!((i.digest_known, i.sha256), (1, digest));
        i.struct_size = 12;
        assert_eq!(realm_model_get_info(store.0, 7, &raw mut i, NULL), INVALID);
        assert_eq!(
            realm_model_get_info(store.0, 7, ptr::null_mut(), NULL),
            INVALID
        );
        assert_eq!(
            realm_model_digest(store.0, 7, ptr::null_mut(), NULL),
            INVALID
        );

        let mut n = 9;
        let mut ids = [0; 2];
        let small = REALM_STATUS_BUFFER_TOO_SMALL;
        assert_eq!(
            realm_model_list(store.0, ptr::null_mut(), 0, &raw mut n),
            small
        );
        assert_eq!(n, 2);
        assert_eq!(
            realm_model_list(store.0, ids.as_mut_ptr(), 1, &raw mut n),
            small
        );
        assert_eq!(
            realm_model_list(store.0, ids.as_mut_ptr(), 2, &raw mut n),
            0
        );
        assert_eq!(n, 2);
        assert!(ids.contains(&7) && ids.contains(&derived) && ids[0] < ids[1]);
        assert_eq!(
            realm_model_list(store.0, ids.as_mut_ptr(), 2, ptr::null_mut()),
            INVALID
        );
        assert_eq!(
            realm_model_list(store.0, ptr::null_mut(), 2, &raw mut n),
            INVALID
        );
    }

    // Removed while somebody has it open.
    // SAFETY: a live store.
    let user = unsafe { open(store.0, 7) }.unwrap();
    assert_eq!(store.remove(7), 0);
    assert_eq!(store.remove(7), 0);
    assert_eq!(store.remove(7), REALM_STATUS_NOT_FOUND);
    assert_eq!(count.load(SeqCst), 3);
    assert_eq!(user.tensor_count(), 3);
    drop(user);
    assert_eq!(count.load(SeqCst), 4);
    // The id is free for others.
    assert_eq!(store.register(&source(&others, 7, Some(&count))), (0, 7));
    drop(store);
    assert_eq!(count.load(SeqCst), 5);
}

#[test]
fn null_is_the_process_wide_store() {
    let file = Writer::new().u32("only.in.this.test", 1).bytes();
    let parts = [part(&file)];
    let mut s = source(&parts, 0x7e57_0001, None);
    s.flags = REALM_MODEL_COPY;
    // SAFETY: NULL stands for the store; the id may be left out.
    unsafe {
        assert_eq!(
            realm_model_register(ptr::null_mut(), &s, ptr::null_mut(), NULL),
            0
        );
        assert!(crate::store::Store::global().open(s.id).is_ok());
        assert_eq!(realm_model_remove(ptr::null_mut(), s.id, NULL), 0);
        assert_eq!(
            realm_model_remove(ptr::null_mut(), s.id, NULL),
            REALM_STATUS_NOT_FOUND
        );
    }
}

#[test]
fn metadata_is_read_by_index_and_by_key() {
    let store = Own::with(
        &Writer::new()
            .str("s", "text")
            .u32("u", 5)
            .i32("i", -5)
            .u64("big", u64::MAX)
            .f32("f", 0.5)
            .bool("b", true)
            .strings("names", &["a", "", "ccc"])
            .i32s("ints", &[1, -2])
            .bytes(),
    );
    let s = store.0;
    let key = |k: &'static str| (k.as_ptr().cast::<c_char>(), k.len());
    let string = |k: &'static str, index: i64| {
        let (k, len) = key(k);
        let (mut buffer, mut n) = ([9_u8; 8], 99);
        let to = buffer.as_mut_ptr().cast();
        // SAFETY: whole buffers.
        let status =
            unsafe { realm_model_meta_string(s, 1, k, len, index, to, 8, &raw mut n, NULL) };
        match status {
            0 => {
                assert_eq!(buffer[n], 0);
                Ok(String::from_utf8(buffer[..n].to_vec()).unwrap())
            }
            e => {
                assert_eq!((n, buffer), (99, [9; 8]));
                Err(e)
            }
        }
    };
    let int = |k: &'static str, index: i64| {
        let (k, len) = key(k);
        let mut v = 99;
        // SAFETY: whole outputs.
        match unsafe { realm_model_meta_int(s, 1, k, len, index, &raw mut v, NULL) } {
            0 => Ok(v),
            e => Err(e),
        }
    };
    let float = |k: &'static str, index: i64| {
        let (k, len) = key(k);
        let mut v = 99.0;
        // SAFETY: whole outputs.
        match unsafe { realm_model_meta_float(s, 1, k, len, index, &raw mut v, NULL) } {
            0 => Ok(v),
            e => Err(e),
        }
    };
    let count = |k: &'static str| {
        let (k, len) = key(k);
        let mut v = 99;
        // SAFETY: whole outputs.
        match unsafe { realm_model_meta_count(s, 1, k, len, &raw mut v, NULL) } {
            0 => Ok(v),
            e => Err(e),
        }
    };
    let none = REALM_STATUS_NOT_FOUND;
    assert_eq!(string("s", -1), Ok("text".into()));
    assert_eq!(string("s", 0), Err(INVALID));
    assert_eq!(string("u", -1), Err(INVALID));
    assert_eq!(string("?", -1), Err(none));
    assert_eq!(string("names", 0), Ok("a".into()));
    assert_eq!(string("names", 1), Ok("".into()));
    assert_eq!(string("names", 2), Ok("ccc".into()));
    for past in [3, i64::MAX] {
        assert_eq!(string("names", past), Err(none));
        assert_eq!(int("ints", past), Err(none));
    }
    for odd in [-1, -2, i64::MIN] {
        assert_eq!(string("names", odd), Err(INVALID));
        assert_eq!(int("ints", odd), Err(INVALID));
    }
    assert_eq!(string("ints", 0), Err(INVALID));
    assert_eq!(
        (int("u", -1), int("i", -1), int("b", -1)),
        (Ok(5), Ok(-5), Ok(1))
    );
    assert_eq!((int("ints", 0), int("ints", 1)), (Ok(1), Ok(-2)));
    assert_eq!((int("big", -1), int("f", -1)), (Err(INVALID), Err(INVALID)));
    assert_eq!((float("f", -1), float("u", -1)), (Ok(0.5), Ok(5.0)));
    assert_eq!((count("names"), count("ints")), (Ok(3), Ok(2)));
    assert_eq!((count("u"), count("?")), (Err(INVALID), Err(none)));

    let mut keys = vec![];
    for i in 0.. {
        let (mut buffer, mut n, mut ty) = ([0_u8; 16], 0, 0);
        let to = buffer.as_mut_ptr().cast();
        // SAFETY: whole outputs.
        let status =
            unsafe { realm_model_meta_key(s, 1, i, to, 16, &raw mut n, &raw mut ty, NULL) };
        if status != 0 {
            assert_eq!((status, i), (none, 8));
            break;
        }
        keys.push((String::from_utf8(buffer[..n].to_vec()).unwrap(), ty));
    }
    assert_eq!(keys[0], ("s".into(), 8));
    assert_eq!(keys[5], ("b".into(), 7));
    assert_eq!(keys[6], ("names".into(), 9));
    assert_eq!(keys[7], ("ints".into(), 9));

    let mut n = 0;
    // SAFETY: NULL, or whole outputs.
    unsafe {
        let small = REALM_STATUS_BUFFER_TOO_SMALL;
        let (k, len) = key("names");
        assert_eq!(
            realm_model_meta_key(s, 1, 6, null(), 0, &raw mut n, null(), NULL),
            small
        );
        assert_eq!(n, 5);
        assert_eq!(
            realm_model_meta_string(s, 1, k, len, 2, null(), 0, &raw mut n, NULL),
            small
        );
        assert_eq!(n, 3);
        assert_eq!(
            realm_model_meta_string(s, 1, k, len, 1, null(), 0, &raw mut n, NULL),
            0
        );
        assert_eq!(n, 0);
        assert_eq!(
            realm_model_meta_key(s, 1, 0, null(), 0, null(), null(), NULL),
            INVALID
        );
        assert_eq!(
            realm_model_meta_string(s, 1, k, len, 2, null(), 0, null(), NULL),
            INVALID
        );
        assert_eq!(
            realm_model_meta_string(s, 1, null(), 1, 2, null(), 0, &raw mut n, NULL),
            INVALID
        );
        assert_eq!(
            realm_model_meta_string(s, 1, null(), 0, 2, null(), 0, &raw mut n, NULL),
            none
        );
        assert_eq!(realm_model_meta_int(s, 1, k, len, 0, null(), NULL), INVALID);
        assert_eq!(
            realm_model_meta_float(s, 1, k, len, 0, null(), NULL),
            INVALID
        );
        assert_eq!(realm_model_meta_count(s, 1, k, len, null(), NULL), INVALID);
        assert_eq!(
            realm_model_meta_key(s, 2, 0, null(), 0, &raw mut n, null(), NULL),
            none
        );
    }
}

#[test]
fn tensors_are_found_described_and_read_by_rows() {
    let store = Own::with(&sample());
    let s = store.0;
    let find = |name: &str| {
        let mut t = 99;
        // SAFETY: whole outputs.
        let status = unsafe {
            realm_model_tensor_find(s, 1, name.as_ptr().cast(), name.len(), &raw mut t, NULL)
        };
        (status, t)
    };
    assert_eq!(find("token_embd.weight"), (0, 0));
    assert_eq!(find("blk.0.attn_q.weight"), (0, 2));
    assert_eq!(find("token_embd.weigh"), (REALM_STATUS_NOT_FOUND, 99));
    assert_eq!(find(""), (REALM_STATUS_NOT_FOUND, 99));

    // SAFETY: all zeros is a value.
    let mut t: realm_tensor_info = unsafe { core::mem::zeroed() };
    // SAFETY: whole outputs, or NULL.
    unsafe {
        assert_eq!(realm_model_tensor_info(s, 1, 2, &raw mut t, NULL), INVALID);
        t.struct_size = size_of_val(&t) as u32;
        t.abi_version = REALM_ABI_VERSION;
        assert_eq!(
            realm_model_tensor_info(s, 1, 3, &raw mut t, NULL),
            REALM_STATUS_NOT_FOUND
        );
        assert_eq!(realm_model_tensor_info(s, 1, 2, &raw mut t, NULL), 0);
        assert_eq!(
            (t.ne, t.bytes, t.r#type, t.n_dims),
            ([32, 2, 1, 1], 68, 8, 2)
        );
        assert_eq!(c_string(&t.name), "blk.0.attn_q.weight");
        assert_eq!(c_string(&t.type_name).to_lowercase(), "q8_0");
        assert_eq!(realm_model_tensor_info(s, 1, 2, null(), NULL), INVALID);
        assert_eq!(
            realm_model_tensor_find(s, 1, ptr::null(), 3, null(), NULL),
            INVALID
        );
    }

    let read = |tensor, first, rows, capacity: usize| {
        let (mut v, mut n) = (vec![f32::NAN; capacity], 99);
        // SAFETY: whole outputs.
        let status = unsafe {
            realm_model_tensor_read(
                s,
                1,
                tensor,
                first,
                rows,
                v.as_mut_ptr(),
                capacity,
                &raw mut n,
                NULL,
            )
        };
        (status, n, v)
    };
    let (small, none) = (REALM_STATUS_BUFFER_TOO_SMALL, REALM_STATUS_NOT_FOUND);
    assert_eq!(read(0, 0, 0, 0), (small, 40, vec![]));
    assert_eq!(read(0, 3, 0, 0), (small, 16, vec![]));
    let (status, n, v) = read(0, 1, 2, 17);
    assert_eq!((status, n), (0, 16));
    let want: Vec<f32> = (8..24).map(|i| i as f32 / 4.0).collect();
    assert_eq!(v[..16], want);
    assert!(v[16].is_nan());
    let (status, n, v) = read(0, 4, 0, 8);
    assert_eq!((status, n, v[7]), (0, 8, 39.0 / 4.0));
    assert_eq!(read(0, 5, 0, 0).0, 0);
    for (first, rows) in [
        (5, 1),
        (6, 0),
        (0, 6),
        (u64::MAX, 0),
        (1, u64::MAX),
        (u64::MAX, 1),
    ] {
        let (status, n, _) = read(0, first, rows, 40);
        assert_eq!((status, n), (INVALID, 99));
    }
    assert_eq!(read(3, 0, 0, 40).0, none);
    assert_eq!(read(2, 1, 1, 32).0, 0);
    // SAFETY: NULL, impossible sizes.
    unsafe {
        let mut n = 0;
        let huge = usize::MAX / 2;
        let mut one = 0.0;
        assert_eq!(
            realm_model_tensor_read(s, 1, 0, 0, 0, null(), 1, &raw mut n, NULL),
            INVALID
        );
        assert_eq!(
            realm_model_tensor_read(s, 1, 0, 0, 0, null(), 0, null(), NULL),
            INVALID
        );
        assert_eq!(
            realm_model_tensor_read(s, 1, 0, 0, 0, &raw mut one, huge, &raw mut n, NULL),
            INVALID
        );
    }
}

/// `<unk> <s> </s>`, the bytes from 3, then "a", "b", "ab" and a space.
fn with_vocabulary() -> Vec<u8> {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
    tokens.extend((0..256).map(|b| format!("<0x{b:02X}>")));
    tokens.extend(["a", "b", "ab", "\u{2581}"].map(String::from));
    let mut kinds = vec![6; tokens.len()];
    kinds[..3].copy_from_slice(&[2, 3, 3]);
    kinds[259..].fill(1);
    let mut scores = vec![0.0; tokens.len()];
    scores[259..].copy_from_slice(&[-2.0, -2.0, -1.0, -2.0]);
    Writer::new()
        .str("general.architecture", "llama")
        .str("tokenizer.ggml.model", "llama")
        .strings("tokenizer.ggml.tokens", &tokens)
        .f32s("tokenizer.ggml.scores", &scores)
        .i32s("tokenizer.ggml.token_type", &kinds)
        .u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.eos_token_id", 2)
        .bool("tokenizer.ggml.add_bos_token", true)
        .bool("tokenizer.ggml.add_space_prefix", false)
        .bytes()
}

#[test]
fn text_becomes_ids_and_ids_text() {
    let store = Own::with(&with_vocabulary());
    let s = store.0;
    let ids = |text: &[u8], flags, capacity: usize| {
        let (mut out, mut n) = (vec![7777; capacity], 99);
        let (p, len) = (text.as_ptr().cast(), text.len());
        let to = out.as_mut_ptr();
        // SAFETY: whole outputs.
        let status =
            unsafe { realm_model_tokenize(s, 1, p, len, flags, to, capacity, &raw mut n, NULL) };
        if status == 0 {
            out.truncate(n);
        }
        (status, n, out)
    };
    let text = |ids: &[u32], flags, capacity: usize| {
        let (mut out, mut n) = (vec![b'?'; capacity], 99);
        let to = out.as_mut_ptr().cast();
        // SAFETY: whole outputs.
        let status = unsafe {
            realm_model_detokenize(
                s,
                1,
                ids.as_ptr(),
                ids.len(),
                flags,
                to,
                capacity,
                &raw mut n,
                NULL,
            )
        };
        (status, n, String::from_utf8(out).unwrap())
    };
    let small = REALM_STATUS_BUFFER_TOO_SMALL;
    let (add, parse) = (REALM_TOKENIZE_ADD_SPECIAL, REALM_TOKENIZE_PARSE_SPECIAL);
    assert_eq!(ids(b"ab a", 0, 9), (0, 3, vec![261, 262, 259]));
    assert_eq!(ids(b"ab a", add, 9), (0, 4, vec![1, 261, 262, 259]));
    assert_eq!(ids(b"ab a", add, 0), (small, 4, vec![]));
    assert_eq!(ids(b"ab a", add, 3), (small, 4, vec![7777; 3]));
    assert_eq!(ids(b"a</s>", parse, 9), (0, 2, vec![259, 2]));
    assert!(ids(b"a</s>", 0, 9).1 > 2);
    assert_eq!(ids(b"\xff", 0, 9), (0, 1, vec![3 + 0xff]));
    assert_eq!(ids(b"", 0, 0), (0, 0, vec![]));
    assert_eq!(ids(b"a", 4, 9), (INVALID, 99, vec![7777; 9]));

    assert_eq!(text(&[261, 262, 259], 0, 6), (0, 4, "ab a\0?".into()));
    assert_eq!(text(&[261, 262, 259], 0, 4), (0, 4, "ab a".into()));
    assert_eq!(text(&[261, 262, 259], 0, 3), (small, 4, "???".into()));
    assert_eq!(text(&[1, 259], 0, 1), (0, 1, "a".into()));
    assert_eq!(
        text(&[1, 259], REALM_DETOKENIZE_SPECIAL, 4),
        (0, 4, "<s>a".into())
    );
    assert_eq!(
        text(&[3 + 0xe2, 3 + 0x82, 3 + 0xac], 0, 3),
        (0, 3, "€".into())
    );
    assert_eq!(text(&[3 + 0xe2, 3 + 0x82], 0, 3), (0, 3, "\u{fffd}".into()));
    assert_eq!(text(&[], 0, 0), (0, 0, "".into()));
    assert_eq!(
        text(&[9999], 0, 2),
        (REALM_STATUS_NOT_FOUND, 99, "??".into())
    );
    assert_eq!(text(&[259], 2, 2).0, INVALID);

    // SAFETY: NULL, or whole outputs.
    unsafe {
        let mut n = 0;
        let p = &raw mut n;
        assert_eq!(
            realm_model_tokenize(s, 1, null(), 1, 0, null(), 0, p, NULL),
            INVALID
        );
        let mut e = super::tests::no_error();
        assert_eq!(
            realm_model_tokenize(s, 1, null(), 0, 9, null(), 0, p, &mut e),
            INVALID
        );
        assert_eq!(
            super::tests::message(&e),
            "realm_model_tokenize: the flags are 0x9, expected any of REALM_TOKENIZE_ADD_SPECIAL (1) and REALM_TOKENIZE_PARSE_SPECIAL (2)"
        );
        assert_eq!(
            realm_model_tokenize(s, 1, null(), 0, 0, null(), 0, null(), NULL),
            INVALID
        );
        assert_eq!(
            realm_model_tokenize(s, 1, null(), 0, 0, null(), 1, p, NULL),
            INVALID
        );
        assert_eq!(
            realm_model_tokenize(s, 1, null(), 0, 0, null(), 0, p, NULL),
            0
        );
        assert_eq!(
            realm_model_detokenize(s, 1, null(), 1, 0, null(), 0, p, NULL),
            INVALID
        );
        assert_eq!(
            realm_model_detokenize(s, 1, null(), 0, 0, null(), 0, null(), NULL),
            INVALID
        );
        assert_eq!(
            realm_model_detokenize(s, 1, null(), 0, 0, null(), 1, p, NULL),
            INVALID
        );
        let none = REALM_STATUS_NOT_FOUND;
        assert_eq!(
            realm_model_tokenize(s, 2, null(), 0, 0, null(), 0, p, NULL),
            none
        );
        // A model without a vocabulary.
        let bare = Own::with(&Writer::new().u32("x", 1).bytes());
        assert_ne!(
            realm_model_tokenize(bare.0, 1, null(), 0, 0, null(), 0, p, NULL),
            0
        );
    }
}
