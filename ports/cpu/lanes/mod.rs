//! Attention and append, written once for every level that has vectors.
//!
//! The reference adds in sixteen lanes, so sixteen floats are the unit here too: one register of AVX-512, two of AVX2,
//! four of NEON. A level says how they are added and multiplied ([`Lanes`]) and how many of them its registers hold
//! ([`Lanes::pass`]).
//!
//! | file        | what |
//! |-------------|------|
//! | `attention` | attention over pages |
//! | `page`      | the tiles of products that attention is made of, for each type of page |
//! | `append`    | keys and values into a page |
//! | `math`      | exp and tanh |

use attention::OnPage;
use page::Store;

pub mod append;
pub mod attention;
mod math;
pub mod page;

/// Work to be compiled for a level: code outside of [`Lanes::enter`] would call its intrinsics instead of being made
/// of them.
pub trait Job {
    /// # Safety
    /// Called within [`Lanes::enter`] only; the rest is the implementor's.
    unsafe fn run<L: Lanes>(self);
}

/// Sixteen floats of a level.
///
/// # Safety
/// Of all functions: the processor has the level's instructions, pointers are good for what is read or written there,
/// at any alignment. All but [`pass`](Lanes::pass) and [`enter`](Lanes::enter) are called within `enter` only.
pub trait Lanes: Copy {
    /// Whether a tile of eight query vectors stays in registers.
    const EIGHT: bool;

    /// Runs a job, compiled for the level.
    unsafe fn enter<J: Job>(job: J);
    /// Passes a tile of `n` query vectors over a page: 1 to 4, 6, or 8 where [`EIGHT`](Lanes::EIGHT) says so.
    unsafe fn pass<S: Store>(on: OnPage<'_>, n: usize);

    /// The same number in every lane.
    unsafe fn splat(x: f32) -> Self;
    /// Sixteen floats.
    unsafe fn load(p: *const f32) -> Self;
    /// Stores sixteen floats.
    unsafe fn store(self, p: *mut f32);
    /// Sixteen IEEE halves.
    unsafe fn load_halves(p: *const u16) -> Self;
    /// Stores the nearest halves, ties to even; NaNs as `f32_to_f16` has them.
    unsafe fn store_halves(self, p: *mut u16);
    /// Sixteen signed bytes.
    unsafe fn load_bytes(p: *const i8) -> Self;

    /// Lane by lane.
    unsafe fn add(self, b: Self) -> Self;
    /// Lane by lane.
    unsafe fn sub(self, b: Self) -> Self;
    /// Lane by lane.
    unsafe fn mul(self, b: Self) -> Self;
    /// Lane by lane.
    unsafe fn div(self, b: Self) -> Self;
    /// `self * b + c`, rounded once.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// The magnitudes.
    unsafe fn abs(self) -> Self;
    /// These, which have no sign, with the signs of `x`.
    unsafe fn signs_of(self, x: Self) -> Self;
    /// The larger ones; `b` where this is a NaN.
    unsafe fn larger(self, b: Self) -> Self;
    /// The smaller ones; this where it is a NaN.
    unsafe fn smaller(self, b: Self) -> Self;
    /// These in the lanes whose bits are set, else `other`.
    unsafe fn only(self, lanes: u16, other: Self) -> Self;
    /// These where `x` is below the limit, else `other`.
    unsafe fn where_below(self, x: Self, limit: f32, other: Self) -> Self;
    /// These, but 0 where `x` is below the limit.
    unsafe fn zero_below(self, x: Self, limit: f32) -> Self;
    /// `self * 2^n`, rounded once: `n` are integers within -126..=127, and the low bits of `n_bits` as well. Where this is
    /// a NaN or `n` is something else, a NaN stays one.
    unsafe fn scale(self, n: Self, n_bits: Self) -> Self;
    /// The nearest integers, halves away from zero, within -127..=127; 0 for a NaN.
    unsafe fn to_bytes(self) -> [i8; 16];
    /// `num::tree`.
    unsafe fn tree(self) -> f32;
    /// The largest lane; none is a NaN. Which zero it is where both are largest is not said.
    unsafe fn largest(self) -> f32;

    /// The first `n` floats; what the others are is not said.
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        let mut x = [0.0; 16];
        // SAFETY: the caller's promise.
        unsafe {
            x.as_mut_ptr().copy_from(p, n.min(16));
            Self::load(x.as_ptr())
        }
    }
    /// Stores the first `n` floats.
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        let mut x = [0.0; 16];
        // SAFETY: the caller's promise.
        unsafe {
            self.store(x.as_mut_ptr());
            p.copy_from(x.as_ptr(), n.min(16));
        }
    }
    /// The first `n` halves; what the others are is not said.
    #[inline(always)]
    unsafe fn load_halves_part(p: *const u16, n: usize) -> Self {
        let mut x = [0u16; 16];
        // SAFETY: the caller's promise.
        unsafe {
            x.as_mut_ptr()
                .cast::<u8>()
                .copy_from(p.cast(), 2 * n.min(16));
            Self::load_halves(x.as_ptr())
        }
    }
    /// Stores the first `n` halves.
    #[inline(always)]
    unsafe fn store_halves_part(self, p: *mut u16, n: usize) {
        let mut x = [0u16; 16];
        // SAFETY: the caller's promise.
        unsafe {
            self.store_halves(x.as_mut_ptr());
            p.cast::<u8>().copy_from(x.as_ptr().cast(), 2 * n.min(16));
        }
    }
    /// `x[i]`'s lane `j` becomes `x[j]`'s lane `i`.
    #[inline(always)]
    unsafe fn transpose(x: &mut [Self; 16]) {
        let mut rows = [[0.0f32; 16]; 16];
        // SAFETY: the caller's promise.
        unsafe {
            for (x, row) in x.iter().zip(&mut rows) {
                x.store(row.as_mut_ptr());
            }
            for (j, x) in x.iter_mut().enumerate() {
                let mut column = [0.0; 16];
                for (to, row) in column.iter_mut().zip(&rows) {
                    *to = row.get(j).copied().unwrap_or(0.0);
                }
                *x = Self::load(column.as_ptr());
            }
        }
    }
}
