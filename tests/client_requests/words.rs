//! A dialect with a word for each request that needs no handler.
//!
//! ```text
//! client                              gateway
//!   |                 hello ID USER IDLE |   the greeting
//!   |<-----------------------------------|
//!   | join 1 room                        |   Join
//!   |----------------------------------->|
//!   |              joined 1 room WELCOME |   with the reply of the validator
//!   |<-----------------------------------|
//!   | publish 2 room chat hi             |   Publish; `tell` publishes to the others
//!   |----------------------------------->|
//!   |                   event chat ID hi |
//!   |                   published 2 room |
//!   |<-----------------------------------|
//!   | leave 3 room, iam 4 TOKEN EVENT    |   Leave, Identify
//!   | call 5 COMMAND DATA                |   Call
//!   |----------------------------------->|
//! ```

use campanile::codec::json::Scratch;
use campanile::content::{Correlation, Data, Outcome, SessionFacts};
use campanile::dialect::{
    Call, DecodeError, Dialect, DialectSpec, Intent, Intents, Options, Publish, ReplyAction,
    Request, RouteSpec, TokenPlace,
};
use campanile::publication::Publication;
use campanile::ws::MessageType;
use std::io::Write as _;

/// The dialect.
#[derive(Debug)]
pub(crate) struct Words;

/// An event that the dialect cannot encode.
pub(crate) const BAD_EVENT: &str = "bad";

impl Dialect for Words {
    fn name(&self) -> &'static str {
        "words"
    }

    fn spec(&self) -> DialectSpec {
        DialectSpec {
            greets: true,
            answers_tokens: true,
            acknowledges: true,
            open_command: Some("open"),
            ..DialectSpec::default()
        }
    }

    fn route_spec(&self) -> RouteSpec {
        RouteSpec {
            summary: "words",
            keys: "tokens hooks commands channels join_on_open",
            token: TokenPlace::Message,
            ..RouteSpec::default()
        }
    }

    fn check_event(&self, event: &str) -> Result<(), &'static str> {
        if event == BAD_EVENT {
            return Err("bad event");
        }
        Ok(())
    }

    fn decode<'m>(
        &self,
        kind: MessageType,
        payload: &'m mut [u8],
        _: &Options,
        _: &'m mut Scratch,
        intents: &mut Intents<'m>,
    ) -> Result<(), DecodeError> {
        let text = str::from_utf8(payload).map_err(|_| DecodeError::InvalidText)?;
        let mut words = text.splitn(3, ' ');
        let mut next = || words.next().ok_or(DecodeError::Malformed);
        let (command, id, rest) = (next()?, next()?, next()?);
        let request = |channel| Request {
            command,
            id,
            channel,
            kind,
        };
        let pair = |text: &'m str| text.split_once(' ').ok_or(DecodeError::Malformed);
        intents.push(match command {
            "join" => Intent::Join(request(rest)),
            "leave" => Intent::Leave(request(rest)),
            "publish" | "tell" => {
                let (channel, rest) = pair(rest)?;
                let (event, data) = pair(rest)?;
                Intent::Publish(Publish {
                    request: request(channel),
                    event,
                    data: Data::Text(data),
                    to_others: command == "tell",
                })
            }
            "iam" => {
                let (token, event) = pair(rest)?;
                Intent::Identify {
                    request: request(""),
                    token,
                    event,
                }
            }
            "call" => {
                let (command, data) = pair(rest)?;
                Intent::Call(Call {
                    command,
                    id,
                    channel: "",
                    from: "",
                    data: Some(data.as_bytes()),
                    kind,
                })
            }
            _ => return Err(DecodeError::Malformed),
        });
        Ok(())
    }

    fn encode_greeting(
        &self,
        facts: &SessionFacts,
        user: Option<&str>,
        _: &Options,
        message: &mut Vec<u8>,
    ) -> Option<MessageType> {
        let SessionFacts {
            id,
            idle_timeout_ms,
        } = facts;
        let user = user.unwrap_or("-");
        write!(message, "hello {id} {user} {idle_timeout_ms}").expect("a vector takes any bytes");
        Some(MessageType::Text)
    }

    fn encode_outcome(
        &self,
        correlation: &Correlation,
        outcome: &Outcome,
        _: &Options,
        message: &mut Vec<u8>,
    ) -> ReplyAction {
        let Correlation { id, channel, .. } = correlation;
        let (word, rest) = match outcome {
            Outcome::Joined(reply) => {
                let data = String::from_utf8_lossy(reply.data().bytes());
                ("joined", format!("{channel} {data}"))
            }
            Outcome::Left => ("left", channel.to_string()),
            Outcome::Published => ("published", channel.to_string()),
            Outcome::Identified(facts) => ("you", facts.id.to_string()),
            Outcome::Denied(denial) => ("denied", denial.as_str().to_owned()),
            Outcome::Failed(failure) => ("failed", failure.text().to_owned()),
            Outcome::NotHandled => ("unknown", String::new()),
            Outcome::Silent => ("silent", String::new()),
            Outcome::Replied(reply) => {
                let data = String::from_utf8_lossy(reply.data().bytes());
                ("reply", data.into_owned())
            }
        };
        write!(message, "{word} {id} {rest}").expect("a vector takes any bytes");
        ReplyAction::Send(MessageType::Text)
    }

    fn encode_publication(
        &self,
        publication: &Publication<'_>,
        _: &Options,
        message: &mut Vec<u8>,
    ) -> MessageType {
        let content = &publication.content;
        let data = String::from_utf8_lossy(content.data.bytes());
        let (event, from) = (content.event, content.from);
        write!(message, "event {event} {from} {data}").expect("a vector takes any bytes");
        MessageType::Text
    }
}
