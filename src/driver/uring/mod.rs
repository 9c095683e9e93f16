//! The `io_uring` kernel: a shard's ring, its receive buffers, its listeners and calls on sockets.

mod buffers;
mod calls;
mod listeners;
pub(super) mod ring;
