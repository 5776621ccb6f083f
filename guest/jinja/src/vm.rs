//! Runs compiled templates.
//!
//! Variables are one stack, cut into scopes and frames. A frame (of a macro, a caller, or a recursive loop) sees its own
//! variables, then those that were visible where it was defined, then the context, then the library.

use crate::access::{self, cycled};
use crate::args::Args;
use crate::arith;
use crate::code::{Code, Name, Names, Op};
use crate::error::{Budget, Error, Limits, MAX_CALLS, Res, push};
use crate::filters;
use crate::methods;
use crate::sequences;
use crate::tests_of;
use crate::text::{Builder, Text};
use crate::time;
use crate::value::{Dict, Loop, MacroRef, Object, Value};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

mod library;
mod loops;

/// The functions of the library.
const FUNCTIONS: [&str; 7] = [
    "range",
    "namespace",
    "raise_exception",
    "strftime_now",
    "dict",
    "cycler",
    "joiner",
];

/// A call that is running.
struct Frame {
    /// The operation to go on with.
    back: usize,
    /// Where its variables, scopes, loops, outputs begin.
    vars: usize,
    scopes: usize,
    loops: usize,
    outs: usize,
    /// The frame that it sees into, and up to which variable.
    sees: usize,
    sees_vars: usize,
    serial: u32,
    /// What it writes is the value of the call.
    captures: bool,
    /// How many recursive loops it is in.
    depth: usize,
}

/// A filter of a loop: what is left, the element at hand, and what stays.
struct Sieve {
    rest: alloc::vec::IntoIter<Value>,
    item: Value,
    kept: Vec<Value>,
}

struct Vm<'c> {
    code: &'c Code,
    context: &'c Dict,
    now: i64,
    budget: Budget,
    at: usize,
    stack: Vec<Value>,
    vars: Vec<(Name, Value)>,
    scopes: Vec<usize>,
    frames: Vec<Frame>,
    loops: Vec<Rc<Loop>>,
    sieves: Vec<Sieve>,
    outs: Vec<Builder>,
    serial: u32,
    loop_name: Option<Name>,
}

/// Runs a template.
pub fn run(code: &Code, context: &Dict, now: i64, limits: Limits) -> Result<Text, Error> {
    let mut vm = Vm {
        code,
        context,
        now,
        budget: Budget::new(limits),
        at: 0,
        stack: Vec::new(),
        vars: Vec::new(),
        scopes: Vec::new(),
        frames: [Frame {
            back: 0,
            vars: 0,
            scopes: 0,
            loops: 0,
            outs: 0,
            sees: 0,
            sees_vars: 0,
            serial: 0,
            captures: false,
            depth: 0,
        }]
        .into(),
        loops: Vec::new(),
        sieves: Vec::new(),
        outs: [Builder::default()].into(),
        serial: 0,
        loop_name: code
            .names
            .iter()
            .position(|n| &**n == "loop")
            .map(|at| at as Name),
    };
    let result = vm.steps().and_then(|()| {
        let out = vm.outs.pop().unwrap_or_default();
        out.finish(&vm.budget)
    });
    result.map_err(|error| {
        let place = code
            .places
            .get(vm.at.saturating_sub(1))
            .or(code.places.last());
        error.at(place.copied().unwrap_or_default())
    })
}

/// What cannot happen with code that the parser made.
fn broken() -> Error {
    err!("the code of the template is broken")
}

impl Vm<'_> {
    fn pop(&mut self) -> Res<Value> {
        self.stack.pop().ok_or_else(broken)
    }

    /// Pops so many values, in the order in which they came.
    fn pops(&mut self, count: u16) -> Res<Vec<Value>> {
        let at = self.stack.len().checked_sub(usize::from(count));
        at.map(|at| self.stack.split_off(at)).ok_or_else(broken)
    }

    fn push(&mut self, value: Value) -> Res<()> {
        push(&mut self.stack, value)
    }

    fn jump(&mut self, by: i32) {
        self.at = self.at.wrapping_add_signed(by as isize);
    }

    fn name(&self, name: Name) -> Rc<str> {
        let name = self.code.names.get(usize::from(name));
        name.cloned().unwrap_or_else(|| Rc::from(""))
    }

    fn steps(&mut self) -> Res<()> {
        let code = self.code;
        while let Some(op) = code.ops.get(self.at) {
            self.at += 1;
            self.budget.spend(1)?;
            self.step(*op)?;
        }
        Ok(())
    }

    fn step(&mut self, op: Op) -> Res<()> {
        match op {
            Op::Const(at) => {
                let value = self.code.consts.get(at as usize).cloned();
                self.push(value.ok_or_else(broken)?)
            }
            Op::Load(name) => {
                let value = self.load(name);
                self.push(value)
            }
            Op::Text(at) => self.text(at),
            Op::Emit => self.emit(),
            Op::Pop => self.pop().map(drop),
            Op::Jump(by) => {
                self.jump(by);
                Ok(())
            }
            Op::IfNot(by) => {
                if !self.pop()?.truth() {
                    self.jump(by);
                }
                Ok(())
            }
            Op::And(by) | Op::Or(by) => {
                let truth = self.stack.last().ok_or_else(broken)?.truth();
                if truth == matches!(op, Op::Or(_)) {
                    self.jump(by);
                } else {
                    self.stack.pop();
                }
                Ok(())
            }
            Op::Set(name) => {
                let value = self.pop()?;
                self.set(name, value)
            }
            Op::Enter => push(&mut self.scopes, self.vars.len()),
            Op::Leave => {
                if let Some(start) = self.scopes.pop() {
                    self.vars.truncate(start);
                }
                Ok(())
            }
            Op::Capture => push(&mut self.outs, Builder::default()),
            Op::CaptureEnd => self.captured(),
            Op::Call(count, names) => self.call(count, names),
            Op::Method(name, count, names) => self.method(name, count, names),
            Op::Return => self.give_back(),
            Op::LoopNext(by) => self.loop_next(by),
            Op::FilterStart
            | Op::FilterNext(_)
            | Op::FilterKeep
            | Op::FilterEnd
            | Op::LoopCall
            | Op::LoopStart(_)
            | Op::LoopDone
            | Op::LoopEnd => self.loop_step(op),
            Op::SetAttr(..) | Op::Unpack(_) | Op::Macro(_) | Op::Given(..) => self.rare_step(op),
            _ => self.compute(op),
        }
    }

    /// Writes a constant.
    #[inline(never)]
    fn text(&mut self, at: u32) -> Res<()> {
        let text = self.code.consts.get(at as usize);
        let out = self.outs.last_mut().ok_or_else(broken)?;
        text.ok_or_else(broken)?.show(out, &self.budget)
    }

    /// Pushes what was captured.
    #[inline(never)]
    fn captured(&mut self) -> Res<()> {
        let text = self.outs.pop().ok_or_else(broken)?.finish(&self.budget)?;
        self.push(Value::Str(text))
    }

    /// Writes a value.
    #[inline(never)]
    fn emit(&mut self) -> Res<()> {
        let value = self.pop()?;
        let out = self.outs.last_mut().ok_or_else(broken)?;
        value.show(out, &self.budget)
    }

    /// Operations that make one value of some. A function that stays one, as the next are: every call pays for the frame of what is
    /// called, and a step must not pay for all operations.
    #[inline(never)]
    fn compute(&mut self, op: Op) -> Res<()> {
        let value = match op {
            Op::Attr(name) => {
                let value = self.pop()?;
                access::attribute(&value, &self.name(name), &self.budget)?
            }
            Op::Item => {
                let (index, value) = (self.pop()?, self.pop()?);
                access::item(&value, &index, &self.budget)?
            }
            Op::Slice => {
                let (step, stop, start, value) =
                    (self.pop()?, self.pop()?, self.pop()?, self.pop()?);
                access::slice(&value, [&start, &stop, &step], &self.budget)?
            }
            Op::Not => Value::Bool(!self.pop()?.truth()),
            Op::Neg | Op::Pos => arith::sign(matches!(op, Op::Neg), &self.pop()?)?,
            Op::Bin(bin) => {
                let (b, a) = (self.pop()?, self.pop()?);
                arith::binary(bin, &a, &b, &self.budget)?
            }
            Op::Cmp(cmp) => {
                let (b, a) = (self.pop()?, self.pop()?);
                Value::Bool(arith::compare(cmp, &a, &b, &self.budget)?)
            }
            Op::Chain(cmp, by) => {
                let (b, a) = (self.pop()?, self.pop()?);
                if arith::compare(cmp, &a, &b, &self.budget)? {
                    b
                } else {
                    self.jump(by);
                    Value::Bool(false)
                }
            }
            Op::Concat(count) => {
                let mut out = Builder::default();
                for value in self.pops(count)? {
                    value.show(&mut out, &self.budget)?;
                }
                Value::Str(out.finish(&self.budget)?)
            }
            Op::List(count) => Value::list(self.pops(count)?)?,
            Op::Tuple(count) => Value::seq(crate::value::SeqKind::Tuple, self.pops(count)?)?,
            Op::Dict(count) => {
                let dict = Dict::default();
                let mut items = self.pops(count.saturating_mul(2))?.into_iter();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    dict.set(key, value, &self.budget)?;
                }
                Value::dict(dict)
            }
            Op::Filter(name, count, names) => {
                let args = self.args(count, names)?;
                let value = self.pop()?;
                filters::filter(&self.name(name), &value, &args, &self.budget)?
            }
            Op::Test(name, count, names) => {
                let args = self.args(count, names)?;
                let value = self.pop()?;
                Value::Bool(tests_of::test(
                    &self.name(name),
                    &value,
                    &args,
                    &self.budget,
                )?)
            }
            _ => return Err(broken()),
        };
        self.push(value)
    }

    #[inline(never)]
    fn rare_step(&mut self, op: Op) -> Res<()> {
        match op {
            Op::SetAttr(name, field) => {
                let value = self.pop()?;
                let Value::Object(Object::Namespace(items)) = self.load(name) else {
                    return Err(err!(
                        "'{}' is no namespace: its attributes cannot be set",
                        self.name(name)
                    ));
                };
                if matches!(
                    &value,
                    Value::Object(Object::Namespace(_) | Object::Loop(_))
                ) {
                    return Err(err!("{} cannot be put into a namespace", value.kind()));
                }
                let field = self.name(field);
                let mut items = items.borrow_mut();
                self.budget.spend(items.len() / 32)?;
                match items.iter_mut().find(|(n, _)| *n == field) {
                    Some(item) => item.1 = value,
                    None => push(&mut items, (field, value))?,
                }
                Ok(())
            }
            Op::Unpack(count) => {
                let value = self.pop()?;
                let items = access::elements(&value, &self.budget)?;
                if items.len() != usize::from(count) {
                    return Err(err!(
                        "expected {count} elements to unpack, found {}",
                        items.len()
                    ));
                }
                for item in items.into_iter().rev() {
                    self.push(item)?;
                }
                Ok(())
            }
            Op::Macro(index) => {
                let home = self.home();
                let index = usize::from(index);
                let name = self.code.macros.get(index).ok_or_else(broken)?.name.clone();
                let of = MacroRef { index, name, home };
                self.push(Value::Object(Object::Macro(Rc::new(of))))
            }
            Op::Given(name, by) => {
                let start = self.frames.last().map_or(0, |frame| frame.vars);
                let own = self.vars.get(start..).unwrap_or_default();
                if own.iter().any(|(n, _)| *n == name) {
                    self.jump(by);
                }
                Ok(())
            }
            _ => Err(broken()),
        }
    }

    /// Frame, its serial number, and how many scopes are open in it.
    fn home(&self) -> (usize, u32, usize) {
        let at = self.frames.len() - 1;
        let (serial, scopes) = self.frames.last().map_or((0, 0), |f| (f.serial, f.scopes));
        (at, serial, self.scopes.len() - scopes)
    }

    #[inline(never)]
    fn load(&self, name: Name) -> Value {
        let mut at = self.frames.len() - 1;
        let mut end = self.vars.len();
        while let Some(frame) = self.frames.get(at) {
            let seen = self.vars.get(frame.vars..end).unwrap_or_default();
            // Whoever has very many variables pays for looking through them.
            self.budget.take(seen.len() / 32);
            if let Some((_, value)) = seen.iter().rev().find(|(n, _)| *n == name) {
                return value.clone();
            }
            if at == 0 {
                break;
            }
            (at, end) = (frame.sees, frame.sees_vars);
        }
        let name = self.name(name);
        if let Some(value) = self.context.get_str(&name) {
            return value;
        }
        match FUNCTIONS.iter().find(|f| **f == &*name) {
            Some(function) => Value::Object(Object::Function(function)),
            None => Value::Undefined(Some(name)),
        }
    }

    #[inline(never)]
    fn set(&mut self, name: Name, value: Value) -> Res<()> {
        let (base, scopes) = self.frames.last().map_or((0, 0), |f| (f.vars, f.scopes));
        let start = match self.scopes.get(scopes..).and_then(<[usize]>::last) {
            Some(start) => *start,
            None => base,
        };
        let own = self.vars.get_mut(start..).unwrap_or_default();
        self.budget.spend(own.len() / 32)?;
        match own.iter_mut().find(|(n, _)| *n == name) {
            Some(var) => var.1 = value,
            None => push(&mut self.vars, (name, value))?,
        }
        Ok(())
    }

    /// Pops the arguments of a call.
    #[inline(never)]
    fn args(&mut self, count: u16, names: Names) -> Res<Args> {
        let code = self.code;
        let names = code.name_lists.get(usize::from(names)).ok_or_else(broken)?;
        let mut list = self.pops(count)?;
        let values = list.split_off(list.len().saturating_sub(names.len()));
        let mut args = Args {
            list,
            named: Vec::new(),
        };
        for (name, value) in names.iter().zip(values) {
            let name = self.name(*name);
            match (&*name, &value) {
                ("*", _) => {
                    for item in access::elements(&value, &self.budget)? {
                        push(&mut args.list, item)?;
                    }
                }
                ("**", Value::Dict(dict)) => {
                    self.budget.list::<(Value, Value)>(dict.len())?;
                    for (key, value) in dict.items() {
                        self.budget.spend(1)?;
                        let key = key.to_text(&self.budget)?;
                        push(&mut args.named, (Rc::from(key.as_str()), value))?;
                    }
                }
                ("**", _) => {
                    return Err(err!(
                        "expected an object behind '**', found {}",
                        value.kind()
                    ));
                }
                _ => args.named.push((name, value)),
            }
        }
        Ok(args)
    }

    #[inline(never)]
    fn call(&mut self, count: u16, names: Names) -> Res<()> {
        let args = self.args(count, names)?;
        let callee = self.pop()?;
        self.invoke(callee, args)
    }

    #[inline(never)]
    fn invoke(&mut self, callee: Value, args: Args) -> Res<()> {
        match callee {
            Value::Object(Object::Macro(of)) => self.call_macro(&of, args),
            Value::Object(Object::Function(name)) => {
                let value = self.function(name, args)?;
                self.push(value)
            }
            Value::Object(Object::Loop(of)) => {
                let Some(entry) = of.entry else {
                    return Err(err!(
                        "the loop is not recursive: 'recursive' is expected behind 'for … in …'"
                    ));
                };
                let over = args.need(0, "iterable")?.clone();
                self.push(over)?;
                let (frame, serial, vars) = of.home;
                let alive = self.frames.get(frame).is_some_and(|f| f.serial == serial);
                let sees = if alive { (frame, vars) } else { (0, 0) };
                self.enter(entry, sees, true, of.depth0 + 1)
            }
            Value::Object(Object::Joiner(joiner)) => {
                let first = !joiner.1.replace(true);
                let text = if first {
                    Text::new("")
                } else {
                    joiner.0.clone()
                };
                self.push(Value::Str(text))
            }
            Value::Undefined(name) => Err(arith::undefined(name.as_deref())),
            other => Err(err!("{} cannot be called", other.kind())),
        }
    }

    /// Calls the code at `entry` in a frame of its own.
    #[inline(never)]
    fn enter(
        &mut self,
        entry: usize,
        sees: (usize, usize),
        captures: bool,
        depth: usize,
    ) -> Res<()> {
        if self.frames.len() > MAX_CALLS {
            return Err(err!("calls are nested more than {MAX_CALLS} deep"));
        }
        self.serial += 1;
        if captures {
            push(&mut self.outs, Builder::default())?;
        }
        let frame = Frame {
            back: self.at,
            vars: self.vars.len(),
            scopes: self.scopes.len(),
            loops: self.loops.len(),
            outs: self.outs.len(),
            sees: sees.0,
            sees_vars: sees.1,
            serial: self.serial,
            captures,
            depth,
        };
        push(&mut self.frames, frame)?;
        self.at = entry;
        Ok(())
    }

    /// The end of a frame.
    #[inline(never)]
    fn give_back(&mut self) -> Res<()> {
        let frame = self.frames.pop().ok_or_else(broken)?;
        self.vars.truncate(frame.vars);
        self.scopes.truncate(frame.scopes);
        self.loops.truncate(frame.loops);
        self.outs.truncate(frame.outs);
        self.at = frame.back;
        if frame.captures {
            return self.captured();
        }
        Ok(())
    }

    /// Up to which variable a frame was seen when so many scopes were open in it.
    fn seen_from(&self, (frame, serial, scopes): (usize, u32, usize)) -> (usize, usize) {
        let Some(home) = self.frames.get(frame).filter(|f| f.serial == serial) else {
            return (0, self.frames.get(1).map_or(self.vars.len(), |f| f.vars));
        };
        let next = self.frames.get(frame + 1);
        let scopes_end = next.map_or(self.scopes.len(), |f| f.scopes);
        let inner = home.scopes + scopes;
        let end = match self.scopes.get(inner) {
            Some(start) if inner < scopes_end => *start,
            _ => next.map_or(self.vars.len(), |f| f.vars),
        };
        (frame, end)
    }

    #[inline(never)]
    fn call_macro(&mut self, of: &MacroRef, args: Args) -> Res<()> {
        let code = self.code;
        let called = code.macros.get(of.index).ok_or_else(broken)?;
        let sees = self.seen_from(of.home);
        self.enter(called.entry, sees, true, 0)?;
        let Args { list, mut named } = args;
        // Each of the macro's is looked for among these.
        let looks = called.args.len().saturating_mul(named.len());
        self.budget.spend(looks / 32)?;
        let mut list = list.into_iter();
        for (name, default) in &called.args {
            let text = self.name(*name);
            let by_name = named.iter().position(|(n, _)| *n == text);
            let value = match (list.next(), by_name) {
                (Some(_), Some(_)) => {
                    return Err(err!("macro '{}' gets '{text}' twice", called.name));
                }
                (Some(value), None) => value,
                (None, Some(at)) => named.remove(at).1,
                (None, None) if *default => continue,
                (None, None) => Value::Undefined(Some(text)),
            };
            push(&mut self.vars, (*name, value))?;
        }
        self.bind_rest(called, list.collect(), named)
    }

    /// What is left of a macro's arguments.
    #[inline(never)]
    fn bind_rest(
        &mut self,
        called: &crate::code::Macro,
        list: Vec<Value>,
        mut named: Vec<(Rc<str>, Value)>,
    ) -> Res<()> {
        let [varargs, kwargs, caller] = called.takes;
        let code = self.code;
        let name_of = |name: &str| {
            code.names
                .iter()
                .position(|n| &**n == name)
                .map(|at| at as Name)
        };
        if let Some(at) = named.iter().position(|(n, _)| &**n == "caller") {
            let value = named.remove(at).1;
            match name_of("caller") {
                Some(name) if caller => push(&mut self.vars, (name, value))?,
                _ => return Err(err!("macro '{}' does not use 'caller'", called.name)),
            }
        } else if let (Some(name), true) = (name_of("caller"), caller) {
            push(
                &mut self.vars,
                (name, Value::Undefined(Some(Rc::from("caller")))),
            )?;
        }
        match (name_of("varargs"), varargs, list.len()) {
            (Some(name), true, _) => {
                let list = Value::seq(crate::value::SeqKind::Tuple, list)?;
                push(&mut self.vars, (name, list))?;
            }
            (_, _, 0) => {}
            _ => {
                return Err(err!(
                    "macro '{}' takes at most {} arguments",
                    called.name,
                    called.args.len()
                ));
            }
        }
        match (name_of("kwargs"), kwargs, named.first()) {
            (Some(name), true, _) => {
                let dict = Dict::default();
                for (key, value) in named {
                    dict.set(Value::text(&key), value, &self.budget)?;
                }
                push(&mut self.vars, (name, Value::dict(dict)))
            }
            (_, _, None) => Ok(()),
            (_, _, Some((name, _))) => {
                Err(err!("macro '{}' takes no argument '{name}'", called.name))
            }
        }
    }
}
