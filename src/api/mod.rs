//! The server API: push, join, disconnect and list over HTTP, for backends in any language.
//!
//! ```text
//!   head --> known caller? --> known path, method? --> query, run at once
//!                                                 \--> call, its body read and checked completely
//!                                                        |  with an idempotency key: claimed
//!                                                        v
//!                                                      run through the embedder's `Handle`
//! ```
//!
//! Invalid input changes nothing, and its response names the problem. This module reads no sockets:
//! `http` passes heads and bodies in and sends the responses. `openapi.json` describes the API.

mod calls;
mod cors;
mod expiry;
mod health;
mod idempotency;
mod json_object;
mod lists;
mod openapi;
mod problem;
mod response;
mod run;

use self::calls::{CallKind, CallRequest};
use self::cors::Cors;
pub(crate) use self::health::BackendReport;
pub(crate) use self::idempotency::ClaimedKey;
use self::idempotency::{Fingerprint, RequestKey, ResponseCache};
use self::lists::Lookup;
use self::problem::Code;
pub(crate) use self::problem::Problem;
pub(crate) use self::response::ApiResponse;
use crate::auth::{Keyless, NotLocalError, bearer};
use crate::config::{Config, Secret};
use crate::handler::{Handle, HandleError};
use crate::vocabulary::limits::{ApiLimits, ProcessLimits};
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// The path prefix of the API.
pub(crate) const ROOT: &str = "/api/v1/";

/// The API of a process, shared by all its shards.
#[derive(Clone, derive_more::Debug)]
#[debug("Api {{ is_served: {is_served:?}, answers: {responses:?}, .. }}")]
pub(crate) struct Api {
    is_served: bool,
    keys: Arc<[Secret]>,
    keyless: Keyless,
    cors: Cors,
    limits: RequestLimits,
    responses: ResponseCache,
    /// The hash key of request fingerprints.
    hash_key: [u64; 2],
    document: Bytes,
    backends: BackendReport,
    process_limits: ProcessLimits,
}

/// The limits of requests.
#[derive(Clone, Debug)]
struct RequestLimits {
    api: ApiLimits,
    name_bytes_max: usize,
    user_bytes_max: usize,
    /// The time within which shards must respond.
    result_timeout: Duration,
    /// Maximum count requests and commands of one batch in flight at once.
    calls_at_once: usize,
    /// Maximum commands of one batch in flight at once.
    commands_at_once: usize,
}

/// The caller of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Caller {
    /// The owner of the API key with this index.
    Key(usize),
    /// A caller that is trusted without a key.
    Anyone,
    /// A caller without a valid key. It is rejected.
    Unknown,
    /// A caller that is not trusted, and the config has no keys. It is rejected.
    NotLocalError(NotLocalError),
}

/// The next step for a request with a valid head.
#[derive(Debug)]
pub(crate) enum Started {
    /// The response, without any work.
    Response(ApiResponse),
    /// A query to run.
    Lookup(Lookup),
    /// A call or batch, whose body is still to be read.
    Post(Post),
}

/// A call or batch whose body is still to be read.
#[derive(Debug)]
pub(crate) struct Post {
    /// The kind of call; `None` for a batch.
    kind: Option<CallKind>,
    key: Option<RequestKey>,
}

/// Checked calls, with an idempotency key if the request has one.
#[derive(Debug)]
pub(crate) struct Task {
    request: CallRequest,
    key: Option<(RequestKey, Fingerprint)>,
}

/// A resource of the API, by its path. Names of parameters serve documentation only.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Endpoint<'p> {
    Document,
    Call(CallKind),
    Batch,
    Sessions,
    Session(&'p str),
    Channels,
    JsonObject(&'p str),
    Users,
}

impl Api {
    /// Creates the API that a config describes. [`Api::init`] completes it.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            is_served: config.serves_api(),
            keys: config.api.keys.as_slice().into(),
            keyless: Keyless::of(config),
            cors: Cors::new(&config.api.allowed_origins),
            limits: RequestLimits {
                api: config.api.limits,
                name_bytes_max: config.limits.name_bytes_max as usize,
                user_bytes_max: config.limits.user_bytes_max() as usize,
                result_timeout: Duration::from_millis(config.http.push_timeout_ms.into()),
                calls_at_once: part(config.limits.pushes_in_flight_max)
                    .min(part(config.limits.commands_max)),
                commands_at_once: part(config.limits.commands_max),
            },
            responses: ResponseCache::new(&config.api.limits),
            hash_key: [0; 2],
            document: openapi::document(config),
            backends: Arc::new(Vec::new),
            process_limits: ProcessLimits::default(),
        }
    }

    /// Sets a random hash key, the function that reports backends, and the limits of the process.
    pub(crate) fn init(
        &mut self,
        hash_key: [u64; 2],
        backends: BackendReport,
        process_limits: ProcessLimits,
    ) {
        self.hash_key = hash_key;
        self.backends = backends;
        self.process_limits = process_limits;
    }

    /// Checks the head of a request from this caller.
    ///
    /// # Errors
    ///
    /// The response that rejects the request.
    pub(crate) fn begin(
        &self,
        head: &Parts,
        caller: Caller,
        handle: &Handle,
    ) -> Result<Started, ApiResponse> {
        let path = path_within(head.uri.path()).unwrap_or_default();
        let place = Endpoint::find(path);
        // Browsers send preflights without a key.
        if self.cors.is_preflight(head) {
            return Ok(Started::Response(ApiResponse::empty(204)));
        }
        let caller = match caller {
            _ if place == Some(Endpoint::Document) => 0,
            Caller::Key(index) => index,
            Caller::Anyone => 0,
            Caller::Unknown => {
                let message = "the request has no valid API key";
                return Err(Problem::new(Code::Unauthorized, message).response());
            }
            Caller::NotLocalError(why) => {
                let message = format!(
                    "without a key, only requests of this machine itself are served, and {why}; \
                     set keys in [api]"
                );
                return Err(Problem::new(Code::Forbidden, message).response());
            }
        };
        let Some(place) = place else {
            let message = "the path does not exist";
            return Err(Problem::new(Code::NotFound, message).response());
        };
        let method = place.method();
        if head.method != method {
            return Err(method_not_allowed(&method));
        }
        self.begin_at(place, caller, head, handle)
            .map_err(|problem| problem.response())
    }

    /// Returns whether a request counts as authorized: by a key or, if there are no keys, by a
    /// response of success. A request for the document does not count: it is public.
    pub(crate) fn is_authorized(head: &Parts, caller: Caller, status: u16) -> bool {
        let path = path_within(head.uri.path()).unwrap_or_default();
        let is_known = match caller {
            Caller::Key(_) => true,
            Caller::Anyone => (200..300).contains(&status),
            Caller::Unknown | Caller::NotLocalError(_) => false,
        };
        is_known && !matches!(Endpoint::find(path), None | Some(Endpoint::Document))
    }

    fn begin_at(
        &self,
        place: Endpoint<'_>,
        caller: usize,
        head: &Parts,
        handle: &Handle,
    ) -> Result<Started, Problem> {
        let (query, limits) = (head.uri.query(), &self.limits);
        let post = |kind| {
            let key = RequestKey::read(&head.headers, caller)?;
            lists::query_error(query)?;
            Ok(Started::Post(Post { kind, key }))
        };
        let lookup = match place {
            Endpoint::Document => {
                lists::query_error(query)?;
                let document = ApiResponse::of_json(200, self.document.clone());
                return Ok(Started::Response(document));
            }
            Endpoint::Call(kind) => return post(Some(kind)),
            Endpoint::Batch => return post(None),
            Endpoint::Sessions => Lookup::sessions(query, handle, limits),
            Endpoint::Session(id) => Lookup::session(id, query),
            Endpoint::Channels => Lookup::channels(query, handle, limits),
            Endpoint::JsonObject(channel) => Lookup::members(channel, query, handle, limits),
            Endpoint::Users => Lookup::users(query, handle, limits),
        };
        lookup.map(Started::Lookup)
    }

    /// Parses the complete body of a call or batch.
    ///
    /// # Errors
    ///
    /// The response that rejects the request.
    pub(crate) fn read(
        &self,
        post: Post,
        head: &Parts,
        body: &[u8],
        handle: &Handle,
    ) -> Result<Task, Problem> {
        let request = match post.kind {
            Some(kind) => CallRequest::one(kind, body, handle, &self.limits)?,
            None => CallRequest::batch(body, handle, &self.limits)?,
        };
        let uri = &head.uri;
        let fingerprint = || Fingerprint::of(self.hash_key, uri.path(), uri.query(), body);
        let key = post.key.map(|key| (key, fingerprint()));
        Ok(Task { request, key })
    }

    /// Claims a task's idempotency key, if it has one.
    ///
    /// # Errors
    ///
    /// The response to send without running the task.
    pub(crate) fn claim(&self, task: &mut Task) -> Result<Option<ClaimedKey>, ApiResponse> {
        match task.key.take() {
            None => Ok(None),
            Some((key, fingerprint)) => self.responses.claim(key, fingerprint).map(Some),
        }
    }

    /// Runs a task. With a claim, stores the response.
    pub(crate) async fn execute(
        &self,
        task: Task,
        claimed: Option<ClaimedKey>,
        handle: &Handle,
    ) -> ApiResponse {
        let response = task.request.run(handle, &self.limits).await;
        match claimed {
            Some(claimed) => claimed.store_response(response),
            None => response,
        }
    }

    /// Returns the response to a request that does not run because the gateway is stopping.
    /// Releases its idempotency key.
    pub(crate) fn stopping_response(claimed: Option<ClaimedKey>) -> ApiResponse {
        let response = Problem::from(HandleError::Stopping).response();
        match claimed {
            Some(claimed) => claimed.store_response(response),
            None => response,
        }
    }

    /// Runs a query.
    pub(crate) async fn read_list(&self, lookup: Lookup, handle: &Handle) -> ApiResponse {
        let result = lookup.run(handle, &self.limits).await;
        result.unwrap_or_else(|problem| problem.response())
    }

    /// Returns the caller of a request. All keys are compared, so that the time does not depend on
    /// which one matches. If the config has no keys, only requests from this machine are trusted.
    pub(crate) fn caller(&self, head: &Parts) -> Caller {
        if self.keys.is_empty() {
            return match self.keyless.decide(head) {
                Ok(()) => Caller::Anyone,
                Err(why) => Caller::NotLocalError(why),
            };
        }
        let headers = &head.headers;
        let own = headers.get(&API_KEY).map(HeaderValue::as_bytes);
        let mut caller = Caller::Unknown;
        for given in [bearer(headers), own].into_iter().flatten() {
            for (index, key) in self.keys.iter().enumerate() {
                if key.matches(given) {
                    caller = Caller::Key(index);
                }
            }
        }
        caller
    }

    /// Adds the CORS headers to a response, if the request's origin is allowed.
    pub(crate) fn add_cors(&self, head: &Parts, response: &mut HeaderMap) {
        self.cors.add_to(head, response);
    }
}

/// Returns a quarter of a limit, the share that one batch may use, so that other requests have
/// room.
fn part(limit: u32) -> usize {
    usize::try_from(limit / 4).unwrap_or(usize::MAX).max(1)
}

impl<'p> Endpoint<'p> {
    /// Returns the resource of a path relative to [`ROOT`]; `None` if there is none. The path is
    /// split before it is percent-decoded, so that an encoded slash is part of a name.
    fn find(path: &'p str) -> Option<Self> {
        let mut segments = path.split('/');
        let segments = [(); 4].map(|()| segments.next());
        match segments {
            [Some(word), None, ..] => match &*decoded_segment(word)? {
                "openapi.json" => Some(Self::Document),
                "batch" => Some(Self::Batch),
                "sessions" => Some(Self::Sessions),
                "channels" => Some(Self::Channels),
                "users" => Some(Self::Users),
                word => word.parse().ok().map(Self::Call),
            },
            [Some(word), Some(id), None, _] if !id.is_empty() => {
                (decoded_segment(word)? == "sessions").then_some(Self::Session(id))
            }
            [Some(word), Some(channel), Some(last), None] if !channel.is_empty() => {
                let is_members =
                    decoded_segment(word)? == "channels" && decoded_segment(last)? == "members";
                is_members.then_some(Self::JsonObject(channel))
            }
            _ => None,
        }
    }

    /// All resources, with the parameter names of the description.
    #[cfg(test)]
    fn all() -> impl Iterator<Item = Endpoint<'static>> {
        let others = [
            Endpoint::Document,
            Endpoint::Batch,
            Endpoint::Sessions,
            Endpoint::Session("{id}"),
            Endpoint::Channels,
            Endpoint::JsonObject("{name}"),
            Endpoint::Users,
        ];
        CallKind::ALL.map(Endpoint::Call).into_iter().chain(others)
    }

    /// Returns the path relative to [`ROOT`].
    #[cfg(test)]
    fn path(self) -> String {
        match self {
            Self::Document => "openapi.json".to_owned(),
            Self::Call(kind) => kind.as_str().to_owned(),
            Self::Batch => "batch".to_owned(),
            Self::Sessions => "sessions".to_owned(),
            Self::Session(id) => format!("sessions/{id}"),
            Self::Channels => "channels".to_owned(),
            Self::JsonObject(channel) => format!("channels/{channel}/members"),
            Self::Users => "users".to_owned(),
        }
    }

    /// Returns the only method of the resource.
    fn method(self) -> Method {
        match self {
            Self::Call(_) | Self::Batch => Method::POST,
            Self::Document
            | Self::Sessions
            | Self::Session(_)
            | Self::Channels
            | Self::JsonObject(_)
            | Self::Users => Method::GET,
        }
    }
}

/// Returns the response to a request with a wrong method. `method` is the right one.
fn method_not_allowed(method: &Method) -> ApiResponse {
    let message = format!("the method is {method}");
    let response = Problem::new(Code::MethodNotAllowed, message).response();
    let allow = if *method == Method::POST {
        "POST"
    } else {
        "GET"
    };
    ApiResponse {
        allow: Some(allow),
        ..response
    }
}

/// Returns what follows [`ROOT`] in a path, whose first segments may be percent-encoded.
pub(crate) fn path_within(path: &str) -> Option<&str> {
    if let Some(rest) = path.strip_prefix(ROOT) {
        return Some(rest);
    }
    if !path.contains('%') {
        return None;
    }
    let mut rest = path.strip_prefix('/')?;
    for word in ROOT.split_terminator('/').skip(1) {
        let (first, behind) = rest.split_once('/')?;
        if decoded_segment(first)? != word {
            return None;
        }
        rest = behind;
    }
    Some(rest)
}

/// Returns a path segment, percent-decoded; `None` if it is not UTF-8.
fn decoded_segment(segment: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(segment).decode_utf8().ok()
}

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_one_place_or_to_none() {
        for place in Endpoint::all() {
            assert_eq!(Endpoint::find(&place.path()), Some(place));
            assert_eq!(
                Endpoint::find(&format!("{}/", place.path())),
                None,
                "{place:?}"
            );
        }
        for nowhere in [
            "",
            "/",
            "publish/x",
            "sessions/",
            "sessions/a/b",
            "channels/",
            "channels/a",
            "channels//members",
            "channels/a/b/members",
            "channels/members",
            "Publish",
            "pub%6Cish/",
            "%ff",
            "sessions%2Fa",
        ] {
            assert_eq!(Endpoint::find(nowhere), None, "{nowhere}");
        }
        // Segments are decoded once. An encoded slash is part of a name.
        assert_eq!(
            Endpoint::find("pub%6Cish"),
            Some(Endpoint::Call(CallKind::Publish))
        );
        let members = Endpoint::find("%63hannels/a%2Fb/members");
        assert_eq!(members, Some(Endpoint::JsonObject("a%2Fb")));
        assert_eq!(Endpoint::find("pub%256Cish"), None);
        for path in ["/api/v1/users", "/%61pi/v1/users", "/api/%76%31/users"] {
            assert_eq!(path_within(path), Some("users"), "{path}");
        }
        for path in [
            "/api/v2/users",
            "/api%2Fv1/users",
            "/%2561pi/v1/users",
            "/api/v1",
            "//api/v1/a",
        ] {
            assert_eq!(path_within(path), None, "{path}");
        }
    }

    #[test]
    fn a_caller_shows_a_key_in_one_of_two_headers() {
        let mut config = Config::default();
        let caller = |config: &Config, headers: &[(&'static str, &'static str)]| {
            let mut request = hyper::Request::builder();
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (head, ()) = request.body(()).expect("a request").into_parts();
            Api::new(config).caller(&head)
        };
        assert_eq!(caller(&config, &[("host", "localhost")]), Caller::Anyone);
        let denied = Caller::NotLocalError(NotLocalError::Host);
        assert_eq!(caller(&config, &[("host", "a.example")]), denied);
        config.insecure = true;
        assert_eq!(caller(&config, &[("host", "a.example")]), Caller::Anyone);
        config.api.keys = vec![Secret::new("old"), Secret::new("new")];
        for (headers, expected) in [
            (&[][..], Caller::Unknown),
            (&[("authorization", "Bearer old")], Caller::Key(0)),
            (&[("authorization", "bearer new")], Caller::Key(1)),
            (&[("x-api-key", "new")], Caller::Key(1)),
            (&[("authorization", "Bearer")], Caller::Unknown),
            (&[("authorization", "Bearer  new")], Caller::Key(1)),
            (&[("authorization", "Basic new")], Caller::Unknown),
            (&[("x-api-key", "Bearer new")], Caller::Unknown),
            (&[("x-api-key", "")], Caller::Unknown),
            (
                &[("authorization", "Bearer x"), ("x-api-key", "old")],
                Caller::Key(0),
            ),
        ] {
            assert_eq!(caller(&config, headers), expected, "{headers:?}");
        }
    }
}
