//! What a grammar is compiled to: a recursive transition network over bytes.
//!
//! Characters are spelled out in UTF-8, so that a token may end inside one and nothing else has to know. A rule is a
//! stretch of operations that ends with a return. A counted repetition is one operation and a number, not copies, so
//! that `{0,1000000}` costs what `{0,1}` does.

use super::index::Index;
use alloc::vec::Vec;

/// One operation. Numbers of operations are absolute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Takes one byte of this set, then goes on.
    Bytes(u32),
    /// Takes this token as a whole, then goes on.
    Token(u32),
    /// Takes any token but this one.
    NotToken(u32),
    /// Goes on there, always further on: so chains of them end.
    Goto(u32),
    /// Goes on at both.
    Split(u32, u32),
    /// Matches this target first.
    Call(u32),
    /// Matches the target of this loop as often as it says.
    Loop(u32),
    /// The target has been matched.
    Return,
    /// The whole text has been matched.
    Accept,
}

/// A counted repetition.
#[derive(Clone, Copy, Debug)]
pub struct Loop {
    /// What is repeated.
    pub target: u32,
    /// At least so often; 0 if the target can be empty.
    pub min: u32,
    /// At most so often.
    pub max: u32,
}

/// No end to a repetition.
pub const ENDLESS: u32 = u32::MAX;
/// Operations of a grammar.
pub const MAX_OPS: usize = 1 << 17;
/// Operations that [`Code::insert`] moves in all.
const MAX_MOVED: usize = 8 * MAX_OPS;
/// A target that has no place yet.
pub const NOWHERE: u32 = u32::MAX;

/// A set of bytes.
pub type Set = [u32; 8];

/// A compiled grammar. It begins at operation 0.
pub struct Code {
    pub(super) ops: Vec<Op>,
    /// Where what is called begins: rules and bodies of loops.
    pub(super) targets: Vec<u32>,
    pub(super) loops: Vec<Loop>,
    sets: Vec<Set>,
    known: Index,
    /// Operations that were moved.
    moved: usize,
    /// Bytes that no set tells apart have the same class.
    classes: [u8; 256],
    n_classes: usize,
    /// A byte of each class.
    of_class: Vec<u8>,
    /// Whether any operation takes tokens.
    pub(super) has_tokens: bool,
}

impl Default for Code {
    fn default() -> Self {
        Self {
            ops: Vec::new(),
            targets: Vec::new(),
            loops: Vec::new(),
            sets: Vec::new(),
            known: Index::default(),
            moved: 0,
            classes: [0; 256],
            n_classes: 1,
            of_class: Vec::new(),
            has_tokens: false,
        }
    }
}

/// Why there is no code for a grammar with nothing wrong in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is larger than [`MAX_OPS`].
    TooLarge,
    /// The guest's memory does not suffice.
    NoMemory,
}

/// Appends within [`MAX_OPS`].
fn append<T>(list: &mut Vec<T>, item: T) -> Result<u32, Unfit> {
    if list.len() >= MAX_OPS {
        return Err(Unfit::TooLarge);
    }
    list.try_reserve(1).map_err(|_| Unfit::NoMemory)?;
    list.push(item);
    Ok(list.len() as u32 - 1)
}

impl Code {
    /// The number of the next operation.
    pub fn here(&self) -> u32 {
        self.ops.len() as u32
    }

    /// Appends an operation; returns its number.
    pub fn push(&mut self, op: Op) -> Result<u32, Unfit> {
        append(&mut self.ops, op)
    }

    /// Replaces an operation.
    pub fn put(&mut self, at: u32, op: Op) {
        if let Some(place) = self.ops.get_mut(at as usize) {
            *place = op;
        }
    }

    /// The operation there.
    pub fn op(&self, at: u32) -> Op {
        self.ops.get(at as usize).copied().unwrap_or(Op::Return)
    }

    /// Appends the operation that takes one byte of a set.
    pub fn bytes(&mut self, set: Set) -> Result<u32, Unfit> {
        let (sets, new) = (&self.sets, self.sets.len() as u32);
        let same = |index: u32| sets.get(index as usize) == Some(&set);
        let index = self.known.find(hash(&set), new, same);
        let index = index.map_err(|_| Unfit::NoMemory)?;
        if index == new {
            append(&mut self.sets, set)?;
        }
        self.push(Op::Bytes(index))
    }

    /// A target that begins there.
    pub fn target(&mut self, at: u32) -> Result<u32, Unfit> {
        append(&mut self.targets, at)
    }

    /// Appends a counted repetition of a target.
    pub fn repeat(&mut self, target: u32, min: u32, max: u32) -> Result<(), Unfit> {
        let index = append(&mut self.loops, Loop { target, min, max })?;
        self.push(Op::Loop(index)).map(drop)
    }

    /// Where a target begins.
    pub fn start(&self, target: u32) -> u32 {
        self.targets.get(target as usize).copied().unwrap_or(0)
    }

    /// A loop.
    pub fn counted(&self, index: u32) -> Loop {
        let none = Loop {
            target: 0,
            min: 0,
            max: 0,
        };
        self.loops.get(index as usize).copied().unwrap_or(none)
    }

    /// Where control really goes from here.
    pub fn thread(&self, mut at: u32) -> u32 {
        while let Op::Goto(to) = self.op(at) {
            at = to;
        }
        at
    }

    /// Makes room for one operation at `at`, before everything that was appended since.
    pub fn insert(&mut self, at: u32) -> Result<(), Unfit> {
        self.push(Op::Return)?;
        let moved = |n: u32| if n >= at && n != NOWHERE { n + 1 } else { n };
        let Some(tail) = self.ops.get_mut(at as usize..) else {
            return Ok(());
        };
        self.moved += tail.len();
        if self.moved > MAX_MOVED {
            return Err(Unfit::TooLarge);
        }
        tail.rotate_right(1);
        for op in tail {
            *op = match *op {
                Op::Goto(to) => Op::Goto(moved(to)),
                Op::Split(a, b) => Op::Split(moved(a), moved(b)),
                other => other,
            };
        }
        // Only what was repeated since then begins there: those are the newest, among rules that have no place yet.
        for start in self.targets.iter_mut().rev() {
            if *start < at {
                break;
            }
            *start = moved(*start);
        }
        Ok(())
    }

    /// Finds the classes of bytes.
    pub(super) fn classify(&mut self) {
        // Two bytes are in one class while every set so far has both or neither.
        let mut classes = [0u8; 256];
        let mut count = 1usize;
        for set in &self.sets {
            let mut inside = [None::<u8>; 256];
            let mut outside = [false; 256];
            for (byte, class) in (0u8..=255).zip(classes) {
                if !has(set, byte)
                    && let Some(flag) = outside.get_mut(usize::from(class))
                {
                    *flag = true;
                }
            }
            for (byte, class) in (0u8..=255).zip(&mut classes) {
                let split = outside.get(usize::from(*class)) == Some(&true);
                if !split || !has(set, byte) {
                    continue;
                }
                let Some(new) = inside.get_mut(usize::from(*class)) else {
                    continue;
                };
                // There are never more classes than bytes.
                *class = *new.get_or_insert_with(|| {
                    count += 1;
                    (count - 1) as u8
                });
            }
        }
        self.of_class = alloc::vec![0; count];
        for (byte, class) in (0u8..=255).zip(classes) {
            if let Some(one) = self.of_class.get_mut(usize::from(class)) {
                *one = byte;
            }
        }
        self.classes = classes;
        self.n_classes = count;
    }

    /// How many classes of bytes there are.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// The class of a byte.
    pub fn class(&self, byte: u8) -> usize {
        usize::from(self.classes.get(usize::from(byte)).copied().unwrap_or(0))
    }

    /// A byte of a class.
    pub fn byte_of(&self, class: usize) -> u8 {
        self.of_class.get(class).copied().unwrap_or(0)
    }

    /// Whether a set has a byte.
    pub fn takes(&self, set: u32, byte: u8) -> bool {
        self.sets
            .get(set as usize)
            .is_some_and(|set| has(set, byte))
    }
}

fn hash(set: &Set) -> u32 {
    set.iter()
        .fold(0, |hash, word| super::index::mixed(hash, *word))
}

/// Whether a set has a byte.
fn has(set: &Set, byte: u8) -> bool {
    let word = set.get(usize::from(byte >> 5)).copied().unwrap_or(0);
    word >> (byte & 31) & 1 == 1
}

/// The set of the bytes of a range.
pub fn range(first: u8, last: u8) -> Set {
    let mut set = [0; 8];
    for byte in first..=last {
        if let Some(word) = set.get_mut(usize::from(byte >> 5)) {
            *word |= 1 << (byte & 31);
        }
    }
    set
}
