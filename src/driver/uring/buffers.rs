//! The ring of receive buffers (provided buffer rings, see `io_uring_setup(2)`).
//!
//! ```text
//!   ours:     entries[tail & mask] = (address, length, id); tail += 1     give_back
//!   kernel's: takes the entry at its head, fills the buffer, names the id in a completion
//!   ours:     the completion's bytes are read in place                     filled
//! ```
//!
//! A buffer belongs to the kernel from `return_buffer` to the completion that names it, and to the
//! process from then to the next `return_buffer`. Each is offered [`PADDING_BYTES`] shorter than
//! it is.

#![expect(unsafe_code, reason = "memory shared with the kernel")]

use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// A registered ring of buffers of one size.
///
/// Invariant: `ours[id]` is true while the process, and not the kernel, may access buffer `id`.
#[derive(Debug)]
pub(in crate::driver) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    entries_layout: Layout,
    memory: NonNull<u8>,
    memory_layout: Layout,
    ours: Box<[bool]>,
    count: u16,
    bytes: u32,
    /// Entries given back, modulo 2^16.
    tail: u16,
    /// Upper limit of the pages that the kernel has written to since the memory was last released.
    pages_touched: usize,
}

impl BufferRing {
    /// Allocates `count` buffers of `bytes` bytes and registers them with a ring.
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot register them.
    ///
    /// # Panics
    ///
    /// If `count` is not a power of two, or `bytes` is not above [`PADDING_BYTES`].
    pub(in crate::driver) fn new(
        submitter: &Submitter<'_>,
        count: u16,
        bytes: u32,
    ) -> io::Result<Self> {
        assert!(count.is_power_of_two());
        assert!(bytes > PADDING_BYTES);
        let entries_bytes = usize::from(count) * size_of::<BufRingEntry>();
        let entries_layout =
            Layout::from_size_align(entries_bytes, PAGE_BYTES).expect("far below isize::MAX");
        let memory_layout =
            Layout::from_size_align(usize::from(count) * bytes as usize, PAGE_BYTES)
                .expect("far below isize::MAX");
        let entries = allocate(entries_layout).cast::<BufRingEntry>();
        let memory = allocate(memory_layout);
        let mut ring = Self {
            entries,
            entries_layout,
            memory,
            memory_layout,
            ours: vec![true; usize::from(count)].into_boxed_slice(),
            count,
            bytes,
            tail: 0,
            pages_touched: 0,
        };

        // SAFETY: the entries are page-aligned, zeroed, as many as said, and live until `drop`,
        // which runs only after the ring is gone: `DataRing` declares its ring first.
        unsafe {
            submitter.register_buf_ring_with_flags(entries.as_ptr() as u64, count, GROUP, 0)
        }?;
        for id in 0..count {
            ring.return_buffer(id);
        }
        ring.publish();
        Ok(ring)
    }

    /// Takes buffer `id` from the kernel and returns its first `len` bytes, which the kernel has
    /// written.
    ///
    /// # Panics
    ///
    /// If there is no buffer `id`, or `len` is above its size without the padding.
    pub(in crate::driver) fn filled(&mut self, id: u16, len: usize) -> &mut [u8] {
        assert!(len <= (self.bytes - PADDING_BYTES) as usize);
        self.ours[usize::from(id)] = true;
        self.pages_touched += len.div_ceil(PAGE_BYTES);
        let at = usize::from(id) * self.bytes as usize;
        // SAFETY: `id` is below `count` (indexed above), so the address is inside the allocation.
        let start = unsafe { self.memory.add(at) };
        // SAFETY: the bytes are initialised (allocated zeroed), the kernel has given them up with
        // the completion that named them, and `&mut self` lends them once at a time.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) }
    }

    /// Gives buffer `id` to the kernel, from the next [`BufferRing::publish`] on.
    ///
    /// # Panics
    ///
    /// If the kernel has it already.
    pub(in crate::driver) fn return_buffer(&mut self, id: u16) {
        assert!(
            std::mem::take(&mut self.ours[usize::from(id)]),
            "given back once"
        );
        let index = usize::from(self.tail & (self.count - 1));
        let at = usize::from(id) * self.bytes as usize;
        // SAFETY: inside the allocation, since `id` is below `count`.
        let buffer = unsafe { self.memory.add(at) };
        // SAFETY: inside the allocation, since `index` is below `count`.
        let entry = unsafe { self.entries.add(index) };
        // SAFETY: the kernel reads entries below the published tail only, and this one is at or
        // above it; nobody else has a reference to it.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(buffer.as_ptr() as u64);
        entry.set_len(self.bytes - PADDING_BYTES);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Returns the memory of the buffers to the system until they are filled again. For a shard
    /// that has been idle for a while.
    ///
    /// # Panics
    ///
    /// If a buffer has been filled and not given back.
    pub(in crate::driver) fn release_memory(&mut self) {
        assert!(
            self.ours.iter().all(|&ours| !ours),
            "what has come was read"
        );
        self.pages_touched = 0;
        let (start, len) = (self.memory.as_ptr().cast(), self.memory_layout.size());
        // SAFETY: page-aligned memory of ours, none of whose bytes is in use: the kernel writes to
        // it only while this thread is inside an enter, and finds zeroed pages then.
        let released =
            unsafe { rustix::mm::madvise(start, len, rustix::mm::Advice::LinuxDontNeed) };
        if let Err(error) = released {
            tracing::debug!(%error, "cannot return the receive buffers' memory");
        }
    }

    /// Returns whether enough pages were written that releasing the memory pays.
    pub(in crate::driver) fn is_worth_releasing(&self) -> bool {
        self.pages_touched >= PAGES_WORTH_RELEASING
    }

    /// Makes the buffers given back visible to the kernel.
    pub(in crate::driver) fn publish(&mut self) {
        // SAFETY: `entries` points to a live ring, in whose first entry the kernel's tail lies.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: aligned and live, and written only here and read by the kernel as an atomic.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; the ring that knew of it is closed.
        unsafe {
            dealloc(self.entries.as_ptr().cast(), self.entries_layout);
        }
        // SAFETY: the same.
        unsafe {
            dealloc(self.memory.as_ptr(), self.memory_layout);
        }
    }
}

fn allocate(layout: Layout) -> NonNull<u8> {
    assert!(layout.size() > 0);
    // SAFETY: the layout has a size.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

/// The buffer group of all receives.
pub(in crate::driver) const GROUP: u16 = 0;
/// Bytes at the end of each buffer that the kernel does not fill, for parsers that read past the
/// end.
const PADDING_BYTES: u32 = 64;
const PAGE_BYTES: usize = 4096;
/// 256 KiB.
const PAGES_WORTH_RELEASING: usize = 64;
