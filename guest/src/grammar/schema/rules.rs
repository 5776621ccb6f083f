//! The rules of a schema's grammar, and those that are always the same.

use crate::json::{self, Value};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};

/// Rules that schemas share: name, text, and the rules that it names.
const BUILT_IN: [(&str, &str, &[&str]); 18] = [
    ("boolean", r#"("true" | "false")"#, &[]),
    ("decimal-part", "[0-9]{1,16}", &[]),
    ("integral-part", "[0] | [1-9] [0-9]{0,15}", &[]),
    (
        "number",
        r#"("-"? integral-part) ("." decimal-part)? ([eE] [-+]? integral-part)?"#,
        &["integral-part", "decimal-part"],
    ),
    ("integer", r#"("-"? integral-part)"#, &["integral-part"]),
    (
        "value",
        "object | array | string | number | boolean | null",
        &["object", "array", "string", "number", "boolean", "null"],
    ),
    (
        "object",
        r#""{" space ( string ":" space value ("," space string ":" space value)* )? space "}""#,
        &["string", "value"],
    ),
    (
        "array",
        r#""[" space ( value ("," space value)* )? space "]""#,
        &["value"],
    ),
    (
        "uuid",
        r#""\"" [0-9a-fA-F]{8} "-" [0-9a-fA-F]{4} "-" [0-9a-fA-F]{4} "-" [0-9a-fA-F]{4} "-" [0-9a-fA-F]{12} "\"""#,
        &[],
    ),
    (
        "char",
        r#"[^"\\\x7F\x00-\x1F] | [\\] (["\\bfnrt] | "u" [0-9a-fA-F]{4})"#,
        &[],
    ),
    ("string", r#""\"" char* "\"""#, &["char"]),
    ("null", r#""null""#, &[]),
    (
        "date",
        r#"[0-9]{4} "-" ( "0" [1-9] | "1" [0-2] ) "-" ( "0" [1-9] | [1-2] [0-9] | "3" [0-1] )"#,
        &[],
    ),
    (
        "time",
        r#"([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ( "." [0-9]{3} )? ( "Z" | ( "+" | "-" ) ( [01] [0-9] | "2" [0-3] ) ":" [0-5] [0-9] )"#,
        &[],
    ),
    ("date-time", r#"date "T" time"#, &["date", "time"]),
    ("date-string", r#""\"" date "\"""#, &["date"]),
    ("time-string", r#""\"" time "\"""#, &["time"]),
    ("date-time-string", r#""\"" date-time "\"""#, &["date-time"]),
];

const SPACE: &str = r#"| " " | "\n"{1,2} [ \t]{0,20}"#;

/// Most that the rules may come to, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// How often a name is found to be another rule's already, as it is some 200,000 times with 630 rules of one name.
const MAX_NAMESAKES: u32 = 200_000;

/// Whether a property of this name needs another one for its rule.
pub fn is_reserved(name: &str) -> bool {
    name == "root" || BUILT_IN.iter().any(|(known, ..)| *known == name)
}

/// The rules so far, by name.
pub struct Rules {
    rules: BTreeMap<String, String>,
    bytes: usize,
    namesakes: u32,
}

impl Rules {
    /// The rule for blanks.
    pub fn new() -> Self {
        let mut rules = Self {
            rules: BTreeMap::new(),
            bytes: 0,
            namesakes: 0,
        };
        rules.add("space", SPACE.into());
        rules
    }

    /// Whether there is a rule of this name.
    pub fn has(&self, name: &str) -> bool {
        self.rules.contains_key(name)
    }

    /// Says if they have become too many.
    pub fn bounded(&self) -> Result<(), String> {
        if self.bytes > MAX_BYTES {
            return Err(format!(
                "the schema's grammar has more than {MAX_BYTES} bytes"
            ));
        }
        if self.namesakes >= MAX_NAMESAKES {
            return Err(String::from(
                "too many different rules would have one name: expected other names of properties",
            ));
        }
        Ok(())
    }

    /// Adds a rule; returns its name, which has a number if another rule has it already.
    #[inline(never)]
    pub fn add(&mut self, name: &str, rule: String) -> String {
        let name = escaped(name);
        let mut key = name.clone();
        let mut number = 0;
        while let Some(known) = self.rules.get(&key) {
            // Where it is empty it is no rule yet.
            if *known == rule && !rule.is_empty() {
                return key;
            }
            if self.namesakes >= MAX_NAMESAKES {
                return key;
            }
            self.namesakes += 1;
            key = format!("{name}{number}");
            number += 1;
        }
        self.bytes += key.len() + rule.len();
        self.rules.insert(key.clone(), rule);
        key
    }

    /// A name that no rule has, for a rule that is not known yet and may name itself.
    pub fn reserve(&mut self, name: &str) -> String {
        self.add(name, String::new())
    }

    /// The rule of a name that was reserved.
    pub fn define(&mut self, name: &str, rule: String) {
        self.bytes += rule.len();
        self.rules.insert(name.into(), rule);
    }

    /// Adds a rule that is always the same, and what it needs; returns its name.
    pub fn primitive(&mut self, kind: &str) -> String {
        self.primitive_under(kind, kind)
    }

    /// As `primitive`; it is the root itself if that is what is asked for.
    pub fn primitive_as(&mut self, rule_name: &str, kind: &str) -> String {
        let name = if rule_name == "root" { "root" } else { kind };
        self.primitive_under(name, kind)
    }

    #[inline(never)]
    fn primitive_under(&mut self, name: &str, kind: &str) -> String {
        let Some((_, rule, needs)) = BUILT_IN.iter().find(|(known, ..)| *known == kind) else {
            return name.to_string();
        };
        let name = self.add(name, (*rule).into());
        for need in *needs {
            if !self.has(need) {
                self.primitive(need);
            }
        }
        name
    }

    /// All of them as a grammar.
    #[inline(never)]
    pub fn write(&self) -> String {
        let mut out = String::with_capacity(self.bytes + self.rules.len() * 6);
        for (name, rule) in &self.rules {
            out.extend([name, " ::= ", rule, "\n"]);
        }
        out
    }
}

/// A name with nothing in it that names of rules may not have.
#[inline(never)]
pub fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut within = false;
    for c in name.chars() {
        let good = c.is_ascii_alphanumeric() || c == '-';
        if good || !within {
            out.push(if good { c } else { '-' });
        }
        within = !good;
    }
    out
}

/// A text as an item of a rule.
#[inline(never)]
pub fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\r' => out.push_str("\\r"),
            '\n' => out.push_str("\\n"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A value as an item of a rule.
#[inline(never)]
pub fn constant(value: &Value) -> String {
    let mut text = String::new();
    value.write(&mut text);
    literal(&text)
}

/// A name as a string of JSON, as an item of a rule.
#[inline(never)]
pub fn name(text: &str) -> String {
    let mut out = String::new();
    json::write_text(text, &mut out);
    literal(&out)
}

/// An item so many times, with something between them.
#[inline(never)]
pub fn repetition(item: &str, min: u32, max: Option<u32>, separator: &str) -> String {
    match (min, max) {
        (_, Some(0)) => return String::new(),
        (0, Some(1)) => return format!("{item}?"),
        _ => {}
    }
    if separator.is_empty() {
        return match (min, max) {
            (1, None) => format!("{item}+"),
            (0, None) => format!("{item}*"),
            (min, None) => format!("{item}{{{min},}}"),
            (min, Some(max)) => format!("{item}{{{min},{max}}}"),
        };
    }
    let more = format!("({separator} {item})");
    let more = repetition(&more, min.saturating_sub(1), max.map(|max| max - 1), "");
    let all = format!("{item} {more}");
    if min == 0 { format!("({all})?") } else { all }
}
