//! The upgrade request as an embedder sees it, and what it may answer.

use super::chain::{HandlerFn, erase_handler};
use super::context::Context;
use super::handle::RouteHandle;
use super::program::SessionHandler;
use super::session::Session;
use super::values::Values;
use super::words::IntoResponse;
use hyper::HeaderMap;
use hyper::http::request::Parts;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;

/// The head of a request, before anything was done about it.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'r> {
    head: &'r Parts,
}

impl<'r> RequestHead<'r> {
    pub(crate) fn new(head: &'r Parts) -> Self {
        Self { head }
    }

    /// The request's method, such as `GET`.
    #[must_use]
    pub fn method(&self) -> &'r str {
        self.head.method.as_str()
    }

    /// The request's path, without query.
    #[must_use]
    pub fn path(&self) -> &'r str {
        self.head.uri.path()
    }

    /// The request's query, if it has one.
    #[must_use]
    pub fn query(&self) -> Option<&'r str> {
        self.head.uri.query()
    }

    /// The value of a header, by its name in any case; the first of several.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'r [u8]> {
        let headers: &'r HeaderMap = &self.head.headers;
        headers.get(name).map(hyper::header::HeaderValue::as_bytes)
    }

    /// The values of all headers of this name.
    pub(crate) fn header_values(&self, name: &str) -> impl Iterator<Item = &'r [u8]> {
        let values = self.head.headers.get_all(name).into_iter();
        values.map(hyper::header::HeaderValue::as_bytes)
    }
}

/// An upgrade request that waits to be admitted.
#[derive(Clone, Debug)]
pub struct Upgrade {
    pub(crate) head: Rc<Parts>,
    pub(crate) token: Option<Box<str>>,
    pub(crate) claimed_user: Option<Box<str>>,
    /// Whether the config believes it.
    pub(crate) trusts_claimed_user: bool,
    pub(crate) channel: Option<Box<str>>,
    pub(crate) parameters: Vec<(Box<str>, Box<str>)>,
    pub(crate) route: RouteHandle,
    /// Its peer's address, where failures are logged one by one.
    pub(crate) address: Option<SocketAddr>,
}

impl Upgrade {
    /// Its head: method, path, query and headers.
    #[must_use]
    pub fn head(&self) -> RequestHead<'_> {
        RequestHead::new(&self.head)
    }

    /// A value in its query, percent-decoded; the first of several.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<String> {
        let query = self.head.uri.query()?;
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// What stands in its path for a parameter of the route's pattern.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut all = self.parameters.iter();
        all.find(|(key, _)| &**key == name)
            .map(|(_, value)| &**value)
    }

    /// The token that it shows, where its language has a place for one: the cookie `auth`
    /// (`easyws`), the subprotocol (`edk`).
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Who it, or whoever forwards it, says it is (`edk`). Not to be believed unless only a gateway
    /// that sets the header can connect.
    #[must_use]
    pub fn claimed_user(&self) -> Option<&str> {
        self.claimed_user.as_deref()
    }

    /// The channel that it asks for (`projectforge`).
    #[must_use]
    pub fn channel(&self) -> Option<&str> {
        self.channel.as_deref()
    }

    /// The route that it is for.
    #[must_use]
    pub fn route(&self) -> &RouteHandle {
        &self.route
    }
}

/// As whom, and with what, a client is admitted.
#[derive(Debug, Default)]
pub struct Admission {
    pub(crate) user: Option<Box<str>>,
    pub(crate) token: Option<Box<str>>,
    pub(crate) profile: Profile,
    pub(crate) channels: Vec<Box<str>>,
    pub(crate) values: Rc<Values>,
    /// What the gateway itself has put into the values for the client, in bytes.
    pub(crate) kept_bytes: usize,
    pub(crate) handler: Option<SessionHandler>,
}

/// Who somebody is, for others to see.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Profile {
    /// What to call them.
    pub name: String,
    /// Whatever else is known.
    pub fields: BTreeMap<String, String>,
}

impl Admission {
    /// As nobody in particular.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As this user: what is pushed to the user reaches the session.
    #[must_use]
    pub fn user(mut self, user: impl Into<Box<str>>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// With the token that it showed, where its language has no place for one.
    #[must_use]
    pub fn token(mut self, token: impl Into<Box<str>>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// With this profile.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// On this channel from the start; may be called several times.
    #[must_use]
    pub fn join(mut self, channel: impl Into<Box<str>>) -> Self {
        self.channels.push(channel.into());
        self
    }

    /// With this value of its type, see [`Values::insert`].
    #[must_use]
    pub fn value<T: 'static>(self, value: T) -> Self {
        drop(self.values.insert(value));
        self
    }

    /// With this value of its type, which every shard sees, see [`Values::share`].
    #[must_use]
    pub fn share<T: Send + Sync + 'static>(self, value: T) -> Self {
        self.values.share(value);
        self
    }

    /// With a handler of its own, which handles every command in place of the route's. Middleware
    /// wraps it all the same.
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
    /// Somebody of this name, of whom nothing else is known.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            fields: BTreeMap::new(),
        }
    }

    /// Adds something that is known.
    #[must_use]
    pub fn with(mut self, field: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.insert(field.into(), value.into());
        self
    }
}

/// A client that wants to be on a channel, or to publish to it, for a validator to judge.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Joining {
    /// The channel.
    pub channel: Box<str>,
    /// The session; `None` while its upgrade is being judged.
    pub session: Option<Session>,
    /// The user it was admitted as.
    pub user: Option<Box<str>>,
    /// The token that it connected with.
    pub token: Option<Box<str>>,
    /// What it was admitted with.
    pub profile: Profile,
    /// What is kept with it.
    pub values: Rc<Values>,
}

/// What has come of an upgrade request, on its way to the session.
#[derive(derive_more::Debug)]
#[debug("Admitted {{ .. }}")]
pub(crate) struct Admitted {
    pub(crate) admission: Admission,
    pub(crate) token: Option<Box<str>>,
    /// It is on a channel of its own from the start.
    pub(crate) wants_fresh_channel: bool,
}

impl Admitted {
    /// What is kept with the session that a client could choose, or whoever admits it chose for
    /// it, in bytes: token, user, profile and claims.
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

/// What a field of a profile takes besides its texts: maps may be half empty.
const FIELD_BYTES: usize = 4 * size_of::<String>();
