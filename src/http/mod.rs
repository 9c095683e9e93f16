//! HTTP on the same port: the upgrade, pushes and drops.
//!
//! hyper parses requests and writes answers; it is fed from memory (`pipe`) and never sees a
//! socket. What a request wants from the shard it leaves in a queue ([`Context::asks`]), since only
//! the driver's loop may call the shard, and waits for the reply.

mod answer;
mod api;
mod connection;
mod embedded;
mod pipe;
pub(crate) mod playground;
mod push;
mod rejections;
mod service;
mod upgrade;

pub(crate) use answer::OVERLOADED;
pub(crate) use connection::{HttpConnection, Progress, Ring, Upgraded, WakeList};
pub(crate) use embedded::{EmbedderBody, HttpService};
pub(crate) use service::{
    Asked, Context, HttpAsk, HttpRoute, Refused, Replied, Reply, RequestBody, UpgradeRules,
};

use service::Service;
