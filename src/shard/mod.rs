//! The shard: a deterministic state machine for one thread's share of the connections.
//!
//! Files in this folder do not read a clock, use a socket, start a thread or await. Time and
//! received bytes are arguments; bytes to send and mailbox messages leave through `poll_*` methods,
//! which the host empties. The same code runs under `io_uring` in production and in the simulator
//! of `tests/`, which runs several shards on one thread and reproduces any failure from its seed.

pub mod batches;
pub mod channels;
pub mod claims;
pub mod classes;
mod clients;
mod close_grace;
mod closing;
mod connection;
pub mod connection_table;
mod core;
mod deadlines;
mod drain;
mod events;
mod exclusive;
pub mod export;
pub mod hash;
pub mod home;
mod host_request;
mod http_phases;
mod input;
mod listing;
pub mod message;
mod moves;
pub mod names;
mod names_budget;
mod other_shards;
pub mod outbox;
mod output;
mod own_channels;
mod partial_messages;
mod presence;
mod publish;
mod send_queues;
pub mod settings;
pub mod users;
pub mod wheel;

pub use self::clients::ClientError;
pub use self::connection::HttpPhase;
pub use self::core::{CloseStep, SessionStatistics, Shard};
pub use self::events::{Event, EventLevel, EventPeer, EventSession, MessageSize, SessionSnapshot};
pub use self::exclusive::{ClaimOutcome, ClaimResult};
pub use self::host_request::{HostRequest, HostRequestKind, HostResponse, OwnedCall, OwnedPublish};
pub use self::moves::Location;
pub use self::names_budget::{NamesBudget, NamesLimit};
pub use self::presence::JoinResult;
