//! Dialects: the message formats of clients inside WebSocket messages, or in another framing.
//!
//! A dialect is a set of pure functions. They decode an upgrade request to [`Credentials`] and a
//! message to [`Intent`]s, and encode an [`Outcome`] or a [`Publication`] to a message. Their only
//! inputs are bytes and the settings of the route. State of a client lives in the session. Other
//! differences between dialects are data in the same file ([`RouteSpec`]): config keys, defaults,
//! texts. So a new dialect adds one file here, one line to [`ALL`], one directory of transcripts
//! and one page of documentation, and cannot break other dialects.

pub mod easyws;
pub mod echo;
pub mod edk;
pub mod framing;
pub mod projectforge;
mod request;
mod spec;
pub mod tap;
pub mod wserver;
pub mod wsrv;

pub use self::framing::{Framing, MessageReader, PartialInput, StreamFraming, StreamItem};
pub use self::request::{Publish, Request};
pub use self::spec::{
    DefaultRoute, DropRequest, Playground, PushRequest, RouteFacts, RouteSpec, SessionReport,
    TokenPlace,
};
use crate::codec::{json, protobuf};
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::content::{Correlation, Outcome, SessionFacts};
use crate::vocabulary::limits::{Limits, RouteLimits};
use crate::vocabulary::publication::Publication;
use crate::ws::MessageType;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

/// All dialects of this build.
pub const ALL: &[&dyn Dialect] = &[
    &edk::Edk,
    &wsrv::Wsrv,
    &easyws::Easyws,
    &projectforge::Projectforge,
    &wserver::Wserver,
    &tap::Tap,
    &echo::Echo,
];

/// A wire dialect.
///
/// Implementations hold no state and are total: for any bytes, [`decode`] returns intents or a
/// [`DecodeError`] and does not panic. `tests/dialects/main.rs` checks that for each member of
/// [`ALL`].
///
/// [`decode`]: Dialect::decode
pub trait Dialect: fmt::Debug + Sync {
    /// Returns the name in the config, logs and transcripts: lower case, no spaces.
    fn name(&self) -> &'static str;

    /// Returns the dialect's static properties.
    fn spec(&self) -> DialectSpec {
        DialectSpec::default()
    }

    /// Returns the static properties of the dialect's routes.
    fn route_spec(&self) -> RouteSpec {
        RouteSpec::default()
    }

    /// Returns the number of formats of sessions, at least 1. [`Dialect::admit`] chooses one for
    /// each session, and [`Options::format`] is that one wherever its messages are concerned.
    fn formats(&self) -> u8 {
        1
    }

    /// Returns the framing of a format. A session whose format has another framing than WebSocket's
    /// opens with a plain GET request instead of an upgrade.
    fn framing(&self, _format: u8) -> Framing {
        Framing::WebSocket
    }

    /// Changes the default limits of a route. By default they are those of the config.
    fn default_limits(&self, _: &mut RouteLimits, _: &Limits) {}

    /// Returns hints for trying a route, each a line that fits behind the route's URL.
    fn first_steps(&self, _: &RouteFacts<'_>) -> Vec<String> {
        Vec::new()
    }

    /// Reads the client's credentials from an upgrade request. RFC 6455's own rules are checked
    /// later.
    ///
    /// # Errors
    ///
    /// The response that rejects the request.
    fn admit<'r>(&self, _: &UpgradeRequest<'r>, _: &Options) -> Result<Credentials<'r>, Rejection> {
        Ok(Credentials::default())
    }

    /// Returns the response to an upgrade request with an invalid token.
    fn rejection(&self) -> Rejection {
        Rejection::UNAUTHORIZED
    }

    /// Returns the response to an upgrade request that needs a user and has none.
    fn no_user(&self) -> Rejection {
        Rejection::UNAUTHORIZED
    }

    /// Checks whether a handler can be registered for a command. By default any can.
    ///
    /// # Errors
    ///
    /// The reason, for the embedder that registers the handler.
    fn check_command(&self, _: &str) -> Result<(), &'static str> {
        Ok(())
    }

    /// Checks whether messages to clients can have an event. By default any can.
    ///
    /// # Errors
    ///
    /// The reason, for the publisher.
    fn check_event(&self, _: &str) -> Result<(), &'static str> {
        Ok(())
    }

    /// Decodes a client message and appends its intents in order.
    ///
    /// `payload` is mutable so that a dialect can decode in place. After an error the caller
    /// discards intents that were appended.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the message is invalid.
    fn decode<'m>(
        &self,
        kind: MessageType,
        payload: &'m mut [u8],
        options: &Options,
        scratch: &'m mut json::Scratch,
        intents: &mut Intents<'m>,
    ) -> Result<(), DecodeError>;

    /// Returns what to do with a session after an invalid message. By default the message is
    /// ignored.
    fn on_invalid(&self, _: DecodeError) -> OnInvalid {
        OnInvalid::Ignore
    }

    /// Encodes the message that a new session gets before any other, and appends it to `message`.
    /// Returns its type; `None` for no message. `user` is the user that the upgrade request named.
    /// Called only for a dialect with [`DialectSpec::greets`].
    fn encode_greeting(
        &self,
        _: &SessionFacts,
        _user: Option<&str>,
        _: &Options,
        _: &mut Vec<u8>,
    ) -> Option<MessageType> {
        None
    }

    /// Encodes the outcome of a client's request and appends it to `message`. By default nothing is
    /// sent.
    ///
    /// A request is a call, or any other intent with a [`Request`].
    fn encode_outcome(
        &self,
        _: &Correlation,
        _: &Outcome,
        _: &Options,
        _: &mut Vec<u8>,
    ) -> ReplyAction {
        ReplyAction::Skip
    }

    /// Encodes a publication, appends it to `message`, and returns the message's type.
    ///
    /// Called once per publication, encoding and shard, not once per session.
    fn encode_publication(
        &self,
        publication: &Publication<'_>,
        options: &Options,
        message: &mut Vec<u8>,
    ) -> MessageType;

    /// Encodes presence, a member that joins or leaves: appends the event's data to `json` and
    /// returns its name; `None` if the dialect announces no presence.
    fn encode_presence(&self, _: Presence<'_>, _: &mut Vec<u8>) -> Option<&'static str> {
        None
    }

    /// Encodes a session's opening or close for taps: appends the data to `json` and returns event
    /// and channel; `None` if the dialect reports no sessions.
    fn report_session(
        &self,
        _: &SessionReport<'_>,
        _: &mut Vec<u8>,
    ) -> Option<(&'static str, &'static str)> {
        None
    }

    /// Decodes the body of a request to a `push_path`; `None` if it is invalid.
    fn read_push<'b>(&self, _: &'b [u8], _: &'b mut json::Scratch) -> Option<PushRequest<'b>> {
        None
    }

    /// Decodes the body of a request to a `drop_path`, and overwrites it.
    ///
    /// # Errors
    ///
    /// What is wrong with the body, as a sentence for the caller.
    fn read_drop(&self, _: &mut [u8]) -> Result<DropRequest, String> {
        Err("this language has no drops".to_owned())
    }
}

/// Dialects are equal if their names are equal.
impl PartialEq for dyn Dialect {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for dyn Dialect {}

/// The static properties of a dialect.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DialectSpec {
    /// Only messages reset a session's idle timeout; pings and pongs do not.
    pub alive_by_messages: bool,
    /// New sessions get a message before any other ([`Dialect::encode_greeting`]).
    pub greets: bool,
    /// A token in a message that names a user has a response ([`Outcome::Identified`]).
    pub answers_tokens: bool,
    /// Every call has a response, even without data.
    pub acknowledges: bool,
    /// Calls of one session may run concurrently, with responses in any order.
    pub concurrent: bool,
    /// Several handlers of one command run one after the other. Otherwise a second handler is an
    /// error.
    pub appends_handlers: bool,
    /// The command that runs, with the session's id as its data, when a session opens. Without a
    /// handler for it nothing runs.
    pub open_command: Option<&'static str>,
    /// Members of a channel get presence ([`Dialect::encode_presence`]).
    pub announces: bool,
    /// The data of a call is JSON.
    pub json_data: bool,
    /// The data of a call is bytes, even if they are valid text.
    pub binary_data: bool,
    /// Messages to clients name a channel.
    pub names_channels: bool,
    /// Clients may join only declared channels.
    pub declared_channels: bool,
    /// Text that is not UTF-8 closes the session ([`DecodeError::InvalidText`]) as soon as the
    /// invalid bytes have arrived.
    pub checks_text: bool,
}

/// The route settings that a dialect uses. Other dialects' settings keep their defaults.
#[derive(Clone, Debug)]
pub struct Options {
    /// The session's format: an index below [`Dialect::formats`].
    pub format: u8,
    /// Message type of publications, if the dialect leaves it open.
    pub push_kind: MessageType,
    /// Schema of messages, if the dialect leaves it open.
    pub schema: Schema,
    /// Messages are decoded as older versions of the original did (`projectforge`).
    pub lenient: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: 0,
            push_kind: MessageType::Text,
            schema: Schema::Opaque,
            lenient: false,
        }
    }
}

/// The schema of the messages of an `edk` route.
#[derive(Clone, Debug)]
pub enum Schema {
    /// Any Protocol Buffers message.
    Opaque,
    /// Campanile's own `ws.Message`.
    Builtin,
    /// A message of the operator's descriptor set.
    Descriptor(std::sync::Arc<protobuf::Schema>),
}

impl Options {
    /// Returns whether publications are encoded to the same bytes under both.
    #[must_use]
    pub fn encodes_like(&self, other: &Self) -> bool {
        // Named one by one, so that a new option needs a decision here.
        let Self {
            format,
            push_kind,
            schema,
            lenient: _of_decoding,
        } = self;
        let is_builtin = |schema: &Schema| matches!(schema, Schema::Builtin);
        let is_same = (*format, *push_kind) == (other.format, other.push_kind);
        is_same && is_builtin(schema) == is_builtin(&other.schema)
    }
}

/// The part of an upgrade request that a dialect reads.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeRequest<'r> {
    /// The query: the target after its question mark; `None` without one.
    pub query: Option<&'r str>,
    /// All header lines, name and value.
    pub headers: &'r [(&'r str, &'r [u8])],
}

impl<'r> UpgradeRequest<'r> {
    /// Returns the values of all headers with this name, compared without regard to case.
    pub fn header(&self, name: &'static str) -> impl Iterator<Item = &'r [u8]> {
        let lines = self.headers.iter();
        lines
            .filter(move |(each, _)| each.eq_ignore_ascii_case(name))
            .map(|&(_, value)| value)
    }
}

/// The credentials in an upgrade request, unverified.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Credentials<'r> {
    /// The token; `None` if there is none.
    pub token: Option<Cow<'r, str>>,
    /// The user that the client or a proxy names, unverified; `None` if neither does.
    pub user: Option<&'r str>,
    /// The subprotocol in the response; `None` for no subprotocol.
    pub subprotocol: Option<Cow<'r, str>>,
    /// The channel to join when the session opens.
    pub channel: InitialChannel<'r>,
    /// The format of the session: an index below [`Dialect::formats`].
    pub format: u8,
}

/// The channel that a session joins when it opens, if the rules allow it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum InitialChannel<'r> {
    /// No channel.
    #[default]
    None,
    /// The channel with this name.
    Named(Cow<'r, str>),
    /// A new channel with a random name.
    Generated,
}

/// An HTTP response that rejects an upgrade request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rejection {
    /// HTTP status, 400 to 599.
    pub status: u16,
    /// Response body, plain text.
    pub body: Cow<'static, str>,
}

impl Rejection {
    /// 401: the request has no valid credentials.
    pub const UNAUTHORIZED: Self = Self {
        status: 401,
        body: Cow::Borrowed("Unauthorized\n"),
    };
    /// 503: an embedder's function did not finish in time.
    pub const TIMED_OUT: Self = Self {
        status: 503,
        body: Cow::Borrowed("timed out, try again\n"),
    };
    /// 500: an embedder's function panicked.
    pub const INTERNAL_ERROR: Self = Self {
        status: 500,
        body: Cow::Borrowed("internal error"),
    };

    /// Creates a rejection. A status outside 400 to 599 is sent as 403.
    pub fn new(status: u16, body: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            body: body.into(),
        }
    }
}

/// The intents of one message, nearly always one. An intent that waits for the host delays the next
/// message, but not the intents behind it.
pub type Intents<'m> = SmallVec<[Intent<'m>; 1]>;

/// A client's request to the gateway, independent of the dialect.
///
/// A shard matches on it without a wildcard, so that a new intent needs a decision everywhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Intent<'m> {
    /// Nothing: only resets the idle timeout.
    Heartbeat,
    /// Bind the session to the user that `token` names, for publications with this event.
    Identify {
        /// The parts that the response repeats.
        request: Request<'m>,
        /// The token.
        token: &'m str,
        /// The event.
        event: &'m str,
    },
    /// Join the channel of the request. As for all intents but calls, no handler runs: the
    /// channel's rule decides.
    Join(Request<'m>),
    /// Leave the channel of the request.
    Leave(Request<'m>),
    /// Publish a message to the channel of the request, if the session is on it and its rule allows
    /// that.
    Publish(Publish<'m>),
    /// Run a command.
    Call(Call<'m>),
    /// Send this payload back to the client.
    Reply {
        /// The type of the message.
        kind: MessageType,
        /// The payload.
        payload: &'m [u8],
    },
}

/// A call of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Call<'m> {
    /// Name of the command; empty if there is none.
    pub command: &'m str,
    /// The client's id of the request; empty if there is none.
    pub id: &'m str,
    /// The channel that the message names; empty if there is none.
    pub channel: &'m str,
    /// The sender that the message names, unverified; empty if there is none.
    pub from: &'m str,
    /// The data as received; `None` if there are none.
    pub data: Option<&'m [u8]>,
    /// The type of the message.
    pub kind: MessageType,
}

/// The reason that a message is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DecodeError {
    /// A text message is not UTF-8, in a dialect that checks this.
    InvalidText,
    /// The message does not decode.
    Malformed,
}

/// What to do with a session after an invalid message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnInvalid {
    /// Close the session.
    Close(CloseCause),
    /// Ignore the message.
    Ignore,
}

/// What to send for an outcome.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReplyAction {
    /// Send nothing. Appended bytes are ignored.
    Skip,
    /// Send the appended message with this type.
    Send(MessageType),
    /// Close the session.
    Close(CloseCause),
}

/// A member that joins or leaves a channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Presence<'p> {
    /// Name of the member: its session's id or its user, as the route sets.
    pub name: &'p str,
    /// It has joined; otherwise it has left.
    pub connected: bool,
}

/// Returns all dialects, with the one that a test added.
fn all() -> impl Iterator<Item = &'static dyn Dialect> {
    ALL.iter().chain(ADDED.get()).copied()
}

/// Returns all dialects that a route can have, in the order for operators. Taps are none of them.
pub fn of_routes() -> impl Iterator<Item = &'static dyn Dialect> {
    let is_tap = |dialect| all().any(|other| other.route_spec().tap == Some(dialect));
    all().filter(move |&dialect| !is_tap(dialect))
}

/// Returns the dialect with this name; `None` if there is none.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Dialect> {
    all().find(|dialect| dialect.name() == name)
}

/// Adds a dialect to this build, for tests of adding one. Must be called before any dialect is
/// looked up.
///
/// # Panics
///
/// If one was added before.
#[doc(hidden)]
pub fn add(dialect: &'static dyn Dialect) {
    assert!(ADDED.set(dialect).is_ok(), "one dialect can be added");
}

static ADDED: OnceLock<&'static dyn Dialect> = OnceLock::new();
