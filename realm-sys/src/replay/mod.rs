//! Images: what a guest has decided, recorded where there is an interpreter and replayed where there is none.
//!
//! A guest decides before the first token which model it runs and how (the recorded program, its buffers and KV layers) and by
//! which rule a token is picked. Asked for it (the event RECORD of `guest/ABI.md`), it writes the rest down as well: what the
//! program's registers are, and the settings of its sampler. That is a *recipe*; with the program it is all that a turn takes.
//!
//! | file     | what it is |
//! |----------|------------|
//! | `recipe` | how steps are made and tokens picked, as the guest says it |
//! | `image`  | program, buffers, layers and recipe in one piece of bytes |
//! | `write`  | the same, from a session (`session/record.rs`) |
//! | `player` | stands in for the guest: handles its events |
//! | `sample` | picks tokens, by the guest's own source |

mod image;
mod player;
mod recipe;
mod sample;
#[cfg(feature = "interpreter")]
mod write;

pub use image::{Image, is_image};
pub use player::Player;
#[cfg(feature = "interpreter")]
pub(crate) use recipe::Recipe;
#[cfg(feature = "interpreter")]
pub(crate) use write::{Parts, write};
