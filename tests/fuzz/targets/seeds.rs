//! Writes the inputs that fuzzing starts from: `seeds DIR` fills `DIR/gguf`, `DIR/guest` and
//! `DIR/tokenizer`.

use realm_sys::gguf::write;
use std::io::Result;
use std::path::Path;

fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(name), bytes)
}

fn main() -> Result<()> {
    let folder = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "corpus".to_owned());
    let folder = Path::new(&folder);
    put(&folder.join("gguf"), "sample", &write::sample())?;
    put(&folder.join("gguf"), "empty", &write::Writer::new().bytes())?;
    for (name, wasm) in [
        ("echo", &include_bytes!("../../guests/echo.wasm")[..]),
        ("double", &include_bytes!("../../guests/double.wasm")[..]),
    ] {
        put(&folder.join("guest"), name, &[&[0], wasm].concat())?;
    }
    // Each import once, with small numbers, and with the script's own bytes as memory.
    for relative in [0u8, 0x80] {
        let script: Vec<u8> = (0..32u8)
            .flat_map(|call| [call | relative, 1, 0, 1, 0, 32, 0, 64, 0, 8, 0, 8, 0])
            .collect();
        put(
            &folder.join("guest"),
            &format!("calls{relative}"),
            &[&[1], &script[..]].concat(),
        )?;
    }
    for choice in 0..8u8 {
        let text = "ab \u{f6}ab 11<|end|>\r\n  don't \u{1f30d}".as_bytes();
        put(
            &folder.join("tokenizer"),
            &format!("text{choice}"),
            &[&[choice | 0x80], text].concat(),
        )?;
    }
    Ok(())
}
