//! What goes wrong, and what a template may use up.

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;

/// Where something stands, both from 1; a column is a character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// Its column.
    pub column: u32,
}

impl Place {
    /// The beginning of a text.
    pub const FIRST: Self = Self { line: 1, column: 1 };

    /// Where it is behind this text.
    pub fn behind(self, text: &str) -> Self {
        let lines = text.bytes().filter(|byte| *byte == b'\n').count();
        let (tail, before) = match text.rsplit_once('\n') {
            Some((_, tail)) => (tail, 1),
            None => (text, self.column),
        };
        Self {
            line: self.line + lines as u32,
            column: before + tail.chars().count() as u32,
        }
    }
}

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The template or the data are wrong.
    Wrong,
    /// They are larger than anything may be.
    Limit,
    /// Memory ran out, wherever that was.
    Memory,
}

/// Why a template could not be compiled or rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Where in the template or JSON; line 0: nowhere in particular.
    pub place: Place,
    /// What is wrong, and what was expected; the template's own words if it raised the error.
    pub message: String,
    /// Of what kind.
    pub cause: Cause,
}

impl Error {
    /// The same at this place. Where memory ran out says nothing.
    pub(crate) fn at(self, place: Place) -> Self {
        match self.cause {
            Cause::Memory => self,
            _ => Self { place, ..self },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place { line: 0, .. } => f.write_str(&self.message),
            Place { line, column } => write!(f, "line {line}, column {column}: {}", self.message),
        }
    }
}

/// What fallible functions return.
pub type Res<T> = Result<T, Error>;

/// Makes an error; its place is added by whoever knows it.
#[cold]
#[inline(never)]
pub fn error(cause: Cause, args: fmt::Arguments<'_>) -> Error {
    let mut message = String::new();
    let _ = fmt::write(&mut message, args);
    Error {
        place: Place::default(),
        message,
        cause,
    }
}

/// `err!("…", …)`: an [`Error`] of this message.
macro_rules! err {
    ($($arg:tt)*) => { $crate::error::error($crate::error::Cause::Wrong, format_args!($($arg)*)) };
}

/// `limit!("…", …)`: the same for what is larger than anything may be.
macro_rules! limit {
    ($($arg:tt)*) => { $crate::error::error($crate::error::Cause::Limit, format_args!($($arg)*)) };
}

/// What a template may use up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Steps: about one per operation of the template, per element that a filter looks at, and per 16 bytes of text made.
    pub steps: u64,
    /// Bytes of the rendered text, and of any text on the way.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 10_000_000,
            output_bytes: 8 << 20,
        }
    }
}

/// Deepest nesting of data, of calls, and of what is written in a template.
pub const MAX_DEPTH: u8 = 60;
pub const MAX_CALLS: usize = 200;
pub const MAX_NESTING: usize = 60;
/// Most names of variables, attributes and filters in a template.
pub const MAX_NAMES: usize = 1024;
/// Most tokens of a template: what it compiles to has a few operations for each.
pub const MAX_TOKENS: u32 = 1 << 16;

/// How many steps pass between two looks at the memory, and how much has to be there.
const MEMORY_STEPS: u64 = 256;
/// Bytes that small things take between two looks at the memory.
pub const CUSHION: usize = 64 << 10;
/// Copies of a text that one operation makes at most.
const COPIES: usize = 3;

/// What is left of the limits.
pub struct Budget {
    steps: Cell<u64>,
    pub output_bytes: usize,
    /// Steps left when the memory is to be looked at.
    look: Cell<u64>,
    /// Bytes of the longest text so far: any operation may copy it.
    longest: Cell<usize>,
}

impl Budget {
    pub fn new(limits: Limits) -> Self {
        Self {
            steps: Cell::new(limits.steps),
            output_bytes: limits.output_bytes,
            look: Cell::new(limits.steps),
            longest: Cell::new(0),
        }
    }

    /// Takes steps; false if there were not so many. There are none from then on.
    #[inline]
    pub fn take(&self, steps: usize) -> bool {
        let left = self.steps.get().checked_sub(steps as u64);
        self.steps.set(left.unwrap_or(0));
        left.is_some()
    }

    /// Takes steps.
    #[inline]
    pub fn spend(&self, steps: usize) -> Res<()> {
        if !self.take(steps) {
            return Err(err!("the template takes too many steps"));
        }
        let left = self.steps.get();
        if left <= self.look.get() {
            self.look.set(left.saturating_sub(MEMORY_STEPS));
            return room(CUSHION + COPIES * self.longest.get());
        }
        Ok(())
    }

    /// Says that there are texts of this length from now on.
    pub fn long(&self, bytes: usize) -> Res<()> {
        if bytes <= self.longest.get() {
            return Ok(());
        }
        self.longest.set(bytes);
        room(CUSHION + COPIES * bytes)
    }

    /// Sees that there is memory for a list of so many.
    pub fn list<T>(&self, count: usize) -> Res<()> {
        self.spend(count)?;
        match count * size_of::<T>() {
            bytes if bytes > CUSHION / 2 => room(CUSHION + bytes),
            _ => Ok(()),
        }
    }
}

/// Most things are allocated without asking; this sees that there is room for those of the next steps.
///
/// # Errors
/// There is none for so many bytes.
#[inline(never)]
pub fn room(bytes: usize) -> Res<()> {
    let mut room = Vec::<u8>::new();
    let there = room.try_reserve_exact(bytes).is_ok();
    // What nobody looks at is not allocated at all.
    core::hint::black_box(&room);
    if there { Ok(()) } else { Err(no_memory()) }
}

/// Memory ran out.
pub fn no_memory() -> Error {
    error(
        Cause::Memory,
        format_args!("the template needs more memory than there is"),
    )
}

/// Appends to a list whose length the template decides.
pub fn push<T>(list: &mut Vec<T>, item: T) -> Res<()> {
    if list.len() == list.capacity() && list.try_reserve(1).is_err() {
        return Err(no_memory());
    }
    list.push(item);
    Ok(())
}
