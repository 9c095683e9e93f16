//! RFC 6455 without I/O: the upgrade, frames in, frames out.
//!
//! ```text
//!   request head  --> handshake --> the 101, or a refusal
//!   bytes in      --> decoder   --> messages, pings, the peer's close     unmasked in place
//!   bytes out     <-- encoder   <-- messages, pongs, our close            appended to a buffer
//! ```
//!
//! Bytes come in as arguments and go out into the caller's buffers. Nothing here knows sockets,
//! time, dialects, or what a session is. How a connection ends is worded in [`crate::close`].

pub mod decoder;
pub mod encoder;
pub mod handshake;
pub mod text_check;

pub use crate::vocabulary::close::ProtocolError;
pub use crate::vocabulary::content::MessageType;
pub use decoder::{Decoder, Event, Payload};
pub use fastwebsockets::OpCode;
pub use text_check::TextCheck;
