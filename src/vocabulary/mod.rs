//! The words that every part of the gateway uses: names, limits, ends, times and what is said.
//!
//! Plain data with what can be said of it alone. Everything else may use it, and it uses nothing
//! else of the gateway.

pub(crate) mod authority;
pub mod channel_pattern;
pub mod channel_rules;
pub mod close;
pub mod content;
pub mod id;
pub mod limits;
pub mod metrics;
pub mod public_id;
pub mod publication;
pub mod time;
