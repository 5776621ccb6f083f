//! The boundary's helpers against hostile pointers, sizes and panics.

use super::*;
use crate::error::Status;
use std::vec::Vec;

fn status<T>(r: Result<T>) -> Option<Status> {
    r.err().map(|e| e.status())
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

// SAFETY: four numbers.
unsafe impl Versioned for Sample {
    const NAME: &'static str = "sample";
    const MIN_BYTES: usize = 12;
}

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
        assert_eq!(status(slice(p, usize::MAX / 4 + 2, "x")), bad);
        assert_eq!(status(text(ptr::null(), 1, "x")), bad);
        assert_eq!(status(text(c"\xff".as_ptr(), 1, "x")), bad);
        assert_eq!(status(c_text(c"\xff".as_ptr(), "x")), bad);
        assert_eq!(status(c_text(ptr::null(), "x")), bad);
        assert_eq!(c_text_or_null(ptr::null(), "x").unwrap(), None);
        assert_eq!(c_text(c"ok".as_ptr(), "x").unwrap(), "ok");
        assert_eq!(status(Out::<u32>::new(ptr::null_mut(), "x")), bad);
        Out::<u32>::optional(ptr::null_mut(), "x").unwrap().set(1);
    }
}

#[test]
fn two_calls_learn_the_size_and_then_the_items() {
    let mut count = 99;
    let mut items = [7_u8; 4];
    // SAFETY: NULL with capacity 0, or valid.
    unsafe {
        let mut ask = TwoCall::<u8>::new(ptr::null_mut(), 0, &raw mut count, "x").unwrap();
        assert_eq!(status(ask.copy(b"abc")), Some(Status::BufferTooSmall));
        assert_eq!(count, 3);
        let mut few = TwoCall::new(items.as_mut_ptr(), 2, &raw mut count, "x").unwrap();
        assert_eq!(status(few.copy_text(b"abc")), Some(Status::BufferTooSmall));
        assert_eq!((count, items), (3, [7; 4]));
        let mut exact = TwoCall::new(items.as_mut_ptr(), 3, &raw mut count, "x").unwrap();
        exact.copy_text(b"abc").unwrap();
        assert_eq!((count, items), (3, *b"abc\x07"));
        let mut all = TwoCall::new(items.as_mut_ptr(), 4, &raw mut count, "x").unwrap();
        all.copy_text(b"ab").unwrap();
        assert_eq!((count, items), (2, *b"ab\0\x07"));
        let mut none = TwoCall::<u8>::new(ptr::null_mut(), 0, &raw mut count, "x").unwrap();
        none.copy(b"").unwrap();
        assert_eq!(count, 0);
        let bad = Some(Status::InvalidArgument);
        assert_eq!(
            status(TwoCall::<u8>::new(ptr::null_mut(), 1, &raw mut count, "x")),
            bad
        );
        assert_eq!(
            status(TwoCall::<u8>::new(ptr::null_mut(), 0, ptr::null_mut(), "x")),
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
    unsafe {
        assert_eq!(read_struct(&make(16, abi)).unwrap().later, 6);
        assert_eq!(read_struct(&make(12, abi)).unwrap().later, 0);
        assert_eq!(read_struct(&make(400, abi)).unwrap().later, 6);
        for small in [0, 8, 11] {
            let r = read_struct(&make(small, abi));
            assert_eq!(status(r), Some(Status::InvalidArgument));
        }
        let r = read_struct(&make(16, abi + (1 << 16)));
        assert_eq!(status(r), Some(Status::Unsupported));
        assert_eq!(
            status(read_struct::<Sample>(ptr::null())),
            Some(Status::InvalidArgument)
        );

        let mut old = make(12, abi);
        let new = Sample {
            struct_size: 0,
            abi_version: 0,
            first: 1,
            later: 2,
        };
        OutStruct::new(&raw mut old).unwrap().set(&new);
        assert_eq!(
            old,
            Sample {
                struct_size: 12,
                abi_version: abi,
                first: 1,
                later: 6
            }
        );
    }
}

#[test]
fn fixed_texts_are_cut_between_characters() {
    let text = |t: &[c_char]| -> Vec<u8> { t.iter().map(|c| *c as u8).collect() };
    assert_eq!(text(&fixed_text::<4>(b"abcdef")), b"abc\0");
    assert_eq!(text(&fixed_text::<4>("aéé".as_bytes())), "aé\0".as_bytes());
    assert_eq!(text(&fixed_text::<4>("éé".as_bytes())), "é\0\0".as_bytes());
    assert_eq!(text(&fixed_text::<4>("€€".as_bytes())), "€\0".as_bytes());
    assert_eq!(text(&fixed_text::<3>("€€".as_bytes())), b"\0\0\0");
    assert_eq!(text(&fixed_text::<3>(b"")), b"\0\0\0");
    assert_eq!(text(&fixed_text::<3>(&[0x80; 9])), b"\0\0\0");
}

#[test]
fn a_guard_reports() {
    let mut e = realm_error::OK;
    // SAFETY: a whole struct, or NULL.
    unsafe {
        assert_eq!(
            guard(&raw mut e, || bail!(Limit, "too much")),
            error::REALM_STATUS_LIMIT
        );
        assert_eq!(e.text(), "too much");
        assert_eq!(
            guard(ptr::null_mut(), || bail!(Limit, "too much")),
            error::REALM_STATUS_LIMIT
        );
        assert_eq!(guard(&raw mut e, || Ok(())), 0);
        assert_eq!((e.status, e.text()), (0, ""));
    }
}

#[cfg(feature = "hosted")]
#[test]
fn a_panic_is_a_status() {
    let mut e = realm_error::OK;
    // SAFETY: a whole struct.
    let code = unsafe { guard(&raw mut e, || panic!("number {}", 7)) };
    assert_eq!(code, error::REALM_STATUS_INTERNAL);
    assert_eq!(e.text(), "a bug in the library: number 7");
    assert_eq!(quietly(3, || panic!("quiet")), 3);
}

#[test]
fn handles_are_dropped_once() {
    let shared = alloc::sync::Arc::new(());
    let handle = new_handle(shared.clone(), "x").unwrap();
    assert_eq!(alloc::sync::Arc::strong_count(&shared), 2);
    // SAFETY: made above; NULL is allowed.
    unsafe {
        drop_handle(handle);
        drop_handle::<u32>(ptr::null_mut());
    }
    assert_eq!(alloc::sync::Arc::strong_count(&shared), 1);
}
