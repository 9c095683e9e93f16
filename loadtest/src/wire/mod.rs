//! The words of the wserver protocol, as bytes: upgrade, register, push; and the answers' meaning.
//!
//! ```text
//! client                                             gateway
//!   | GET /ws, Upgrade: websocket                       |
//!   |-------------------------------------------------->|
//!   |                     101 Switching Protocols       |
//!   |<--------------------------------------------------|
//!   | text {"token":"<user>","event":"<event>"}         |   never answered
//!   |-------------------------------------------------->|
//!
//! publisher
//!   | POST /push {"userId":..,"event":..,"message":..}  |
//!   |-------------------------------------------------->|
//!   |         to each session: text <message>           |
//!   |         200 message sent to N clients             |
//!   |<--------------------------------------------------|
//! ```
//!
//! Written from the protocol's description alone. Names are put into JSON as they are: the callers
//! make them of letters, digits and hyphens.

pub(crate) mod frames;
pub(crate) mod http;

use std::net::{SocketAddr, ToSocketAddrs as _};

use crate::failure::{Attempt as _, Failure, Outcome};

/// Where a gateway listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// `host:port`, as the `Host` header says it.
    pub(crate) authority: String,
    /// The path that is upgraded, with its slash.
    pub(crate) path: String,
}

impl Target {
    /// Reads `ws://HOST:PORT/PATH`; without a path `/ws` is meant.
    ///
    /// # Errors
    ///
    /// The text is something else.
    pub(crate) fn parse(url: &str) -> Outcome<Self> {
        let wrong = || Failure::new(format!("`{url}` is not of the form ws://HOST:PORT/ws"));
        let rest = url.strip_prefix("ws://").ok_or_else(wrong)?;
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/ws"),
        };
        let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        Ok(Self {
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }

    /// The address to connect to.
    ///
    /// # Errors
    ///
    /// The host's name is unknown.
    pub(crate) fn address(&self) -> Outcome<SocketAddr> {
        let what = format!("look up {}", self.authority);
        self.authority
            .to_socket_addrs()
            .attempt(&what)?
            .next()
            .ok_or_else(|| Failure::new(format!("{what}: no address")))
    }

    /// The request that opens a session.
    pub(crate) fn upgrade_request(&self) -> Vec<u8> {
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {SAMPLE_KEY}\r\n\r\n",
            self.path, self.authority
        )
        .into_bytes()
    }

    /// A whole push request, kept alive.
    pub(crate) fn push_request(&self, user: &str, event: &str, message: &str) -> Vec<u8> {
        let body = push_body(user, event, message);
        format!(
            "POST {PUSH_PATH} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.authority,
            body.len()
        )
        .into_bytes()
    }
}

/// The first URL of a WebSocket endpoint in what a gateway prints when it starts.
pub(crate) fn find_url(text: &str) -> Option<&str> {
    let start = text.find("ws://")?;
    let url = &text[start..];
    let is_url = |c: char| c.is_ascii_alphanumeric() || ":/.-_[]".contains(c);
    let end = url.find(|c| !is_url(c))?; // without an end the line is not complete yet
    let url = url[..end].trim_end_matches(['.', ':']);
    url.ends_with("/ws").then_some(url)
}

/// The message that makes a session receive `event` of `user`.
pub(crate) fn register_message(user: &str, event: &str) -> String {
    format!(r#"{{"token": "{user}", "event": "{event}"}}"#)
}

/// The body of a push.
pub(crate) fn push_body(user: &str, event: &str, message: &str) -> String {
    format!(r#"{{"userId": "{user}", "event": "{event}", "message": "{message}"}}"#)
}

/// A gateway's answer to a push that reached `clients`: what a floor answers, to answer as much.
pub(crate) fn push_answer(clients: usize) -> Vec<u8> {
    let body = format!("message sent to {clients} clients");
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// How many clients a push reached, from the body of its answer.
pub(crate) fn clients_reached(body: &[u8]) -> Option<u64> {
    let text = str::from_utf8(body).ok()?;
    text.strip_prefix("message sent to ")?
        .strip_suffix(" clients")?
        .parse()
        .ok()
}

/// A client's text frame around `message`, masked with `mask`.
///
/// # Panics
///
/// `message` is longer than 65,535 bytes.
pub(crate) fn masked_text_frame(message: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = text_frame_head(message.len(), MASKED);
    frame.extend_from_slice(&mask);
    let masked = message.iter().zip(mask.iter().cycle());
    frame.extend(masked.map(|(byte, key)| byte ^ key));
    frame
}

/// A server's text frame around `message`.
///
/// # Panics
///
/// `message` is longer than 65,535 bytes.
pub(crate) fn text_frame(message: &[u8]) -> Vec<u8> {
    let mut frame = text_frame_head(message.len(), 0);
    frame.extend_from_slice(message);
    frame
}

/// FIN and opcode 1, then the length in its shortest form (RFC 6455, 5.2).
fn text_frame_head(length: usize, mask_bit: u8) -> Vec<u8> {
    let length = u16::try_from(length).expect("messages of the loadtest are short");
    match u8::try_from(length) {
        Ok(short) if short <= 125 => vec![0x81, mask_bit | short],
        _ => {
            let [high, low] = length.to_be_bytes();
            vec![0x81, mask_bit | 0x7e, high, low]
        }
    }
}

/// The push that every figure of fan-out sends: 128 bytes to every session of one user.
pub(crate) fn fan_out_request(target: &Target) -> Vec<u8> {
    target.push_request(&user_name(0), EVENT, &message())
}

/// The frame that it must arrive in.
pub(crate) fn fan_out_frame() -> Vec<u8> {
    text_frame(message().as_bytes())
}

/// The message of every measured push.
pub(crate) fn message() -> String {
    "m".repeat(MESSAGE_BYTES)
}

/// The event that sessions of the figures register for.
pub(crate) const EVENT: &str = "news";
/// Bytes in a message of the figures.
pub(crate) const MESSAGE_BYTES: usize = 128;

/// A user's name of 36 characters, in the form of a UUID, different for every index.
pub(crate) fn user_name(index: usize) -> String {
    format!("{index:08x}-0000-4000-8000-{index:012x}")
}

/// The key of RFC 6455's own example: the answer to it is known without computing a digest.
pub(crate) const SAMPLE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What a server must answer to [`SAMPLE_KEY`].
pub(crate) const SAMPLE_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Where pushes are posted.
pub(crate) const PUSH_PATH: &str = "/push";

const MASKED: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_names_host_port_and_path() {
        let target = Target::parse("ws://127.0.0.1:9001/ws").expect("well formed");
        assert_eq!(
            (target.authority.as_str(), target.path.as_str()),
            ("127.0.0.1:9001", "/ws")
        );
        let default = Target::parse("ws://localhost:80").expect("well formed");
        assert_eq!(default.path, "/ws");
        for wrong in ["http://a:1/ws", "ws://a/ws", "ws://:1/ws", "ws://a:x/ws"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_listening_url_is_found_once_its_line_is_whole() {
        let text = "campanile 0.1\nlistening on ws://127.0.0.1:4041/ws (1 shard)\n";
        assert_eq!(find_url(text), Some("ws://127.0.0.1:4041/ws"));
        assert_eq!(
            find_url("on ws://127.0.0.1:4041/ws.\n"),
            Some("ws://127.0.0.1:4041/ws")
        );
        assert_eq!(find_url("on ws://127.0.0.1:40"), None);
        assert_eq!(find_url("nothing yet\n"), None);
    }

    #[test]
    fn register_and_push_are_worded_as_the_protocol_says() {
        assert_eq!(
            register_message("jack", "topic1"),
            r#"{"token": "jack", "event": "topic1"}"#
        );
        let target = Target::parse("ws://h:1/ws").expect("well formed");
        let request = target.push_request("jack", "topic1", "Hello");
        let text = String::from_utf8(request).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(
            head.starts_with("POST /push HTTP/1.1\r\nHost: h:1\r\n"),
            "{head}"
        );
        assert_eq!(
            body,
            r#"{"userId": "jack", "event": "topic1", "message": "Hello"}"#
        );
        assert!(
            head.ends_with(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
    }

    #[test]
    fn an_answer_counts_clients_and_nothing_else_passes() {
        assert_eq!(clients_reached(b"message sent to 0 clients"), Some(0));
        assert_eq!(clients_reached(b"message sent to 1000 clients"), Some(1000));
        assert_eq!(clients_reached(b"message sent to 1 client"), None);
        assert_eq!(clients_reached(b"request data illegal"), None);
    }

    #[test]
    fn frames_carry_the_shortest_length() {
        assert_eq!(text_frame(b"hi"), [0x81, 2, b'h', b'i']);
        assert_eq!(text_frame(&[0; 125])[..2], [0x81, 125]);
        assert_eq!(text_frame(&[0; 126])[..4], [0x81, 126, 0, 126]);
        assert_eq!(text_frame(&[0; 128]).len(), 132);
    }

    #[test]
    fn a_client_frame_is_masked_and_unmasks_to_itself() {
        let frame = masked_text_frame(b"hello", [1, 2, 3, 4]);
        assert_eq!(frame[..6], [0x81, 0x85, 1, 2, 3, 4]);
        let plain: Vec<u8> = frame[6..]
            .iter()
            .zip([1_u8, 2, 3, 4].iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect();
        assert_eq!(plain, b"hello");
    }

    #[test]
    fn user_names_are_36_characters_and_differ() {
        assert_eq!(user_name(14_999).len(), 36);
        assert_ne!(user_name(1), user_name(2));
    }
}
