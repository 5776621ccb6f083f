//! Named formats against the outputs of real templates, and replies taken apart.

use super::*;
use crate::fake::{Host, host};
use crate::testdata::{Json, read};
use std::string::String;

fn style(template: &str) -> Style<'_> {
    Style {
        template,
        tools: "",
        kwargs: "",
        now: 1_735_787_045,
        bos: "<s>",
        eos: "</s>",
    }
}

fn messages(json: &str) -> Vec<Value> {
    let next = Talk::default().replace("", json).unwrap();
    let mut all = next.messages;
    if !next.prefill.is_empty() {
        all.push(message("assistant", &next.prefill).unwrap());
    }
    all
}

fn rendered(template: &str, json: &str) -> String {
    let text = super::render(&style(template), &messages(json)).unwrap();
    String::from(text.as_str())
}

/// A conversation of the data as JSON.
fn json_of(conversation: &Json) -> String {
    let mut out = String::from("[");
    for (i, message) in conversation.list().iter().enumerate() {
        let quoted = |key: &str| {
            let text = Value::text(message.get(key).text());
            String::from(write(&text).as_str())
        };
        let comma = if i > 0 { "," } else { "" };
        out += &alloc::format!(
            "{comma}{{\"role\":{},\"content\":{}}}",
            quoted("role"),
            quoted("content")
        );
    }
    out + "]"
}

fn write(value: &Value) -> Text {
    realm_jinja::write_json(value).unwrap()
}

/// Formats by name write what the templates of models of that family write, where these add nothing of their own.
#[test]
fn named_formats_are_those_of_models() {
    let Some(text) = read("chat/expected.json") else {
        return;
    };
    let data = Json::parse(&text);
    let all: &[&str] = &["sys_user", "multi", "user_only"];
    let expect: [(&str, &str, &[&str]); 10] = [
        ("Qwen-Qwen2.5-7B-Instruct", "chatml", &["sys_user", "multi"]),
        ("Qwen3-Coder", "chatml", all),
        ("MiMo-VL", "chatml", &["sys_user", "multi"]),
        (
            "Bielik-11B-v3.0-Instruct",
            "chatml",
            &["sys_user", "user_only"],
        ),
        ("microsoft-Phi-3.5-mini-instruct", "phi3", all),
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
        ("google-gemma-2-2b-it", "gemma", &["user_only"]),
        ("ibm-granite-granite-4.0", "granite", &["sys_user", "multi"]),
    ];
    let mut compared = 0;
    for (file, name, conversations) in expect {
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
            let found = rendered(name, &json_of(data.get("conversations").get(conv)));
            let expected = result.get("output").text();
            // The vocabulary adds BOS, not the format.
            assert_eq!(
                found,
                expected.strip_prefix("<s>").unwrap_or(expected),
                "{file} {conv}"
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 21);
}

const MULTI: &str = r#"[{"role":"system","content":" S "},{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"},{"role":"user","content":"Bye"}]"#;

#[test]
fn formats_outside_the_data() {
    for (name, text) in [
        (
            "llama2-sys",
            "[INST] <<SYS>>\n S \n<</SYS>>\n\nHi [/INST]Hello</s>[INST] Bye [/INST]",
        ),
        (
            "llama2-sys-bos",
            "[INST] <<SYS>>\n S \n<</SYS>>\n\nHi [/INST]Hello</s><s>[INST] Bye [/INST]",
        ),
        (
            "llama2-sys-strip",
            "[INST] <<SYS>>\nS\n<</SYS>>\n\nHi [/INST]Hello</s>[INST] Bye [/INST]",
        ),
        (
            "mistral-v1",
            " [INST]  S \n\nHi [/INST]Hello</s> [INST] Bye [/INST]",
        ),
        (
            "mistral-v7",
            "[SYSTEM_PROMPT]  S [/SYSTEM_PROMPT][INST] Hi[/INST]Hello</s>[INST] Bye[/INST]",
        ),
        (
            "zephyr",
            "<|system|>\n S </s>\n<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n<|user|>\nBye</s>\n<|assistant|>\n",
        ),
        (
            "gemma",
            "<start_of_turn>user\nS\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            "gpt-oss",
            "<|start|>system<|message|> S <|end|><|start|>user<|message|>Hi<|end|><|start|>assistantHello<|end|><|start|>user<|message|>Bye<|end|><|start|>assistant",
        ),
        (
            "llama3",
            "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        ("raw", " S \n\nHiHelloBye"),
    ] {
        assert_eq!(rendered(name, MULTI), text, "{name}");
    }
}

#[test]
fn templates_get_tools_variables_and_the_time() {
    let source = "{{ tools[0].name }}{{ think }}{{ strftime_now('%Y') }}{{ messages[0].tool_calls[0].function.arguments.a }}{{ bos_token }}";
    let json = r#"[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"a\": 5}"}}]}]"#;
    let style = Style {
        tools: r#"[{"name":"t"}]"#,
        kwargs: r#"{"think": false}"#,
        ..style(source)
    };
    let text = super::render(&style, &messages(json)).unwrap();
    assert_eq!(text.as_str(), "tFalse20255<s>");
    // Some take arguments as text.
    assert_eq!(
        rendered(
            "{{ 'x' + messages[0].tool_calls[0].function.arguments }}",
            json
        ),
        "x{\"a\": 5}"
    );
    host(|h| *h = Host::tiny("llama"));
    assert!(super::render(&self::style("\n{{ raise_exception('no ' ~ tools) }}"), &[]).is_err());
    assert_eq!(
        host(|h| h.message.clone()),
        "chat template, line 2, column 4: no None"
    );
    for (bad, said) in [
        ("{}", "messages: expected a JSON array, found an object"),
        (
            "[",
            "messages: line 1, column 2: JSON: expected a value, but the text ends",
        ),
        ("[]", "messages: the array is empty"),
        (
            "[{\"role\":\"user\",\"content\":null},{\"content\":\"x\"}]",
            "messages: element 1 has no \"role\", expected one that is a string",
        ),
        (
            "[{\"role\":\"user\",\"content\":\"a\"}, 7]",
            "messages: element 1 is an integer, expected an object with a \"role\"",
        ),
        (
            "[{\"role\":\"\",\"content\":\"a\"}]",
            "messages: element 0: \"role\" is empty, expected one such as \"user\"",
        ),
        (
            "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"tool\",\"tool_calls\":[1]}]",
            "messages: element 1 has no \"content\", which only an assistant's message with \"tool_calls\" can do without",
        ),
        (
            "[{\"role\":\"assistant\",\"tool_calls\":[]}]",
            "messages: element 0 has no \"content\", which only an assistant's message with \"tool_calls\" can do without",
        ),
        (
            "[{\"role\":\"user\",\"content\":{}}]",
            "messages: element 0: \"content\" is an object, expected a string, null or an array of parts",
        ),
        (
            "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_url\"}]}]",
            "messages: element 0: part 1 of \"content\" is not of the only type that is known, {\"type\": \"text\", \"text\": \"…\"}",
        ),
        (
            "\u{feff}[]",
            "messages: line 1, column 1: JSON: expected a value, found a byte order mark (U+FEFF)",
        ),
    ] {
        assert!(Talk::default().replace("", bad).is_err());
        assert_eq!(host(|h| h.message.clone()), said);
    }
}

/// A role is the template's affair, also one that nobody has heard of.
#[test]
fn any_role_reaches_the_template() {
    let json = r#"[{"role":"developer","content":"S"},{"role":"wizard","content":"W"}]"#;
    for (template, text) in [
        (
            "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}",
            "developer=S;wizard=W;",
        ),
        (
            "chatml",
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nW<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "gemma",
            "<start_of_turn>user\nS\n\nW<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            "mistral-v7",
            "[SYSTEM_PROMPT] S[/SYSTEM_PROMPT][INST] W[/INST]",
        ),
        ("raw", "S\n\nW"),
    ] {
        assert_eq!(rendered(template, json), text, "{template}");
    }
    // One that knows only some says so.
    host(|h| *h = Host::tiny("llama"));
    let source = "{% for m in messages %}{% if m.role not in ['user', 'assistant', 'developer'] %}{{ raise_exception('Unknown role: ' + m.role) }}{% endif %}{% endfor %}";
    assert!(super::render(&style(source), &messages(json)).is_err());
    let said = host(|h| h.message.clone());
    assert!(said.ends_with("Unknown role: wizard"), "{said}");
}

/// Null and parts are what the template makes of them, and text to one that makes nothing of them, or Python.
#[test]
fn contents_are_what_the_template_takes() {
    let call = r#"{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}"#;
    let asked =
        r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#;
    let both = alloc::format!("[{asked},{call}]");
    for (template, text) in [
        (
            "{% for m in messages %}{{ '<' + m.content + '>' }}{% endfor %}",
            "<a\nb><>",
        ),
        (
            "{% for m in messages %}<{{ m.content }}>{% endfor %}",
            "<a\nb><>",
        ),
        (
            "chatml",
            "<|im_start|>user\na\nb<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n<|im_start|>assistant\n",
        ),
        // Some look for null, and some go over parts.
        (
            "{% for m in messages %}{{ 'call' if m.content is none else m.content }};{% endfor %}",
            "a\nb;call;",
        ),
        (
            "{% for m in messages %}{% for part in m.content or [] %}({{ part.text }}){% endfor %}{% endfor %}",
            "(a)(b)",
        ),
        // What is said may have the word in it.
        (
            "{% for m in messages %}None{{ m.content or 'None' }}{% endfor %}",
            "Nonea\nbNoneNone",
        ),
    ] {
        assert_eq!(rendered(template, &both), text, "{template}");
    }
    // What a reply was taken for is good as history.
    let said = reply::json(
        &said("<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>"),
        true,
    );
    let said = said.unwrap();
    assert!(said.contains("\"content\": null"), "{said}");
    assert_eq!(
        rendered(
            "{{ messages[0].content + '.' }}",
            &alloc::format!("[{said}]")
        ),
        "."
    );
    // One of the assistant's at the end is gone on with.
    let last = asked.replace("user", "assistant");
    let next = Talk::default().replace("", &alloc::format!("[{asked},{last}]"));
    assert_eq!(next.unwrap().prefill, "a\nb");
}

/// A reply in which whatever looks like a control token is one.
fn said(text: &str) -> reply::Said {
    let mut marks = Vec::new();
    for open in ["<|", "<｜"] {
        let starts = text.match_indices(open).map(|(at, _)| at);
        marks.extend(starts.filter_map(|at| Some((at, at + text.get(at..)?.find('>')? + 1))));
    }
    marks.sort_unstable();
    reply::Said {
        text: String::from(text),
        marks,
    }
}

/// Content, thoughts, and calls with their arguments, on one line each.
fn taken_apart(text: &str) -> String {
    let Value::Dict(message) = parse_json(&reply::json(&said(text), true).unwrap(), false).unwrap()
    else {
        panic!("no object");
    };
    let shown = |key: &str| match message.get_str(key) {
        Some(Value::Str(text)) => String::from(text.as_str()),
        _ => String::from("-"),
    };
    let mut out = shown("content") + "|" + &shown("reasoning_content");
    if let Some(Value::Seq(calls)) = message.get_str("tool_calls") {
        for call in calls.items.borrow().iter() {
            let Value::Dict(call) = call else { continue };
            let Some(Value::Dict(function)) = call.get_str("function") else {
                continue;
            };
            for value in [
                function.get_str("name"),
                function.get_str("arguments"),
                call.get_str("id"),
            ] {
                out += "|";
                out += value.unwrap().as_text().unwrap().as_str();
            }
        }
    }
    out
}

#[test]
fn replies_are_taken_apart() {
    let weather = r#"|get_weather|{"city": "Paris", "days": 3}|call_0"#;
    for (text, content) in [
        // Hermes, Qwen.
        (
            "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\", \"days\": 3}}\n</tool_call>",
            "-|-",
        ),
        (
            "<think>\nhm\n</think>\n\nOK.<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\", \"days\": 3}}</tool_call>",
            "OK.|hm",
        ),
        // Qwen3-Coder, GLM, MiniMax.
        (
            "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
            "-|-",
        ),
        (
            "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
            "-|-",
        ),
        (
            "<minimax:tool_call>\n<invoke name=\"get_weather\">\n<parameter name=\"city\">Paris</parameter>\n<parameter name=\"days\">3</parameter>\n</invoke>\n</minimax:tool_call>",
            "-|-",
        ),
        // Llama 3.
        (
            "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\", \"days\": 3}}",
            "-|-",
        ),
        (
            "<|python_tag|>{\"type\": \"function\", \"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\", \"days\": 3}}<|eom_id|>",
            "-|-",
        ),
        ("<|python_tag|>get_weather(city=\"Paris\", days=3)", "-|-"),
        (
            "<function=get_weather>{\"city\": \"Paris\", \"days\": 3}</function>",
            "-|-",
        ),
        // Mistral.
        (
            "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\", \"days\": 3}}]",
            "-|-",
        ),
        (
            "Sure.[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Paris\", \"days\": 3}",
            "Sure.|-",
        ),
        (
            "[THINK]hm[/THINK][TOOL_CALLS]get_weather{\"city\": \"Paris\", \"days\": 3}",
            "-|hm",
        ),
        // DeepSeek R1; V3.1.
        (
            "hm</think>\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Paris\", \"days\": 3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            "-|hm",
        ),
        (
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": \"Paris\", \"days\": 3}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            "-|-",
        ),
        // gpt-oss.
        (
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"Paris\", \"days\": 3}<|call|>",
            "|hm",
        ),
        // Functionary, granite, command-r, nemotron, lfm2.
        (">>>get_weather\n{\"city\": \"Paris\", \"days\": 3}", "-|-"),
        (
            ">>>all\nSure.\n>>>get_weather\n{\"city\": \"Paris\", \"days\": 3}",
            "Sure.|-",
        ),
        (
            "<|tool_call|>[{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\", \"days\": 3}}]",
            "-|-",
        ),
        (
            "<TOOLCALL>[{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\", \"days\": 3}}]</TOOLCALL>",
            "-|-",
        ),
        (
            "<|tool_call_start|>[get_weather(city='Paris', days=3)]<|tool_call_end|>",
            "-|-",
        ),
    ] {
        let content = if content == "|hm" { "-|hm" } else { content };
        assert_eq!(taken_apart(text), String::from(content) + weather, "{text}");
    }
    for (text, parts) in [
        ("Hello, world. \n", "Hello, world. \n|-"),
        ("<think>one\ntwo</think>\n\nThree", "Three|one\ntwo"),
        ("<think>cut off", "|cut off"),
        (
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Hi.<|return|>",
            "Hi.|hm",
        ),
        ("{\"name\": \"Bob\"}", "{\"name\": \"Bob\"}|-"),
        (
            "<tool_call>{broken</tool_call>",
            "<tool_call>{broken</tool_call>|-",
        ),
        ("a < b and >>> c functools", "a < b and >>> c functools|-"),
        (
            "<tool_call>{\"name\": \"a\", \"arguments\": {}}</tool_call>\n<tool_call>{\"name\": \"b\", \"arguments\": {\"x\": [1, \"</y>\"]}}</tool_call>",
            "-|-|a|{}|call_0|b|{\"x\": [1, \"</y>\"]}|call_1",
        ),
        (
            "<|START_THINKING|>hm<|END_THINKING|><|START_ACTION|>[\n{\"tool_call_id\": \"0\", \"tool_name\": \"f\", \"parameters\": {\"a\": 1}}\n]<|END_ACTION|>",
            "-|hm|f|{\"a\": 1}|0",
        ),
        (
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"a\": 1}<|tool_call_end|><|tool_calls_section_end|>",
            "-|-|f|{\"a\": 1}|functions.f:0",
        ),
        (
            "[TOOL_CALLS]f[CALL_ID]abc[ARGS]{}[TOOL_CALLS]g[ARGS]{\"q\": null}",
            "-|-|f|{}|abc|g|{\"q\": null}|call_1",
        ),
    ] {
        assert_eq!(taken_apart(text), parts, "{text}");
    }
}

#[test]
fn json_is_a_call_only_where_there_are_tools() {
    let answer = r#"{"name": "Bob", "arguments": {"age": 5}}"#;
    let text = reply::json(&said(answer), false).unwrap();
    assert!(
        text.contains("content\": \"{") && !text.contains("tool_calls"),
        "{text}"
    );
    let called = reply::json(&said(answer), true).unwrap();
    assert!(
        called.contains("tool_calls") && called.contains("Bob"),
        "{called}"
    );
}

#[test]
fn arguments_are_json_or_no_arguments() {
    let digits = "9".repeat(400);
    for number in ["1e9999", "-1e9999", digits.as_str()] {
        for text in [
            alloc::format!(
                "<tool_call>{{\"name\": \"f\", \"arguments\": {{\"a\": [{number}]}}}}</tool_call>"
            ),
            alloc::format!("{{\"name\": \"f\", \"arguments\": {{\"a\": {number}}}}}"),
        ] {
            assert_eq!(taken_apart(&text), alloc::format!("{text}|-"));
        }
        // Where arguments are text, they stay what they are.
        let text = alloc::format!(
            "<|channel|>commentary to=functions.f<|message|>{{\"a\": {number}}}<|call|>"
        );
        let expected = alloc::format!("-|-|f|{{\"a\": {number}}}|call_0");
        assert_eq!(taken_apart(&text), expected);
    }
}
