//! Seeds of `texts.rs`.

use super::put;
use std::io::Result;
use std::path::Path;

const GRAMMARS: [&str; 9] = [
    "root ::= expr\nexpr ::= term (\"+\" term)*\nterm ::= [0-9]+ | \"(\" expr \")\"\0(1+23)+4",
    "root ::= a | b\na ::= \"x\" a | \"y\"\nb ::= \"xx\" b | \"z\"\0xxxxz",
    "root ::= (\"a\"{2,} \"b\"){1,2} # comment\0aabaaab",
    "root ::= [^\\]\\x41-\\u00fc]{2} .\0\u{f6}\u{20ac}\u{1f30d}",
    "root ::= ( [x]* )* \"x\"+?\0xxxxxxxx",
    "root ::= root-1\nroot-1 ::=\n  \"\\\"\" ( [^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" ([\"\\\\bfnrt] | \"u\" [0-9a-fA-F]{4}) )* \"\\\"\"\0\"a\\u00e4\"",
    "root ::= \"a\"{0,1000000}\0aaaaaaaa",
    "root ::= (\"a\" | \"a\" | \"aa\" | \"b\"?){3,40}\0aaaaabaaaaa",
    "root ::= x x?\nx ::= (y | \"(\" x* \")\")\ny ::= \"\" | \"1\" y\0(11()1)1",
];

const SCHEMAS: [&str; 14] = [
    "{}\0{[\"a\"",
    r#"{"type":"object","properties":{"a":{"type":"integer","minimum":-17,"maximum":3012},"b":{"type":"string","minLength":2,"maxLength":5}},"required":["b"],"additionalProperties":{"type":"boolean"}}"#,
    r#"{"type":"array","items":{"type":"number"},"minItems":2,"maxItems":4}"#,
    r##"{"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","properties":{"v":{"const":1},"next":{"$ref":"#/$defs/tree"}},"required":["v"]}}}"##,
    r#"{"type":"string","pattern":"^(\\d{3}|[a-f\\s]+|\"?\\u{1F30D})-[^x]*$"}"#,
    r#"{"oneOf":[{"type":"null"},{"enum":["a",1,{"b":[]}]}],"properties":{"x":{}}}"#,
    r#"{"allOf":[{"type":"object","properties":{"a":{"type":"string"}}},{"type":"object","properties":{"b":{"format":"date-time","type":"string"}},"required":["b"]}]}"#,
    r#"{"type":["string","null"],"format":"uuid"}"#,
    r#"{"prefixItems":[{"type":"integer","exclusiveMinimum":5},true,{"type":"string","format":"time"}]}"#,
    r#"{"type":"integer","minimum":-9223372036854775808,"exclusiveMaximum":18446744073709551615}"#,
    r#"{"properties":{"ab":{},"abc":{},"b":{"type":"boolean"}},"required":["zz"],"additionalProperties":true}"#,
    r#"{"anyOf":[{"properties":{"a":{"type":"integer"}},"type":"object"},{"properties":{"b":{}},"type":"object"}],"required":["a"],"properties":{"a":{"const":4}}}"#,
    r#"{"type":"string","pattern":"^(?<y>[\\w.]{1,3}){0,2}\\n?$"}"#,
    r#"{"allOf":[{"enum":[1,2,"x"]},{"enum":[2,"x",null]}]}"#,
];

const REPLIES: [&str; 16] = [
    "<think>\nwell\n</think>\n\nHello",
    "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, 2.5e3]}}\n</tool_call>",
    "<tool_call>\n<function=f>\n<parameter=a>\n[1]\n</parameter>\n</function>\n</tool_call>",
    "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>",
    "[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{\"a\": \"\\u00e4\"}",
    "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}, \"id\": \"x\"}]",
    "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"a\": -0.0}}<|eom_id|>",
    "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\":1}<|call|>",
    "<\u{ff5c}tool\u{2581}calls\u{2581}begin\u{ff5c}><\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>function<\u{ff5c}tool\u{2581}sep\u{ff5c}>f\n```json\n{\"a\": 1}\n```<\u{ff5c}tool\u{2581}call\u{2581}end\u{ff5c}><\u{ff5c}tool\u{2581}calls\u{2581}end\u{ff5c}>",
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"a\": 1}<|tool_call_end|><|tool_calls_section_end|>",
    ">>>f\n{\"a\": 1}>>>all\nhi",
    "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"a\": null}}]",
    "<|START_ACTION|>[{\"tool_call_id\": \"0\", \"tool_name\": \"f\", \"parameters\": {\"a\": 1}}]<|END_ACTION|>",
    "<TOOLCALL>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]</TOOLCALL>",
    "<|tool_call_start|>[f(a=[1, 'x\\n'], b={'k': True, 'n': None})]<|tool_call_end|>",
    "<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"a\">1</parameter>\n</invoke>\n</minimax:tool_call>",
];

const FORMATS: [&str; 8] = [
    "chatml",
    "llama2",
    "mistral-v3",
    "gemma",
    "gpt-oss",
    "command-r",
    "phi3",
    "raw",
];

/// Writes them, and as templates also what the guest's own tests have.
pub fn write(folder: &Path) -> Result<()> {
    let cases = include_str!("../../../guest/jinja/golden/cases.txt");
    let templates: Vec<&str> = cases.split("\n====\n").chain(FORMATS).collect();
    for (target, texts) in [
        ("grammar", &GRAMMARS[..]),
        ("schema", &SCHEMAS),
        ("template", &templates),
    ] {
        for (i, text) in texts.iter().enumerate() {
            put(&folder.join(target), &format!("own{i}"), text.as_bytes())?;
        }
    }
    for (i, text) in REPLIES.iter().enumerate() {
        for kind in 0..2_u8 {
            let bytes = [&[kind], text.as_bytes()].concat();
            put(&folder.join("reply"), &format!("own{i}-{kind}"), &bytes)?;
        }
    }
    Ok(())
}
