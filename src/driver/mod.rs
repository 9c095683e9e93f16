//! Runs one shard on one pinned thread: sockets, buffers, sends, sleep.
//!
//! ```text
//!   kernel <--> ring, buffers, sockets <--> run (the loop) <--> host <--> shard
//!                                                |               |
//!                                              sleep          mailbox, http
//! ```
//!
//! Everything that touches the kernel or the clock is here, and nothing here decides anything. It
//! is the only folder with `unsafe` in it: in `uring/` and `run`.

mod accept;
mod cgroup;
mod closing;
mod errno;
mod listen;
pub(crate) mod machine;
pub(crate) mod panic_hook;
pub(crate) mod probe;
mod refuse;
mod run;
pub mod start_error;
pub(crate) mod stop;
mod stopping;
pub(crate) mod threads;
pub mod turn;
mod uring;
pub(crate) mod watchdog;

use crate::runtime::panic::DropGuarded;

/// Called on a shard's thread when it has been idle for a second and gave up memory before.
pub(crate) type IdleFunction = DropGuarded<Box<dyn Fn() + Send + Sync>>;

/// How much of everything one turn of a loop does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TurnLimits {
    pub(crate) looks_per_turn_max: u32,
    /// How long a shard without work goes on looking for some before it sleeps.
    pub(crate) busy_poll: std::time::Duration,
    pub(crate) sends_per_enter_max: u32,
    pub(crate) sends_per_turn_max: u32,
    /// After which an operation that was cancelled should have ended.
    pub(crate) cancel_patience: std::time::Duration,
    /// Connections of the whole process.
    pub(crate) sessions_max: usize,
}
