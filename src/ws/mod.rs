//! RFC 6455 without I/O: the upgrade, the frame decoder and the frame encoder.
//!
//! ```text
//!   request head  --> handshake --> the 101 response, or an error
//!   bytes in      --> decoder   --> messages, pings, the peer's close     unmasked in place
//!   bytes out     <-- encoder   <-- messages, pongs, our close            appended to a buffer
//! ```
//!
//! Input comes as arguments, output goes into the caller's buffers. This module does not know
//! sockets, time, dialects or sessions. Close codes and reasons are in [`crate::close`].

pub mod decoder;
pub mod encoder;
pub mod handshake;
pub mod text_check;

pub use crate::vocabulary::close::ProtocolError;
pub use crate::vocabulary::content::MessageType;
pub use decoder::{Decoder, Event, Payload};
pub use fastwebsockets::OpCode;
pub use text_check::TextCheck;
