//! Token lookup in an upgrade request, at the places that the config names.

use super::bearer::bearer_of;
use crate::codec::cookie;
use crate::config::TokenSource;
use crate::handler::RequestHead;

/// Returns the default places of tokens: `Authorization: Bearer`, then the query's `token`, since
/// browsers cannot set headers.
pub(crate) fn default_sources() -> Vec<TokenSource> {
    vec![TokenSource::Bearer, TokenSource::Query("token".to_owned())]
}

/// Returns the token of the first place that has one. An empty value or one that is not text does
/// not count.
pub(crate) fn find_token(sources: &[TokenSource], head: RequestHead<'_>) -> Option<Box<str>> {
    sources.iter().find_map(|source| match source {
        TokenSource::Bearer => head
            .header_values("authorization")
            .filter_map(bearer_of)
            .find_map(text),
        TokenSource::Header(name) => head.header_values(name).find_map(text),
        TokenSource::Cookie(name) => cookie::find(head.header_values("cookie"), name)
            .filter(|value| !value.is_empty())
            .map(Into::into),
        TokenSource::Query(name) => form_urlencoded::parse(head.query()?.as_bytes())
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.into()),
    })
}

fn text(bytes: &[u8]) -> Option<Box<str>> {
    let text = str::from_utf8(bytes).ok()?;
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    /// Returns the token found at `sources`, separated by spaces, in a request with this target and
    /// these headers.
    fn find(sources: &str, target: &str, headers: &[(&str, &[u8])]) -> Option<Box<str>> {
        let sources: Vec<TokenSource> = sources
            .split_whitespace()
            .map(|source| source.parse().expect("a place for a token"))
            .collect();
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        find_token(&sources, RequestHead::new(&parts))
    }

    #[test]
    fn a_bearer_token_is_what_follows_the_scheme_in_any_case() {
        for (value, token) in [
            (&b"Bearer abc"[..], Some("abc")),
            (b"bEARER   a.b-c=", Some("a.b-c=")),
            (b"Bearer", None),
            (b"Bearer ", None),
            (b"Bearerabc", None),
            (b"Bearer\tabc", None),
            (b"Basic abc", None),
            (b"Bear", None),
            (b"Bearer \xff", None),
        ] {
            let found = find("bearer", "/", &[("Authorization", value)]);
            assert_eq!(found.as_deref(), token, "{value:?}");
        }
        let headers = [
            ("authorization", &b"Basic x"[..]),
            ("authorization", b"Bearer y"),
        ];
        assert_eq!(find("bearer", "/", &headers).as_deref(), Some("y"));
    }

    #[test]
    fn a_header_is_taken_whole() {
        let headers = [("X-Token", &b"Bearer x"[..])];
        assert_eq!(
            find("header:x-TOKEN", "/", &headers).as_deref(),
            Some("Bearer x")
        );
        assert_eq!(find("header:x-other", "/", &headers), None);
        assert_eq!(find("header:x-token", "/", &[("x-token", b"")]), None);
        assert_eq!(find("header:x-token", "/", &[("x-token", b"\xff")]), None);
    }

    #[test]
    fn a_cookie_is_read_as_easyws_reads_its_own() {
        for (lines, token) in [
            (&[&b"a=b; token=x; token=y"[..]][..], Some("x")),
            (&[b"a=b", b"token=\"a, b\""], Some("a, b")),
            (&[b"token=a\\b; token=y"], Some("y")),
            (&[b"token="], None),
            (&[b"Token=x"], None),
            (&[], None),
        ] {
            let headers: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            let found = find("cookie:token", "/", &headers);
            assert_eq!(found.as_deref(), token, "{lines:?}");
        }
    }

    #[test]
    fn a_value_in_the_query_is_percent_decoded() {
        for (target, token) in [
            ("/?token=x", Some("x")),
            ("/?a=b&token=a%2Bb%20c+d&token=z", Some("a+b c d")),
            ("/?tok%65n=x", Some("x")),
            ("/?token=&token=z", Some("z")),
            ("/?token", None),
            ("/?Token=x", None),
            ("/", None),
        ] {
            let found = find("query:token", target, &[]);
            assert_eq!(found.as_deref(), token, "{target:?}");
        }
    }

    #[test]
    fn the_first_place_that_has_a_token_counts() {
        let headers = [("cookie", &b"a=; c=cookie"[..]), ("authorization", b"x")];
        let target = "/?q=query";
        for (sources, token) in [
            ("bearer cookie:c query:q", Some("cookie")),
            ("query:q cookie:c", Some("query")),
            ("cookie:a query:q", Some("query")),
            ("header:authorization query:q", Some("x")),
            ("bearer cookie:a", None),
            ("", None),
        ] {
            let found = find(sources, target, &headers);
            assert_eq!(found.as_deref(), token, "{sources:?}");
        }
    }

    #[test]
    fn the_default_places_are_bearer_then_query() {
        let sources: Vec<String> = default_sources().iter().map(ToString::to_string).collect();
        assert_eq!(sources, ["bearer", "query:token"]);
    }
}
