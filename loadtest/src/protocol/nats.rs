//! NATS over WebSocket: its text protocol as a byte stream in binary messages.
//!
//! WebSocket messages do not align with NATS messages: one may contain several NATS messages, or
//! split one anywhere. NATS has no publishing by HTTP. A client receives its own publications.
//!
//! ```text
//!   < INFO {..}
//!   > CONNECT {"verbose":false,..}  SUB room-0 1  PING
//!   < PONG                                               confirms the subscription
//!   > PUB room-0 2  hi
//!   < MSG room-0 1 2  hi
//! ```

use std::ops::Range;

use memchr::memmem;

use super::{
    Capability, Member, MessageSink, MessageType, Opening, Options, Protocol, Purpose,
    ServerMessage, Upgrade, channel,
};

/// The protocol `nats`.
#[derive(Debug)]
pub(super) struct Nats {
    path: String,
}

impl Nats {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            path: options.path_or("/"),
        }
    }
}

impl Protocol for Nats {
    fn offers(&self, capability: Capability) -> bool {
        match capability {
            Capability::Http => false,
            Capability::Client | Capability::Command | Capability::Membership => true,
        }
    }

    fn kind(&self) -> MessageType {
        MessageType::Binary
    }

    fn upgrade(&self, _member: Member, _purpose: Purpose) -> Option<Upgrade> {
        Some(Upgrade {
            path: self.path.clone(),
            headers: Vec::new(),
        })
    }

    fn opening(&self, member: Member, purpose: Purpose) -> Opening {
        let subscribe = match purpose {
            // A command is a publication to the session's own subject.
            Purpose::Receive | Purpose::Command => format!("SUB {} 1\r\n", channel(member.group)),
            Purpose::Churn => String::new(),
        };
        Opening {
            has_greeting: true,
            message: Some(format!("{CONNECT}{subscribe}PING\r\n").into_bytes()),
            is_confirmed: true,
        }
    }

    fn publish_message(&self, group: usize, message: &str) -> Option<Vec<u8>> {
        let channel = channel(group);
        Some(format!("PUB {channel} {}\r\n{message}\r\n", message.len()).into_bytes())
    }

    fn command_message(&self, member: Member, message: &str) -> Option<Vec<u8>> {
        self.publish_message(member.group, message)
    }

    fn join_message(&self, group: usize) -> Option<Vec<u8>> {
        Some(format!("SUB {} 1\r\nPING\r\n", channel(group)).into_bytes())
    }

    fn leave_message(&self, _group: usize) -> Option<Vec<u8>> {
        Some(b"UNSUB 1\r\nPING\r\n".to_vec())
    }

    fn read(&self, rest: &mut Vec<u8>, payload: &[u8], sink: MessageSink<'_>) {
        if rest.is_empty() {
            let taken = read_all(payload, sink);
            rest.extend_from_slice(&payload[taken..]);
        } else {
            rest.extend_from_slice(payload);
            let taken = read_all(rest, sink);
            rest.drain(..taken);
        }
    }
}

/// Decodes the complete NATS messages at the start of `stream` and returns their length in bytes.
fn read_all(stream: &[u8], sink: MessageSink<'_>) -> usize {
    let mut taken = 0;
    while let Some((message, length)) = next(&stream[taken..]) {
        let bytes = &stream[taken..];
        match message {
            Operation::Info => sink(ServerMessage::Greeting),
            Operation::Pong => sink(ServerMessage::Joined),
            Operation::Ping => sink(ServerMessage::Ping(b"PONG\r\n")),
            Operation::Message(payload) => sink(ServerMessage::Message(&bytes[payload])),
            Operation::Error => sink(ServerMessage::Error(
                String::from_utf8_lossy(&bytes[..length])
                    .trim_end()
                    .to_owned(),
            )),
            Operation::Other => {}
        }
        taken += length;
    }
    taken
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operation {
    Info,
    Ping,
    Pong,
    /// A message, with the range of its payload.
    Message(Range<usize>),
    Error,
    Other,
}

/// Returns the first message of `bytes` and its length; `None` if it is incomplete.
fn next(bytes: &[u8]) -> Option<(Operation, usize)> {
    let line_end = memmem::find(bytes, b"\r\n")?;
    let line = &bytes[..line_end];
    let body = line_end + 2;
    let operation = match line {
        [b'M', b'S', b'G', b' ', ..] => {
            let digits = line.rsplit(|byte| *byte == b' ').next()?;
            let length: usize = str::from_utf8(digits).ok()?.parse().unwrap_or(0);
            let end = body + length + 2;
            return (bytes.len() >= end).then_some((Operation::Message(body..body + length), end));
        }
        [b'I', b'N', b'F', b'O', ..] => Operation::Info,
        b"PING" => Operation::Ping,
        b"PONG" => Operation::Pong,
        [b'-', b'E', b'R', b'R', ..] => Operation::Error,
        _ => Operation::Other,
    };
    Some((operation, body))
}

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":true,\
                       \"lang\":\"loadtest\",\"version\":\"1\"}\r\n";

#[cfg(test)]
mod tests {
    use super::super::tests::decoded;
    use super::*;

    const STREAM: &[u8] = b"INFO {}\r\nPONG\r\nMSG room-0 1 2\r\nhi\r\n\
        MSG room-0 1 4\r\n\r\n\r\n\r\nPING\r\n-ERR 'x'\r\n";

    #[test]
    fn a_stream_may_be_split_anywhere() {
        let nats = Nats::new(&Options::default());
        let whole = decoded(&nats, &[STREAM]);
        assert_eq!(
            whole,
            [
                "Greeting",
                "Joined",
                "Message hi",
                "Message \r\n\r\n",
                "Ping PONG\r\n",
                "Error(\"-ERR 'x'\")"
            ]
        );
        for cut in 1..STREAM.len() {
            let pieces: Vec<&[u8]> = STREAM.chunks(cut).collect();
            assert_eq!(decoded(&nats, &pieces), whole, "cut into {cut}");
        }
    }
}
