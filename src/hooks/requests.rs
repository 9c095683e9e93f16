//! Hook requests: the JSON object that is posted to a backend for each hook.
//!
//! ```text
//!   {"hook": "message", "id": "6e4c...", "route": "/wsrv", "dialect": "wsrv",
//!    "session": {"id": "0b5f...", "number": 7, "user": "ada", "name": "Ada", "fields": {},
//!                "values": {"room": 3}},
//!    "command": "chat", "request_id": "a1", "channel": "", "data": {"text": "hi"}}
//! ```
//!
//! `user` and `token` are null if there is none. At most one of `data` and `bytes` is present. This
//! module neither sends requests nor reads responses.

use super::values::HookValues;
use crate::codec::message_json::DataJson;
use crate::config::HOOK_KINDS;
use crate::handler::{Context, RouteHandle, Session, Upgrade};
use crate::vocabulary::content::Data;
use crate::vocabulary::public_id::PublicId;
use hyper::HeaderMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A kind of hook.
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
    /// All kinds, each at the index that is its discriminant.
    pub(crate) const ALL: [Self; HOOK_KINDS] = [
        Self::Open,
        Self::Authenticate,
        Self::Message,
        Self::Join,
        Self::Publish,
        Self::Command,
        Self::Close,
    ];

    /// Returns the kind's name, which is also the value of the header `Campanile-Hook`.
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

    /// Returns whether the hook may be sent again although the backend may have received it: such a
    /// hook requests a decision or reports an event, and has no side effects at the backend.
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

/// The client whose action a backend has to allow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Requester<'a> {
    /// A session.
    Session(&'a Session),
    /// A client whose upgrade request is not admitted yet.
    Connecting {
        user: Option<&'a str>,
        token: Option<&'a str>,
    },
}

/// An action that a backend has to allow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AccessRequest<'a> {
    /// Joining this channel.
    Join(&'a str),
    /// Publishing to this channel.
    Publish(&'a str),
    /// Sending this command.
    Command(&'a str),
}

impl AccessRequest<'_> {
    pub(crate) fn hook(self) -> Hook {
        match self {
            Self::Join(_) => Hook::Join,
            Self::Publish(_) => Hook::Publish,
            Self::Command(_) => Hook::Command,
        }
    }
}

/// Returns the body of an `open` request. `user` is the user that the config's rules have found.
pub(crate) fn open(
    id: PublicId,
    upgrade: &Upgrade,
    token: Option<&str>,
    user: Option<&str>,
    claims: Option<&serde_json::Map<String, serde_json::Value>>,
) -> Vec<u8> {
    let (head, route) = (upgrade.head(), upgrade.route());
    let parameters = upgrade.parameters.iter();
    encode(&OpenRequestJson {
        hook: Hook::Open,
        id,
        route: route.path(),
        dialect: route.dialect().name(),
        request: UpgradeRequestJson {
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

/// Returns the body of an `authenticate` request.
pub(crate) fn authenticate(id: PublicId, route: &RouteHandle, token: &str) -> Vec<u8> {
    encode(&AuthenticateRequestJson {
        hook: Hook::Authenticate,
        id,
        route: route.path(),
        dialect: route.dialect().name(),
        token,
    })
}

/// Returns the body of a `message` request.
pub(crate) fn message(id: PublicId, cx: &Context) -> Vec<u8> {
    let spec = cx.route().dialect().spec();
    let data = match cx.data() {
        None => Data::None,
        Some(json) if spec.json_data => Data::Json(json),
        Some(bytes) => Data::Bytes(bytes),
    };
    let json = DataJson::of(data, spec.binary_data);
    encode(&MessageRequestJson {
        hook: Hook::Message,
        id,
        route: cx.route().path(),
        dialect: cx.route().dialect().name(),
        session: HookSessionJson::of(cx.session()),
        command: cx.command(),
        request_id: cx.request_id(),
        channel: cx.channel(),
        data: json.data(),
        bytes: json.bytes(),
    })
}

/// Returns the body of a `join`, `publish` or `command` request.
pub(crate) fn access(
    id: PublicId,
    route: &RouteHandle,
    requester: Requester<'_>,
    access: AccessRequest<'_>,
) -> Vec<u8> {
    let (session, user, token) = match requester {
        Requester::Session(session) => (
            Some(HookSessionJson::of(session)),
            session.user(),
            session.token(),
        ),
        Requester::Connecting { user, token } => (None, user, token),
    };
    let (channel, command) = match access {
        AccessRequest::Join(channel) | AccessRequest::Publish(channel) => (Some(channel), None),
        AccessRequest::Command(command) => (None, Some(command)),
    };
    encode(&AccessRequestJson {
        hook: access.hook(),
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

/// Returns the body of a `close` request.
pub(crate) fn close(id: PublicId, session: &Session) -> Vec<u8> {
    encode(&CloseRequestJson {
        hook: Hook::Close,
        id,
        route: session.route().path(),
        dialect: session.route().dialect().name(),
        session: HookSessionJson::of(session),
    })
}

#[derive(Serialize)]
struct OpenRequestJson<'a> {
    hook: Hook,
    #[serde(serialize_with = "as_text")]
    id: PublicId,
    route: &'a str,
    dialect: &'a str,
    request: UpgradeRequestJson<'a>,
    token: Option<&'a str>,
    user: Option<&'a str>,
    claims: Option<&'a serde_json::Map<String, serde_json::Value>>,
    channel: Option<&'a str>,
}

#[derive(Serialize)]
struct UpgradeRequestJson<'a> {
    method: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    headers: BTreeMap<&'a str, Vec<Cow<'a, str>>>,
    parameters: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct AuthenticateRequestJson<'a> {
    hook: Hook,
    #[serde(serialize_with = "as_text")]
    id: PublicId,
    route: &'a str,
    dialect: &'a str,
    token: &'a str,
}

#[derive(Serialize)]
struct MessageRequestJson<'a> {
    hook: Hook,
    #[serde(serialize_with = "as_text")]
    id: PublicId,
    route: &'a str,
    dialect: &'a str,
    session: HookSessionJson<'a>,
    command: &'a str,
    request_id: &'a str,
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<&'a str>,
}

#[derive(Serialize)]
struct AccessRequestJson<'a> {
    hook: Hook,
    #[serde(serialize_with = "as_text")]
    id: PublicId,
    route: &'a str,
    dialect: &'a str,
    session: Option<HookSessionJson<'a>>,
    user: Option<&'a str>,
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
}

#[derive(Serialize)]
struct CloseRequestJson<'a> {
    hook: Hook,
    #[serde(serialize_with = "as_text")]
    id: PublicId,
    route: &'a str,
    dialect: &'a str,
    session: HookSessionJson<'a>,
}

/// The JSON form of a session.
#[derive(Serialize)]
struct HookSessionJson<'a> {
    #[serde(serialize_with = "as_text")]
    id: PublicId,
    number: u64,
    user: Option<&'a str>,
    name: &'a str,
    fields: &'a BTreeMap<String, String>,
    values: HookValues,
}

impl<'a> HookSessionJson<'a> {
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

fn encode(request: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(request).expect("all keys are strings, and no value fails to serialize")
}

/// Returns the end-to-end headers of a request, by name in lower case. Headers that the client
/// names in `Connection` are kept: otherwise a client could hide a header that a proxy has added.
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

/// The hop-by-hop headers of RFC 9110 7.6.1, and the headers of the WebSocket handshake.
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
