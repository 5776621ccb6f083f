//! The guest's allocator: one address-ordered free list, first fit, neighbours merged.
//!
//! The guest allocates little and keeps few blocks, so a short list beats size classes: it wastes
//! nothing, gives a program's bytes back whole, and is a hundred instructions of WebAssembly. Blocks
//! carry no header, because Rust hands the layout back when it frees.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;

/// Every block is a multiple of this long and aligned to it; a free block holds two words.
const GRAIN: usize = 16;
/// WebAssembly's page.
const PAGE: usize = 65536;

#[repr(C)]
struct Free {
    bytes: usize,
    next: *mut Free,
}

struct State {
    head: *mut Free,
    /// End of the memory taken so far; 0 before the first allocation.
    top: usize,
}

/// The global allocator.
pub struct Heap(UnsafeCell<State>);

// SAFETY: the instance has one thread.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap(UnsafeCell::new(State {
    head: null_mut(),
    top: 0,
}));

unsafe extern "C" {
    /// First byte after the linker's data and stack.
    static __heap_base: u8;
}

fn rounded(layout: Layout) -> Option<usize> {
    let bytes = layout.size().max(1).checked_add(GRAIN - 1)? & !(GRAIN - 1);
    (layout.align() <= GRAIN).then_some(bytes)
}

impl State {
    /// Adds `[start, start + bytes)` to the list, merging with the neighbours.
    ///
    /// # Safety
    /// The range must be free, in linear memory, and aligned to `GRAIN` at both ends.
    unsafe fn give(&mut self, start: usize, bytes: usize) {
        let mut link: *mut *mut Free = &raw mut self.head;
        // SAFETY: the list holds only free blocks that this allocator wrote, in ascending order;
        // the new range is disjoint from all of them by the contract above.
        unsafe {
            let mut previous: *mut Free = null_mut();
            while !(*link).is_null() && (*link as usize) < start {
                previous = *link;
                link = &raw mut (**link).next;
            }
            let next = *link;
            let block = start as *mut Free;
            (*block).bytes = bytes;
            (*block).next = next;
            *link = block;
            if !next.is_null() && start + bytes == next as usize {
                (*block).bytes += (*next).bytes;
                (*block).next = (*next).next;
            }
            if !previous.is_null() && previous as usize + (*previous).bytes == start {
                (*previous).bytes += (*block).bytes;
                (*previous).next = (*block).next;
            }
        }
    }

    /// Takes `bytes` from the first block that has them, or null.
    fn take(&mut self, bytes: usize) -> *mut u8 {
        let mut link: *mut *mut Free = &raw mut self.head;
        // SAFETY: see `give`; the remainder stays aligned because both sizes are multiples of GRAIN.
        unsafe {
            while !(*link).is_null() {
                let block = *link;
                if (*block).bytes >= bytes {
                    let rest = (*block).bytes - bytes;
                    if rest == 0 {
                        *link = (*block).next;
                    } else {
                        let tail = (block as usize + bytes) as *mut Free;
                        (*tail).bytes = rest;
                        (*tail).next = (*block).next;
                        *link = tail;
                    }
                    return block.cast();
                }
                link = &raw mut (*block).next;
            }
        }
        null_mut()
    }

    /// Gets at least `bytes` more from the host. False if the memory may not grow so far.
    fn grow(&mut self, bytes: usize) -> bool {
        let end = core::arch::wasm32::memory_size::<0>() * PAGE;
        if self.top == 0 {
            let base = (&raw const __heap_base as usize + GRAIN - 1) & !(GRAIN - 1);
            self.top = end;
            if base < end {
                // SAFETY: the linker leaves everything from __heap_base to the end to us.
                unsafe { self.give(base, end - base) };
            }
            return true;
        }
        // What is free at the top counts, so that a long block grows the memory by the difference.
        let mut spare = 0;
        let mut block = self.head;
        // SAFETY: see `give`.
        unsafe {
            while !block.is_null() {
                if block as usize + (*block).bytes == self.top {
                    spare = (*block).bytes;
                }
                block = (*block).next;
            }
        }
        let Some(pages) = bytes.saturating_sub(spare).checked_add(PAGE - 1) else {
            return false;
        };
        let pages = (pages / PAGE).max(1);
        if core::arch::wasm32::memory_grow::<0>(pages) == usize::MAX {
            return false;
        }
        // SAFETY: the pages just granted belong to nobody else.
        unsafe { self.give(self.top, pages * PAGE) };
        self.top += pages * PAGE;
        true
    }
}

// SAFETY: blocks are disjoint, aligned to GRAIN (larger alignments are refused with null), and
// sized by `rounded`, which gives the same answer for the same layout in `alloc` and `dealloc`.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread, and nothing below allocates.
        let state = unsafe { &mut *self.0.get() };
        let Some(bytes) = rounded(layout) else {
            return null_mut();
        };
        loop {
            let block = state.take(bytes);
            if !block.is_null() || !state.grow(bytes) {
                return block;
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`; the block came from there with the same layout.
        unsafe {
            let state = &mut *self.0.get();
            if let Some(bytes) = rounded(layout) {
                state.give(block as usize, bytes);
            }
        }
    }
}
