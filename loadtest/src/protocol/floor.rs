//! Requests of the floor, which parses nothing: a request ends with the frame to send.
//!
//! A request is as long as the HTTP request that publishes the same message, so the floor reads as
//! many bytes as a server. The floor sends the request's end, the frame, to every socket.
//!
//! ```text
//!   |<------- as long as a gateway's request for the same ------->|
//!   | filler                                              | frame |
//! ```

use super::wserver::Wserver;
use super::{Capability, Member, MessageSink, Options, Protocol, Purpose, ServerMessage, Upgrade};
use crate::wire::frames;

/// The protocol of the floor: raw frames, no upgrade.
#[derive(Debug)]
pub(super) struct Floor {
    /// The protocol whose requests define the length.
    model: Wserver,
}

impl Floor {
    pub(super) fn new() -> Self {
        Self {
            model: Wserver::new(&Options::default()),
        }
    }
}

impl Protocol for Floor {
    fn offers(&self, capability: Capability) -> bool {
        capability == Capability::Http
    }

    fn upgrade(&self, _member: Member, _purpose: Purpose) -> Option<Upgrade> {
        None
    }

    fn request(
        &self,
        authority: &str,
        group: usize,
        message: &str,
        seconds: u64,
    ) -> Option<Vec<u8>> {
        let model = self.model.request(authority, group, message, seconds)?;
        let mut frame = Vec::new();
        frames::put_plain(frames::TEXT, message.as_bytes(), &mut frame);
        let mut request = vec![b' '; model.len().saturating_sub(frame.len())];
        request.extend_from_slice(&frame);
        Some(request)
    }

    fn read(&self, _rest: &mut Vec<u8>, payload: &[u8], sink: MessageSink<'_>) {
        sink(ServerMessage::Message(payload));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_long_as_a_push_and_ends_with_the_frame() {
        let floor = Floor::new();
        let message = "m".repeat(128);
        let model = floor.model.request("h:1", 0, &message, 0).expect("by HTTP");
        let request = floor.request("h:1", 0, &message, 0).expect("always");
        assert_eq!(request.len(), model.len());
        assert!(request.starts_with(b"  ") && request.ends_with(message.as_bytes()));
        assert_eq!(request[request.len() - 132..][..4], [0x81, 126, 0, 128]);
    }
}
