//! Objects: the properties that must be there, then any of the others, in the order of the schema.

use super::{Converter, Result, Schema, Shape, joined, rules, wrong};
use crate::json::{Kind, Value};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The properties of an object.
pub fn of<'a>(schema: Schema<'a>) -> Result<Vec<(&'a str, Schema<'a>)>> {
    let Some(properties) = schema.get("properties") else {
        return Ok(Vec::new());
    };
    match properties.object() {
        Some(items) => Ok(items
            .iter()
            .map(|(n, v)| (n.as_str(), Schema::of(v)))
            .collect()),
        None => wrong(properties, "expected properties to be an object"),
    }
}

/// The schema `true`.
pub static ANYTHING: Value = Value {
    at: 0,
    kind: Kind::Bool(true),
};

/// The names of properties that must be there.
pub fn required<'a>(schema: Schema<'a>) -> impl Iterator<Item = &'a Value> {
    let named = schema.get("required").and_then(Value::array);
    named.unwrap_or_default().iter()
}

/// A property must be there and may not.
pub fn missing<T>(at: &Value, name: &str) -> Result<T> {
    wrong(
        at,
        format!(
            "'{name}' is required, is not in properties, and additionalProperties is false: nothing fits"
        ),
    )
}

/// A property must be there and nothing fits it.
pub fn never<T>(at: &Value, name: &str) -> Result<T> {
    wrong(
        at,
        format!("'{name}' is required, and is false: nothing fits"),
    )
}

/// What other properties there may be.
#[derive(Clone, Copy)]
pub enum Additional<'a> {
    Anything,
    Of(Schema<'a>),
}

impl<'a> Converter<'a> {
    /// The rule of an object.
    #[inline(never)]
    pub(super) fn object(&mut self, schema: Schema<'a>, name: &str) -> Result<String> {
        let mut properties = of(schema)?;
        let additional = match schema.get("additionalProperties") {
            // An object that says nothing may have anything.
            None if schema.has("properties") => None,
            None => Some(Additional::Anything),
            Some(Value {
                kind: Kind::Bool(false),
                ..
            }) => None,
            Some(Value {
                kind: Kind::Bool(true),
                ..
            }) => Some(Additional::Anything),
            Some(value) if value.object().is_some() => match Schema::of(value).shape()? {
                Shape::Any => Some(Additional::Anything),
                _ => Some(Additional::Of(Schema::of(value))),
            },
            Some(value) => {
                return wrong(
                    value,
                    "expected additionalProperties to be true, false or a schema",
                );
            }
        };
        let mut names = BTreeSet::new();
        let known: BTreeSet<&str> = properties.iter().map(|(name, _)| *name).collect();
        for value in required(schema) {
            let Some(name) = value.text() else {
                continue;
            };
            if names.insert(name) && !known.contains(name) {
                let property = match additional {
                    Some(Additional::Of(schema)) => schema,
                    None if schema.has("additionalProperties") => return missing(value, name),
                    // Where there is no additionalProperties no others are made, and any are allowed.
                    _ => Schema::of(&ANYTHING),
                };
                properties.push((name, property));
            }
        }
        if properties.is_empty() && matches!(additional, Some(Additional::Anything)) {
            return Ok(self.rules.primitive("object"));
        }
        self.properties(&properties, &names, name, additional)
    }

    /// The rule of an object of these properties.
    #[inline(never)]
    pub(super) fn properties(
        &mut self,
        properties: &[(&'a str, Schema<'a>)],
        required: &BTreeSet<&str>,
        name: &str,
        additional: Option<Additional<'a>>,
    ) -> Result<String> {
        let mut pairs: BTreeMap<String, String> = BTreeMap::new();
        let (mut must, mut may) = (Vec::new(), Vec::new());
        for (property, schema) in properties {
            if schema.is_never() {
                if required.contains(property) {
                    return never(schema.value, property);
                }
                continue;
            }
            let value = self.visit(*schema, &joined(name, property))?;
            let pair = format!("{} space \":\" space {value}", rules::name(property));
            let pair = self
                .rules
                .add(&format!("{}-kv", joined(name, property)), pair);
            pairs.insert(String::from(*property), pair);
            let list = if required.contains(property) {
                &mut must
            } else {
                &mut may
            };
            list.push(*property);
        }
        if let Some(additional) = additional {
            let sub = joined(name, "additional");
            let value = match additional {
                Additional::Anything => self.rules.primitive("value"),
                Additional::Of(schema) => self.visit(schema, &format!("{sub}-value"))?,
            };
            let key = if properties.is_empty() {
                self.rules.primitive("string")
            } else {
                self.rules.primitive("char");
                let others = other_names(properties.iter().map(|(name, _)| *name));
                self.rules.add(&format!("{sub}-k"), others)
            };
            let pair = self
                .rules
                .add(&format!("{sub}-kv"), format!("{key} \":\" space {value}"));
            pairs.insert(String::from("*"), pair);
            may.push("*");
        }
        if must.is_empty() && may.is_empty() {
            return Ok(String::from("\"{\" space \"}\""));
        }
        let mut rule = String::from("\"{\" space ");
        let pair = must.iter().filter_map(|name| pairs.get(*name));
        let musts: Vec<&str> = pair.map(String::as_str).collect();
        rule.push_str(&musts.join(" \",\" space "));
        if !may.is_empty() {
            let firsts = self.optional(&may, &pairs, name);
            rule.push_str(if must.is_empty() {
                " ("
            } else {
                " ( \",\" space ( "
            });
            rule.push_str(&firsts.join(" | "));
            rule.push_str(if must.is_empty() { " )?" } else { " ) )?" });
        }
        rule.push_str(" space \"}\"");
        Ok(rule)
    }

    /// For each property that may be there: that one first, and then any of those behind it.
    #[inline(never)]
    fn optional(
        &mut self,
        may: &[&str],
        pairs: &BTreeMap<String, String>,
        name: &str,
    ) -> Vec<String> {
        let mut firsts = Vec::with_capacity(may.len());
        // What may follow: nothing at the end, else the rule for the rest, which the one before makes.
        let mut rest = String::new();
        for property in may.iter().rev() {
            let pair = pairs.get(*property).map_or("", String::as_str);
            let more = format!("( \",\" space {pair} )");
            let behind = if rest.is_empty() {
                String::new()
            } else {
                format!(" {rest}")
            };
            let many = *property == "*";
            firsts.push(if many {
                format!("{pair} {more}*{behind}")
            } else {
                format!("{pair}{behind}")
            });
            rest = format!("{more}{}{behind}", if many { "*" } else { "?" });
            if firsts.len() < may.len() {
                // Its name is that of the property before it.
                let before = may
                    .get(may.len() - firsts.len() - 1)
                    .copied()
                    .unwrap_or_default();
                rest = self
                    .rules
                    .add(&format!("{}-rest", joined(name, before)), rest);
            }
        }
        firsts.reverse();
        firsts
    }
}

/// A tree of names.
#[derive(Default)]
struct Node {
    /// By their characters, in order.
    children: Vec<(char, usize)>,
}

/// Characters that JSON writes as they are.
fn is_plain(c: char) -> bool {
    !matches!(c, '"' | '\\' | '\x7f' | '\0'..='\x1f')
}

/// Appends a character as a class has it.
fn put(out: &mut String, c: char) {
    match c {
        '-' => out.push_str("\\x2D"),
        '[' => out.push_str("\\x5B"),
        ']' => out.push_str("\\x5D"),
        '^' => out.push_str("\\x5E"),
        c => out.push(c),
    }
}

/// A string of JSON that is none of these names, as a rule. They are compared up to the first character that JSON writes with a
/// backslash.
#[inline(never)]
fn other_names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut nodes = alloc::vec![Node::default()];
    let mut empty = false;
    for name in names {
        empty |= name.is_empty();
        let mut at = 0;
        for c in name.chars().take_while(|c| is_plain(*c)) {
            let new = nodes.len();
            let Some(node) = nodes.get_mut(at) else { break };
            match node.children.binary_search_by_key(&c, |(c, _)| *c) {
                Ok(place) => at = node.children.get(place).map_or(0, |(_, child)| *child),
                Err(place) => {
                    node.children.insert(place, (c, new));
                    nodes.push(Node::default());
                    at = new;
                }
            }
        }
    }
    if nodes.len() == 1 {
        return String::from(if empty {
            r#"["] char+ ["]"#
        } else {
            r#"["] char* ["]"#
        });
    }
    let mut out = String::from("[\"] ( ");
    // Nodes that are being written, and how many of their children are. A stack of its own: names may be long.
    let mut stack = alloc::vec![(0usize, 0usize)];
    while let Some((at, written)) = stack.last_mut() {
        let Some(node) = nodes.get(*at) else { break };
        let Some((c, child)) = node.children.get(*written) else {
            if !node.children.is_empty() {
                out.push_str(r#" | [^"\\\x7F\x00-\x1F"#);
                node.children.iter().for_each(|(c, _)| put(&mut out, *c));
                out.push_str("] char*");
            }
            stack.pop();
            out.push_str(if stack.is_empty() { "" } else { ")" });
            continue;
        };
        out.push_str(if *written > 0 { " | [" } else { "[" });
        put(&mut out, *c);
        *written += 1;
        if nodes
            .get(*child)
            .is_some_and(|child| child.children.is_empty())
        {
            out.push_str("] char+");
        } else {
            out.push_str("] (");
            stack.push((*child, 0));
        }
    }
    out.push_str(if empty { " ) [\"]" } else { " )? [\"]" });
    out
}
