//! Rendered conversations against the real templates' output, turn by turn.

use super::*;
use crate::testdata::{Json, read};

/// Text as the tokenizer would see it, with the special tokens the data was rendered with.
fn rendered(parts: &[Part]) -> String {
    let piece = |part: &Part| match part {
        Part::Text(text) | Part::Plain(text) => text.clone(),
        Part::Bos => String::from("<s>"),
        Part::Eos => String::from("</s>"),
    };
    parts.iter().map(piece).collect()
}

/// A conversation of system, user, assistant, user …, as the session renders it.
fn conversation(template: Template, messages: &[Json]) -> String {
    let (mut out, mut system, mut first) = (String::new(), "", true);
    for message in messages {
        let content = message.get("content").text();
        match message.get("role").text() {
            "system" => system = content,
            "user" => {
                out += &rendered(&template.turn(first, system, content, false));
                first = false;
            }
            _ => out += content,
        }
    }
    out
}

#[test]
fn real_templates() {
    let Some(text) = read("chat/expected.json") else {
        return;
    };
    let data = Json::parse(&text);
    // Templates that say more than the conversation (a default system message, the date, an empty
    // thought) agree only in the conversations named.
    let expect: [(&str, &str, &[&str]); 13] = [
        ("Qwen-Qwen2.5-7B-Instruct", "chatml", &["sys_user", "multi"]),
        ("Qwen3-Coder", "chatml", &["sys_user", "multi", "user_only"]),
        ("MiMo-VL", "chatml", &["sys_user", "multi"]),
        (
            "openbmb-MiniCPM5-1B",
            "chatml",
            &["sys_user", "multi", "user_only"],
        ),
        (
            "Bielik-11B-v3.0-Instruct",
            "chatml",
            &["sys_user", "user_only"],
        ),
        (
            "microsoft-Phi-3.5-mini-instruct",
            "phi3",
            &["sys_user", "multi", "user_only"],
        ),
        (
            "Mistral-Small-3.2-24B-Instruct-2506",
            "mistral-v7-tekken",
            &["sys_user", "multi"],
        ),
        (
            "unsloth-mistral-Devstral-Small-2507",
            "mistral-v7-tekken",
            &["sys_user", "multi"],
        ),
        (
            "mistralai-Mistral-Nemo-Instruct-2407",
            "mistral-v3-tekken",
            &["sys_user", "user_only"],
        ),
        ("meta-llama-Llama-3.2-3B-Instruct", "llama3", &[]),
        ("google-gemma-2-2b-it", "gemma", &["user_only"]),
        ("ibm-granite-granite-4.0", "granite", &["sys_user", "multi"]),
        (
            "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
            "command-r",
            &[],
        ),
    ];
    let mut compared = 0;
    for (file, name, conversations) in expect {
        let jinja = read(&alloc::format!("chat/{file}.jinja")).unwrap_or_default();
        let template = Template::detect(&jinja);
        assert_eq!(template, Template::from_param(name).unwrap(), "{file}");
        let cases = data.get("cases").list();
        let case = cases
            .iter()
            .find(|c| c.get("template").text() == alloc::format!("{file}.jinja"));
        for result in case.unwrap().get("results").list() {
            let conv = result.get("conv").text();
            if !conversations.contains(&conv)
                || result.get("add_generation_prompt") != &Json::Bool(true)
            {
                continue;
            }
            let got = conversation(
                template.unwrap(),
                data.get("conversations").get(conv).list(),
            );
            let expected = result.get("output").text();
            // The vocabulary adds BOS, not the guest.
            assert_eq!(
                got,
                expected.strip_prefix("<s>").unwrap_or(expected),
                "{file} {conv}"
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 24);
}

/// TinyLlama's and llama-2's own templates are not in the data; these are their outputs.
#[test]
fn formats_outside_the_data() {
    let zephyr = "{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\
                  {{ '<|assistant|>\n' + message['content'] + eos_token }}";
    let falcon = "{{ '<|user|>\n' + message['content'] + '\n' }}{{ '<|assistant|>\n' + message['content'] + eos_token }}";
    assert_eq!(
        Template::detect(zephyr),
        Template::from_param("zephyr").unwrap()
    );
    assert_eq!(Template::detect(falcon), None);
    let llama2 = "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }} <<SYS>>";
    assert_eq!(
        Template::detect(llama2),
        Template::from_param("llama2-sys-strip").unwrap()
    );
    assert_eq!(Template::detect("{{ messages }}"), None);
    let t = Template::from_param("llama2-sys").unwrap().unwrap();
    let text = rendered(&t.turn(true, "Be brief.", "Hi", false))
        + "Hello"
        + &rendered(&t.turn(false, "", "Bye", false));
    assert_eq!(
        text,
        "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]Hello</s>[INST] Bye [/INST]"
    );
    let t = Template::from_param("zephyr").unwrap().unwrap();
    let text = rendered(&t.turn(true, "", "Hi", false))
        + "Hello"
        + &rendered(&t.turn(false, "", "Bye", false));
    assert_eq!(
        text,
        "<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n<|user|>\nBye</s>\n<|assistant|>\n"
    );
    // gemma 3 takes system messages, before the first question.
    let t = Template::detect("<start_of_turn>{{ role }}<end_of_turn>").unwrap();
    let text = rendered(&t.turn(true, "S", " Hi ", false))
        + "Hello"
        + &rendered(&t.turn(false, "", "Bye", false));
    assert_eq!(
        text,
        "<start_of_turn>user\nS\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n\
         <start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
    );
    let t = Template::from_param("gpt-oss").unwrap();
    assert_eq!(
        Template::detect("<|start|>assistant<|channel|>final<|message|>"),
        t
    );
    let text = rendered(&t.unwrap().turn(false, "", "Hi", false));
    assert_eq!(
        text,
        "<|end|><|start|>user<|message|>Hi<|end|><|start|>assistant"
    );
    let t = Template::from_param("command-r").unwrap().unwrap();
    assert_eq!(
        rendered(&t.turn(true, "S", "Hi", false)),
        "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>S<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>\
         Hi<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
    );
    let t = Template::from_param("llama3").unwrap().unwrap();
    assert_eq!(
        rendered(&t.turn(true, "S", " Hi ", false)),
        "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n\
         Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    );
}

/// Messages that hold marks stay apart from the format's own, and nothing else changes.
#[test]
fn messages_with_marks_are_plain_text() {
    let text = |s: &str| Part::Text(s.into());
    let plain = |s: &str| Part::Plain(s.into());
    let chatml = Template::Roles(roles::Kind::ChatMl);
    assert_eq!(
        chatml.turn(true, "Be brief.", "a<|im_end|>b", true),
        [
            text("<|im_start|>system\n"),
            plain("Be brief."),
            text("<|im_end|>\n<|im_start|>user\n"),
            plain("a<|im_end|>b"),
            text("<|im_end|>\n<|im_start|>assistant\n"),
        ]
    );
    for (_, template) in NAMES {
        let joined = |apart| {
            let mut all = String::new();
            for part in template.turn(true, "Be brief.", "Hi", apart) {
                match part {
                    Part::Text(text) | Part::Plain(text) => all += &text,
                    Part::Bos | Part::Eos => all.push('|'),
                }
            }
            all
        };
        assert_eq!(joined(true), joined(false));
    }
}
