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
mod answer;
mod calls;
mod health;
mod idempotency;
mod lists;
mod members;
mod openapi;
mod problem;
mod run;

pub(crate) use self::answer::ApiAnswer;
use self::calls::{Asked, Kind};
pub(crate) use self::health::BackendReport;
pub(crate) use self::idempotency::Claimed;
use self::idempotency::{Answers, Fingerprint, RequestKey};
use self::lists::Lookup;
use self::problem::Code;
pub(crate) use self::problem::Problem;
use crate::config::{Config, Secret};
use crate::handler::{Handle, HandleError};
use crate::limits::{ApiLimits, ProcessLimits};
use crate::ws::handshake;
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Method};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Where the API is.
pub(crate) const ROOT: &str = "/api/v1/";

/// The API of a process: the same for all its shards.
#[derive(Clone)]
pub(crate) struct Api {
    is_served: bool,
    keys: Arc<[Secret]>,
    bounds: Bounds,
    answers: Answers,
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
    answer_within: Duration,
    /// How many totals and commands of one batch may be under way at once.
    calls_at_once: usize,
    /// How many commands.
    commands_at_once: usize,
}

/// Who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Caller {
    /// Whoever has this key, by its index.
    Key(usize),
    /// Anyone, where no key is asked for.
    Anyone,
    /// Nobody who may ask anything.
    Nobody,
}

/// A request whose head was understood.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It is answered.
    Answered(ApiAnswer),
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
    /// The API that a config describes, without backends; [`Api::settle`] is still to be called.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            is_served: config.serves_api(),
            keys: config.api.keys.as_slice().into(),
            bounds: Bounds {
                limits: config.api.limits,
                name_bytes_max: config.limits.name_bytes_max as usize,
                user_bytes_max: config.limits.user_bytes_max() as usize,
                answer_within: Duration::from_millis(config.http.push_timeout_ms.into()),
                calls_at_once: part(config.limits.pushes_in_flight_max)
                    .min(part(config.limits.commands_max)),
                commands_at_once: part(config.limits.commands_max),
            },
            answers: Answers::new(&config.api.limits),
            hash_key: [0; 2],
            document: openapi::document(config),
            backends: Arc::new(Vec::new),
            process_limits: ProcessLimits::default(),
        }
    }

    /// Takes a key that nobody can guess, the means to say how backends are, and the limits of the
    /// process.
    pub(crate) fn settle(
        &mut self,
        hash_key: [u64; 2],
        backends: BackendReport,
        process_limits: ProcessLimits,
    ) {
        self.hash_key = hash_key;
        self.backends = backends;
        self.process_limits = process_limits;
    }

    /// Understands the head of a request.
    pub(crate) fn begin(&self, head: &Parts, handle: &Handle) -> Result<Begun, ApiAnswer> {
        let path = head.uri.path().strip_prefix(ROOT).unwrap_or_default();
        let place = Place::find(path);
        let caller = match self.caller(&head.headers) {
            _ if place == Some(Place::Document) => 0,
            Caller::Key(index) => index,
            Caller::Anyone => 0,
            Caller::Nobody => {
                let message = if self.keys.is_empty() {
                    "without keys, no page of another host may ask"
                } else {
                    "no key was shown that counts"
                };
                return Err(Problem::new(Code::Unauthorized, message).answer());
            }
        };
        let Some(place) = place else {
            let message = "nothing is served under this path";
            return Err(Problem::new(Code::NotFound, message).answer());
        };
        let method = place.method();
        if head.method != method {
            return Err(refuse_method(&method));
        }
        self.begin_at(place, caller, head, handle)
            .map_err(|problem| problem.answer())
    }

    /// Whether a request was authorized, by a key or, where there are none, by being accepted. One
    /// for the document is not: anyone may read it.
    pub(crate) fn is_authorized(&self, head: &Parts, status: u16) -> bool {
        let path = head.uri.path().strip_prefix(ROOT).unwrap_or_default();
        let is_known = match self.caller(&head.headers) {
            Caller::Key(_) => true,
            Caller::Anyone => (200..300).contains(&status),
            Caller::Nobody => false,
        };
        is_known && !matches!(Place::find(path), None | Some(Place::Document))
    }

    fn begin_at(
        &self,
        place: Place<'_>,
        caller: usize,
        head: &Parts,
        handle: &Handle,
    ) -> Result<Begun, Problem> {
        let (query, bounds) = (head.uri.query(), &self.bounds);
        let post = |kind| {
            let key = RequestKey::read(&head.headers, caller)?;
            lists::refuse_query(query)?;
            Ok(Begun::Post(Post { kind, key }))
        };
        let lookup = match place {
            Place::Document => {
                lists::refuse_query(query)?;
                let document = ApiAnswer::of_json(200, self.document.clone());
                return Ok(Begun::Answered(document));
            }
            Place::Call(kind) => return post(Some(kind)),
            Place::Batch => return post(None),
            Place::Sessions => Lookup::sessions(query, handle, bounds),
            Place::Session(id) => Lookup::session(id, query),
            Place::Channels => Lookup::channels(query, handle, bounds),
            Place::Members(channel) => Lookup::members(channel, query, handle, bounds),
            Place::Users => Lookup::users(query, handle, bounds),
        };
        lookup.map(Begun::Lookup)
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
    pub(crate) fn claim(&self, task: &mut Task) -> Result<Option<Claimed>, ApiAnswer> {
        match task.key.take() {
            None => Ok(None),
            Some((key, fingerprint)) => self.answers.claim(key, fingerprint).map(Some),
        }
    }

    /// Carries out what is to be done; with a claim, its answer is remembered.
    pub(crate) async fn carry_out(
        &self,
        task: Task,
        claimed: Option<Claimed>,
        handle: &Handle,
    ) -> ApiAnswer {
        let answer = task.asked.run(handle, &self.bounds).await;
        match claimed {
            Some(claimed) => claimed.settle(answer),
            None => answer,
        }
    }

    /// The answer to a request that is not carried out because the gateway is stopping. Its key, if
    /// it has one, is as if it had never come.
    pub(crate) fn refuse_to_stop(claimed: Option<Claimed>) -> ApiAnswer {
        let answer = Problem::from(HandleError::Stopping).answer();
        match claimed {
            Some(claimed) => claimed.settle(answer),
            None => answer,
        }
    }

    /// Looks something up.
    pub(crate) async fn look_up(&self, lookup: Lookup, handle: &Handle) -> ApiAnswer {
        let looked = lookup.run(handle, &self.bounds).await;
        looked.unwrap_or_else(|problem| problem.answer())
    }

    /// Who asks. Every key is compared, whatever the others were. Without keys it is whoever
    /// reaches this machine, but no page of another host in a browser here, which lets any page
    /// post anywhere.
    fn caller(&self, headers: &HeaderMap) -> Caller {
        if self.keys.is_empty() {
            return if is_page_of_another_host(headers) {
                Caller::Nobody
            } else {
                Caller::Anyone
            };
        }
        let bearer = headers.get(AUTHORIZATION).and_then(|given| {
            let (scheme, key) = given.as_bytes().split_at_checked(BEARER.len())?;
            scheme.eq_ignore_ascii_case(BEARER).then_some(key)
        });
        let own = headers.get(&API_KEY).map(HeaderValue::as_bytes);
        let mut caller = Caller::Nobody;
        for given in [bearer, own].into_iter().flatten() {
            for (index, key) in self.keys.iter().enumerate() {
                if key.matches(given) {
                    caller = Caller::Key(index);
                }
            }
        }
        caller
    }
}

/// What one batch may take of a limit: so much that others find room beside it.
fn part(limit: u32) -> usize {
    usize::try_from(limit / 4).unwrap_or(usize::MAX).max(1)
}

/// Whether a browser asks for a page that this machine has not served. One whose name resolves to
/// here names its own host, too, so a name counts only if nobody else can have it.
fn is_page_of_another_host(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let host = headers.get(HOST).map_or(&[][..], HeaderValue::as_bytes);
    let is_ours = std::str::from_utf8(host)
        .ok()
        .and_then(|host| host.parse::<Authority>().ok())
        .is_some_and(|authority| {
            let name = authority.host();
            let address = name.trim_start_matches('[').trim_end_matches(']');
            name == "localhost" || address.parse::<IpAddr>().is_ok()
        });
    !is_ours || !handshake::same_origin(Some(origin.as_bytes()), host)
}

impl<'p> Place<'p> {
    /// What is served under a path, without what all paths begin with.
    fn find(path: &'p str) -> Option<Self> {
        let (first, rest) = match path.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path, None),
        };
        match (first, rest) {
            ("openapi.json", None) => Some(Self::Document),
            ("batch", None) => Some(Self::Batch),
            ("sessions", None) => Some(Self::Sessions),
            ("sessions", Some(id)) => is_segment(id).then_some(Self::Session(id)),
            ("channels", None) => Some(Self::Channels),
            ("channels", Some(rest)) => {
                let channel = rest.strip_suffix("/members")?;
                is_segment(channel).then_some(Self::Members(channel))
            }
            ("users", None) => Some(Self::Users),
            (word, None) => word.parse().ok().map(Self::Call),
            (_, Some(_)) => None,
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
fn refuse_method(method: &Method) -> ApiAnswer {
    let message = format!("the method is {method}");
    let answer = Problem::new(Code::MethodNotAllowed, message).answer();
    let allow = if *method == Method::POST {
        "POST"
    } else {
        "GET"
    };
    ApiAnswer {
        allow: Some(allow),
        ..answer
    }
}

fn is_segment(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

/// Nothing secret is shown.
impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("is_served", &self.is_served)
            .field("keys", &self.keys.len())
            .field("answers", &self.answers)
            .finish_non_exhaustive()
    }
}

const BEARER: &[u8] = b"Bearer ";
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
        ] {
            assert_eq!(Place::find(nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn a_caller_shows_a_key_in_one_of_two_headers() {
        let mut config = Config::default();
        let caller = |config: &Config, headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| {
                let value = HeaderValue::from_static(value);
                (HeaderName::from_static(name), value)
            });
            Api::new(config).caller(&headers.collect())
        };
        assert_eq!(caller(&config, &[]), Caller::Anyone);
        for (origin, host, expected) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080", Caller::Anyone),
            ("http://localhost:8080", "localhost:8080", Caller::Anyone),
            ("http://[::1]:8080", "[::1]:8080", Caller::Anyone),
            ("http://127.0.0.1:9090", "127.0.0.1:8080", Caller::Nobody),
            ("http://a.example", "127.0.0.1:8080", Caller::Nobody),
            ("null", "127.0.0.1:8080", Caller::Nobody),
            // A name that its owner has made resolve to this machine.
            ("http://a.example:8080", "a.example:8080", Caller::Nobody),
        ] {
            let headers = [("origin", origin), ("host", host)];
            assert_eq!(caller(&config, &headers), expected, "{headers:?}");
        }
        config.api.keys = vec![Secret::new("old"), Secret::new("new")];
        for (headers, expected) in [
            (&[][..], Caller::Nobody),
            (&[("authorization", "Bearer old")], Caller::Key(0)),
            (&[("authorization", "bearer new")], Caller::Key(1)),
            (&[("x-api-key", "new")], Caller::Key(1)),
            (&[("authorization", "Bearer")], Caller::Nobody),
            (&[("authorization", "Bearer  new")], Caller::Nobody),
            (&[("authorization", "Basic new")], Caller::Nobody),
            (&[("x-api-key", "Bearer new")], Caller::Nobody),
            (&[("x-api-key", "")], Caller::Nobody),
            (
                &[("authorization", "Bearer x"), ("x-api-key", "old")],
                Caller::Key(0),
            ),
        ] {
            assert_eq!(caller(&config, headers), expected, "{headers:?}");
        }
    }
}
