//! What is posted to a backend: one JSON object for each hook.
//!
//! ```text
//!   {"hook": "message", "id": "6e4c...", "route": "/wsrv", "dialect": "wsrv",
//!    "session": {"id": "0b5f...", "number": 7, "user": "ada", "name": "Ada", "fields": {},
//!                "values": {"room": 3}},
//!    "command": "chat", "request_id": "a1", "channel": "", "data": {"text": "hi"}}
//! ```
//!
//! `user` and `token` are null where there is none; of `data` and `bytes` there is one, or none.
//! Nothing here knows how it is posted or what is made of the answer.

use super::values::HookValues;
use crate::codec::spoken::Spelled;
use crate::handler::{Context, RouteHandle, Session, Upgrade};
use crate::vocabulary::content::Data;
use crate::vocabulary::public_id::PublicId;
use hyper::HeaderMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What a backend is asked, or told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hook {
    Open,
    Authenticate,
    Message,
    Join,
    Publish,
    Command,
    Close,
}

impl Hook {
    /// Each kind, at the index that is its discriminant.
    pub(crate) const ALL: [Self; 7] = [
        Self::Open,
        Self::Authenticate,
        Self::Message,
        Self::Join,
        Self::Publish,
        Self::Command,
        Self::Close,
    ];

    /// How it is spelled, also in the header `Campanile-Hook`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Authenticate => "authenticate",
            Self::Message => "message",
            Self::Join => "join",
            Self::Publish => "publish",
            Self::Command => "command",
            Self::Close => "close",
        }
    }

    /// Whether it may be asked again although the backend may have read it: it asks or tells, and
    /// has nothing done.
    pub(crate) fn is_safe_to_repeat(self) -> bool {
        match self {
            Self::Message => false,
            Self::Open
            | Self::Authenticate
            | Self::Join
            | Self::Publish
            | Self::Command
            | Self::Close => true,
        }
    }
}

/// Who wants to do something that a backend has to allow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker<'a> {
    /// A session.
    Session(&'a Session),
    /// A client whose upgrade is being judged.
    Connecting {
        user: Option<&'a str>,
        token: Option<&'a str>,
    },
}

/// What it is that somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Question<'a> {
    /// Join this channel.
    Join(&'a str),
    /// Publish to this channel.
    Publish(&'a str),
    /// Give this command.
    Command(&'a str),
}

impl Question<'_> {
    pub(crate) fn hook(self) -> Hook {
        match self {
            Self::Join(_) => Hook::Join,
            Self::Publish(_) => Hook::Publish,
            Self::Command(_) => Hook::Command,
        }
    }
}

/// The body of `open`. The user is the one whom the config has found already.
pub(crate) fn open(
    id: PublicId,
    upgrade: &Upgrade,
    token: Option<&str>,
    user: Option<&str>,
    claims: Option<&serde_json::Map<String, serde_json::Value>>,
) -> Vec<u8> {
    let (head, route) = (upgrade.head(), upgrade.route());
    let parameters = upgrade.parameters.iter();
    encode(&OpenAsk {
        hook: Hook::Open,
        id,
        route: route.path(),
        dialect: route.dialect().name(),
        request: RequestAsk {
            method: head.method(),
            path: head.path(),
            query: head.query(),
            headers: headers(&upgrade.head.headers),
            parameters: parameters.map(|(name, text)| (&**name, &**text)).collect(),
        },
        token,
        user,
        claims,
        channel: upgrade.channel(),
    })
}

/// The body of `authenticate`.
pub(crate) fn authenticate(id: PublicId, route: &RouteHandle, token: &str) -> Vec<u8> {
    encode(&AuthenticateAsk {
        hook: Hook::Authenticate,
        id,
        route: route.path(),
        dialect: route.dialect().name(),
        token,
    })
}

/// The body of `message`.
pub(crate) fn message(id: PublicId, cx: &Context) -> Vec<u8> {
    let habits = cx.route().dialect().spec();
    let data = match cx.data() {
        None => Data::None,
        Some(json) if habits.json_data => Data::Json(json),
        Some(bytes) => Data::Bytes(bytes),
    };
    let spelled = Spelled::of(data, habits.binary_data);
    encode(&MessageAsk {
        hook: Hook::Message,
        id,
        route: cx.route().path(),
        dialect: cx.route().dialect().name(),
        session: SessionAsk::of(cx.session()),
        command: cx.command(),
        request_id: cx.request_id(),
        channel: cx.channel(),
        data: spelled.data(),
        bytes: spelled.bytes(),
    })
}

/// The body of `join`, `publish` and `command`.
pub(crate) fn question(
    id: PublicId,
    route: &RouteHandle,
    asker: Asker<'_>,
    question: Question<'_>,
) -> Vec<u8> {
    let (session, user, token) = match asker {
        Asker::Session(session) => (
            Some(SessionAsk::of(session)),
            session.user(),
            session.token(),
        ),
        Asker::Connecting { user, token } => (None, user, token),
    };
    let (channel, command) = match question {
        Question::Join(channel) | Question::Publish(channel) => (Some(channel), None),
        Question::Command(command) => (None, Some(command)),
    };
    encode(&QuestionAsk {
        hook: question.hook(),
        id,
        route: route.path(),
        dialect: route.dialect().name(),
        session,
        user,
        token,
        channel,
        command,
    })
}

/// The body of `close`.
pub(crate) fn close(id: PublicId, session: &Session) -> Vec<u8> {
    encode(&CloseAsk {
        hook: Hook::Close,
        id,
        route: session.route().path(),
        dialect: session.route().dialect().name(),
        session: SessionAsk::of(session),
    })
}

#[derive(Serialize)]
struct OpenAsk<'a> {
    hook: Hook,
    #[serde(serialize_with = "as_text")]
    id: PublicId,
    route: &'a str,
    dialect: &'a str,
    request: RequestAsk<'a>,
    token: Option<&'a str>,
    user: Option<&'a str>,
    claims: Option<&'a serde_json::Map<String, serde_json::Value>>,
    channel: Option<&'a str>,
}

#[derive(Serialize)]
struct RequestAsk<'a> {
    method: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    headers: BTreeMap<&'a str, Vec<Cow<'a, str>>>,
    parameters: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct AuthenticateAsk<'a> {
    hook: Hook,
    #[serde(serialize_with = "as_text")]
    id: PublicId,
    route: &'a str,
    dialect: &'a str,
    token: &'a str,
}

#[derive(Serialize)]
struct MessageAsk<'a> {
    hook: Hook,
    #[serde(serialize_with = "as_text")]
    id: PublicId,
    route: &'a str,
    dialect: &'a str,
    session: SessionAsk<'a>,
    command: &'a str,
    request_id: &'a str,
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<&'a str>,
}

#[derive(Serialize)]
struct QuestionAsk<'a> {
    hook: Hook,
    #[serde(serialize_with = "as_text")]
    id: PublicId,
    route: &'a str,
    dialect: &'a str,
    session: Option<SessionAsk<'a>>,
    user: Option<&'a str>,
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
}

#[derive(Serialize)]
struct CloseAsk<'a> {
    hook: Hook,
    #[serde(serialize_with = "as_text")]
    id: PublicId,
    route: &'a str,
    dialect: &'a str,
    session: SessionAsk<'a>,
}

/// A session, as a backend is told of it.
#[derive(Serialize)]
struct SessionAsk<'a> {
    #[serde(serialize_with = "as_text")]
    id: PublicId,
    number: u64,
    user: Option<&'a str>,
    name: &'a str,
    fields: &'a BTreeMap<String, String>,
    values: HookValues,
}

impl<'a> SessionAsk<'a> {
    fn of(session: &'a Session) -> Self {
        let profile = session.profile();
        Self {
            id: session.id(),
            number: session.number(),
            user: session.user(),
            name: &profile.name,
            fields: &profile.fields,
            values: session.values().get().unwrap_or_default(),
        }
    }
}

impl Serialize for Hook {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

fn as_text<S: Serializer>(id: &PublicId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn encode(ask: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(ask).expect("its keys are strings, and nothing in it fails")
}

/// The headers of a request that mean something to who is not its next hop, by their names in lower
/// case. Those that a client names in `Connection` stay: it is not to hide what a proxy has added.
fn headers(headers: &HeaderMap) -> BTreeMap<&str, Vec<Cow<'_, str>>> {
    let mut texts: BTreeMap<&str, Vec<Cow<'_, str>>> = BTreeMap::new();
    for (name, value) in headers {
        if !HOP_BY_HOP.contains(&name.as_str()) {
            let text = String::from_utf8_lossy(value.as_bytes());
            texts.entry(name.as_str()).or_default().push(text);
        }
    }
    texts
}

/// What RFC 9110 7.6.1 keeps from going further, and what only the handshake is about.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "sec-websocket-key",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
