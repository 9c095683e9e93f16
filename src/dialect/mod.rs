//! The languages clients speak inside WebSocket messages.
//!
//! A dialect is a set of pure translations: an upgrade request into the [`Credentials`] it shows, a
//! message into the [`Intent`]s it expresses, an [`Outcome`] or a [`Publication`] back into a
//! message. It sees bytes and the settings of its route, and nothing else. What the gateway
//! remembers about a client lives in the session. What else differs between languages is data in
//! the same file ([`RouteSpec`]): keys of the config, defaults, texts. So adding a language adds
//! one file here, one line to [`ALL`], one directory of transcripts and one page of documentation,
//! and cannot break any other language.

pub mod easyws;
pub mod echo;
pub mod edk;
pub mod projectforge;
mod spec;
pub mod tap;
pub mod wserver;
pub mod wsrv;

pub use self::spec::{
    DefaultRoute, DropRequest, Playground, PushRequest, RouteFacts, RouteSpec, SessionReport,
    TokenPlace,
};
use crate::codec::{json, protobuf};
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::content::{Correlation, Outcome};
use crate::vocabulary::limits::{Limits, RouteLimits};
use crate::vocabulary::publication::Publication;
use crate::ws::MessageType;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

/// Every dialect this build speaks.
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
/// Implementations hold no state and must be total: for any bytes whatever, [`decode`] returns
/// intents or a [`DecodeError`] and does not panic. `tests/dialects/main.rs` holds every
/// member of [`ALL`] to that.
///
/// [`decode`]: Dialect::decode
pub trait Dialect: fmt::Debug + Sync {
    /// The name used in the config, logs and transcripts: lower case, no spaces.
    fn name(&self) -> &'static str;

    /// What does not depend on any message.
    fn spec(&self) -> DialectSpec {
        DialectSpec::default()
    }

    /// What its routes have, and what holds for them.
    fn route_spec(&self) -> RouteSpec {
        RouteSpec::default()
    }

    /// Changes the bounds of a route that sets none of its own; as a rule they are those of the
    /// config.
    fn default_limits(&self, _: &mut RouteLimits, _: &Limits) {}

    /// What an operator is told to try first on a route, in lines that fit behind its URL.
    fn first_steps(&self, _: &RouteFacts<'_>) -> Vec<String> {
        Vec::new()
    }

    /// Reads what an upgrade request says about the client, or turns it away. RFC 6455's own rules
    /// are looked at later.
    fn admit<'r>(&self, _: &UpgradeRequest<'r>, _: &Options) -> Result<Credentials<'r>, Rejection> {
        Ok(Credentials::default())
    }

    /// How a client is turned away whose token is not accepted.
    fn rejection(&self) -> Rejection {
        Rejection::UNAUTHORIZED
    }

    /// How a client is turned away that must have a user and has none.
    fn no_user(&self) -> Rejection {
        Rejection::UNAUTHORIZED
    }

    /// Says why no handler can have this command; as a rule any can.
    ///
    /// # Errors
    ///
    /// The reason, for whoever registers one.
    fn check_command(&self, _: &str) -> Result<(), &'static str> {
        Ok(())
    }

    /// Says why no message to a client can be of this event; as a rule any can.
    ///
    /// # Errors
    ///
    /// The reason, for whoever pushes one.
    fn check_event(&self, _: &str) -> Result<(), &'static str> {
        Ok(())
    }

    /// Reads what one client message asks for, in order.
    ///
    /// The payload is handed over mutable because a dialect may decode in place. When a message is
    /// refused, whatever it had already pushed is discarded with it.
    fn decode<'m>(
        &self,
        kind: MessageType,
        payload: &'m mut [u8],
        options: &Options,
        scratch: &'m mut json::Scratch,
        intents: &mut Intents<'m>,
    ) -> Result<(), DecodeError>;

    /// What becomes of a session whose message was refused; as a rule nothing.
    fn on_invalid(&self, _: DecodeError) -> OnInvalid {
        OnInvalid::Ignore
    }

    /// Words what became of something that a client asked, appending it to `message`.
    fn encode_outcome(
        &self,
        _: &Correlation,
        _: &Outcome,
        _: &Options,
        _: &mut Vec<u8>,
    ) -> ReplyAction {
        ReplyAction::Skip
    }

    /// Words a publication the way every subscriber of this dialect receives it, appending it to
    /// `message`, and says which type of frame it goes in.
    ///
    /// Called once per publication, encoding and shard, never once per subscriber.
    fn encode_publication(
        &self,
        publication: &Publication<'_>,
        options: &Options,
        message: &mut Vec<u8>,
    ) -> MessageType;

    /// What the others on a channel are told when somebody comes or goes: the event's name, its
    /// data being appended to `json`; `None` if they are told nothing.
    fn encode_presence(&self, _: Presence<'_>, _: &mut Vec<u8>) -> Option<&'static str> {
        None
    }

    /// What those are told who watch the traffic of a namespace when a session opens or closes: an
    /// event and a channel, the data being appended to `json`; `None` if they are told nothing.
    fn report_session(
        &self,
        _: &SessionReport<'_>,
        _: &mut Vec<u8>,
    ) -> Option<(&'static str, &'static str)> {
        None
    }

    /// Reads the body of a request to a `push_path`; `None` if it is not a push.
    fn read_push<'b>(&self, _: &'b [u8], _: &'b mut json::Scratch) -> Option<PushRequest<'b>> {
        None
    }

    /// Reads the body of a request to a `drop_path`, which is destroyed.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a sentence for the caller.
    fn read_drop(&self, _: &mut [u8]) -> Result<DropRequest, String> {
        Err("this language has no drops".to_owned())
    }
}

/// Languages are the same if they have the same name.
impl PartialEq for dyn Dialect {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for dyn Dialect {}

/// What does not depend on any message.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DialectSpec {
    /// Only messages keep a session from being idle; pings and pongs do not.
    pub alive_by_messages: bool,
    /// Every request is answered, also where there is nothing to say but that it was done.
    pub acknowledges: bool,
    /// Requests of one session may be handled at once, and answered as they are ready.
    pub concurrent: bool,
    /// Several handlers of one command run one after the other; elsewhere a second is an error.
    pub appends_handlers: bool,
    /// The command that is handled, if somebody handles it, when a session opens, with its id.
    pub open_command: Option<&'static str>,
    /// The others on a channel are told when somebody comes or goes ([`Dialect::encode_presence`]).
    pub announces: bool,
    /// The data of a call is JSON.
    pub json_data: bool,
    /// The data of a call is bytes, also where they happen to be text.
    pub binary_data: bool,
    /// A message to a client names a channel.
    pub names_channels: bool,
    /// Clients may join only channels that were declared.
    pub declared_channels: bool,
    /// Text that is not UTF-8 ends the session ([`DecodeError::InvalidText`]), as soon as the bytes
    /// have come that make it so.
    pub checks_text: bool,
}

/// What is set for a route and matters to its language. Routes have only what they need of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The type of frame that a push goes in, where the language leaves it open.
    pub push_kind: MessageType,
    /// What messages are, where the language leaves it open.
    pub schema: Schema,
    /// Whether messages are read as older versions of the original read them (`projectforge`).
    pub lenient: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            push_kind: MessageType::Text,
            schema: Schema::Opaque,
            lenient: false,
        }
    }
}

/// What the messages of an `edk` route are.
#[derive(Clone, Debug)]
pub enum Schema {
    /// Any Protocol Buffers message.
    Opaque,
    /// Our own `ws.Message`.
    Builtin,
    /// The operator's.
    Descriptor(std::sync::Arc<protobuf::Schema>),
}

impl Options {
    /// Whether a publication has the same bytes under both.
    #[must_use]
    pub fn encodes_like(&self, other: &Self) -> bool {
        let is_builtin = |options: &Self| matches!(options.schema, Schema::Builtin);
        self.push_kind == other.push_kind && is_builtin(self) == is_builtin(other)
    }
}

/// The part of an upgrade request that a language may look at.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeRequest<'r> {
    /// What follows the question mark of its target.
    pub query: Option<&'r str>,
    /// Every header line, name and value.
    pub headers: &'r [(&'r str, &'r [u8])],
}

impl<'r> UpgradeRequest<'r> {
    /// The values of all headers of this name, in any case.
    pub fn header(&self, name: &'static str) -> impl Iterator<Item = &'r [u8]> {
        let lines = self.headers.iter();
        lines
            .filter(move |(each, _)| each.eq_ignore_ascii_case(name))
            .map(|&(_, value)| value)
    }
}

/// What an upgrade request says about the client.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Credentials<'r> {
    /// What it shows to prove who it is.
    pub token: Option<Cow<'r, str>>,
    /// Who it, or whoever forwards it, says it is.
    pub user: Option<&'r str>,
    /// The subprotocol that is agreed on.
    pub subprotocol: Option<Cow<'r, str>>,
    /// The channel that it wants to be on from the start.
    pub channel: InitialChannel<'r>,
}

/// The channel that a client wants to be on from the start.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum InitialChannel<'r> {
    /// None.
    #[default]
    None,
    /// This one.
    Named(Cow<'r, str>),
    /// One of its own, with a name that nobody guesses.
    Generated,
}

/// How an upgrade request is turned away.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rejection {
    /// From 400 to 599.
    pub status: u16,
    /// Plain text.
    pub body: Cow<'static, str>,
}

impl Rejection {
    /// Who the client is, is not known.
    pub const UNAUTHORIZED: Self = Self {
        status: 401,
        body: Cow::Borrowed("Unauthorized\n"),
    };
    /// What should have judged the client has not done so in time.
    pub const TIMED_OUT: Self = Self {
        status: 503,
        body: Cow::Borrowed("timed out, try again\n"),
    };
    /// What should have judged the client has failed.
    pub const INTERNAL_ERROR: Self = Self {
        status: 500,
        body: Cow::Borrowed("internal error"),
    };

    /// Turned away with a status from 400 to 599 and a plain text.
    pub fn new(status: u16, body: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            body: body.into(),
        }
    }
}

/// What one message asks for; nearly always one thing.
pub type Intents<'m> = SmallVec<[Intent<'m>; 1]>;

/// Something a client asks of the gateway, whatever words it used.
///
/// The set is closed on purpose: a shard matches on it without a wildcard, so a new intent cannot
/// be added without deciding what it means everywhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Intent<'m> {
    /// Nothing but to be seen alive.
    Heartbeat,
    /// Speak for the user whom `token` names, and receive what is pushed to that user for `event`.
    Identify {
        /// What the client shows to prove who it is.
        token: &'m str,
        /// What it wants to hear.
        event: &'m str,
    },
    /// Be on a channel from now on.
    Join {
        /// The channel.
        channel: &'m str,
        /// The command that asked for it.
        command: &'m str,
        /// The type of frame it came in.
        kind: MessageType,
    },
    /// Have a command handled.
    Call(Call<'m>),
    /// Send this back to the sender, as it is.
    Reply {
        /// The type of frame it goes in.
        kind: MessageType,
        /// What it says.
        payload: &'m [u8],
    },
}

/// A command to be handled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Call<'m> {
    /// Its name; empty if it has none.
    pub command: &'m str,
    /// The client's name for its request; empty if it gave none.
    pub id: &'m str,
    /// The channel it is about; empty if it names none.
    pub channel: &'m str,
    /// Who the client says it is; empty if it says nothing. Not to be believed.
    pub from: &'m str,
    /// Its data as they came; `None` if it has none.
    pub data: Option<&'m [u8]>,
    /// The type of frame it came in.
    pub kind: MessageType,
}

/// Why a message was turned down. The client's doing, and never fatal to a shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DecodeError {
    /// A text message is not UTF-8, and this language looks.
    InvalidText,
    /// The message is not in this language.
    Malformed,
}

/// What becomes of a session whose message was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnInvalid {
    /// It ends for this reason.
    Close(CloseCause),
    /// It goes on as if nothing had been said.
    Ignore,
}

/// How an outcome is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReplyAction {
    /// Not at all; what was appended to the message is ignored.
    Skip,
    /// With the message, in a frame of this type.
    Send(MessageType),
    /// The session ends for this reason.
    Close(CloseCause),
}

/// Somebody comes to a channel, or goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Presence<'p> {
    /// How the route names whoever it is.
    pub who: &'p str,
    /// Whether they are there now.
    pub connected: bool,
}

/// Every language, whoever has brought it.
fn all() -> impl Iterator<Item = &'static dyn Dialect> {
    ALL.iter().chain(ADDED.get()).copied()
}

/// Every language that a route can have, in the order in which they are told to an operator.
pub fn of_routes() -> impl Iterator<Item = &'static dyn Dialect> {
    let is_tap = |dialect| all().any(|other| other.route_spec().tap == Some(dialect));
    all().filter(move |&dialect| !is_tap(dialect))
}

/// The dialect of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Dialect> {
    all().find(|dialect| dialect.name() == name)
}

/// Adds a language to those that this build speaks, for tests of what a new language takes. To be
/// called before anything asks for a language.
///
/// # Panics
///
/// If one was added before.
#[doc(hidden)]
pub fn add(dialect: &'static dyn Dialect) {
    assert!(ADDED.set(dialect).is_ok(), "one language can be added");
}

static ADDED: OnceLock<&'static dyn Dialect> = OnceLock::new();
