//! The `tap` dialect, of Project Forge's tap socket: it receives the traffic of others and sends
//! none.
//!
//! ```text
//! tap                                                 gateway                        others
//!   | { "from": "82ad..", "channel": "room", .. }        |   "room" is joined            |
//!   |<---------------------------------------------------|------------------------------>|
//!   | { "channel": "room", "cmd": "ping", "param": 1 }   |   Call "ping"                 |
//!   |<---------------------------------------------------|<------------------------------|
//!   | {"cmd":"hello"}                                    |                               |
//!   |--------------------------------------------------->|   valid: ignored              |
//!   | hello                                              |                               |
//!   |--------------------------------------------------->|   Malformed: closed           |
//! ```
//!
//! Messages are those of [`projectforge`], in both directions. The publisher selects the messages
//! for a tap and reports sessions that open and close: the dialect encodes both as publications.
//!
//! [`projectforge`]: super::projectforge

use super::projectforge::{put_publication, read_call};
use super::{DecodeError, Dialect, Intents, OnInvalid, Options, SessionReport};
use crate::codec::json::Scratch;
use crate::codec::json::write::put_string_plain;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::publication::Publication;
use crate::ws::MessageType;

/// The `tap` dialect.
#[derive(Debug)]
pub struct Tap;

impl Dialect for Tap {
    fn name(&self) -> &'static str {
        "tap"
    }

    fn decode<'m>(
        &self,
        kind: MessageType,
        payload: &'m mut [u8],
        _: &Options,
        scratch: &'m mut Scratch,
        _: &mut Intents<'m>,
    ) -> Result<(), DecodeError> {
        read_call(kind, payload, scratch).map(drop)
    }

    fn on_invalid(&self, error: DecodeError) -> OnInvalid {
        match error {
            DecodeError::InvalidText | DecodeError::Malformed => {
                OnInvalid::Close(CloseCause::Malformed)
            }
        }
    }

    fn encode_publication(
        &self,
        publication: &Publication<'_>,
        _: &Options,
        message: &mut Vec<u8>,
    ) -> MessageType {
        put_publication(publication, message);
        MessageType::Text
    }

    /// Encodes a session as the original does. Sessions are reported before they join and after
    /// they leave their channels, so channels are left out.
    fn report_session(
        &self,
        session: &SessionReport<'_>,
        json: &mut Vec<u8>,
    ) -> Option<(&'static str, &'static str)> {
        json.extend_from_slice(b"{\"id\":");
        put_string_plain(session.id, json);
        if let Some(user) = session.user {
            json.extend_from_slice(b",\"user\":");
            put_string_plain(user, json);
        }
        json.extend_from_slice(b",\"profile\":{\"name\":");
        put_string_plain(session.name, json);
        for (field, value) in session.fields {
            json.push(b',');
            put_string_plain(field, json);
            json.push(b':');
            put_string_plain(value, json);
        }
        json.extend_from_slice(b"},\"svc\":\"system\",\"started\":");
        put_string_plain(session.started, json);
        let [sent, received] = session.messages;
        let [bytes_sent, bytes_received] = session.bytes;
        let stats = format!(
            ",\"stats\":{{\"messagesSent\":{sent},\"messagesReceived\":{received},\
             \"bytesSent\":{bytes_sent},\"bytesReceived\":{bytes_received},\"started\":"
        );
        json.extend_from_slice(stats.as_bytes());
        put_string_plain(session.started, json);
        json.extend_from_slice(b"}}");
        let event = if session.is_open { OPENED } else { CLOSED };
        Some((event, CHANNEL))
    }
}

/// The channel in reports of sessions that open and close.
const CHANNEL: &str = "connection";
/// The event of a session that has opened.
const OPENED: &str = "open";
/// The event of a session that has closed.
const CLOSED: &str = "close";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::projectforge::Projectforge;
    use crate::dialect::{Dialect, InitialChannel, Presence, ReplyAction, UpgradeRequest};
    use crate::vocabulary::content::{Content, Correlation, Data, Outcome, OwnedData, Reply};
    use crate::vocabulary::id::ShardId;
    use crate::vocabulary::publication::{Audience, PublicationId};
    use campanile_tests::prng::Prng;

    fn decode(dialect: &dyn Dialect, message: &[u8]) -> (Result<(), DecodeError>, usize) {
        let (mut payload, mut scratch) = (message.to_vec(), Scratch::new());
        let mut intents = Intents::new();
        let options = Options::default();
        let result = dialect.decode(
            MessageType::Text,
            &mut payload,
            &options,
            &mut scratch,
            &mut intents,
        );
        (result, intents.len())
    }

    #[test]
    fn messages_of_a_tap_are_checked_and_ignored() {
        for message in [
            &b"{}"[..],
            br#"{"cmd":"hello","param":1}"#,
            br#"{"cmd":"join","channel":"room","x":[{}]}"#,
        ] {
            assert_eq!(decode(&Tap, message), (Ok(()), 0));
        }
    }

    #[test]
    fn what_is_no_message_ends_a_tap() {
        for message in [
            &b""[..],
            b"hello",
            b"null",
            br#"{"cmd":5}"#,
            br#"{"from":""}"#,
            br#"{"cmd":"a","cmd":"a"}"#,
        ] {
            assert_eq!(decode(&Tap, message), (Err(DecodeError::Malformed), 0));
        }
        for error in [DecodeError::Malformed, DecodeError::InvalidText] {
            assert_eq!(
                Tap.on_invalid(error),
                OnInvalid::Close(CloseCause::Malformed)
            );
        }
    }

    #[test]
    fn a_tap_takes_exactly_what_its_sibling_takes() {
        const MEANT: &[u8] = b"{}[]\":,\\ntrufalsecmdparam0123456789+-.eE \t\xe2\x84\xaa\xff\x1f";
        for seed in 0..20_000 {
            let mut prng = Prng::from_seed(seed);
            let mut message = br#"{"cmd":"a","param":["#.to_vec();
            for _ in 0..prng.range(0, 6) {
                message.push(prng.pick(MEANT.iter().copied()).expect("some"));
            }
            if prng.chance(3, 4) {
                message.extend_from_slice(b"]}");
            }
            let (result, intents_count) = decode(&Tap, &message);
            assert_eq!(result, decode(&Projectforge, &message).0, "seed {seed}");
            assert_eq!(intents_count, 0);
        }
    }

    #[test]
    fn a_tap_gets_messages_unchanged() {
        let publication = Publication {
            id: PublicationId {
                origin: ShardId::new(0),
                sequence: 0,
            },
            position: None,
            audience: Audience::Everyone {
                namespace: 3,
                except: &[],
            },
            content: Content {
                event: "open",
                data: Data::Json(br#"{"id":"82ad4c6d-fc95-41e5-8589-b37a56cdfc0d"}"#),
                channel: "connection".into(),
                ..Content::default()
            },
            nonce: 0,
        };
        let mut message = Vec::new();
        let kind = Tap.encode_publication(&publication, &Options::default(), &mut message);
        assert_eq!(kind, MessageType::Text);
        let expected = r#"{
  "channel": "connection",
  "cmd": "open",
  "param": {
    "id": "82ad4c6d-fc95-41e5-8589-b37a56cdfc0d"
  }
}"#;
        assert_eq!(str::from_utf8(&message), Ok(expected));
    }

    /// The keys of docs/dialects/projectforge.md, "Taps", in its order.
    #[test]
    fn sessions_are_reported_as_in_the_original() {
        let mut json = Vec::new();
        let mut session = SessionReport {
            is_open: true,
            id: "82ad4c6d-fc95-41e5-8589-b37a56cdfc0d",
            user: None,
            name: "",
            fields: &[],
            started: "1970-01-01T00:00:00.000Z",
            messages: [1, 2],
            bytes: [3, 4],
        };
        let reported = Tap.report_session(&session, &mut json);
        assert_eq!(reported, Some(("open", "connection")));
        let rest =
            r#""svc":"system","started":"1970-01-01T00:00:00.000Z","stats":{"messagesSent":1,"#
                .to_owned()
                + r#""messagesReceived":2,"bytesSent":3,"bytesReceived":4,"#
                + r#""started":"1970-01-01T00:00:00.000Z"}}"#;
        let id = r#"{"id":"82ad4c6d-fc95-41e5-8589-b37a56cdfc0d","#;
        let expected = format!(r#"{id}"profile":{{"name":""}},{rest}"#);
        assert_eq!(str::from_utf8(&json), Ok(&*expected));

        json.clear();
        session.is_open = false;
        session.user = Some("a\"b");
        session.name = "A\nB";
        session.fields = &[("mode", "dark"), ("theme", "<x>")];
        let reported = Tap.report_session(&session, &mut json);
        assert_eq!(reported, Some(("close", "connection")));
        let profile = r#"{"name":"A\nB","mode":"dark","theme":"<x>"}"#;
        let expected = format!(r#"{id}"user":"a\"b","profile":{profile},{rest}"#);
        assert_eq!(str::from_utf8(&json), Ok(&*expected));
    }

    #[test]
    fn a_tap_asks_for_no_channel() {
        let request = UpgradeRequest {
            query: Some("ch=room"),
            headers: &[],
        };
        let credentials = Tap.admit(&request, &Options::default());
        assert_eq!(credentials.map(|it| it.channel), Ok(InitialChannel::None));
        let presence = Presence {
            name: "jack",
            connected: true,
        };
        assert_eq!(Tap.encode_presence(presence, &mut Vec::new()), None);
    }

    #[test]
    fn a_tap_is_never_answered() {
        let correlation = Correlation {
            command: "hello".into(),
            id: "".into(),
            channel: "".into(),
            kind: MessageType::Text,
        };
        let outcome = Outcome::Replied(Reply {
            event: None,
            data: OwnedData::Text("hi".into()),
        });
        let action =
            Tap.encode_outcome(&correlation, &outcome, &Options::default(), &mut Vec::new());
        assert_eq!(action, ReplyAction::Skip);
    }
}
