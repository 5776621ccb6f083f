//! Writes the inputs that fuzzing starts from: `seeds DIR` fills a folder in `DIR` for each target.

mod seed_texts;

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
    // Sequences of calls that get somewhere: what, which session, two arguments.
    let [open, ask, run, settle] = [0_u8, 15, 18, 25];
    for (name, calls) in [
        (
            "answer",
            &[
                [open, 0, 0, 0],
                [ask, 0, 0, 0],
                [run, 0, 0, 0],
                [settle, 0, 0, 0],
            ][..],
        ),
        (
            "fork",
            &[
                [open, 0, 1, 1],
                [ask, 0, 0, 0],
                [run, 0, 2, 0],
                [20, 0, 1, 0],
                [ask, 1, 0, 0],
                [19, 0, 3, 0],
                [10, 0, 3, 1],
                [settle, 1, 2, 0],
            ],
        ),
        (
            "overload",
            &[
                [open, 0, 0, 0],
                [28, 0, 4, 255],
                [28, 0, 1, 255],
                [28, 0, 6, 99],
                [28, 0, 3, 255],
                [settle, 0, 0, 0],
            ],
        ),
        (
            "save",
            &[
                [open, 0, 2, 2],
                [ask, 0, 0, 0],
                [run, 0, 0, 0],
                [21, 0, 0, 0],
                [22, 0, 3, 9],
                [8, 1, 0, 2],
                [9, 2, 7, 255],
                [settle, 1, 0, 0],
            ],
        ),
        (
            "embed",
            &[
                [open, 0, 0x60, 0],
                [26, 0, 0x80, 2],
                [26, 0, 0x81, 8],
                [26, 0, 0x10, 2],
                [ask, 0, 0, 0],
                [26, 0, 0x80, 2],
                [run, 0, 0, 0],
                [settle, 0, 0, 0],
            ],
        ),
        (
            "models",
            &[
                [open, 0, 0, 0],
                [27, 0, 3, 0],
                [27, 0, 65, 0],
                [ask, 0, 0, 0],
                [27, 0, 0, 0],
                [26, 0, 0, 0],
                [settle, 0, 0, 0],
            ],
        ),
        (
            "memory",
            &[
                [open, 0, 1, 0],
                [2, 0, 3, 0],
                [ask, 0, 0, 0],
                [run, 0, 0, 0],
                [4, 0, 0, 0],
                [settle, 0, 1, 0],
            ],
        ),
        (
            "backend",
            &[
                [open, 0, 2, 0],
                [open, 1, 1, 0],
                [3, 0, 9, 0],
                [ask, 0, 0, 0],
                [ask, 1, 0, 0],
                [10, 0, 3, 2],
                [10, 0, 3, 2],
                [settle, 0, 1, 0],
            ],
        ),
        (
            "many",
            &[
                [open, 0, 0, 0],
                [open, 1, 0, 0],
                [open, 2, 0, 0],
                [ask, 0, 0, 0],
                [ask, 1, 0, 0],
                [ask, 2, 0, 0],
                [5, 0, 2, 0],
                [10, 0, 7, 2],
                [10, 0, 7, 3],
                [23, 1, 0, 0],
                [10, 0, 7, 0],
                [6, 0, 0, 0],
                [7, 0, 0, 0],
                [10, 0, 7, 0],
            ],
        ),
        (
            "damaged",
            &[
                [11, 0, 3, 7],
                [open, 0, 0x40, 0],
                [ask, 0, 0, 0],
                [run, 0, 0, 0],
                [12, 0, 0, 0],
                [13, 0, 9, 1],
                [14, 0, 9, 0],
            ],
        ),
        (
            "guests",
            &[
                [open, 0, 0x20, 0],
                [open, 1, 0x20, 4],
                [open, 2, 0x20, 8],
                [16, 0, 0x21, 4],
                [16, 1, 0x21, 2],
                [16, 2, 0x25, 12],
                [10, 0, 7, 0],
                [17, 0, 0, 7],
                [24, 1, 0, 1],
            ],
        ),
    ] {
        put(&folder.join("capi"), name, calls.as_flattened())?;
    }
    for choice in 0..6_u8 {
        // Nothing changed; a byte of each part of the head changed; cut short.
        let head: Vec<u8> = (8..140)
            .step_by(4)
            .flat_map(|at| [at, 0, 0, choice])
            .collect();
        put(&folder.join("states"), &format!("same{choice}"), &[choice])?;
        put(
            &folder.join("states"),
            &format!("head{choice}"),
            &[&[choice | 0x80], &head[..]].concat(),
        )?;
        for at in (80..200_u8).step_by(4) {
            let change = [choice, at, 0, 0, 1];
            put(
                &folder.join("states"),
                &format!("one{choice}-{at}"),
                &change,
            )?;
        }
        put(
            &folder.join("states"),
            &format!("cut{choice}"),
            &[choice, 200],
        )?;
    }
    for (name, wasm) in [
        ("echo", &include_bytes!("../../guests/echo.wasm")[..]),
        ("double", &include_bytes!("../../guests/double.wasm")[..]),
        ("driver", &include_bytes!("../../guests/driver.wasm")[..]),
    ] {
        put(&folder.join("wasm"), name, &[&[0], wasm].concat())?;
        // As choices of the module maker.
        put(
            &folder.join("wasm"),
            &format!("{name}-made"),
            &[&[1], wasm].concat(),
        )?;
    }
    seed_texts::write(folder)
}
