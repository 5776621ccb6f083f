//! Formats in which every message is marked with its role and closed the same way.

use super::Piece::{Mark, Said};
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
    /// `<start_of_turn>user\n…<end_of_turn>\n`, a system message at the head of the first question.
    Gemma,
    /// `<|start_of_role|>user<|end_of_role|>…<|end_of_text|>\n`: granite 3 and 4.
    Granite,
    /// `<|START_OF_TURN_TOKEN|><|USER_TOKEN|>…<|END_OF_TURN_TOKEN|>`
    CommandR,
    /// `<|start|>user<|message|>…<|end|>`
    GptOss,
}

struct Format {
    /// Empty: a system message goes before the first question, in the same message.
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

const GEMMA: Format = Format {
    system: "",
    user: "<start_of_turn>user\n",
    assistant: "<start_of_turn>model\n",
    eos: false,
    close: "<end_of_turn>\n",
    trim: true,
};

const GRANITE: Format = Format {
    system: "<|start_of_role|>system<|end_of_role|>",
    user: "<|start_of_role|>user<|end_of_role|>",
    assistant: "<|start_of_role|>assistant<|end_of_role|>",
    eos: false,
    close: "<|end_of_text|>\n",
    trim: false,
};

const COMMAND_R: Format = Format {
    system: "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>",
    user: "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>",
    assistant: "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    eos: false,
    close: "<|END_OF_TURN_TOKEN|>",
    trim: true,
};

const GPT_OSS: Format = Format {
    system: "<|start|>system<|message|>",
    user: "<|start|>user<|message|>",
    assistant: "<|start|>assistant",
    eos: false,
    close: "<|end|>",
    trim: false,
};

/// Renders one turn; see [`super::Template::turn`].
pub fn turn(out: &mut Writer, kind: Kind, first: bool, system: &str, user: &str) {
    let f = match kind {
        Kind::ChatMl => CHATML,
        Kind::Llama3 => LLAMA3,
        Kind::Zephyr => ZEPHYR,
        Kind::Phi3 => PHI3,
        Kind::Gemma => GEMMA,
        Kind::Granite => GRANITE,
        Kind::CommandR => COMMAND_R,
        Kind::GptOss => GPT_OSS,
    };
    let trim = |s| if f.trim { str::trim(s) } else { s };
    let close = |out: &mut Writer| {
        if f.eos {
            out.eos();
        }
        out.text(&[Mark(f.close)]);
    };
    let mut head = "";
    if !first {
        close(out);
    } else if !system.is_empty() && f.system.is_empty() {
        head = trim(system);
    } else if !system.is_empty() {
        out.text(&[Mark(f.system), Said(trim(system))]);
        close(out);
    }
    let gap = if head.is_empty() { "" } else { "\n\n" };
    out.text(&[Mark(f.user), Said(head), Mark(gap), Said(trim(user))]);
    close(out);
    out.text(&[Mark(f.assistant)]);
}
