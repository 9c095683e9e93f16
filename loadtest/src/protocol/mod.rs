//! What is said to a server, protocol by protocol: how to become a member, publish, ask, and tell a
//! published message from everything else.
//!
//! A protocol is bytes only: no sockets, no clock, no state but what it is handed. Each is written
//! from its description and shares no code with any server. To add one: a file, a [`Name`], a line
//! in [`Name::build`].
//!
//! ```text
//!   engine                     protocol                        server
//!     | connect                                                   |
//!     |---------------- upgrade(member) ------------------------->|
//!     |<--------------------------- 101 --------------------------|
//!     |---------------- opening(member) ------------------------->|   maybe nothing
//!     |<-- Heard::Joined ---- read() <----------------------------|   or never answered: probed
//!     |                                                           |
//!     |---------------- request() or say() ---------------------->|   by HTTP, or by a client
//!     |<-- Heard::Message --- read() <----------------------------|   every member
//! ```

mod campanile;
mod easyws;
mod echo;
mod edk;
mod floor;
mod json;
mod nats;
mod projectforge;
mod pusher;
mod topics;
mod wserver;
mod wsrv;

use std::fmt;
use std::sync::Arc;

use clap::ValueEnum;

use crate::wire::Upgrade;

/// Whoever is to receive: session number `session`, of group number `group`.
///
/// A group is who receives the same publications: a user of `wserver`, elsewhere a channel or
/// topic. Where a session asks for itself alone ([`Purpose::Ask`]) its group is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Counted from zero over the whole run.
    pub(crate) session: usize,
    /// Counted from zero.
    pub(crate) group: usize,
}

/// What a session is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To receive what is published to its group, and perhaps to publish to it.
    Receive,
    /// To give commands and read their replies.
    Ask,
    /// To be on no group yet; it will join and leave.
    Wander,
}

/// Something that a protocol may have no words for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Publishing by an HTTP request.
    Http,
    /// Publishing by one of the group's own sessions.
    Client,
    /// A command that is answered.
    Ask,
    /// Joining and leaving on a connection that stays.
    Wander,
}

/// What follows the upgrade until a session is a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Whether the server speaks first, and is waited for ([`Heard::Greeting`]).
    pub(crate) greeted: bool,
    /// The message that makes a member, if connecting does not.
    pub(crate) message: Option<Vec<u8>>,
    /// Whether that is answered ([`Heard::Joined`]).
    pub(crate) answered: bool,
}

/// The frames that a protocol's clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Opcode 1.
    Text,
    /// Opcode 2.
    Binary,
}

/// What a server said in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard<'a> {
    /// That it is ready to be spoken to.
    Greeting,
    /// That the session is a member now.
    Joined,
    /// That it is none any more.
    Left,
    /// That a publication was taken.
    Taken,
    /// A published message, or the reply to a command, out of its envelope.
    Message(&'a [u8]),
    /// Something that wants this message in return.
    Wants(&'static [u8]),
    /// That it will not do what it was asked.
    Refused(String),
}

/// What the answer to a publication says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It was taken.
    Taken,
    /// It was, and so many sessions receive it.
    Reached(u64),
    /// It was not.
    Refused,
}

/// Takes what was heard.
pub(crate) type Ear<'a> = &'a mut dyn FnMut(Heard<'_>);

/// One way of speaking with a server.
pub(crate) trait Protocol: fmt::Debug + Send + Sync {
    /// Whether there are words for this.
    fn offers(&self, way: Way) -> bool;

    /// Whether a message keeps its bytes as they are, and the frames the session is sent can be
    /// counted without looking.
    fn kind(&self) -> Kind {
        Kind::Text
    }

    /// The request that opens a session; `None` for a server that wants none and sends at once.
    fn upgrade(&self, member: Member, purpose: Purpose) -> Option<Upgrade>;

    /// What follows it.
    fn opening(&self, member: Member, purpose: Purpose) -> Opening {
        // By default a session is a member by being connected.
        let (Member { .. }, Purpose::Receive | Purpose::Ask | Purpose::Wander) = (member, purpose);
        Opening::default()
    }

    /// The server API by which a backend publishes, where it is Campanile's.
    fn api(&self) -> Option<&campanile::Api> {
        None
    }

    /// A whole HTTP request that publishes `message` to `group`; `None` without [`Way::Http`].
    ///
    /// `seconds` is the time of day, for protocols that sign it.
    fn request(
        &self,
        authority: &str,
        group: usize,
        message: &str,
        _seconds: u64,
    ) -> Option<Vec<u8>> {
        let api = self.api()?;
        Some(api.request(authority, group, message))
    }

    /// A message that clients send every ten seconds, so as not to be taken for gone.
    fn heartbeat(&self) -> Option<&'static [u8]> {
        None
    }

    /// A client's message that publishes `message` to the group it is on; `None` without
    /// [`Way::Client`].
    fn say(&self, _group: usize, _message: &str) -> Option<Vec<u8>> {
        None
    }

    /// A client's command that is replied to with `message`; `None` without [`Way::Ask`].
    fn ask(&self, _member: Member, _message: &str) -> Option<Vec<u8>> {
        None
    }

    /// A client's message that joins `group`; `None` without [`Way::Wander`].
    fn join(&self, _group: usize) -> Option<Vec<u8>> {
        None
    }

    /// A client's message that leaves `group`; `None` without [`Way::Wander`].
    fn leave(&self, _group: usize) -> Option<Vec<u8>> {
        None
    }

    /// Reads one message of the server's and tells `ear` what is in it, in order.
    ///
    /// `rest` is the session's own: a protocol that streams through messages keeps there what is
    /// not whole yet. What a protocol does not care about is told to nobody.
    fn read(&self, rest: &mut Vec<u8>, payload: &[u8], ear: Ear<'_>);

    /// What the answer to a [`Protocol::request`] says.
    fn answered(&self, status: u16, body: &[u8]) -> Answered {
        match status {
            _ if self.api().is_some() => campanile::answered(status, body),
            200..=299 => Answered::Taken,
            _ => Answered::Refused,
        }
    }
}

/// The protocols by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Campanile's /ws: register for a user's event; publish by POST /push
    Wserver,
    /// Campanile's /wsrv: JSON commands with sequence numbers
    Wsrv,
    /// Campanile's /easyws: `command: data`
    Easyws,
    /// Campanile's /projectforge: JSON messages on channels
    Projectforge,
    /// Campanile's /edk with opaque protobuf messages, all on one channel
    Edk,
    /// An edk route with the built-in schema and the commands echo, join and publish
    EdkBuiltin,
    /// A WebSocket that sends back what it gets, at /echo: for `rpc`
    Echo,
    /// Subscribe at /ws?topic=X, publish by POST /publish?topic=X (bun, ws, nchan)
    Topics,
    /// Pusher: subscribe by message, publish by signed POST /apps/ID/events (sockudo)
    Pusher,
    /// NATS over WebSocket; publishing is a client's
    Nats,
    /// None at all: requests that hold the frame which the floor sends on
    #[value(hide = true)]
    Floor,
}

/// What can be said about a protocol beyond its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Where clients connect, instead of the protocol's own path.
    pub(crate) path: Option<String>,
    /// Where publications are posted, instead of the protocol's own path.
    pub(crate) publish_path: Option<String>,
    /// Sent with each publication, as `Name: value`.
    pub(crate) publish_header: Option<String>,
    /// Pusher's application.
    pub(crate) app: App,
}

/// An application of Pusher's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct App {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

impl Default for App {
    fn default() -> Self {
        Self {
            id: "app-id".to_owned(),
            key: "app-key".to_owned(),
            secret: "app-secret".to_owned(),
        }
    }
}

impl Options {
    fn path_or(&self, own: &str) -> String {
        self.path.clone().unwrap_or_else(|| own.to_owned())
    }

    fn publish_path_or(&self, own: &str) -> String {
        self.publish_path.clone().unwrap_or_else(|| own.to_owned())
    }
}

impl Name {
    /// The protocol of this name.
    pub(crate) fn build(self, options: &Options) -> Arc<dyn Protocol> {
        match self {
            Self::Wserver => Arc::new(wserver::Wserver::new(options)),
            Self::Wsrv => Arc::new(wsrv::Wsrv::new(options)),
            Self::Easyws => Arc::new(easyws::Easyws::new(options)),
            Self::Projectforge => Arc::new(projectforge::Projectforge::new(options)),
            Self::Edk => Arc::new(edk::Edk::new(options, edk::Schema::Opaque)),
            Self::EdkBuiltin => Arc::new(edk::Edk::new(options, edk::Schema::Builtin)),
            Self::Echo => Arc::new(echo::Echo::new(options)),
            Self::Topics => Arc::new(topics::Topics::new(options)),
            Self::Pusher => Arc::new(pusher::Pusher::new(options)),
            Self::Nats => Arc::new(nats::Nats::new(options)),
            Self::Floor => Arc::new(floor::Floor::new()),
        }
    }

    /// Whether it is one of those that `campanile` speaks by itself.
    pub(crate) const fn is_campaniles(self) -> bool {
        match self {
            Self::Wserver
            | Self::Wsrv
            | Self::Easyws
            | Self::Projectforge
            | Self::Edk
            | Self::EdkBuiltin
            | Self::Echo => true,
            Self::Topics | Self::Pusher | Self::Nats | Self::Floor => false,
        }
    }

    /// As it is given on the command line.
    pub(crate) fn as_str(self) -> String {
        let value = self.to_possible_value();
        value.expect("no value is skipped").get_name().to_owned()
    }
}

/// The channel, topic or subject of a group.
fn channel(group: usize) -> String {
    format!("room-{group}")
}

/// A whole `POST`, kept alive.
fn post(authority: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The header that was asked for, as a line.
fn header_line(header: Option<&str>) -> String {
    header.map_or_else(String::new, |header| format!("{header}\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that `protocol` hears in `payloads`, worded.
    pub(super) fn heard(protocol: &dyn Protocol, payloads: &[&[u8]]) -> Vec<String> {
        let mut all = Vec::new();
        let mut rest = Vec::new();
        for payload in payloads {
            protocol.read(&mut rest, payload, &mut |heard| {
                all.push(match heard {
                    Heard::Message(message) => {
                        format!("Message {}", String::from_utf8_lossy(message))
                    }
                    Heard::Wants(bytes) => format!("Wants {}", String::from_utf8_lossy(bytes)),
                    other @ (Heard::Greeting
                    | Heard::Joined
                    | Heard::Left
                    | Heard::Taken
                    | Heard::Refused(_)) => format!("{other:?}"),
                });
            });
        }
        all
    }

    #[test]
    fn a_way_is_offered_exactly_when_there_are_words_for_it() {
        let member = Member {
            session: 3,
            group: 3,
        };
        for name in Name::value_variants() {
            let protocol = name.build(&Options::default());
            let offers = |way| protocol.offers(way);
            let request = protocol.request("h:1", 0, "m", 0);
            assert_eq!(offers(Way::Http), request.is_some(), "{name:?}");
            assert_eq!(
                offers(Way::Client),
                protocol.say(0, "m").is_some(),
                "{name:?}"
            );
            assert_eq!(
                offers(Way::Ask),
                protocol.ask(member, "m").is_some(),
                "{name:?}"
            );
            assert_eq!(offers(Way::Wander), protocol.join(0).is_some(), "{name:?}");
            assert_eq!(offers(Way::Wander), protocol.leave(0).is_some(), "{name:?}");
        }
    }

    #[test]
    fn no_protocol_trips_over_strange_bytes() {
        for name in Name::value_variants() {
            let protocol = name.build(&Options::default());
            for strange in [
                &b""[..],
                b"{",
                b"\"",
                b"\xff\xfe",
                b"MSG a",
                b"{\"cmd\":\"",
                b":",
            ] {
                heard(&*protocol, &[strange]);
            }
        }
    }
}
