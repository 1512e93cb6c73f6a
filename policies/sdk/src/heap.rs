//! The guest's memory: a bump allocator that never frees.
//!
//! An instance lives for one evaluation, so freeing is not worth the work. The heap begins behind the linker's data,
//! and uses the initial memory before it asks for more. A fresh instance is cheap because the guest never grows its
//! memory.
#![expect(unsafe_code, reason = "an allocator is unsafe by its trait; each block has its proof")]

use std::{
    alloc::{GlobalAlloc, Layout},
    arch::wasm32::{memory_grow, memory_size},
    cell::Cell,
    ptr,
};

#[global_allocator]
static HEAP: Bump = Bump { next: Cell::new(0), end: Cell::new(0) };

/// An allocator that places blocks one after the other. All addresses from `next` on are unused. `end` is the
/// first address beyond the memory. Both are 0 until the first block.
struct Bump {
    next: Cell<usize>,
    end: Cell<usize>,
}

const PAGE: usize = 64 * 1024;

/// Bytes of the smallest growth, after the initial memory is used up. Each growth is a call of the host.
const GROWTH_PAGES: usize = 16;

// SAFETY: wasm32-unknown-unknown without the atomics feature has one thread, so the cells are never shared.
unsafe impl Sync for Bump {}

// SAFETY: `take` returns each address once, because `next` only rises, by at least the size of the block. Addresses are
// aligned, above the linker's data and below the end of the memory. No code here unwinds.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout.size(), layout.align()) {
            Some(address) => ptr::with_exposed_provenance_mut(address),
            None => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _block: *mut u8, _layout: Layout) {}

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let is_last = block.addr() + layout.size() == self.next.get();
        if size <= layout.size() {
            return block;
        }
        // The last block grows in place: its start is aligned already, so there is no gap.
        if is_last && self.take(size - layout.size(), 1).is_some() {
            return block;
        }
        let Some(address) = self.take(size, layout.align()) else { return ptr::null_mut() };
        let moved = ptr::with_exposed_provenance_mut(address);
        // SAFETY: the caller owns `block` of `layout.size()` bytes. `moved` has `size` bytes, which is more, and
        // `take` returned it to no other caller, so the two do not overlap.
        unsafe { ptr::copy_nonoverlapping(block, moved, layout.size()) };
        moved
    }
}

impl Bump {
    /// Takes `size` bytes at a multiple of `align`, a power of two, and returns their address; `None` if the memory
    /// cannot grow that far.
    fn take(&self, size: usize, align: usize) -> Option<usize> {
        if self.end.get() == 0 {
            self.next.set(heap_base());
            // The end of a memory of 4 GiB is not an address, so the last byte stays unused.
            self.end.set(memory_size(0).saturating_mul(PAGE));
        }
        let start = self.next.get().checked_add(align - 1)? & !(align - 1);
        let next = start.checked_add(size)?;
        if next > self.end.get() {
            self.grow(next - self.end.get())?;
        }
        self.next.set(next);
        Some(start)
    }

    #[cold]
    fn grow(&self, bytes: usize) -> Option<()> {
        let needed = bytes.div_ceil(PAGE);
        let grown = [needed.max(GROWTH_PAGES), needed]
            .into_iter()
            .find(|&pages| memory_grow(0, pages) != usize::MAX)?;
        self.end.set(self.end.get().saturating_add(grown.saturating_mul(PAGE)));
        Some(())
    }
}

/// The end of the linker's stack and data.
fn heap_base() -> usize {
    unsafe extern "C" {
        // SAFETY: wasm-ld defines the symbol. The code takes its address and never reads it.
        safe static __heap_base: u8;
    }
    (&raw const __heap_base).expose_provenance()
}
