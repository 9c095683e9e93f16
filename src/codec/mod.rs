//! Formats that languages are written in: JSON as Go reads and writes it, protobuf, cookies.
//!
//! Bytes in, views of them out; nothing here knows what any of it means.

pub(crate) mod cookie;
pub mod json;
pub(crate) mod message_json;
pub mod protobuf;
