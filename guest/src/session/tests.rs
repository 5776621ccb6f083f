//! Whole turns against the fake host: which tokens are fed where, what is shown, how turns end.

use super::*;
use crate::fake::{BOS, EOS, Host, host};

mod recurrent;

pub(super) struct Chat(pub(super) Option<Session>);

impl Chat {
    pub(super) fn open(h: Host) -> Result<Self> {
        host(|slot| *slot = h);
        let mut chat = Self(None);
        match event(&mut chat.0, &[], OPEN, 1, 0) {
            0 => Ok(chat),
            status => Err(Fail(status)),
        }
    }

    /// Begins a turn and runs it until it ends or `steps` steps are done.
    pub(super) fn run(&mut self, kind: i32, input: &[u8], script: &[u32], steps: usize) -> i32 {
        host(|h| {
            (h.input, h.script) = (input.to_vec(), script.to_vec());
            h.emits.clear();
        });
        let mut rc = event(&mut self.0, &[], PROMPT, kind, input.len() as i32);
        for _ in 0..steps {
            if rc != 0 || host(|h| h.submitted.is_none()) {
                return rc;
            }
            host(Host::complete);
            rc = event(&mut self.0, &[], STEP, 0, 0);
        }
        rc
    }
}

fn shown() -> String {
    host(|h| h.emits.iter().map(|(_, text)| text.as_str()).collect())
}

pub(super) fn ids(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

pub(super) fn context() -> Vec<u32> {
    host(|h| h.context.clone())
}

pub(super) fn tiny(params: &[(&str, &str)]) -> Host {
    let mut h = Host::tiny("llama");
    for (key, value) in params {
        h.set(key, value);
    }
    h
}

#[test]
fn parameters_are_refused_between_turns_and_nothing_changes() {
    let mut c = Chat::open(tiny(&[("n_batch", "3"), ("top_k", "5")])).unwrap();
    let mut ask = |key: &str, value: &str| {
        host(|h| h.set(key, value));
        (
            event(&mut c.0, &[], PARAMS, 0, 0),
            host(|h| h.message.clone()),
        )
    };
    assert_eq!(ask("top_k", "7").0, 0);
    for (key, value, good, said) in [
        (
            "ctx",
            "16",
            "0",
            "parameter ctx is fixed when a session opens, here at 32",
        ),
        (
            "n_batch",
            "4",
            "3",
            "parameter n_batch is fixed when a session opens, here at 3",
        ),
        (
            "kv_type",
            "q8_0",
            "auto",
            "parameter kv_type is fixed when a session opens, here at auto",
        ),
        (
            "logit_bias",
            "260:1",
            "259:1",
            "parameter logit_bias has token 260, expected one from 0 to 259",
        ),
        (
            "top_p",
            "2",
            "1",
            "parameter top_p is '2', expected a number from 0 to 1",
        ),
    ] {
        assert_eq!(
            ask(key, value),
            (abi::status::INVALID_ARGUMENT, said.into())
        );
        assert_eq!(ask(key, good).0, 0, "{key}");
    }
    let session = c.0.as_ref().unwrap();
    assert_eq!(session.params.sampling.top_k, 5, "read when a turn begins");
    assert_eq!(c.run(TEXT, b"hello", &ids("xyz"), 99), Outcome::Eos as i32);
    assert_eq!(c.0.as_ref().unwrap().params.sampling.top_k, 7);
    // At OPEN too.
    assert!(Chat::open(tiny(&[("logit_bias", "260:1")])).is_err());
}

#[test]
fn a_text_turn_ends_at_the_end_token_and_the_next_continues() {
    let mut c = Chat::open(tiny(&[("n_batch", "3")])).unwrap();
    assert_eq!(c.run(TEXT, b"hello", &ids("xyz"), 99), Outcome::Eos as i32);
    assert_eq!(shown(), "xyz");
    let mut expected = vec![BOS];
    expected.extend(ids("helloxyz"));
    assert_eq!(context(), expected);
    assert_eq!(host(|h| h.steps), 2 + 3); // BOS + 5 in chunks of 3, then three tokens
    assert_eq!(c.run(TEXT, b"!", &ids("q"), 99), Outcome::Eos as i32);
    expected.extend(ids("!q"));
    assert_eq!(context(), expected);
}

#[test]
fn n_predict_leaves_the_last_token_owed() {
    let mut c = Chat::open(tiny(&[("n_predict", "2")])).unwrap();
    assert_eq!(
        c.run(IDS, &7u32.to_le_bytes(), &ids("abc"), 99),
        Outcome::Length as i32
    );
    assert_eq!(
        host(|h| h.emits.clone()),
        [(97, "a".into()), (98, "b".into())]
    );
    assert_eq!(context(), [7, 97]);
    assert_eq!(
        c.run(IDS, &9u32.to_le_bytes(), &ids("c"), 99),
        Outcome::Eos as i32
    );
    assert_eq!(context(), [7, 97, 98, 9, 99]);
    // Nothing but what is owed, and nothing at all: both go on from where the text is.
    host(|h| h.set("n_predict", "1"));
    assert_eq!(c.run(IDS, b"", &ids("d"), 99), Outcome::Length as i32);
    assert_eq!(context(), [7, 97, 98, 9, 99]);
    assert_eq!(c.run(IDS, b"", &ids("e"), 99), Outcome::Length as i32);
    assert_eq!(context(), [7, 97, 98, 9, 99, 100]);
    host(|h| h.set("n_predict", "0"));
    assert_eq!(c.run(TEXT, b"f", &ids("x"), 99), Outcome::Length as i32);
    assert_eq!(shown(), "");
    assert_eq!(context(), [7, 97, 98, 9, 99, 100, 101, 102]);
}

#[test]
fn stop_strings_are_not_shown_and_held_text_comes_at_the_end() {
    let mut c = Chat::open(tiny(&[("stop", "END\n\\n\\n")])).unwrap();
    assert_eq!(c.run(TEXT, b"p", &ids("abEND"), 99), Outcome::Stop as i32);
    assert_eq!(shown(), "ab");
    assert_eq!(host(|h| h.emits.len()), 5);
    assert_eq!(c.run(TEXT, b"p", &ids("abEN"), 99), Outcome::Eos as i32);
    assert_eq!(shown(), "abEN");
    assert_eq!(host(|h| h.emits.last().cloned()), Some((-1, "EN".into())));
}

/// What the last reply says, as the host is told.
fn parsed(c: &mut Chat) -> String {
    assert_eq!(c.run(PARSE, b"", &[], 0), Outcome::Eos as i32);
    let json = realm_jinja::parse_json(&shown(), true).unwrap();
    let realm_jinja::Value::Dict(message) = json else {
        panic!("no object");
    };
    let content = message.get_str("content").unwrap();
    String::from(content.as_text().unwrap().as_str())
}

/// A host with two more tokens: one ends inside an é, the other begins there and has a stop string in it.
fn with_pieces(mut h: Host) -> Host {
    h.pieces = (0..=255u8).map(|byte| [byte].into()).collect();
    h.pieces.extend([Vec::new(), Vec::new()]);
    h.pieces.extend([b"x\xc3".to_vec(), b"\xa9bEND!".to_vec()]);
    h
}

#[test]
fn behind_a_stop_string_the_reply_is_what_was_shown() {
    let chat = [("chat_template", "chatml"), ("stop", "END"), ("ctx", "300")];
    let prompt = ids("<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n");
    let mut begin = vec![BOS];
    begin.extend(prompt);
    let behind = |text: &str| [begin.clone(), ids(text)].concat();
    // In tokens of its own; in the middle of one that begins with the end of a character; right at the beginning.
    for (script, said) in [
        (ids("abEND"), "ab"),
        (vec![97, 258, 259], "axéb"),
        (ids("END"), ""),
    ] {
        let mut c = Chat::open(with_pieces(tiny(&chat))).unwrap();
        assert_eq!(c.run(CHAT, b"q", &script, 99), Outcome::Stop as i32);
        assert_eq!(shown(), said);
        assert_eq!(parsed(&mut c), said);
        // Whoever goes on, in whatever way, goes on behind that.
        assert_eq!(c.run(REPLY, b"~", &ids("z"), 99), Outcome::Eos as i32);
        assert_eq!(context(), behind(&format!("{said}~z")));
        assert_eq!(parsed(&mut c), format!("{said}~z"));
        assert_eq!(c.run(CHAT, b"r", &ids("y"), 99), Outcome::Eos as i32);
        let turn = "<|im_end|>\n<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(context(), behind(&format!("{said}~z{turn}y")));
    }
    // A turn of plain text too, and one that comes to nothing owes what was owed.
    let mut c = Chat::open(with_pieces(tiny(&chat))).unwrap();
    let script = [97, 258, 259];
    assert_eq!(c.run(TEXT, b"q", &script, 99), Outcome::Stop as i32);
    assert_eq!(context(), [vec![BOS], ids("qa")].concat());
    assert_eq!(c.run(TEXT, b"no", &[], 0), 0);
    host(|h| h.submitted = None);
    assert_eq!(event(&mut c.0, &[], CANCEL, 0, 0), 0);
    assert_eq!(c.run(TEXT, b"r", &ids("s"), 99), Outcome::Eos as i32);
    assert_eq!(context(), [vec![BOS], ids("qaxébrs")].concat());
}

#[test]
fn the_context_fills_and_no_further() {
    let mut c = Chat::open(tiny(&[("ignore_eos", "1"), ("ctx", "6")])).unwrap();
    assert_eq!(c.run(TEXT, b"hi", &[], 99), Outcome::Context as i32);
    assert_eq!(context().len(), 6);
    assert_eq!(host(|h| h.emits.len()), 4); // the last one is shown, but has no room
    assert_eq!(c.run(TEXT, b"more", &[], 99), abi::status::LIMIT);
    assert!(host(|h| h.message.clone()).contains("room for 0"));
    let mut c = Chat::open(tiny(&[("ctx", "6")])).unwrap();
    assert_eq!(
        c.run(TEXT, b"hello", &ids("x"), 99),
        Outcome::Context as i32
    );
    assert_eq!((shown(), context().len()), ("x".into(), 6));
}

#[test]
fn the_last_token_of_a_full_context_is_part_of_the_reply() {
    let mut c = Chat::open(tiny(&[("ctx", "6"), ("chat_template", "raw")])).unwrap();
    assert_eq!(
        c.run(CHAT, b"hey", &ids("abcd"), 99),
        Outcome::Context as i32
    );
    let streamed = shown();
    assert_eq!((streamed.as_str(), context().len()), ("abc", 6));
    assert_eq!(c.run(PARSE, b"", &[], 0), Outcome::Eos as i32);
    assert!(shown().contains("\"content\": \"abc\""), "{}", shown());
    // There is no room to go on, and so nothing is said twice.
    assert_eq!(c.run(REPLY, b"", &ids("z"), 99), abi::status::LIMIT);
}

#[test]
fn a_reply_is_read_as_it_was_shown() {
    let params = [
        ("ignore_eos", "1"),
        ("chat_template", "raw"),
        ("n_predict", "12"),
        ("ctx", "400"),
    ];
    let mut c = Chat::open(tiny(&params)).unwrap();
    // What looks like the end of a turn is text; a control token is none.
    for (script, text) in [
        (ids("a<|im_end|>b"), "a<|im_end|>b"),
        (ids("ab<|im_end|>"), "ab<|im_end|>"),
        (
            [ids("abcde"), vec![EOS], ids("fghijk")].concat(),
            "abcdefghijk",
        ),
        ([ids("abcdefghijk"), vec![EOS]].concat(), "abcdefghijk"),
    ] {
        assert_eq!(c.run(CHAT, b"?", &script, 99), Outcome::Length as i32);
        assert_eq!(shown(), text);
        assert_eq!(c.run(PARSE, b"", &[], 0), Outcome::Eos as i32);
        let said = format!("\"content\": \"{text}\"");
        assert!(shown().contains(&said), "{}", shown());
    }
}

#[test]
fn cancelled_and_failed_steps_leave_the_completed_positions() {
    let mut c = Chat::open(tiny(&[("n_batch", "2")])).unwrap();
    assert_eq!(
        c.run(
            IDS,
            &[1u32, 2, 3, 4, 5].map(u32::to_le_bytes).concat(),
            &[],
            1
        ),
        0
    );
    host(|h| h.submitted = None);
    assert_eq!(event(&mut c.0, &[], CANCEL, 0, 0), 0);
    assert_eq!(context(), [1, 2]);
    assert_eq!(c.run(TEXT, b"a", &ids("b"), 1), 0);
    host(|h| h.submitted = None);
    assert_eq!(
        event(&mut c.0, &[], STEP, abi::status::LIMIT, 0),
        abi::status::LIMIT
    );
    assert_eq!(context(), [1, 2, 97]);
    assert_eq!(c.run(TEXT, b"c", &ids("d"), 99), Outcome::Eos as i32);
    assert_eq!(context(), [1, 2, 97, 99, 100]);
}

#[test]
fn a_turn_cancelled_at_once_never_happened() {
    let mut c = Chat::open(tiny(&[
        ("n_predict", "1"),
        ("chat_template", "chatml"),
        ("ctx", "99"),
    ]))
    .unwrap();
    assert_eq!(
        c.run(IDS, &7u32.to_le_bytes(), &ids("a"), 99),
        Outcome::Length as i32
    );
    assert_eq!(c.run(CHAT, b"x", &[], 0), 0);
    host(|h| h.submitted = None);
    assert_eq!(event(&mut c.0, &[], CANCEL, 0, 0), 0);
    assert_eq!(c.run(CHAT, b"y", &ids("b"), 99), Outcome::Length as i32);
    let mut expected = vec![7];
    expected.extend(ids(
        "a<|im_start|>user\ny<|im_end|>\n<|im_start|>assistant\n",
    ));
    assert_eq!(context(), expected);
}

#[test]
fn probabilities_are_said_when_asked_for() {
    let mut c = Chat::open(tiny(&[("n_predict", "2")])).unwrap();
    assert_eq!(c.run(TEXT, b"x", &ids("ab"), 99), Outcome::Length as i32);
    assert!(host(|h| h.logprobs.is_empty()));
    let programs = host(|h| h.programs.len());
    host(|h| h.set("logprobs", "1"));
    assert_eq!(c.run(TEXT, b"x", &ids("ab"), 1), 0);
    let total = host(|h| {
        assert_eq!(h.programs.len(), programs + 1);
        // The tokens' buffer, the logits', the sum's: the fake host computes nothing of them.
        let logits = &mut h.buffers[1].3;
        logits[4 * 98..][..4].copy_from_slice(&(-3.5f32).to_le_bytes());
        let (kind, cols, rows, sum) = h.buffers.last_mut().unwrap();
        assert_eq!((*kind, *cols, *rows), (abi::kind::F32, 1, 1));
        sum.copy_from_slice(&2.0f32.to_le_bytes());
        h.buffers.len()
    });
    host(Host::complete);
    assert_eq!(event(&mut c.0, &[], STEP, 0, 0), Outcome::Length as i32);
    assert_eq!(host(|h| h.logprobs.clone()), [0.0, -5.5]);
    // Off and on again: another program, the same buffer.
    for (value, all) in [("0", 2), ("1", 4)] {
        host(|h| h.set("logprobs", value));
        assert_eq!(c.run(TEXT, b"x", &ids("ab"), 99), Outcome::Length as i32);
        assert_eq!(host(|h| (h.logprobs.len(), h.buffers.len())), (all, total));
    }
}

#[test]
fn a_rewound_session_goes_on_as_one_that_never_went_further() {
    let params = [
        ("chat_template", "chatml"),
        ("n_predict", "2"),
        ("repeat_penalty", "1.5"),
        ("repeat_last_n", "3"),
        ("ctx", "400"),
    ];
    let mut c = Chat::open(tiny(&params)).unwrap();
    let ask = |c: &mut Chat, text: &[u8], answer: &str| {
        assert_eq!(c.run(CHAT, text, &ids(answer), 99), Outcome::Length as i32);
    };
    ask(&mut c, b"x", "ab");
    let (first, at) = (context(), context().len() as i32);
    ask(&mut c, b"y", "cd");
    let whole = context();
    // Further than the context goes.
    let beyond = whole.len() as i32 + 1;
    assert_eq!(event(&mut c.0, &[], REWIND, beyond, 0), abi::status::STATE);
    assert_eq!(context(), whole);
    // Back to the first turn's end: "b" was shown, but had not entered.
    assert_eq!(event(&mut c.0, &[], REWIND, at, 0), 0);
    assert_eq!(context(), first);
    let session = c.0.as_ref().unwrap();
    assert_eq!((session.talk.len(), &session.owed), (1, &Owed::default()));
    // The window holds what it held then.
    assert_eq!(c.run(IDS, &98u32.to_le_bytes(), &[], 0), 0);
    let want: std::collections::BTreeSet<_> = [first[first.len() - 2], 97, 98].into();
    let registers = host(|h| h.submitted.clone()).unwrap().0;
    assert_eq!(registers[5] as usize, want.len());
    host(|h| h.submitted = None);
    assert_eq!(event(&mut c.0, &[], CANCEL, 0, 0), 0);
    // To the very beginning: the next turn is a first one again.
    assert_eq!(event(&mut c.0, &[], REWIND, 0, 0), 0);
    ask(&mut c, b"x", "ab");
    assert_eq!(context(), first);
    // Not while a turn is running.
    assert_eq!(c.run(TEXT, b"z", &ids("q"), 0), 0);
    assert_eq!(event(&mut c.0, &[], REWIND, 0, 0), abi::status::STATE);
}

#[test]
fn a_decoder_embeds_in_chunks_what_pooling_says() {
    for (pooling, want) in [
        ("mean", [0.6, 0.8]),
        ("last", [0.0, 1.0]),
        ("cls", [1.0, 0.0]),
    ] {
        let mut c = Chat::open(tiny(&[("pooling", pooling), ("n_batch", "1")])).unwrap();
        // The buffer of hidden rows is as long as the context, by the program's position.
        let hidden = host(|h| h.buffers.iter().position(|b| b.1 == 8 && b.2 == 32)).unwrap();
        for _ in 0..2 {
            assert_eq!(c.run(TEXT, b"x", &[], 1), 0);
            host(|h| {
                h.complete();
                let mut rows = [0f32; 16];
                (rows[0], rows[9]) = (3.0, 4.0);
                let bytes = rows.map(f32::to_le_bytes).concat();
                h.buffers[hidden].3[..64].copy_from_slice(&bytes);
            });
            assert_eq!(event(&mut c.0, &[], STEP, 0, 0), Outcome::Length as i32);
            assert_eq!(context(), [BOS, 120]);
            let out = host(|h| h.buffers[hidden + 1].3.clone());
            let out: Vec<f32> = (out.chunks_exact(4))
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            assert_eq!(&out[..2], &want, "{pooling}");
            host(|h| h.context.clear());
        }
        let chat = event(&mut c.0, &[], PROMPT, crate::session::MESSAGES, 0);
        assert_eq!(chat, abi::status::UNSUPPORTED);
    }
}

/// A one-layer encoder.
fn encoder(pooling: u32) -> Host {
    use crate::fake::Meta;
    let mut h = Host::tiny("bert");
    h.meta
        .insert("bert.attention.layer_norm_epsilon".into(), Meta::F32(1e-12));
    h.meta
        .insert("bert.attention.head_count_kv".into(), Meta::U32(2));
    h.meta
        .insert("bert.pooling_type".into(), Meta::U32(pooling));
    h.tensors = Vec::new();
    for (name, ne) in [
        ("token_embd", &[8u64, 260][..]),
        ("token_types", &[8, 2]),
        ("position_embd", &[8, 32]),
        ("token_embd_norm", &[8]),
        ("blk.0.attn_qkv", &[8, 24]),
        ("blk.0.attn_output", &[8, 8]),
        ("blk.0.attn_output_norm", &[8]),
        ("blk.0.ffn_up", &[8, 16]),
        ("blk.0.ffn_down", &[16, 8]),
        ("blk.0.layer_output_norm", &[8]),
    ] {
        h.tensors.push((format!("{name}.weight"), 0, ne.to_vec()));
    }
    h
}

#[test]
fn an_input_becomes_one_vector_of_length_one() {
    // Rows 0 to 2 of what the model made: (3, 0, 0 …), (0, 4, 0 …) and (0, 0, 2 …).
    for (pooling, want) in [
        (1, [3.0, 4.0].map(|x| (x / 29f64.sqrt()) as f32)),
        (2, [1.0, 0.0]),
        (3, [0.0, 0.0]),
    ] {
        let mut c = Chat::open(encoder(pooling)).unwrap();
        for turn in 0..2 {
            assert_eq!(c.run(TEXT, b"xy", &[], 0), 0, "{turn}");
            // All at once and from the beginning, each time, with BOS.
            let (regs, tokens) = host(|h| h.submitted.clone()).unwrap();
            assert_eq!((&regs[..2], tokens), (&[3, 0][..], vec![BOS, 120, 121]));
            host(|h| {
                let mut rows = [0f32; 24];
                (rows[0], rows[9], rows[18]) = (3.0, 4.0, 2.0);
                let bytes = rows.map(f32::to_le_bytes).concat();
                h.buffers[1].3[..96].copy_from_slice(&bytes);
                h.submitted = None;
                h.context = tokens_of(3);
            });
            assert_eq!(event(&mut c.0, &[], STEP, 0, 0), Outcome::Length as i32);
            let out = host(|h| h.buffers[2].3.clone());
            let out: Vec<f32> = (out.chunks_exact(4))
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            assert_eq!(&out[..2], &want, "{pooling}");
            let length: f32 = out.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-6);
            assert_eq!(shown(), "");
        }
    }
    for (pooling, said) in [(4, "no head that ranks"), (5, "pooling of type 5")] {
        assert!(Chat::open(encoder(pooling)).is_err());
        let message = host(|h| h.message.clone());
        assert!(message.contains(said), "{message}");
    }
    // Learned positions end.
    let mut h = encoder(1);
    h.set("ctx", "33");
    assert!(Chat::open(h).is_err());
}

fn tokens_of(n: u32) -> Vec<u32> {
    (0..n).collect()
}

#[test]
fn chat_turns_are_rendered_once_and_continue() {
    let mut c = Chat::open(tiny(&[
        ("chat_template", "zephyr"),
        ("system", "S"),
        ("ctx", "200"),
    ]))
    .unwrap();
    assert_eq!(c.run(CHAT, b"hi", &ids("yo"), 99), Outcome::Eos as i32);
    let mut expected = vec![BOS];
    expected.extend(ids("<|system|>\nS"));
    expected.push(EOS);
    expected.extend(ids("\n<|user|>\nhi"));
    expected.push(EOS);
    expected.extend(ids("\n<|assistant|>\nyo"));
    assert_eq!(context(), expected);
    assert_eq!(c.run(CHAT, b"q", &ids("z"), 99), Outcome::Eos as i32);
    expected.push(EOS);
    expected.extend(ids("\n<|user|>\nq"));
    expected.push(EOS);
    expected.extend(ids("\n<|assistant|>\nz"));
    assert_eq!(context(), expected);
}

#[test]
fn penalties_see_the_recent_tokens() {
    let params = [
        ("repeat_penalty", "1.5"),
        ("repeat_last_n", "3"),
        ("logit_bias", "5:-inf"),
    ];
    let mut c = Chat::open(tiny(&params)).unwrap();
    assert_eq!(
        c.run(IDS, &[1u32, 2, 2, 3].map(u32::to_le_bytes).concat(), &[], 0),
        0
    );
    // Of the last three, 2, 2, 3, two are distinct; one bias.
    assert_eq!(
        host(|h| h.submitted.clone()).unwrap().0,
        [4, 0, 3, 1, 1, 2, 0]
    );
    host(|h| h.script = vec![7]);
    host(Host::complete);
    assert_eq!(event(&mut c.0, &[], STEP, 0, 0), 0);
    assert_eq!(
        host(|h| h.submitted.clone()).unwrap().0,
        [1, 4, 0, 1, 1, 3, 0]
    );
    host(|h| h.submitted = None);
    assert_eq!(event(&mut c.0, &[], CANCEL, 0, 0), 0);
}

#[test]
fn what_cannot_work_is_refused_in_a_sentence() {
    let refused = |h: Host, what: &str| {
        let error = Chat::open(h).err();
        let message = host(|h| h.message.clone());
        assert!(
            error.is_some() && message.contains(what),
            "{error:?}: {message}"
        );
    };
    refused(
        Host::tiny("mamba"),
        "unknown architecture 'mamba'; this guest knows llama mistral3 qwen2/vl/moe ",
    );
    // The whole list fits.
    refused(
        Host::tiny("a-rather-long-name"),
        " lfm2/moe deepseek2 mamba2 bert nomic-bert",
    );
    let mut h = Host::tiny("llama");
    h.tensors[3].2 = vec![8, 9];
    refused(
        h,
        "tensor blk.0.attn_q.weight has shape [8, 9], expected [8, 8]",
    );
    let mut h = Host::tiny("llama");
    h.tensors[2].1 = 1;
    refused(h, "tensor blk.0.attn_norm.weight has type 1, expected f32");
    let mut h = Host::tiny("llama");
    h.meta
        .insert("llama.expert_count".into(), crate::fake::Meta::U32(8));
    refused(h, "no llama.expert_used_count");
    let mut h = Host::tiny("llama");
    for (key, n) in [("expert_count", 2), ("expert_used_count", 3)] {
        h.meta
            .insert(format!("llama.{key}"), crate::fake::Meta::U32(n));
    }
    refused(h, "3 of 2 experts of width 16 cannot be right");
    refused(Host::tiny("qwen3"), "no tensor blk.0.attn_q_norm.weight");
    let mut h = Host::tiny("llama");
    h.meta.remove("llama.block_count");
    refused(h, "no llama.block_count");
    refused(tiny(&[("tmep", "1")]), "unknown parameter 'tmep'");
    let mut c = Chat::open(tiny(&[("n_batch", "2")])).unwrap();
    host(|h| h.set("n_batch", "3"));
    assert_eq!(c.run(TEXT, b"x", &[], 0), abi::status::INVALID_ARGUMENT);
    host(|h| h.set("n_batch", "2"));
    assert_eq!(c.run(IDS, b"xyz", &[], 0), abi::status::INVALID_ARGUMENT);
    assert_eq!(
        c.run(IDS, &300u32.to_le_bytes(), &[], 0),
        abi::status::INVALID_ARGUMENT
    );
    assert_eq!(
        c.run(IDS, &7u32.to_le_bytes(), &ids("a"), 99),
        Outcome::Eos as i32
    );
    assert_eq!(event(&mut c.0, &[], STEP, 0, 0), abi::status::STATE);
    assert_eq!(event(&mut c.0, &[], 99, 0, 0), abi::status::STATE);
}

#[test]
fn a_model_without_a_vocabulary_takes_ids() {
    let mut h = tiny(&[("n_predict", "2")]);
    h.no_vocab = true;
    let mut c = Chat::open(h).unwrap();
    assert_eq!(c.run(TEXT, b"x", &[], 0), abi::status::UNSUPPORTED);
    assert_eq!(
        c.run(IDS, &7u32.to_le_bytes(), &[1, 2, 3], 99),
        Outcome::Length as i32
    );
    assert_eq!(
        host(|h| h.emits.clone()),
        [(1, String::new()), (2, String::new())]
    );
}

#[test]
fn cache_and_window_follow_the_model_and_the_parameters() {
    let mut h = tiny(&[("ctx", "16")]);
    h.meta.insert(
        "llama.attention.sliding_window".into(),
        crate::fake::Meta::U32(4),
    );
    Chat::open(h).unwrap();
    assert_eq!(host(|h| h.kv.clone()), [[0, 1, 4, 4, 16, 0, 4]]);
    let mut h = tiny(&[]);
    h.tensors[0].1 = 12; // some quantized type
    Chat::open(h).unwrap();
    assert_eq!(host(|h| h.kv.clone()), [[1, 1, 4, 4, 32, 0, 0]]);
}

#[test]
fn what_is_said_in_a_chat_marks_nothing_unless_asked_to() {
    let said = |special: &str| {
        let mut c =
            Chat::open(tiny(&[("chat_template", "raw"), ("chat_special", special)])).unwrap();
        assert_eq!(c.run(CHAT, b"a</s>b", &[], 0), 0);
        host(|h| h.submitted.clone()).unwrap().1
    };
    let whole = |inner: &[u32]| {
        let mut all = vec![BOS];
        all.extend(ids("a"));
        all.extend(inner);
        all.extend(ids("b"));
        all
    };
    assert_eq!(said("0"), whole(&ids("</s>")));
    assert_eq!(said("1"), whole(&[EOS]));
}

const JUST_AB: &str = "root ::= \"ab\"+ \"c\"?";

#[test]
fn a_grammar_lets_through_what_fits_and_picks_again_where_it_does_not() {
    let mut c = Chat::open(tiny(&[("grammar", JUST_AB)])).unwrap();
    // The model wants x: only a fits there. It wants to end too early: only b fits.
    let script = [120, EOS, 97, 98, EOS];
    assert_eq!(c.run(TEXT, b"p", &script, 20), 1);
    assert_eq!(shown(), "abab");
    assert_eq!(context(), [&[BOS, 112][..], &ids("abab")].concat());
    // What must end ends, whatever the model wants.
    assert_eq!(c.run(TEXT, b"q", &[97, 98, 99, 120], 20), 1);
    assert_eq!(shown(), "abc");
    // Without it everything is as before.
    host(|h| h.set("grammar", ""));
    assert_eq!(c.run(TEXT, b"q", &[120, EOS], 20), 1);
    assert_eq!(shown(), "x");
}

#[test]
fn a_second_pick_looks_at_the_whole_vocabulary_where_no_candidate_fits() {
    // 256 tokens are better: the one that fits is not among them, and control tokens have no bytes.
    let mut h = tiny(&[("grammar", "root ::= \"<t>\" \"b\"")]);
    h.pieces = (0u8..=255).map(|b| vec![b]).collect();
    h.pieces.extend([vec![], vec![], b"<t>".to_vec()]);
    h.pieces[usize::from(b'<')].clear();
    let mut c = Chat::open(h).unwrap();
    assert_eq!(c.run(TEXT, b"p", &[120, 120, EOS], 20), 1);
    assert_eq!(context(), [BOS, 112, 258, 98]);
}

#[test]
fn a_grammar_takes_tokens_as_a_whole() {
    let mut h = tiny(&[("grammar", "root ::= (!<[97]>)+ <[258]> \"x\" | \"ab\"")]);
    h.pieces = (0u8..=255).map(|b| vec![b]).collect();
    h.pieces.extend([vec![], vec![], vec![], b"a".to_vec()]);
    let mut c = Chat::open(h).unwrap();
    // 97 begins "ab", and is no other; 259 is as good in bytes, and another token.
    assert_eq!(c.run(TEXT, b"p", &[97, 99, EOS], 20), 1);
    assert_eq!(context(), [BOS, 112, 97, 98]);
    assert_eq!(event(&mut c.0, &[], REWIND, 0, 0), 0);
    host(|h| h.context.clear());
    // Behind 259 both go on, and the text may end.
    assert_eq!(c.run(TEXT, b"p", &[259, 98, EOS], 20), 1);
    assert_eq!(context(), [BOS, 112, 259, 98]);
    assert_eq!(event(&mut c.0, &[], REWIND, 0, 0), 0);
    host(|h| h.context.clear());
    // It may not before 258, which has no bytes, and x; 97 fits nowhere but in front, and the lowest that does is 0.
    assert_eq!(c.run(TEXT, b"p", &[100, 97, EOS, 258, 120, EOS], 20), 1);
    assert_eq!(context(), [BOS, 112, 100, 0, 0, 258, 120]);
    // None of the best candidates.
    host(|h| {
        h.context.clear();
        h.set("grammar", "root ::= <[258]>");
    });
    assert_eq!(event(&mut c.0, &[], REWIND, 0, 0), 0);
    assert_eq!(c.run(TEXT, b"p", &[120], 20), 1);
    assert_eq!(context(), [BOS, 112, 258]);
    for (grammar, said) in [
        (
            "root ::= <nothing>",
            "column 10: expected <[id]> or a token of the vocabulary, and <nothing> is none",
        ),
        (
            "root ::= \"a\" <[260]>",
            "column 14: expected a token from 0 to 259, and 260 is none",
        ),
        (
            "root ::= \"a\"\n | </s>",
            "line 2, column 2: expected the name of a rule",
        ),
        (
            "root ::= \"a\" |\n  </s>",
            "line 2, column 3: expected no token that ends a generation",
        ),
        (
            "root ::= \"a\" (!<[257]> <[257]>)?",
            "column 24: expected no token that ends a generation",
        ),
        ("root ::= <[5", "column 10: expected > to end this token"),
        ("root ::= !a", "expected < behind !"),
    ] {
        host(|h| h.set("grammar", grammar));
        assert_eq!(event(&mut c.0, &[], PARAMS, 0, 0), -1);
        let message = host(|h| h.message.clone());
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn a_text_goes_on_where_it_was_cut_or_rewound_to() {
    let mut c = Chat::open(tiny(&[("grammar", JUST_AB), ("n_predict", "3")])).unwrap();
    assert_eq!(c.run(TEXT, b"p", &[97, 98, 97], 20), 3);
    host(|h| h.set("n_predict", "-1"));
    // After "aba" only b fits.
    assert_eq!(c.run(TEXT, b"", &[120, EOS], 20), 1);
    assert_eq!(shown(), "b");
    // Back to behind "a", and behind the prompt, and before it.
    assert_eq!(event(&mut c.0, &[], REWIND, 3, 0), 0);
    host(|h| h.context.truncate(3));
    assert_eq!(c.run(TEXT, b"", &[120, 99, 99], 20), 1);
    assert_eq!(shown(), "bc");
    assert_eq!(event(&mut c.0, &[], REWIND, 1, 0), 0);
    assert_eq!(c.run(TEXT, b"pp", &[120, 98, EOS], 20), 1);
    assert_eq!(shown(), "ab");
    // A cancelled second pick leaves nothing behind.
    assert_eq!(c.run(TEXT, b"p", &[120], 1), 0);
    assert_eq!(event(&mut c.0, &[], CANCEL, 0, 0), 0);
    host(|h| h.submitted = None);
    assert_eq!(c.run(TEXT, b"p", &[97, 98, EOS], 20), 1);
    assert_eq!(shown(), "ab");
}

#[test]
fn a_lazy_grammar_waits_for_its_trigger() {
    let set = [
        ("grammar", "root ::= \"<t>\" [0-9]+ \"!\""),
        ("grammar_lazy", "1"),
        ("grammar_triggers", "<t>\n<u>"),
    ];
    let mut c = Chat::open(tiny(&set)).unwrap();
    let script = [ids("free<<t>"), ids("x12!y")].concat();
    assert_eq!(c.run(TEXT, b"p", &script, 40), 1);
    // Where the digits must begin the model wants x, and the lowest token that fits is 0.
    assert_eq!(shown(), "free<<t>012!");
    // The other trigger is none of what the grammar begins with: its last character is passed over.
    let script = [ids("<u>"), vec![EOS]].concat();
    assert_eq!(c.run(TEXT, b"p", &script, 40), 1);
    assert_eq!(shown(), "<u\0");
    host(|h| h.set("grammar_triggers", ""));
    assert_eq!(c.run(TEXT, b"p", &[EOS], 40), -1);
    assert!(host(|h| h.message.contains("grammar_triggers has none")));
}

#[test]
fn bad_grammars_are_refused_when_they_are_set() {
    let mut c = Chat::open(tiny(&[])).unwrap();
    host(|h| h.set("grammar", "root ::= x\nx ::= [a"));
    assert_eq!(event(&mut c.0, &[], PARAMS, 0, 0), -1);
    let said = "parameter grammar, line 2, column 7: expected ] to end these characters";
    assert_eq!(host(|h| h.message.clone()), said);
    host(|h| h.set("grammar", JUST_AB));
    assert_eq!(event(&mut c.0, &[], PARAMS, 0, 0), 0);
    let mut none = tiny(&[("grammar", JUST_AB)]);
    none.no_vocab = true;
    assert!(Chat::open(none).is_err());
    assert!(Chat::open(tiny(&[("grammar", "root ::= root")])).is_err());
    // Nothing that fits: the turn fails in a sentence, and the session goes on.
    let mut c = Chat::open(tiny(&[("grammar", "root ::= \"a\" [^\\x00-\\U0010FFFF]")])).unwrap();
    assert_eq!(c.run(TEXT, b"p", &[97, 97], 20), -8);
    assert!(host(|h| h
        .message
        .starts_with("no token of the vocabulary fits")));
    assert_eq!(c.run(TEXT, b"p", &[97, 97], 20), -8);
}

/// What a chat that is told everything at once, and one that is told turn by turn, have in their contexts.
#[test]
fn messages_continue_where_the_context_is() {
    let params = [("chat_template", "chatml"), ("ctx", "400")];
    let mut c = Chat::open(tiny(&params)).unwrap();
    assert_eq!(c.run(CHAT, b"x", &ids("ab"), 99), Outcome::Eos as i32);
    assert_eq!(c.run(CHAT, b"y", &ids("cd"), 99), Outcome::Eos as i32);
    let (whole, steps) = (context(), host(|h| h.steps));
    let json = |end: &str| {
        format!(
            r#"[{{"role":"user","content":"x"}},{{"role":"assistant","content":"ab"}},{{"role":"user","content":"y"}}{end}]"#
        )
    };
    let mut d = Chat::open(tiny(&params)).unwrap();
    let all = json("");
    assert_eq!(
        d.run(MESSAGES, all.as_bytes(), &ids("cd"), 99),
        Outcome::Eos as i32
    );
    assert_eq!(context(), whole);
    // Again with one more: only that is fed.
    let more = json(r#",{"role":"assistant","content":"cd"},{"role":"user","content":"z"}"#);
    host(|h| h.steps = 0);
    assert_eq!(
        d.run(MESSAGES, more.as_bytes(), &ids("e"), 99),
        Outcome::Eos as i32
    );
    assert_eq!(context()[..whole.len()], whole);
    assert!(host(|h| h.steps) < steps);
    // Another past: back to where they part, and on from there.
    let other = json(r#",{"role":"assistant","content":"cX"},{"role":"user","content":"z"}"#);
    assert_eq!(
        d.run(MESSAGES, other.as_bytes(), &ids("e"), 99),
        Outcome::Eos as i32
    );
    let text = "cX<|im_end|>\n<|im_start|>user\nz<|im_end|>\n<|im_start|>assistant\ne";
    let mut expected = whole[..whole.len() - 2].to_vec();
    expected.extend(ids(text));
    assert_eq!(context(), expected);
    // An assistant's message at the end is gone on with, and so is a reply.
    let begun = json(r#",{"role":"assistant","content":"c"}"#);
    assert_eq!(
        d.run(MESSAGES, begun.as_bytes(), &ids("d"), 99),
        Outcome::Eos as i32
    );
    assert_eq!(context(), whole);
    assert_eq!(d.run(REPLY, b"</s>!", &ids("?"), 99), Outcome::Eos as i32);
    let mut expected = whole.clone();
    expected.extend(ids("</s>!?"));
    assert_eq!(context(), expected);
    host(|h| h.emits.clear());
    assert_eq!(d.run(PARSE, b"", &[], 0), Outcome::Eos as i32);
    let said = host(|h| h.emits.clone());
    assert_eq!(
        said,
        [(
            -1,
            String::from(r#"{"role": "assistant", "content": "cd</s>!?"}"#)
        )]
    );
    assert_eq!(context(), expected);
    // What has no chat has no reply.
    let mut e = Chat::open(tiny(&params)).unwrap();
    for kind in [REPLY, PARSE] {
        assert_eq!(e.run(kind, b"x", &[], 0), abi::status::STATE);
    }
}

#[test]
fn a_template_that_rewrites_the_past_goes_back_to_it() {
    // Thoughts are kept in the last reply only.
    let template = "{% for m in messages %}[{{ m.role[0] }}]{{ m.content }}{% endfor %}[a]";
    let mut c = Chat::open(tiny(&[("chat_template", template), ("ctx", "400")])).unwrap();
    let reply = ids("<think>hm</think>ok");
    assert_eq!(c.run(CHAT, b"x", &reply, 99), Outcome::Eos as i32);
    assert_eq!(c.run(CHAT, b"y", &ids("z"), 99), Outcome::Eos as i32);
    let mut expected = vec![BOS];
    expected.extend(ids("[u]x[a]ok[u]y[a]z"));
    assert_eq!(context(), expected);
    // A turn that was given up in its prompt was not said, whatever of it is in the context.
    host(|h| h.set("n_predict", "5"));
    let long = "w".repeat(200);
    assert_eq!(c.run(CHAT, long.as_bytes(), &[], 1), 0);
    host(|h| h.submitted = None);
    assert_eq!(event(&mut c.0, &[], CANCEL, 0, 0), 0);
    assert!(context().len() > expected.len());
    assert_eq!(c.run(CHAT, b"v", &ids("!"), 99), Outcome::Eos as i32);
    expected.extend(ids("[u]v[a]!"));
    assert_eq!(context(), expected);
}
