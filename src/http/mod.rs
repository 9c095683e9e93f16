//! HTTP on the same port: the upgrade, pushes and drops.
//!
//! hyper parses requests and writes answers; it is fed from memory (`pipe`) and never sees a
//! socket. What a request wants from the shard it leaves in a queue ([`Context::asks`]), since only
//! the host may call the shard, and waits for the reply.

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
pub(crate) use eviction::{ConnectionState, EvictionQueues, Room};
pub(crate) use response::{OVERLOADED, TIMED_OUT};
pub(crate) use route::{HttpRoute, Served, ServedPath};
pub(crate) use service::{
    Claim, CommandError, CommandResult, Context, HttpCommand, QueuedCommand, ResultSlot, TapRule,
    UpgradeRules,
};

use service::Service;
