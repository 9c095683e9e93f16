//! The HTTP client of a backend: one connection pool for each shard, with timeouts and retries.
//!
//! A hook keeps its id over all attempts. It is sent again if nothing of it was sent. A hook
//! without side effects is also sent again if the connection was lost, or on status 502, 503 or
//! 504. Waiting, attempts and reading share `timeout_ms`; for `close`, which delays no client,
//!      waiting does not count. This module does not interpret requests or responses.

use super::connect::ConnectTimeout;
use super::requests::Hook;
use super::responses::InvalidResponse;
use super::state::BackendState;
use super::{BackendsError, HookError};
use crate::config::{Backend, Config};
use crate::logging::limited;
use crate::runtime::deadline::within;
use crate::runtime::entropy::random_bytes;
use crate::vocabulary::limits::BackendLimits;
use crate::vocabulary::public_id::PublicId;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};
use reqwest::{Certificate, Client, ClientBuilder, Method, Request, Response, StatusCode, Url};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::fs;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Idle time after which a connection to a backend is closed. Below the five seconds of Node.js, so
/// that we usually close it first.
const IDLE_CONNECTION: Duration = Duration::from_secs(4);

/// The header with the kind of hook.
const HOOK: HeaderName = HeaderName::from_static("campanile-hook");

/// The header with the hook's id, which is the same in all attempts.
const HOOK_ID: HeaderName = HeaderName::from_static("campanile-hook-id");

/// The backends of a gateway, shared by its shards.
#[derive(Debug)]
pub(crate) struct Backends {
    all: Vec<Arc<OpenBackend>>,
    seed: [u8; 32],
}

/// A backend with its files read and its URL checked.
#[derive(derive_more::Debug)]
#[debug("OpenBackend {{ state: {state:?}, .. }}")]
struct OpenBackend {
    state: BackendState,
    url: Url,
    authorization: Option<HeaderValue>,
    certificates: Vec<Certificate>,
    limits: BackendLimits,
}

/// The clients of all backends on one shard.
#[derive(Debug)]
pub(crate) struct ShardBackends(Vec<Rc<BackendClient>>);

/// The client of one backend on one shard.
#[derive(derive_more::Debug)]
#[debug("BackendClient {{ name: {:?}, .. }}", self.name())]
pub(super) struct BackendClient {
    backend: Arc<OpenBackend>,
    http: Client,
    ids: Rc<HookIds>,
}

/// The generator of a shard's hook ids.
struct HookIds(RefCell<ChaCha12Rng>);

impl Backends {
    /// Opens the backends of a config: reads their files and checks their settings.
    ///
    /// # Errors
    ///
    /// [`BackendsError::Backend`] if a backend can never be used, [`BackendsError::Random`] if the
    /// kernel has no random numbers.
    pub(crate) fn open(config: &Config) -> Result<Arc<Self>, BackendsError> {
        let all = config.backends.iter().map(open_backend);
        let all: Result<Vec<_>, BackendsError> = all.collect();
        Ok(Arc::new(Self {
            all: all?.into_iter().map(Arc::new).collect(),
            seed: random_bytes().map_err(BackendsError::Random)?,
        }))
    }

    /// Reads the files of one backend as [`Backends::open`] does, without keeping them.
    ///
    /// # Errors
    ///
    /// [`BackendsError::Backend`] if no request can be sent to it.
    pub(crate) fn check(backend: &Backend) -> Result<(), BackendsError> {
        open_backend(backend).map(drop)
    }

    /// Returns the health report of each backend, in the order of the config. It contains no
    /// secrets.
    pub(crate) fn report(&self) -> Vec<serde_json::Value> {
        let states = self.all.iter().map(|backend| &backend.state);
        states.map(BackendState::report).collect()
    }

    /// Logs how many hooks were lost. Call it after the gateway has stopped.
    pub(crate) fn log_lost(&self) {
        self.all.iter().for_each(|it| it.state.log_lost());
    }

    /// Returns the number of failed hooks since the start, by reason.
    pub(crate) fn failures(&self) -> BTreeMap<&'static str, u64> {
        let mut failures = BTreeMap::new();
        for backend in &self.all {
            for (label, count) in HookError::LABELS.into_iter().zip(backend.state.failures()) {
                *failures.entry(label).or_default() += count;
            }
        }
        failures
    }

    /// Creates one shard's clients. Call it on the shard's thread, in its runtime: the connections
    /// live there.
    ///
    /// # Errors
    ///
    /// [`BackendsError::Backend`] if a client that could be created by [`Backends::open`] now
    /// cannot.
    pub(crate) fn on_shard(&self, shard_index: usize) -> Result<Rc<ShardBackends>, BackendsError> {
        let mut random = ChaCha12Rng::from_seed(self.seed);
        random.set_stream(shard_index as u64);
        let ids = Rc::new(HookIds(RefCell::new(random)));
        let client = |backend: &Arc<OpenBackend>| {
            let http = backend.client().map_err(|problem| BackendsError::Backend {
                name: backend.state.name().to_owned(),
                problem,
            })?;
            Ok(Rc::new(BackendClient {
                backend: Arc::clone(backend),
                http,
                ids: Rc::clone(&ids),
            }))
        };
        let all: Result<Vec<_>, BackendsError> = self.all.iter().map(client).collect();
        Ok(Rc::new(ShardBackends(all?)))
    }
}

fn open_backend(backend: &Backend) -> Result<OpenBackend, BackendsError> {
    OpenBackend::open(backend).map_err(|problem| BackendsError::Backend {
        name: backend.name.clone(),
        problem,
    })
}

impl ShardBackends {
    /// Returns the client of the backend with this name; `None` if there is none.
    pub(super) fn find(&self, name: &str) -> Option<Rc<BackendClient>> {
        let mut all = self.0.iter();
        all.find(|client| client.name() == name).cloned()
    }
}

impl OpenBackend {
    fn open(backend: &Backend) -> Result<Self, String> {
        let mut url = match Url::parse(&backend.url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
            Ok(_) => return Err("its url is not an http or https url with a host".to_owned()),
            Err(error) => return Err(format!("its url is not valid: {error}")),
        };
        let authorization = authorization_of(backend, &url)?;
        // User and password go into a header, so that no log or report shows them.
        if url
            .set_username("")
            .and_then(|()| url.set_password(None))
            .is_err()
        {
            return Err("its url is not valid: it cannot have a user".to_owned());
        }
        url.set_fragment(None);
        let certificates = match &backend.ca_file {
            Some(file) => {
                let name = file.display();
                let problem = |why: &dyn fmt::Display| format!("ca_file {name}: {why}");
                let pem = fs::read(file).map_err(|error| problem(&error))?;
                let certificates =
                    Certificate::from_pem_bundle(&pem).map_err(|error| problem(&chain(&error)))?;
                if certificates.is_empty() {
                    return Err(problem(&"it has no certificate"));
                }
                certificates
            }
            None => Vec::new(),
        };
        let opened = Self {
            state: BackendState::new(&backend.name, &backend.limits),
            url,
            authorization,
            certificates,
            limits: backend.limits,
        };
        opened.client().map(drop)?; // check at start, where an operator sees the error
        Ok(opened)
    }

    fn client(&self) -> Result<Client, String> {
        let connect_timeout = Duration::from_millis(self.limits.connect_timeout_ms.into());
        let builder = ClientBuilder::new()
            .user_agent(concat!("campanile/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .connector_layer(ConnectTimeout(connect_timeout))
            .pool_idle_timeout(IDLE_CONNECTION);
        let certificates = self.certificates.iter().cloned();
        let builder = if self.url.scheme() == "https" {
            builder.tls_certs_merge(certificates)
        } else {
            builder.tls_certs_only(certificates) // the system may have none
        };
        builder.build().map_err(|error| chain(&error))
    }
}

/// Returns the `Authorization` header for a backend: its secret, or user and password of its URL.
///
/// # Errors
///
/// A text if it has both, or if the secret is not a valid header value.
fn authorization_of(backend: &Backend, url: &Url) -> Result<Option<HeaderValue>, String> {
    let has_user = !url.username().is_empty() || url.password().is_some();
    let text = match &backend.secret {
        Some(_) if has_user => return Err("it has both a secret and a user in its url".to_owned()),
        Some(secret) => [b"Bearer ", secret.as_bytes()].concat(),
        None if has_user => {
            let decode =
                |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
            let password = decode(url.password().unwrap_or_default());
            let user = [&decode(url.username()), &b":"[..], &password].concat();
            [b"Basic ", STANDARD.encode(user).as_bytes()].concat()
        }
        None => return Ok(None),
    };
    match HeaderValue::from_bytes(&text) {
        Ok(mut value) => {
            value.set_sensitive(true);
            Ok(Some(value))
        }
        Err(_) => Err("its secret has characters that a header cannot have".to_owned()),
    }
}

impl BackendClient {
    pub(super) fn name(&self) -> &str {
        self.backend.state.name()
    }

    pub(super) fn limits(&self) -> &BackendLimits {
        &self.backend.limits
    }

    /// Sends a hook to the backend and reads its response's body with `read`. No content is read as
    /// an empty object.
    ///
    /// # Errors
    ///
    /// A [`HookError`]. The backend may have processed the hook unless the error says otherwise.
    pub(super) async fn send<T>(
        &self,
        hook: Hook,
        body: impl FnOnce(PublicId) -> Vec<u8>,
        read: impl Fn(&[u8]) -> Result<T, InvalidResponse>,
    ) -> Result<T, HookError> {
        let id = self.ids.next();
        let state = &self.backend.state;
        let queue = state.queue(hook);
        let progress = queue.begin();
        let body = Bytes::from(body(id)); // nothing else is kept while it waits
        let is_in_flight = Cell::new(false);
        let timeout = Duration::from_millis(self.backend.limits.timeout_ms.into());
        let work = async {
            // Let the pool notice connections that the backend has closed.
            tokio::task::yield_now().await;
            is_in_flight.set(true);
            Box::pin(self.attempts(hook, id, &body, read)).await
        };
        let in_time = if hook == Hook::Close {
            match queue.turn(body.len()).await {
                Ok(_turn) => within(timeout, work).await,
                Err(error) => Some(Err(error)),
            }
        } else {
            let turn_and_work = async {
                let _turn = queue.turn(body.len()).await?;
                work.await
            };
            within(timeout, turn_and_work).await
        };
        let result = in_time.unwrap_or_else(|| {
            if is_in_flight.get() {
                state.note_attempt(Some(&HookError::TimedOut));
            }
            Err(HookError::TimedOut)
        });
        progress.end(result.is_ok());
        state.note_failure(result.as_ref().err());
        if let Err(error) = &result {
            let (backend, hook) = (self.name(), hook.as_str());
            let error = error.to_string();
            limited!(INFO, "a hook has failed", backend, hook, %id, error = error.as_str());
        }
        result
    }

    /// Sends the request until it succeeds, fails for good, or `retries_max` retries are used. The
    /// delay between attempts starts with `retry_delay_ms` and doubles.
    async fn attempts<T>(
        &self,
        hook: Hook,
        id: PublicId,
        body: &Bytes,
        read: impl Fn(&[u8]) -> Result<T, InvalidResponse>,
    ) -> Result<T, HookError> {
        let (state, limits) = (&self.backend.state, &self.backend.limits);
        let mut delay = Duration::from_millis(limits.retry_delay_ms.into());
        let mut retries_left = limits.retries_max;
        loop {
            let attempt = self.attempt(hook, id, body.clone()).await;
            let result = attempt.and_then(|answer| Ok(read(&answer)?));
            state.note_attempt(result.as_ref().err());
            match result {
                Err(error) if retries_left > 0 && should_retry(&error, hook) => {
                    retries_left -= 1;
                    tokio::time::sleep(delay).await;
                    delay *= 2;
                    state.note_retry();
                }
                result => return result,
            }
        }
    }

    async fn attempt(&self, hook: Hook, id: PublicId, body: Bytes) -> Result<Bytes, HookError> {
        let mut request = Request::new(Method::POST, self.backend.url.clone());
        let id = HeaderValue::from_str(&id.to_string()).expect("a UUID is ASCII");
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(HOOK, HeaderValue::from_static(hook.as_str()));
        headers.insert(HOOK_ID, id);
        if let Some(authorization) = &self.backend.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        *request.body_mut() = Some(body.into());
        let response = self.http.execute(request).await.map_err(|it| cause(&it))?;
        let status = response.status();
        let is_accepted = match hook {
            Hook::Close => status.is_success(),
            Hook::Message => matches!(status, StatusCode::OK | StatusCode::NO_CONTENT),
            Hook::Open | Hook::Authenticate | Hook::Join | Hook::Publish | Hook::Command => {
                status == StatusCode::OK
            }
        };
        if status.is_redirection() {
            return Err(HookError::InvalidResponse(format!("a redirect ({status})")));
        }
        if !is_accepted {
            return Err(HookError::Status(status.as_u16()));
        }
        let bytes_max = self.backend.limits.answer_bytes_max as usize;
        let body = read_body(response, bytes_max).await;
        match hook {
            // The body is read so that the connection can be reused.
            Hook::Close => Ok(body.unwrap_or_default()),
            Hook::Message if status == StatusCode::NO_CONTENT => Ok(Bytes::from_static(b"{}")),
            Hook::Open
            | Hook::Authenticate
            | Hook::Message
            | Hook::Join
            | Hook::Publish
            | Hook::Command => body,
        }
    }
}

/// Reads a body of at most `bytes_max` bytes.
///
/// # Errors
///
/// [`HookError::InvalidResponse`] if it is longer, [`HookError::Lost`] if the connection fails.
async fn read_body(response: Response, bytes_max: usize) -> Result<Bytes, HookError> {
    let too_long = || HookError::InvalidResponse(format!("more than {bytes_max} bytes"));
    if response
        .content_length()
        .is_some_and(|len| len > bytes_max as u64)
    {
        return Err(too_long());
    }
    let body = Limited::new(reqwest::Body::from(response), bytes_max);
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(error
            .downcast_ref::<reqwest::Error>()
            .map_or_else(too_long, cause)),
    }
}

/// Returns whether a failed hook is sent again: only if that cannot repeat a side effect.
fn should_retry(error: &HookError, hook: Hook) -> bool {
    match error {
        HookError::Unreachable(_) => true,
        HookError::Lost(_) | HookError::Status(502..=504) => hook.is_safe_to_repeat(),
        // A retry would take a descriptor that a client could use, or fail for the same reason.
        HookError::NoDescriptor(_)
        | HookError::Busy
        | HookError::TimedOut
        | HookError::Status(_)
        | HookError::InvalidResponse(_) => false,
    }
}

/// Maps an error of the HTTP client to a [`HookError`].
fn cause(error: &reqwest::Error) -> HookError {
    let causes = || std::iter::successors(error.source(), |cause| (*cause).source());
    let is_http = |test: fn(&hyper::Error) -> bool| {
        causes().any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(test))
    };
    let lacks_descriptor = || {
        let errors = causes().filter_map(|cause| cause.downcast_ref::<io::Error>());
        errors.filter_map(io::Error::raw_os_error).any(|errno| matches!(errno, EMFILE | ENFILE))
            // The error of a name lookup does not include the cause.
            || !can_open_a_file()
    };
    let text = chain(error);
    if error.is_connect() && lacks_descriptor() {
        HookError::NoDescriptor(text)
    } else if error.is_connect() || is_http(hyper::Error::is_canceled) {
        HookError::Unreachable(text) // hyper cancels only requests it has not begun to write
    } else if is_http(hyper::Error::is_parse) {
        HookError::InvalidResponse(text)
    } else {
        HookError::Lost(text)
    }
}

/// Returns whether the process and the system have a file descriptor left.
fn can_open_a_file() -> bool {
    let opened = fs::File::open("/dev/null");
    let errno = opened.err().and_then(|error| error.raw_os_error());
    !matches!(errno, Some(EMFILE | ENFILE))
}

/// The error code if the process has no descriptor left.
const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();
/// The error code if the system has no descriptor left.
const ENFILE: i32 = rustix::io::Errno::NFILE.raw_os_error();

/// Formats an error's causes, without the URL, which may contain a secret.
fn chain(error: &reqwest::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    if causes.is_empty() {
        // There are no causes, so use the error's own text, which may end with the URL.
        let text = error.to_string();
        causes.push(
            text.split(" for url (")
                .next()
                .unwrap_or_default()
                .to_owned(),
        );
    }
    causes.join(": ")
}

impl HookIds {
    /// Returns a random UUID of version 4.
    fn next(&self) -> PublicId {
        let mut bytes = [0; 16];
        self.0.borrow_mut().fill_bytes(&mut bytes);
        bytes[6] = 0x40 | bytes[6] & 0x0f;
        bytes[8] = 0x80 | bytes[8] & 0x3f;
        PublicId::from_bytes(bytes)
    }
}
