//! Campanile: a real-time push gateway for Linux on `io_uring`.
//!
//! Clients hold WebSocket connections and speak one of several dialects. Backends push to them over
//! HTTP or from the program that embeds this library. One shard per core owns its sessions
//! exclusively, so the path of a message has no shared state and no locks.
//!
//! ```text
//!   clients ==WebSocket==> [ shard 0 ] <== mailboxes ==> [ shard 1 ] <==HTTP== backends
//!                           sessions                      sessions
//!                           users, channels               users, channels
//!                           outboxes                      outboxes
//! ```
//!
//! The binary `campanile` is this library with a command line. To embed it:
//!
//! ```no_run
//! use campanile::config::Config;
//! use campanile::{Context, Failure, Gateway, Message, Reply};
//! use std::time::Duration;
//!
//! async fn join(cx: Context) -> Result<Reply, Failure> {
//!     let room: String = cx.bind()?;
//!     cx.join(room.clone()).await?;
//!     cx.publish_to_others(room, Message::json("joined", &cx.session().number())?);
//!     Ok(Reply::ok())
//! }
//!
//! let gateway = Gateway::builder(Config::default())
//!     .authenticate_token(|token| token.strip_prefix("user-").map(str::to_owned))
//!     .route("/wsrv")
//!     .handle("join", join)
//!     .start()?;
//! println!("clients connect to ws://{}/wsrv", gateway.local_addr());
//!
//! let route = gateway.route("/wsrv").expect("it is in the config");
//! route.broadcast(Message::text("news", "open")).wait()?;
//!
//! let counters = gateway.stop(Duration::from_secs(5));
//! println!("{} sessions were served", counters.sessions_opened);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`handler`] has the embedder's API; [`config`] has the settings.
//!
//! # Threads, panics, memory
//!
//! Each shard is a thread, pinned to a core if the config says so. A panic of the gateway's own
//! code on it is a bug and aborts the process: half a gateway that looks alive is worse than none.
//! A panic in an embedder's function is caught, becomes a failure of that call and affects no other
//! session. [`abort_on_panic`] also aborts on panics in the runtime's own tasks. The library does
//! not choose an allocator; the binary uses mimalloc.
//!
//! # Layers
//!
//! `ws`, `codec`, `dialect` and `shard` are pure: no I/O, no clock, no async. `http` has hyper
//! parse requests from memory. `host` combines a shard, its HTTP connections and its handlers.
//! `driver` moves bytes between a host and the kernel. ARCHITECTURE.md explains the design.

mod api;
mod auth;
mod builtin;
pub mod cli;
pub mod codec;
pub mod config;
pub mod dialect;
pub mod driver;
pub mod gateway;
pub mod handler;
mod hooks;
pub mod host;
mod http;
pub mod logging;
pub mod mailbox;
mod runtime;
pub mod shard;
mod vocabulary;
pub mod ws;

pub use driver::panic_hook::abort_on_panic;
pub use gateway::{Builder, Error, Gateway};
pub use handler::{Context, Failure, Handle, Message, Reply, RouteHandle, Session, Setup};
pub use vocabulary::{
    channel_pattern, channel_rules, close, content, id, limits, metrics, public_id, publication,
    time,
};
