//! Admission of an upgrade request: the request, an embedder's decision, and channel validation.

use super::chain::{HandlerFn, erase_handler};
use super::context::Context;
use super::registry::SessionHandler;
use super::response::IntoResponse;
use super::route_handle::RouteHandle;
use super::session::Session;
use super::values::Values;
use crate::vocabulary::content::Reply;
use hyper::HeaderMap;
use hyper::http::request::Parts;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;

/// The head of an HTTP request, before the gateway has processed it.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'r> {
    head: &'r Parts,
}

impl<'r> RequestHead<'r> {
    pub(crate) fn new(head: &'r Parts) -> Self {
        Self { head }
    }

    /// Returns the method, such as `GET`.
    #[must_use]
    pub fn method(&self) -> &'r str {
        self.head.method.as_str()
    }

    /// Returns the path, without the query.
    #[must_use]
    pub fn path(&self) -> &'r str {
        self.head.uri.path()
    }

    /// Returns the query without `?`; `None` if there is none.
    #[must_use]
    pub fn query(&self) -> Option<&'r str> {
        self.head.uri.query()
    }

    /// Returns the value of the first header with this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'r [u8]> {
        let headers: &'r HeaderMap = &self.head.headers;
        headers.get(name).map(hyper::header::HeaderValue::as_bytes)
    }

    /// Returns the values of all headers with this name, in any case.
    pub(crate) fn header_values(&self, name: &str) -> impl Iterator<Item = &'r [u8]> {
        let values = self.head.headers.get_all(name).into_iter();
        values.map(hyper::header::HeaderValue::as_bytes)
    }
}

/// An upgrade request that waits for its admission.
#[derive(Clone, Debug)]
pub struct Upgrade {
    pub(crate) head: Rc<Parts>,
    pub(crate) token: Option<Box<str>>,
    pub(crate) claimed_user: Option<Box<str>>,
    /// Whether the config trusts `claimed_user`.
    pub(crate) trusts_claimed_user: bool,
    pub(crate) channel: Option<Box<str>>,
    pub(crate) parameters: Vec<(Box<str>, Box<str>)>,
    pub(crate) route: RouteHandle,
    /// The peer's address; `None` unless each close and rejection is logged (`log = "debug"`).
    pub(crate) address: Option<SocketAddr>,
}

impl Upgrade {
    /// Returns the request's head: method, path, query and headers.
    #[must_use]
    pub fn head(&self) -> RequestHead<'_> {
        RequestHead::new(&self.head)
    }

    /// Returns the first value of this name in the query, percent-decoded; `None` if there is none.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<String> {
        let query = self.head.uri.query()?;
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// Returns the path segment that matched a parameter of the route's path pattern; `None` if the
    /// pattern has no such parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut all = self.parameters.iter();
        all.find(|(key, _)| &**key == name)
            .map(|(_, value)| &**value)
    }

    /// Returns the request's token. `None` if it has none or the dialect has no place for one: the
    /// cookie `auth` (`easyws`) or the subprotocol (`edk`).
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Returns the user that the client or a proxy names (`edk`); `None` if neither does.
    ///
    /// The name is unverified. Trust it only if all connections come through a proxy that sets the
    /// header.
    #[must_use]
    pub fn claimed_user(&self) -> Option<&str> {
        self.claimed_user.as_deref()
    }

    /// Returns the channel that the request names (`projectforge`); `None` if it names none.
    #[must_use]
    pub fn channel(&self) -> Option<&str> {
        self.channel.as_deref()
    }

    /// Returns the route of the request.
    #[must_use]
    pub fn route(&self) -> &RouteHandle {
        &self.route
    }
}

/// An admission: the user, token, profile, channels and values of the new session.
#[derive(Debug, Default)]
pub struct Admission {
    pub(crate) user: Option<Box<str>>,
    pub(crate) token: Option<Box<str>>,
    pub(crate) profile: Profile,
    pub(crate) channels: Vec<Box<str>>,
    pub(crate) values: Rc<Values>,
    /// Bytes of client data that the gateway itself has put into `values`.
    pub(crate) kept_bytes: usize,
    pub(crate) handler: Option<SessionHandler>,
}

/// A client's profile, which other clients may see.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Profile {
    /// The display name.
    pub name: String,
    /// More fields, by name.
    pub fields: BTreeMap<String, String>,
}

impl Admission {
    /// Creates an admission without user, token or channels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds the session to a user: pushes to the user reach it.
    #[must_use]
    pub fn user(mut self, user: impl Into<Box<str>>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the token, for dialects whose upgrade requests have no place for one.
    #[must_use]
    pub fn token(mut self, token: impl Into<Box<str>>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets the profile.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Adds a channel that the session joins when it opens. Each call adds one.
    #[must_use]
    pub fn join(mut self, channel: impl Into<Box<str>>) -> Self {
        self.channels.push(channel.into());
        self
    }

    /// Adds a value to the session's values, see [`Values::insert`].
    #[must_use]
    pub fn value<T: 'static>(self, value: T) -> Self {
        drop(self.values.insert(value));
        self
    }

    /// Adds a value that all shards can read, see [`Values::share`].
    #[must_use]
    pub fn share<T: Send + Sync + 'static>(self, value: T) -> Self {
        self.values.share(value);
        self
    }

    /// Sets a handler for every command of this session, in place of the route's handlers. The
    /// route's middleware still wraps it.
    #[must_use]
    pub fn handler<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(Context) -> Fut + 'static,
        Fut: Future<Output: IntoResponse> + 'static,
    {
        let handler: Rc<HandlerFn> = erase_handler(handler);
        self.handler = Some(SessionHandler::new(handler));
        self
    }
}

impl Profile {
    /// Creates a profile with this display name and no other fields.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            fields: BTreeMap::new(),
        }
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, field: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.insert(field.into(), value.into());
        self
    }
}

/// A client's request to join a channel or to publish to it, as a validator sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Joining {
    /// The channel.
    pub channel: Box<str>,
    /// The session; `None` if the upgrade request names the channel, before the session exists.
    pub session: Option<Session>,
    /// The user that the client was admitted as.
    pub user: Option<Box<str>>,
    /// The token that the client connected with.
    pub token: Option<Box<str>>,
    /// The profile that the client was admitted with.
    pub profile: Profile,
    /// The session's values.
    pub values: Rc<Values>,
    pub(crate) reply: Rc<RefCell<Reply>>,
}

impl Joining {
    /// Sets the reply to the client's join, which it gets if it joins. Without one, the reply has
    /// no data.
    ///
    /// A dialect sends it as the response to a message that joins without a handler, such as
    /// `listen` (`easyws`). A handler gets it from
    /// [`Context::join_as_client`], and the config's `join` commands send it. It has no effect on
    /// publications and on the channel that an upgrade request names.
    pub fn set_reply(&self, reply: Reply) {
        self.reply.replace(reply);
    }
}

/// The result of an admission, on its way to the new session.
#[derive(derive_more::Debug)]
#[debug("Admitted {{ .. }}")]
pub(crate) struct Admitted {
    pub(crate) admission: Admission,
    pub(crate) token: Option<Box<str>>,
    /// Whether the session starts on a generated channel of its own.
    pub(crate) wants_fresh_channel: bool,
}

impl Admitted {
    /// Returns the bytes that the session keeps of texts from outside: token, user, profile and
    /// claims. A client or the admitting code determines their length.
    pub(crate) fn kept_bytes(&self) -> usize {
        let Admission {
            user,
            profile,
            kept_bytes,
            ..
        } = &self.admission;
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let fields = profile.fields.iter();
        let fields = fields.map(|(name, value)| FIELD_BYTES + name.len() + value.len());
        kept_bytes + text(&self.token) + text(user) + profile.name.len() + fields.sum::<usize>()
    }
}

/// Memory of one profile field besides its texts, in bytes. Map nodes may be half empty.
const FIELD_BYTES: usize = 4 * size_of::<String>();
