//! Cross-origin requests of web pages (CORS, Fetch standard 3.3).
//!
//! ```text
//!   OPTIONS /api/v1/publish              204
//!   Origin: https://a.example            Access-Control-Allow-Origin: https://a.example
//!   Access-Control-Request-Method: POST  Access-Control-Allow-Methods: GET, POST
//!                                        Access-Control-Allow-Headers: ..
//! ```
//!
//! The config lists the allowed origins. Browser credentials are not allowed: a page sends an API
//! key like any other caller.

use hyper::HeaderMap;
use hyper::Method;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderValue, ORIGIN, VARY,
};
use hyper::http::request::Parts;
use std::sync::Arc;

/// The origins whose pages may use the API.
#[derive(Clone, Debug)]
pub(super) struct Cors {
    /// In lower case, as browsers send them.
    origins: Arc<[String]>,
}

impl Cors {
    pub(super) fn new(origins: &[String]) -> Self {
        Self {
            origins: origins.into(),
        }
    }

    /// Returns the origin of a request, if it is listed.
    fn origin<'h>(&self, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        let mut origins = self.origins.iter();
        let is_listed = origins.any(|it| it.as_bytes() == origin.as_bytes());
        is_listed.then_some(origin)
    }

    /// Returns whether a request is a preflight from a listed origin.
    pub(super) fn is_preflight(&self, head: &Parts) -> bool {
        head.method == Method::OPTIONS
            && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
            && self.origin(&head.headers).is_some()
    }

    /// Adds the headers that allow a page of a listed origin to read the response.
    pub(super) fn add_to(&self, head: &Parts, response: &mut HeaderMap) {
        if self.origins.is_empty() {
            return;
        }
        // A cache must not reuse the response for another origin.
        response.append(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = self.origin(&head.headers) else {
            return;
        };
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.is_preflight(head) {
            response.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            response.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
            response.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
        } else {
            response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Content-Encoding, Idempotency-Key, X-Api-Key",
);
const EXPOSED: HeaderValue = HeaderValue::from_static("Idempotent-Replayed, Retry-After");
/// The longest time for which browsers cache a preflight, in seconds.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("7200");
