//! Runtimes and stores through their C functions.

use super::error::*;
use super::runtime::*;
use super::store::{realm_store_create, realm_store_destroy};
use crate::backend::table::{
    REALM_BACKEND_HOST_MEMORY, realm_backend, realm_cursor, realm_kernel_args, realm_program,
    realm_step,
};
use crate::platform::{REALM_ABI_VERSION, realm_platform};
use crate::store::Store;
use core::ffi::{CStr, c_char, c_void};
use core::ptr;

unsafe extern "C" fn supports(_: *mut c_void, _: *const realm_program, _: u32) -> i32 {
    0
}
unsafe extern "C" fn prepare(
    _: *mut c_void,
    _: *const realm_program,
    _: u32,
    _: u32,
    _: *mut *mut c_void,
    _: *mut u64,
) -> i32 {
    0
}
unsafe extern "C" fn discard(_: *mut c_void, _: *mut c_void) {}
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
    _: *mut c_void,
    _: *mut c_void,
    _: *const realm_step,
    _: u32,
    _: *mut realm_cursor,
    _: u64,
) -> i32 {
    0
}
unsafe extern "C" fn kernel(_: *mut c_void, _: *const realm_kernel_args) -> i32 {
    0
}

fn backend(name: *const c_char) -> realm_backend {
    realm_backend {
        struct_size: size_of::<realm_backend>() as u32,
        abi_version: REALM_ABI_VERSION,
        next: ptr::null(),
        ctx: ptr::null_mut(),
        name,
        flags: REALM_BACKEND_HOST_MEMORY,
        reserved: 0,
        buffer_create: None,
        buffer_destroy: None,
        buffer_write: None,
        buffer_read: None,
        weight_bind: None,
        weight_release: None,
        supports: Some(supports),
        prepare: Some(prepare),
        discard: Some(discard),
        submit: Some(submit),
        query: Some(query),
        cancel: None,
    }
}

fn options() -> realm_runtime_options {
    realm_runtime_options {
        struct_size: size_of::<realm_runtime_options>() as u32,
        abi_version: REALM_ABI_VERSION,
        next: ptr::null(),
        ctx: ptr::null_mut(),
        platform: ptr::null(),
        store: ptr::null_mut(),
    }
}

fn null<T>() -> *mut T {
    ptr::null_mut()
}

/// The status, which has to be that of the error struct too.
fn create(options: *const realm_runtime_options, out: *mut *mut realm_runtime) -> realm_status {
    let mut e = realm_error {
        status: 0,
        message: [0; 252],
    };
    // SAFETY: what the tests pass is NULL, misaligned or valid.
    let status = unsafe { realm_runtime_create(options, out, &raw mut e) };
    assert_eq!(status, e.status);
    assert_eq!(status == 0, e.message[0] == 0);
    status
}

fn runtime() -> *mut realm_runtime {
    let mut r = ptr::null_mut();
    assert_eq!(create(ptr::null(), &raw mut r), REALM_STATUS_OK);
    r
}

#[test]
fn null_is_a_status_everywhere() {
    // SAFETY: NULL is allowed everywhere.
    unsafe {
        assert_eq!(create(ptr::null(), null()), REALM_STATUS_INVALID_ARGUMENT);
        assert_eq!(
            realm_runtime_create(ptr::null(), null(), null()),
            REALM_STATUS_INVALID_ARGUMENT
        );
        realm_runtime_destroy(null());
        assert_eq!(
            realm_runtime_add_backend(null(), &backend(c"x".as_ptr()), null()),
            REALM_STATUS_INVALID_ARGUMENT
        );
        assert_eq!(
            realm_runtime_add_kernel(null(), 1, 0, Some(kernel), null(), null()),
            REALM_STATUS_INVALID_ARGUMENT
        );
        assert_eq!(realm_runtime_backend_count(ptr::null()), 0);
        assert!(realm_runtime_backend_name(ptr::null(), 0).is_null());
        assert_eq!(
            realm_store_create(null(), null()),
            REALM_STATUS_INVALID_ARGUMENT
        );
        realm_store_destroy(null());
    }
}

#[test]
fn options_are_checked_and_outputs_left_alone() {
    let mark: *mut realm_runtime = ptr::without_provenance_mut(16);
    let try_with = |change: &dyn Fn(&mut realm_runtime_options)| {
        let mut o = options();
        change(&mut o);
        let mut out = mark;
        let status = create(&o, &raw mut out);
        if status != 0 {
            assert_eq!(out, mark);
        } else {
            // SAFETY: just made.
            unsafe { realm_runtime_destroy(out) };
        }
        status
    };
    assert_eq!(try_with(&|_| {}), 0);
    assert_eq!(try_with(&|o| o.struct_size += 64), 0);
    assert_eq!(try_with(&|o| o.abi_version += 1), 0);
    assert_eq!(
        try_with(&|o| o.struct_size = 0),
        REALM_STATUS_INVALID_ARGUMENT
    );
    assert_eq!(
        try_with(&|o| o.struct_size -= 1),
        REALM_STATUS_INVALID_ARGUMENT
    );
    assert_eq!(
        try_with(&|o| o.abi_version = 1 << 16),
        REALM_STATUS_UNSUPPORTED
    );
    assert_eq!(
        try_with(&|o| o.next = mark.cast()),
        REALM_STATUS_UNSUPPORTED
    );
    let odd = ptr::without_provenance(1);
    assert_eq!(
        try_with(&|o| o.platform = odd),
        REALM_STATUS_INVALID_ARGUMENT
    );
    let odd = ptr::without_provenance_mut(1);
    assert_eq!(try_with(&|o| o.store = odd), REALM_STATUS_INVALID_ARGUMENT);
    let mut out = mark;
    let odd = ptr::without_provenance(1);
    assert_eq!(create(odd, &raw mut out), REALM_STATUS_INVALID_ARGUMENT);

    let empty = realm_platform {
        struct_size: size_of::<realm_platform>() as u32,
        abi_version: REALM_ABI_VERSION,
        next: ptr::null(),
        ctx: ptr::null_mut(),
        alloc: None,
        free: None,
        clock_ns: None,
        log: None,
        parallel_for: None,
        parallel_width: None,
    };
    assert_eq!(
        try_with(&|o| o.platform = &empty),
        REALM_STATUS_INVALID_ARGUMENT
    );
}

#[test]
fn backends_have_names_and_an_order() {
    let r = runtime();
    let add = |b: *const realm_backend| {
        // SAFETY: a live runtime; NULL, misaligned or a table.
        unsafe { realm_runtime_add_backend(r, b, ptr::null_mut()) }
    };
    let names = || -> std::vec::Vec<&str> {
        // SAFETY: a live runtime, whose names are static here.
        unsafe {
            (0..realm_runtime_backend_count(r))
                .map(|i| {
                    CStr::from_ptr(realm_runtime_backend_name(r, i))
                        .to_str()
                        .unwrap()
                })
                .collect()
        }
    };
    let own = |mut before: std::vec::Vec<&'static str>| {
        before.extend(cfg!(feature = "cpu").then_some("cpu"));
        before.push("reference");
        before
    };
    assert_eq!(names(), own(std::vec![]));
    assert_eq!(add(&backend(c"one".as_ptr())), 0);
    assert_eq!(add(&backend(c"two".as_ptr())), 0);
    assert_eq!(names(), own(std::vec!["two", "one"]));
    for taken in [c"one", c"reference", c"", c"\xff"] {
        assert_eq!(add(&backend(taken.as_ptr())), REALM_STATUS_INVALID_ARGUMENT);
    }
    assert_eq!(add(&backend(ptr::null())), REALM_STATUS_INVALID_ARGUMENT);
    assert_eq!(add(ptr::null()), REALM_STATUS_INVALID_ARGUMENT);
    assert_eq!(
        add(ptr::without_provenance(1)),
        REALM_STATUS_INVALID_ARGUMENT
    );
    let lacking = realm_backend {
        submit: None,
        ..backend(c"three".as_ptr())
    };
    assert_eq!(add(&lacking), REALM_STATUS_INVALID_ARGUMENT);
    assert_eq!(names(), own(std::vec!["two", "one"]));
    // SAFETY: a live runtime, until it is destroyed.
    unsafe {
        assert!(realm_runtime_backend_name(r, 4).is_null());
        assert!(realm_runtime_backend_name(r, usize::MAX).is_null());
        assert_eq!((*r).backends.select(None).unwrap().backend.name(), "two");
        let kept = (*r).backends.select(Some("one")).unwrap();
        assert!((*r).backends.select(Some("none")).is_err());
        realm_runtime_destroy(r);
        assert_eq!(kept.backend.name(), "one");
    }
}

#[test]
fn kernels_are_checked() {
    let r = runtime();
    let add = |op, call| {
        // SAFETY: a live runtime.
        unsafe { realm_runtime_add_kernel(r, op, u32::MAX, call, ptr::null_mut(), ptr::null_mut()) }
    };
    assert_eq!(add(1, Some(kernel)), 0);
    assert_eq!(add(1, None), REALM_STATUS_INVALID_ARGUMENT);
    assert_eq!(add(0xffff, Some(kernel)), REALM_STATUS_UNSUPPORTED);
    assert_eq!(add(u32::MAX, Some(kernel)), REALM_STATUS_UNSUPPORTED);
    // SAFETY: a live runtime, until it is destroyed.
    unsafe {
        assert_eq!((*r).backends.select(None).unwrap().kernels.len(), 1);
        realm_runtime_destroy(r);
    }
}

#[test]
fn a_runtime_keeps_its_store() {
    let mut s = ptr::null_mut();
    let mut r = ptr::null_mut();
    // SAFETY: objects just made, destroyed once each.
    unsafe {
        assert_eq!(realm_store_create(&raw mut s, ptr::null_mut()), 0);
        let o = realm_runtime_options {
            store: s,
            ..options()
        };
        assert_eq!(create(&o, &raw mut r), 0);
        realm_store_destroy(s);
        assert_eq!((*r).store.ids(&mut []), 0);
        assert!(!ptr::eq::<Store>(&*(&*r).store, Store::global()));
        assert!((*r).platform.now_ns().is_none());
        realm_runtime_destroy(r);
        let r = runtime();
        assert!(ptr::eq::<Store>(&*(&*r).store, Store::global()));
        realm_runtime_destroy(r);
    }
}
