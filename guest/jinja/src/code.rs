//! The code that a template compiles to: operations of a stack machine, with relative jumps.

use crate::error::Place;
use crate::value::Value;
use alloc::rc::Rc;
use alloc::vec::Vec;

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

/// What is computed of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bin {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

/// Index of a name.
pub type Name = u16;
/// Index of a list of names; the arguments of a call that have names are behind the others, in this order.
pub type Names = u16;
/// From the operation behind this one.
pub type Jump = i32;

/// An operation. "Pops", "pushes": the stack of values.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// Pushes a constant.
    Const(u32),
    /// Pushes a variable.
    Load(Name),
    /// Pops a value, pushes its attribute `a.b`.
    Attr(Name),
    /// Pops index and value, pushes the element `a[b]`.
    Item,
    /// Pops step, stop, start and value, pushes the part.
    Slice,
    Not,
    Neg,
    Pos,
    Bin(Bin),
    Cmp(Cmp),
    /// The link of a chain of comparisons: pops two values; if true pushes the second, else pushes false and jumps.
    Chain(Cmp, Jump),
    /// Pops so many values, pushes them joined as text.
    Concat(u16),
    Jump(Jump),
    /// Pops a value; jumps if it is false.
    IfNot(Jump),
    /// Jumps if the value is false, and keeps it; else pops it.
    And(Jump),
    /// Jumps if the value is true, and keeps it; else pops it.
    Or(Jump),
    List(u16),
    Tuple(u16),
    /// Pops so many pairs.
    Dict(u16),
    /// Pops so many arguments, and what is called.
    Call(u16, Names),
    /// Pops so many arguments, and the value whose method it is.
    Method(Name, u16, Names),
    Filter(Name, u16, Names),
    Test(Name, u16, Names),
    /// Writes a constant.
    Text(u32),
    /// Pops a value and writes it.
    Emit,
    Pop,
    /// Pops a value and sets a variable.
    Set(Name),
    /// Pops a value and sets an attribute of the variable.
    SetAttr(Name, Name),
    /// Pops a sequence of so many, pushes its elements, the first on top.
    Unpack(u16),
    Enter,
    Leave,
    /// Pops what to go over.
    FilterStart,
    /// Pushes the next element, or jumps.
    FilterNext(Jump),
    /// Pops whether the element stays.
    FilterKeep,
    /// Pushes the elements that stayed.
    FilterEnd,
    /// Pops what to go over and runs the loop's code behind the jump that follows.
    LoopCall,
    /// Pops what to go over; true: of a recursive loop, whose code begins here.
    LoopStart(bool),
    /// Pushes the next element, or jumps.
    LoopNext(Jump),
    /// The end of the body.
    LoopDone,
    /// Pushes whether the body ever came to its end: that is what Jinja2 asks for `else`.
    LoopEnd,
    /// From here on what is written is a value.
    Capture,
    /// Pushes what was written.
    CaptureEnd,
    /// Pushes a macro.
    Macro(u16),
    /// Jumps if the argument was given.
    Given(Name, Jump),
    /// The end of a macro, or of a recursive loop's code.
    Return,
}

/// A macro.
pub struct Macro {
    pub name: Rc<str>,
    pub args: Vec<(Name, bool)>,
    /// Where its code begins.
    pub entry: usize,
    /// Its text mentions `varargs`, `kwargs`, `caller`: only then it takes them.
    pub takes: [bool; 3],
}

/// A compiled template.
#[derive(Default)]
pub struct Code {
    pub ops: Vec<Op>,
    /// Where each operation was written.
    pub places: Vec<Place>,
    pub consts: Vec<Value>,
    pub names: Vec<Rc<str>>,
    pub name_lists: Vec<Vec<Name>>,
    pub macros: Vec<Macro>,
}
