//! Where panics stop.
//!
//! A panic is a bug in the library. Hosted builds (the feature `hosted`) catch it, here and nowhere else. What calls this:
//!
//! - [`caught`]: the C functions, through `capi::guard`; what runs one session among several; imports and host functions, because the
//!   interpreter's own functions cannot unwind (a panic of wasmi itself ends the process);
//! - [`slot`], [`discard`]: in the functions of the built-in backends' tables, which are C functions to the core and may not unwind;
//! - [`tasks`]: in the tasks of a `parallel_for`, which run on threads and in frames of the host's. The panic goes on on the
//!   thread that asked for them.
//!
//! Builds without the standard library, and those with `panic = "abort"`, have no way to catch one: the firmware's
//! `realm_firmware_panic`, or the standard library's abort, has the last word.

use crate::error::{Error, Result, Status};
use alloc::boxed::Box;
use core::ffi::c_void;

/// Runs `body`; a panic becomes an error where there is a way to catch it.
#[cfg(any(test, feature = "hosted"))]
pub fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    hosted::caught(body)
}

/// Runs `body`.
#[cfg(not(any(test, feature = "hosted")))]
pub fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    body()
}

/// The function of a built-in table that ends what another of its functions made: `made` is a `Box<T>`.
///
/// # Safety
/// `made` is of `Box::into_raw`, and not used any more.
pub unsafe extern "C" fn discard<T>(_: *mut c_void, made: *mut c_void) {
    let _ = caught(|| {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(made.cast::<T>()) });
        Ok(())
    });
}

/// Runs the body of a function of a built-in table. A panic is `INTERNAL` there; what it said is kept for [`said`].
pub fn slot(body: impl FnOnce() -> i32) -> i32 {
    match caught(|| Ok(body())) {
        Ok(code) => code,
        Err(e) => {
            #[cfg(any(test, feature = "hosted"))]
            hosted::SAID.set(Some(e));
            #[cfg(not(any(test, feature = "hosted")))]
            let _ = e;
            Status::Internal as i32
        }
    }
}

/// What the panic behind the last `INTERNAL` of a built-in table said on this thread. It is told once.
pub fn said() -> Option<Error> {
    #[cfg(any(test, feature = "hosted"))]
    return hosted::SAID.take();
    #[cfg(not(any(test, feature = "hosted")))]
    None
}

/// Hands `run` a function that is `body`, but does not unwind. If some call of it has panicked, the panic goes on here, once
/// `run` has returned.
pub fn tasks<F: Fn(u32) + Sync>(body: &F, run: impl FnOnce(&(dyn Fn(u32) + Sync))) {
    #[cfg(any(test, feature = "hosted"))]
    hosted::tasks(body, run);
    #[cfg(not(any(test, feature = "hosted")))]
    run(body);
}

/// The error itself; tests may have it panic instead ([`provoke`]), as if it were one that nobody had thought of.
#[inline]
pub fn unless_provoked<T>(e: T) -> T {
    #[cfg(test)]
    assert!(!hosted::PROVOKED.get(), "provoked by a test");
    e
}

/// Makes [`unless_provoked`] panic on this thread while `body` runs.
#[cfg(test)]
pub fn provoke<T>(body: impl FnOnce() -> T) -> T {
    hosted::PROVOKED.set(true);
    let result = body();
    hosted::PROVOKED.set(false);
    result
}

#[cfg(any(test, feature = "hosted"))]
mod hosted {
    use crate::err;
    use crate::error::{Error, Result};
    use alloc::boxed::Box;
    use alloc::string::String;
    use core::any::Any;
    use core::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    std::thread_local! {
        pub static SAID: Cell<Option<Error>> = const { Cell::new(None) };
        #[cfg(test)]
        pub static PROVOKED: Cell<bool> = const { Cell::new(false) };
    }

    pub fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
        #[cfg(all(feature = "own-std", not(test)))]
        let _inside = super::hook::Inside::new();
        // What a panic leaves half done is either poisoned (sessions, linked instances) or consistent at every step.
        catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(error(payload.as_ref())))
    }

    /// What is said of a panic: a bug, its message, and its place if that is known.
    fn error(payload: &(dyn Any + Send)) -> Error {
        // From a task: said already.
        if let Some(e) = payload.downcast_ref::<Error>() {
            return e.clone();
        }
        let text = match payload.downcast_ref::<&str>() {
            Some(text) => text,
            None => payload.downcast_ref::<String>().map_or("", String::as_str),
        };
        #[cfg(all(feature = "own-std", not(test)))]
        if let Some(place) = super::hook::place() {
            return err!(Internal, "a bug in the library: {text} ({place})");
        }
        err!(Internal, "a bug in the library: {text}")
    }

    pub fn tasks<F: Fn(u32) + Sync>(body: &F, run: impl FnOnce(&(dyn Fn(u32) + Sync))) {
        let first = spin::Mutex::new(None);
        run(&|i| {
            let task = || {
                body(i);
                Ok(())
            };
            if let Err(e) = caught(task) {
                first.lock().get_or_insert(e);
            }
        });
        if let Some(e) = first.into_inner() {
            resume_unwind(Box::new(e));
        }
    }
}

/// The panic hook of a library that has the standard library to itself: `librealm.so`, `librealm.a` (`artifact/`).
///
/// The standard library's own would print to stderr, which is the host's. Panics of the library say what they have to
/// say in a `realm_error`; for this they leave their place here. All others, should other code share this copy of the standard
/// library, go to the hook that was there before, and one that is set later has the last word.
#[cfg(all(feature = "own-std", not(test)))]
mod hook {
    use crate::err;
    use crate::error::Error;
    use alloc::boxed::Box;
    use core::cell::Cell;
    use std::panic::PanicHookInfo;
    use std::sync::{Once, OnceLock};

    std::thread_local! {
        /// How many of the library's functions that catch panics are on this thread's stack.
        static DEPTH: Cell<u32> = const { Cell::new(0) };
        /// Where the panic was that is on its way to one of them.
        static PLACE: Cell<Option<Error>> = const { Cell::new(None) };
    }

    /// As long as it lives, panics on this thread are the library's.
    pub struct Inside;

    impl Inside {
        pub fn new() -> Self {
            static SET: Once = Once::new();
            // While a thread panics no hook can be set.
            if !SET.is_completed() && !std::thread::panicking() {
                SET.call_once(set);
            }
            DEPTH.set(DEPTH.get() + 1);
            Self
        }
    }

    impl Drop for Inside {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }

    /// The place of the panic that was caught just now.
    pub fn place() -> Option<Error> {
        PLACE.take()
    }

    type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

    /// The hook that was there before. Not in the new one's keeping: that would be memory which a library that is unloaded leaves.
    static BEFORE: OnceLock<Hook> = OnceLock::new();

    fn set() {
        let _ = BEFORE.set(std::panic::take_hook());
        std::panic::set_hook(Box::new(|info| {
            let first = PLACE.take();
            match info.location() {
                Some(place) if DEPTH.get() > 0 && first.is_none() => {
                    PLACE.set(Some(err!(Internal, "{}:{}", place.file(), place.line())));
                }
                // A second panic before the first was caught ends the process. That must not happen in silence.
                _ => {
                    PLACE.set(first);
                    if let Some(before) = BEFORE.get() {
                        before(info);
                    }
                }
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::err;
    use crate::platform::{Platform, realm_task_fn};
    use crate::session::tests::platform_table;
    use core::ffi::c_void;
    use core::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn what_panics_is_an_error_with_its_message() {
        assert_eq!(caught(|| Ok(7)).unwrap(), 7);
        assert_eq!(
            caught::<()>(|| Err(err!(Limit, "no")))
                .unwrap_err()
                .status(),
            Status::Limit
        );
        let e = caught::<()>(|| panic!("number {}", 7)).unwrap_err();
        assert_eq!(e.status(), Status::Internal);
        assert_eq!(e.message(), "a bug in the library: number 7");
        let e = caught::<()>(|| std::panic::panic_any(1_u8)).unwrap_err();
        assert_eq!(e.message(), "a bug in the library: ");
    }

    #[test]
    fn slots_of_tables_do_not_unwind_and_tell_once() {
        assert_eq!(slot(|| 5), 5);
        assert!(said().is_none());
        assert_eq!(slot(|| panic!("in a slot")), Status::Internal as i32);
        let e = crate::backend::host::foreign(-14, "x", "y");
        assert_eq!(e.message(), "a bug in the library: in a slot");
        assert!(said().is_none());
        let e = crate::backend::host::foreign(-14, "x", "y");
        assert_eq!(e.message(), "x: y failed with REALM_STATUS_INTERNAL");
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
                // SAFETY: the contract of `parallel_for`.
                s.spawn(move || unsafe { run.unwrap()(task as *mut c_void, i) });
            }
        });
    }

    #[test]
    fn tasks_on_other_threads_panic_where_they_were_asked_for() {
        let mut table = platform_table();
        table.parallel_for = Some(parallel_for);
        // SAFETY: the table keeps its contract.
        let platform = unsafe { Platform::from_table(&table) }.unwrap();
        let ran = AtomicU32::new(0);
        let e = caught(|| {
            platform.parallel_for(4, &|i| {
                ran.fetch_add(1, Ordering::SeqCst);
                assert!(i % 2 == 0, "an odd one");
            });
            Ok(())
        });
        assert_eq!(e.unwrap_err().message(), "a bug in the library: an odd one");
        assert_eq!(ran.load(Ordering::SeqCst), 4);
        platform.parallel_for(4, &|_| ());
    }
}
