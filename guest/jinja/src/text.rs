//! Strings that know which of their bytes come from the data.

use crate::error::{Budget, Res, no_memory};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

/// A range of bytes, `start .. end`.
pub type Run = (usize, usize);

/// An immutable string and the ranges of it that come from the data, ascending, apart, and none of them empty.
#[derive(Clone, Debug)]
pub struct Text {
    text: Rc<str>,
    user: Option<Rc<[Run]>>,
    /// MarkupSafe's `Markup`: what is added to it is escaped for HTML.
    markup: bool,
}

impl Text {
    /// Text of the template's, or anybody's who is trusted as much.
    pub fn new(text: &str) -> Self {
        Self {
            text: Rc::from(text),
            user: None,
            markup: false,
        }
    }

    /// Text that comes from the data.
    pub fn user(text: &str) -> Self {
        let user = (!text.is_empty()).then(|| Rc::from([(0, text.len())].as_slice()));
        Self {
            text: Rc::from(text),
            user,
            markup: false,
        }
    }

    /// The string.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Which ranges of bytes come from the data, ascending and apart.
    pub fn user_runs(&self) -> &[Run] {
        self.user.as_deref().unwrap_or_default()
    }

    /// Whether it is safe HTML, by a filter's word.
    pub(crate) fn is_markup(&self) -> bool {
        self.markup
    }

    /// The same, safe HTML or not.
    pub(crate) fn with_markup(self, markup: bool) -> Self {
        Self { markup, ..self }
    }

    /// Characters.
    pub(crate) fn count(&self) -> usize {
        self.text.chars().count()
    }

    /// The characters, each with whether it comes from the data.
    pub(crate) fn chars(&self) -> impl Iterator<Item = (char, bool)> {
        let mut runs = self.user_runs().iter().peekable();
        self.text.char_indices().map(move |(at, c)| {
            while runs.next_if(|run| run.1 <= at).is_some() {}
            (c, runs.peek().is_some_and(|run| run.0 <= at))
        })
    }

    /// The characters as texts.
    pub(crate) fn letters(&self) -> impl Iterator<Item = Self> {
        self.chars().map(|(c, user)| {
            let mut bytes = [0; 4];
            let text = c.encode_utf8(&mut bytes);
            if user {
                Self::user(text)
            } else {
                Self::new(text)
            }
        })
    }

    /// A part, by bytes; what is outside is left out.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        if range.start == 0 && range.end >= self.text.len() {
            return self.clone();
        }
        let text = self.text.get(range.clone()).unwrap_or_default();
        let part = match self.user {
            None => Self::new(text),
            Some(_) => {
                let mut out = Builder::default();
                out.part(self, range);
                out.done()
            }
        };
        part.with_markup(self.markup)
    }

    /// The part that `part`, a slice of this text's `as_str`, is.
    pub(crate) fn part(&self, part: &str) -> Self {
        let start = (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        self.slice(start..start + part.len())
    }
}

/// Collects a text.
#[derive(Default)]
pub struct Builder {
    text: String,
    user: Vec<Run>,
    full: bool,
}

impl Builder {
    /// Appends text that comes from the data, or not.
    pub fn add(&mut self, text: &str, user: bool) {
        if self.text.try_reserve(text.len()).is_err() {
            self.full = true;
            return;
        }
        let start = self.text.len();
        self.text.push_str(text);
        if user {
            self.mark(start, self.text.len());
        }
    }

    /// Appends text of the template's.
    pub fn str(&mut self, text: &str) {
        self.add(text, false);
    }

    /// Appends a character.
    pub fn char(&mut self, c: char, user: bool) {
        self.add(c.encode_utf8(&mut [0; 4]), user);
    }

    /// Appends a text with what it knows.
    pub fn text(&mut self, text: &Text) {
        let start = self.text.len();
        self.str(&text.text);
        if self.full {
            return;
        }
        for run in text.user_runs() {
            self.mark(start + run.0, start + run.1);
        }
    }

    /// Appends a range of a text's bytes.
    pub fn part(&mut self, text: &Text, range: Range<usize>) {
        let start = self.text.len();
        self.str(text.text.get(range.clone()).unwrap_or_default());
        if self.full {
            return;
        }
        let runs = text.user_runs();
        let first = runs.partition_point(|run| run.1 <= range.start);
        let runs = runs.get(first..).unwrap_or_default();
        for run in runs.iter().take_while(|run| run.0 < range.end) {
            let from = run.0.max(range.start);
            let to = run.1.min(range.end);
            if from < to {
                self.mark(start + from - range.start, start + to - range.start);
            }
        }
    }

    fn mark(&mut self, start: usize, end: usize) {
        if start == end {
            return;
        }
        if let Some(last) = self.user.last_mut().filter(|last| last.1 == start) {
            last.1 = end;
        } else if self.user.try_reserve(1).is_err() {
            self.full = true;
        } else {
            self.user.push((start, end));
        }
    }

    /// Whether there is nothing so far.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// What is there so far.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text, if memory was enough for it and it is no longer than allowed.
    ///
    /// # Errors
    /// It was not, or it is.
    pub(crate) fn finish(self, budget: &Budget) -> Res<Text> {
        budget.spend(self.text.len() / 16)?;
        self.check(budget)?;
        budget.long(self.text.len())?;
        Ok(self.done())
    }

    /// Whether all is well so far.
    pub(crate) fn check(&self, budget: &Budget) -> Res<()> {
        if self.full {
            return Err(no_memory());
        }
        if self.text.len() > budget.output_bytes {
            let most = budget.output_bytes;
            return Err(err!("the template makes more than {most} bytes of text"));
        }
        Ok(())
    }

    /// The text, of whose length the caller is sure.
    pub fn done(self) -> Text {
        Text {
            text: Rc::from(self.text),
            user: (!self.user.is_empty()).then(|| Rc::from(self.user)),
            markup: false,
        }
    }
}

/// Applies `f` to every character; what it gives comes from where the character came from.
pub fn map_chars(
    text: &Text,
    budget: &Budget,
    mut f: impl FnMut(char, &mut dyn FnMut(char)),
) -> Res<Text> {
    let mut out = Builder::default();
    for (c, user) in text.chars() {
        f(c, &mut |c| out.char(c, user));
    }
    Ok(out.finish(budget)?.with_markup(text.markup))
}

/// Safe HTML that shows the text: of what is safe already, the same.
pub fn escape(text: &Text, budget: &Budget) -> Res<Text> {
    if text.markup {
        return Ok(text.clone());
    }
    let escaped = map_chars(text, budget, |c, put| match c {
        '&' => "&amp;".chars().for_each(put),
        '<' => "&lt;".chars().for_each(put),
        '>' => "&gt;".chars().for_each(put),
        '\'' => "&#39;".chars().for_each(put),
        '"' => "&#34;".chars().for_each(put),
        c => put(c),
    })?;
    Ok(escaped.with_markup(true))
}

/// Joins what a filter or method works on with what it adds.
pub fn pad(
    text: &Text,
    before: usize,
    after: usize,
    fill: (char, bool),
    budget: &Budget,
) -> Res<Text> {
    let mut out = Builder::default();
    let bytes = before
        .saturating_add(after)
        .saturating_mul(fill.0.len_utf8());
    if bytes > budget.output_bytes {
        return Err(err!(
            "the template makes more than {} bytes of text",
            budget.output_bytes
        ));
    }
    for _ in 0..before {
        out.char(fill.0, fill.1);
    }
    out.text(text);
    for _ in 0..after {
        out.char(fill.0, fill.1);
    }
    out.finish(budget)
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Text {
    /// Whether its first character comes from the data.
    pub(crate) fn starts_user(&self) -> bool {
        self.user_runs().first().is_some_and(|run| run.0 == 0)
    }
}
