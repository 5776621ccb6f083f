//! Names the shared library for the loader: `librealm.so.0`, on Apple systems `@rpath/librealm.0.dylib`.
//!
//! A program remembers that name, with the major version in it, and not the file it was linked with.
//! Cargo can only write `librealm.so`, so a link of that name is put beside it: programs linked with the
//! library in the target directory find it there.

use std::env;
use std::path::Path;

/// The major version, which alone may break compiled programs.
const MAJOR: &str = env!("CARGO_PKG_VERSION_MAJOR");

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let (file, name, option) = match os.as_str() {
        "linux" | "android" | "freebsd" | "netbsd" | "openbsd" | "dragonfly" => {
            let name = format!("librealm.so.{MAJOR}");
            let option = format!("-Wl,-soname,{name}");
            ("librealm.so", name, option)
        }
        "macos" | "ios" | "tvos" | "watchos" | "visionos" => {
            let name = format!("librealm.{MAJOR}.dylib");
            let option = format!("-Wl,-install_name,@rpath/{name}");
            ("librealm.dylib", name, option)
        }
        // Firmware has no shared libraries.
        _ => return,
    };
    println!("cargo:rustc-cdylib-link-arg={option}");
    // OUT_DIR is <target>/<profile>/build/<package>/out, the libraries are in <target>/<profile>.
    let out = env::var("OUT_DIR").unwrap_or_default();
    if let Some(folder) = Path::new(&out).ancestors().nth(3) {
        link(file, &folder.join(name));
    }
}

/// Makes `link` a symbolic link to `file` in the same folder, where the building machine has such links.
#[cfg(unix)]
fn link(file: &str, link: &Path) {
    if std::fs::read_link(link).is_ok_and(|to| to == Path::new(file)) {
        return;
    }
    // What is there may be a link of another version, or nothing.
    let _ = std::fs::remove_file(link);
    if let Err(error) = std::os::unix::fs::symlink(file, link) {
        println!("cargo:warning={}: {error}", link.display());
    }
}

#[cfg(not(unix))]
fn link(_file: &str, _link: &Path) {}
