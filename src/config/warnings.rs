//! Warnings about a valid config.

use super::key::Keys as _;
use super::{Config, Origin, PushAuth, Route, TokenSource, Tokens};
use crate::dialect::TokenPlace;

impl Config {
    /// Returns a line, which begins with the key, for each setting that is valid and probably a
    /// mistake. No secret is shown.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.short_secrets().collect();
        if self.api.keys.is_empty() && !self.api.allowed_origins.is_empty() {
            warnings.push(
                "api.allowed_origins: without [api] keys, no page of another host is served"
                    .to_owned(),
            );
        }
        for (index, route) in self.routes.iter().enumerate() {
            let key = format!("routes[{index}]");
            let tokens = route.tokens.iter().flat_map(Tokens::iter);
            let keys = Route::keys();
            for (token, _) in tokens.filter(|(token, _)| keys.iter().any(|it| it.name == *token)) {
                warnings.push(format!(
                    "{key}.tokens: the token \"{token}\" has the name of a key of routes; keys \
                     below [routes.tokens] are tokens, so put keys of the route above it"
                ));
            }
            let path = &route.path;
            if sends_cookies(route) && *route.origin() == Origin::Any {
                warnings.push(format!(
                    "{key}.origin: is \"any\", and tokens of {path} are in a cookie, which a \
                     browser sends for every page: any page can connect as its visitor; say \
                     \"same\" or list the origins"
                ));
            }
            warnings.extend(self.closed_paths(route).map(|(key, path, secret)| {
                format!(
                    "routes[{index}].{key}: no request to {path} is served: api.open is false, \
                     and the route has no {secret}"
                )
            }));
            let needs_user = route.dialect.route_spec().exclusive_users;
            if needs_user && !self.trusts_user_header(route) && !route.authenticates() {
                warnings.push(format!(
                    "{key}: no client can connect at {path}: api.open is false, so the header \
                     x-user-id is not believed, and nothing else names a client's user; give it \
                     tokens, a jwt or hooks on \"open\", or trust_user_header = true"
                ));
            }
        }
        warnings
    }

    /// Returns the paths of a route that reject all requests, each with its key and the key of the
    /// secret that would open it.
    fn closed_paths<'c>(
        &self,
        route: &'c Route,
    ) -> impl Iterator<Item = (&'static str, &'c str, &'static str)> {
        let is_keyless = route.push_auth() == PushAuth::None && !route.push_authorized_by_code;
        let push = "push_secret";
        let paths = [
            ("push_path", &route.push_path, push, is_keyless),
            ("drop_path", &route.drop_path, push, is_keyless),
            (
                "tap_path",
                &route.tap_path,
                "tap_secret",
                route.tap_secret.is_none(),
            ),
        ];
        let is_closed = !self.api.open;
        let paths = paths
            .into_iter()
            .filter(move |(.., is_keyless)| is_closed && *is_keyless);
        paths.filter_map(|(key, path, secret, _)| Some((key, path.as_deref()?, secret)))
    }

    fn short_secrets(&self) -> impl Iterator<Item = String> {
        let keys = self.api.keys.iter().enumerate();
        let keys = keys.map(|(index, key)| (format!("api.keys[{index}]"), key));
        let backends = self.backends.iter().enumerate();
        let backends = backends.filter_map(|(index, backend)| {
            Some((
                format!("backends[{index}].secret"),
                backend.secret.as_ref()?,
            ))
        });
        let routes = self.routes.iter().enumerate().flat_map(|(index, route)| {
            let header = route.push_header.as_ref().map(|header| &header.value);
            let of_route = [
                ("push_secret", route.push_secret.as_ref()),
                ("push_header.value", header),
                ("tap_secret", route.tap_secret.as_ref()),
            ];
            let of_route = of_route.into_iter();
            let of_route = of_route.filter_map(|(key, secret)| Some((key, secret?)));
            of_route.map(move |(key, secret)| (format!("routes[{index}].{key}"), secret))
        });
        let all = keys.chain(backends).chain(routes);
        all.filter_map(|(key, secret)| {
            let length = secret.as_bytes().len();
            (length < SECRET_BYTES_MIN).then(|| {
                format!(
                    "{key}: has {length} characters and can be guessed; use {SECRET_BYTES_MIN} or \
                     more"
                )
            })
        })
    }
}

/// Whether a token of the route may be in a cookie, which browsers send by themselves.
fn sends_cookies(route: &Route) -> bool {
    let sources = route.token_from.as_deref().unwrap_or_default();
    route.dialect.route_spec().token == TokenPlace::Cookie
        || sources
            .iter()
            .any(|source| matches!(source, TokenSource::Cookie(_)))
}

/// The length below which a secret can be guessed, in characters.
const SECRET_BYTES_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::Overrides;
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let config = Config::from_toml("f.toml", text, &Overrides::default()).expect("valid");
        let warnings = config.warnings();
        let begins = |(warning, expected): (&String, &&str)| warning.starts_with(*expected);
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        assert!(warnings.iter().zip(expected).all(begins), "{warnings:?}");
    }

    #[test]
    fn the_default_config_has_no_warnings() {
        assert_eq!(Config::default().warnings(), Vec::<String>::new());
    }

    #[test]
    fn a_cookie_that_any_page_may_use_is_warned_of() {
        let easyws = "[[routes]]\npath = '/a'\ndialect = 'easyws'\n";
        check(easyws, &[]);
        check(
            &format!("{easyws}origin = 'any'"),
            &["routes[0].origin: is \"any\""],
        );
        check(&format!("{easyws}origin = ['https://a.example']"), &[]);
        let wsrv = "[[routes]]\npath = '/a'\ndialect = 'wsrv'\ntokens = { a = 'jack' }\n";
        check(wsrv, &[]);
        let cookie = format!("{wsrv}token_from = ['bearer', 'cookie:session']\n");
        check(&cookie, &["routes[0].origin: is \"any\""]);
        check(&format!("{cookie}origin = 'same'"), &[]);
    }

    #[test]
    fn a_token_with_the_name_of_a_key_is_warned_of() {
        let route = "[[routes]]\npath = '/a'\ndialect = 'wserver'\n[routes.tokens]\na = 'jack'\n";
        check(route, &[]);
        check(
            &format!("{route}push_path = '/p'\nname = 'b'"),
            &[
                "routes[0].tokens: the token \"name\" ",
                "routes[0].tokens: the token \"push_path\" ",
            ],
        );
    }

    #[test]
    fn a_secret_that_can_be_guessed_is_warned_of() {
        check(
            "api.keys = ['123456789012345', '1234567890123456']\n\
             [[backends]]\nname = 'a'\nurl = 'http://127.0.0.1/'\nsecret = 'a'\n\
             [[routes]]\npath = '/a'\ndialect = 'wserver'\npush_path = '/b'\npush_secret = \
             'short'\n\
             [[routes]]\npath = '/c'\ndialect = 'wserver'\npush_path = '/d'\n\
             push_header = { name = 'X-Key', value = 'short' }\n\
             [[routes]]\npath = '/e'\ndialect = 'projectforge'\ntap_path = '/f'\n\
             tap_secret = 'short'",
            &[
                "api.keys[0]: has 15 characters",
                "backends[0].secret: has 1 ",
                "routes[0].push_secret: has 5 ",
                "routes[1].push_header.value: has 5 ",
                "routes[2].tap_secret: has 5 ",
            ],
        );
    }

    #[test]
    fn paths_that_serve_no_request_are_warned_of() {
        let ws =
            "[[routes]]\npath = '/a'\ndialect = 'wserver'\npush_path = '/b'\ndrop_path = '/c'\n";
        let tap = "[[routes]]\npath = '/d'\ndialect = 'projectforge'\ntap_path = '/e'\n";
        let closed = format!("api.open = false\n{ws}{tap}");
        let expected = [
            "routes[0].push_path: no request to /b is served",
            "routes[0].drop_path: no request to /c is served",
            "routes[1].tap_path: no request to /e is served",
        ];
        check(&closed, &expected);
        check(&format!("{ws}{tap}"), &[]);
        let guarded = format!("api.open = false\n{ws}push_secret = '0123456789abcdef'");
        check(&guarded, &[]);
        let page = "api.allowed_origins = ['https://a.example']\n";
        check(page, &["api.allowed_origins: "]);
        check(&format!("{page}api.keys = ['0123456789abcdef']"), &[]);
    }

    #[test]
    fn a_route_that_accepts_no_client_is_warned_of() {
        let edk = "[[routes]]\npath = '/a'\ndialect = 'edk'\n";
        check(
            &format!("api.open = false\n{edk}"),
            &["routes[0]: no client can connect at /a"],
        );
        check(
            &format!("api.open = false\n{edk}trust_user_header = true"),
            &[],
        );
        check(
            &format!("api.open = false\n{edk}tokens = {{ a = 'jack' }}"),
            &[],
        );
    }
}
