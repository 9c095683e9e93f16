//! Requests that show no key, secret or token, and whether they are trusted for coming from this
//! machine.
//!
//! Behind a proxy on the same host every peer looks like loopback, and so does a browser here that
//! shows somebody else's page. So a request is trusted only if nothing about it says that it was
//! made elsewhere:
//!
//! ```text
//!   POST /push HTTP/1.1          HTTP/1.1: a proxy that is not told otherwise speaks 1.0 (nginx)
//!   Host: 127.0.0.1:8080         a name that only this machine can have, not what resolves to it
//!   Origin: http://localhost     none, or a page of this machine
//!                                no Forwarded, X-Forwarded-*, X-Real-IP, Via, CF-*
//! ```
//!
//! A proxy that leaves no trace cannot be seen; `api.open = false` is for whoever has one.

use crate::config::{Config, Route};
use crate::vocabulary::authority::Authority;
use hyper::Version;
use hyper::header::{FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, VIA};
use hyper::http::request::Parts;

/// Which requests without a key are trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Keyless {
    /// None.
    Denied,
    /// Those that this machine makes for itself. Only where all peers are on this machine.
    Local,
    /// All: the operator has switched the rule off.
    Allowed,
}

/// Why a request without a key is not trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NotLocal {
    /// None is.
    #[error("no request is trusted without one here")]
    Denied,
    /// It did not come as HTTP/1.1.
    #[error("this one is not HTTP/1.1, as if a proxy had sent it")]
    Version,
    /// It is for a host that is not this machine's for certain.
    #[error("this one is for a host that is not localhost or a loopback address")]
    Host,
    /// A proxy has left a header.
    #[error("this one has a header of a proxy")]
    Forwarded,
    /// A page of another host has made it.
    #[error("this one is from a page of another host")]
    Origin,
}

impl Keyless {
    /// The rule of a gateway with this config.
    pub(crate) fn of(config: &Config) -> Self {
        if config.insecure {
            Self::Allowed
        } else if config.trusts_this_machine() {
            Self::Local
        } else {
            Self::Denied
        }
    }

    /// The rule for the header `x-user-id` on a route.
    pub(crate) fn of_user_header(config: &Config, route: &Route) -> Self {
        match route.trust_user_header {
            _ if !config.trusts_user_header(route) => Self::Denied,
            Some(_) => Self::Allowed,
            None => Self::of(config),
        }
    }

    /// Judges a request by its head.
    ///
    /// # Errors
    ///
    /// The first reason not to trust it.
    pub(crate) fn judge(self, head: &Parts) -> Result<(), NotLocal> {
        match self {
            Self::Denied => Err(NotLocal::Denied),
            Self::Allowed => Ok(()),
            Self::Local => judge_local(head),
        }
    }
}

fn judge_local(head: &Parts) -> Result<(), NotLocal> {
    let names_this_machine =
        |text: &[u8]| Authority::parse(text).is_some_and(Authority::is_loopback);
    if head.version != Version::HTTP_11 {
        return Err(NotLocal::Version);
    }
    if !host_of(head).is_some_and(names_this_machine) {
        return Err(NotLocal::Host);
    }
    if head.headers.keys().any(is_of_a_proxy) {
        return Err(NotLocal::Forwarded);
    }
    let mut origins = head.headers.get_all(ORIGIN).iter();
    let is_local = |origin: &HeaderValue| {
        let authority = Authority::of_origin(origin.as_bytes());
        authority.is_some_and(|(authority, _)| authority.is_loopback())
    };
    if origins.all(is_local) {
        Ok(())
    } else {
        Err(NotLocal::Origin)
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

    fn judge(target: &str, headers: &[(&str, &str)]) -> Result<(), NotLocal> {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        Keyless::Local.judge(&parts)
    }

    #[test]
    fn a_request_of_this_machine_is_trusted_and_every_sign_of_another_ends_that() {
        let host = ("host", "localhost:8080");
        assert_eq!(judge("/push", &[host]), Ok(()));
        assert_eq!(
            judge("/push", &[host, ("origin", "http://127.0.0.1:3000")]),
            Ok(())
        );
        assert_eq!(judge("http://[::1]/push", &[("host", "a.example")]), Ok(()));

        assert_eq!(judge("/push", &[]), Err(NotLocal::Host));
        assert_eq!(
            judge("/push", &[("host", "a.example")]),
            Err(NotLocal::Host)
        );
        assert_eq!(judge("http://a.example/push", &[host]), Err(NotLocal::Host));
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
                judge("/push", &[host, (name, "a")]),
                Err(NotLocal::Forwarded),
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
            let seen = judge("/push", &[host, ("origin", origin)]);
            assert_eq!(seen, Err(NotLocal::Origin), "{origin:?}");
        }
        let two = [
            host,
            ("origin", "http://localhost"),
            ("origin", "http://a.example"),
        ];
        assert_eq!(judge("/push", &two), Err(NotLocal::Origin));
    }

    #[test]
    fn the_rule_can_be_switched_off_both_ways() {
        let (mut parts, ()) = Request::new(()).into_parts();
        assert_eq!(Keyless::Allowed.judge(&parts), Ok(()));
        parts
            .headers
            .insert(HOST, HeaderValue::from_static("localhost"));
        assert_eq!(Keyless::Local.judge(&parts), Ok(()));
        assert_eq!(Keyless::Denied.judge(&parts), Err(NotLocal::Denied));
        parts.version = Version::HTTP_10;
        assert_eq!(Keyless::Local.judge(&parts), Err(NotLocal::Version));
    }
}
