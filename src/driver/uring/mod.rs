//! The kernel as `io_uring`: one ring of a shard's, its receive buffers, its sockets.

pub(super) mod buffers;
pub(super) mod ring;
pub(super) mod socket;
