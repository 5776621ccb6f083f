//! What a template computes with: Python's values, as far as templates use them.

use crate::error::{Budget, Limits, MAX_DEPTH, Res};
use crate::text::Text;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

/// A value.
#[derive(Clone)]
pub enum Value {
    /// What is not there, and its name for whoever trips over it.
    Undefined(Option<Rc<str>>),
    /// `none`
    None,
    /// `true`, `false`
    Bool(bool),
    /// An integer. Larger ones are errors.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Str(Text),
    /// A list, tuple or generator.
    Seq(Rc<Seq>),
    /// A dict.
    Dict(Rc<Dict>),
    /// What only the interpreter makes.
    #[doc(hidden)]
    Object(Object),
}

/// What kind of sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeqKind {
    /// `[…]`
    List,
    /// `(…)`
    Tuple,
    /// What filters such as `map` give: always true, and empty once it was read.
    Generator,
}

/// A sequence.
pub struct Seq {
    /// Its kind.
    pub kind: SeqKind,
    /// Its elements.
    pub items: RefCell<Vec<Value>>,
    depth: Cell<u8>,
}

/// A key and its value.
type Item = (Value, Value);

/// From so many keys on a dict has an index.
const INDEXED: usize = 16;

/// Keys and values, in the order in which they came.
#[derive(Default)]
pub struct Dict {
    items: RefCell<Vec<Item>>,
    /// Where the keys that are strings are in `items`, sorted by these; empty as long as there are few. It is no hash table, which
    /// data could be made up for: whatever the keys, each is found in few steps.
    index: RefCell<Vec<u32>>,
    depth: Cell<u8>,
}

/// What a namespace holds, by name.
pub type Fields = Vec<(Rc<str>, Value)>;

/// Values that stand for something in the interpreter. They cannot be elements of lists and dicts.
#[derive(Clone)]
pub enum Object {
    /// `namespace(…)`
    Namespace(Rc<RefCell<Fields>>),
    /// `loop`
    Loop(Rc<Loop>),
    /// A macro, or `caller`.
    Macro(Rc<MacroRef>),
    /// A function of the library, by name.
    Function(&'static str),
    /// A method that was not called, by name.
    Method(Rc<str>),
    /// `cycler(…)`
    Cycler(Rc<(Vec<Value>, Cell<usize>)>),
    /// `joiner(…)`
    Joiner(Rc<(Text, Cell<bool>)>),
}

/// A loop that is running.
pub struct Loop {
    /// What it goes over.
    pub items: Vec<Value>,
    /// Elements begun.
    pub next: Cell<usize>,
    /// Whether the body ever came to its end.
    pub done: Cell<bool>,
    /// How many loops of its own it is in, if it is recursive.
    pub depth0: usize,
    /// What `loop.changed` saw last.
    pub changed: RefCell<Option<Value>>,
    /// If it is recursive, where its code begins.
    pub entry: Option<usize>,
    /// What its body sees: variables of this frame, up to this one.
    pub home: (usize, u32, usize),
}

/// A macro where it was defined.
pub struct MacroRef {
    /// Which of the code's macros.
    pub index: usize,
    /// What it is called.
    pub name: Rc<str>,
    /// Frame and its serial number, and how many scopes were open in it.
    pub home: (usize, u32, usize),
}

/// How deep a value is nested; refuses what no list can hold.
fn depth(value: &Value) -> Res<u8> {
    match value {
        Value::Seq(seq) => Ok(seq.depth.get()),
        Value::Dict(dict) => Ok(dict.depth.get()),
        Value::Object(_) => Err(err!(
            "{} cannot be put into an array or object",
            value.kind()
        )),
        _ => Ok(0),
    }
}

/// What it is nested in is one deeper.
fn deeper(at: &Cell<u8>, value: &Value) -> Res<()> {
    let depth = depth(value)? + 1;
    if depth > MAX_DEPTH {
        return Err(err!("data is nested more than {MAX_DEPTH} deep"));
    }
    at.set(at.get().max(depth));
    Ok(())
}

impl Seq {
    /// Takes one more element. What is in it is copied, so that nothing ever holds itself.
    pub(crate) fn insert(&self, at: usize, value: &Value, budget: &Budget) -> Res<()> {
        let value = value.snapshot(0, budget)?;
        deeper(&self.depth, &value)?;
        let mut items = self.items.borrow_mut();
        if items.try_reserve(1).is_err() {
            return Err(crate::error::no_memory());
        }
        let at = at.min(items.len());
        items.insert(at, value);
        Ok(())
    }

    /// The elements: what a generator had is gone then.
    pub(crate) fn take(&self, budget: &Budget) -> Res<Vec<Value>> {
        if self.kind == SeqKind::Generator {
            return Ok(self.items.take());
        }
        budget.list::<Value>(self.items.borrow().len())?;
        Ok(self.items.borrow().clone())
    }
}

/// The key, if it is a string.
fn name(item: &Item) -> Option<&str> {
    item.0.as_text().map(Text::as_str)
}

fn name_at(items: &[Item], at: u32) -> Option<&str> {
    items.get(at as usize).and_then(name)
}

impl Dict {
    /// Where a key is.
    fn find(&self, items: &[Item], key: &Value, budget: &Budget) -> Option<usize> {
        match key {
            // With few keys as with many, the text is looked at a few times.
            Value::Str(text) => match budget.take(1 + text.as_str().len() / 16) {
                true => self.find_str(items, text.as_str()),
                false => None,
            },
            _ => items.iter().position(|(k, _)| k.same(key, budget)),
        }
    }

    fn find_str(&self, items: &[Item], key: &str) -> Option<usize> {
        let index = self.index.borrow();
        if index.is_empty() {
            return items.iter().position(|item| name(item) == Some(key));
        }
        let found = index.binary_search_by(|at| name_at(items, *at).cmp(&Some(key)));
        found.ok().and_then(|at| Some(*index.get(at)? as usize))
    }

    /// Takes the last item into the index.
    fn note(&self, items: &[Item]) -> Res<()> {
        let mut index = self.index.borrow_mut();
        let last = items.len().saturating_sub(1) as u32;
        let key = name_at(items, last);
        if !index.is_empty() && key.is_some() {
            if index.try_reserve(1).is_err() {
                return Err(crate::error::no_memory());
            }
            let at = index.partition_point(|at| name_at(items, *at) < key);
            index.insert(at, last);
        } else if items.len() == INDEXED || (items.len() > INDEXED && key.is_some()) {
            for at in 0..=last {
                if name_at(items, at).is_some() {
                    crate::error::push(&mut index, at)?;
                }
            }
            index.sort_unstable_by(|a, b| name_at(items, *a).cmp(&name_at(items, *b)));
        }
        Ok(())
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &Value, budget: &Budget) -> Option<Value> {
        let items = self.items.borrow();
        let at = self.find(&items, key, budget)?;
        items.get(at).map(|(_, v)| v.clone())
    }

    /// The value of a key that is a string.
    pub fn get_str(&self, key: &str) -> Option<Value> {
        let items = self.items.borrow();
        let at = self.find_str(&items, key)?;
        items.get(at).map(|(_, v)| v.clone())
    }

    /// Sets the value of a key; a new one comes last.
    ///
    /// # Errors
    /// The key is a list or dict, or the value would be nested too deeply.
    pub(crate) fn set(&self, key: Value, value: Value, budget: &Budget) -> Res<()> {
        match &key {
            Value::Dict(_) | Value::Object(_) => {
                return Err(err!("{} cannot be a key", key.kind()));
            }
            Value::Seq(seq) if seq.kind != SeqKind::Tuple => {
                return Err(err!("{} cannot be a key", key.kind()));
            }
            _ => {}
        }
        deeper(&self.depth, &key)?;
        deeper(&self.depth, &value)?;
        let mut items = self.items.borrow_mut();
        let at = self.find(&items, &key, budget);
        if let Some(item) = at.and_then(|at| items.get_mut(at)) {
            item.1 = value;
            return Ok(());
        }
        crate::error::push(&mut items, (key, value))?;
        self.note(&items)
    }

    /// Sets the value of a key that is a string.
    ///
    /// # Errors
    /// As [`Dict::set`].
    pub fn set_str(&self, key: &str, value: Value) -> Res<()> {
        crate::error::room(crate::error::CUSHION)?;
        self.set(Value::text(key), value, &Budget::new(Limits::default()))
    }

    /// Sets the value of a key to a copy, so that nothing ever holds itself.
    pub(crate) fn put(&self, key: Value, value: &Value, budget: &Budget) -> Res<()> {
        self.set(key, value.snapshot(0, budget)?, budget)
    }

    /// Takes a key out.
    pub(crate) fn remove(&self, key: &Value, budget: &Budget) -> Option<Value> {
        let mut items = self.items.borrow_mut();
        let at = self.find(&items, key, budget)?;
        // What is behind it moves up.
        budget.take(items.len() / 8);
        let gone = at as u32;
        let mut index = self.index.borrow_mut();
        index.retain(|at| *at != gone);
        for at in index.iter_mut().filter(|at| **at > gone) {
            *at -= 1;
        }
        Some(items.remove(at).1)
    }

    /// Takes all out.
    pub(crate) fn clear(&self) {
        self.index.take();
        self.items.take();
    }

    /// Keys and values, in order.
    pub fn items(&self) -> Vec<Item> {
        self.items.borrow().clone()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.items.borrow().len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Value {
    /// A string of the template's.
    pub fn text(text: &str) -> Self {
        Self::Str(Text::new(text))
    }

    /// A string of the data's.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn user(text: &str) -> Res<Self> {
        crate::error::room(crate::error::CUSHION + text.len())?;
        Ok(Self::Str(Text::user(text)))
    }

    /// A sequence.
    ///
    /// # Errors
    /// It would be nested too deeply, or an element cannot be one.
    pub fn seq(kind: SeqKind, items: Vec<Self>) -> Res<Self> {
        let at = Cell::new(1);
        for item in &items {
            deeper(&at, item)?;
        }
        Ok(Self::Seq(Rc::new(Seq {
            kind,
            items: RefCell::new(items),
            depth: at,
        })))
    }

    /// A list.
    ///
    /// # Errors
    /// As [`Value::seq`].
    pub fn list(items: Vec<Self>) -> Res<Self> {
        Self::seq(SeqKind::List, items)
    }

    /// A tuple of two.
    pub(crate) fn pair((a, b): (Self, Self)) -> Res<Self> {
        Self::seq(SeqKind::Tuple, [a, b].into())
    }

    /// A dict.
    pub fn dict(dict: Dict) -> Self {
        dict.depth.set(dict.depth.get().max(1));
        Self::Dict(Rc::new(dict))
    }

    /// The same, with lists and dicts of its own.
    fn snapshot(&self, depth: u8, budget: &Budget) -> Res<Self> {
        budget.spend(1)?;
        if depth > MAX_DEPTH {
            return Err(err!("data is nested more than {MAX_DEPTH} deep"));
        }
        match self {
            Self::Seq(seq) => {
                let items = seq.take(budget)?;
                let items: Res<Vec<_>> = items
                    .iter()
                    .map(|v| v.snapshot(depth + 1, budget))
                    .collect();
                Self::seq(seq.kind, items?)
            }
            Self::Dict(dict) => {
                budget.list::<Item>(dict.len())?;
                let copy = Dict::default();
                for (key, value) in dict.items() {
                    copy.set(key, value.snapshot(depth + 1, budget)?, budget)?;
                }
                Ok(Self::dict(copy))
            }
            other => Ok(other.clone()),
        }
    }

    /// Whether it counts as true.
    pub fn truth(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(b) => *b,
            Self::Int(n) => *n != 0,
            Self::Float(f) => *f != 0.0,
            Self::Str(text) => !text.as_str().is_empty(),
            Self::Seq(seq) => seq.kind == SeqKind::Generator || !seq.items.borrow().is_empty(),
            Self::Dict(dict) => !dict.is_empty(),
            Self::Object(_) => true,
        }
    }

    /// What it is, in JSON's words where JSON has it, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "what is undefined",
            Self::None => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Str(_) => "a string",
            Self::Seq(_) => "an array",
            Self::Dict(_) => "an object",
            Self::Object(object) => match object {
                Object::Namespace(_) => "a namespace",
                Object::Loop(_) => "a loop",
                Object::Macro(_) => "a macro",
                Object::Function(_) => "a function",
                Object::Method(_) => "a method",
                Object::Cycler(_) => "a cycler",
                Object::Joiner(_) => "a joiner",
            },
        }
    }

    /// An integer, or a truth value as one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            Self::Bool(b) => Some(i64::from(*b)),
            _ => None,
        }
    }

    /// A number as float.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(f) => Some(*f),
            _ => self.as_int().map(|n| n as f64),
        }
    }

    /// The string, if it is one.
    pub fn as_text(&self) -> Option<&Text> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Python's `==`. When the budget runs out nothing is equal any more, and whoever asks for more of it fails.
    pub(crate) fn same(&self, other: &Self, budget: &Budget) -> bool {
        if !budget.take(1) {
            return false;
        }
        match (self, other) {
            (Self::Str(a), Self::Str(b)) => {
                let bytes = a.as_str().len();
                bytes == b.as_str().len() && budget.take(bytes / 64) && a == b
            }
            (Self::Undefined(_), Self::Undefined(_)) | (Self::None, Self::None) => true,
            (Self::Seq(a), Self::Seq(b)) => {
                if Rc::ptr_eq(a, b) {
                    return true;
                }
                let (x, y) = (a.items.borrow(), b.items.borrow());
                a.kind == b.kind
                    && x.len() == y.len()
                    && x.iter().zip(y.iter()).all(|(a, b)| a.same(b, budget))
            }
            (Self::Dict(a), Self::Dict(b)) => {
                if Rc::ptr_eq(a, b) {
                    return true;
                }
                let items = a.items.borrow();
                let there = |(k, v): &(Self, Self)| {
                    b.get(k, budget).is_some_and(|other| v.same(&other, budget))
                };
                items.len() == b.len() && items.iter().all(there)
            }
            (Self::Object(Object::Namespace(a)), Self::Object(Object::Namespace(b))) => {
                Rc::ptr_eq(a, b)
            }
            (Self::Object(Object::Macro(a)), Self::Object(Object::Macro(b))) => Rc::ptr_eq(a, b),
            _ => match (self.as_int(), other.as_int()) {
                (Some(a), Some(b)) => a == b,
                _ => match (self.as_float(), other.as_float()) {
                    (Some(a), Some(b)) => a == b,
                    _ => false,
                },
            },
        }
    }
}
