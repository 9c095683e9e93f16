//! Who a client is, by the token that it shows: where in a request the token is, and what a JSON
//! Web Token says (RFC 7519).
//!
//! ```text
//!   request --find_token--> token --JwtVerifier--> user, claims
//!                                       |
//!                                  keys of the config, or of a file that is
//!                                  read again when it has changed
//! ```
//!
//! Behind `Authorization: Bearer` stands a token, a key or a secret (`bearer.rs`).
//!
//! A request without a token, key or secret may be trusted for coming from this machine
//! (`keyless.rs`).
//!
//! A token is believed or not, and nothing is remembered of it: a session lives on when its token
//! expires. Which routes ask for one, and what a client is told whose token is refused, is not
//! known here.

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
pub(crate) use keyless::{Keyless, NotLocal, host_of};
pub(crate) use source::{default_sources, find_token};
