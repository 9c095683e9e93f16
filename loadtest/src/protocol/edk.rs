//! Campanile's dialect `edk`: Protocol Buffers in binary frames, with a user header and a token.
//!
//! With the opaque schema the gateway only checks that a message is well formed and sends it to all
//! sessions, which share one channel. With the built-in schema a message has a `type`, which
//! selects the command.
//!
//! ```text
//!   opaque      > field 1: "hi"                            < the same bytes, to all sessions
//!   built-in    > type "publish", payload "room-0 hi"       < type "publish", payload "hi"
//!               > type "echo",    payload "hi"              < type "echo",    payload "hi"
//!
//!   message Message { string type = 1; bytes payload = 2; string id = 3; }
//! ```

use super::campanile::Api;
use super::{
    Capability, Member, MessageSink, MessageType, Opening, Options, Protocol, Purpose,
    ServerMessage, Upgrade, channel,
};

/// The protocol `edk`.
#[derive(Debug)]
pub(super) struct Edk {
    path: String,
    schema: Schema,
    api: Api,
}

/// The schema of an `edk` route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    /// No schema: the gateway accepts every well-formed message.
    Opaque,
    /// The gateway's own `Message`.
    Builtin,
}

impl Edk {
    pub(super) fn new(options: &Options, schema: Schema) -> Self {
        Self {
            path: options.path_or("/edk"),
            schema,
            api: Api::new(options),
        }
    }

    fn command(&self, command: &str, data: &str) -> Option<Vec<u8>> {
        (self.schema == Schema::Builtin).then(|| {
            let mut bytes = Vec::with_capacity(data.len() + 24);
            put_field(1, command.as_bytes(), &mut bytes);
            put_field(2, data.as_bytes(), &mut bytes);
            bytes
        })
    }
}

impl Protocol for Edk {
    fn offers(&self, capability: Capability) -> bool {
        match capability {
            Capability::Client => true,
            Capability::Http => self.schema == Schema::Opaque,
            Capability::Command => self.schema == Schema::Builtin,
            Capability::Membership => false, // Joins and leaves are not confirmed.
        }
    }

    fn kind(&self) -> MessageType {
        MessageType::Binary
    }

    fn upgrade(&self, member: Member, _purpose: Purpose) -> Option<Upgrade> {
        Some(Upgrade {
            path: self.path.clone(),
            headers: vec![
                ("x-user-id", format!("user-{}", member.session)),
                ("Sec-WebSocket-Protocol", "token".to_owned()),
            ],
        })
    }

    fn opening(&self, member: Member, purpose: Purpose) -> Opening {
        let message = match purpose {
            Purpose::Receive => self.command("join", &channel(member.group)),
            Purpose::Command | Purpose::Churn => None,
        };
        Opening {
            has_greeting: false,
            message,
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
        let bytes = match self.schema {
            Schema::Opaque => self.publish_message(group, message)?,
            Schema::Builtin => return None,
        };
        let bytes = base64(&bytes);
        Some(
            self.api
                .request_of(authority, LOBBY, &format!(r#""bytes":"{bytes}""#)),
        )
    }

    fn publish_message(&self, group: usize, message: &str) -> Option<Vec<u8>> {
        match self.schema {
            Schema::Builtin => self.command("publish", &format!("{} {message}", channel(group))),
            Schema::Opaque => {
                let mut bytes = Vec::with_capacity(message.len() + 8);
                put_field(1, message.as_bytes(), &mut bytes);
                Some(bytes)
            }
        }
    }

    fn command_message(&self, _member: Member, message: &str) -> Option<Vec<u8>> {
        self.command("echo", message)
    }

    fn api(&self) -> Option<&Api> {
        Some(&self.api)
    }

    fn read(&self, _rest: &mut Vec<u8>, payload: &[u8], sink: MessageSink<'_>) {
        let wanted = match self.schema {
            Schema::Opaque => 1,
            Schema::Builtin => 2,
        };
        let mut left = payload;
        while let Some(field) = take_field(left) {
            if field.number == wanted {
                return sink(ServerMessage::Message(field.value));
            }
            left = field.rest;
        }
    }
}

/// Encodes base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut bits = 0_usize;
        for place in 0..3 {
            bits = bits << 8 | usize::from(group.get(place).copied().unwrap_or_default());
        }
        for place in 0..4 {
            let digit = DIGITS[bits >> (18 - 6 * place) & 0x3f];
            let is_padding = place > group.len();
            text.push(if is_padding { '=' } else { char::from(digit) });
        }
    }
    text
}

/// Appends field `number`, length-delimited.
fn put_field(number: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | LENGTH_DELIMITED);
    let mut length = value.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).expect("seven bits"));
    out.extend_from_slice(value);
}

/// A length-delimited field, and the bytes after it.
struct Field<'a> {
    number: u8,
    value: &'a [u8],
    rest: &'a [u8],
}

/// Returns the first field of `bytes`; `None` if it is incomplete or not length-delimited.
///
/// Field numbers must be below 16, so that the tag is one byte.
fn take_field(bytes: &[u8]) -> Option<Field<'_>> {
    let (tag, mut rest) = bytes.split_first()?;
    if tag & 7 != LENGTH_DELIMITED {
        return None;
    }
    let mut length = 0_usize;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let (value, rest) = rest.split_at_checked(length)?;
            let number = tag >> 3;
            return Some(Field {
                number,
                value,
                rest,
            });
        }
    }
    None
}

const LENGTH_DELIMITED: u8 = 2;
/// The channel of all sessions of an opaque route.
const LOBBY: &str = "lobby";

#[cfg(test)]
mod tests {
    use super::super::tests::decoded;
    use super::*;

    #[test]
    fn opaque_messages_of_any_length_are_decoded() {
        let edk = Edk::new(&Options::default(), Schema::Opaque);
        for length in [0, 1, 127, 128, 16_384, 70_000] {
            let message = "x".repeat(length);
            let bytes = edk.publish_message(0, &message).expect("by a client");
            assert_eq!(decoded(&edk, &[&bytes]), [format!("Message {message}")]);
        }
    }

    #[test]
    fn bytes_are_base64_in_http_requests() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn the_built_in_message_is_as_documented() {
        let edk = Edk::new(&Options::default(), Schema::Builtin);
        let bytes = edk.command("chat", "hi").expect("the built-in schema");
        assert_eq!(bytes, b"\x0a\x04chat\x12\x02hi");
        assert_eq!(decoded(&edk, &[&bytes]), ["Message hi"]);
        assert!(decoded(&edk, &[&bytes[..9]]).is_empty());
    }
}
