//! Compiles a template, in one pass: what is parsed becomes operations at once.
//!
//! The grammar is Jinja2's, with its precedences. Jumps are relative, so that code which has to run behind what follows
//! it in the source (`a if b else c`) can be moved.

use crate::code::{Bin, Cmp, Code, Jump, Macro, Name, Names, Op};
use crate::error::{CUSHION, Error, MAX_NAMES, MAX_NESTING, MAX_TOKENS, Place, Res, room};
use crate::lex::{Lexer, Token};
use crate::value::Value;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

mod expression;
mod statement;

/// Compiles a template.
pub fn compile(source: &str) -> Result<Code, Error> {
    // Two copies with other line ends, and the text in tokens and constants.
    room(CUSHION + source.len().saturating_mul(4))?;
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut parser = Parser {
        lexer: Lexer::new(&source),
        token: Token::End,
        at: Place::FIRST,
        last: Place::FIRST,
        behind: None,
        code: Code::default(),
        blocks: Vec::new(),
        takes: Vec::new(),
        depth: 0,
        tokens: 0,
    };
    match parser.template() {
        Ok(()) => Ok(parser.code),
        Err(error) if error.place == Place::default() => Err(error.at(parser.last)),
        Err(error) => Err(error),
    }
}

/// What is open around a statement.
enum Block {
    /// A loop: where it goes on, and the jumps to its end.
    Loop(usize, Vec<usize>),
    /// A scope.
    Scope,
    /// A scope whose text is a value.
    Capture,
    /// The body of a macro: `break` does not reach beyond it.
    Macro,
}

struct Parser<'s> {
    lexer: Lexer<'s>,
    token: Token,
    /// Where it is, and the one before it, which was taken last.
    at: Place,
    last: Place,
    /// The token behind it, if it was looked at.
    behind: Option<(Token, Place)>,
    code: Code,
    blocks: Vec<Block>,
    /// Of each macro being parsed, whether it mentions `varargs`, `kwargs`, `caller`.
    takes: Vec<[bool; 3]>,
    depth: usize,
    /// How many were read.
    tokens: u32,
}

impl Parser<'_> {
    fn template(&mut self) -> Res<()> {
        self.advance()?;
        let end = self.statements(&[])?;
        debug_assert!(end.is_empty());
        Ok(())
    }

    /// Goes on to the next token, returns the present one.
    fn advance(&mut self) -> Res<Token> {
        let (next, at) = match self.behind.take() {
            Some(pair) => pair,
            None => self.lexed()?,
        };
        self.last = core::mem::replace(&mut self.at, at);
        Ok(core::mem::replace(&mut self.token, next))
    }

    fn lexed(&mut self) -> Res<(Token, Place)> {
        self.tokens += 1;
        if self.tokens > MAX_TOKENS {
            return Err(limit!(
                "the template has more than {MAX_TOKENS} words and signs"
            ));
        }
        // For the operations that it becomes.
        if self.tokens.is_multiple_of(256) {
            room(CUSHION + 4 * self.here() * size_of::<(Op, Place)>())?;
        }
        let token = self.lexer.next();
        let place = self.lexer.begun;
        match token {
            Ok(token) => Ok((token, place)),
            Err(error) => Err(error.at(place)),
        }
    }

    /// Whether a sign is next but one.
    fn behind_is(&mut self, sign: &'static str) -> Res<bool> {
        if self.behind.is_none() {
            self.behind = Some(self.lexed()?);
        }
        Ok(matches!(&self.behind, Some((token, _)) if *token == Token::Sign(sign)))
    }

    fn is(&self, sign: &'static str) -> bool {
        self.token == Token::Sign(sign)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(&self.token, Token::Name(n) if n == name)
    }

    /// Takes a sign if it is next.
    fn accept(&mut self, sign: &'static str) -> Res<bool> {
        let is = self.is(sign);
        if is {
            self.advance()?;
        }
        Ok(is)
    }

    fn accept_name(&mut self, name: &str) -> Res<bool> {
        let is = self.is_name(name);
        if is {
            self.advance()?;
        }
        Ok(is)
    }

    fn unexpected(&self, expected: &str) -> Error {
        Error {
            place: self.at,
            ..err!("expected {expected}, {}", self.token.found())
        }
    }

    fn expect(&mut self, sign: &'static str) -> Res<()> {
        match self.accept(sign)? {
            true => Ok(()),
            false => Err(self.unexpected(&format!("'{sign}'"))),
        }
    }

    fn expect_name(&mut self, name: &str) -> Res<()> {
        match self.accept_name(name)? {
            true => Ok(()),
            false => Err(self.unexpected(&format!("'{name}'"))),
        }
    }

    fn expect_block_end(&mut self) -> Res<()> {
        match self.token {
            Token::BlockEnd => self.advance().map(drop),
            _ => Err(self.unexpected("'%}'")),
        }
    }

    /// Any name.
    fn ident(&mut self) -> Res<String> {
        if !matches!(self.token, Token::Name(_)) {
            return Err(self.unexpected("a name"));
        }
        match self.advance()? {
            Token::Name(name) => Ok(name),
            _ => Ok(String::new()),
        }
    }

    fn deeper(&mut self) -> Res<()> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(err!("the template is nested more than {MAX_NESTING} deep"));
        }
        Ok(())
    }

    fn name(&mut self, name: &str) -> Res<Name> {
        if let Some(at) = self.code.names.iter().position(|n| &**n == name) {
            return Ok(at as Name);
        }
        if self.code.names.len() == MAX_NAMES {
            return Err(err!("the template has more than {MAX_NAMES} names"));
        }
        self.code.names.push(Rc::from(name));
        fits(self.code.names.len() - 1)
    }

    fn names(&mut self, list: Vec<Name>) -> Res<Names> {
        if let Some(at) = self.code.name_lists.iter().position(|l| *l == list) {
            return Ok(at as Names);
        }
        self.code.name_lists.push(list);
        fits(self.code.name_lists.len() - 1)
    }

    fn constant(&mut self, value: Value) -> u32 {
        self.code.consts.push(value);
        self.code.consts.len() as u32 - 1
    }

    fn here(&self) -> usize {
        self.code.ops.len()
    }

    /// Appends an operation; returns where it is.
    fn op(&mut self, op: Op) -> usize {
        self.code.ops.push(op);
        self.code.places.push(self.last);
        self.here() - 1
    }

    /// Appends a jump back to `target`.
    fn jump_back(&mut self, target: usize) {
        let at = self.here();
        self.op(Op::Jump(offset(at, target)));
    }

    /// Has the jump at `at` lead here.
    fn land(&mut self, at: usize) {
        let jump = offset(at, self.here());
        if let Some(
            Op::Jump(j)
            | Op::IfNot(j)
            | Op::And(j)
            | Op::Or(j)
            | Op::Chain(_, j)
            | Op::LoopNext(j)
            | Op::FilterNext(j)
            | Op::Given(_, j),
        ) = self.code.ops.get_mut(at)
        {
            *j = jump;
        }
    }

    /// Takes the operations from `start` on out of the code.
    fn lift(&mut self, start: usize) -> (Vec<Op>, Vec<Place>) {
        (
            self.code.ops.split_off(start),
            self.code.places.split_off(start),
        )
    }

    fn put_back(&mut self, mut lifted: (Vec<Op>, Vec<Place>)) {
        self.code.ops.append(&mut lifted.0);
        self.code.places.append(&mut lifted.1);
    }
}

/// From the operation behind the one at `at` to `target`.
fn offset(at: usize, target: usize) -> Jump {
    (target as Jump) - (at as Jump) - 1
}

/// A count or index in an operation.
fn fits(n: usize) -> Res<u16> {
    u16::try_from(n).map_err(|_| err!("the template has too many names or elements"))
}
