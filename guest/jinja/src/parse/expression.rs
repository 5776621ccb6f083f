//! Expressions.

use super::{Bin, Cmp, Names, Op, Parser, Res, Token, Value, fits};
use crate::text::Text;
use alloc::string::String;
use alloc::vec::Vec;

impl Parser<'_> {
    /// An expression; `cond`: `if` may follow.
    pub fn expression(&mut self, cond: bool) -> Res<()> {
        self.deeper()?;
        let start = self.here();
        self.or()?;
        while cond && self.is_name("if") {
            self.conditional(start)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// `if b else c` behind `a`, whose code begins at `start`.
    fn conditional(&mut self, start: usize) -> Res<()> {
        self.advance()?;
        let then = self.lift(start);
        self.or()?;
        let skip = self.op(Op::IfNot(0));
        self.put_back(then);
        let done = self.op(Op::Jump(0));
        self.land(skip);
        if self.accept_name("else")? {
            self.expression(true)?;
        } else {
            let nothing = self.constant(Value::Undefined(None));
            self.op(Op::Const(nothing));
        }
        self.land(done);
        Ok(())
    }

    fn or(&mut self) -> Res<()> {
        self.and()?;
        while self.accept_name("or")? {
            let jump = self.op(Op::Or(0));
            self.and()?;
            self.land(jump);
        }
        Ok(())
    }

    fn and(&mut self) -> Res<()> {
        self.not()?;
        while self.accept_name("and")? {
            let jump = self.op(Op::And(0));
            self.not()?;
            self.land(jump);
        }
        Ok(())
    }

    fn not(&mut self) -> Res<()> {
        let mut count = 0;
        while self.accept_name("not")? {
            count += 1;
        }
        self.compare()?;
        for _ in 0..count {
            self.op(Op::Not);
        }
        Ok(())
    }

    /// The comparison that is next, which is taken.
    fn comparison(&mut self) -> Res<Option<Cmp>> {
        let cmp = match &self.token {
            Token::Sign("==") => Cmp::Eq,
            Token::Sign("!=") => Cmp::Ne,
            Token::Sign("<") => Cmp::Lt,
            Token::Sign("<=") => Cmp::Le,
            Token::Sign(">") => Cmp::Gt,
            Token::Sign(">=") => Cmp::Ge,
            Token::Name(name) if name == "in" => Cmp::In,
            Token::Name(name) if name == "not" => {
                self.advance()?;
                if !self.is_name("in") {
                    return Err(self.unexpected("'in' behind 'not'"));
                }
                Cmp::NotIn
            }
            _ => return Ok(None),
        };
        self.advance()?;
        Ok(Some(cmp))
    }

    fn compare(&mut self) -> Res<()> {
        self.sum()?;
        let mut last = self.comparison()?;
        let mut chain = Vec::new();
        while let Some(cmp) = last {
            self.sum()?;
            last = self.comparison()?;
            match last {
                Some(_) => chain.push(self.op(Op::Chain(cmp, 0))),
                None => drop(self.op(Op::Cmp(cmp))),
            }
        }
        for jump in chain {
            self.land(jump);
        }
        Ok(())
    }

    /// Operators of the same rank, from the left.
    fn ranked(
        &mut self,
        signs: &[(&'static str, Bin)],
        operand: fn(&mut Self) -> Res<()>,
    ) -> Res<()> {
        operand(self)?;
        while let Some((_, bin)) = signs.iter().find(|(sign, _)| self.is(sign)) {
            self.advance()?;
            operand(self)?;
            self.op(Op::Bin(*bin));
        }
        Ok(())
    }

    fn sum(&mut self) -> Res<()> {
        self.ranked(&[("+", Bin::Add), ("-", Bin::Sub)], Self::concat)
    }

    fn concat(&mut self) -> Res<()> {
        self.product()?;
        let mut count = 1;
        while self.accept("~")? {
            self.product()?;
            count += 1;
        }
        if count > 1 {
            self.op(Op::Concat(fits(count)?));
        }
        Ok(())
    }

    fn product(&mut self) -> Res<()> {
        let signs = [
            ("*", Bin::Mul),
            ("/", Bin::Div),
            ("//", Bin::FloorDiv),
            ("%", Bin::Mod),
        ];
        self.ranked(&signs, |p| p.ranked(&[("**", Bin::Pow)], |p| p.unary(true)))
    }

    fn unary(&mut self, filters: bool) -> Res<()> {
        self.deeper()?;
        if self.accept("-")? {
            self.unary(false)?;
            self.op(Op::Neg);
        } else if self.accept("+")? {
            self.unary(false)?;
            self.op(Op::Pos);
        } else {
            self.primary()?;
        }
        self.postfix()?;
        if filters {
            self.filters()?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn primary(&mut self) -> Res<()> {
        let value = match self.advance()? {
            Token::Name(name) => match name.as_str() {
                "true" | "True" => Value::Bool(true),
                "false" | "False" => Value::Bool(false),
                "none" | "None" => Value::None,
                _ => return self.load(&name),
            },
            Token::Int(n) => Value::Int(n),
            Token::Float(f) => Value::Float(f),
            Token::Str(mut text) => {
                while matches!(self.token, Token::Str(_)) {
                    if let Token::Str(more) = self.advance()? {
                        text.push_str(&more);
                    }
                }
                Value::Str(Text::new(&text))
            }
            Token::Sign("(") => {
                self.tuple(true, true)?;
                return self.expect(")");
            }
            Token::Sign("[") => {
                let count = self.elements("]", |p| p.expression(true))?;
                self.op(Op::List(count));
                return Ok(());
            }
            Token::Sign("{") => {
                let count = self.elements("}", |p| {
                    p.expression(true)?;
                    p.expect(":")?;
                    p.expression(true)
                })?;
                self.op(Op::Dict(count));
                return Ok(());
            }
            other => {
                return Err(err!("expected an expression, {}", other.found()));
            }
        };
        let constant = self.constant(value);
        self.op(Op::Const(constant));
        Ok(())
    }

    fn load(&mut self, name: &str) -> Res<()> {
        let special = ["varargs", "kwargs", "caller"]
            .iter()
            .position(|n| *n == name);
        if let (Some(at), Some(takes)) = (special, self.takes.last_mut())
            && let Some(take) = takes.get_mut(at)
        {
            *take = true;
        }
        let name = self.name(name)?;
        self.op(Op::Load(name));
        Ok(())
    }

    /// Elements up to `end`, which is taken; a comma may follow the last.
    fn elements(&mut self, end: &'static str, element: fn(&mut Self) -> Res<()>) -> Res<u16> {
        let mut count = 0;
        while !self.is(end) {
            if count > 0 {
                self.expect(",")?;
                if self.is(end) {
                    break;
                }
            }
            element(self)?;
            count += 1;
        }
        self.advance()?;
        fits(count)
    }

    /// An expression, or several with commas, which are a tuple; `empty`: or nothing.
    pub fn tuple(&mut self, cond: bool, empty: bool) -> Res<()> {
        let mut count = 0;
        let mut comma = false;
        while !self.tuple_ends() {
            self.expression(cond)?;
            count += 1;
            comma = self.accept(",")?;
            if !comma {
                break;
            }
        }
        match (count, comma) {
            (1, false) => {}
            (0, _) if !empty => return Err(self.unexpected("an expression")),
            _ => drop(self.op(Op::Tuple(fits(count)?))),
        }
        Ok(())
    }

    fn tuple_ends(&self) -> bool {
        matches!(
            self.token,
            Token::PrintEnd | Token::BlockEnd | Token::Sign(")" | "=")
        ) || self.is_name("recursive")
    }

    fn postfix(&mut self) -> Res<()> {
        loop {
            if self.accept(".")? {
                self.attribute()?;
            } else if self.accept("[")? {
                self.subscript()?;
            } else if self.is("(") {
                self.call()?;
            } else {
                return Ok(());
            }
        }
    }

    fn attribute(&mut self) -> Res<()> {
        match self.advance()? {
            Token::Name(name) => {
                let name = self.name(&name)?;
                if !self.is("(") {
                    self.op(Op::Attr(name));
                    return Ok(());
                }
                let (count, names) = self.arguments()?;
                self.op(Op::Method(name, count, names));
            }
            Token::Int(n) => {
                let constant = self.constant(Value::Int(n));
                self.op(Op::Const(constant));
                self.op(Op::Item);
            }
            other => {
                return Err(err!("expected a name behind '.', {}", other.found()));
            }
        }
        Ok(())
    }

    /// What is in brackets behind a value.
    fn subscript(&mut self) -> Res<()> {
        let none = self.constant(Value::None);
        if !self.is(":") {
            self.expression(true)?;
            if self.accept(",")? {
                let rest = self.elements("]", |p| p.expression(true))?;
                self.op(Op::Tuple(rest.saturating_add(1)));
                self.op(Op::Item);
                return Ok(());
            }
            if self.accept("]")? {
                self.op(Op::Item);
                return Ok(());
            }
        } else {
            self.op(Op::Const(none));
        }
        for _ in 0..2 {
            if self.accept(":")? && !self.is(":") && !self.is("]") {
                self.expression(true)?;
            } else {
                self.op(Op::Const(none));
            }
        }
        self.op(Op::Slice);
        self.expect("]")
    }

    fn call(&mut self) -> Res<()> {
        let (count, names) = self.arguments()?;
        self.op(Op::Call(count, names));
        Ok(())
    }

    /// Arguments in brackets: how many there are, and the names of the last ones, where `*` and `**` are names too.
    fn arguments(&mut self) -> Res<(u16, Names)> {
        let called = self.last;
        self.expect("(")?;
        let mut names = Vec::new();
        let mut count = 0;
        while !self.is(")") {
            if count > 0 {
                self.expect(",")?;
                if self.is(")") {
                    break;
                }
            }
            let name = match &self.token {
                Token::Sign("*") => Some(String::from("*")),
                Token::Sign("**") => Some(String::from("**")),
                Token::Name(name) => {
                    let name = name.clone();
                    self.behind_is("=")?.then_some(name)
                }
                _ => None,
            };
            if let Some(name) = name {
                let star = name.starts_with('*');
                self.advance()?;
                let number = self.name(&name)?;
                if !star && names.contains(&number) {
                    return Err(err!("the argument '{name}' is there twice"));
                }
                if !star {
                    self.expect("=")?;
                }
                names.push(number);
            } else if !names.is_empty() {
                return Err(err!("an argument without a name follows one with a name"));
            }
            self.expression(true)?;
            count += 1;
        }
        self.expect(")")?;
        // What goes wrong in a call is said of its name.
        self.last = called;
        Ok((fits(count)?, self.names(names)?))
    }

    /// Filters and tests behind a value.
    fn filters(&mut self) -> Res<()> {
        loop {
            if self.accept("|")? {
                self.filter()?;
            } else if self.accept_name("is")? {
                self.test()?;
            } else if self.is("(") {
                self.call()?;
            } else {
                return Ok(());
            }
        }
    }

    /// A filter behind its `|`.
    pub fn filter(&mut self) -> Res<()> {
        let name = self.ident()?;
        let name = self.name(&name)?;
        let (count, names) = match self.is("(") {
            true => self.arguments()?,
            false => (0, self.names(Vec::new())?),
        };
        self.op(Op::Filter(name, count, names));
        Ok(())
    }

    fn test(&mut self) -> Res<()> {
        let not = self.accept_name("not")?;
        let name = self.ident()?;
        let name = self.name(&name)?;
        let follows = match &self.token {
            Token::Name(name) => !matches!(
                name.as_str(),
                "else" | "or" | "and" | "if" | "is" | "in" | "not" | "recursive"
            ),
            Token::Str(_) | Token::Int(_) | Token::Float(_) => true,
            Token::Sign(sign) => matches!(*sign, "[" | "{"),
            _ => false,
        };
        let (count, names) = if self.is("(") {
            self.arguments()?
        } else if follows {
            self.primary()?;
            self.postfix()?;
            (1, self.names(Vec::new())?)
        } else {
            (0, self.names(Vec::new())?)
        };
        self.op(Op::Test(name, count, names));
        if not {
            self.op(Op::Not);
        }
        Ok(())
    }
}
