//! Runs a compiled grammar over bytes.
//!
//! A state is the set of all places where the grammar may be, and for each of them whom to return to: Earley's idea, written as a
//! graph-structured stack (Tomita 1985), so that ambiguity costs a polynomial and not a power. What was called at the same
//! byte is one call with several places to return to, a *frame*. States and frames are kept once and numbered, and a state remembers
//! where each byte leads: the machine turns into a table of a finite automaton as it is used, and a byte is a look-up.

use super::code::{Code, ENDLESS, Op};
use super::index::{Index, Lists, Words};
use alloc::vec;
use alloc::vec::Vec;

/// A state's number.
pub type State = u16;
/// No text goes on from here.
pub const DEAD: State = 0;
/// Where a byte leads is to be found out.
pub const UNKNOWN: State = State::MAX;

/// Places of one state, and frames of one step.
const MAX_PLACES: usize = 1 << 14;
/// So many places are few.
const FEW: usize = 64;
/// Work between two calls of [`Machine::rest`], in places looked at. One takes up to some 700 instructions of WebAssembly, and an
/// event has 4 billion unless the application says otherwise: so a bad grammar ends a turn, and not the session.
const MAX_WORK: u32 = 2_000_000;
/// Work of a step beside its places, and how many comparisons of classes are as much as one place.
const STEP_WORK: usize = 2;
const COMPARED: usize = 16;
/// When to forget states: numbers, and bytes of all that is kept for them.
const MAX_STATES: usize = 8192;
const MAX_BYTES: usize = 1 << 20;
/// The bit of a frame that is not kept yet.
const FRESH: u32 = 1 << 31;

/// A bound is reached; says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full(pub &'static str);

impl Full {
    /// The guest's memory.
    pub const MEMORY: Self =
        Self("the guest's memory limit (max_guest_memory_bytes) is too small for the grammar");
}

type Result<T> = core::result::Result<T, Full>;

/// Appends, or says that there is no memory.
pub fn push<T>(list: &mut Vec<T>, item: T) -> Result<()> {
    list.try_reserve(1).map_err(|_| Full::MEMORY)?;
    list.push(item);
    Ok(())
}

/// Where to go on behind a call: an operation, which repetition of it is next, and the frame it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    at: u32,
    count: u32,
    frame: u32,
}

impl Words for Place {
    fn words(&self) -> [u32; 3] {
        [self.at, self.count, self.frame]
    }
}

/// A call made in the step under way.
struct Fresh {
    target: u32,
    /// Whom to return to.
    places: Vec<Place>,
    /// It has returned: it can be empty.
    returned: bool,
    /// What it is kept as.
    kept: Option<u32>,
}

/// A machine. Its numbers of states are good until [`Machine::rest`].
pub struct Machine {
    code: Code,
    frames: Lists<Place>,
    /// The operations that take a byte or a token; the last place of a state where the text may end is [`ENDS`].
    states: Lists<Place>,
    /// Where each state goes, by class of bytes.
    next: Vec<State>,
    /// Of the step under way.
    fresh: Vec<Fresh>,
    /// The fresh frame of each target, one more than its number.
    calls: Vec<u32>,
    seen: Index,
    todo: Vec<Place>,
    places: Vec<Place>,
    /// Of the state that a step goes out from, and those that were looked at on the way.
    from: Vec<Place>,
    visited: Vec<Place>,
    work: u32,
}

/// The text may end here.
const ENDS: Place = Place {
    at: u32::MAX,
    count: 0,
    frame: 0,
};

impl Machine {
    /// A machine for a grammar.
    pub fn new(code: Code) -> Result<Self> {
        let calls = vec![0; code.targets.len()];
        let mut machine = Self {
            code,
            frames: Lists::default(),
            states: Lists::default(),
            next: Vec::new(),
            fresh: Vec::new(),
            calls,
            seen: Index::default(),
            todo: Vec::new(),
            places: Vec::new(),
            from: Vec::new(),
            visited: Vec::new(),
            work: 0,
        };
        machine.clear()?;
        Ok(machine)
    }

    /// The state before any byte.
    pub fn start(&mut self) -> Result<State> {
        let first = Place {
            at: 0,
            count: 0,
            frame: 0,
        };
        push(&mut self.todo, first)?;
        self.close()
    }

    /// Forgets all states but [`DEAD`], and all frames but the outermost.
    fn clear(&mut self) -> Result<()> {
        self.frames.clear();
        self.states.clear();
        self.next.clear();
        self.frames.add(&[])?;
        self.keep_state(&[]).map(drop)
    }

    /// Whether the text may end in this state.
    pub fn accepts(&self, state: State) -> bool {
        self.states.get(u32::from(state)).last() == Some(&ENDS)
    }

    /// Whether the text must end in this state.
    pub fn is_end(&self, state: State) -> bool {
        self.states.get(u32::from(state)) == [ENDS]
    }

    /// Where a byte leads.
    #[inline]
    pub fn step(&mut self, state: State, byte: u8) -> Result<State> {
        match self.known(state, byte) {
            UNKNOWN => self.find(state, byte),
            next => Ok(next),
        }
    }

    /// Whether anything in this state takes this token as a whole.
    pub fn takes_token(&self, state: State, token: u32) -> bool {
        let mut places = self.states.get(u32::from(state)).iter();
        self.code.has_tokens && places.any(|place| self.is_taken(place, token))
    }

    fn is_taken(&self, place: &Place, token: u32) -> bool {
        match self.code.op(place.at) {
            Op::Token(id) => id == token,
            Op::NotToken(id) => id != token,
            _ => false,
        }
    }

    /// Gives `f` each token below `n_tokens` that is taken as a whole in this state.
    pub fn each_token(&self, state: State, n_tokens: u32, mut f: impl FnMut(u32)) {
        let places = match self.code.has_tokens {
            true => self.states.get(u32::from(state)),
            false => &[],
        };
        // The token that nothing takes, as long as there is only one such.
        let mut but: Option<Option<u32>> = None;
        for place in places {
            match self.code.op(place.at) {
                Op::Token(id) if id < n_tokens => f(id),
                Op::NotToken(id) => {
                    but = Some(but.map_or(Some(id), |but| but.filter(|b| *b == id)))
                }
                _ => {}
            }
        }
        if let Some(but) = but {
            (0..n_tokens).filter(|id| Some(*id) != but).for_each(f);
        }
    }

    /// Where a token leads that its bytes lead to `by_bytes`: there, and where it is taken as a whole.
    pub fn token(&mut self, state: State, token: u32, by_bytes: State) -> Result<State> {
        if !self.takes_token(state, token) {
            return Ok(by_bytes);
        }
        let places = self.states.get(u32::from(state));
        self.spend(places.len() + STEP_WORK)?;
        let mut todo = core::mem::take(&mut self.todo);
        for place in self.states.get(u32::from(state)) {
            if self.is_taken(place, token) {
                let at = place.at + 1;
                push(&mut todo, Place { at, ..*place })?;
            }
        }
        self.todo = todo;
        let whole = self.close()?;
        if by_bytes == DEAD {
            return Ok(whole);
        }
        let mut both = Vec::new();
        for state in [whole, by_bytes] {
            let places = self.states.get(u32::from(state));
            both.try_reserve(places.len()).map_err(|_| Full::MEMORY)?;
            both.extend_from_slice(places);
        }
        both.sort_unstable();
        both.dedup();
        self.keep_state(&both)
    }

    /// Where a byte leads, if it has been asked before; else [`UNKNOWN`].
    #[inline]
    pub fn known(&self, state: State, byte: u8) -> State {
        let slot = usize::from(state) * self.code.n_classes() + self.code.class(byte);
        self.next.get(slot).copied().unwrap_or(UNKNOWN)
    }

    /// Ends a stretch of work: what was counted is forgotten, and so are states, if they are too many, but these,
    /// whose numbers change.
    pub fn rest(&mut self, kept: &mut [State]) -> Result<()> {
        self.work = 0;
        if self.is_crowded() {
            self.shrink(kept)
        } else {
            Ok(())
        }
    }

    /// Whether so much is kept that some of it should be forgotten.
    pub fn is_crowded(&self) -> bool {
        let bytes = self.next.len() * size_of::<State>()
            + (self.states.size() + self.frames.size()) * size_of::<Place>()
            + (self.states.count() + self.frames.count()) * 24;
        bytes > MAX_BYTES || self.states.count() >= MAX_STATES
    }

    /// Forgets all states but these, whose numbers change, and all frames that these do not lead to.
    #[cold]
    pub fn shrink(&mut self, kept: &mut [State]) -> Result<()> {
        let frames = core::mem::take(&mut self.frames);
        let states = core::mem::take(&mut self.states);
        self.clear()?;
        // New numbers of old frames: a frame's own frames are older than it, so one walk down and one up do.
        let mut needed = vec![false; frames.count()];
        let lists = |state: &State| states.get(u32::from(*state));
        for place in kept.iter().flat_map(lists) {
            if let Some(flag) = needed.get_mut(place.frame as usize) {
                *flag = true;
            }
        }
        for number in (0..frames.count()).rev() {
            if needed.get(number) != Some(&true) {
                continue;
            }
            for place in frames.get(number as u32) {
                if let Some(flag) = needed.get_mut(place.frame as usize) {
                    *flag = true;
                }
            }
        }
        let mut moved = vec![0u32; frames.count()];
        let mut list = Vec::new();
        let renamed = |place: &Place, moved: &[u32]| Place {
            frame: moved.get(place.frame as usize).copied().unwrap_or(0),
            ..*place
        };
        for number in 0..frames.count() {
            if needed.get(number) == Some(&true) {
                list.clear();
                list.extend(frames.get(number as u32).iter().map(|p| renamed(p, &moved)));
                list.sort_unstable();
                let new = self.frames.add(&list)?;
                if let Some(place) = moved.get_mut(number) {
                    *place = new;
                }
            }
        }
        for state in kept {
            list.clear();
            list.extend(
                states
                    .get(u32::from(*state))
                    .iter()
                    .map(|p| renamed(p, &moved)),
            );
            list.sort_unstable();
            *state = self.keep_state(&list)?;
        }
        if self.is_crowded() {
            return Err(Full(
                "the text is nested too deeply, or the grammar too ambiguous, for its bounds",
            ));
        }
        Ok(())
    }

    fn keep_state(&mut self, places: &[Place]) -> Result<State> {
        let before = self.states.count();
        let number = self.states.add(places)?;
        if self.states.count() > before {
            let size = self.next.len() + self.code.n_classes();
            let more = size - self.next.len();
            self.next.try_reserve(more).map_err(|_| Full::MEMORY)?;
            self.next.resize(size, UNKNOWN);
        }
        // The bound on states leaves room for those of one step.
        Ok(State::try_from(number).unwrap_or(DEAD))
    }

    #[cold]
    #[inline(never)]
    fn find(&mut self, state: State, byte: u8) -> Result<State> {
        if self.states.count() >= usize::from(UNKNOWN) - 1 {
            return Err(Full("the grammar has too many states within one token"));
        }
        let mut from = core::mem::take(&mut self.from);
        from.clear();
        let places = self.states.get(u32::from(state));
        from.try_reserve(places.len()).map_err(|_| Full::MEMORY)?;
        from.extend_from_slice(places);
        self.spend(from.len() + STEP_WORK)?;
        for place in &from {
            if self.takes(place, byte) {
                let next = Place {
                    at: place.at + 1,
                    ..*place
                };
                push(&mut self.todo, next)?;
            }
        }
        let next = self.close()?;
        // Other bytes that the same places take lead there as well: where there are few, they are quickly compared.
        let row = usize::from(state) * self.code.n_classes();
        let classes = if from.len() <= FEW {
            self.code.n_classes()
        } else {
            0
        };
        if let Some(known) = self.next.get_mut(row + self.code.class(byte)) {
            *known = next;
        }
        let mut compared = 0;
        for class in 0..classes {
            let other = self.code.byte_of(class);
            let same = |place: &Place| {
                compared += 1;
                self.takes(place, byte) == self.takes(place, other)
            };
            if self.next.get(row + class) == Some(&UNKNOWN)
                && from.iter().all(same)
                && let Some(known) = self.next.get_mut(row + class)
            {
                *known = next;
            }
        }
        self.from = from;
        self.spend(compared / COMPARED)?;
        Ok(next)
    }

    /// Whether a place of a state goes on with a byte.
    fn takes(&self, place: &Place, byte: u8) -> bool {
        *place != ENDS
            && matches!(self.code.op(place.at), Op::Bytes(set) if self.code.takes(set, byte))
    }

    fn spend(&mut self, places: usize) -> Result<()> {
        self.work = self.work.saturating_add(places as u32);
        if self.work > MAX_WORK {
            return Err(Full("the grammar takes too long: it is too ambiguous"));
        }
        Ok(())
    }

    /// The state of the places in `todo`, after everything that takes no byte.
    fn close(&mut self) -> Result<State> {
        let result = self.closure();
        self.todo.clear();
        for fresh in self.fresh.drain(..) {
            if let Some(call) = self.calls.get_mut(fresh.target as usize) {
                *call = 0;
            }
        }
        result
    }

    fn closure(&mut self) -> Result<State> {
        self.seen.clear();
        let mut seen = core::mem::take(&mut self.visited);
        seen.clear();
        let mut places = core::mem::take(&mut self.places);
        places.clear();
        while let Some(mut place) = self.todo.pop() {
            place.at = self.code.thread(place.at);
            let new = seen.len() as u32;
            let hash = super::index::hash(&[place]);
            let same = |number: u32| seen.get(number as usize) == Some(&place);
            if self.seen.find(hash, new, same)? != new {
                continue;
            }
            push(&mut seen, place)?;
            if seen.len() > MAX_PLACES * 4 || places.len() > MAX_PLACES {
                return Err(Full(
                    "the grammar is too ambiguous, or a rule has too many alternatives",
                ));
            }
            self.follow(place, &mut places)?;
        }
        self.spend(seen.len())?;
        self.visited = seen;
        for place in places.iter_mut().filter(|place| **place != ENDS) {
            place.frame = self.keep(place.frame)?;
        }
        places.sort_unstable();
        places.dedup();
        let state = self.keep_state(&places)?;
        self.places = places;
        Ok(state)
    }

    /// What an operation leads to without a byte.
    fn follow(&mut self, place: Place, places: &mut Vec<Place>) -> Result<()> {
        let Place { at, count, frame } = place;
        let go = |at| Place {
            at,
            count: 0,
            frame,
        };
        match self.code.op(at) {
            Op::Bytes(_) | Op::Token(_) | Op::NotToken(_) => push(places, go(at)),
            Op::Accept => push(places, ENDS),
            Op::Goto(to) => push(&mut self.todo, go(to)),
            Op::Split(a, b) => {
                push(&mut self.todo, go(a))?;
                push(&mut self.todo, go(b))
            }
            Op::Call(target) => self.call(target, go(at + 1)),
            Op::Loop(index) => {
                let counted = self.code.counted(index);
                if count >= counted.min {
                    push(&mut self.todo, go(at + 1))?;
                }
                if counted.max == ENDLESS {
                    // What is above the minimum makes no difference any more.
                    let count = (count + 1).min(counted.min.max(1));
                    self.call(counted.target, Place { at, count, frame })
                } else if count < counted.max {
                    self.call(
                        counted.target,
                        Place {
                            at,
                            count: count + 1,
                            frame,
                        },
                    )
                } else {
                    Ok(())
                }
            }
            Op::Return => self.give_back(frame),
        }
    }

    fn call(&mut self, target: u32, back: Place) -> Result<()> {
        let known = self.calls.get(target as usize).copied().unwrap_or(0);
        let number = match (known as usize).checked_sub(1) {
            Some(number) => number,
            None => {
                push(
                    &mut self.fresh,
                    Fresh {
                        target,
                        places: Vec::new(),
                        returned: false,
                        kept: None,
                    },
                )?;
                let number = self.fresh.len() - 1;
                if let Some(call) = self.calls.get_mut(target as usize) {
                    *call = number as u32 + 1;
                }
                let start = Place {
                    at: self.code.start(target),
                    count: 0,
                    frame: number as u32 | FRESH,
                };
                push(&mut self.todo, start)?;
                number
            }
        };
        let Some(fresh) = self.fresh.get_mut(number) else {
            return Ok(());
        };
        push(&mut fresh.places, back)?;
        if fresh.returned && back.count == 0 {
            push(&mut self.todo, back)?;
        }
        Ok(())
    }

    /// Goes on behind a call that is complete.
    fn give_back(&mut self, frame: u32) -> Result<()> {
        if frame & FRESH == 0 {
            let places = self.frames.get(frame);
            self.todo
                .try_reserve(places.len())
                .map_err(|_| Full::MEMORY)?;
            self.todo.extend_from_slice(places);
            return self.spend(self.todo.len().min(MAX_PLACES));
        }
        if let Some(fresh) = self.fresh.get_mut((frame & !FRESH) as usize) {
            fresh.returned = true;
            // A repetition gains nothing from an empty turn, and would go round for ever.
            for place in fresh.places.iter().filter(|place| place.count == 0) {
                push(&mut self.todo, *place)?;
            }
        }
        Ok(())
    }

    /// The number under which a frame of this step is kept, and with it those that it returns to. They return to one another in
    /// no circle, because no rule begins with itself.
    fn keep(&mut self, frame: u32) -> Result<u32> {
        if frame & FRESH == 0 {
            return Ok(frame);
        }
        let mut stack = vec![frame];
        while let Some(frame) = stack.last() {
            let number = (frame & !FRESH) as usize;
            let Some(fresh) = self.fresh.get(number) else {
                break;
            };
            if fresh.kept.is_some() {
                stack.pop();
                continue;
            }
            let kept = |frame: u32| match frame & FRESH {
                0 => Some(frame),
                _ => self
                    .fresh
                    .get((frame & !FRESH) as usize)
                    .and_then(|f| f.kept),
            };
            let before = stack.len();
            for place in &fresh.places {
                if kept(place.frame).is_none() {
                    push(&mut stack, place.frame)?;
                }
            }
            if stack.len() > before {
                continue;
            }
            let mut places = Vec::new();
            for place in &fresh.places {
                let frame = kept(place.frame).unwrap_or(0);
                let at = self.code.thread(place.at);
                if self.code.op(at) == Op::Return {
                    // Whoever only returns from there may as well be returned from at once: so a rule that
                    // ends with itself does not pile up frames.
                    places.extend_from_slice(self.frames.get(frame));
                } else {
                    push(
                        &mut places,
                        Place {
                            at,
                            count: place.count,
                            frame,
                        },
                    )?;
                }
            }
            places.sort_unstable();
            places.dedup();
            if places.len() > MAX_PLACES {
                return Err(Full("the grammar is too ambiguous"));
            }
            self.spend(places.len())?;
            let new = self.frames.add(&places)?;
            if let Some(fresh) = self.fresh.get_mut(number) {
                fresh.kept = Some(new);
            }
            stack.pop();
        }
        let number = (frame & !FRESH) as usize;
        Ok(self.fresh.get(number).and_then(|f| f.kept).unwrap_or(0))
    }
}
