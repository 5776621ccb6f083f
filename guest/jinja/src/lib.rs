//! A small, bounded interpreter of the Jinja that chat templates are written in.
//!
//! It is Jinja2 as transformers sets it up (`trim_blocks`, `lstrip_blocks`, loop controls, `{% generation %}`), with
//! Python's rules for what is true, equal, and how things are written. A template is compiled once, by [`Template::new`],
//! into code for a stack machine that keeps its calls on the heap: no template, however deep, can exhaust the
//! native stack. Steps, memory and output are bounded by [`Limits`]; whatever a template does, the outcome is text or an
//! [`Error`] with the line of the template.
//!
//! Every text knows which of its bytes come from the data and not from the template ([`Text::user_runs`]), through
//! all filters and methods, so that a chat's format can be told from what people wrote into it.
//!
//! The map: [`lex`] cuts the source into tokens, [`parse`] compiles them into [`code`], [`vm`] runs it; [`value`] has what it computes
//! with and [`text`] strings; [`arith`], [`access`], [`filters`], [`sequences`], [`tests_of`], [`methods`], [`format`](mod@format), [`time`] and [`json`] are the library.
#![no_std]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a panic is how a test fails"
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[macro_use]
mod error;
mod access;
mod args;
mod arith;
mod code;
mod filters;
mod format;
mod json;
mod lex;
mod methods;
mod parse;
mod sequences;
mod show;
mod tests_of;
mod text;
mod time;
mod value;
mod vm;

pub use error::{CUSHION, Cause, Error, Limits, Place, room};
pub use json::{parse as parse_json, write as write_json};
pub use text::{Builder, Text};
pub use value::{Dict, Value};

/// A compiled template.
pub struct Template {
    code: code::Code,
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// What does not parse, with its place.
    pub fn new(source: &str) -> Result<Self, Error> {
        parse::compile(source).map(|code| Self { code })
    }

    /// Runs the template over `context`. `now` is what `strftime_now` reads, in seconds since 1970, UTC.
    ///
    /// # Errors
    /// What the template raises, does wrong, or exceeds of the limits, with the place of what was last done.
    pub fn render(&self, context: &Dict, now: i64, limits: Limits) -> Result<Text, Error> {
        vm::run(&self.code, context, now, limits)
    }
}

/// Renders as a `String`, for tests.
#[cfg(test)]
fn render(source: &str, json: &str) -> Result<std::string::String, Error> {
    let context = parse_json(json, false)?;
    let Value::Dict(context) = context else {
        panic!("the context is an object");
    };
    let text = Template::new(source)?.render(&context, 1_735_787_045, Limits::default())?;
    Ok(std::string::String::from(text.as_str()))
}

#[cfg(test)]
mod tests;
