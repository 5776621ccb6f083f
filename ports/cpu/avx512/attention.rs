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

use super::math;
use super::page::{F16, F32, PAGE, Q8, Store, TILE, add_values, scores};
use crate::cpu::kernels::Attention;
use crate::graph::kernels::attention::KvLayout;
use crate::quant::GgmlType;
use core::arch::x86_64::*;
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

pub(super) fn scratch_bytes(layout: &KvLayout, n_head: usize, rows: usize) -> usize {
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
    /// Running maxima and sums of the block's query vectors, and a page of floats.
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

/// Turns scores into weights, `[n][PAGE]` at `s`, and moves the running maxima and sums on. Leaves in `c` what the
/// sums of values are to be multiplied by. `vectors` covers what any query sees.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn weights(
    a: &Attention<'_>,
    tile: &Tile,
    n: usize,
    vectors: Range<usize>,
    s: *mut f32,
    c: &mut [f32; 16],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let scale = _mm512_set1_ps(a.scale);
        let cap = _mm512_set1_ps(a.softcap);
        let old = _mm512_loadu_ps(tile.m);
        let mut top = [f32::NEG_INFINITY; 16];
        let mut visible = [0u64; TILE];
        for t in 0..n {
            let (lo, hi) = (tile.lo[t], tile.hi[t]);
            visible[t] = (!0 << lo) & (!0 >> (PAGE - 1 - hi));
            let mut max = _mm512_set1_ps(f32::NEG_INFINITY);
            for v in vectors.clone() {
                let p = s.add(t * PAGE + 16 * v);
                let mut x = _mm512_mul_ps(_mm512_loadu_ps(p), scale);
                if a.softcap != 0.0 {
                    x = _mm512_mul_ps(cap, math::tanh(_mm512_div_ps(x, cap)));
                }
                _mm512_storeu_ps(p, x);
                // The second operand where the first is a NaN.
                max = _mm512_mask_max_ps(max, (visible[t] >> (16 * v)) as u16, x, max);
            }
            top[t] = math::largest(max);
        }
        let new = _mm512_max_ps(_mm512_loadu_ps(top.as_ptr()), old);
        let rescale = math::exp(_mm512_sub_ps(old, new));
        let rescale = _mm512_mask_mov_ps(_mm512_set1_ps(1.0), tile.later, rescale);
        _mm512_storeu_ps(c.as_mut_ptr(), rescale);
        _mm512_storeu_ps(top.as_mut_ptr(), new);
        let mut sums = [0.0; 16];
        for t in 0..n {
            let new = _mm512_set1_ps(top[t]);
            let mut sum = _mm512_setzero_ps();
            for v in vectors.clone() {
                let p = s.add(t * PAGE + 16 * v);
                let e = math::exp(_mm512_sub_ps(_mm512_loadu_ps(p), new));
                let e = _mm512_maskz_mov_ps((visible[t] >> (16 * v)) as u16, e);
                _mm512_storeu_ps(p, e);
                sum = _mm512_add_ps(sum, e);
            }
            sums[t] = math::tree(sum);
        }
        let l = _mm512_mul_ps(_mm512_loadu_ps(tile.l), rescale);
        let l = _mm512_add_ps(l, _mm512_loadu_ps(sums.as_ptr()));
        let mine = (1u16 << n) - 1;
        _mm512_mask_storeu_ps(tile.m, mine, new);
        _mm512_mask_storeu_ps(tile.l, mine, l);
    }
}

/// One page for one tile of `T` query vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn pass<S: Store, const T: usize, const N: usize>(
    h: &Head<'_>,
    tile: &Tile,
    page: (*const u8, *const u8),
) {
    let (lo, hi) = (&tile.lo[..T], &tile.hi[..T]);
    let each = |x: &[usize], f: fn(usize, usize) -> usize| x.iter().copied().fold(x[0], f);
    let vectors = each(lo, usize::min) / 16..each(hi, usize::max) / 16 + 1;
    let mut s = [0.0; TILE * PAGE];
    let s = s.as_mut_ptr();
    let mut c = [0.0; 16];
    // SAFETY: the caller's promise.
    unsafe {
        let mut v = vectors.start;
        while v + N <= vectors.end {
            scores::<S, T, N>(&tile.q, page.0, h.dk, v, s);
            v += N;
        }
        while v < vectors.end {
            scores::<S, T, 1>(&tile.q, page.0, h.dk, v, s);
            v += 1;
        }
        weights(h.a, tile, T, vectors, s, &mut c);
        let (from, to) = (each(lo, usize::max), each(hi, usize::min) + 1);
        let together = from < to;
        const ONE: [f32; TILE] = [1.0; TILE];
        let mut scales = c.as_ptr();
        if !together || lo.iter().any(|&lo| lo < from) {
            for t in 0..T {
                let end = if together { from } else { tile.hi[t] + 1 };
                let (e, out) = (s.add(t * PAGE), &tile.out[t..]);
                add_values::<S, 1, 4>(e, scales.add(t), page.1, h.dv, tile.lo[t]..end, out);
            }
            scales = ONE.as_ptr();
        }
        if together {
            add_values::<S, T, N>(s, scales, page.1, h.dv, from..to, &tile.out);
            for t in 0..T {
                if tile.hi[t] + 1 > to {
                    let (e, out) = (s.add(t * PAGE), &tile.out[t..]);
                    let js = to..tile.hi[t] + 1;
                    add_values::<S, 1, 4>(e, ONE.as_ptr(), page.1, h.dv, js, out);
                }
            }
        }
    }
}

/// One page for the query vectors of `rows`, all of which see some of it; `block` is the block's first row.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn tiles<S: Store>(
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
            8 if rows.len() == 1 => 8,
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
        // SAFETY: the caller's promise.
        unsafe {
            match n {
                1 => pass::<S, 1, 4>(h, &tile, page),
                2 => pass::<S, 2, 4>(h, &tile, page),
                3 => pass::<S, 3, 4>(h, &tile, page),
                4 => pass::<S, 4, 4>(h, &tile, page),
                6 => pass::<S, 6, 4>(h, &tile, page),
                _ => pass::<S, 8, 2>(h, &tile, page),
            }
        }
        left -= n;
    }
}

/// All of some rows that pass over the pages together.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn block<S: Store>(h: &Head<'_>, rows: Range<usize>) {
    let (a, l) = (h.a, h.a.layout);
    let (key_bytes, value_bytes) = l.head_bytes();
    let vectors = rows.len() * h.group;
    let out = |row: usize| {
        a.dst
            .wrapping_add((row * a.n_head + h.head * h.group) * h.dv)
    };
    // SAFETY: the caller's promise.
    unsafe {
        for row in rows.clone() {
            out(row).write_bytes(0, h.group * h.dv);
        }
        for i in (0..vectors + 16).step_by(16) {
            _mm512_storeu_ps(h.m.add(i), _mm512_set1_ps(f32::NEG_INFINITY));
            _mm512_storeu_ps(h.l.add(i), _mm512_setzero_ps());
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
                S::widen((keys, values), (h.dk, h.dv), (k, v));
                tiles::<F32>(h, rows.start, seeing, index, (k.cast(), v.cast()));
            } else {
                tiles::<S>(h, rows.start, seeing, index, (keys, values));
            }
        }
        for (i, row) in rows.enumerate() {
            for g in 0..h.group {
                let l = _mm512_set1_ps(*h.l.add(i * h.group + g));
                let p = out(row).add(g * h.dv);
                for d in (0..h.dv).step_by(16) {
                    let mask = !0 >> (16 - (h.dv - d).min(16));
                    let x = _mm512_maskz_loadu_ps(mask, p.add(d));
                    _mm512_mask_storeu_ps(p.add(d), mask, _mm512_div_ps(x, l));
                }
            }
        }
    }
}

pub(super) unsafe fn attend(
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
                    GgmlType::F16 => block::<F16>(&h, rows),
                    GgmlType::Q8_0 => block::<Q8>(&h, rows),
                    _ => block::<F32>(&h, rows),
                }
            }
        }
    }
}
