//! Writes the two generated headers, or with `--check` compares them with what is checked in.
//!
//! Each Rust source becomes one section, under the title its `//!` comment gives it; cbindgen
//! writes the declarations, `text` makes them look written. After them comes one
//! `REALM_..._INIT` macro for each struct that opens with `struct_size`.

mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The order of sections in `realm.h`: what is used is declared first. Other files of `capi/`
/// follow, by name.
const CAPI_ORDER: [&str; 9] = [
    "mod.rs",
    "version.rs",
    "status.rs",
    "error.rs",
    "store.rs",
    "model.rs",
    "guest.rs",
    "runtime.rs",
    "session.rs",
];

struct Header {
    /// File name below `include/`; also names the introduction.
    stem: &'static str,
    includes: &'static str,
    sources: Vec<PathBuf>,
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn headers(root: &Path) -> Result<Vec<Header>> {
    let source = root.join("realm-sys/src");
    let mut capi: Vec<PathBuf> = rust_files(&source.join("capi"))?;
    capi.sort_by_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let place = CAPI_ORDER.iter().position(|known| *known == name);
        (place.unwrap_or(CAPI_ORDER.len()), name.into_owned())
    });
    Ok(vec![
        Header {
            stem: "realm_port",
            includes: "#include <stddef.h>\n#include <stdint.h>",
            sources: vec![source.join("platform.rs"), source.join("backend/table.rs")],
        },
        Header {
            stem: "realm",
            includes: "#include <stddef.h>\n#include <stdint.h>\n\n#include \"realm_port.h\"",
            sources: capi,
        },
    ])
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// The declarations of one source under its title; empty if it declares nothing for C.
fn section(here: &Path, source: &Path) -> Result<String> {
    let rust = std::fs::read_to_string(source)?;
    let mut config = cbindgen::Config::from_file(here.join("common.toml"))?;
    // cbindgen would leave out what no function of the same file mentions.
    config.export.include = text::public_types(&rust);
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(source)
        .generate()?;
    let mut raw = Vec::new();
    bindings.write(&mut raw);
    let raw = String::from_utf8(raw)?;
    if raw.trim().is_empty() {
        return Ok(String::new());
    }
    let title = text::title(&rust);
    let rule = "=".repeat(92);
    Ok(format!(
        "/* {rule}\n * {title}\n * {rule} */\n\n{}\n",
        text::tidy(raw.trim())
    ))
}

fn generate(root: &Path, header: &Header) -> Result<String> {
    let here = root.join("tests/headers");
    let guard = format!("{}_H", header.stem.to_uppercase());
    let intro = std::fs::read_to_string(here.join(format!("{}_intro.h", header.stem)))?;
    let mut sections = String::new();
    for source in &header.sources {
        sections.push_str(&section(&here, source)?);
    }
    let inits: String = text::sized_structs(&sections)
        .iter()
        .map(|name| format!("#define {}_INIT REALM_INIT_({name})\n", name.to_uppercase()))
        .collect();
    Ok(format!(
        "{intro}#ifndef {guard}\n#define {guard}\n\n\
         /* Generated from documented Rust by tests/headers/generate: edit it there. */\n\n\
         {includes}\n\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n\
         {sections}{macro_}{inits}\n\
         #ifdef __cplusplus\n}}\n#endif\n\n#endif /* {guard} */\n",
        includes = header.includes,
        macro_ = text::INIT_MACRO,
    ))
}

fn run() -> Result<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let check = std::env::args().any(|arg| arg == "--check");
    let mut same = true;
    for header in headers(&root)? {
        let text = generate(&root, &header)?;
        let name = format!("include/{}.h", header.stem);
        let path = root.join(&name);
        if !check {
            std::fs::write(&path, text)?;
        } else if std::fs::read_to_string(&path).unwrap_or_default() != text {
            eprintln!("{name} differs from its Rust source: run tests/headers/generate");
            same = false;
        }
    }
    Ok(same)
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("generate-headers: {error}");
            ExitCode::FAILURE
        }
    }
}
