//! The KV page, and attention of one query row over pages.
//!
//! # The page
//!
//! A page holds the keys and values of 64 consecutive absolute positions (page `i`: `64 i ..= 64 i + 63`)
//! for one layer: first the keys of each KV head, then the values of each KV head, little-endian.
//! Keys are stored across, so that 64 scores are computed side by side:
//!
//! | type | keys of a head | values of a head |
//! |------|----------------|------------------|
//! | f32, f16 | `[dk][64]` | `[64][dv]` |
//! | q8_0 | `[dk / 32]` of `{ f16 scale[64], i8 quant[32][64] }` | `[64]` rows of `dv / 32` Q8_0 blocks |
//!
//! A row is rounded once, when it is appended, by [`crate::quant::quantize_row`]; reading it back is
//! exact (a Q8_0 element is `scale * quant`, 19 bits).
//!
//! # Attention
//!
//! For one query at position `p` and one head, over the keys `max(0, p - window + 1) ..= p` (window 0:
//! from 0), which are called visible:
//!
//! ```text
//! m = -inf, l = 0, acc[d] = 0
//! for each page with a visible key, ascending:
//!     s[j]   = 0; for d ascending: s[j] = fma(q[d], k[d][j], s[j])
//!     s[j]   = s[j] * scale; where softcap c is not 0: s[j] = c * tanh(s[j] / c)
//!     new    = the largest of m and the visible s[j]
//!     c      = exp(m - new); l = l * c; acc[d] = acc[d] * c          not for the first page
//!     e[j]   = exp(s[j] - new) if j is visible, else 0
//!     l      = l + sum of e[j], lane j % 16 (j ascending), then the tree
//!     acc[d] = fma(e[j], v[j][d], acc[d]) for visible j, ascending
//!     m      = new
//! out[d] = acc[d] / l
//! ```
//!
//! Where attention is not causal, `p` is the position of the step's last row for all of its rows.
//!
//! A head with a sink begins as if behind a page with nothing but it: `m = sink, l = 1`, and its first page is not a first.
//!
//! `exp` and `tanh` are [`crate::num::math`]'s. Invisible keys are never multiplied into anything, so
//! what their slots hold does not matter. Pages are aligned to absolute positions, so the result
//! depends on the position, the window and the visible keys and values only: not on the batch, the
//! chunk or what has been evicted. A NaN among visible scores makes the output a NaN.

use core::ops::{Range, RangeInclusive};

use crate::num::cpu::{Isa, Level, at_level};
use crate::num::{LANES, math, tree};
use crate::quant::f16::f16_to_f32;
use crate::quant::{GgmlType, quantize_row};
use crate::{bail, err, error::Result};

/// Positions in a page.
pub const PAGE: usize = 64;
/// Elements of a Q8_0 block, and its bytes.
const BLOCK: usize = 32;
const BLOCK_BYTES: usize = 34;
/// Bytes of the keys of one block of dimensions in a Q8_0 page.
const KEY_BLOCK_BYTES: usize = PAGE * BLOCK_BYTES;

/// What a KV page of one layer holds. Made by [`KvLayout::new`], so the sizes are known to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayout {
    ty: GgmlType,
    n_head_kv: usize,
    dk: usize,
    dv: usize,
    key_bytes: usize,
    value_bytes: usize,
    page_bytes: usize,
}

impl KvLayout {
    /// A layer with `n_head_kv` heads of `dk` elements per key and `dv` per value, kept as `ty`.
    ///
    /// # Errors
    /// `Unsupported` unless `ty` is F32, F16 or Q8_0; `InvalidArgument` if a size is 0, not a multiple
    /// of 32 for Q8_0, or too large.
    pub fn new(ty: GgmlType, n_head_kv: usize, dk: usize, dv: usize) -> Result<Self> {
        if !matches!(ty, GgmlType::F32 | GgmlType::F16 | GgmlType::Q8_0) {
            bail!(Unsupported, "no KV cache of type {}", ty.name());
        }
        let bytes = |d: usize| {
            let row = ty.row_bytes(d as u64).filter(|&b| b > 0)?;
            usize::try_from(row.checked_mul(PAGE as u64)?).ok()
        };
        let sizes = || {
            let (key, value) = (bytes(dk)?, bytes(dv)?);
            let page = key.checked_add(value)?.checked_mul(n_head_kv)?;
            (page > 0 && page <= isize::MAX as usize).then_some((key, value, page))
        };
        let (key_bytes, value_bytes, page_bytes) = sizes().ok_or_else(|| {
            err!(
                InvalidArgument,
                "a KV cache of type {} cannot have {n_head_kv} heads of {dk} and {dv} elements",
                ty.name()
            )
        })?;
        Ok(Self {
            ty,
            n_head_kv,
            dk,
            dv,
            key_bytes,
            value_bytes,
            page_bytes,
        })
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// How elements are kept: F32, F16 or Q8_0.
    pub fn ty(&self) -> GgmlType {
        self.ty
    }

    /// Bytes of the keys, and of the values, of one head in a page.
    pub fn head_bytes(&self) -> (usize, usize) {
        (self.key_bytes, self.value_bytes)
    }

    /// KV heads.
    pub fn n_head_kv(&self) -> usize {
        self.n_head_kv
    }

    /// Elements of a key, and of a value.
    pub fn head_dims(&self) -> (usize, usize) {
        (self.dk, self.dv)
    }

    /// Where a head's keys and its values lie in a page, in bytes.
    pub fn head_parts(&self, head: usize) -> (Range<usize>, Range<usize>) {
        let part = |start: usize, bytes: usize| start + head * bytes..start + (head + 1) * bytes;
        (
            part(0, self.key_bytes),
            part(self.values_at(), self.value_bytes),
        )
    }

    /// Where the values of the first head begin, in bytes.
    pub fn values_at(&self) -> usize {
        self.n_head_kv * self.key_bytes
    }

    /// The slot, from 0 to 63, whose key or value the `at`-th byte of a page is part of.
    pub fn slot(&self, at: usize) -> usize {
        if let Some(at) = at.checked_sub(self.values_at()) {
            return at % self.value_bytes / (self.value_bytes / PAGE);
        }
        match self.ty {
            GgmlType::Q8_0 => match at % KEY_BLOCK_BYTES {
                scale if scale < 2 * PAGE => scale / 2,
                quant => quant % PAGE,
            },
            GgmlType::F16 => at / 2 % PAGE,
            _ => at / 4 % PAGE,
        }
    }
}

/// Appends one position: `k` is `[n_head_kv * dk]`, `v` is `[n_head_kv * dv]`, `slot` the position
/// modulo 64, `page` the page's [`KvLayout::page_bytes`].
pub fn kv_append_row(layout: &KvLayout, page: &mut [u8], slot: usize, k: &[f32], v: &[f32]) {
    let Some((keys, values)) = page.split_at_mut_checked(layout.values_at()) else {
        return;
    };
    let pages = keys.chunks_exact_mut(layout.key_bytes);
    let pages = pages.zip(values.chunks_exact_mut(layout.value_bytes));
    let rows = k.chunks_exact(layout.dk).zip(v.chunks_exact(layout.dv));
    for ((k, v), (keys, values)) in rows.zip(pages) {
        kv_append_head(layout, keys, values, slot, k, v);
    }
}

/// Appends one position of one head: `k` is `[dk]`, `v` is `[dv]`; `keys` and `values` are the head's parts of the page,
/// [`KvLayout::head_parts`].
pub fn kv_append_head(
    layout: &KvLayout,
    keys: &mut [u8],
    values: &mut [u8],
    slot: usize,
    k: &[f32],
    v: &[f32],
) {
    if slot >= PAGE {
        return;
    }
    append_key(layout.ty, keys, slot, k);
    if let Some(row) = values.chunks_exact_mut(layout.value_bytes / PAGE).nth(slot) {
        // The lengths fit one another, and the type is one of those it has.
        let _ = quantize_row(layout.ty, v, row);
    }
}

/// Writes a key into column `slot`.
fn append_key(ty: GgmlType, page: &mut [u8], slot: usize, k: &[f32]) {
    fn put<const B: usize>(column: &mut [u8], slot: usize, bytes: [u8; B]) {
        if let Some(to) = column.as_chunks_mut::<B>().0.get_mut(slot) {
            *to = bytes;
        }
    }
    match ty {
        GgmlType::Q8_0 => {
            let blocks = page.chunks_exact_mut(KEY_BLOCK_BYTES);
            for (x, page) in k.as_chunks::<BLOCK>().0.iter().zip(blocks) {
                let mut block = [0; BLOCK_BYTES];
                let _ = quantize_row(ty, x, &mut block);
                let [d0, d1, q @ ..] = block;
                let (scales, quants) = page.split_at_mut(2 * PAGE);
                put(scales, slot, [d0, d1]);
                for (q, row) in q.into_iter().zip(quants.chunks_exact_mut(PAGE)) {
                    put(row, slot, [q]);
                }
            }
        }
        GgmlType::F16 => {
            for (x, row) in k.iter().zip(page.chunks_exact_mut(2 * PAGE)) {
                let mut half = [0; 2];
                let _ = quantize_row(ty, &[*x], &mut half);
                put(row, slot, half);
            }
        }
        _ => {
            for (x, row) in k.iter().zip(page.chunks_exact_mut(4 * PAGE)) {
                put(row, slot, x.to_le_bytes());
            }
        }
    }
}

/// Attention over one layer's pages.
#[derive(Clone, Copy)]
pub struct Attend<'a> {
    /// The layer's pages.
    pub layout: &'a KvLayout,
    /// Query heads: a multiple of the KV heads. Query head `h` reads KV head
    /// `h / (n_head / n_head_kv)`.
    pub n_head: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// Positions that a query sees, itself included; 0 for all.
    pub window: u32,
    /// Caps the scores at this magnitude; 0 for none.
    pub softcap: f32,
    /// A score per query head that has no value, little-endian floats at any alignment.
    pub sinks: Option<&'a [u8]>,
    /// Page `i` holds positions from `64 i`. Pages that no visible position lies in may be null.
    pub pages: &'a [*const u8],
    /// Where the layer's part of a page starts, in bytes.
    pub offset: usize,
}

/// A request whose pages have been promised to be good: made by [`attend_row`] only.
#[derive(Clone, Copy)]
struct Job<'a>(&'a Attend<'a>);

impl<'a> Job<'a> {
    /// The keys and values of a KV head in a page.
    #[inline(always)]
    fn head(self, page: usize, head: usize) -> Option<(&'a [u8], &'a [u8])> {
        let l = self.0.layout;
        let start = *self.0.pages.get(page)?;
        if start.is_null() || head >= l.n_head_kv {
            return None;
        }
        // SAFETY: `attend_row`'s caller promised `page_bytes` readable bytes that nobody writes.
        let page = unsafe { core::slice::from_raw_parts(start.add(self.0.offset), l.page_bytes) };
        let keys = page.get(head * l.key_bytes..)?.get(..l.key_bytes)?;
        let values = page
            .get(l.values_at() + head * l.value_bytes..)?
            .get(..l.value_bytes)?;
        Some((keys, values))
    }
}

/// Scores, in vectors of lanes.
const VECTORS: usize = PAGE / LANES;

/// A page's element type.
trait Store {
    /// `s[j] = fma(q[d], k[d][j], s[j])`, d ascending, from 0.
    fn scores<I: Isa>(i: I, q: &[f32], keys: &[u8]) -> [I::Lanes; VECTORS];
    /// Sixteen values of a row, from element `16 c` on; none where the row is at its end.
    fn values<I: Isa>(i: I, v: &[u8], c: usize) -> Option<I::Lanes>;
    /// One value of a row.
    fn value<I: Isa>(i: I, v: &[u8], d: usize) -> Option<f32>;
    /// Bytes of an element, where sixteen neighbours are sixteen elements.
    const BYTES: usize = 0;
    /// `lanes[i] = fma(x[j], m[j][i], lanes[i])`, j ascending, over rows `stride` bytes apart; false if the machine has no way to do
    /// that at once.
    #[inline(always)]
    fn add_rows<I: Isa>(
        _: I,
        _x: &[f32],
        _m: &[u8],
        _stride: usize,
        _lanes: &mut [f32; LANES],
    ) -> bool {
        false
    }
}

struct F32;
impl Store for F32 {
    #[inline(always)]
    fn scores<I: Isa>(i: I, q: &[f32], keys: &[u8]) -> [I::Lanes; VECTORS] {
        let mut s = [i.splat(0.0); VECTORS];
        for (&q, k) in q.iter().zip(keys.as_chunks::<{ 4 * PAGE }>().0) {
            let q = i.splat(q);
            for (s, k) in s.iter_mut().zip(k.as_chunks::<64>().0) {
                *s = i.fmas(q, i.floats(k), *s);
            }
        }
        s
    }
    #[inline(always)]
    fn values<I: Isa>(i: I, v: &[u8], c: usize) -> Option<I::Lanes> {
        Some(i.floats(v.as_chunks::<64>().0.get(c)?))
    }
    #[inline(always)]
    fn value<I: Isa>(_: I, v: &[u8], d: usize) -> Option<f32> {
        Some(f32::from_le_bytes(*v.as_chunks::<4>().0.get(d)?))
    }
    const BYTES: usize = 4;
    #[inline(always)]
    fn add_rows<I: Isa>(
        i: I,
        x: &[f32],
        m: &[u8],
        stride: usize,
        lanes: &mut [f32; LANES],
    ) -> bool {
        i.add_rows_f32(x, m, stride, lanes)
    }
}

struct F16;
impl Store for F16 {
    #[inline(always)]
    fn scores<I: Isa>(i: I, q: &[f32], keys: &[u8]) -> [I::Lanes; VECTORS] {
        let mut s = [i.splat(0.0); VECTORS];
        for (&q, k) in q.iter().zip(keys.as_chunks::<{ 2 * PAGE }>().0) {
            let q = i.splat(q);
            for (s, k) in s.iter_mut().zip(k.as_chunks::<32>().0) {
                *s = i.fmas(q, i.halves(k), *s);
            }
        }
        s
    }
    #[inline(always)]
    fn values<I: Isa>(i: I, v: &[u8], c: usize) -> Option<I::Lanes> {
        Some(i.halves(v.as_chunks::<32>().0.get(c)?))
    }
    #[inline(always)]
    fn value<I: Isa>(i: I, v: &[u8], d: usize) -> Option<f32> {
        Some(i.half(u16::from_le_bytes(*v.as_chunks::<2>().0.get(d)?)))
    }
    const BYTES: usize = 2;
    #[inline(always)]
    fn add_rows<I: Isa>(
        i: I,
        x: &[f32],
        m: &[u8],
        stride: usize,
        lanes: &mut [f32; LANES],
    ) -> bool {
        i.add_rows_f16(x, m, stride, lanes)
    }
}

struct Q8;
impl Store for Q8 {
    #[inline(always)]
    fn scores<I: Isa>(i: I, q: &[f32], keys: &[u8]) -> [I::Lanes; VECTORS] {
        let mut s = [i.splat(0.0); VECTORS];
        let blocks = keys.as_chunks::<KEY_BLOCK_BYTES>().0;
        for (q, k) in q.as_chunks::<BLOCK>().0.iter().zip(blocks) {
            let (scales, quants) = k.split_at(2 * PAGE);
            let mut d = [i.splat(0.0); VECTORS];
            for (d, h) in d.iter_mut().zip(scales.as_chunks::<32>().0) {
                *d = i.halves(h);
            }
            for (&q, k) in q.iter().zip(quants.as_chunks::<PAGE>().0) {
                let q = i.splat(q);
                let k: &[[i8; LANES]; VECTORS] = bytemuck::cast_ref(k);
                for ((s, k), &d) in s.iter_mut().zip(k).zip(&d) {
                    *s = i.fmas(q, i.mul(d, i.signed(k)), *s);
                }
            }
        }
        s
    }
    #[inline(always)]
    fn values<I: Isa>(i: I, v: &[u8], c: usize) -> Option<I::Lanes> {
        let [d0, d1, q @ ..] = v.as_chunks::<BLOCK_BYTES>().0.get(c / 2)?;
        let q: &[[i8; LANES]; 2] = bytemuck::cast_ref(q);
        let d = f16_to_f32(u16::from_le_bytes([*d0, *d1]));
        Some(i.mul(i.splat(d), i.signed(q.get(c % 2)?)))
    }
    #[inline(always)]
    fn value<I: Isa>(_: I, _: &[u8], _: usize) -> Option<f32> {
        // Rows are whole blocks.
        None
    }
}

/// `acc[d] = fma(e[j], v[j][d], acc[d])`, j ascending: `N` vectors of dimensions at a time, from vector
/// `c` on, so that they stay in registers.
#[inline(always)]
fn add_values<'a, I: Isa, S: Store, const N: usize>(
    i: I,
    rows: impl Iterator<Item = (&'a [u8], &'a f32)>,
    c: usize,
    acc: &mut [f32],
) {
    let mut sums = [i.splat(0.0); N];
    for (sum, acc) in sums.iter_mut().zip(acc.as_chunks::<LANES>().0) {
        *sum = i.load(acc);
    }
    for (v, &e) in rows {
        let e = i.splat(e);
        for (n, sum) in sums.iter_mut().enumerate() {
            if let Some(v) = S::values(i, v, c + n) {
                *sum = i.fmas(e, v, *sum);
            }
        }
    }
    for (sum, acc) in sums.iter().zip(acc.as_chunks_mut::<LANES>().0) {
        *acc = i.store(*sum);
    }
}

/// Adds the rows of a matrix times `x` to `sums`, whose columns `columns` are wanted, sixteen columns at a time; false if the machine
/// has no way to do so, and then `sums` has not changed. Columns beyond the last whole sixteen are left.
#[inline(always)]
fn add_rows<I: Isa, S: Store>(
    i: I,
    x: &[f32],
    m: &[u8],
    stride: usize,
    columns: RangeInclusive<usize>,
    sums: &mut [f32],
) -> bool {
    for (c, lanes) in sums.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let first = c * LANES;
        if *columns.start() < first + LANES && *columns.end() >= first {
            let m = m.get(first * S::BYTES..).unwrap_or(&[]);
            if !S::add_rows(i, x, m, stride, lanes) {
                return false;
            }
        }
    }
    true
}

/// One head of one row, into `acc`.
#[inline(always)]
fn head<I: Isa, S: Store>(
    i: I,
    job: Job<'_>,
    position: u32,
    q: &[f32],
    kv_head: usize,
    sink: Option<f32>,
    acc: &mut [f32],
) {
    let a = job.0;
    let p = position as usize;
    let first = match a.window as usize {
        0 => 0,
        window => p.saturating_sub(window - 1),
    };
    let row_bytes = a.layout.value_bytes / PAGE;
    acc.fill(0.0);
    let (mut m, mut l) = sink.map_or((f32::NEG_INFINITY, 0.0), |sink| (sink, 1.0));
    for page in first / PAGE..=p / PAGE {
        let Some((keys, values)) = job.head(page, kv_head) else {
            continue;
        };
        let base = page * PAGE;
        // Visible slots: lo ..= hi.
        let (lo, hi) = (first.max(base) - base, p.min(base + PAGE - 1) - base);

        let mut s = [0.0; PAGE];
        if !add_rows::<I, S>(i, q, keys, S::BYTES * PAGE, lo..=hi, &mut s) {
            let whole = s.as_chunks_mut::<LANES>().0.iter_mut();
            for (s, lanes) in whole.zip(S::scores(i, q, keys)) {
                *s = i.store(lanes);
            }
        }
        for s in &mut s {
            *s *= a.scale;
        }
        if a.softcap != 0.0 {
            for s in &mut s {
                *s = a.softcap * math::tanh(i, *s / a.softcap);
            }
        }
        let mut new = m;
        for &s in s.get(lo..=hi).unwrap_or(&[]) {
            new = if s > new { s } else { new };
        }
        if page != first / PAGE || sink.is_some() {
            let c = math::exp(i, m - new);
            l *= c;
            acc.iter_mut().for_each(|acc| *acc *= c);
        }
        m = new;
        for (s, j) in s.iter_mut().zip(0u32..) {
            let visible = j >= lo as u32 && j <= hi as u32;
            if cfg!(target_os = "none") && !visible {
                // Where nothing is done for several at once, what is not seen need not be computed.
                *s = 0.0;
                continue;
            }
            let e = math::exp(i, *s - m);
            *s = if visible { e } else { 0.0 };
        }
        let mut lanes = [0.0; LANES];
        for e in s.as_chunks::<LANES>().0 {
            lanes.iter_mut().zip(e).for_each(|(lane, &e)| *lane += e);
        }
        l += tree(&lanes);
        let rows = values.chunks_exact(row_bytes).zip(&s).take(hi + 1).skip(lo);
        let whole = a.layout.dv / LANES * LANES;
        let seen = values.get(lo * row_bytes..).unwrap_or(&[]);
        let e = s.get(lo..=hi).unwrap_or(&[]);
        if !add_rows::<I, S>(i, e, seen, row_bytes, 0..=whole, acc) {
            let mut c = 0;
            let (fours, rest) = acc.as_chunks_mut::<{ 4 * LANES }>();
            for acc in fours {
                add_values::<I, S, 4>(i, rows.clone(), c, acc);
                c += 4;
            }
            for acc in rest.as_chunks_mut::<LANES>().0 {
                add_values::<I, S, 1>(i, rows.clone(), c, acc);
                c += 1;
            }
        }
        if whole == acc.len() {
            continue;
        }
        for (v, &e) in rows {
            for (d, acc) in acc.iter_mut().enumerate().skip(whole) {
                if let Some(v) = S::value(i, v, d) {
                    *acc = i.fma(e, v, *acc);
                }
            }
        }
    }
    acc.iter_mut().for_each(|acc| *acc /= l);
}

#[inline(always)]
fn row<I: Isa, S: Store>(
    i: I,
    job: Job<'_>,
    position: u32,
    q: &[f32],
    heads: Range<usize>,
    dst: &mut [f32],
) {
    let l = job.0.layout;
    let group = (job.0.n_head / l.n_head_kv).max(1);
    for (h, acc) in heads.zip(dst.chunks_exact_mut(l.dv)) {
        let Some(q) = q.get(h * l.dk..(h + 1) * l.dk) else {
            return;
        };
        let sinks = job.0.sinks.map(|s| s.as_chunks::<4>().0);
        let sink = sinks.and_then(|s| s.get(h)).map(|&s| f32::from_le_bytes(s));
        head::<I, S>(i, job, position, q, h / group, sink, acc);
    }
}

at_level! { fn row_f32(job: Job<'_>, p: u32, q: &[f32], heads: Range<usize>, dst: &mut [f32]) = row::<_, F32> }
at_level! { fn row_f16(job: Job<'_>, p: u32, q: &[f32], heads: Range<usize>, dst: &mut [f32]) = row::<_, F16> }
at_level! { fn row_q8(job: Job<'_>, p: u32, q: &[f32], heads: Range<usize>, dst: &mut [f32]) = row::<_, Q8> }

/// Attends the query row at `position`, for some heads: `q` is the whole row `[n_head * dk]`, `dst` the
/// part of the output row that belongs to `heads`, `[heads.len() * dv]`.
///
/// # Safety
/// Every page in `a.pages` that holds a visible position is null or points to
/// [`KvLayout::page_bytes`] initialised bytes that nobody writes meanwhile. (A null page there is passed
/// over, which is a caller's mistake but not undefined.)
pub unsafe fn attend_row(
    a: &Attend<'_>,
    position: u32,
    q: &[f32],
    heads: Range<usize>,
    dst: &mut [f32],
) {
    // SAFETY: the caller's promise, passed on.
    unsafe { attend_row_at(Level::current(), a, position, q, heads, dst) }
}

/// The same at a given level.
///
/// # Safety
/// As [`attend_row`].
pub(crate) unsafe fn attend_row_at(
    level: Level,
    a: &Attend<'_>,
    position: u32,
    q: &[f32],
    heads: Range<usize>,
    dst: &mut [f32],
) {
    let job = Job(a);
    match a.layout.ty {
        GgmlType::F16 => row_f16(level, job, position, q, heads, dst),
        GgmlType::Q8_0 => row_q8(level, job, position, q, heads, dst),
        _ => row_f32(level, job, position, q, heads, dst),
    }
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;
