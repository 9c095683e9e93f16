//! Topic servers with the topic in the URL and raw messages: bun, ws, and nchan with its own paths.
//!
//! ```text
//!   GET  /ws?topic=room-0, Upgrade: websocket        joins
//!   POST /publish?topic=room-0   <body>              sends <body> to every member
//!   GET  /echo, Upgrade: websocket                   sends every message back
//! ```

use super::{
    Capability, Member, MessageSink, Options, Protocol, PublishResult, Purpose, ServerMessage,
    Upgrade,
};
use super::{channel, header_line, post};

/// The protocol `topics`.
#[derive(Debug)]
pub(super) struct Topics {
    path: String,
    publish_path: String,
    headers: String,
}

impl Topics {
    pub(super) fn new(options: &Options) -> Self {
        let header = header_line(options.publish_header.as_deref());
        Self {
            path: options.path_or("/ws"),
            publish_path: options.publish_path_or("/publish"),
            headers: format!("Content-Type: text/plain\r\n{header}"),
        }
    }
}

impl Protocol for Topics {
    fn offers(&self, capability: Capability) -> bool {
        match capability {
            Capability::Http | Capability::Command => true,
            Capability::Client | Capability::Membership => false,
        }
    }

    fn upgrade(&self, member: Member, purpose: Purpose) -> Option<Upgrade> {
        let path = match purpose {
            Purpose::Receive => format!("{}?topic={}", self.path, channel(member.group)),
            Purpose::Command => "/echo".to_owned(),
            Purpose::Churn => format!("{}?topic=nothing", self.path),
        };
        Some(Upgrade {
            path,
            headers: Vec::new(),
        })
    }

    fn request(
        &self,
        authority: &str,
        group: usize,
        message: &str,
        _seconds: u64,
    ) -> Option<Vec<u8>> {
        let path = format!("{}?topic={}", self.publish_path, channel(group));
        Some(post(authority, &path, &self.headers, message))
    }

    fn command_message(&self, _member: Member, message: &str) -> Option<Vec<u8>> {
        Some(message.as_bytes().to_vec())
    }

    fn read(&self, _rest: &mut Vec<u8>, payload: &[u8], sink: MessageSink<'_>) {
        sink(ServerMessage::Message(payload));
    }

    /// Some servers respond with the number of receivers only.
    fn parse_response(&self, status: u16, body: &[u8]) -> PublishResult {
        let count = str::from_utf8(body)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        match (status, count) {
            (200..=299, Some(count)) => PublishResult::Reached(count),
            (200..=299, None) => PublishResult::Accepted,
            _ => PublishResult::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_in_both_urls() {
        let topics = Topics::new(&Options::default());
        let member = Member {
            session: 1,
            group: 4,
        };
        let upgrade = topics
            .upgrade(member, Purpose::Receive)
            .expect("there is one");
        assert_eq!(upgrade.path, "/ws?topic=room-4");
        let request = topics.request("h:1", 4, "hi", 0).expect("by HTTP");
        let text = String::from_utf8(request).expect("ASCII");
        assert!(
            text.starts_with("POST /publish?topic=room-4 HTTP/1.1\r\n"),
            "{text}"
        );
        assert!(text.ends_with("Content-Length: 2\r\n\r\nhi"), "{text}");
    }

    #[test]
    fn a_number_in_the_body_is_the_count_of_receivers() {
        let topics = Topics::new(&Options::default());
        assert_eq!(
            topics.parse_response(200, b"12"),
            PublishResult::Reached(12)
        );
        assert_eq!(
            topics.parse_response(202, b"queued messages: 1\r\n"),
            PublishResult::Accepted
        );
        assert_eq!(
            topics.parse_response(404, b"not found"),
            PublishResult::Failed
        );
    }
}
