//! Protocols of the measured servers: how to join, publish and send commands, and how to decode
//! messages.
//!
//! A protocol encodes and decodes bytes. It has no sockets, no clock and no state besides its
//! arguments. Each is written from its specification and shares no code with any server. To add a
//! protocol, add a file, a [`Name`] and a line in [`Name::build`].
//!
//! ```text
//!   engine                     protocol                        server
//!     | connect                                                   |
//!     |---------------- upgrade(member) ------------------------->|
//!     |<--------------------------- 101 --------------------------|
//!     |---------------- opening(member) ------------------------->|   if the protocol has one
//!     |<-- ServerMessage::Joined ---- read() <--------------------|   if joins are confirmed
//!     |                                                           |
//!     |------------- request() or publish_message() ------------->|   by HTTP, or by a client
//!     |<-- ServerMessage::Message --- read() <--------------------|   every member
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

/// A session and its group.
///
/// The sessions of a group receive the same publications. A group is a user in `wserver`, and a
/// channel or topic elsewhere. A session that sends commands ([`Purpose::Command`]) has its own
/// group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// The session's number in the run, from zero.
    pub(crate) session: usize,
    /// The group's number, from zero.
    pub(crate) group: usize,
}

/// The purpose of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Receives the publications to its group, and may publish to it.
    Receive,
    /// Sends commands and reads their replies.
    Command,
    /// Joins and leaves its group during the run; it begins outside.
    Churn,
}

/// A capability that a protocol may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    /// Publishing by an HTTP request.
    Http,
    /// Publishing by a session of the group.
    Client,
    /// Commands with replies.
    Command,
    /// Joins and leaves on an open connection, both confirmed.
    Membership,
}

/// The steps from the upgrade to the membership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opening {
    /// True if the client must wait for the server's first message ([`ServerMessage::Greeting`]).
    pub(crate) has_greeting: bool,
    /// The message that joins; `None` if connecting does.
    pub(crate) message: Option<Vec<u8>>,
    /// True if the server confirms `message` ([`ServerMessage::Joined`]).
    pub(crate) is_confirmed: bool,
}

/// The type of the frames that clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageType {
    /// Opcode 1.
    Text,
    /// Opcode 2.
    Binary,
}

/// A decoded message of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerMessage<'a> {
    /// The server is ready for messages.
    Greeting,
    /// The session has joined.
    Joined,
    /// The session has left.
    Left,
    /// A publication of the session was accepted.
    Accepted,
    /// The payload of a publication or of a command's reply.
    Message(&'a [u8]),
    /// A ping of the protocol; the client must send these bytes.
    Ping(&'static [u8]),
    /// An error.
    Error(String),
}

/// The result of a publication by HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublishResult {
    /// Success, without a count of receivers.
    Accepted,
    /// Success, with the number of sessions that receive the message.
    Reached(u64),
    /// Failure.
    Failed,
}

/// The receiver of decoded messages.
pub(crate) type MessageSink<'a> = &'a mut dyn FnMut(ServerMessage<'_>);

/// A protocol between the load test and a server.
pub(crate) trait Protocol: fmt::Debug + Send + Sync {
    /// Returns `true` if the protocol has this capability.
    fn offers(&self, capability: Capability) -> bool;

    /// Returns the type of the frames that clients send.
    fn kind(&self) -> MessageType {
        MessageType::Text
    }

    /// Returns the upgrade request of a session; `None` if the server sends frames without one.
    fn upgrade(&self, member: Member, purpose: Purpose) -> Option<Upgrade>;

    /// Returns the steps after the upgrade.
    fn opening(&self, member: Member, purpose: Purpose) -> Opening {
        // By default connecting is joining.
        let (Member { .. }, Purpose::Receive | Purpose::Command | Purpose::Churn) =
            (member, purpose);
        Opening::default()
    }

    /// Returns Campanile's server API, if backends publish by it.
    fn api(&self) -> Option<&campanile::Api> {
        None
    }

    /// Returns a whole HTTP request that publishes `message` to `group`; `None` without
    /// [`Capability::Http`].
    ///
    /// `seconds` is the Unix time, for protocols that sign it.
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

    /// Returns the message that clients must send every 10 s to stay connected, if any.
    fn heartbeat(&self) -> Option<&'static [u8]> {
        None
    }

    /// Returns a client's message that publishes `message` to its `group`; `None` without
    /// [`Capability::Client`].
    fn publish_message(&self, _group: usize, _message: &str) -> Option<Vec<u8>> {
        None
    }

    /// Returns a client's command whose reply carries `message`; `None` without
    /// [`Capability::Command`].
    fn command_message(&self, _member: Member, _message: &str) -> Option<Vec<u8>> {
        None
    }

    /// Returns a client's message that joins `group`; `None` without [`Capability::Membership`].
    fn join_message(&self, _group: usize) -> Option<Vec<u8>> {
        None
    }

    /// Returns a client's message that leaves `group`; `None` without [`Capability::Membership`].
    fn leave_message(&self, _group: usize) -> Option<Vec<u8>> {
        None
    }

    /// Decodes one WebSocket message of the server and passes its contents to `sink`, in order.
    ///
    /// `rest` belongs to the session: a stream protocol keeps incomplete data in it between calls.
    /// Unknown messages are skipped.
    fn read(&self, rest: &mut Vec<u8>, payload: &[u8], sink: MessageSink<'_>);

    /// Parses the response to a [`Protocol::request`].
    fn parse_response(&self, status: u16, body: &[u8]) -> PublishResult {
        match status {
            _ if self.api().is_some() => campanile::parse_response(status, body),
            200..=299 => PublishResult::Accepted,
            _ => PublishResult::Failed,
        }
    }
}

/// The names of the protocols, as in `--protocol`.
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
    /// A WebSocket echo server at /echo, for `rpc`
    Echo,
    /// Subscribe at /ws?topic=X, publish by POST /publish?topic=X (bun, ws, nchan)
    Topics,
    /// Pusher: subscribe by message, publish by signed POST /apps/ID/events (sockudo)
    Pusher,
    /// NATS over WebSocket; clients publish
    Nats,
    /// The floor: requests that contain the frame to send
    #[value(hide = true)]
    Floor,
}

/// The options of a protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// The path of upgrades; `None` for the protocol's default.
    pub(crate) path: Option<String>,
    /// The path of publications; `None` for the protocol's default.
    pub(crate) publish_path: Option<String>,
    /// A header of each publication, as `Name: value`.
    pub(crate) publish_header: Option<String>,
    /// The application of the protocol `pusher`.
    pub(crate) app: App,
}

/// The credentials of a Pusher application.
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
    /// Creates the protocol of this name.
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

    /// Returns `true` for the dialects that `campanile` serves by itself.
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

    /// Returns the name as on the command line.
    pub(crate) fn as_str(self) -> String {
        let value = self.to_possible_value();
        value.expect("no value is skipped").get_name().to_owned()
    }
}

/// Returns the channel, topic or subject of a group.
fn channel(group: usize) -> String {
    format!("room-{group}")
}

/// Returns a whole `POST` request on a keep-alive connection.
fn post(authority: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Returns an optional header as a line; empty if there is none.
fn header_line(header: Option<&str>) -> String {
    header.map_or_else(String::new, |header| format!("{header}\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the contents that `protocol` decodes from `payloads`, as text.
    pub(super) fn decoded(protocol: &dyn Protocol, payloads: &[&[u8]]) -> Vec<String> {
        let mut all = Vec::new();
        let mut rest = Vec::new();
        for payload in payloads {
            protocol.read(&mut rest, payload, &mut |decoded| {
                all.push(match decoded {
                    ServerMessage::Message(message) => {
                        format!("Message {}", String::from_utf8_lossy(message))
                    }
                    ServerMessage::Ping(bytes) => {
                        format!("Ping {}", String::from_utf8_lossy(bytes))
                    }
                    other @ (ServerMessage::Greeting
                    | ServerMessage::Joined
                    | ServerMessage::Left
                    | ServerMessage::Accepted
                    | ServerMessage::Error(_)) => format!("{other:?}"),
                });
            });
        }
        all
    }

    #[test]
    fn offers_agrees_with_the_methods() {
        let member = Member {
            session: 3,
            group: 3,
        };
        for name in Name::value_variants() {
            let protocol = name.build(&Options::default());
            let offers = |capability| protocol.offers(capability);
            let request = protocol.request("h:1", 0, "m", 0);
            assert_eq!(offers(Capability::Http), request.is_some(), "{name:?}");
            assert_eq!(
                offers(Capability::Client),
                protocol.publish_message(0, "m").is_some(),
                "{name:?}"
            );
            assert_eq!(
                offers(Capability::Command),
                protocol.command_message(member, "m").is_some(),
                "{name:?}"
            );
            assert_eq!(
                offers(Capability::Membership),
                protocol.join_message(0).is_some(),
                "{name:?}"
            );
            assert_eq!(
                offers(Capability::Membership),
                protocol.leave_message(0).is_some(),
                "{name:?}"
            );
        }
    }

    #[test]
    fn no_protocol_panics_on_invalid_bytes() {
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
                decoded(&*protocol, &[strange]);
            }
        }
    }
}
