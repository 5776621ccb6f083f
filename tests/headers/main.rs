//! Writes the two generated headers, or with `--check` compares them with what is checked in.
//!
//! Each noun (a Rust source or a folder of them) becomes one section, under the title its `//!` comment gives it; cbindgen
//! writes the declarations, `text` makes them look written. After them comes one
//! `REALM_..._INIT` macro for each struct that opens with `struct_size`.

mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The order of sections in `realm.h`: what is used is declared first. Other files and folders of
/// `capi/` follow, by name.
const CAPI_ORDER: [&str; 13] = [
    "mod", "version", "error", "store", "model", "meta", "tensor", "vocab", "guest", "runtime",
    "session", "cpu", "wasm",
];

struct Header {
    /// File name below `include/`; also names the introduction.
    stem: &'static str,
    includes: &'static str,
    /// The Rust sources of each section; the first has the title.
    sections: Vec<Vec<PathBuf>>,
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn headers(root: &Path) -> Result<Vec<Header>> {
    let source = root.join("realm-sys/src");
    let mut capi = nouns(&source.join("capi"))?;
    capi.sort_by_key(|(noun, _)| {
        let place = CAPI_ORDER.iter().position(|known| known == noun);
        (place.unwrap_or(CAPI_ORDER.len()), noun.clone())
    });
    Ok(vec![
        Header {
            stem: "realm_port",
            includes: "#include <stddef.h>\n#include <stdint.h>",
            sections: vec![
                vec![source.join("platform.rs")],
                vec![source.join("backend/table.rs")],
            ],
        },
        Header {
            stem: "realm",
            includes: "#include <stddef.h>\n#include <stdint.h>\n\n#include \"realm_port.h\"",
            sections: capi.into_iter().map(|(_, files)| files).collect(),
        },
    ])
}

/// The nouns of `capi/`: `x.rs`, or `x/` with `mod.rs` first, or both.
fn nouns(folder: &Path) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(noun) = path.file_stem().map(|s| s.to_string_lossy().into_owned()) else {
            continue;
        };
        let files = found.entry(noun).or_default();
        if path.is_dir() {
            for inner in std::fs::read_dir(&path)? {
                files.push(inner?.path());
            }
        } else {
            files.push(path);
        }
    }
    for files in found.values_mut() {
        files.retain(|f| f.extension().is_some_and(|e| e == "rs") && !f.ends_with("tests.rs"));
        files.sort_by_key(|f| (f.components().count(), !f.ends_with("mod.rs"), f.clone()));
    }
    found.retain(|_, files| !files.is_empty());
    Ok(found.into_iter().collect())
}

/// The declarations of some sources under the title of the first; empty if there are none for C.
fn section(here: &Path, sources: &[PathBuf]) -> Result<String> {
    let mut config = cbindgen::Config::from_file(here.join("common.toml"))?;
    let mut builder = cbindgen::Builder::new();
    let mut title = String::new();
    let scratch = std::env::temp_dir().join(format!("realm-headers-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    for (i, source) in sources.iter().enumerate() {
        let rust = std::fs::read_to_string(source)?;
        if i == 0 {
            title = text::title(&rust);
        }
        // cbindgen would leave out what no function of the same section mentions, ...
        config.export.include.extend(text::public_types(&rust));
        // ... and would follow `mod` into what has a section of its own.
        let copy = scratch.join(format!("{i}.rs"));
        std::fs::write(&copy, text::without_modules(&rust))?;
        builder = builder.with_src(copy);
    }
    let bindings = builder.with_config(config).generate()?;
    std::fs::remove_dir_all(&scratch)?;
    let mut raw = Vec::new();
    bindings.write(&mut raw);
    let raw = String::from_utf8(raw)?;
    if raw.trim().is_empty() {
        return Ok(String::new());
    }
    Ok(format!("{}{}\n", heading(&title), text::tidy(raw.trim())))
}

/// What a section opens with.
fn heading(title: &str) -> String {
    let rule = "=".repeat(92);
    format!("/* {rule}\n * {title}\n * {rule} */\n\n")
}

fn generate(root: &Path, header: &Header) -> Result<String> {
    let here = root.join("tests/headers");
    let guard = format!("{}_H", header.stem.to_uppercase());
    let intro = std::fs::read_to_string(here.join(format!("{}_intro.h", header.stem)))?;
    let mut sections = String::new();
    for sources in &header.sections {
        sections.push_str(&section(&here, sources)?);
    }
    let inits: String = text::sized_structs(&sections)
        .iter()
        .map(|name| {
            let init = name.to_uppercase();
            format!("/* For a {name}. */\n#define {init}_INIT REALM_INIT_({name})\n")
        })
        .collect();
    Ok(format!(
        "{intro}#ifndef {guard}\n#define {guard}\n\n\
         /* Generated from documented Rust by tests/headers/generate: edit it there. */\n\n\
         {includes}\n\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n\
         {sections}{inits_title}{macro_}{inits}\n\
         #ifdef __cplusplus\n}}\n#endif\n\n#endif /* {guard} */\n",
        includes = header.includes,
        inits_title =
            heading("Initialisers: `NAME x = NAME_INIT;`, all zero but the size and the version."),
        macro_ = text::INIT_MACRO,
    ))
}

fn run() -> Result<bool> {
    // `generate` runs this from the top of the repository.
    let root = std::env::current_dir()?;
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
