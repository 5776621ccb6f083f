//! Reading the shared test data: where it is, and enough JSON for it. Tests only.

use std::path::PathBuf;
use std::string::String;
use std::vec::Vec;

/// The text of a file of the test data, or None after saying loudly that the test is skipped.
pub fn read(name: &str) -> Option<String> {
    let root = std::env::var_os("REALM_TEST_DATA").map(PathBuf::from);
    let near = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = root.unwrap_or(near).join(name);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        std::eprintln!("skipped: no test data {}", path.display());
    }
    text
}

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub fn parse(text: &str) -> Self {
        let mut at = 0;
        value(text.as_bytes(), &mut at)
    }

    pub fn get(&self, key: &str) -> &Self {
        match self {
            Self::Object(items) => items
                .iter()
                .find(|(k, _)| k == key)
                .map_or(&Self::Null, |(_, v)| v),
            _ => &Self::Null,
        }
    }

    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    pub fn number(&self) -> f64 {
        match self {
            Self::Number(n) => *n,
            _ => panic!("{self:?} is not a number"),
        }
    }

    pub fn floats(&self) -> Vec<f32> {
        self.list().iter().map(|x| x.number() as f32).collect()
    }
}

fn space(b: &[u8], at: &mut usize) {
    while b[*at..].first().is_some_and(u8::is_ascii_whitespace) {
        *at += 1;
    }
}

fn value(b: &[u8], at: &mut usize) -> Json {
    space(b, at);
    let literal = |at: &mut usize, n: usize, v| {
        *at += n;
        v
    };
    match b[*at] {
        b'n' => literal(at, 4, Json::Null),
        b't' => literal(at, 4, Json::Bool(true)),
        b'f' => literal(at, 5, Json::Bool(false)),
        b'"' => Json::Text(string(b, at)),
        open @ (b'[' | b'{') => {
            let (mut items, mut pairs) = (Vec::new(), Vec::new());
            *at += 1;
            loop {
                space(b, at);
                match b[*at] {
                    b']' | b'}' => break,
                    b',' => *at += 1,
                    _ if open == b'[' => items.push(value(b, at)),
                    _ => {
                        let key = string(b, at);
                        space(b, at);
                        *at += 1;
                        pairs.push((key, value(b, at)));
                    }
                }
            }
            *at += 1;
            if open == b'[' {
                Json::List(items)
            } else {
                Json::Object(pairs)
            }
        }
        _ => {
            let from = *at;
            while b.get(*at).is_some_and(|c| b"+-.eE0123456789".contains(c)) {
                *at += 1;
            }
            Json::Number(std::str::from_utf8(&b[from..*at]).unwrap().parse().unwrap())
        }
    }
}

fn string(b: &[u8], at: &mut usize) -> String {
    let mut out = Vec::new();
    *at += 1;
    let hex =
        |at: usize| u32::from_str_radix(std::str::from_utf8(&b[at..at + 4]).unwrap(), 16).unwrap();
    while b[*at] != b'"' {
        if b[*at] != b'\\' {
            out.push(b[*at]);
            *at += 1;
            continue;
        }
        *at += 2;
        match b[*at - 1] {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'u' => {
                let mut c = hex(*at);
                *at += 4;
                if (0xd800..0xdc00).contains(&c) {
                    c = 0x10000 + ((c - 0xd800) << 10) + (hex(*at + 2) - 0xdc00);
                    *at += 6;
                }
                let c = char::from_u32(c).unwrap();
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => out.push(other),
        }
    }
    *at += 1;
    String::from_utf8(out).unwrap()
}
