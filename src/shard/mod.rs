//! The deterministic core: everything a shard knows, and nothing it has to ask the world for.
//!
//! No file in this folder may read a clock, touch a socket, spawn or await. Time and bytes come in
//! as arguments; bytes and mailbox messages go out through polls that the driver empties. The same
//! code runs under `io_uring` in production and under the simulator in `tests/`, where several
//! shards live on one thread and any failure is reproduced by its seed.

pub mod batches;
pub mod channels;
pub mod claims;
mod connection;
pub mod connection_table;
mod core;
mod deadlines;
mod dirty;
mod drain;
mod ends;
mod exclusive;
mod grace;
pub mod hash;
mod http_phases;
mod input;
mod listing;
pub mod message;
pub mod names;
pub mod outbox;
mod output;
mod own_channels;
mod presence;
mod question;
mod reports;
mod room;
pub mod settings;
mod unfinished;
pub mod users;
pub mod wheel;

pub use self::connection::HttpPhase;
pub use self::core::{CloseStep, SessionStatistics, Shard};
pub use self::exclusive::{Ruling, Verdict};
pub use self::presence::{Joined, Sighting};
pub use self::question::{Answer, Ask, Question, Request};
pub use self::reports::{Report, ReportedEvent};
pub use self::room::{NoRoom, Room};
