//! Loops.

use super::*;

impl Vm<'_> {
    /// Pushes the next element, or jumps.
    #[inline(never)]
    pub(super) fn loop_next(&mut self, by: i32) -> Res<()> {
        let this = self.loops.last().ok_or_else(broken)?.clone();
        if let Some(start) = self.scopes.last() {
            self.vars.truncate(*start);
        }
        let at = this.next.get();
        let Some(item) = this.items.get(at) else {
            self.jump(by);
            return Ok(());
        };
        this.next.set(at + 1);
        self.push(item.clone())?;
        match self.loop_name {
            Some(name) => push(&mut self.vars, (name, Value::Object(Object::Loop(this)))),
            None => Ok(()),
        }
    }

    #[inline(never)]
    pub(super) fn loop_step(&mut self, op: Op) -> Res<()> {
        match op {
            Op::FilterStart => {
                let value = self.pop()?;
                let items = access::elements(&value, &self.budget)?;
                push(&mut self.scopes, self.vars.len())?;
                let sieve = Sieve {
                    rest: items.into_iter(),
                    item: Value::None,
                    kept: Vec::new(),
                };
                push(&mut self.sieves, sieve)
            }
            Op::FilterNext(by) => {
                let next = self.sieves.last_mut().and_then(|s| s.rest.next());
                match (next, self.sieves.last_mut()) {
                    (Some(item), Some(sieve)) => {
                        sieve.item = item.clone();
                        self.push(item)?;
                    }
                    _ => self.jump(by),
                }
                Ok(())
            }
            Op::FilterKeep => {
                let keep = self.pop()?.truth();
                let sieve = self.sieves.last_mut().ok_or_else(broken)?;
                let item = core::mem::replace(&mut sieve.item, Value::None);
                if keep {
                    push(&mut sieve.kept, item)
                } else {
                    Ok(())
                }
            }
            Op::FilterEnd => {
                let sieve = self.sieves.pop().ok_or_else(broken)?;
                if let Some(start) = self.scopes.pop() {
                    self.vars.truncate(start);
                }
                self.push(Value::list(sieve.kept)?)
            }
            Op::LoopCall => {
                // Behind the jump over the loop's code.
                let entry = self.at + 1;
                let depth = self.frames.last().map_or(0, |f| f.depth);
                self.enter(
                    entry,
                    (self.frames.len() - 1, self.vars.len()),
                    false,
                    depth,
                )
            }
            Op::LoopStart(recursive) => {
                let value = self.pop()?;
                let items = access::elements(&value, &self.budget)?;
                let top = self.frames.last().ok_or_else(broken)?;
                let serial = self.frames.get(top.sees).map_or(0, |f| f.serial);
                let this = Loop {
                    items,
                    next: Cell::new(0),
                    done: Cell::new(false),
                    depth0: if recursive { top.depth } else { 0 },
                    changed: RefCell::new(None),
                    entry: recursive.then(|| self.at - 1),
                    home: (top.sees, serial, top.sees_vars),
                };
                push(&mut self.scopes, self.vars.len())?;
                push(&mut self.loops, Rc::new(this))
            }
            Op::LoopDone => {
                self.loops.last().ok_or_else(broken)?.done.set(true);
                Ok(())
            }
            Op::LoopEnd => {
                let this = self.loops.pop().ok_or_else(broken)?;
                if let Some(start) = self.scopes.pop() {
                    self.vars.truncate(start);
                }
                self.push(Value::Bool(this.done.get()))
            }
            _ => Err(broken()),
        }
    }
}
