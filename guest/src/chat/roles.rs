//! Formats in which every message is marked with its role and closed the same way.

use super::Writer;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `<|im_start|>user\n…<|im_end|>\n`
    ChatMl,
    /// `<|start_header_id|>user<|end_header_id|>\n\n…<|eot_id|>`
    Llama3,
    /// `<|user|>\n…</s>\n`: zephyr, TinyLlama.
    Zephyr,
    /// `<|user|>\n…<|end|>\n`
    Phi3,
}

struct Format {
    system: &'static str,
    user: &'static str,
    assistant: &'static str,
    /// The end token comes before `close`.
    eos: bool,
    close: &'static str,
    /// Contents lose white space at both ends.
    trim: bool,
}

const CHATML: Format = Format {
    system: "<|im_start|>system\n",
    user: "<|im_start|>user\n",
    assistant: "<|im_start|>assistant\n",
    eos: false,
    close: "<|im_end|>\n",
    trim: false,
};

const LLAMA3: Format = Format {
    system: "<|start_header_id|>system<|end_header_id|>\n\n",
    user: "<|start_header_id|>user<|end_header_id|>\n\n",
    assistant: "<|start_header_id|>assistant<|end_header_id|>\n\n",
    eos: false,
    close: "<|eot_id|>",
    trim: true,
};

const ZEPHYR: Format = Format {
    system: "<|system|>\n",
    user: "<|user|>\n",
    assistant: "<|assistant|>\n",
    eos: true,
    close: "\n",
    trim: false,
};

const PHI3: Format = Format {
    system: "<|system|>\n",
    user: "<|user|>\n",
    assistant: "<|assistant|>\n",
    eos: false,
    close: "<|end|>\n",
    trim: false,
};

/// Renders one turn; see [`super::Template::turn`].
pub fn turn(out: &mut Writer, kind: Kind, first: bool, system: &str, user: &str) {
    let f = match kind {
        Kind::ChatMl => CHATML,
        Kind::Llama3 => LLAMA3,
        Kind::Zephyr => ZEPHYR,
        Kind::Phi3 => PHI3,
    };
    let trim = |s| if f.trim { str::trim(s) } else { s };
    let close = |out: &mut Writer| {
        if f.eos {
            out.eos();
        }
        out.text(&[f.close]);
    };
    if !first {
        close(out);
    } else if !system.is_empty() {
        out.text(&[f.system, trim(system)]);
        close(out);
    }
    out.text(&[f.user, trim(user)]);
    close(out);
    out.text(&[f.assistant]);
}
