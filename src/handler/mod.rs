//! The embedder's API: setup of routes, handlers, middleware and channels, and the gateway handle.
//!
//! ```text
//!   upgrade request --> admit ----------------------> 101, or a rejection
//!   session opens   --> on_open
//!   message         --> on_message --> middleware --> handlers of its command, or the fallback
//!                                   <-- response <--'
//!   listen, ?ch=    --> validator of the channel
//!   session ends    --> on_close
//! ```
//!
//! An embedder's functions run on the session's shard. A function that has to wait continues as a
//! local task in a single-threaded tokio runtime with timers and I/O. Futures may be `!Send` and
//! may use any tokio library that neither blocks the thread nor needs a multi-threaded runtime.
//! The functions never run while the shard is borrowed: their commands to the gateway go to the
//! shard's queue, which is processed in FIFO order.
//!
//! The config's handlers are registered with the same API, before the embedder's setup. A handler
//! in code replaces the config's handler of the same command.
//!
//! Calls of one session run one after the other, in the order of its messages. They run
//! concurrently in dialects whose clients match responses by request id (`wsrv`). A panic fails the
//! call and affects no other session. A handler that blocks its thread stalls its shard; the
//! watchdog logs its name.

mod access_rules;
mod admission;
mod ansi_html;
mod bind;
mod chain;
mod commands;
mod context;
mod handle;
mod handle_error;
mod http_service;
mod info;
mod pages;
mod pending;
pub mod projectforge;
mod registry;
mod response;
mod route_handle;
mod routes;
mod session;
mod setup;
mod task;
mod values;

pub use admission::{Admission, Joining, Profile, RequestHead, Upgrade};
pub use bind::BindError;
pub use chain::Next;
pub use context::Context;
pub use handle::Handle;
pub use handle_error::HandleError;
pub(crate) use info::NameCounts;
pub use info::{ListedName, MemberCount, SessionInfo};
pub use pages::{NamePlace, NamePlaceError, Page, PageLimits};
pub use pending::{Gathered, Pending};
pub use response::{EncodeError, IntoResponse, Response};
pub use route_handle::RouteHandle;
pub use routes::Routes;
pub use session::Session;
pub use setup::{RouteSetup, Setup, SetupError};
pub use values::Values;

pub(crate) use access_rules::{Permission, ValidateFn};
pub(crate) use admission::Admitted;
pub(crate) use chain::Registered;
pub(crate) use commands::{
    ClientAction, Command, CommandQueues, NamesOf, Pass, ReplyTo, SessionResponse, SessionsOf,
    ShardCommands, SharedValue,
};
pub(crate) use context::CloseRequest;
pub(crate) use handle::HandleCore;
pub(crate) use http_service::{EmbedderBody, HttpService};
pub(crate) use registry::{CallChain, HeadFn, Registry, SessionFn};
pub(crate) use route_handle::RouteInfo;
pub(crate) use session::SessionState;
pub(crate) use setup::{SetupFn, Setups};
pub(crate) use task::{Guarded, Label, LocalFuture, Watch, WatchSlot};

pub use crate::dialect::Rejection;
pub use crate::vocabulary::content::{Cause, Data, Denial, Failure, Message, Reply};
