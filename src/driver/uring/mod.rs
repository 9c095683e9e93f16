//! The `io_uring` interface: a shard's ring, its receive buffers and its sockets.

pub(super) mod buffers;
pub(super) mod ring;
pub(super) mod socket;
