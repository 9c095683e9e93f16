//! Who a client is, by a token that it shows: JSON Web Tokens, their keys, and where tokens are
//! looked for.
//!
//! ```text
//!   upgrade request --> source.rs: the first place that has a token
//!                          |
//!                          v
//!   file of keys ------> jwt.rs --> the user that the token names, and its claims
//!     (keys.rs, read again when it has changed)
//! ```
//!
//! Nothing here knows routes or sessions. A client is never told why its token is refused.

mod jwt;
mod keys;
mod source;

pub(crate) use jwt::{Claims, JwtVerifier};
pub(crate) use source::{default_sources, find_token};
