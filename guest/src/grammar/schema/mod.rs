//! JSON schemas as grammars, in GBNF.
//!
//! The text is that of llama.cpp's `common/json-schema-to-grammar.cpp`, rule by rule and name by name, so that what was learned about
//! one holds for the other. What a schema says and no rule is made of (`uniqueItems`, `multipleOf`, ...) is not enforced.
//!
//! This file walks the schema; `rules` keeps the rules, `object`, `all_of` (with `narrower`), `pattern` (with `class`) and `integer` write those that are not short; `pointer` finds what a `$ref` means.

mod all_of;
mod class;
#[cfg(test)]
mod drawn_tests;
mod integer;
mod narrower;
mod object;
mod pattern;
mod pointer;
mod rules;
#[cfg(test)]
mod tests;

use super::Syntax;
use crate::json::{self, Decimal, Kind, Value};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use rules::{Rules, is_reserved};

/// Schemas in one another, references counted.
const MAX_DEPTH: u32 = 64;
/// Schemas visited, which references and types repeat.
const MAX_VISITS: u32 = 20_000;

/// Characters of a pattern in a message, which has to have room for what is wrong.
const MAX_SHOWN: usize = 60;

type Result<T> = core::result::Result<T, Syntax>;

/// The grammar of a schema.
pub fn to_gbnf(text: &str) -> Result<String> {
    let root = json::parse(text).map_err(|e| Syntax::new(e.at, e.expected.into()))?;
    let mut converter = Converter {
        root: &root,
        rules: Rules::new(),
        references: BTreeMap::new(),
        resolving: Vec::new(),
        beside: BTreeMap::new(),
        compared: 0,
        depth: 0,
        visits: 0,
    };
    converter.visit(Schema::of(&root), "")?;
    Ok(converter.rules.write())
}

#[cold]
fn wrong<T>(at: &Value, what: impl Into<String>) -> Result<T> {
    Err(Syntax::new(at.at, what.into()))
}

/// A schema, or one of the types of one.
#[derive(Clone, Copy)]
struct Schema<'a> {
    value: &'a Value,
    /// Instead of its `type`.
    kind: Option<&'a Value>,
    /// Without its `allOf`, which says nothing.
    alone: bool,
}

/// What a schema is, as far as rules differ.
enum Shape<'a> {
    Any,
    Ref(&'a Value),
    AnyOf(Vec<Schema<'a>>),
    AllOf,
    Const(&'a Value),
    Enum(&'a [Value]),
    Object,
    Array,
    Text,
    Integer,
    /// `number`, `boolean` or `null`.
    Primitive(&'static str),
}

struct Converter<'a> {
    root: &'a Value,
    rules: Rules,
    /// The rules of schemas that references led to, by where they stand.
    references: BTreeMap<usize, String>,
    /// Those of them on the way to the schema that is visited: they are named and not there yet.
    resolving: Vec<String>,
    /// The rules of schemas that say something beside alternatives, by where they stand.
    beside: BTreeMap<usize, String>,
    /// Values that were looked at to find the narrower of two schemas.
    compared: usize,
    depth: u32,
    visits: u32,
}

impl<'a> Schema<'a> {
    fn of(value: &'a Value) -> Self {
        Self {
            value,
            kind: None,
            alone: false,
        }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.value.get(key)
    }

    fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// A number that counts something.
    fn count(&self, key: &str) -> Result<Option<u32>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = value.number().map(Decimal::new).filter(Decimal::is_whole);
        let count = number.and_then(|n| u32::try_from(n.round(false)).ok());
        match count.filter(|count| *count < i32::MAX as u32) {
            Some(count) => Ok(Some(count)),
            None => wrong(value, format!("expected {key} to be an integer from 0")),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.text() {
                Some(text) => Ok(Some(text)),
                None => wrong(value, format!("expected {key} to be a string")),
            },
        }
    }

    fn alternatives(&self, key: &str) -> Result<&'a [Value]> {
        let value = self.get(key).unwrap_or(self.value);
        match value.array().filter(|values| !values.is_empty()) {
            Some(values) => Ok(values),
            None => wrong(
                value,
                format!("expected {key} to be an array with something in it"),
            ),
        }
    }

    /// The rule of a format of strings, without `-string`.
    fn format(&self) -> Result<Option<&'static str>> {
        Ok(match self.text("format")? {
            Some("date") => Some("date"),
            Some("time") => Some("time"),
            Some("date-time") => Some("date-time"),
            Some("uuid" | "uuid1" | "uuid2" | "uuid3" | "uuid4" | "uuid5") => Some("uuid"),
            _ => None,
        })
    }

    /// What it is. The order in which keywords are looked at is llama.cpp's.
    #[inline(never)]
    fn shape(&self) -> Result<Shape<'a>> {
        match self.value.kind {
            Kind::Object(_) => {}
            Kind::Bool(true) => return Ok(Shape::Any),
            Kind::Bool(false) => return wrong(self.value, "nothing fits the schema false"),
            _ => {
                let what = "expected a schema, which is an object, true or false";
                return wrong(self.value, what);
            }
        }
        if let Some(reference) = self.get("$ref") {
            return Ok(Shape::Ref(reference));
        }
        if let Some(key) = ["oneOf", "anyOf"].into_iter().find(|key| self.has(key)) {
            let all = self.alternatives(key)?;
            return Ok(Shape::AnyOf(all.iter().map(Schema::of).collect()));
        }
        let kind = self.kind.or_else(|| self.get("type"));
        let kind = kind.filter(|kind| kind.kind != Kind::Null);
        if let Some(types) = kind.and_then(Value::array) {
            self.alternatives("type")?;
            let one = |kind| Schema {
                kind: Some(kind),
                ..*self
            };
            return Ok(Shape::AnyOf(types.iter().map(one).collect()));
        }
        if let Some(value) = self.get("const") {
            return Ok(Shape::Const(value));
        }
        if self.has("enum") {
            return Ok(Shape::Enum(self.alternatives("enum")?));
        }
        match kind.map(|kind| (kind, kind.text())) {
            None | Some((_, Some(""))) => self.untyped(),
            Some((_, Some(name))) => self.typed(name, kind.unwrap_or(self.value)),
            Some((value, None)) => {
                wrong(value, "expected type to be a string or an array of strings")
            }
        }
    }

    fn has_properties(&self) -> bool {
        let additional = self.get("additionalProperties");
        self.has("properties") || additional.is_some_and(|v| v.kind != Kind::Bool(true))
    }

    fn has_all_of(&self) -> bool {
        !self.alone && self.has("allOf")
    }

    /// Whether it is `false`, which nothing fits.
    fn is_never(&self) -> bool {
        self.value.kind == Kind::Bool(false)
    }

    fn untyped(&self) -> Result<Shape<'a>> {
        let text = ["pattern", "minLength", "maxLength"];
        Ok(if self.has_all_of() {
            Shape::AllOf
        } else if self.has_properties() {
            Shape::Object
        } else if self.has("items") || self.has("prefixItems") {
            Shape::Array
        } else if text.iter().any(|key| self.has(key)) || self.format()?.is_some() {
            Shape::Text
        } else {
            Shape::Any
        })
    }

    fn typed(&self, name: &str, value: &Value) -> Result<Shape<'a>> {
        Ok(match name {
            "object" | "string" if self.has_all_of() => Shape::AllOf,
            "object" => Shape::Object,
            "string" => Shape::Text,
            "array" => Shape::Array,
            "integer" => Shape::Integer,
            "number" => Shape::Primitive("number"),
            "boolean" => Shape::Primitive("boolean"),
            "null" => Shape::Primitive("null"),
            _ => {
                let known = "object, array, string, integer, number, boolean or null";
                return wrong(value, format!("unknown type '{name}', expected {known}"));
            }
        })
    }
}

/// The name of a part of a rule's.
fn joined(name: &str, part: &str) -> String {
    let dash = if name.is_empty() { "" } else { "-" };
    format!("{name}{dash}{part}")
}

impl<'a> Converter<'a> {
    /// Adds the rules of a schema, and returns the name of its own.
    fn visit(&mut self, schema: Schema<'a>, name: &str) -> Result<String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return wrong(
                schema.value,
                format!("expected at most {MAX_DEPTH} schemas in one another"),
            );
        }
        self.visited(schema.value)?;
        let rule_name = match name {
            "" => String::from("root"),
            name if is_reserved(name) => format!("{name}-"),
            name => name.into(),
        };
        let added = self.shaped(schema, name, &rule_name)?;
        self.depth -= 1;
        self.rules
            .bounded()
            .or_else(|what| wrong(schema.value, what))?;
        Ok(added)
    }

    /// One more schema was visited.
    fn visited(&mut self, value: &Value) -> Result<()> {
        self.visits += 1;
        match self.visits > MAX_VISITS {
            true => wrong(
                value,
                format!("the schema comes to more than {MAX_VISITS} schemas"),
            ),
            false => Ok(()),
        }
    }

    fn shaped(&mut self, schema: Schema<'a>, name: &str, rule_name: &str) -> Result<String> {
        if let Some(rule) = self.beside(schema, name, rule_name)? {
            return Ok(rule);
        }
        let rule = match schema.shape()? {
            Shape::Any => self.rules.primitive("value"),
            Shape::Ref(reference) => self.reference(reference)?,
            Shape::AnyOf(all) => self.union(&all, name)?,
            Shape::AllOf => return self.all_of(schema, name, rule_name),
            Shape::Const(value) => rules::constant(value),
            Shape::Enum(values) => {
                let values: Vec<String> = values.iter().map(rules::constant).collect();
                format!("({})", values.join(" | "))
            }
            Shape::Object => self.object(schema, name)?,
            Shape::Array => match self.array(schema, name)? {
                Some(rule) => rule,
                None => return Ok(self.rules.primitive_as(rule_name, "array")),
            },
            Shape::Text => return self.string(schema, rule_name),
            Shape::Integer => match integer::rule(schema)? {
                Some(rule) => rule,
                None => return Ok(self.rules.primitive_as(rule_name, "integer")),
            },
            Shape::Primitive(kind) => return Ok(self.rules.primitive_as(rule_name, kind)),
        };
        Ok(self.rules.add(rule_name, rule))
    }

    #[inline(never)]
    fn union(&mut self, all: &[Schema<'a>], name: &str) -> Result<String> {
        let stem = if name.is_empty() { "alternative" } else { name };
        let mut names = Vec::with_capacity(all.len());
        let possible = all.iter().enumerate().filter(|(_, one)| !one.is_never());
        for (i, schema) in possible {
            names.push(self.visit(*schema, &format!("{stem}-{i}"))?);
        }
        match all.first().filter(|_| names.is_empty()) {
            Some(first) => wrong(first.value, "nothing fits: every alternative is false"),
            None => Ok(names.join(" | ")),
        }
    }

    /// The schema that a reference means.
    #[inline(never)]
    fn target(&self, reference: &'a Value) -> Result<(&'a str, &'a Value)> {
        let Some(path) = reference.text() else {
            return wrong(reference, "expected $ref to be a string");
        };
        match pointer::find(self.root, path) {
            Ok(value) => Ok((path, value)),
            Err(what) => wrong(reference, what),
        }
    }

    #[inline(never)]
    fn reference(&mut self, reference: &'a Value) -> Result<String> {
        let (path, target) = self.target(reference)?;
        let fragment = path.get(1..).unwrap_or_default();
        if fragment.is_empty() {
            return Ok(String::from("root"));
        }
        if let Some(name) = self.references.get(&target.at) {
            return Ok(name.clone());
        }
        let stem = rules::escaped(&format!("ref{fragment}"));
        let (mut name, mut number) = (stem.clone(), self.references.len());
        // Names with other signs in them may look alike.
        while self.rules.has(&name) || self.resolving.contains(&name) {
            self.visited(target)?;
            name = format!("{stem}{number}");
            number += 1;
        }
        self.references.insert(target.at, name.clone());
        self.resolving.push(name.clone());
        let added = self.visit(Schema::of(target), &name)?;
        self.resolving.pop();
        self.references.insert(target.at, added.clone());
        Ok(added)
    }

    /// A string, by its pattern, format or length.
    #[inline(never)]
    fn string(&mut self, schema: Schema<'a>, rule_name: &str) -> Result<String> {
        let pattern = schema
            .text("pattern")?
            .filter(|pattern| !pattern.is_empty());
        let format = schema.format()?;
        let (min, max) = (schema.count("minLength")?, schema.count("maxLength")?);
        if let Some(pattern) = pattern {
            let added = pattern::rule(&mut self.rules, pattern, rule_name);
            let at = schema.get("pattern").unwrap_or(schema.value);
            return added.or_else(|what| {
                let start: String = pattern.chars().take(MAX_SHOWN).collect();
                let more = if start.len() < pattern.len() {
                    "..."
                } else {
                    ""
                };
                wrong(at, format!("the pattern {start}{more} has {what}"))
            });
        }
        match format {
            Some("uuid") => Ok(self.rules.primitive_as(rule_name, "uuid")),
            Some(format) => {
                let rule = self.rules.primitive(&format!("{format}-string"));
                Ok(self.rules.add(rule_name, rule))
            }
            None if min.unwrap_or(0) > 0 || max.is_some() => {
                self.check_range(schema, min, max)?;
                let char = self.rules.primitive("char");
                let many = rules::repetition(&char, min.unwrap_or(0), max, "");
                Ok(self
                    .rules
                    .add(rule_name, format!("\"\\\"\" {many} \"\\\"\"")))
            }
            None => Ok(self.rules.primitive_as(rule_name, "string")),
        }
    }

    fn check_range(&self, schema: Schema<'a>, min: Option<u32>, max: Option<u32>) -> Result<()> {
        match (min, max) {
            (Some(min), Some(max)) if min > max => wrong(
                schema.value,
                format!("the least is {min} and the most is {max}: nothing fits"),
            ),
            _ => Ok(()),
        }
    }

    /// An array; None if anything may be in it.
    #[inline(never)]
    fn array(&mut self, schema: Schema<'a>, name: &str) -> Result<Option<String>> {
        let tuple = schema.get("prefixItems").filter(|v| v.array().is_some());
        let items = ["items", "prefixItems"]
            .iter()
            .find_map(|key| schema.get(key));
        let items = tuple.or(items);
        if let Some(tuple) = items.and_then(Value::array) {
            let mut rules = Vec::with_capacity(tuple.len());
            for (i, item) in tuple.iter().enumerate() {
                let name = joined(name, &format!("tuple-{i}"));
                rules.push(self.visit(Schema::of(item), &name)?);
            }
            let rules = rules.join(" \",\" space ");
            return Ok(Some(format!("\"[\" space {rules} space \"]\"")));
        }
        let (min, max) = (schema.count("minItems")?, schema.count("maxItems")?);
        self.check_range(schema, min, max)?;
        let min = min.unwrap_or(0);
        let items = items.map(Schema::of);
        if let Some(items) = items.filter(|items| items.is_never() && min == 0) {
            self.visited(items.value)?;
            return Ok(Some(String::from("\"[\" space \"]\"")));
        }
        let any = match &items {
            Some(items) => matches!(items.shape()?, Shape::Any),
            None => true,
        };
        if any && min == 0 && max.is_none() {
            return Ok(None);
        }
        let item = match items {
            Some(items) => self.visit(items, &joined(name, "item"))?,
            None => {
                let value = self.rules.primitive("value");
                self.rules.add(&joined(name, "item"), value)
            }
        };
        let many = rules::repetition(&item, min, max, "\",\" space");
        Ok(Some(format!("\"[\" space {many} space \"]\"")))
    }
}
