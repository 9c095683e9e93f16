//! What an embedder writes: routes, middleware, command handlers, channel validators.
//!
//! ```text
//!   upgrade request --> admit ----------------------> 101, or a refusal
//!   session opens   --> on_open
//!   message         --> on_message --> middleware --> handlers of its command, or the fallback
//!                                   <-- response <--'
//!   listen, ?ch=    --> validator of the channel
//!   session ends    --> on_close
//! ```
//!
//! Everything here runs on the session's shard: a call at once, and as a local task if it has to
//! wait, in a tokio runtime of one thread with timers and I/O. It may be `!Send` and may use any
//! tokio library that neither blocks in place nor wants a runtime of several threads. It never
//! runs while the shard is borrowed; what it asks of the gateway is left in the shard's queue of
//! commands and done in order.
//!
//! What a config says is set up in the same way, before an embedder's setup; a handler of code
//! takes the place of a command of the config's.
//!
//! Calls of one session are handled in the order of its messages, one after the other, except in
//! languages whose clients match answers by name (`wsrv`). A handler that panics has failed, and
//! hurts nobody else; one that blocks stalls its shard, and is named in the log.

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
mod permissions;
mod program;
pub mod projectforge;
mod routes;
mod session;
mod setup;
mod task;
mod values;
mod words;

pub use admission::{Admission, Joining, Profile, RequestHead, Upgrade};
pub use bind::BindError;
pub use chain::Next;
pub use context::Context;
pub use handle::{Handle, RouteHandle};
pub use handle_error::HandleError;
pub use info::{ListedName, MemberCount, SessionInfo};
pub use pages::{NamePlace, NotPlace, Page, PageRoom};
pub use pending::{Gathered, Pending};
pub use routes::Routes;
pub use session::Session;
pub use setup::{RouteSetup, Setup, SetupError};
pub use values::Values;
pub use words::{EncodeError, IntoResponse, Response};

pub(crate) use admission::Admitted;
pub(crate) use chain::Registered;
pub(crate) use commands::{
    CommandQueues, NamesOf, ReplyTo, SessionsOf, ShardCommands, SharedValue,
};
pub(crate) use context::Farewell;
pub(crate) use handle::{HandleCore, RouteInfo};
pub(crate) use http_service::{EmbedderBody, HttpService};
pub(crate) use permissions::{Permission, ValidateFn};
pub(crate) use program::{CallChain, HeadFn, Program, SessionFn};
pub(crate) use session::SessionState;
pub(crate) use setup::{SetupFn, Setups};
pub(crate) use task::{Guarded, Label, LocalFuture, Watch, WatchSlot};

pub use crate::dialect::Rejection;
pub use crate::vocabulary::content::{Cause, Data, Denial, Failure, Message, Reply};
