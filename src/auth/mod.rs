//! Authentication of clients: finding a token in a request and verifying JSON Web Tokens (RFC
//! 7519).
//!
//! ```text
//!   request --find_token--> token --JwtVerifier--> user, claims
//!                                       |
//!                                  keys of the config, or of a file that is
//!                                  reloaded when it has changed
//! ```
//!
//! `bearer.rs` parses `Authorization: Bearer`, for tokens, API keys and secrets. `keyless.rs` has
//! the rule for requests without any of these that come from this machine.
//!
//! Tokens are verified once: a session stays open when its token expires. This module knows neither
//! which routes require tokens nor how a dialect rejects a client.

mod bearer;
mod jwt;
mod key_file;
mod key_files;
mod keyless;
mod keys;
mod rejected;
mod source;
#[cfg(test)]
mod tests;

pub(crate) use bearer::{BEARER_CHALLENGE, bearer};
pub(crate) use jwt::{Claims, JwtVerifier};
pub use key_files::{KeyFiles, KeysReloaded};
pub(crate) use keyless::{Keyless, NotLocalError, host_of};
pub(crate) use source::{default_sources, find_token};
