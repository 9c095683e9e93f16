//! Campanile's dialect `wserver`: sessions register for a user's event, a backend pushes to it.
//!
//! ```text
//! client                                             gateway
//!   | GET /ws, Upgrade: websocket                       |
//!   |-------------------------------------------------->|
//!   |                     101 Switching Protocols       |
//!   |<--------------------------------------------------|
//!   | text {"token":"<user>","event":"<event>"}         |   no response
//!   |-------------------------------------------------->|
//!
//! publisher
//!   | POST /push {"userId":..,"event":..,"message":..}  |
//!   |-------------------------------------------------->|
//!   |         to each session: text <message>           |
//!   |         200 message sent to N clients             |
//!   |<--------------------------------------------------|
//! ```

use super::{
    Capability, Member, MessageSink, Opening, Options, Protocol, PublishResult, Purpose,
    ServerMessage, Upgrade,
};
use super::{header_line, post};
use crate::wire::clients_reached;

/// The protocol `wserver`.
#[derive(Debug)]
pub(super) struct Wserver {
    path: String,
    push_path: String,
    headers: String,
}

impl Wserver {
    pub(super) fn new(options: &Options) -> Self {
        let header = header_line(options.publish_header.as_deref());
        Self {
            path: options.path_or("/ws"),
            push_path: options.publish_path_or("/push"),
            headers: format!("Content-Type: application/json\r\n{header}"),
        }
    }
}

impl Protocol for Wserver {
    fn offers(&self, capability: Capability) -> bool {
        capability == Capability::Http
    }

    fn upgrade(&self, _member: Member, _purpose: Purpose) -> Option<Upgrade> {
        Some(Upgrade {
            path: self.path.clone(),
            headers: Vec::new(),
        })
    }

    fn opening(&self, member: Member, _purpose: Purpose) -> Opening {
        let user = user(member.group);
        Opening {
            has_greeting: false,
            message: Some(format!(r#"{{"token": "{user}", "event": "{EVENT}"}}"#).into_bytes()),
            is_confirmed: false,
        }
    }

    fn request(
        &self,
        authority: &str,
        group: usize,
        message: &str,
        _seconds: u64,
    ) -> Option<Vec<u8>> {
        let user = user(group);
        let body = format!(r#"{{"userId": "{user}", "event": "{EVENT}", "message": "{message}"}}"#);
        Some(post(authority, &self.push_path, &self.headers, &body))
    }

    fn read(&self, _rest: &mut Vec<u8>, payload: &[u8], sink: MessageSink<'_>) {
        sink(ServerMessage::Message(payload));
    }

    fn parse_response(&self, status: u16, body: &[u8]) -> PublishResult {
        match clients_reached(body) {
            Some(count) if status == 200 => PublishResult::Reached(count),
            _ => PublishResult::Failed,
        }
    }
}

/// Returns the user of a group: 36 characters in the form of a UUID.
fn user(group: usize) -> String {
    format!("{group:08x}-0000-4000-8000-{group:012x}")
}

const EVENT: &str = "news";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_and_push_are_encoded_as_specified() {
        let wserver = Wserver::new(&Options::default());
        let member = Member {
            session: 9,
            group: 1,
        };
        let name = "00000001-0000-4000-8000-000000000001";
        let register = wserver.opening(member, Purpose::Receive).message;
        let expected = format!(r#"{{"token": "{name}", "event": "news"}}"#);
        assert_eq!(register, Some(expected.into_bytes()));

        let request = wserver.request("h:1", 1, "Hello", 0).expect("by HTTP");
        let text = String::from_utf8(request).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(
            head.starts_with("POST /push HTTP/1.1\r\nHost: h:1\r\n"),
            "{head}"
        );
        let expected = format!(r#"{{"userId": "{name}", "event": "news", "message": "Hello"}}"#);
        assert_eq!(body, expected);
        assert!(
            head.ends_with(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
    }

    #[test]
    fn only_the_exact_push_response_is_a_success() {
        let wserver = Wserver::new(&Options::default());
        let parse_response = |status, body: &str| wserver.parse_response(status, body.as_bytes());
        assert_eq!(
            parse_response(200, "message sent to 0 clients"),
            PublishResult::Reached(0)
        );
        assert_eq!(
            parse_response(200, "message sent to 1000 clients"),
            PublishResult::Reached(1000)
        );
        assert_eq!(
            parse_response(503, "message sent to 1 clients"),
            PublishResult::Failed
        );
        assert_eq!(
            parse_response(200, "message sent to 1 client"),
            PublishResult::Failed
        );
        assert_eq!(
            parse_response(200, "request data illegal"),
            PublishResult::Failed
        );
    }
}
