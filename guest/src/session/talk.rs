//! Chat turns: from messages to the tokens to feed, and from the reply's tokens to its text.

use super::{Outcome, Owed, Session};
use crate::abi::{self, Result, try_vec};
use crate::chat::{self, Next, Style, named, reply, reply::Said};
use alloc::string::String;
use alloc::vec::Vec;
use realm_jinja::Text;

impl Session {
    /// The tokens of a chat turn: a user's message, or all messages in JSON.
    pub(super) fn converse(&mut self, all: bool, text: &str) -> Result<Vec<u32>> {
        let said = self.said()?;
        let system = &self.params.system;
        // What is said is in a message, in what is rendered while that grows, and in what is kept of it.
        chat::room(4usize.saturating_mul(text.len() + system.len() + said.text.len()))?;
        let next = match all {
            true => self.talk.replace(system, text)?,
            false => self.talk.say(system, &said, text, self.has_tools())?,
        };
        let rendered = self.render(&next)?;
        let text = rendered.as_str();
        // The context holds what was rendered, and the reply.
        let there = self
            .talk
            .rendered()
            .map(|before| before.len() + said.text.len());
        let begins = self.talk.rendered().is_some_and(|before| {
            let rest = text.strip_prefix(before);
            rest.is_some_and(|rest| rest.starts_with(&said.text))
        });
        let new = there.filter(|_| begins && self.talk.end().is_none());
        let mut feed = match new {
            Some(from) => {
                let mut feed = try_vec(1 + (text.len() - from) / 4)?;
                feed.extend(self.owed.feed());
                self.parts(&rendered, from, false, &mut feed)?;
                feed
            }
            None => self.anew(&rendered)?,
        };
        let base = match self.talk.base() {
            Some(base) => base,
            None => self.committed + self.owed.feed().len() as u32,
        };
        let at = self.committed + feed.len() as u32;
        self.begin_reply(&next.prefill, &mut feed)?;
        self.talk.begin(next, chat::copy(text)?, new, base, at);
        Ok(feed)
    }

    /// The reply goes on with this.
    pub(super) fn go_on(&mut self, text: &str) -> Result<Vec<u32>> {
        if self.talk.is_empty() {
            return Err(fail!(
                STATE,
                "there is no reply to go on with: a chat turn is expected before it"
            ));
        }
        if let Some(end) = self.talk.end() {
            self.rewind(end)?;
        }
        let mut feed = try_vec(1 + text.len() / 4)?;
        feed.extend(self.owed.feed());
        self.begin_reply(text, &mut feed)?;
        Ok(feed)
    }

    /// Appends the tokens of what the reply says next. Behind characters it is no text of its own, before which a vocabulary
    /// may want a space.
    fn begin_reply(&self, text: &str, feed: &mut Vec<u32>) -> Result<()> {
        let mut flags = match self.params.chat_special {
            true => abi::PARSE_SPECIAL,
            false => 0,
        };
        if let Some(last) = feed.last().or(self.sampler.context().last()) {
            let mut piece = Vec::new();
            abi::piece(self.model, *last, &mut piece)?;
            if !piece.is_empty() {
                flags |= abi::GOES_ON;
            }
        }
        abi::tokenize(self.model, text, flags, feed)
    }

    fn has_tools(&self) -> bool {
        !self.params.tools.is_empty()
    }

    /// Tells the host what the last reply says, in JSON. Nothing enters the context.
    pub(super) fn parse_reply(&mut self) -> Result<Outcome> {
        if self.talk.is_empty() {
            return Err(fail!(
                STATE,
                "there is no reply to read: a chat turn is expected before it"
            ));
        }
        let said = self.said()?;
        chat::room(8usize.saturating_mul(said.text.len()))?;
        let json = reply::json(&said, self.has_tools())?;
        abi::emit(-1, json.as_bytes())?;
        Ok(Outcome::Eos)
    }

    /// Tokens of a conversation of which the context does not hold what was thought: from where the two part.
    fn anew(&mut self, rendered: &Text) -> Result<Vec<u32>> {
        let base = self.talk.base();
        let at_start = base.unwrap_or(self.committed) == 0;
        let mut feed = try_vec(1 + rendered.as_str().len() / 4)?;
        if base.is_none() {
            feed.extend(self.owed.feed());
        }
        self.parts(rendered, 0, at_start, &mut feed)?;
        let Some(base) = base else {
            return Ok(feed);
        };
        let context = self
            .sampler
            .context()
            .get(base as usize..)
            .unwrap_or_default();
        let same = context
            .iter()
            .zip(&feed)
            .take_while(|(a, b)| a == b)
            .count();
        // Something must be fed, so that there are logits.
        let mut same = same.min(feed.len().saturating_sub(1));
        if self.kept.any() && same < context.len() {
            same = 0;
        }
        let room = (self.ctx - base) as usize;
        if feed.len() > room {
            return Err(fail!(
                LIMIT,
                "the conversation has {} tokens, but the context of {} has room for {room}",
                feed.len(),
                self.ctx
            ));
        }
        let position = base + same as u32;
        if self.kept.any() && position != 0 && position < self.committed {
            return Err(fail!(
                UNSUPPORTED,
                "the chat template writes what was said anew, and a model with convolutions cannot go back to {position}"
            ));
        }
        if position < self.committed {
            let chat = core::mem::take(&mut self.talk);
            self.rewind(position)?;
            self.talk = chat;
        }
        // The context's own last token, if it was not to be kept, is forgotten.
        self.owed = Owed::default();
        feed.drain(..same);
        Ok(feed)
    }

    fn render(&self, next: &Next) -> Result<Text> {
        let model = match &self.params.chat_template {
            Some(_) => None,
            None => abi::meta_string(self.model, "tokenizer.chat_template", -1)?,
        };
        let template = match (&self.params.chat_template, &model) {
            (Some(template), _) | (None, Some(template)) => template.as_str(),
            (None, None) => {
                abi::log(
                    1,
                    format_args!("the model has no chat template; messages go in as they stand"),
                );
                named::RAW
            }
        };
        let style = Style {
            template,
            tools: &self.params.tools,
            kwargs: &self.params.chat_template_kwargs,
            now: self.params.chat_time,
            bos: &self.stored(self.vocab.bos)?,
            eos: &self.stored(self.vocab.eos)?,
        };
        chat::render(&style, &next.messages)
    }

    /// A token's text as the file has it; nothing for none.
    fn stored(&self, token: i32) -> Result<String> {
        match token {
            0.. => {
                let text = abi::meta_string(self.model, "tokenizer.ggml.tokens", token)?;
                Ok(text.unwrap_or_default())
            }
            _ => Ok(String::new()),
        }
    }

    /// The last reply.
    fn said(&self) -> Result<Said> {
        let mut said = Said::default();
        let Some(from) = self.talk.reply() else {
            return Ok(said);
        };
        let context = self.sampler.context();
        let shown = context.len().saturating_sub(self.owed.unseen as usize);
        let end = self.talk.end().map_or(shown, |end| end as usize);
        let tokens = context.get(from as usize..end).unwrap_or_default();
        // Characters may be in several tokens.
        let mut bytes = Vec::new();
        for token in tokens.iter().chain(&self.owed.tokens) {
            let before = bytes.len();
            abi::piece(self.model, *token, &mut bytes)?;
            if bytes.len() == before {
                said.text.push_str(&String::from_utf8_lossy(&bytes));
                bytes.clear();
                let start = said.text.len();
                said.text
                    .push_str(&self.stored(i32::try_from(*token).unwrap_or(-1))?);
                if said.text.len() > start {
                    said.marks.push((start, said.text.len()));
                }
            }
        }
        chat::room(said.text.len() + bytes.len())?;
        said.text.push_str(&String::from_utf8_lossy(&bytes));
        Ok(said)
    }

    /// Appends the tokens of a text from a byte on. Special tokens are recognised in what the template wrote, and what the data say
    /// stands for itself: where they would be recognised in it, it is kept apart.
    fn parts(&self, text: &Text, from: usize, empty: bool, feed: &mut Vec<u32>) -> Result<()> {
        let whole = text.as_str();
        let (first, flags) = (feed.len(), abi::PARSE_SPECIAL);
        let mut done = from;
        for (start, end) in text.user_runs() {
            let start = (*start).max(from);
            let run = whole.get(start..*end).unwrap_or_default();
            if run.is_empty() || self.params.chat_special || !self.marks(run)? {
                continue;
            }
            let before = whole.get(done..start).unwrap_or_default();
            if !before.is_empty() {
                self.tokens_of(before, flags, empty, feed)?;
            }
            self.tokens_of(run, 0, empty, feed)?;
            done = *end;
        }
        let rest = whole.get(done..).unwrap_or_default();
        if !rest.is_empty() || done == from {
            self.tokens_of(rest, flags, empty, feed)?;
        }
        // A template that writes BOS means the one that the vocabulary adds.
        let twice = [self.vocab.bos; 2].map(|bos| bos as u32);
        if empty && self.vocab.add_bos && feed.get(first..first + 2) == Some(&twice) {
            feed.remove(first);
        }
        Ok(())
    }

    /// Whether special tokens would be recognised in the text.
    fn marks(&self, text: &str) -> Result<bool> {
        let (mut parsed, mut plain) = (try_vec(text.len() / 4)?, try_vec(text.len() / 4)?);
        abi::tokenize(self.model, text, abi::PARSE_SPECIAL, &mut parsed)?;
        abi::tokenize(self.model, text, 0, &mut plain)?;
        Ok(parsed != plain)
    }
}
