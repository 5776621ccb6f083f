//! Statements.

use super::{Block, Macro, Name, Op, Parser, Place, Res, Token, Value, fits};
use crate::text::Text;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

impl Parser<'_> {
    /// Text and statements up to a tag that begins with one of `ends`, which is returned; its name is taken.
    pub fn statements(&mut self, ends: &[&str]) -> Res<String> {
        self.deeper()?;
        loop {
            match self.advance()? {
                Token::Text(text) if text.is_empty() => {}
                Token::Text(text) => {
                    let text = self.constant(Value::Str(Text::new(&text)));
                    self.op(Op::Text(text));
                }
                Token::Print => {
                    self.tuple(true, false)?;
                    if self.token != Token::PrintEnd {
                        return Err(self.unexpected("'}}'"));
                    }
                    self.advance()?;
                    self.op(Op::Emit);
                }
                Token::Block => {
                    let name = self.ident()?;
                    if ends.contains(&name.as_str()) {
                        self.depth -= 1;
                        return Ok(name);
                    }
                    self.statement(&name, ends)?;
                }
                Token::End if ends.is_empty() => {
                    self.depth -= 1;
                    return Ok(String::new());
                }
                _ => {
                    let end = ends.last().unwrap_or(&"");
                    return Err(err!("expected '{{% {end} %}}', but the template ends"));
                }
            }
        }
    }

    fn statement(&mut self, name: &str, ends: &[&str]) -> Res<()> {
        match name {
            "if" => self.conditional_block(),
            "for" => self.for_loop(),
            "set" => self.set(),
            "macro" => self.macro_block(),
            "call" => self.call_block(),
            "filter" => self.filter_block(),
            "with" => self.with(),
            "generation" => self.scope("endgeneration"),
            "block" => {
                self.ident()?;
                self.accept_name("scoped")?;
                self.accept_name("required")?;
                self.scope("endblock")
            }
            "autoescape" => {
                self.expression(true)?;
                self.op(Op::Pop);
                self.scope("endautoescape")
            }
            "do" => {
                self.tuple(true, false)?;
                self.op(Op::Pop);
                self.expect_block_end()
            }
            "break" | "continue" => self.leave_loop(name == "break"),
            _ => match ends.last() {
                Some(end) => Err(err!("unknown statement '{name}' (expected '{end}')")),
                None => Err(err!("unknown statement '{name}'")),
            },
        }
    }

    /// The end of a tag, a body, and the tag of its end.
    fn body(&mut self, ends: &[&str]) -> Res<String> {
        self.expect_block_end()?;
        self.statements(ends)
    }

    fn scope(&mut self, end: &str) -> Res<()> {
        self.op(Op::Enter);
        self.blocks.push(Block::Scope);
        self.body(&[end])?;
        if end == "endblock" && matches!(self.token, Token::Name(_)) {
            self.advance()?;
        }
        self.blocks.pop();
        self.op(Op::Leave);
        self.expect_block_end()
    }

    fn conditional_block(&mut self) -> Res<()> {
        let mut done = Vec::new();
        loop {
            self.tuple(false, false)?;
            let next = self.op(Op::IfNot(0));
            let end = self.body(&["elif", "else", "endif"])?;
            if end != "endif" {
                done.push(self.op(Op::Jump(0)));
            }
            self.land(next);
            match end.as_str() {
                "elif" => continue,
                "else" => drop(self.body(&["endif"])?),
                _ => {}
            }
            break;
        }
        for jump in done {
            self.land(jump);
        }
        self.expect_block_end()
    }

    /// What a loop or `set` assigns to; `attribute`: or an attribute of a namespace. Returns the operations, in order.
    fn target(&mut self, attribute: bool) -> Res<Vec<Op>> {
        let mut ops = Vec::new();
        let mut count = 0;
        let mut comma = false;
        while !(count > 0 && (self.tuple_ends_target() || !comma)) {
            if self.accept("(")? {
                self.deeper()?;
                ops.extend(self.target(attribute)?);
                self.depth -= 1;
                self.expect(")")?;
            } else {
                let name = self.ident()?;
                if matches!(
                    name.as_str(),
                    "true" | "false" | "none" | "True" | "False" | "None"
                ) {
                    return Err(err!("nothing can be assigned to '{name}'"));
                }
                let name = self.name(&name)?;
                if attribute && self.accept(".")? {
                    let field = self.ident()?;
                    ops.push(Op::SetAttr(name, self.name(&field)?));
                } else {
                    ops.push(Op::Set(name));
                }
            }
            count += 1;
            comma = self.accept(",")?;
        }
        if count > 1 || comma {
            ops.insert(0, Op::Unpack(fits(count)?));
        }
        Ok(ops)
    }

    fn tuple_ends_target(&self) -> bool {
        matches!(self.token, Token::Sign(")" | "=") | Token::BlockEnd) || self.is_name("in")
    }

    fn store(&mut self, target: &[Op]) {
        for op in target {
            self.op(*op);
        }
    }

    fn for_loop(&mut self) -> Res<()> {
        let target = self.target(false)?;
        self.expect_name("in")?;
        self.tuple(false, false)?;
        if self.accept_name("if")? {
            self.op(Op::FilterStart);
            let next = self.op(Op::FilterNext(0));
            self.store(&target);
            self.expression(true)?;
            self.op(Op::FilterKeep);
            self.jump_back(next);
            self.land(next);
            self.op(Op::FilterEnd);
        }
        let recursive = self.accept_name("recursive")?;
        let over = recursive.then(|| {
            self.op(Op::LoopCall);
            self.op(Op::Jump(0))
        });
        self.op(Op::LoopStart(recursive));
        let next = self.op(Op::LoopNext(0));
        self.store(&target);
        self.blocks.push(Block::Loop(next, Vec::new()));
        let end = self.body(&["else", "endfor"])?;
        if end == "else" {
            self.op(Op::LoopDone);
        }
        self.jump_back(next);
        self.land(next);
        if let Some(Block::Loop(_, breaks)) = self.blocks.pop() {
            for jump in breaks {
                self.land(jump);
            }
        }
        self.op(Op::LoopEnd);
        if end == "else" {
            let any = self.op(Op::IfNot(0));
            let done = self.op(Op::Jump(0));
            self.land(any);
            self.op(Op::Enter);
            self.blocks.push(Block::Scope);
            self.body(&["endfor"])?;
            self.blocks.pop();
            self.op(Op::Leave);
            self.land(done);
        } else {
            self.op(Op::Pop);
        }
        if let Some(over) = over {
            self.op(Op::Return);
            self.land(over);
        }
        self.expect_block_end()
    }

    fn leave_loop(&mut self, breaks: bool) -> Res<()> {
        let mut unwind = Vec::new();
        let mut next = None;
        for block in self.blocks.iter().rev() {
            match block {
                Block::Loop(at, _) => {
                    next = Some(*at);
                    break;
                }
                Block::Macro => break,
                Block::Scope => unwind.push(Op::Leave),
                Block::Capture => unwind.extend([Op::CaptureEnd, Op::Pop, Op::Leave]),
            }
        }
        let Some(next) = next else {
            return Err(err!("'break' and 'continue' are expected in a loop only"));
        };
        self.store(&unwind);
        if breaks {
            let jump = self.op(Op::Jump(0));
            let inner = |block: &&mut Block| matches!(block, Block::Loop(..));
            if let Some(Block::Loop(_, jumps)) = self.blocks.iter_mut().rev().find(inner) {
                jumps.push(jump);
            }
        } else {
            self.jump_back(next);
        }
        self.expect_block_end()
    }

    fn set(&mut self) -> Res<()> {
        let target = self.target(true)?;
        if self.accept("=")? {
            self.tuple(true, false)?;
            self.store(&target);
            return self.expect_block_end();
        }
        let filters = self.lifted_filters()?;
        self.captured("endset")?;
        self.put_back(filters);
        self.store(&target);
        self.expect_block_end()
    }

    /// Filters, whose code is to run later.
    fn lifted_filters(&mut self) -> Res<(Vec<Op>, Vec<Place>)> {
        let start = self.here();
        while self.accept("|")? {
            self.filter()?;
        }
        Ok(self.lift(start))
    }

    /// A body whose text becomes a value.
    fn captured(&mut self, end: &str) -> Res<()> {
        self.op(Op::Enter);
        self.op(Op::Capture);
        self.blocks.push(Block::Capture);
        self.body(&[end])?;
        self.blocks.pop();
        self.op(Op::CaptureEnd);
        self.op(Op::Leave);
        Ok(())
    }

    fn filter_block(&mut self) -> Res<()> {
        let start = self.here();
        self.filter()?;
        while self.accept("|")? {
            self.filter()?;
        }
        let filters = self.lift(start);
        self.captured("endfilter")?;
        self.put_back(filters);
        self.op(Op::Emit);
        self.expect_block_end()
    }

    fn with(&mut self) -> Res<()> {
        let mut targets = Vec::new();
        while self.token != Token::BlockEnd {
            if !targets.is_empty() {
                self.expect(",")?;
            }
            targets.push(self.target(false)?);
            self.expect("=")?;
            self.expression(true)?;
        }
        self.op(Op::Enter);
        for target in targets.iter().rev() {
            self.store(target);
        }
        self.blocks.push(Block::Scope);
        self.body(&["endwith"])?;
        self.blocks.pop();
        self.op(Op::Leave);
        self.expect_block_end()
    }

    fn macro_block(&mut self) -> Res<()> {
        let name = self.ident()?;
        self.takes.push([false; 3]);
        let start = self.here();
        let args = self.macro_args()?;
        let prologue = self.lift(start);
        self.macro_body(&name, args, prologue, "endmacro")?;
        let name = self.name(&name)?;
        self.op(Op::Set(name));
        self.expect_block_end()
    }

    /// `{% call(a, b) f(x) %}…{% endcall %}`: the body is an argument of the call, named `caller`.
    fn call_block(&mut self) -> Res<()> {
        self.takes.push([false; 3]);
        let start = self.here();
        let args = self.macro_args()?;
        let prologue = self.lift(start);
        let takes = self.takes.pop().unwrap_or_default();
        self.expression(true)?;
        let call = self.code.ops.pop();
        self.code.places.pop();
        self.takes.push(takes);
        self.macro_body("caller", args, prologue, "endcall")?;
        let caller = self.name("caller")?;
        let mut with_caller = |count: u16, names: u16| {
            let names = self.code.name_lists.get(usize::from(names));
            let mut names = names.cloned().unwrap_or_default();
            names.push(caller);
            Ok((count.saturating_add(1), self.names(names)?))
        };
        let call = match call {
            Some(Op::Call(count, names)) => {
                let (count, names) = with_caller(count, names)?;
                Op::Call(count, names)
            }
            Some(Op::Method(name, count, names)) => {
                let (count, names) = with_caller(count, names)?;
                Op::Method(name, count, names)
            }
            _ => return Err(err!("expected a call behind 'call'")),
        };
        self.op(call);
        self.op(Op::Emit);
        self.expect_block_end()
    }

    /// The arguments of a macro, and the code of their defaults.
    fn macro_args(&mut self) -> Res<Vec<(Name, bool)>> {
        let mut args: Vec<(Name, bool)> = Vec::new();
        if !self.accept("(")? {
            return Ok(args);
        }
        while !self.is(")") {
            if !args.is_empty() {
                self.expect(",")?;
                if self.is(")") {
                    break;
                }
            }
            let text = self.ident()?;
            let arg = self.name(&text)?;
            if args.iter().any(|(name, _)| *name == arg) {
                return Err(err!("the parameter '{text}' is there twice"));
            }
            let default = self.accept("=")?;
            if default {
                let given = self.op(Op::Given(arg, 0));
                self.expression(true)?;
                self.op(Op::Set(arg));
                self.land(given);
            }
            args.push((arg, default));
        }
        self.expect(")")?;
        Ok(args)
    }

    /// The code of a macro; pushes it.
    fn macro_body(
        &mut self,
        name: &str,
        args: Vec<(Name, bool)>,
        prologue: (Vec<Op>, Vec<Place>),
        end: &str,
    ) -> Res<()> {
        let over = self.op(Op::Jump(0));
        let entry = self.here();
        self.put_back(prologue);
        self.blocks.push(Block::Macro);
        self.body(&[end])?;
        self.blocks.pop();
        self.op(Op::Return);
        self.land(over);
        let takes = self.takes.pop().unwrap_or_default();
        self.code.macros.push(Macro {
            name: Rc::from(name),
            args,
            entry,
            takes,
        });
        let index = fits(self.code.macros.len() - 1)?;
        self.op(Op::Macro(index));
        Ok(())
    }
}
