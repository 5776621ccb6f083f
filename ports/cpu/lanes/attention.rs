//! Attention over pages: all query vectors that share a KV head pass over each page together.
//!
//! The query vectors of a KV head are its rows times the heads of its group. They go over the pages in tiles, whose
//! sums stay in registers (`page`), so a page is read once per tile. Where many tiles read a page of halves or bytes, it
//! is turned into floats once, in the scratch. Running sums live in the destination itself.
//!
//! The queries of a tile may see different parts of a page. Positions that all of them see are added together; those
//! before and behind, one query at a time, so that every sum still ascends and what nobody may see is not multiplied.
//! (The scheme of the running maximum is the definition's, from Milakov and Gimelshein, "Online normalizer calculation
//! for softmax"; tiles of queries over blocks of keys are FlashAttention's.)
#![allow(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "arrays of a tile's size, indexed below it"
)]

use super::page::{F16, F32, PAGE, Q8, Store, TILE, add_values, scores};
use super::{Job, Lanes, math};
use crate::cpu::kernels::Attention;
use crate::graph::kernels::attention::KvLayout;
use crate::quant::GgmlType;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::Range;

/// From so many query vectors on, a page is turned into floats first.
const WIDEN: usize = 20;
/// Bytes of queries and results that pass over the pages together: half of a second-level cache.
const NEAR: usize = 512 << 10;

/// Rows that pass over the pages together.
fn block_rows(layout: &KvLayout, group: usize) -> usize {
    let (dk, dv) = layout.head_dims();
    (NEAR / (4 * group * (dk + dv))).max(1)
}

fn group(layout: &KvLayout, n_head: usize) -> usize {
    (n_head / layout.n_head_kv()).max(1)
}

/// Floats of each of a block's running maxima and sums: whole vectors may be read at any of them.
fn states(layout: &KvLayout, n_head: usize, rows: usize) -> usize {
    let group = group(layout, n_head);
    (rows.min(block_rows(layout, group)) * group + 16).next_multiple_of(16)
}

fn widens(layout: &KvLayout, n_head: usize, rows: usize) -> bool {
    layout.ty() != GgmlType::F32 && rows * group(layout, n_head) >= WIDEN
}

/// Scratch of [`attend`].
pub fn scratch_bytes(layout: &KvLayout, n_head: usize, rows: usize) -> usize {
    let (dk, dv) = layout.head_dims();
    let page = if widens(layout, n_head, rows) {
        PAGE * (dk + dv)
    } else {
        0
    };
    4 * (2 * states(layout, n_head, rows) + page)
}

/// What `attend` works on, of one KV head.
#[derive(Clone, Copy)]
struct Head<'a> {
    a: &'a Attention<'a>,
    head: usize,
    group: usize,
    dk: usize,
    dv: usize,
    /// Running maxima and sums of the block's query vectors, with room for sixteen more; and a page of floats.
    m: *mut f32,
    l: *mut f32,
    floats: *mut f32,
}

impl Head<'_> {
    /// First and last position that a row sees.
    #[inline(always)]
    fn sees(&self, row: usize) -> (usize, usize) {
        let p = self
            .a
            .all
            .map_or(self.a.first as usize + row, |p| p as usize);
        match self.a.window as usize {
            0 => (0, p),
            window => (p.saturating_sub(window - 1), p),
        }
    }

    /// Where a row's results are.
    #[inline(always)]
    fn out(&self, row: usize) -> *mut f32 {
        let vector = row * self.a.n_head + self.head * self.group;
        self.a.dst.wrapping_add(vector * self.dv)
    }
}

/// Some query vectors and what they see of a page.
struct Tile {
    q: [*const f32; TILE],
    out: [*mut f32; TILE],
    /// First and last visible slot.
    lo: [usize; TILE],
    hi: [usize; TILE],
    /// 0 where this is a query's first page, whose state is not rescaled.
    later: u16,
    /// States of the tile's first query.
    m: *mut f32,
    l: *mut f32,
}

/// A tile, and the keys and values of a page.
#[derive(Clone, Copy)]
pub struct OnPage<'a> {
    h: &'a Head<'a>,
    tile: &'a Tile,
    page: (*const u8, *const u8),
}

impl<'a> OnPage<'a> {
    /// What is to be done, for `T` query vectors that meet `N` sixteens of positions or dimensions at a time.
    pub fn tile<S: Store, const T: usize, const N: usize>(self) -> Pass<'a, S, T, N> {
        Pass(self, PhantomData)
    }
}

/// Scores of a tile: `[T][PAGE]`, of which what no query sees is never read.
#[repr(align(64))]
struct Scores(MaybeUninit<[f32; TILE * PAGE]>);

/// Turns scores into weights, `[n][PAGE]` at `s`, and moves the running maxima and sums on. Leaves in `c` what the
/// sums of values are to be multiplied by. `sixteens` covers what any query sees.
struct Weights<'a> {
    on: OnPage<'a>,
    n: usize,
    sixteens: Range<usize>,
    s: *mut f32,
    c: *mut f32,
}

impl Job for Weights<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (a, tile) = (self.on.h.a, self.on.tile);
        // SAFETY: the caller's promise.
        unsafe {
            let none = L::splat(f32::NEG_INFINITY);
            let scale = L::splat(a.scale);
            let cap = L::splat(a.softcap);
            let old = L::load(tile.m);
            let mut top = [f32::NEG_INFINITY; 16];
            for t in 0..self.n {
                let visible = (!0u64 << tile.lo[t]) & (!0 >> (PAGE - 1 - tile.hi[t]));
                let mut max = none;
                for v in self.sixteens.clone() {
                    let p = self.s.add(t * PAGE + 16 * v);
                    let mut x = L::load(p).mul(scale);
                    if a.softcap != 0.0 {
                        x = cap.mul(math::tanh(x.div(cap)));
                    }
                    // Minus infinity raises no maximum and has the weight 0.
                    let lanes = (visible >> (16 * v)) as u16;
                    if lanes != !0 {
                        x = x.only(lanes, none);
                    }
                    x.store(p);
                    max = x.larger(max);
                }
                top[t] = max.largest();
            }
            // Beyond the tile's own, states stay as they are.
            let new = L::load(top.as_ptr()).larger(old);
            let rescale = math::exp(old.sub(new)).only(tile.later, L::splat(1.0));
            rescale.store(self.c);
            new.store(top.as_mut_ptr());
            let mut sums = [0.0; 16];
            for t in 0..self.n {
                let new = L::splat(top[t]);
                let mut sum = L::splat(0.0);
                for v in self.sixteens.clone() {
                    let p = self.s.add(t * PAGE + 16 * v);
                    let e = math::exp(L::load(p).sub(new));
                    e.store(p);
                    sum = sum.add(e);
                }
                sums[t] = sum.tree();
            }
            let l = L::load(tile.l).mul(rescale);
            new.store(tile.m);
            l.add(L::load(sums.as_ptr())).store(tile.l);
        }
    }
}

/// One page for one tile of `T` query vectors.
pub struct Pass<'a, S, const T: usize, const N: usize>(OnPage<'a>, PhantomData<S>);

impl<S: Store, const T: usize, const N: usize> Job for Pass<'_, S, T, N> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let OnPage { h, tile, page } = self.0;
        let (lo, hi) = (&tile.lo[..T], &tile.hi[..T]);
        let (mut least, mut from, mut most, mut to) = (lo[0], lo[0], hi[0], hi[0]);
        for t in 1..T {
            (least, from) = (least.min(lo[t]), from.max(lo[t]));
            (most, to) = (most.max(hi[t]), to.min(hi[t]));
        }
        let to = to + 1;
        let sixteens = least / 16..most / 16 + 1;
        let mut s = Scores(MaybeUninit::uninit());
        let s = s.0.as_mut_ptr().cast::<f32>();
        let mut c = [0.0; 16];
        // SAFETY: the caller's promise.
        unsafe {
            let mut v = sixteens.start;
            while v + N <= sixteens.end {
                scores::<L, S, T, N>(&tile.q, page.0, h.dk, v, s);
                v += N;
            }
            while N > 1 && v < sixteens.end {
                scores::<L, S, T, 1>(&tile.q, page.0, h.dk, v, s);
                v += 1;
            }
            L::enter(Weights {
                on: self.0,
                n: T,
                sixteens,
                s,
                c: c.as_mut_ptr(),
            });
            let together = from < to;
            const ONE: [f32; TILE] = [1.0; TILE];
            let mut scales = c.as_ptr();
            if !together || least < from {
                for t in 0..T {
                    let end = if together { from } else { hi[t] + 1 };
                    let (e, out) = (s.add(t * PAGE), &tile.out[t..]);
                    add_values::<L, S, 1, 4>(e, scales.add(t), page.1, h.dv, lo[t]..end, out);
                }
                scales = ONE.as_ptr();
            }
            if together {
                add_values::<L, S, T, N>(s, scales, page.1, h.dv, from..to, &tile.out);
                for t in 0..T {
                    if hi[t] + 1 > to {
                        let (e, out) = (s.add(t * PAGE), &tile.out[t..]);
                        let js = to..hi[t] + 1;
                        add_values::<L, S, 1, 4>(e, ONE.as_ptr(), page.1, h.dv, js, out);
                    }
                }
            }
        }
    }
}

/// One page for the query vectors of `rows`, all of which see some of it; `block` is the block's first row.
unsafe fn tiles<L: Lanes, S: Store>(
    h: &Head<'_>,
    block: usize,
    rows: Range<usize>,
    index: usize,
    page: (*const u8, *const u8),
) {
    let a = h.a;
    let base = index * PAGE;
    let (mut row, mut g) = (rows.start, 0);
    let mut left = rows.len() * h.group;
    let mut tile = Tile {
        q: [core::ptr::null(); TILE],
        out: [core::ptr::null_mut(); TILE],
        lo: [0; TILE],
        hi: [0; TILE],
        later: 0,
        m: h.m,
        l: h.l,
    };
    while left > 0 {
        let n = match left {
            8 if L::EIGHT && rows.len() == 1 => 8,
            7 | 8 => 4,
            6.. => 6,
            n @ 1..=4 => n,
            _ => 3,
        };
        let state = (row - block) * h.group + g;
        (tile.m, tile.l) = (h.m.wrapping_add(state), h.l.wrapping_add(state));
        tile.later = 0;
        for t in 0..n {
            let (first, last) = h.sees(row);
            let vector = row * a.n_head + h.head * h.group + g;
            tile.q[t] = a.q.wrapping_add(vector * h.dk);
            tile.out[t] = a.dst.wrapping_add(vector * h.dv);
            tile.lo[t] = first.max(base) - base;
            tile.hi[t] = last.min(base + PAGE - 1) - base;
            tile.later |= u16::from(index != first / PAGE || a.sinks.is_some()) << t;
            g += 1;
            if g == h.group {
                (row, g) = (row + 1, 0);
            }
        }
        let on = OnPage {
            h,
            tile: &tile,
            page,
        };
        // SAFETY: the caller's promise.
        unsafe { L::pass::<S>(on, n) };
        left -= n;
    }
}

/// All of some rows that pass over the pages together.
struct Block<'a, S>(&'a Head<'a>, Range<usize>, PhantomData<S>);

impl<S: Store> Job for Block<'_, S> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self(h, rows, _) = self;
        let (a, l) = (h.a, h.a.layout);
        let (key_bytes, value_bytes) = l.head_bytes();
        let vectors = rows.len() * h.group;
        // SAFETY: the caller's promise.
        unsafe {
            for row in rows.clone() {
                h.out(row).write_bytes(0, h.group * h.dv);
            }
            for i in (0..vectors + 16).step_by(16) {
                L::splat(f32::NEG_INFINITY).store(h.m.add(i));
                L::splat(0.0).store(h.l.add(i));
            }
            if let Some(sinks) = a.sinks {
                // As if behind a page with nothing but the sink.
                let sinks = sinks.as_chunks::<4>().0;
                for (i, g) in (0..rows.len()).flat_map(|i| (0..h.group).map(move |g| (i, g))) {
                    let sink = sinks.get(h.head * h.group + g).copied().unwrap_or_default();
                    *h.m.add(i * h.group + g) = f32::from_le_bytes(sink);
                    *h.l.add(i * h.group + g) = 1.0;
                }
            }
            let (first, last) = (h.sees(rows.start).0, h.sees(rows.end - 1).1);
            for index in first / PAGE..=last / PAGE {
                let start = match a.pages.get(index) {
                    Some(&start) if !start.is_null() => start.add(a.offset),
                    _ => continue,
                };
                let keys = start.add(h.head * key_bytes);
                let values = start.add(l.values_at() + h.head * value_bytes);
                // The rows that see some of it: positions ascend, and so do the ends of what they see.
                let base = index * PAGE;
                let mut seeing = rows.clone();
                if a.all.is_none() {
                    seeing.start = seeing.start.max(base.saturating_sub(a.first as usize));
                }
                while seeing.start < seeing.end && h.sees(seeing.end - 1).0 >= base + PAGE {
                    seeing.end -= 1;
                }
                if l.ty() != GgmlType::F32 && seeing.len() * h.group >= WIDEN {
                    let k = h.floats;
                    let v = k.add(PAGE * h.dk);
                    S::widen::<L>((keys, values), (h.dk, h.dv), (k, v));
                    tiles::<L, F32>(h, rows.start, seeing, index, (k.cast(), v.cast()));
                } else {
                    tiles::<L, S>(h, rows.start, seeing, index, (keys, values));
                }
            }
            let whole = h.dv / 16 * 16;
            for (i, row) in rows.enumerate() {
                for g in 0..h.group {
                    let l = *h.l.add(i * h.group + g);
                    let p = h.out(row).add(g * h.dv);
                    for d in (0..whole).step_by(16) {
                        L::load(p.add(d)).div(L::splat(l)).store(p.add(d));
                    }
                    for d in whole..h.dv {
                        *p.add(d) /= l;
                    }
                }
            }
        }
    }
}

/// The slot of a level.
///
/// # Safety
/// As the slot.
pub unsafe fn attend<L: Lanes>(
    a: &Attention<'_>,
    rows: Range<usize>,
    heads: Range<usize>,
    scratch: *mut u8,
) {
    let (dk, dv) = a.layout.head_dims();
    let group = group(a.layout, a.n_head);
    let states = states(a.layout, a.n_head, rows.len());
    let step = block_rows(a.layout, group);
    let m = scratch.cast::<f32>();
    for head in heads {
        let h = Head {
            a,
            head,
            group,
            dk,
            dv,
            m,
            l: m.wrapping_add(states),
            floats: m.wrapping_add(2 * states),
        };
        for first in rows.clone().step_by(step) {
            let rows = first..rows.end.min(first + step);
            // SAFETY: the caller's promise.
            unsafe {
                match a.layout.ty() {
                    GgmlType::F16 => L::enter(Block::<F16>(&h, rows, PhantomData)),
                    GgmlType::Q8_0 => L::enter(Block::<Q8>(&h, rows, PhantomData)),
                    _ => L::enter(Block::<F32>(&h, rows, PhantomData)),
                }
            }
        }
    }
}
