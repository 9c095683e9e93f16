//! Data types that all parts of the gateway share: ids, limits, close causes, times and message
//! content.
//!
//! All modules may use these types. The types depend on no other module of the gateway.

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
