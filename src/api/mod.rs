//! The server API: what a backend in any language can ask, over HTTP.
//!
//! ```text
//!   head --> known caller? --> known path, method? --> list, looked up
//!                                                 \--> call, its body read whole and checked
//!                                                        |  with an idempotency key: claimed
//!                                                        v
//!                                                      done by what an embedder could do
//! ```
//!
//! Bad input changes nothing and is told what is wrong with it. Nothing here reads a socket: `http`
//! brings heads and bodies, and carries answers away. `openapi.json` describes all of it.

mod ages;
mod calls;
mod cors;
mod health;
mod idempotency;
mod lists;
mod members;
mod openapi;
mod problem;
mod response;
mod run;

use self::calls::{Asked, Kind};
use self::cors::Cors;
pub(crate) use self::health::BackendReport;
pub(crate) use self::idempotency::Claimed;
use self::idempotency::{Fingerprint, RequestKey, ResponseCache};
use self::lists::Lookup;
use self::problem::Code;
pub(crate) use self::problem::Problem;
pub(crate) use self::response::ApiResponse;
use crate::auth::{Keyless, NotLocal, bearer};
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

/// Where the API is.
pub(crate) const ROOT: &str = "/api/v1/";

/// The API of a process: the same for all its shards.
#[derive(Clone, derive_more::Debug)]
#[debug("Api {{ is_served: {is_served:?}, answers: {answers:?}, .. }}")]
pub(crate) struct Api {
    is_served: bool,
    keys: Arc<[Secret]>,
    keyless: Keyless,
    cors: Cors,
    bounds: Bounds,
    answers: ResponseCache,
    /// Of the fingerprints of requests.
    hash_key: [u64; 2],
    document: Bytes,
    backends: BackendReport,
    process_limits: ProcessLimits,
}

/// The bounds of what is asked.
#[derive(Clone, Debug)]
struct Bounds {
    limits: ApiLimits,
    name_bytes_max: usize,
    user_bytes_max: usize,
    /// How long shards have to answer.
    result_timeout: Duration,
    /// How many totals and commands of one batch may be under way at once.
    calls_at_once: usize,
    /// How many commands.
    commands_at_once: usize,
}

/// Who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Caller {
    /// Whoever has this key, by its index.
    Key(usize),
    /// Whoever is trusted without a key.
    Anyone,
    /// Nobody who may ask anything: a key is asked for.
    Unknown,
    /// Nobody who may ask anything: there are no keys.
    NotLocal(NotLocal),
}

/// A request whose head was understood.
#[derive(Debug)]
pub(crate) enum Started {
    /// It is answered.
    Response(ApiResponse),
    /// Something is to be looked up.
    Lookup(Lookup),
    /// Something is to be done, which its body says.
    Post(Post),
}

/// A request for something to be done, whose body is still to be read.
#[derive(Debug)]
pub(crate) struct Post {
    /// `None` is a batch.
    kind: Option<Kind>,
    key: Option<RequestKey>,
}

/// Something to be done, checked, and its idempotency key, if it has one.
#[derive(Debug)]
pub(crate) struct Task {
    asked: Asked,
    key: Option<(RequestKey, Fingerprint)>,
}

/// What is served where; the names of parameters are for the eye.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place<'p> {
    Document,
    Call(Kind),
    Batch,
    Sessions,
    Session(&'p str),
    Channels,
    Members(&'p str),
    Users,
}

impl Api {
    /// The API that a config describes, without backends; [`Api::init`] is still to be called.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            is_served: config.serves_api(),
            keys: config.api.keys.as_slice().into(),
            keyless: Keyless::of(config),
            cors: Cors::new(&config.api.allowed_origins),
            bounds: Bounds {
                limits: config.api.limits,
                name_bytes_max: config.limits.name_bytes_max as usize,
                user_bytes_max: config.limits.user_bytes_max() as usize,
                result_timeout: Duration::from_millis(config.http.push_timeout_ms.into()),
                calls_at_once: part(config.limits.pushes_in_flight_max)
                    .min(part(config.limits.commands_max)),
                commands_at_once: part(config.limits.commands_max),
            },
            answers: ResponseCache::new(&config.api.limits),
            hash_key: [0; 2],
            document: openapi::document(config),
            backends: Arc::new(Vec::new),
            process_limits: ProcessLimits::default(),
        }
    }

    /// Takes a key that nobody can guess, the means to say how backends are, and the limits of the
    /// process.
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

    /// Understands the head of a request of this caller.
    pub(crate) fn begin(
        &self,
        head: &Parts,
        caller: Caller,
        handle: &Handle,
    ) -> Result<Started, ApiResponse> {
        let path = path_within(head.uri.path()).unwrap_or_default();
        let place = Place::find(path);
        // A browser asks this by itself, without a key.
        if self.cors.is_preflight(head) {
            return Ok(Started::Response(ApiResponse::empty(204)));
        }
        let caller = match caller {
            _ if place == Some(Place::Document) => 0,
            Caller::Key(index) => index,
            Caller::Anyone => 0,
            Caller::Unknown => {
                let message = "no key was shown that counts";
                return Err(Problem::new(Code::Unauthorized, message).response());
            }
            Caller::NotLocal(why) => {
                let message = format!(
                    "without a key, only requests of this machine itself are served, and {why}; \
                     set keys in [api]"
                );
                return Err(Problem::new(Code::Forbidden, message).response());
            }
        };
        let Some(place) = place else {
            let message = "nothing is served under this path";
            return Err(Problem::new(Code::NotFound, message).response());
        };
        let method = place.method();
        if head.method != method {
            return Err(refuse_method(&method));
        }
        self.begin_at(place, caller, head, handle)
            .map_err(|problem| problem.response())
    }

    /// Whether a request was authorized, by a key or, where there are none, by being accepted. One
    /// for the document is not: anyone may read it.
    pub(crate) fn is_authorized(head: &Parts, caller: Caller, status: u16) -> bool {
        let path = path_within(head.uri.path()).unwrap_or_default();
        let is_known = match caller {
            Caller::Key(_) => true,
            Caller::Anyone => (200..300).contains(&status),
            Caller::Unknown | Caller::NotLocal(_) => false,
        };
        is_known && !matches!(Place::find(path), None | Some(Place::Document))
    }

    fn begin_at(
        &self,
        place: Place<'_>,
        caller: usize,
        head: &Parts,
        handle: &Handle,
    ) -> Result<Started, Problem> {
        let (query, bounds) = (head.uri.query(), &self.bounds);
        let post = |kind| {
            let key = RequestKey::read(&head.headers, caller)?;
            lists::query_error(query)?;
            Ok(Started::Post(Post { kind, key }))
        };
        let lookup = match place {
            Place::Document => {
                lists::query_error(query)?;
                let document = ApiResponse::of_json(200, self.document.clone());
                return Ok(Started::Response(document));
            }
            Place::Call(kind) => return post(Some(kind)),
            Place::Batch => return post(None),
            Place::Sessions => Lookup::sessions(query, handle, bounds),
            Place::Session(id) => Lookup::session(id, query),
            Place::Channels => Lookup::channels(query, handle, bounds),
            Place::Members(channel) => Lookup::members(channel, query, handle, bounds),
            Place::Users => Lookup::users(query, handle, bounds),
        };
        lookup.map(Started::Lookup)
    }

    /// Reads what is to be done from a body, the whole of it.
    pub(crate) fn read(
        &self,
        post: Post,
        head: &Parts,
        body: &[u8],
        handle: &Handle,
    ) -> Result<Task, Problem> {
        let asked = match post.kind {
            Some(kind) => Asked::one(kind, body, handle, &self.bounds)?,
            None => Asked::batch(body, handle, &self.bounds)?,
        };
        let uri = &head.uri;
        let fingerprint = || Fingerprint::of(self.hash_key, uri.path(), uri.query(), body);
        let key = post.key.map(|key| (key, fingerprint()));
        Ok(Task { asked, key })
    }

    /// Claims a task's idempotency key, if it has one.
    ///
    /// # Errors
    ///
    /// What is to be answered in place of carrying it out.
    pub(crate) fn claim(&self, task: &mut Task) -> Result<Option<Claimed>, ApiResponse> {
        match task.key.take() {
            None => Ok(None),
            Some((key, fingerprint)) => self.answers.claim(key, fingerprint).map(Some),
        }
    }

    /// Carries out what is to be done; with a claim, its response is remembered.
    pub(crate) async fn execute(
        &self,
        task: Task,
        claimed: Option<Claimed>,
        handle: &Handle,
    ) -> ApiResponse {
        let response = task.asked.run(handle, &self.bounds).await;
        match claimed {
            Some(claimed) => claimed.store_response(response),
            None => response,
        }
    }

    /// The response to a request that is not carried out because the gateway is stopping. Its key, if
    /// it has one, is as if it had never come.
    pub(crate) fn stopping_response(claimed: Option<Claimed>) -> ApiResponse {
        let response = Problem::from(HandleError::Stopping).response();
        match claimed {
            Some(claimed) => claimed.store_response(response),
            None => response,
        }
    }

    /// Looks something up.
    pub(crate) async fn read_list(&self, lookup: Lookup, handle: &Handle) -> ApiResponse {
        let looked = lookup.run(handle, &self.bounds).await;
        looked.unwrap_or_else(|problem| problem.response())
    }

    /// Who asks. Every key is compared, whatever the others were. Without keys it is this machine,
    /// or nobody.
    pub(crate) fn caller(&self, head: &Parts) -> Caller {
        if self.keys.is_empty() {
            return match self.keyless.decide(head) {
                Ok(()) => Caller::Anyone,
                Err(why) => Caller::NotLocal(why),
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

    /// Adds to the response to a request what lets a page of another origin read it, if it may.
    pub(crate) fn add_cors(&self, head: &Parts, response: &mut HeaderMap) {
        self.cors.add_to(head, response);
    }
}

/// What one batch may take of a limit: so much that others find room beside it.
fn part(limit: u32) -> usize {
    usize::try_from(limit / 4).unwrap_or(usize::MAX).max(1)
}

impl<'p> Place<'p> {
    /// What is served under a path, without what all paths begin with. The path is split before it
    /// is percent-decoded, so that an encoded slash is part of a name.
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
                is_members.then_some(Self::Members(channel))
            }
            _ => None,
        }
    }

    /// Each of them, its parameters named as they are described.
    #[cfg(test)]
    const ALL: &'static [Place<'static>] = &[
        Place::Document,
        Place::Call(Kind::Publish),
        Place::Call(Kind::Push),
        Place::Call(Kind::Broadcast),
        Place::Call(Kind::Join),
        Place::Call(Kind::Leave),
        Place::Call(Kind::Disconnect),
        Place::Batch,
        Place::Sessions,
        Place::Session("{id}"),
        Place::Channels,
        Place::Members("{name}"),
        Place::Users,
    ];

    /// Where it is, behind [`ROOT`].
    #[cfg(test)]
    fn path(self) -> String {
        match self {
            Self::Document => "openapi.json".to_owned(),
            Self::Call(kind) => kind.as_str().to_owned(),
            Self::Batch => "batch".to_owned(),
            Self::Sessions => "sessions".to_owned(),
            Self::Session(id) => format!("sessions/{id}"),
            Self::Channels => "channels".to_owned(),
            Self::Members(channel) => format!("channels/{channel}/members"),
            Self::Users => "users".to_owned(),
        }
    }

    /// The one method that it has.
    fn method(self) -> Method {
        match self {
            Self::Call(_) | Self::Batch => Method::POST,
            Self::Document
            | Self::Sessions
            | Self::Session(_)
            | Self::Channels
            | Self::Members(_)
            | Self::Users => Method::GET,
        }
    }
}

/// What is answered to a request with a method that there is not.
fn refuse_method(method: &Method) -> ApiResponse {
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

/// One segment of a path, percent-decoded; `None` if that is not UTF-8.
fn decoded_segment(segment: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(segment).decode_utf8().ok()
}

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_one_place_or_to_none() {
        for place in Place::ALL {
            assert_eq!(Place::find(&place.path()), Some(*place));
            assert_eq!(
                Place::find(&format!("{}/", place.path())),
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
            assert_eq!(Place::find(nowhere), None, "{nowhere}");
        }
        // Encoded once, a segment is what it stands for; a slash in it is data.
        assert_eq!(Place::find("pub%6Cish"), Some(Place::Call(Kind::Publish)));
        let members = Place::find("%63hannels/a%2Fb/members");
        assert_eq!(members, Some(Place::Members("a%2Fb")));
        assert_eq!(Place::find("pub%256Cish"), None);
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
        let denied = Caller::NotLocal(NotLocal::Host);
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
