//! Arguments of functions, filters, tests and methods.

use crate::error::Res;
use crate::text::Text;
use crate::value::Value;
use alloc::rc::Rc;
use alloc::vec::Vec;

/// The arguments of a call: those in order, and those with names.
#[derive(Default)]
pub struct Args {
    pub list: Vec<Value>,
    pub named: Vec<(Rc<str>, Value)>,
}

impl Args {
    /// The argument at `at`, or of that name. `none` counts as given.
    pub fn get(&self, at: usize, name: &str) -> Option<&Value> {
        let named = || self.named.iter().find(|(n, _)| &**n == name);
        self.list.get(at).or_else(|| named().map(|(_, v)| v))
    }

    /// An argument that must be there.
    pub fn need(&self, at: usize, name: &str) -> Res<&Value> {
        self.get(at, name)
            .ok_or_else(|| err!("argument '{name}' is missing"))
    }

    /// A string, or `default`.
    pub fn text(&self, at: usize, name: &str, default: &str) -> Res<Text> {
        match self.get(at, name) {
            None => Ok(Text::new(default)),
            Some(Value::Str(text)) => Ok(text.clone()),
            Some(other) => Err(err!(
                "argument '{name}' is {}, expected a string",
                other.kind()
            )),
        }
    }

    /// A string; nothing where it is missing or `none`.
    pub fn optional(&self, at: usize, name: &str) -> Res<Option<Text>> {
        match self.get(at, name) {
            None | Some(Value::None) => Ok(None),
            Some(_) => self.text(at, name, "").map(Some),
        }
    }

    /// An integer, or `default`.
    pub fn int(&self, at: usize, name: &str, default: i64) -> Res<i64> {
        match self.get(at, name) {
            None | Some(Value::None) => Ok(default),
            Some(value) => value
                .as_int()
                .ok_or_else(|| err!("argument '{name}' is {}, expected an integer", value.kind())),
        }
    }

    /// Whether an argument is there and true.
    pub fn flag(&self, at: usize, name: &str) -> bool {
        self.get(at, name).is_some_and(Value::truth)
    }

    /// Refuses more arguments in order than a function has.
    pub fn at_most(&self, count: usize) -> Res<()> {
        match self.list.len() {
            n if n > count => Err(err!("{n} arguments are given, expected at most {count}")),
            _ => Ok(()),
        }
    }
}
