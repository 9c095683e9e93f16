//! The deterministic core: everything a shard knows, and nothing it has to ask the world for.
//!
//! No file in this folder may read a clock, touch a socket, spawn or await. Time and bytes come in
//! as arguments; bytes and mailbox messages go out through polls that the driver empties. The same
//! code runs under `io_uring` in production and under the simulator in `tests/`, where several
//! shards live on one thread and any failure is reproduced by its seed.

pub mod batches;
mod connection;
pub mod connection_table;
mod core;
mod deadlines;
mod ends;
pub mod hash;
mod input;
pub mod names;
pub mod outbox;
mod output;
pub mod publication;
pub mod settings;
pub mod users;
pub mod wheel;

pub use self::connection::HttpPhase;
pub use self::core::{Answer, Ask, CloseStep, Question, Shard};
