//! The boundary's helpers against hostile pointers, sizes and panics.

use super::error::*;
use super::*;
use crate::error::Status;
use std::format;
use std::vec::Vec;

fn status<T>(r: Result<T>) -> Option<Status> {
    r.err().map(|e| e.status())
}

fn name(status: realm_status) -> &'static CStr {
    // SAFETY: NUL-terminated and static.
    unsafe { CStr::from_ptr(realm_status_name(status)) }
}

#[test]
fn the_numbers_are_those_of_the_core() {
    let all = [
        (REALM_STATUS_INVALID_ARGUMENT, Status::InvalidArgument),
        (REALM_STATUS_NO_MEMORY, Status::NoMemory),
        (REALM_STATUS_NOT_FOUND, Status::NotFound),
        (REALM_STATUS_ID_CONFLICT, Status::IdConflict),
        (REALM_STATUS_FORMAT, Status::Format),
        (REALM_STATUS_UNSUPPORTED, Status::Unsupported),
        (REALM_STATUS_LIMIT, Status::Limit),
        (REALM_STATUS_STATE, Status::State),
        (REALM_STATUS_GUEST, Status::Guest),
        (REALM_STATUS_BACKEND, Status::Backend),
        (REALM_STATUS_CANCELLED, Status::Cancelled),
        (REALM_STATUS_BUFFER_TOO_SMALL, Status::BufferTooSmall),
        (REALM_STATUS_IO, Status::Io),
        (REALM_STATUS_INTERNAL, Status::Internal),
    ];
    for (i, (code, status)) in all.into_iter().enumerate() {
        assert_eq!(code, status as i32);
        assert_eq!(code, -1 - i as i32);
        // REALM_STATUS_NO_MEMORY and NoMemory, spelt alike.
        let spelt = name(code)
            .to_str()
            .unwrap()
            .replace("REALM_STATUS_", "")
            .replace('_', "");
        assert_eq!(spelt, format!("{status:?}").to_uppercase());
    }
    assert_eq!(name(0), c"REALM_STATUS_OK");
    for unknown in [1, -15, i32::MIN, i32::MAX] {
        assert_eq!(name(unknown), c"REALM_STATUS_UNKNOWN");
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    struct_size: u32,
    abi_version: u32,
    first: u32,
    /// "since 0.2"
    later: u32,
}

const SAMPLE_MIN: usize = 12;

#[test]
fn arrays_are_checked() {
    let items = [1_u32, 2, 3];
    let p = items.as_ptr();
    // SAFETY: NULL, misaligned, impossible or valid.
    unsafe {
        assert_eq!(slice(p, 3, "x").unwrap(), &items);
        assert_eq!(slice::<u32>(ptr::null(), 0, "x").unwrap(), &[] as &[u32]);
        assert_eq!(slice(p.byte_add(1), 0, "x").unwrap(), &[] as &[u32]);
        let bad = Some(Status::InvalidArgument);
        assert_eq!(status(slice::<u32>(ptr::null(), 1, "x")), bad);
        assert_eq!(status(slice(p.byte_add(1), 1, "x")), bad);
        assert_eq!(status(slice(p, usize::MAX, "x")), bad);
        assert_eq!(status(slice(p, isize::MAX as usize / 4 + 1, "x")), bad);
        assert_eq!(status(text_of(ptr::null(), 1, "x")), bad);
        assert_eq!(status(text_of(c"\xff".as_ptr(), 1, "x")), bad);
        assert_eq!(status(text(c"\xff".as_ptr(), "x")), bad);
        assert_eq!(status(text(ptr::null(), "x")), bad);
        assert_eq!(text(c"ok".as_ptr(), "x").unwrap(), "ok");
        assert_eq!(status(put::<u32>(ptr::null_mut(), 1, "x")), bad);
        assert_eq!(
            status(put::<u32>(ptr::without_provenance_mut(1), 1, "x")),
            bad
        );
    }
}

#[test]
fn two_calls_learn_the_size_and_then_the_items() {
    // The names are for messages.
    unsafe fn all<T: Copy>(items: &[T], dst: *mut T, capacity: usize, n: *mut usize) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { put_all(items, (dst, "dst"), capacity, (n, "count")) }
    }
    unsafe fn text(text: &[u8], dst: *mut c_char, capacity: usize, n: *mut usize) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { put_text(text, (dst, "dst"), capacity, n) }
    }
    let mut n = 99;
    let mut items = [7_u8; 4];
    let to = items.as_mut_ptr();
    let small = Some(Status::BufferTooSmall);
    let bad = Some(Status::InvalidArgument);
    // SAFETY: NULL with capacity 0, refused, or valid.
    unsafe {
        assert_eq!(status(all(b"abc", ptr::null_mut(), 0, &raw mut n)), small);
        assert_eq!(n, 3);
        assert_eq!(status(text(b"abc", to.cast(), 2, &raw mut n)), small);
        assert_eq!((n, to.cast::<[u8; 4]>().read()), (3, [7; 4]));
        text(b"abc", to.cast(), 3, &raw mut n).unwrap();
        assert_eq!((n, to.cast::<[u8; 4]>().read()), (3, *b"abc\x07"));
        text(b"ab", to.cast(), 4, &raw mut n).unwrap();
        assert_eq!((n, to.cast::<[u8; 4]>().read()), (2, *b"ab\0\x07"));
        all::<u8>(b"", ptr::null_mut(), 0, &raw mut n).unwrap();
        assert_eq!(n, 0);
        assert_eq!(status(all(b"abc", ptr::null_mut(), 1, &raw mut n)), bad);
        assert_eq!(
            status(all(&[1_u32], to.cast::<u32>().byte_add(1), 1, &raw mut n)),
            bad
        );
        assert_eq!(n, 0);
        assert_eq!(
            status(all(b"abc", ptr::null_mut(), 0, ptr::null_mut())),
            bad
        );
    }
}

#[test]
fn structs_are_read_and_written_as_far_as_both_know() {
    let abi = crate::platform::REALM_ABI_VERSION;
    let make = |struct_size, abi_version| Sample {
        struct_size,
        abi_version,
        first: 5,
        later: 6,
    };
    // SAFETY: whole structs, whatever their heads say.
    let read = |s: &Sample| unsafe { read_struct(s, "sample", SAMPLE_MIN) };
    assert_eq!(read(&make(16, abi)).unwrap().later, 6);
    assert_eq!(read(&make(12, abi)).unwrap().later, 0);
    assert_eq!(read(&make(400, abi)).unwrap().later, 6);
    for small in [0, 8, 11] {
        assert_eq!(
            status(read(&make(small, abi))),
            Some(Status::InvalidArgument)
        );
    }
    assert_eq!(
        status(read(&make(16, abi + (1 << 16)))),
        Some(Status::Unsupported)
    );
    // SAFETY: NULL is refused, and the struct is whole.
    unsafe {
        let null = read_struct::<Sample>(ptr::null(), "sample", SAMPLE_MIN);
        assert_eq!(status(null), Some(Status::InvalidArgument));
        let mut old = make(12, abi);
        let new = Sample {
            struct_size: 0,
            abi_version: 0,
            first: 1,
            later: 2,
        };
        write_struct(&raw mut old, "sample", SAMPLE_MIN, &new).unwrap();
        let want = Sample {
            first: 1,
            ..make(12, abi)
        };
        assert_eq!(old, want);
    }
}

#[test]
fn fixed_texts_are_cut_between_characters() {
    let text = |t: &[c_char]| -> Vec<u8> { t.iter().map(|c| *c as u8).collect() };
    assert_eq!(text(&fixed::<4>("abcdef")), b"abc\0");
    assert_eq!(text(&fixed::<4>("aéé")), "aé\0".as_bytes());
    assert_eq!(text(&fixed::<4>("éé")), "é\0\0".as_bytes());
    assert_eq!(text(&fixed::<4>("€€")), "€\0".as_bytes());
    assert_eq!(text(&fixed::<3>("€€")), b"\0\0\0");
    assert_eq!(text(&fixed::<3>("")), b"\0\0\0");
}

fn blank() -> realm_error {
    realm_error {
        status: 77,
        message: [0; 252],
    }
}

fn message(e: &realm_error) -> &str {
    // SAFETY: terminated.
    unsafe { CStr::from_ptr(e.message.as_ptr()) }
        .to_str()
        .unwrap()
}

#[test]
fn a_guard_reports_failures_only() {
    let mut e = blank();
    assert_eq!(guard(&raw mut e, || Ok(())), 0);
    assert_eq!((e.status, message(&e)), (77, ""));
    assert_eq!(
        guard(&raw mut e, || bail!(Limit, "too much")),
        REALM_STATUS_LIMIT
    );
    assert_eq!((e.status, message(&e)), (REALM_STATUS_LIMIT, "too much"));
    assert_eq!(
        guard(ptr::null_mut(), || bail!(Limit, "too much")),
        REALM_STATUS_LIMIT
    );
    let long = "ü".repeat(300);
    guard(&raw mut e, || bail!(Io, "{long}"));
    assert!(message(&e).len() > 200 && message(&e).chars().all(|c| c == 'ü'));
}

#[test]
fn a_panic_is_a_status() {
    let mut e = blank();
    assert_eq!(
        guard(&raw mut e, || panic!("number {}", 7)),
        REALM_STATUS_INTERNAL
    );
    assert_eq!(message(&e), "a bug in the library: number 7");
}

#[test]
fn handles_are_boxes() {
    let shared = alloc::sync::Arc::new(());
    let handle = new_handle(shared.clone(), "x").unwrap();
    assert_eq!(alloc::sync::Arc::strong_count(&shared), 2);
    // SAFETY: made above.
    drop(unsafe { alloc::boxed::Box::from_raw(handle) });
    assert_eq!(alloc::sync::Arc::strong_count(&shared), 1);
}
