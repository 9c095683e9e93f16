//! Hooks: HTTP requests to a backend, which can be written in any language.
//!
//! ```text
//!   a route's functions --> route.rs --> client.rs --> POST, keep-alive, limited, with retries
//!                              |  requests.rs: request bodies  state.rs: counts, health
//!                              |  responses.rs: validation     queue.rs: one for each kind of hook
//!                              v
//!                   joins, leaves, pushes, values, then the response, then a close
//! ```
//!
//! Hooks use the same operations as handlers, so their order is that of handlers. An invalid
//! response has no effect at all.

mod client;
mod connect;
mod error;
mod queue;
mod requests;
mod responses;
mod route;
mod state;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use self::client::Backends;
pub(crate) use self::error::{BackendsError, HookError};
pub(crate) use self::requests::{AccessRequest, Requester};
pub(crate) use self::route::HookClient;
