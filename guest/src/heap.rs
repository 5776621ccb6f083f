//! The guest's allocator: free blocks in bins by size, and marks at both ends of a block, by which neighbours find one another.
//!
//! Whatever is done takes a bounded number of instructions, however many blocks there are: a schema, a template or JSON makes
//! and drops tens of thousands, and an event has so much fuel and no more. It is TLSF (Masmano, Ripoll, Crespo, Real, 2004)
//! with the marks of Knuth's (The Art of Computer Programming, 2.5): a word before each block, and one at the end of free ones.

use core::ptr::null_mut;

/// A word, which a block costs beside what is in it.
const WORD: usize = size_of::<usize>();
/// What is handed out is aligned to this, and blocks are multiples of it.
const GRAIN: usize = 2 * WORD;
/// The smallest block: what a free one holds.
const LEAST: usize = size_of::<Block>() + WORD;

/// Marks in a block's first word, beside its size: it is free; the block before it is.
const FREE: usize = 1;
const BEHIND_FREE: usize = 2;
const MARKS: usize = FREE | BEHIND_FREE;

/// Sizes below so many grains have a bin each; above, each power of two has [`PARTS`].
const EXACT: usize = 16;
const PARTS: usize = 8;
const BINS: usize = 256;
/// Blocks of the wanted bin that are looked at before memory grows: they may be large enough, and need not be.
const LOOKS: usize = 16;

/// A block. All but the first word is there only while it is free, and then its last word is its size.
#[repr(C)]
struct Block {
    head: usize,
    next: *mut Block,
    previous: *mut Block,
}

/// The free blocks of a memory, which ends with a block of no size.
pub struct Heap {
    bins: [*mut Block; BINS],
    /// A bit for each bin that has something.
    filled: [u32; BINS / 32],
    /// The block that ends it.
    top: *mut Block,
}

/// The bin of a size.
fn bin(bytes: usize) -> usize {
    let grains = bytes / GRAIN;
    if grains < EXACT {
        return grains;
    }
    let log = grains.ilog2() as usize;
    let part = (grains >> (log - 3)) % PARTS;
    (EXACT + (log - 4) * PARTS + part).min(BINS - 1)
}

/// The bin from which on every block has as many bytes.
fn enough(bytes: usize) -> usize {
    let grains = bytes / GRAIN;
    let step = match grains {
        ..EXACT => 0,
        _ => (1 << (grains.ilog2() - 3)) - 1,
    };
    bin(bytes.saturating_add(step * GRAIN))
}

/// The size of a block that has room for so many bytes.
fn block_bytes(bytes: usize) -> Option<usize> {
    let bytes = bytes.checked_add(WORD + GRAIN - 1)? & !(GRAIN - 1);
    Some(bytes.max(LEAST))
}

// SAFETY of all functions here that are unsafe, and of what they do: blocks lie one behind the other from the first to the top, each
// with its size in its first word; what is marked as free is in its bin and belongs to this allocator alone.
impl Heap {
    /// Nothing.
    pub const fn new() -> Self {
        Self {
            bins: [null_mut(); BINS],
            filled: [0; BINS / 32],
            top: null_mut(),
        }
    }

    /// Whether it has any memory.
    pub fn is_new(&self) -> bool {
        self.top.is_null()
    }

    /// Bytes that are free at the top.
    ///
    /// # Safety
    /// See [`Heap::extend`].
    pub unsafe fn spare(&self) -> usize {
        // SAFETY: as above.
        unsafe {
            match (*self.top).head & BEHIND_FREE {
                0 => 0,
                _ => *(self.top.byte_sub(WORD).cast::<usize>()),
            }
        }
    }

    /// Takes over the memory up to `end`: from `start` on if there was none, else from where it ended.
    ///
    /// # Safety
    /// The memory is nobody else's, in one piece with what there was, and a few blocks long.
    pub unsafe fn extend(&mut self, start: usize, end: usize) {
        // What is handed out is aligned, and so the words before that are a word off.
        let top = ((end & !(GRAIN - 1)) - WORD) as *mut Block;
        // SAFETY: as above.
        unsafe {
            if self.is_new() {
                let first = (start + WORD).next_multiple_of(GRAIN) - WORD;
                self.top = first as *mut Block;
                (*self.top).head = 0;
            }
            (*top).head = 0;
            let block = core::mem::replace(&mut self.top, top);
            (*block).head |= top as usize - block as usize;
            self.give(block);
        }
    }

    /// A place for so many bytes, or null.
    ///
    /// # Safety
    /// See [`Heap::extend`].
    pub unsafe fn alloc(&mut self, bytes: usize) -> *mut u8 {
        let Some(bytes) = block_bytes(bytes) else {
            return null_mut();
        };
        // SAFETY: as above.
        unsafe {
            let block = self.find(bytes);
            if block.is_null() {
                return null_mut();
            }
            self.unlink(block);
            let rest = (*block).head - FREE - bytes;
            if rest >= LEAST {
                (*block).head = bytes;
                self.link(block.byte_add(bytes), rest);
            } else {
                (*block).head -= FREE;
                (*after(block)).head &= !BEHIND_FREE;
            }
            block.cast::<u8>().add(WORD)
        }
    }

    /// Takes back what [`Heap::alloc`] gave.
    ///
    /// # Safety
    /// It came from there, and nobody uses it any more.
    #[inline(never)]
    pub unsafe fn free(&mut self, place: *mut u8) {
        // SAFETY: as above.
        unsafe {
            let block: *mut Block = place.sub(WORD).cast();
            // Saved sessions have all of a guest's memory in them: what was dropped should not be there, and zeros are left out.
            place.write_bytes(0, ((*block).head & !MARKS) - WORD);
            self.give(block);
        }
    }

    /// Makes a block free, and one with its neighbours.
    unsafe fn give(&mut self, mut block: *mut Block) {
        // SAFETY: as above.
        unsafe {
            let mut bytes = (*block).head & !MARKS;
            let next = after(block);
            if (*next).head & FREE != 0 {
                self.unlink(next);
                bytes += (*next).head & !MARKS;
            }
            if (*block).head & BEHIND_FREE != 0 {
                let before = *(block.byte_sub(WORD).cast::<usize>());
                block = block.byte_sub(before);
                self.unlink(block);
                bytes += before;
            }
            self.link(block, bytes);
        }
    }

    /// Marks a block as free, and puts it into its bin.
    unsafe fn link(&mut self, block: *mut Block, bytes: usize) {
        let bin = bin(bytes);
        let first = self.bins.get(bin).copied().unwrap_or(null_mut());
        // SAFETY: as above.
        unsafe {
            *block = Block {
                head: bytes | FREE,
                next: first,
                previous: null_mut(),
            };
            *(block.byte_add(bytes - WORD).cast::<usize>()) = bytes;
            (*after(block)).head |= BEHIND_FREE;
            if !first.is_null() {
                (*first).previous = block;
            }
        }
        self.begin(bin, block);
    }

    /// Takes a free block out of its bin.
    unsafe fn unlink(&mut self, block: *mut Block) {
        // SAFETY: as above.
        unsafe {
            let Block {
                head,
                next,
                previous,
            } = *block;
            if !next.is_null() {
                (*next).previous = previous;
            }
            if previous.is_null() {
                self.begin(bin(head & !MARKS), next);
            } else {
                (*previous).next = next;
            }
        }
    }

    /// A bin begins with this block.
    fn begin(&mut self, bin: usize, block: *mut Block) {
        if let (Some(first), Some(word)) = (self.bins.get_mut(bin), self.filled.get_mut(bin / 32)) {
            *first = block;
            let bit = 1 << (bin % 32);
            *word = if block.is_null() {
                *word & !bit
            } else {
                *word | bit
            };
        }
    }

    /// A free block of so many bytes, or null.
    unsafe fn find(&self, bytes: usize) -> *mut Block {
        let from = enough(bytes);
        let mut mask = u32::MAX << (from % 32);
        for (index, word) in self.filled.iter().enumerate().skip(from / 32) {
            let bits = *word & mask;
            if bits != 0 {
                let bin = index * 32 + bits.trailing_zeros() as usize;
                return self.bins.get(bin).copied().unwrap_or(null_mut());
            }
            mask = u32::MAX;
        }
        let mut block = self.bins.get(bin(bytes)).copied().unwrap_or(null_mut());
        for _ in 0..LOOKS {
            // SAFETY: as above.
            unsafe {
                if block.is_null() || (*block).head >= bytes {
                    return block;
                }
                block = (*block).next;
            }
        }
        null_mut()
    }
}

/// The block behind one.
unsafe fn after(block: *mut Block) -> *mut Block {
    // SAFETY: as above; there is always one, if only the top.
    unsafe { block.byte_add((*block).head & !MARKS) }
}

#[cfg(target_arch = "wasm32")]
mod global {
    use super::{GRAIN, Heap};
    use core::alloc::{GlobalAlloc, Layout};
    use core::arch::wasm32::{memory_grow, memory_size};
    use core::cell::UnsafeCell;
    use core::ptr::null_mut;

    /// WebAssembly's page.
    const PAGE: usize = 65536;
    /// Of what is asked for, a block may need so much more: its word, and what it is rounded up by.
    const MORE: usize = 2 * GRAIN;

    /// The global allocator.
    pub struct Global(UnsafeCell<Heap>);

    // SAFETY: the instance has one thread.
    unsafe impl Sync for Global {}

    #[global_allocator]
    static GLOBAL: Global = Global(UnsafeCell::new(Heap::new()));

    unsafe extern "C" {
        /// First byte after the linker's data and stack.
        static __heap_base: u8;
    }

    /// Gets at least `bytes` more from the host. False if the memory may not grow so far.
    ///
    /// # Safety
    /// The heap is the only one.
    unsafe fn grow(heap: &mut Heap, bytes: usize) -> bool {
        let start = &raw const __heap_base as usize;
        let end = memory_size::<0>() * PAGE;
        if heap.is_new() && end.saturating_sub(start) > MORE {
            // SAFETY: the linker leaves everything from __heap_base to the end to us.
            unsafe { heap.extend(start, end) };
            return true;
        }
        // What is free at the top counts, so that a long block grows the memory by the difference.
        let spare = match heap.is_new() {
            true => 0,
            // SAFETY: there is a top.
            false => unsafe { heap.spare() },
        };
        let Some(bytes) = bytes.checked_add(MORE + PAGE - 1) else {
            return false;
        };
        let pages = (bytes.saturating_sub(spare) / PAGE).max(1);
        if memory_grow::<0>(pages) == usize::MAX {
            return false;
        }
        // SAFETY: the pages just granted belong to nobody else, and follow the ones before.
        unsafe { heap.extend(start, end + pages * PAGE) };
        true
    }

    // SAFETY: blocks are disjoint and aligned to GRAIN; larger alignments are refused with null.
    unsafe impl GlobalAlloc for Global {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: one thread, and nothing below allocates.
            let heap = unsafe { &mut *self.0.get() };
            if layout.align() > GRAIN {
                return null_mut();
            }
            loop {
                // SAFETY: the heap has only what `grow` gave it.
                let place = unsafe { heap.alloc(layout.size()) };
                // SAFETY: it is the only one.
                if !place.is_null() || !unsafe { grow(heap, layout.size()) } {
                    return place;
                }
            }
        }

        unsafe fn dealloc(&self, place: *mut u8, _: Layout) {
            // SAFETY: as in `alloc`, from where it came.
            unsafe { (*self.0.get()).free(place) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn blocks_are_found_where_they_are_large_enough() {
        for bytes in (LEAST..1 << 20).step_by(GRAIN) {
            assert!(bin(bytes) < BINS && enough(bytes) >= bin(bytes));
            assert!(bin(bytes - GRAIN) <= bin(bytes));
            assert!(bin(bytes - GRAIN) < enough(bytes), "{bytes}");
        }
        assert_eq!(block_bytes(usize::MAX - 3), None);
    }

    #[test]
    fn what_is_handed_out_is_apart_and_comes_back_whole() {
        const WORDS: usize = 1 << 15;
        let mut memory = std::vec![0u64; WORDS];
        let start = memory.as_mut_ptr() as usize;
        let mut heap = Heap::new();
        // SAFETY: the memory is this test's, and places are used as long as they are taken.
        unsafe {
            heap.extend(start + 3, start + WORDS * 4);
            let mut taken: Vec<(*mut u8, usize, u8)> = Vec::new();
            let mut rng = Rng::new(7);
            let mut refused = 0;
            for turn in 0..20_000u32 {
                if turn == 10_000 {
                    // In the middle of it, more memory.
                    heap.extend(0, start + WORDS * 8);
                }
                let random = rng.next_u32() as usize;
                if random.is_multiple_of(3) && !taken.is_empty() {
                    let (place, bytes, fill) = taken.swap_remove(random / 3 % taken.len());
                    let content = core::slice::from_raw_parts(place, bytes);
                    assert!(content.iter().all(|byte| *byte == fill));
                    heap.free(place);
                    // Nothing is left of it but for the words of free blocks.
                    if let Some(inside) = bytes.checked_sub(4 * WORD) {
                        let dropped = core::slice::from_raw_parts(place.add(2 * WORD), inside);
                        assert!(dropped.iter().all(|byte| *byte == 0));
                    }
                    continue;
                }
                let bytes = random / 3 % if random.is_multiple_of(7) { 9000 } else { 200 };
                let place = heap.alloc(bytes);
                if place.is_null() {
                    refused += 1;
                    let (place, ..) = taken.swap_remove(0);
                    heap.free(place);
                    continue;
                }
                assert!((place as usize).is_multiple_of(GRAIN));
                assert!(place as usize >= start + 3 + WORD);
                assert!(place as usize + bytes <= start + WORDS * 8 - WORD);
                place.write_bytes(turn as u8, bytes);
                taken.push((place, bytes, turn as u8));
            }
            assert!(refused > 100, "it was full at times");
            for (place, ..) in taken {
                heap.free(place);
            }
            // One block again, which is all there is, and to be had in one piece.
            let all = heap.spare();
            assert_eq!(
                all,
                heap.top as usize - (start + 3 + WORD).next_multiple_of(GRAIN) + WORD
            );
            assert!(!heap.alloc(all - WORD).is_null());
            assert_eq!((heap.spare(), heap.filled), (0, [0; BINS / 32]));
        }
    }
}
