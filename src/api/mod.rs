//! The server API: what a backend in any language asks of the gateway, in JSON over HTTP.
//!
//! ```text
//!   request --> mod.rs: which endpoint, whose key --> calls.rs: read and checked whole
//!                  |                                     |
//!                  |  idempotency.rs: seen before?       v  the library's handles
//!                  v                                   answer
//!              lists.rs (pages)   openapi.json (what all of it looks like)   health.rs
//! ```
//!
//! Everything is done by the public functions of [`crate::handler`]. A request whose body is wrong
//! anywhere changes nothing.

mod calls;
mod error;
pub(crate) mod health;
mod idempotency;
mod lists;

use crate::config::{Api as Settings, Config, Secret};
use crate::handler::{Handle, RouteHandle};
use crate::hooks::Backends;
use crate::ws::handshake;
use bytes::Bytes;
use error::ApiError;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN};
use idempotency::{Seen, Store};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What all shards of a gateway know of the server API.
pub(crate) struct Api {
    settings: Settings,
    /// Whether calls are served; the health is told in any case.
    is_served: bool,
    /// By namespace: the paths of its routes, which the config has in this order.
    paths: BTreeMap<u16, Vec<String>>,
    /// Channels that are there before anybody is on them, by their namespaces.
    in_advance: Vec<(u16, String)>,
    name_bytes_max: usize,
    started_unix_ms: u64,
    store: Store,
    backends: Arc<Backends>,
}

/// What is answered: a status and a JSON document, or none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ApiAnswer {
    pub(crate) status: u16,
    pub(crate) json: Bytes,
    /// It was given before, to the same request.
    pub(crate) is_replayed: bool,
    /// What the path allows, where the method is wrong.
    pub(crate) allow: Option<&'static str>,
}

/// What is behind a path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Endpoint {
    /// Something that is done: a `POST`.
    Act(Act),
    /// Something that is looked at: a `GET`.
    Look(Look),
}

/// What can be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Act {
    /// One call.
    Call(calls::Kind),
    /// Several calls.
    Batch,
}

/// What can be looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Look {
    /// A page of sessions.
    Sessions,
    /// One session.
    Session(String),
    /// A page of channels.
    Channels,
    /// A page of the sessions on a channel.
    Members(String),
    /// A page of users.
    Users,
    /// The description of all of it.
    OpenApi,
}

/// The path that everything is under.
pub(crate) const ROOT: &str = "/api/v1/";

impl Api {
    /// The server API of a config, whose routes belong to these namespaces.
    pub(crate) fn new(
        config: &Config,
        namespaces: &[u16],
        started_unix_ms: u64,
        backends: Arc<Backends>,
    ) -> Self {
        let mut paths: BTreeMap<u16, Vec<String>> = BTreeMap::new();
        for (route, namespace) in config.routes.iter().zip(namespaces) {
            paths
                .entry(*namespace)
                .or_default()
                .push(route.path.clone());
        }
        let in_advance = crate::builtin::channels_in_advance(config);
        Self {
            settings: config.api.clone(),
            is_served: config.serves_api(),
            paths,
            in_advance: in_advance
                .map(|(route, name)| (namespaces[route], name.to_owned()))
                .collect(),
            name_bytes_max: config.limits.name_bytes_max as usize,
            started_unix_ms,
            store: Store::new(&config.api.limits),
            backends,
        }
    }

    /// Whether a path is one of the API's.
    pub(crate) fn is_at(&self, path: &str) -> bool {
        self.is_served && path.starts_with(ROOT)
    }

    /// Whether whoever sends these headers may use the API. Every key is looked at, so that the
    /// time says nothing about which was close. Without keys, whoever reaches it may, but no page
    /// of another host in a browser that does: browsers let pages post anywhere.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        if !self.settings.keys.is_empty() {
            return self.key_of(headers).is_some();
        }
        let origin = headers.get(ORIGIN).map(HeaderValue::as_bytes);
        let host = headers.get(HOST).map(HeaderValue::as_bytes);
        handshake::same_origin(origin, host.unwrap_or_default())
    }

    /// Which of the keys is shown.
    fn key_of(&self, headers: &HeaderMap) -> Option<usize> {
        let bearer = headers.get(AUTHORIZATION).and_then(|given| {
            let (scheme, key) = given.as_bytes().split_at_checked("Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then_some(key)
        });
        let given = bearer.or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes))?;
        let matching = |secret: &Secret| secret.matches(given);
        let found: Vec<bool> = self.settings.keys.iter().map(matching).collect();
        found.iter().position(|matches| *matches)
    }

    /// What a method and a path ask for, before a key or a body is looked at.
    ///
    /// # Errors
    ///
    /// The answer to a path that is none, or has no such method.
    pub(crate) fn endpoint(&self, method: &str, path: &str) -> Result<Endpoint, ApiAnswer> {
        let rest = path.strip_prefix(ROOT).unwrap_or_default();
        let parts: Vec<&str> = rest.split('/').collect();
        let endpoint = match parts[..] {
            ["batch"] => Endpoint::Act(Act::Batch),
            ["sessions"] => Endpoint::Look(Look::Sessions),
            ["channels"] => Endpoint::Look(Look::Channels),
            ["users"] => Endpoint::Look(Look::Users),
            ["openapi.json"] => Endpoint::Look(Look::OpenApi),
            ["sessions", id] if !id.is_empty() => Endpoint::Look(Look::Session(id.to_owned())),
            ["channels", name, "members"] => {
                let decoded = percent_encoding::percent_decode_str(name).decode_utf8();
                match decoded {
                    Ok(name) if self.is_name(&name) => {
                        Endpoint::Look(Look::Members(name.into_owned()))
                    }
                    _ => return Err(ApiError::bad("channel", "is not a channel's name").answer()),
                }
            }
            [call] => match calls::Kind::of(call) {
                Some(kind) => Endpoint::Act(Act::Call(kind)),
                None => return Err(ApiError::not_found().answer()),
            },
            _ => return Err(ApiError::not_found().answer()),
        };
        let allow = match endpoint {
            Endpoint::Act(_) => "POST",
            Endpoint::Look(_) => "GET",
        };
        if method == allow {
            return Ok(endpoint);
        }
        let mut answer = ApiError::method(allow).answer();
        answer.allow = Some(allow);
        Err(answer)
    }

    /// Reads what a `GET` asks for, and answers it.
    pub(crate) async fn look(
        &self,
        handle: &Handle,
        what: &Look,
        query: Option<&str>,
    ) -> ApiAnswer {
        let looked = match what {
            Look::OpenApi => return ApiAnswer::new(200, Bytes::from_static(OPENAPI)),
            Look::Sessions => self.list_sessions(handle, query).await,
            Look::Session(id) => self.show_session(handle, id, query).await,
            Look::Members(channel) => self.list_members(handle, channel, query).await,
            Look::Channels => self.list_channels(handle, query).await,
            Look::Users => self.list_users(handle, query).await,
        };
        looked.unwrap_or_else(ApiError::answer)
    }

    /// Does what a `POST` asks for, unless it has been done before under the same idempotency key.
    pub(crate) async fn act(
        &self,
        handle: &Handle,
        what: Act,
        headers: &HeaderMap,
        path: &str,
        body: &[u8],
    ) -> ApiAnswer {
        let read = match what {
            Act::Call(kind) => self.read_call(handle, kind, body),
            Act::Batch => self.read_batch(handle, body),
        };
        let work = match read {
            Ok(work) => work,
            Err(error) => return error.answer(),
        };
        let seen = match headers.get("idempotency-key") {
            None => return work.run().await,
            Some(key) => self
                .store
                .look(self.key_of(headers), key.as_bytes(), path, body),
        };
        match seen {
            Err(error) => error.answer(),
            Ok(Seen::Before(answer)) => answer,
            Ok(Seen::First(running)) => {
                let answer = work.run().await;
                running.finish(&answer);
                answer
            }
        }
    }

    /// The routes that a call is meant for: one of each namespace, or of one route's.
    fn targets(&self, handle: &Handle, route: Option<&str>) -> Result<Vec<RouteHandle>, ApiError> {
        if let Some(path) = route {
            let target = handle.route(path);
            let target =
                target.ok_or_else(|| ApiError::bad("route", "is no route of the config"))?;
            return Ok(vec![target]);
        }
        let firsts = self.paths.values().filter_map(|paths| paths.first());
        Ok(firsts.filter_map(|path| handle.route(path)).collect())
    }

    fn is_name(&self, name: &str) -> bool {
        (1..=self.name_bytes_max).contains(&name.len())
    }

    /// Says that a name is none, and where.
    fn check_name(&self, field: &str, name: &str) -> Result<(), ApiError> {
        if self.is_name(name) {
            return Ok(());
        }
        let max = self.name_bytes_max;
        Err(ApiError::bad(field, format!("has 1 to {max} bytes")))
    }
}

impl ApiAnswer {
    fn new(status: u16, json: impl Into<Bytes>) -> Self {
        Self {
            status,
            json: json.into(),
            is_replayed: false,
            allow: None,
        }
    }

    /// No key is shown, or none that is known.
    pub(crate) fn unauthorized() -> Self {
        ApiError::unauthorized().answer()
    }

    /// The body could not be read: 413, 503, or it did not come.
    pub(crate) fn of_refused_body(status: u16) -> Self {
        match status {
            413 => ApiError::too_large().answer(),
            503 => ApiError::busy().answer(),
            _ => ApiError::malformed("the body did not come").answer(),
        }
    }

    fn of(status: u16, value: &impl serde::Serialize) -> Self {
        let json = serde_json::to_vec(value);
        Self::new(status, json.expect("it has no keys but strings"))
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// What all of it looks like, in the words of `OpenAPI`.
const OPENAPI: &[u8] = include_bytes!("openapi.json");
