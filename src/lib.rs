//! Campanile: a real-time push gateway for Linux on `io_uring`.
//!
//! Clients hold WebSocket connections, in one of several languages; backends push to them over HTTP
//! or from inside the program that embeds this library. One shard per core owns its sessions
//! outright, and nothing on the way of a message is shared or locked.
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
//! [`handler`] is what an embedder writes and holds; [`config`] says what is served where.
//!
//! # Threads, panics, memory
//!
//! Each shard is a thread, pinned to a core if the config says so. A panic on it is a bug of ours
//! and aborts the process, since half a gateway that looks alive is worse than none; a panic in an
//! embedder's function is caught, worded as a refusal and hurts nobody. [`abort_on_panic`] makes
//! sure that a panic in a task of the runtime does not go unnoticed either. The library never
//! chooses an allocator; the binary uses mimalloc.
//!
//! # Layers
//!
//! `ws`, `codec`, `dialect` and `shard` are pure: no I/O, no clock, no async. `http` lets hyper
//! parse requests from memory, `host` has a shard, its HTTP connections and handlers in one, and
//! `driver` moves bytes between that and the kernel. ARCHITECTURE.md has the stories and the
//! reasons.

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
