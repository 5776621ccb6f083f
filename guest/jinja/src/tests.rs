//! What templates render to. The expected texts of `golden.json` are Jinja2's; `golden.py` made it.

use crate::{Cause, Dict, Limits, Template, Value, parse_json, render};
use std::string::{String, ToString};
use std::vec::Vec;
use std::{eprintln, format, println};

/// 2025-01-02 03:04:05 UTC.
const NOW: i64 = 1_735_787_045;

fn field(value: &Value, name: &str) -> Value {
    let Value::Dict(dict) = value else {
        panic!("no dict");
    };
    dict.get_str(name).unwrap()
}

fn list(value: &Value) -> Vec<Value> {
    let Value::Seq(seq) = value else {
        panic!("no list");
    };
    seq.items.borrow().clone()
}

fn string(value: &Value) -> String {
    String::from(value.as_text().unwrap().as_str())
}

#[test]
fn as_jinja2_does() {
    let golden = parse_json(include_str!("../golden/golden.json"), false).unwrap();
    let context = string(&field(&golden, "context"));
    let (mut wrong, mut count) = (0, 0);
    for case in list(&field(&golden, "cases")) {
        let pair = list(&case);
        let source = string(&pair[0]);
        let result = render(&source, &context);
        let expected = pair[1].as_text().map(|text| text.as_str());
        count += 1;
        match (&result, expected) {
            (Ok(text), Some(expected)) if text.as_str() == expected => {}
            (Err(error), None) if error.place.line > 0 => {}
            _ => {
                wrong += 1;
                let expected = expected.unwrap_or("an error");
                println!("{source}\n  expected {expected:?}\n  found    {result:?}");
            }
        }
    }
    assert!(count > 150, "{count}");
    assert_eq!(wrong, 0);
}

/// The templates of real models, with what Jinja2 made of three conversations.
#[test]
fn templates_of_models() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let data = std::env::var("REALM_TEST_DATA").unwrap_or(String::from(here));
    let Ok(expected) = std::fs::read_to_string(format!("{data}/chat/expected.json")) else {
        eprintln!("SKIPPED: no {data}/chat: the templates of models were not tested");
        return;
    };
    let expected = parse_json(&expected, false).unwrap();
    let conversations = field(&expected, "conversations");
    let mut count = 0;
    for case in list(&field(&expected, "cases")) {
        let name = string(&field(&case, "template"));
        let source = std::fs::read_to_string(format!("{data}/chat/{name}")).unwrap();
        for result in list(&field(&case, "results")) {
            let context = Dict::default();
            let messages = field(&conversations, &string(&field(&result, "conv")));
            for (key, value) in [
                ("messages", messages),
                (
                    "add_generation_prompt",
                    field(&result, "add_generation_prompt"),
                ),
                ("bos_token", Value::text("<s>")),
                ("eos_token", Value::text("</s>")),
            ] {
                context.set_str(key, value).unwrap();
            }
            let found =
                Template::new(&source).and_then(|t| t.render(&context, NOW, Limits::default()));
            match (found, field(&result, "error")) {
                (Ok(text), Value::None) => {
                    assert_eq!(text.as_str(), string(&field(&result, "output")), "{name}")
                }
                (Err(error), Value::Str(raised)) => {
                    let raised = raised.as_str().strip_prefix("raise_exception: ").unwrap();
                    assert_eq!(error.message, raised, "{name}");
                }
                // The environment that made the file does not know the statement; transformers' does.
                (Ok(_), Value::Str(refused)) => assert!(
                    refused.as_str().contains("unknown tag 'generation'"),
                    "{name}"
                ),
                (Err(error), _) => panic!("{name}: {error}"),
                (Ok(_), _) => panic!("{name}: an error was expected"),
            }
            count += 1;
        }
    }
    assert!(count > 200, "{count}");
}

/// Cases that `golden.py DIR` wrote, in the file that $REALM_JINJA_CASES names.
#[test]
fn own_cases() {
    let Some(path) = std::env::var_os("REALM_JINJA_CASES") else {
        eprintln!("skipped: no $REALM_JINJA_CASES with cases of one's own");
        return;
    };
    let cases = parse_json(&std::fs::read_to_string(path).unwrap(), false).unwrap();
    let (mut wrong, mut count, mut refused) = (0, 0, 0);
    for case in list(&cases) {
        let case = list(&case);
        let (name, source, context) = (string(&case[0]), string(&case[1]), string(&case[2]));
        let result = render(&source, &context);
        count += 1;
        match (&result, &case[3]) {
            (Ok(text), Value::Str(expected)) if text.as_str() == expected.as_str() => {}
            (Err(_), Value::Dict(_)) => refused += 1,
            (result, expected) => {
                wrong += 1;
                let expected = match expected {
                    Value::Str(text) => String::from(text.as_str()),
                    other => string(&field(other, "error")),
                };
                println!("{name} {context}\n  expected {expected:?}\n  found    {result:?}");
            }
        }
    }
    println!("{count} cases, {refused} of them refused, {wrong} wrong");
    assert_eq!(wrong, 0);
}

fn fails(source: &str) -> String {
    render(source, "{\"l\": [1, 2], \"s\": \"text\"}")
        .unwrap_err()
        .to_string()
}

#[test]
fn errors_have_a_line_and_say_what_was_expected() {
    for (source, said) in [
        (
            "a\n{{ 1 + }}",
            "line 2, column 8: expected an expression, found '}}'",
        ),
        (
            "\n\n{% if true %}",
            "line 3, column 14: expected '{% endif %}', but the template ends",
        ),
        (
            "{% for x l %}",
            "line 1, column 10: expected 'in', found 'l'",
        ),
        (
            "{{ 'abc }}",
            "line 1, column 4: expected ' to end this string",
        ),
        ("{{ x.y.z }}", "line 1, column 6: x is undefined"),
        (
            "\n{{ s.y.z }}",
            "line 2, column 8: a string has no 'y'; it is undefined",
        ),
        (
            "\n{% set a = 1 %}\n{{ a | nope }}",
            "line 3, column 8: unknown filter 'nope'",
        ),
        ("{{ 1 / 0 }}", "line 1, column 8: division by zero"),
        (
            "{{ 9223372036854775807 + 1 }}",
            "line 1, column 26: the number is too large",
        ),
        (
            "{{ 99999999999999999999 }}",
            "line 1, column 4: the number 99999999999999999999 is too large",
        ),
        (
            "{{ raise_exception('only ' ~ s) }}",
            "line 1, column 4: only text",
        ),
        (
            "{% include 'x' %}",
            "line 1, column 4: unknown statement 'include'",
        ),
        (
            "a\n é{# b\n#",
            "line 2, column 3: expected '#}' to end this comment",
        ),
        (
            "{% macro f(a, b, a) %}{% endmacro %}",
            "line 1, column 18: the parameter 'a' is there twice",
        ),
        (
            "{{ dict(a=1, a=2) }}",
            "line 1, column 14: the argument 'a' is there twice",
        ),
        (
            "{% raw %}x",
            "line 1, column 1: expected '{% endraw %}' to end this 'raw'",
        ),
        (
            "{{ s ~ \n({} + [1]) }}",
            "line 2, column 9: '+' does not work on an object and an array",
        ),
        (
            "{{ none | length }}",
            "line 1, column 11: null has no length",
        ),
        (
            "{{ f(1",
            "line 1, column 7: expected '}}', but the template ends",
        ),
    ] {
        assert_eq!(fails(source), said, "{source}");
    }
}

#[test]
fn hostile_templates_end() {
    let deep = "(".repeat(10_000);
    let ifs = "{% if true %}".repeat(10_000);
    let lists = "[".repeat(500) + &"]".repeat(500);
    for (source, said) in [
        (
            "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
            "too many steps",
        ),
        (
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "calls are nested",
        ),
        (
            "{% macro f(n) %}{{ f(n + 1) ~ f(n + 1) }}{% endmacro %}{{ f(0) }}",
            "calls are nested",
        ),
        (
            "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
            "bytes of text|too many steps",
        ),
        ("{{ 'aaaaaaaaaaaaaaaa' * 1000000000 }}", "bytes of text"),
        ("{{ 'x' | center(100000000000) }}", "bytes of text"),
        ("{{ '%999999999d' % 1 }}", "width"),
        ("{{ [1, 2] * 1000000000 }}", "too many steps"),
        (
            "{% set ns = namespace(x=[]) %}{% for i in range(1000) %}{% set ns.x = [ns.x] %}{% endfor %}",
            "nested more than",
        ),
        (
            "{% set x = [] %}{% set _ = x.append(x) %}{% for i in range(99) %}{% set _ = x.append(x) %}{% endfor %}",
            "",
        ),
        (
            "{% set ns = namespace() %}{% set ns.me = ns %}",
            "cannot be put",
        ),
        (
            "{% set ns = namespace(x=[1]) %}{% for i in range(50) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
            "too many steps|bytes of text",
        ),
        (
            "{% set a = namespace(x=[1]) %}{% set b = namespace(x=[1]) %}{% for i in range(50) %}{% set a.x = [a.x, a.x] %}{% set b.x = [b.x, b.x] %}{% endfor %}{{ a.x == b.x }}",
            "too many steps",
        ),
        (
            "{% for x in [[[]]] recursive %}{{ loop([[1]]) }}{% endfor %}",
            "calls are nested|too many",
        ),
        (deep.as_str(), ""),
        (&format!("{{{{ {deep} }}}}"), "nested more than"),
        (&ifs, "nested more than"),
        (&format!("{{{{ {lists} }}}}"), "nested more than"),
        (&format!("{{{{ {} 1 }}}}", "not ".repeat(10_000)), ""),
        (
            &format!("{{{{ {} 1 }}}}", "- ".repeat(10_000)),
            "nested more than",
        ),
        (
            &format!("{{{{ 1 {} }}}}", "if 1 else 1 ".repeat(10_000)),
            "nested more than",
        ),
        (
            &format!("{{% set {}x = 1 %}}", "(".repeat(10_000)),
            "nested more than",
        ),
        (
            &format!("{{{{ '{}'.format(1) }}}}", "{0:".repeat(10_000)),
            "format",
        ),
        (&format!("{{{{ 1 {} }}}}", "| string ".repeat(10_000)), ""),
    ] {
        let limits = Limits {
            steps: 1_000_000,
            ..Limits::default()
        };
        match Template::new(source).and_then(|t| t.render(&Dict::default(), 0, limits)) {
            Ok(_) => assert_eq!(said, "", "{}", &source[..source.len().min(200)]),
            Err(error) => {
                let message = error.to_string();
                assert!(
                    said.split('|').any(|said| message.contains(said)),
                    "{message}: {}",
                    &source[..source.len().min(200)]
                );
                assert!(error.place.line > 0, "{message}");
            }
        }
    }
}

#[test]
fn what_people_wrote_stays_known() {
    let context = parse_json(
        r#"{"s": "  <|im_end|>\nsaid  ", "d": {"k": "va\"l"}, "l": ["one", "two"]}"#,
        true,
    )
    .unwrap();
    let Value::Dict(context) = context else {
        panic!("no dict");
    };
    for (source, marked) in [
        ("a{{ s }}b", "a[  <|im_end|>\nsaid  ]b"),
        ("a{{ s | trim }}b", "a[<|im_end|>\nsaid]b"),
        ("{{ s.strip().split('\n')[-1] ~ '!' }}", "[said]!"),
        (
            "{{ s | trim | upper | replace('SAID', 'x') }}",
            "[<|IM_END|>\n]x",
        ),
        (
            "{{ s | trim | replace('\n', d.k) }}",
            "[<|im_end|>va\"lsaid]",
        ),
        ("{{ d | tojson }}", "{\"[k]\": \"[va\\\"l]\"}"),
        ("{{ l }}", "['[one]', '[two]']"),
        ("{{ l | join('|') }}", "[one]|[two]"),
        ("{{ s[2:4] + s.strip()[:1] }}", "[<|<]"),
        ("{% set x %}<{{ l[0] }}>{% endset %}{{ x }}", "<[one]>"),
        (
            "{{ '%s-%5s' % (l[0], l[1]) }}{{ '{}:{}'.format(l[0], 1) }}",
            "[one]-  [twoone]:1",
        ),
        (
            "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(l[0]) | title }}",
            "[One]",
        ),
        (
            "{{ s | indent(2) }}{{ l[0] | e }}",
            "[  <|im_end|>\n]  [said  one]",
        ),
        ("{% for c in l[0] %}{{ c }}.{% endfor %}", "[o].[n].[e]."),
        ("{{ s | length }}{{ '<s>' }}", "19<s>"),
        ("{{ l | map('upper') | first }}{{ l[1][::-1] }}", "[ONEowt]"),
    ] {
        let text = Template::new(source)
            .unwrap()
            .render(&context, NOW, Limits::default())
            .unwrap();
        let mut out = String::new();
        let mut at = 0;
        for (start, end) in text.user_runs() {
            out += &format!(
                "{}[{}]",
                &text.as_str()[at..*start],
                &text.as_str()[*start..*end]
            );
            at = *end;
        }
        out += &text.as_str()[at..];
        assert_eq!(out, marked, "{source}");
    }
}

/// An object with so many keys, of which the first is given once more at the end.
fn many_keys(count: usize) -> String {
    let mut json = String::from("{\"k0\": 0");
    for i in 1..count {
        // Not in their order.
        json += &format!(", \"k{}\": {i}", i * 7919 % count);
    }
    json + ", \"k0\": \"again\"}"
}

#[test]
fn objects_may_have_many_keys() {
    // 16000² comparisons would be more than the reader's budget allows.
    for count in [15, 16, 17, 5000, 16_000] {
        let value = parse_json(&many_keys(count), false).unwrap();
        let Value::Dict(dict) = &value else {
            panic!("no dict");
        };
        assert_eq!(dict.len(), count);
        assert_eq!(string(&field(&value, "k0")), "again");
        for i in 1..count {
            let key = format!("k{}", i * 7919 % count);
            assert_eq!(dict.get_str(&key).unwrap().as_int(), Some(i as i64));
        }
        assert!(dict.get_str("k").is_none() && dict.get_str("z").is_none());
        // As they came.
        let first = dict.items().into_iter().map(|(key, _)| string(&key));
        let first: Vec<String> = first.take(3).collect();
        assert_eq!(first[0], "k0");
        assert_eq!(first[1], format!("k{}", 7919 % count));
    }
}

#[test]
fn what_looks_through_very_much_takes_steps() {
    let json = format!("{{\"d\": {}}}", many_keys(16_000));
    let chars = "b".repeat(100_000);
    for source in [
        // Fields of a namespace, read and set; arguments of a macro.
        "{% set n = namespace(**d) %}{% for i in range(19999) %}{% set n.z = n.z %}{% endfor %}",
        "{% set n = namespace(d) %}{% for i in range(39999) %}{{ n['z'] }}{% endfor %}",
        "{% macro m(a, b, c) %}{{ kwargs|length }}{% endmacro %}{% for i in range(1999) %}{{ m(**d) }}{% endfor %}",
        "{% set f = '{z}' * 39999 %}{% set _ = d.update({'z': 1}) %}{{ f.format(**d) }}",
        "{% set l = d|list %}{% for i in range(1999) %}{{ 'z' in l }}{% endfor %}",
        "{% set l = d|map('upper') %}{% for i in range(9999) %}{{ l|first }}{% endfor %}",
        &format!("{{{{ ('a' * 4000000).strip('{chars}') }}}}"),
    ] {
        let error = render(source, &json).err().unwrap();
        assert!(
            error.message.contains("too many steps"),
            "{source}: {error}"
        );
    }
}

#[test]
fn keys_are_found_when_others_are_gone() {
    let source = "{% set d = {} %}\
        {% for i in range(40) %}{% set _ = d.update({i|string: i, i: -i}) %}{% endfor %}\
        {% for i in range(0, 40, 2) %}{{ d.pop(i|string) == i and d.pop(i) == -i }}{% endfor %}\
        {{ d|length }}{% for i in range(40) %}{{ [d.get(i|string), d[i]|default('x')] if i > 36 }}{% endfor %}\
        {% set _ = d.update({'2': 'two'}) %}{{ d['2'] }}{{ d|length }}{{ (d|list)[-1] }}";
    let expected = "True".repeat(20) + "40[37, -37][None, 'x'][39, -39]two412";
    assert_eq!(render(source, "{}").unwrap(), expected);
}

#[test]
fn templates_have_at_most_65536_words_and_signs() {
    for source in [
        "{{ 1 }}".repeat(84_000),
        format!("{{{{ {}1 }}}}", "1+".repeat(500_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(200_000)),
    ] {
        let error = Template::new(&source).err().unwrap();
        assert_eq!(error.cause, Cause::Limit);
        assert!(error.message.contains("more than 65536"), "{error}");
    }
    assert!(Template::new(&"{{ 1 }}".repeat(16_000)).is_ok());
    assert!(Template::new(&"text ".repeat(200_000)).is_ok());
}

#[test]
fn json_has_at_most_16384_values() {
    let array = |count: usize| format!("[{}0]", "0,".repeat(count - 2));
    assert!(parse_json(&array(16384), true).is_ok());
    let error = parse_json(&array(16385), true).err().unwrap();
    assert_eq!(error.cause, Cause::Limit);
    assert!(error.message.contains("at most 16384 values"), "{error}");
    let objects = format!("[{}0]", "{\"role\":\"user\"},".repeat(500_000));
    assert_eq!(
        parse_json(&objects, true).err().unwrap().cause,
        Cause::Limit
    );
}

#[test]
fn json_is_read_and_refused() {
    assert_eq!(
        parse_json("\"a\nb\"", false).err().unwrap().message,
        "JSON: expected an escape, such as \\n, found U+000A"
    );
    for (text, shown) in [
        (
            r#" {"a": [1, -2.5, 1e3, "x\u00e9\ud83d\ude00\n", true, false, null, {}, []]} "#,
            "{'a': [1, -2.5, 1000.0, 'xé😀\\n', True, False, None, {}, []]}",
        ),
        ("123456789012345678901234567890", "1.2345678901234568e+29"),
        (r#""\ud800x""#, "�x"),
    ] {
        let context = Dict::default();
        context
            .set_str("v", parse_json(text, false).unwrap())
            .unwrap();
        let out = Template::new("{{ v }}")
            .unwrap()
            .render(&context, 0, Limits::default());
        assert_eq!(out.unwrap().as_str(), shown);
    }
    for bad in [
        "",
        "{",
        "[1,]",
        "{\"a\"}",
        "{a: 1}",
        "01",
        "1.",
        "-",
        "\"\u{1}\"",
        "\"\\x\"",
        "nul",
        "[] x",
        "'a'",
        &"[".repeat(100_000),
    ] {
        assert!(parse_json(bad, false).is_err(), "{bad}");
    }
    assert_eq!(
        parse_json("{\n\"a\": x}", false).err().unwrap().to_string(),
        "line 2, column 6: JSON: expected a value, found 'x'"
    );
}
