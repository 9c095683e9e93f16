//! The `wserver` dialect, of `alfred-zhong/wserver`: one register message in, raw text out.
//!
//! ```text
//! client                                   gateway                                  pusher
//!   | {"token": "jack", "event": "topic1"}    |   Identify; no response                |
//!   |---------------------------------------->|                                        |
//!   |                                         |        POST /push                      |
//!   |                                         |  {"userId": "jack", "event": "topic1", |
//!   |                                         |   "message": "Hello World"}            |
//!   |                                         |<---------------------------------------|
//!   |                      text "Hello World" |   message sent to 1 clients            |
//!   |<----------------------------------------|--------------------------------------->|
//! ```
//!
//! Other messages are ignored, and the session may register later. JSON is decoded as Go does: only
//! the first value, keys in any case, `null` as a missing member, invalid text as U+FFFD.

use super::{
    DecodeError, DefaultRoute, Dialect, DropRequest, Intent, Intents, Options, Playground,
    PushRequest, Request, RouteFacts, RouteSpec, TokenPlace,
};
use crate::codec::json::{Scratch, Text, Wanted};
use crate::vocabulary::content::Data;
use crate::vocabulary::publication::Publication;
use crate::ws::MessageType;
use serde::Deserialize;

/// The `wserver` dialect.
#[derive(Debug)]
pub struct Wserver;

impl Dialect for Wserver {
    fn name(&self) -> &'static str {
        "wserver"
    }

    fn route_spec(&self) -> RouteSpec {
        RouteSpec {
            summary: "register with a token and an event, receive what is pushed to user and event",
            keys: "subprotocols playground_path tokens jwt hooks channels join_on_open push_path \
                   drop_path push_secret push_header registration_timeout_ms",
            token: TokenPlace::Message,
            playground: Playground::with_message(r#"{"token":"jack","event":"topic1"}"#),
            default_route: Some(DefaultRoute {
                name: "ws",
                has_playground: true,
                keys: &[("push_path", "\"/push\""), ("drop_path", "\"/drop\"")],
                ..DefaultRoute::default()
            }),
            ..RouteSpec::default()
        }
    }

    fn first_steps(&self, facts: &RouteFacts<'_>) -> Vec<String> {
        let token = facts.token;
        vec![format!(r#"send {{"token":"{token}","event":"topic1"}}"#)]
    }

    fn decode<'m>(
        &self,
        kind: MessageType,
        payload: &'m mut [u8],
        _: &Options,
        scratch: &'m mut Scratch,
        intents: &mut Intents<'m>,
    ) -> Result<(), DecodeError> {
        let texts = REGISTER
            .find(payload)
            .map_err(|_| DecodeError::Malformed)?
            .strings;
        let [Some(token), Some(event)] = scratch.read(texts) else {
            return Err(DecodeError::Malformed);
        };
        if event.is_empty() {
            return Err(DecodeError::Malformed);
        }
        let request = Request {
            command: "",
            id: "",
            channel: "",
            kind,
        };
        intents.push(Intent::Identify {
            request,
            token,
            event,
        });
        Ok(())
    }

    fn encode_publication(
        &self,
        publication: &Publication<'_>,
        _: &Options,
        message: &mut Vec<u8>,
    ) -> MessageType {
        let data = publication.content.data;
        message.extend_from_slice(data.bytes());
        match data {
            Data::Bytes(bytes) if str::from_utf8(bytes).is_err() => MessageType::Binary,
            Data::None | Data::Json(_) | Data::Text(_) | Data::Bytes(_) => MessageType::Text,
        }
    }

    /// Decodes the body of a push; `None` if a field is missing or empty.
    fn read_push<'b>(&self, body: &'b [u8], scratch: &'b mut Scratch) -> Option<PushRequest<'b>> {
        let texts: [Option<Text<'_>>; 3] = PUSH.find(body).ok()?.strings;
        let [user, event, message] = scratch
            .read(texts)
            .map(|text| text.filter(|t| !t.is_empty()));
        Some(PushRequest {
            user: user?,
            event: event?,
            message: message?,
        })
    }

    /// Decodes the body of a drop. An event that is missing, `null` or empty means all events.
    fn read_drop(&self, body: &mut [u8]) -> Result<DropRequest, String> {
        let DropBody { user, event } = simd_json::from_slice(body).map_err(|error| {
            // The parser wraps serde's message in its own notation.
            let text = error.to_string();
            let inner = text
                .strip_prefix("Serde(\"")
                .and_then(|rest| rest.split_once("\")"));
            let what = inner.map_or(text.as_str(), |(what, _)| what);
            format!("request data illegal: {what}")
        })?;
        if user.is_empty() {
            return Err("userId can't be empty".to_owned());
        }
        let event = event.filter(|event| !event.is_empty());
        Ok(DropRequest { user, event })
    }
}

/// The body of a drop. The original has a function for it and no path, so the form is Campanile's:
/// a strict JSON object without other keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DropBody {
    #[serde(rename = "userId")]
    user: String,
    #[serde(default)]
    event: Option<String>,
}

const REGISTER: Wanted<2, 0> = Wanted::new(["token", "event"], []);
const PUSH: Wanted<3, 0> = Wanted::new(["userId", "event", "message"], []);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &[u8], expected: Option<(&str, &str)>) {
        let (mut payload, mut scratch) = (message.to_vec(), Scratch::new());
        let mut intents = Intents::new();
        let result = Wserver.decode(
            MessageType::Text,
            &mut payload,
            &Options::default(),
            &mut scratch,
            &mut intents,
        );
        assert_eq!(result.is_ok(), expected.is_some());
        let request = Request {
            command: "",
            id: "",
            channel: "",
            kind: MessageType::Text,
        };
        let expected = expected.map(|(token, event)| Intent::Identify {
            request,
            token,
            event,
        });
        assert_eq!(intents.first(), expected.as_ref());
    }

    #[test]
    fn registers_what_go_would_have_read() {
        check(br#"{"token":"a","event":"e"}"#, Some(("a", "e")));
        check(
            br#"{"Token":"a","EVENT":"e","x":[1]} trailing"#,
            Some(("a", "e")),
        );
        check(
            br#"{"token":"a","token":null,"event":"e"}"#,
            Some(("a", "e")),
        );
        check(
            b"{\"token\":\"\xff\",\"event\":\"\\ud800\"}",
            Some(("\u{fffd}", "\u{fffd}")),
        );
        check(br#"{"token":"","event":"e"}"#, Some(("", "e")));
    }

    #[test]
    fn what_is_no_register_message_is_an_error() {
        for message in [
            &b""[..],
            b"null",
            b"[]",
            b"{}",
            br#"{"token":"a"}"#,
            br#"{"token":"a","event":""}"#,
            br#"{"token":"a","event":5}"#,
            b"\xef\xbb\xbf{\"token\":\"a\",\"event\":\"e\"}",
            br#"{"token":"a","event":"e""#,
        ] {
            check(message, None);
        }
    }

    #[test]
    fn a_push_names_all_three() {
        let mut scratch = Scratch::new();
        let push = Wserver.read_push(
            br#"{"USERID":"j","event":"e","message":"m\n"}"#,
            &mut scratch,
        );
        assert_eq!(
            push,
            Some(PushRequest {
                user: "j",
                event: "e",
                message: "m\n"
            })
        );
        for body in [
            &br#"{"userId":"j","event":"e"}"#[..],
            br#"{"userId":"j","event":"e","message":""}"#,
            br#"{"userId":"j","event":"e","message":5}"#,
            b"null",
            b"",
        ] {
            assert_eq!(Wserver.read_push(body, &mut scratch), None);
        }
    }

    #[test]
    fn a_drop_names_a_user_and_maybe_an_event() {
        let read = |body: &str| Wserver.read_drop(&mut body.as_bytes().to_vec());
        let drop = |event: Option<&str>| DropRequest {
            user: "j".into(),
            event: event.map(str::to_owned),
        };
        assert_eq!(read(r#"{"userId":"j","event":"e"}"#), Ok(drop(Some("e"))));
        for everything in [r#"{"userId":"j"}"#, r#"{"userId":"j","event":""}"#] {
            assert_eq!(read(everything), Ok(drop(None)));
        }
        for body in [
            "",
            "null",
            r#"{"event":"e"}"#,
            r#"{"userId":""}"#,
            r#"{"userId":"j"} x"#,
        ] {
            assert!(read(body).is_err(), "{body}");
        }
        assert_eq!(
            read(r#"{"userId":"j","evnt":"e"}"#),
            Err("request data illegal: unknown field `evnt`, expected `userId` or `event`".into())
        );
    }
}
