//! The driver: runs each shard on one thread, with its sockets, buffers, sends and sleep.
//!
//! ```text
//!   uring/ <--> kernel (a trait) <--> run (the loop), sockets <--> host <--> shard
//!                                          |                        |
//!                                   clock, sleep, stop         mailbox, http
//! ```
//!
//! All system calls of a running shard and all reads of the clock are in this folder; decisions are
//! made in the host and the shard. `unsafe` is allowed only in `uring/`, and in `kernel`,
//! `run` and `stage` for lending memory.

mod accept;
mod accept_backoff;
mod cgroup;
mod clock;
mod closing;
mod errno;
mod kernel;
mod listen;
pub(crate) mod machine;
pub(crate) mod panic_hook;
pub(crate) mod probe;
mod run;
mod sleep;
mod sockets;
#[doc(hidden)]
pub mod stage;
mod staged;
pub mod start_error;
pub(crate) mod stop;
mod stop_stages;
mod stopping;
#[cfg(test)]
mod tests;
pub(crate) mod threads;
pub mod turn;
mod uring;
pub(crate) mod watchdog;

use crate::runtime::panic::DropGuarded;

/// A function that a shard's thread calls after one idle second, if it freed memory before.
pub(crate) type IdleFunction = DropGuarded<Box<dyn Fn() + Send + Sync>>;

/// Limits on the work of one turn of a shard's loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TurnLimits {
    /// Maximum looks for arrivals in one turn before it sends.
    pub(crate) looks_per_turn_max: u32,
    /// Time that a shard without work busy-polls before it sleeps; zero turns that off.
    pub(crate) busy_poll: std::time::Duration,
    /// Sends that are queued before the kernel is entered.
    pub(crate) sends_per_enter_max: u32,
    /// Sends to sessions in one turn. The rest waits for the next turn.
    pub(crate) sends_per_turn_max: u32,
    /// Time after which a cancelled operation that has not completed is logged and cancelled again.
    pub(crate) cancel_timeout: std::time::Duration,
    /// Connections of the whole process, sessions and HTTP together.
    pub(crate) sessions_max: usize,
}
