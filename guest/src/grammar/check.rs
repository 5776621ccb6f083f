//! What is settled about a grammar before it runs: that no rule begins with itself, and which repetitions can be empty.

use super::code::{Code, Op};
use alloc::vec;
use alloc::vec::Vec;

#[derive(Clone, Copy, PartialEq)]
enum Seen {
    No,
    /// Being looked at: whoever calls it from here begins with itself.
    Open,
    /// Done; whether it can be empty.
    Done(bool),
}

/// A target that is being looked at.
struct Visit {
    target: u32,
    /// Operations that are reached before any byte.
    todo: Vec<u32>,
    empty: bool,
}

/// Makes the minimum of repetitions of what can be empty 0. The error is a target that begins with itself.
pub fn run(code: &mut Code) -> Result<(), u32> {
    let mut seen = vec![Seen::No; code.targets.len()];
    let mut visited = vec![false; code.ops.len()];
    for first in 0..code.targets.len() as u32 {
        if seen.get(first as usize) == Some(&Seen::No) {
            visit(code, first, &mut seen, &mut visited)?;
        }
    }
    for counted in &mut code.loops {
        if seen.get(counted.target as usize) == Some(&Seen::Done(true)) {
            counted.min = 0;
        }
    }
    Ok(())
}

fn visit(code: &mut Code, first: u32, seen: &mut [Seen], visited: &mut [bool]) -> Result<(), u32> {
    let enter = |code: &Code, target: u32, seen: &mut [Seen]| {
        if let Some(state) = seen.get_mut(target as usize) {
            *state = Seen::Open;
        }
        Visit {
            target,
            todo: vec![code.start(target)],
            empty: false,
        }
    };
    let mut stack = vec![enter(code, first, seen)];
    while let Some(visit) = stack.last_mut() {
        let Some(at) = visit.todo.pop() else {
            if let Some(state) = seen.get_mut(visit.target as usize) {
                *state = Seen::Done(visit.empty);
            }
            stack.pop();
            continue;
        };
        let op = code.op(at);
        let target = match op {
            Op::Call(target) => Some(target),
            Op::Loop(index) => Some(code.counted(index).target),
            _ => None,
        };
        if let Some(target) = target {
            match seen.get(target as usize).copied() {
                Some(Seen::Open) => return Err(target),
                Some(Seen::Done(empty)) => {
                    let optional = |index| code.counted(index).min == 0;
                    if !empty && !matches!(op, Op::Loop(index) if optional(index)) {
                        continue;
                    }
                    // What is behind it is reached as well.
                }
                _ => {
                    visit.todo.push(at);
                    let inner = enter(code, target, seen);
                    stack.push(inner);
                    continue;
                }
            }
        }
        match visited.get_mut(at as usize) {
            Some(visited) if !*visited => *visited = true,
            _ => continue,
        }
        match op {
            Op::Goto(to) => visit.todo.push(to),
            Op::Split(a, b) => visit.todo.extend([a, b]),
            Op::Return => visit.empty = true,
            Op::Call(_) | Op::Loop(_) => visit.todo.push(at + 1),
            Op::Bytes(_) | Op::Token(_) | Op::NotToken(_) | Op::Accept => {}
        }
    }
    Ok(())
}
