//! Formats that dialects use: JSON as Go reads and writes it, Protocol Buffers, cookies.
//!
//! Functions from bytes to views of them; meaning is the dialects' part.

pub(crate) mod cookie;
pub mod json;
pub(crate) mod message_json;
pub mod protobuf;
