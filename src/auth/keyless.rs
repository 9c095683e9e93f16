//! The trust rule for requests without a key, secret or token that come from this machine.
//!
//! Behind a proxy on the same host every peer is on loopback. So is a browser on this machine that
//! shows a page of another site. So a request is trusted only if nothing indicates that it was made
//! elsewhere:
//!
//! ```text
//!   POST /push HTTP/1.1          HTTP/1.1: nginx as a proxy uses 1.0 by default
//!   Host: 127.0.0.1:8080         localhost or a loopback address, not a name that resolves to one
//!   Origin: http://localhost     none, or a page of this machine
//!                                no Forwarded, X-Forwarded-*, X-Real-IP, Via, CF-*
//! ```
//!
//! A proxy that leaves no trace cannot be detected. Set `api.open = false` behind such a proxy.

use crate::config::{Config, Route};
use crate::vocabulary::authority::Authority;
use hyper::Version;
use hyper::header::{FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, VIA};
use hyper::http::request::Parts;

/// The rule for requests without a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Keyless {
    /// No request is trusted.
    Denied,
    /// Requests from this machine are trusted. Only if all peers are on this machine.
    Local,
    /// All requests are trusted: the operator has disabled the rule.
    Allowed,
}

/// The reason why a request without a key is not trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NotLocalError {
    /// The rule trusts no request.
    #[error("no request is trusted without one here")]
    Denied,
    /// The request is not HTTP/1.1.
    #[error("this one is not HTTP/1.1, as if a proxy had sent it")]
    Version,
    /// The request's host may be another machine's.
    #[error("this one is for a host that is not localhost or a loopback address")]
    Host,
    /// The request has a header of a proxy.
    #[error("this one has a header of a proxy")]
    Forwarded,
    /// The request is from a page of another host.
    #[error("this one is from a page of another host")]
    Origin,
}

impl Keyless {
    /// Returns the rule of a gateway with this config.
    pub(crate) fn of(config: &Config) -> Self {
        if config.insecure {
            Self::Allowed
        } else if config.trusts_this_machine() {
            Self::Local
        } else {
            Self::Denied
        }
    }

    /// Returns the rule for the header `x-user-id` on a route.
    pub(crate) fn of_user_header(config: &Config, route: &Route) -> Self {
        match route.trust_user_header {
            _ if !config.trusts_user_header(route) => Self::Denied,
            Some(_) => Self::Allowed,
            None => Self::of(config),
        }
    }

    /// Checks the head of a request.
    ///
    /// # Errors
    ///
    /// The first reason why the request is not trusted.
    pub(crate) fn decide(self, head: &Parts) -> Result<(), NotLocalError> {
        match self {
            Self::Denied => Err(NotLocalError::Denied),
            Self::Allowed => Ok(()),
            Self::Local => decide_local(head),
        }
    }
}

fn decide_local(head: &Parts) -> Result<(), NotLocalError> {
    let names_this_machine =
        |text: &[u8]| Authority::parse(text).is_some_and(Authority::is_loopback);
    if head.version != Version::HTTP_11 {
        return Err(NotLocalError::Version);
    }
    if !host_of(head).is_some_and(names_this_machine) {
        return Err(NotLocalError::Host);
    }
    if head.headers.keys().any(is_of_a_proxy) {
        return Err(NotLocalError::Forwarded);
    }
    let mut origins = head.headers.get_all(ORIGIN).iter();
    let is_local = |origin: &HeaderValue| {
        let authority = Authority::of_origin(origin.as_bytes());
        authority.is_some_and(|(authority, _)| authority.is_loopback())
    };
    if origins.all(is_local) {
        Ok(())
    } else {
        Err(NotLocalError::Origin)
    }
}

/// Returns the host and port that a request is for: the authority of its target, if that has one
/// (RFC 9112 3.2.2), else its `Host`.
pub(crate) fn host_of(head: &Parts) -> Option<&[u8]> {
    let target = head.uri.authority().map(|it| it.as_str().as_bytes());
    target.or_else(|| host(&head.headers))
}

fn host(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(HOST).map(HeaderValue::as_bytes)
}

fn is_of_a_proxy(name: &HeaderName) -> bool {
    let text = name.as_str();
    *name == FORWARDED
        || *name == VIA
        || text == "x-real-ip"
        || text.starts_with("x-forwarded-")
        || text.starts_with("cf-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn decide(target: &str, headers: &[(&str, &str)]) -> Result<(), NotLocalError> {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        Keyless::Local.decide(&parts)
    }

    #[test]
    fn a_request_from_this_machine_is_trusted_unless_a_sign_contradicts() {
        let host = ("host", "localhost:8080");
        assert_eq!(decide("/push", &[host]), Ok(()));
        assert_eq!(
            decide("/push", &[host, ("origin", "http://127.0.0.1:3000")]),
            Ok(())
        );
        assert_eq!(
            decide("http://[::1]/push", &[("host", "a.example")]),
            Ok(())
        );

        assert_eq!(decide("/push", &[]), Err(NotLocalError::Host));
        assert_eq!(
            decide("/push", &[("host", "a.example")]),
            Err(NotLocalError::Host)
        );
        assert_eq!(
            decide("http://a.example/push", &[host]),
            Err(NotLocalError::Host)
        );
        for name in [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-anything",
            "x-real-ip",
            "via",
            "cf-connecting-ip",
            "cf-ray",
        ] {
            assert_eq!(
                decide("/push", &[host, (name, "a")]),
                Err(NotLocalError::Forwarded),
                "{name}"
            );
        }
        for origin in [
            "http://a.example",
            "null",
            "",
            "file://",
            "http://localhost.a.example",
        ] {
            let seen = decide("/push", &[host, ("origin", origin)]);
            assert_eq!(seen, Err(NotLocalError::Origin), "{origin:?}");
        }
        let two = [
            host,
            ("origin", "http://localhost"),
            ("origin", "http://a.example"),
        ];
        assert_eq!(decide("/push", &two), Err(NotLocalError::Origin));
    }

    #[test]
    fn the_rule_can_be_switched_off_both_ways() {
        let (mut parts, ()) = Request::new(()).into_parts();
        assert_eq!(Keyless::Allowed.decide(&parts), Ok(()));
        parts
            .headers
            .insert(HOST, HeaderValue::from_static("localhost"));
        assert_eq!(Keyless::Local.decide(&parts), Ok(()));
        assert_eq!(Keyless::Denied.decide(&parts), Err(NotLocalError::Denied));
        parts.version = Version::HTTP_10;
        assert_eq!(Keyless::Local.decide(&parts), Err(NotLocalError::Version));
    }
}
