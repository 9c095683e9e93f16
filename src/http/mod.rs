//! HTTP on the gateway's port: upgrades, pushes, drops, the server API and the embedder's service.
//!
//! hyper parses requests and writes responses. It reads and writes memory (`pipe`), never a socket.
//! Only the host may call the shard, so a request enqueues its command
//! ([`HttpContext::http_commands`]) and waits for the result.

mod answered_get;
mod api;
mod body;
mod coding;
mod connection;
mod connection_context;
mod embedded;
mod eviction;
mod message;
mod pipe;
pub(crate) mod playground;
mod push;
mod raw_head;
mod rejections;
mod response;
mod route;
mod service;
mod upgrade;

pub(crate) use body::RequestBody;
pub(crate) use connection::{HttpConnection, Progress, Upgraded, WakeList};
pub(crate) use eviction::{ConnectionState, EvictionDecision, EvictionQueues};
pub(crate) use response::{OVERLOADED, TIMED_OUT};
pub(crate) use route::{HttpRoute, Served, ServedPath};
pub(crate) use service::{
    CommandError, CommandResult, HttpCommand, HttpContext, QueuedCommand, ResultSlot, TapRule,
    UpgradeRules, UserClaim,
};

use service::Service;
