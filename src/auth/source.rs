//! Where a token is looked for in an upgrade request.

use crate::config::TokenSource;
use crate::handler::RequestHead;
use std::borrow::Cow;

/// Where a token is looked for unless the config says otherwise.
pub(crate) fn default_sources() -> Vec<TokenSource> {
    vec![TokenSource::Bearer, TokenSource::Query("token".to_owned())]
}

/// The token in the first of these places that has one. Empty ones and ones that are not UTF-8 are
/// none.
pub(crate) fn find_token(sources: &[TokenSource], head: &RequestHead<'_>) -> Option<Box<str>> {
    let found = sources.iter().find_map(|source| {
        let token = in_source(source, head)?;
        (!token.is_empty()).then_some(token)
    });
    found.map(Into::into)
}

fn in_source<'r>(source: &TokenSource, head: &RequestHead<'r>) -> Option<Cow<'r, str>> {
    let header = |name: &str| str::from_utf8(head.header(name)?).ok();
    match source {
        TokenSource::Bearer => bearer(header("authorization")?).map(Cow::Borrowed),
        TokenSource::Header(name) => Some(Cow::Borrowed(header(name)?.trim_matches([' ', '\t']))),
        TokenSource::Cookie(name) => cookie(header("cookie")?, name).map(Cow::Borrowed),
        TokenSource::Query(name) => {
            let mut pairs = form_urlencoded::parse(head.query()?.as_bytes());
            pairs
                .find(|(key, _)| key == name)
                .map(|(_, value)| Cow::Owned(value.into_owned()))
        }
    }
}

/// What stands behind the scheme `Bearer` (RFC 6750 2.1), whose name has no case (RFC 9110 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}

/// The value of the first cookie of this name (RFC 6265 5.4), without quotes around it.
fn cookie<'c>(header: &'c str, name: &str) -> Option<&'c str> {
    let mut pairs = header
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.trim_end() == name)?;
    let value = value.trim_start();
    let inner = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    Some(inner.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn find(sources: &[&str], uri: &str, headers: &[(&str, &str)]) -> Option<String> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        let sources: Vec<TokenSource> = sources
            .iter()
            .map(|text| text.parse().expect("a source"))
            .collect();
        find_token(&sources, &RequestHead::new(&head)).map(Into::into)
    }

    #[test]
    fn each_place_is_read_as_its_rfc_says() {
        for (source, uri, headers, expected) in [
            (
                "bearer",
                "/",
                &[("Authorization", "bEARER  a.b ")][..],
                Some("a.b"),
            ),
            ("bearer", "/", &[("Authorization", "Basic a")], None),
            ("bearer", "/", &[("Authorization", "Bearer")], None),
            ("bearer", "/", &[("Authorization", "Bearer ")], None),
            ("header:X-T", "/", &[("x-t", " a b ")], Some("a b")),
            (
                "cookie:s",
                "/",
                &[("Cookie", "t=1; s=a=b;s=c")],
                Some("a=b"),
            ),
            ("cookie:s", "/", &[("Cookie", "s=\"a\"")], Some("a")),
            ("cookie:s", "/", &[("Cookie", "xs=a; s")], None),
            ("query:t", "/?x=1&t=a%2Eb&t=c", &[], Some("a.b")),
            ("query:t", "/?t=", &[], None),
            ("query:t", "/", &[], None),
        ] {
            let found = find(&[source], uri, headers);
            assert_eq!(found.as_deref(), expected, "{source} {uri} {headers:?}");
        }
    }

    #[test]
    fn the_first_place_that_has_one_counts() {
        let headers = &[("Authorization", "Bearer a"), ("Cookie", "s=b")];
        let find = |sources: &[&str]| find(sources, "/?token=c", headers);
        assert_eq!(find(&["cookie:s", "bearer"]).as_deref(), Some("b"));
        assert_eq!(find(&["cookie:x", "query:token"]).as_deref(), Some("c"));
        assert_eq!(find(&["cookie:x"]), None);
    }
}
