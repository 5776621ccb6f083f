//! Classes of characters of a pattern, as what they are inside a string of JSON.

use crate::grammar::utf8;
use crate::json;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// From the first character to the last.
pub type Range = (u32, u32);

const DIGITS: [Range; 1] = [(0x30, 0x39)];
const WORD: [Range; 4] = [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)];
/// White space and ends of lines of ECMA-262.
const SPACE: [Range; 10] = [
    (0x09, 0x0D),
    (0x20, 0x20),
    (0xA0, 0xA0),
    (0x1680, 0x1680),
    (0x2000, 0x200A),
    (0x2028, 0x2029),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x3000, 0x3000),
    (0xFEFF, 0xFEFF),
];
/// What `.` leaves out.
const LINE_ENDS: [Range; 3] = [(0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)];

/// What `\d`, `\w`, `\s` and their capitals stand for, with ECMA-262's meaning.
pub fn shorthand(letter: u8) -> Option<Vec<Range>> {
    let ranges = match letter.to_ascii_lowercase() {
        b'd' => &DIGITS[..],
        b'w' => &WORD,
        b's' => &SPACE,
        _ => return None,
    };
    Some(if letter.is_ascii_uppercase() {
        utf8::complement(ranges)
    } else {
        ranges.into()
    })
}

/// What `.` stands for.
pub fn dot() -> String {
    rule(&utf8::complement(&LINE_ENDS))
}

/// A character as the content of a string of JSON, as it stands between the quotes of a rule.
pub fn literal(c: char) -> String {
    let mut json = String::new();
    json::write_text(c.encode_utf8(&mut [0; 4]), &mut json);
    let content = json.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    let mut out = String::new();
    for c in content.unwrap_or_default().chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The content of a string of JSON that is one character of these. A rule of nothing has no text.
pub fn rule(ranges: &[Range]) -> String {
    let (mut plain, escapes) = (plain(ranges), escapes(ranges));
    if !plain.is_empty() {
        plain = format!("[{plain}]");
    }
    if escapes.is_empty() {
        return plain;
    }
    let or = if plain.is_empty() { "" } else { " | " };
    format!("({plain}{or}[\\\\] ({escapes}))")
}

/// Those that stand in JSON as they are, for a class of a rule.
fn plain(ranges: &[Range]) -> String {
    let mut out = String::new();
    let mut add = |first: u32, last: u32| {
        if first <= last {
            write(first, &mut out);
            if first < last {
                out.push('-');
                write(last, &mut out);
            }
        }
    };
    for (first, last) in ranges {
        let mut from = (*first).max(0x20);
        for cut in [0x22, 0x5C] {
            if (from..=*last).contains(&cut) {
                add(from, cut - 1);
                from = cut + 1;
            }
        }
        add(from, *last);
    }
    out
}

/// Those that stand in JSON behind a backslash: what is behind it.
fn escapes(ranges: &[Range]) -> String {
    let has = |c: u8| {
        let c = u32::from(c);
        ranges.iter().any(|(a, b)| (*a..=*b).contains(&c))
    };
    let mut alternatives: Vec<String> = Vec::new();
    let short: String = [
        (b'"', "\""),
        (b'\\', "\\\\"),
        (0x08, "b"),
        (0x0C, "f"),
        (b'\n', "n"),
        (b'\r', "r"),
        (b'\t', "t"),
    ]
    .into_iter()
    .filter_map(|(c, text)| has(c).then_some(text))
    .collect();
    if !short.is_empty() {
        alternatives.push(format!("[{short}]"));
    }
    for high in 0..2u8 {
        let long = |low: &u8| !matches!(high << 4 | low, 0x08 | 0x09 | 0x0A | 0x0C | 0x0D);
        let lows = (0..16u8).filter(|low| long(low) && has(high << 4 | low));
        let digits: String = lows
            .filter_map(|low| char::from_digit(u32::from(low), 16))
            .collect();
        if !digits.is_empty() {
            alternatives.push(format!("\"u00{high}\" [{digits}]"));
        }
    }
    alternatives.join(" | ")
}

/// A character of a class of a rule.
fn write(c: u32, out: &mut String) {
    match char::from_u32(c) {
        Some(c @ ('-' | '[' | ']')) => out.extend(['\\', c]),
        Some(c @ ' '..='~') if c != '^' => out.push(c),
        _ if c <= 0xFF => out.push_str(&format!("\\x{c:02X}")),
        _ if c <= 0xFFFF => out.push_str(&format!("\\u{c:04X}")),
        _ => out.push_str(&format!("\\U{c:08X}")),
    }
}
