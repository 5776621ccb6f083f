//! What a `$ref` means: a JSON pointer (RFC 6901) in the fragment of a URI.

use crate::json::Value;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The value that a reference points at; the error says why there is none.
pub fn find<'a>(root: &'a Value, reference: &str) -> Result<&'a Value, String> {
    // In the order of section 6: what a percent sign stands for may be a slash or a tilde of the pointer.
    let decoded = percent_decoded(reference)?;
    let mut parts = decoded.split('/');
    if parts.next() != Some("#") {
        let what = "expected a $ref that is # or begins with #/, because it is of this schema";
        return Err(what.into());
    }
    let mut value = root;
    for part in parts {
        // In the order of section 4: what comes of ~01 is ~1.
        let part = part.replace("~1", "/").replace("~0", "~");
        let next = match value.array() {
            Some(values) => part.parse().ok().and_then(|i: usize| values.get(i)),
            None => value.get(&part),
        };
        value = next.ok_or_else(|| format!("$ref leads nowhere: there is no '{part}'"))?;
    }
    Ok(value)
}

/// `%20` is a blank. A percent sign without two hexadecimal digits is one, because not everybody encodes names.
fn percent_decoded(text: &str) -> Result<String, String> {
    let mut parts = text.split('%');
    let mut bytes = Vec::from(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.get(..2).filter(|d| !d.starts_with('+'));
        match digits.and_then(|d| u8::from_str_radix(d, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
            }
            None => {
                bytes.push(b'%');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| "expected UTF-8 in what a $ref has behind %".into())
}
