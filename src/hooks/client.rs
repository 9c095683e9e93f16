//! The way to a backend: one pool of connections for each shard, and what is done when one fails.
//!
//! A hook has one id, however often it is tried. It is tried again when nothing of it was sent, and
//! if it only asks or tells also when the connection was lost or something in between says 502,
//! 503 or 504. Waiting, trying and reading have `timeout_ms` together; for `close`, which nobody
//! waits for, waiting does not count. Nothing here knows what is asked or what an answer means.

use super::answers::Nonsense;
use super::asks::Hook;
use super::connect::ConnectTimeout;
use super::state::BackendState;
use super::{HookError, OpenError};
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

/// How long a connection to a backend is kept that nobody uses: less than the five seconds after
/// which Node.js closes it, so that as a rule it is ours to close.
const IDLE_CONNECTION: Duration = Duration::from_secs(4);

/// Names the kind of hook.
const HOOK: HeaderName = HeaderName::from_static("campanile-hook");

/// Names the hook, the same however often it is tried.
const HOOK_ID: HeaderName = HeaderName::from_static("campanile-hook-id");

/// The backends of a gateway, as all its shards see them.
#[derive(Debug)]
pub(crate) struct Backends {
    all: Vec<Arc<OpenBackend>>,
    seed: [u8; 32],
}

/// A backend whose files have been read.
#[derive(derive_more::Debug)]
#[debug("OpenBackend {{ state: {state:?}, .. }}")]
struct OpenBackend {
    state: BackendState,
    url: Url,
    authorization: Option<HeaderValue>,
    certificates: Vec<Certificate>,
    limits: BackendLimits,
}

/// The backends, as one shard asks them.
#[derive(Debug)]
pub(crate) struct ShardBackends(Vec<Rc<BackendClient>>);

/// One backend, as one shard asks it.
#[derive(derive_more::Debug)]
#[debug("BackendClient {{ name: {:?}, .. }}", self.name())]
pub(super) struct BackendClient {
    backend: Arc<OpenBackend>,
    http: Client,
    ids: Rc<HookIds>,
}

/// Where the ids of a shard's hooks come from.
struct HookIds(RefCell<ChaCha12Rng>);

impl Backends {
    /// Reads what the backends of a config leave to files.
    ///
    /// # Errors
    ///
    /// [`OpenError::Backend`] if one of them can never be asked.
    pub(crate) fn open(config: &Config) -> Result<Arc<Self>, OpenError> {
        let all = config.backends.iter().map(open_backend);
        let all: Result<Vec<_>, OpenError> = all.collect();
        Ok(Arc::new(Self {
            all: all?.into_iter().map(Arc::new).collect(),
            seed: random_bytes().map_err(OpenError::Random)?,
        }))
    }

    /// Reads the files of one backend as [`Backends::open`] does, without keeping them.
    ///
    /// # Errors
    ///
    /// [`OpenError::Backend`] if no request can be sent to it.
    pub(crate) fn check(backend: &Backend) -> Result<(), OpenError> {
        open_backend(backend).map(drop)
    }

    /// How each of them does, in the order of the config. Nothing in it is secret.
    pub(crate) fn report(&self) -> Vec<serde_json::Value> {
        let states = self.all.iter().map(|backend| &backend.state);
        states.map(BackendState::report).collect()
    }

    /// Logs what was lost. To be called when the gateway has stopped.
    pub(crate) fn log_lost(&self) {
        self.all.iter().for_each(|it| it.state.log_lost());
    }

    /// How many hooks have failed since the start, by reason.
    pub(crate) fn failures(&self) -> BTreeMap<&'static str, u64> {
        let mut failures = BTreeMap::new();
        for backend in &self.all {
            for (label, count) in HookError::LABELS.into_iter().zip(backend.state.failures()) {
                *failures.entry(label).or_default() += count;
            }
        }
        failures
    }

    /// The backends for one shard. To be called on the shard's thread, in its runtime, which the
    /// connections then live in.
    ///
    /// # Errors
    ///
    /// What is wrong with one of them, which was not wrong when they were opened.
    pub(crate) fn on_shard(&self, shard_index: usize) -> Result<Rc<ShardBackends>, OpenError> {
        let mut random = ChaCha12Rng::from_seed(self.seed);
        random.set_stream(shard_index as u64);
        let ids = Rc::new(HookIds(RefCell::new(random)));
        let client = |backend: &Arc<OpenBackend>| {
            let http = backend.client().map_err(|problem| OpenError::Backend {
                name: backend.state.name().to_owned(),
                problem,
            })?;
            Ok(Rc::new(BackendClient {
                backend: Arc::clone(backend),
                http,
                ids: Rc::clone(&ids),
            }))
        };
        let all: Result<Vec<_>, OpenError> = self.all.iter().map(client).collect();
        Ok(Rc::new(ShardBackends(all?)))
    }
}

fn open_backend(backend: &Backend) -> Result<OpenBackend, OpenError> {
    OpenBackend::open(backend).map_err(|problem| OpenError::Backend {
        name: backend.name.clone(),
        problem,
    })
}

impl ShardBackends {
    /// The backend of that name.
    pub(super) fn find(&self, name: &str) -> Option<Rc<BackendClient>> {
        let mut all = self.0.iter();
        all.find(|client| client.name() == name).cloned()
    }
}

impl OpenBackend {
    fn open(backend: &Backend) -> Result<Self, String> {
        let mut url = match Url::parse(&backend.url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
            Ok(_) => return Err("its url is not one of http or https with a host".to_owned()),
            Err(error) => return Err(format!("its url is not usable: {error}")),
        };
        let authorization = authorization_of(backend, &url)?;
        // What stands before the host is said in a header, and shown nowhere.
        if url
            .set_username("")
            .and_then(|()| url.set_password(None))
            .is_err()
        {
            return Err("its url is not usable: it takes no user".to_owned());
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
        opened.client().map(drop)?; // tried here, where an operator hears of it
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
            builder.tls_certs_only(certificates) // the system's need not even be there
        };
        builder.build().map_err(|error| chain(&error))
    }
}

/// What shows a backend who asks: its secret, or what its URL has before the host.
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
        Err(_) => Err("its secret cannot stand in a header".to_owned()),
    }
}

impl BackendClient {
    pub(super) fn name(&self) -> &str {
        self.backend.state.name()
    }

    pub(super) fn limits(&self) -> &BackendLimits {
        &self.backend.limits
    }

    /// Asks the backend, and has `read` judge the body of its answer; no content is an object
    /// without members.
    ///
    /// # Errors
    ///
    /// A [`HookError`]; the backend may have done what it was asked unless it says otherwise.
    pub(super) async fn ask<T>(
        &self,
        hook: Hook,
        body: impl FnOnce(PublicId) -> Vec<u8>,
        read: impl Fn(&[u8]) -> Result<T, Nonsense>,
    ) -> Result<T, HookError> {
        let id = self.ids.next();
        let state = &self.backend.state;
        let queue = state.queue(hook);
        let progress = queue.begin();
        let body = Bytes::from(body(id)); // all that is kept of it while it waits
        let is_under_way = Cell::new(false);
        let timeout = Duration::from_millis(self.backend.limits.timeout_ms.into());
        let work = async {
            // Connections that the backend has closed are known as closed from here on.
            tokio::task::yield_now().await;
            is_under_way.set(true);
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
            if is_under_way.get() {
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

    /// Tries until there is an answer, or no sense in it.
    async fn attempts<T>(
        &self,
        hook: Hook,
        id: PublicId,
        body: &Bytes,
        read: impl Fn(&[u8]) -> Result<T, Nonsense>,
    ) -> Result<T, HookError> {
        let (state, limits) = (&self.backend.state, &self.backend.limits);
        let mut delay = Duration::from_millis(limits.retry_delay_ms.into());
        let mut retries_left = limits.retries_max;
        loop {
            let attempt = self.attempt(hook, id, body.clone()).await;
            let result = attempt.and_then(|answer| Ok(read(&answer)?));
            state.note_attempt(result.as_ref().err());
            match result {
                Err(error) if retries_left > 0 && is_worth_another_try(&error, hook) => {
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
        let id = HeaderValue::from_str(&id.to_string()).expect("an id is ASCII");
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
            return Err(HookError::Nonsense(format!("a redirect ({status})")));
        }
        if !is_accepted {
            return Err(HookError::Status(status.as_u16()));
        }
        let bytes_max = self.backend.limits.answer_bytes_max as usize;
        let body = read_body(response, bytes_max).await;
        match hook {
            // It is read so that the connection can be used again.
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

/// Reads a body, as long as it is within its bound.
async fn read_body(response: Response, bytes_max: usize) -> Result<Bytes, HookError> {
    let too_long = || HookError::Nonsense(format!("more than {bytes_max} bytes"));
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

/// Whether a hook that has failed so is tried again: where that cannot have something done twice.
fn is_worth_another_try(error: &HookError, hook: Hook) -> bool {
    match error {
        HookError::Unreachable(_) => true,
        HookError::Lost(_) | HookError::Status(502..=504) => hook.is_safe_to_repeat(),
        // Another attempt would take the descriptor that a client waits for, or find none either.
        HookError::NoDescriptor(_)
        | HookError::Busy
        | HookError::TimedOut
        | HookError::Status(_)
        | HookError::Nonsense(_) => false,
    }
}

/// What an error of the HTTP client means.
fn cause(error: &reqwest::Error) -> HookError {
    let causes = || std::iter::successors(error.source(), |cause| (*cause).source());
    let is_http = |test: fn(&hyper::Error) -> bool| {
        causes().any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(test))
    };
    let lacks_descriptor = || {
        let errors = causes().filter_map(|cause| cause.downcast_ref::<io::Error>());
        errors.filter_map(io::Error::raw_os_error).any(|errno| matches!(errno, EMFILE | ENFILE))
            // A name that could not be looked up does not say why.
            || !can_open_a_file()
    };
    let text = chain(error);
    if error.is_connect() && lacks_descriptor() {
        HookError::NoDescriptor(text)
    } else if error.is_connect() || is_http(hyper::Error::is_canceled) {
        HookError::Unreachable(text) // hyper cancels only what it has not begun to write
    } else if is_http(hyper::Error::is_parse) {
        HookError::Nonsense(text)
    } else {
        HookError::Lost(text)
    }
}

/// Whether the process and the system have a file descriptor left.
fn can_open_a_file() -> bool {
    let opened = fs::File::open("/dev/null");
    let errno = opened.err().and_then(|error| error.raw_os_error());
    !matches!(errno, Some(EMFILE | ENFILE))
}

/// The process has no descriptor left.
const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();
/// The system has no descriptor left.
const ENFILE: i32 = rustix::io::Errno::NFILE.raw_os_error();

/// An error with its causes, without the URL, which may hold a secret.
fn chain(error: &reqwest::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    if causes.is_empty() {
        // Nothing but the error itself says what it is; its text may end in the URL.
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
    /// A random UUID of version 4.
    fn next(&self) -> PublicId {
        let mut bytes = [0; 16];
        self.0.borrow_mut().fill_bytes(&mut bytes);
        bytes[6] = 0x40 | bytes[6] & 0x0f;
        bytes[8] = 0x80 | bytes[8] & 0x3f;
        PublicId::from_bytes(bytes)
    }
}
