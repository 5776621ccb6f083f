//! The kernels compiled when the program runs, by NVRTC: for builds without nvcc.

use super::library::{Library, functions};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::{c_char, c_void};
use core::ptr;
use std::ffi::CString;

functions! {
    /// NVRTC, as `nvrtc.h` declares it.
    Nvrtc {
        create = c"nvrtcCreateProgram" (*mut *mut c_void, *const c_char, *const c_char, i32, *const *const c_char, *const *const c_char);
        compile = c"nvrtcCompileProgram" (*mut c_void, i32, *const *const c_char);
        log_size = c"nvrtcGetProgramLogSize" (*mut c_void, *mut usize);
        log = c"nvrtcGetProgramLog" (*mut c_void, *mut c_char);
        cubin_size = c"nvrtcGetCUBINSize" (*mut c_void, *mut usize);
        cubin = c"nvrtcGetCUBIN" (*mut c_void, *mut c_char);
        destroy = c"nvrtcDestroyProgram" (*mut *mut c_void);
    }
}

/// The library's names; `REALM_NVRTC` may name another.
fn library() -> Option<Library> {
    let named = std::env::var("REALM_NVRTC").unwrap_or_default();
    Library::open(&[
        named.as_str(),
        "libnvrtc.so.13",
        "libnvrtc.so.12",
        "libnvrtc.so.11.2",
        "nvrtc64_130_0.dll",
        "nvrtc64_120_0.dll",
    ])
}

/// Machine code of `source` for a compute capability, e.g. 90.
pub fn compile(source: &str, capability: i32) -> Result<Vec<u8>, String> {
    let library = library().ok_or(
        "this build has the kernels as source only (it was made without nvcc), and there is no NVRTC (libnvrtc.so.13 or .12) to compile it",
    )?;
    let nvrtc = Nvrtc::load(library).map_err(|e| format!("NVRTC is too old: {e}"))?;
    let text = |s: &str| CString::new(s).map_err(|_| String::from("a zero in the kernels' source"));
    let source = text(source)?;
    let options = [
        text(&format!("--gpu-architecture=sm_{capability}"))?,
        text("--fmad=false")?,
        text("--std=c++17")?,
    ];
    let options: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
    let mut program = ptr::null_mut();
    // SAFETY: functions of nvrtc.h with what they ask for; sizes are asked before they are filled.
    unsafe {
        let failed = |code: i32, what: &str| format!("NVRTC: {what} failed with {code}");
        match (nvrtc.create)(
            &raw mut program,
            source.as_ptr(),
            c"realm.cu".as_ptr(),
            0,
            ptr::null(),
            ptr::null(),
        ) {
            0 => {}
            code => return Err(failed(code, "nvrtcCreateProgram")),
        }
        let code = (nvrtc.compile)(program, options.len() as i32, options.as_ptr());
        let mut size = 0;
        let result = if code != 0 {
            (nvrtc.log_size)(program, &raw mut size);
            let mut log = vec![0u8; size];
            (nvrtc.log)(program, log.as_mut_ptr().cast());
            Err(format!(
                "{}: {}",
                failed(code, "nvrtcCompileProgram"),
                String::from_utf8_lossy(&log)
            ))
        } else if (nvrtc.cubin_size)(program, &raw mut size) != 0 {
            Err(failed(-1, "nvrtcGetCUBINSize"))
        } else {
            let mut cubin = vec![0u8; size];
            match (nvrtc.cubin)(program, cubin.as_mut_ptr().cast()) {
                0 => Ok(cubin),
                code => Err(failed(code, "nvrtcGetCUBIN")),
            }
        };
        (nvrtc.destroy)(&raw mut program);
        result
    }
}

#[cfg(test)]
mod tests {
    /// Without NVRTC there is nothing to show; `REALM_NVRTC` says where it is.
    #[test]
    fn the_flattened_source_compiles() {
        if super::library().is_none() {
            std::eprintln!("skipped: there is no NVRTC");
            return;
        }
        let cubin = super::compile(crate::gpu::cuda::SOURCE, 90).unwrap();
        assert!(cubin.starts_with(b"\x7fELF"));
        let has = |name: &[u8]| cubin.windows(name.len()).any(|w| w == name);
        assert!(has(b"realm_mul_mat_q4_K") && has(b"realm_attend_q8_0"));
    }
}
