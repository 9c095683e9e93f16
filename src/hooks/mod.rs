//! Hooks: how a backend in any language is asked over HTTP, and told.
//!
//! ```text
//!   a route's functions --> route.rs --> client.rs --> POST, keep-alive, bounded, with retries
//!                              |  asks.rs: what is posted      state.rs: counts, health
//!                              |  answers.rs: what comes back, judged whole
//!                              v                               queue.rs: one for each kind of hook
//!                   joins, leaves, pushes, values, then the response, then a close
//! ```
//!
//! Everything is done by what a handler could do, so a hook has the order that handlers have. What
//! a backend answers counts whole or not at all.

mod answers;
mod asks;
mod client;
mod connect;
mod error;
mod queue;
mod route;
mod state;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use self::asks::{Asker, Question};
pub(crate) use self::client::Backends;
pub(crate) use self::error::{HookError, OpenError};
pub(crate) use self::route::HookClient;
