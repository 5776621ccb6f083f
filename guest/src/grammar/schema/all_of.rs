//! `allOf`: the properties of all members together, or what their enumerations share; and properties beside `$ref`, `oneOf` or
//! `anyOf`, which are as if each alternative had them, too.

use super::object::{self, ANYTHING};
use super::{Converter, MAX_DEPTH, Result, Schema, Shape, rules, wrong};
use crate::json::{Kind, Value};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What is said of one value by several schemas.
#[derive(Default)]
struct Members<'a> {
    /// Those that say something, as they were written and where their references lead.
    all: Vec<(Schema<'a>, Schema<'a>)>,
    /// Names of properties that any of them requires.
    required: Vec<&'a Value>,
    objects: usize,
    values: usize,
}

/// What the members add up to, if they are objects.
#[derive(Default)]
struct Parts<'a> {
    properties: Vec<(&'a str, Schema<'a>)>,
    /// Where a property is in them.
    places: BTreeMap<&'a str, usize>,
    required: BTreeSet<&'a str>,
    /// One of them has no other properties.
    closed: bool,
    /// Of two schemas of one property of which none says plainly more, the last counts.
    last_counts: bool,
}

impl<'a> Converter<'a> {
    #[inline(never)]
    pub(super) fn all_of(
        &mut self,
        schema: Schema<'a>,
        name: &str,
        rule_name: &str,
    ) -> Result<String> {
        let mut members = Members::default();
        self.gather(schema, &mut members)?;
        let own = schema.has_properties();
        let alone = Schema {
            alone: true,
            ..schema
        };
        let more = own || !members.required.is_empty();
        match members.all.as_slice() {
            [] if members.required.is_empty() => self.shaped(alone, name, rule_name),
            [(member, target)] if !more => match target.shape()? {
                // Written out, as in llama.cpp.
                Shape::Enum(_) | Shape::Const(_) => self.visit(*target, name),
                _ => self.visit(*member, name),
            },
            all if members.objects == all.len() && (more || all.len() > 1) => {
                let rule = self.merged(schema, &members, name)?;
                Ok(self.rules.add(rule_name, rule))
            }
            all if own => {
                let at = all.first().map_or(schema.value, |(member, _)| member.value);
                wrong(
                    at,
                    "expected an object in this allOf, because it is beside properties",
                )
            }
            all if members.values == all.len() && all.len() > 1 => {
                let rule = shared(schema, all)?;
                Ok(self.rules.add(rule_name, rule))
            }
            [(first, target), rest @ ..] => {
                for (other, value) in rest {
                    if !same(target.value, value.value) {
                        let what = "expected members of allOf that are all objects, all enumerations, or equal: no rule can be made of both this one and the first";
                        return wrong(other.value, what);
                    }
                }
                self.visit(*first, name)
            }
            [] => self.shaped(alone, name, rule_name),
        }
    }

    /// The members of a schema, those of members that are `allOf` themselves as well.
    fn gather(&mut self, schema: Schema<'a>, members: &mut Members<'a>) -> Result<()> {
        members.required.extend(object::required(schema));
        let mut todo: Vec<&'a Value> = schema.alternatives("allOf")?.iter().rev().collect();
        while let Some(value) = todo.pop() {
            let member = Schema::of(value);
            let target = self.resolved(member)?;
            let object = match target.shape()? {
                Shape::Any => {
                    members.required.extend(object::required(target));
                    continue;
                }
                Shape::AllOf if !target.has_properties() => {
                    members.required.extend(object::required(target));
                    todo.extend(target.alternatives("allOf")?.iter().rev());
                    continue;
                }
                Shape::AllOf => {
                    todo.extend(target.alternatives("allOf")?.iter().rev());
                    true
                }
                Shape::Object => true,
                Shape::AnyOf(all) => self.are_objects(all)?,
                Shape::Enum(_) | Shape::Const(_) => {
                    members.values += 1;
                    false
                }
                _ => false,
            };
            members.objects += usize::from(object);
            members.all.push((member, target));
        }
        Ok(())
    }

    /// Whether all alternatives are objects, or say nothing.
    fn are_objects(&mut self, all: Vec<Schema<'a>>) -> Result<bool> {
        for schema in all {
            if !matches!(self.resolved(schema)?.shape()?, Shape::Object | Shape::Any) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Where the references of a schema lead.
    fn resolved(&mut self, schema: Schema<'a>) -> Result<Schema<'a>> {
        let chain = self.chain(schema)?;
        Ok(chain.last().copied().unwrap_or(schema))
    }

    /// A schema and those that its references lead to, one after the other.
    pub(super) fn chain(&mut self, mut schema: Schema<'a>) -> Result<Vec<Schema<'a>>> {
        let mut chain = Vec::with_capacity(1);
        for _ in 0..MAX_DEPTH {
            self.visited(schema.value)?;
            chain.push(schema);
            let Some(reference) = schema.get("$ref") else {
                return Ok(chain);
            };
            let (_, target) = self.target(reference)?;
            schema = Schema::of(target);
        }
        wrong(schema.value, "expected a $ref that ends somewhere")
    }

    /// The rule of an object with the properties of all members, and its own.
    fn merged(&mut self, schema: Schema<'a>, members: &Members<'a>, name: &str) -> Result<String> {
        let mut parts = Parts::default();
        self.component(schema, false, &mut parts)?;
        for (_, member) in &members.all {
            match member.shape()? {
                Shape::AnyOf(alternatives) => {
                    for alternative in alternatives {
                        let alternative = self.resolved(alternative)?;
                        self.component(alternative, false, &mut parts)?;
                    }
                }
                _ => self.component(*member, true, &mut parts)?,
            }
        }
        parts.require(members.required.iter().copied())?;
        self.properties(&parts.properties, &parts.required, name, None)
    }

    /// Adds the rule of a schema that says of objects what is beside `$ref`, `oneOf` or `anyOf`. None where there is no such thing, or
    /// an alternative that is no object.
    #[inline(never)]
    pub(super) fn beside(
        &mut self,
        schema: Schema<'a>,
        name: &str,
        rule_name: &str,
    ) -> Result<Option<String>> {
        if schema.kind.is_some()
            || (!schema.has("properties") && object::required(schema).next().is_none())
        {
            return Ok(None);
        }
        if let Some(known) = self.beside.get(&schema.value.at) {
            return Ok(Some(known.clone()));
        }
        let key = ["$ref", "oneOf", "anyOf"]
            .into_iter()
            .find(|key| schema.has(key));
        let alternatives: Vec<Schema<'a>> = match key {
            None => return Ok(None),
            Some("$ref") => [schema].into(),
            Some(key) => schema.alternatives(key)?.iter().map(Schema::of).collect(),
        };
        let mut chains = Vec::with_capacity(alternatives.len());
        for (i, one) in alternatives.into_iter().enumerate() {
            if one.is_never() {
                continue;
            }
            let mut chain = self.chain(one)?;
            let target = chain.last().copied().unwrap_or(one);
            if !matches!(target.shape()?, Shape::Object | Shape::Any) {
                return Ok(None);
            }
            if key != Some("$ref") {
                chain.insert(0, schema);
            }
            chains.push((i, chain));
        }
        // Named before it is made: what it is made of may lead to it again.
        let rule_name = self.rules.reserve(rule_name);
        self.beside.insert(schema.value.at, rule_name.clone());
        let rule = self.each_of(schema, &chains, name)?;
        self.rules.define(&rule_name, rule);
        Ok(Some(rule_name))
    }

    /// The alternatives, each of which is what several schemas say together, the last of them most.
    #[inline(never)]
    fn each_of(
        &mut self,
        schema: Schema<'a>,
        chains: &[(usize, Vec<Schema<'a>>)],
        name: &str,
    ) -> Result<String> {
        let stem = if name.is_empty() { "alternative" } else { name };
        let mut rules = Vec::with_capacity(chains.len());
        let mut nothing = wrong(schema.value, "nothing fits: every alternative is false");
        for (i, chain) in chains {
            let mut parts = Parts {
                last_counts: true,
                ..Parts::default()
            };
            for one in chain {
                self.component(*one, false, &mut parts)?;
            }
            let required = chain.iter().flat_map(|one| object::required(*one));
            if let Err(why) = parts.require(required) {
                // Nothing fits this one. Others may do.
                nothing = Err(why);
                continue;
            }
            let name = format!("{stem}-{i}");
            let rule = self.properties(&parts.properties, &parts.required, &name, None)?;
            rules.push(self.rules.add(&name, rule));
        }
        match rules.is_empty() {
            true => nothing,
            false => Ok(rules.join(" | ")),
        }
    }

    fn component(
        &mut self,
        schema: Schema<'a>,
        required: bool,
        parts: &mut Parts<'a>,
    ) -> Result<()> {
        for (name, property) in object::of(schema)? {
            self.visited(property.value)?;
            self.add(name, property, parts)?;
            if required {
                parts.required.insert(name);
            }
        }
        let additional = schema.get("additionalProperties");
        parts.closed |= additional.is_some_and(|value| value.kind == Kind::Bool(false));
        Ok(())
    }

    /// One more property. Of two schemas of one, that counts which says more.
    fn add(&mut self, name: &'a str, property: Schema<'a>, parts: &mut Parts<'a>) -> Result<()> {
        let last_counts = parts.last_counts;
        let Some(known) = parts.known(name) else {
            parts.push(name, property);
            return Ok(());
        };
        if self.is_within(*known, property)? {
            return Ok(());
        }
        if last_counts || self.is_within(property, *known)? {
            *known = property;
            return Ok(());
        }
        wrong(
            property.value,
            format!(
                "expected no other schema of '{name}' than the one that is said of it before in the same allOf, or one that plainly allows less or more"
            ),
        )
    }
}

impl<'a> Parts<'a> {
    /// What must be there. A name that is not known may be anything.
    fn require(&mut self, names: impl Iterator<Item = &'a Value>) -> Result<()> {
        for value in names {
            let Some(property) = value.text() else {
                continue;
            };
            self.required.insert(property);
            match self.known(property).copied() {
                Some(known) if known.is_never() => return object::never(known.value, property),
                Some(_) => {}
                None if self.closed => return object::missing(value, property),
                None => self.push(property, Schema::of(&ANYTHING)),
            }
        }
        Ok(())
    }

    /// The schema of a property.
    fn known(&mut self, name: &str) -> Option<&mut Schema<'a>> {
        let place = self.places.get(name)?;
        self.properties.get_mut(*place).map(|(_, schema)| schema)
    }

    /// A property that is not known.
    fn push(&mut self, name: &'a str, property: Schema<'a>) {
        self.places.insert(name, self.properties.len());
        self.properties.push((name, property));
    }
}

/// The rule of the values that all members have.
fn shared(schema: Schema<'_>, all: &[(Schema<'_>, Schema<'_>)]) -> Result<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (_, member) in all {
        let values: BTreeSet<String> = match member.shape()? {
            Shape::Enum(values) => values.iter().map(rules::constant).collect(),
            Shape::Const(value) => [rules::constant(value)].into(),
            _ => BTreeSet::new(),
        };
        for value in values {
            *counts.entry(value).or_insert(0) += 1;
        }
    }
    let shared = counts.iter().filter(|(_, count)| **count == all.len());
    let shared: Vec<&str> = shared.map(|(value, _)| value.as_str()).collect();
    if shared.is_empty() {
        return wrong(
            schema.value,
            "the members of allOf share no value: nothing fits",
        );
    }
    Ok(format!("({})", shared.join(" | ")))
}

/// Whether two values are written alike, wherever they stand.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    if core::ptr::eq(a, b) {
        return true;
    }
    match (&a.kind, &b.kind) {
        (Kind::Array(a), Kind::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Kind::Object(a), Kind::Object(b)) => {
            let pair =
                |((m, a), (n, b)): (&(String, Value), &(String, Value))| m == n && same(a, b);
            a.len() == b.len() && a.iter().zip(b).all(pair)
        }
        (a, b) => a == b,
    }
}
