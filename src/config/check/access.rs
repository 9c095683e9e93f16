//! The authentication of a route's clients: its tokens, their sources, and its JWTs.

use super::super::error::Errors;
use super::super::texts::is_token_byte;
use super::super::{Config, Limits, Route, TokenSource};
use crate::dialect::TokenPlace;

/// Checks what a route says of its clients' tokens.
pub(super) fn check(route: &Route, config: &Config, at: &str, errors: &mut Errors) {
    errors.check(&format!("{at}.tokens"), check_tokens(route, &config.limits));
    if route.jwt.as_ref().is_some_and(|jwt| jwt.keys().is_none()) {
        let problem = "must have exactly one of secret, key_file and jwks_file";
        errors.error(&format!("{at}.jwt"), problem);
    }
    check_sources(route, config, at, errors);
    if route.anonymous && !route.authenticates() {
        let problem = format!("accepts clients that are accepted anyway: {NO_AUTHENTICATION}");
        errors.error_unless(&authentication(at), &format!("{at}.anonymous"), problem);
    }
}

/// Rejects a user that no session could have, and a token that no client could send.
fn check_tokens(route: &Route, limits: &Limits) -> Result<(), String> {
    let Some(tokens) = &route.tokens else {
        return Ok(());
    };
    let (token_max, user_max) = (limits.token_bytes_max, limits.name_bytes_max);
    let is_bad = |name: &str, max: u32| name.is_empty() || name.len() > max as usize;
    if tokens.iter().any(|(token, _)| is_bad(token, token_max)) {
        return Err(format!(
            "tokens have 1 to {token_max} bytes (limits.token_bytes_max)"
        ));
    }
    if tokens.iter().any(|(_, user)| is_bad(user, user_max)) {
        return Err(format!(
            "users have 1 to {user_max} bytes (limits.name_bytes_max)"
        ));
    }
    let (is_allowed, rule): TokenBytes = match route.dialect.route_spec().token {
        TokenPlace::Subprotocol => (
            is_token_byte,
            "tokens are sent as a subprotocol, and have letters, digits and !#$%&'*+-.^_`|~ only",
        ),
        TokenPlace::Cookie => (is_cookie_byte, IN_A_COOKIE),
        TokenPlace::Sources => tokens_of_sources(route),
        TokenPlace::Message | TokenPlace::None => (|_| true, ""),
    };
    let mut bytes = tokens.iter().flat_map(|(token, _)| token.bytes());
    if bytes.all(is_allowed) {
        Ok(())
    } else {
        Err(rule.to_owned())
    }
}

/// The bytes that a token may have, and the error of a token with others.
type TokenBytes = (fn(u8) -> bool, &'static str);

/// One of the sources of a route must be able to carry the token.
fn tokens_of_sources(route: &Route) -> TokenBytes {
    let Some(sources) = &route.token_from else {
        // A query carries every byte.
        return (|_| true, "");
    };
    let has = |wanted: fn(&TokenSource) -> bool| sources.iter().any(wanted);
    if has(|it| matches!(it, TokenSource::Query(_))) {
        (|_| true, "")
    } else if has(|it| matches!(it, TokenSource::Bearer | TokenSource::Header(_))) {
        (
            |byte| byte.is_ascii_graphic(),
            "tokens are sent in a header, and have visible ASCII characters only",
        )
    } else {
        (is_cookie_byte, IN_A_COOKIE)
    }
}

fn is_cookie_byte(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) && !b"\";\\".contains(&byte)
}

const IN_A_COOKIE: &str = "tokens are sent in a cookie, and have printable ASCII characters only, \
    without quotes, semicolons and backslashes";

fn check_sources(route: &Route, config: &Config, at: &str, errors: &mut Errors) {
    let Some(sources) = &route.token_from else {
        return;
    };
    for (index, source) in sources.iter().enumerate() {
        // A source made in code must be one that a file can have.
        let read: Result<TokenSource, String> = source.to_string().parse();
        let lower_case = || Err("the name of a header must be in lower case".to_owned());
        let checked = read.and_then(|it| if it == *source { Ok(()) } else { lower_case() });
        errors.check(&format!("{at}.token_from[{index}]"), checked);
    }
    if !route.authenticates() && !config.rules_check_tokens(route) {
        let problem = format!("is of no use: {NO_AUTHENTICATION}");
        let mut causes = authentication(at).to_vec();
        // A rule of another route of the namespace may be wrong.
        causes.extend(route.namespace.is_some().then(|| "routes".to_owned()));
        errors.error_unless(&causes, &format!("{at}.token_from"), problem);
    }
}

/// The keys of a route that may authenticate clients.
fn authentication(at: &str) -> [String; 5] {
    ["tokens", "jwt", "hooks", "channels", "commands"].map(|key| format!("{at}.{key}"))
}

const NO_AUTHENTICATION: &str = "nothing checks tokens; give the route tokens, a jwt, or hooks on \
    \"open\"";

#[cfg(test)]
mod tests {
    use crate::config::tests::trial::{check, read};

    use super::*;

    const WS: &str = "[[routes]]\npath = '/ws'\ndialect = 'wserver'\n";
    const EDK: &str = "[[routes]]\npath = '/edk'\ndialect = 'edk'\n";
    const EASYWS: &str = "[[routes]]\npath = '/easyws'\ndialect = 'easyws'\n";
    const WSRV: &str = "[[routes]]\npath = '/wsrv'\ndialect = 'wsrv'\n";

    #[test]
    fn tokens_and_users_have_the_length_of_names() {
        let tokens = |token: &str, user: &str| {
            format!(
                "limits = {{ name_bytes_max = 16, token_bytes_max = 20 }}\n\
                 {WS}[routes.tokens]\n'{token}' = '{user}'"
            )
        };
        let token =
            "f.toml:5: routes[0].tokens: tokens have 1 to 20 bytes (limits.token_bytes_max)";
        let user = "f.toml:5: routes[0].tokens: users have 1 to 16 bytes (limits.name_bytes_max)";
        let long = "a".repeat(21);
        check(&tokens("", "jack"), token);
        check(&tokens("aaa", ""), user);
        check(&tokens(&long, "jack"), token);
        check(&tokens("aaa", &long[4..]), user);
        assert!(read(&tokens(&long[1..], &long[5..])).is_ok());
    }

    #[test]
    fn tokens_have_only_bytes_that_their_place_can_carry() {
        let tokens = |dialect: &str, token: &str| {
            read(&format!("{dialect}tokens = {{ \"{token}\" = 'jack' }}"))
        };
        let bad = "a token of a config never reaches a client's header";
        for token in ["a b", "a,b", "a=", "\u{e9}"] {
            let error = tokens(EDK, token).expect_err(bad);
            let expected = "f.toml:4: routes[0].tokens: tokens are sent as a subprotocol, and have \
                letters, digits and !#$%&'*+-.^_`|~ only";
            assert_eq!(error, expected, "{token}");
        }
        for token in ["a;b", "a\\u0022", "a\\\\b", "\u{e9}", "a\\tb"] {
            let error = tokens(EASYWS, token).expect_err(bad);
            let expected = "f.toml:4: routes[0].tokens: tokens are sent in a cookie, and have \
                printable ASCII characters only, without quotes, semicolons and backslashes";
            assert_eq!(error, expected, "{token}");
        }
        assert!(tokens(EDK, "eyJhbGciOiJIUzI1NiJ9.e30.s-i_g").is_ok());
        assert!(tokens(EASYWS, "a b,c=").is_ok());
        assert!(tokens(WS, "a;b \u{e9}").is_ok());
    }

    #[test]
    fn tokens_have_only_bytes_that_one_of_their_places_can_carry() {
        let tokens = |sources: &str, token: &str| {
            read(&format!(
                "{WSRV}tokens = {{ \"{token}\" = 'jack' }}\n{sources}"
            ))
        };
        let header = "f.toml:4: routes[0].tokens: tokens are sent in a header, and have visible \
            ASCII characters only";
        let cookie = "f.toml:4: routes[0].tokens: tokens are sent in a cookie, and have printable \
            ASCII characters only, without quotes, semicolons and backslashes";
        for (sources, token, expected) in [
            ("", "\u{e9} b", Ok(())),
            ("token_from = ['bearer', 'query:t']", "\u{e9} b", Ok(())),
            ("token_from = ['bearer', 'cookie:t']", "a b", Err(header)),
            ("token_from = ['header:x-token']", "\u{e9}", Err(header)),
            ("token_from = ['header:x-token']", "a;b", Ok(())),
            ("token_from = ['cookie:t']", "a;b", Err(cookie)),
            ("token_from = ['cookie:t']", "a b", Ok(())),
        ] {
            let result = tokens(sources, token).map(drop);
            assert_eq!(result, expected.map_err(str::to_owned), "{sources} {token}");
        }
    }

    #[test]
    fn token_from_lists_valid_places_of_tokens_that_are_checked() {
        const NOTHING: &str = "nothing checks tokens; give the route tokens, a jwt, or hooks \
            on \"open\"";
        let tokens = format!("{WSRV}tokens = {{ a = 'jack' }}\n");
        for bad in [
            "basic",
            "bearer:a",
            "header",
            "header:",
            "cookie:a b",
            "query:",
            "",
        ] {
            check(
                &format!("{tokens}token_from = ['bearer', '{bad}']"),
                &format!(
                    "f.toml:5: routes[0].token_from[1]: \"{bad}\" is no place for a token, allowed \
                     are \"bearer\", \"header:NAME\", \"cookie:NAME\" and \"query:NAME\""
                ),
            );
        }
        for count in [0, 9] {
            check(
                &format!("{tokens}token_from = [{}]", "'bearer',".repeat(count)),
                &format!(
                    "f.toml:5: routes[0].token_from: has {count} elements, allowed are 1 to 8"
                ),
            );
        }
        check(
            &format!("{tokens}token_from = 'bearer'"),
            "f.toml:5: routes[0].token_from: must be a list such as [\"bearer\", \"query:token\"]; \
             found a string",
        );
        check(
            &format!("{WSRV}token_from = ['bearer']"),
            &format!("f.toml:4: routes[0].token_from: is of no use: {NOTHING}"),
        );
        check(
            &format!("{WSRV}anonymous = true"),
            &format!(
                "f.toml:4: routes[0].anonymous: accepts clients that are accepted anyway: {NOTHING}"
            ),
        );
        assert!(read(&format!("{WSRV}anonymous = false")).is_ok());

        let app = "[[backends]]\nname = 'app'\nurl = 'http://127.0.0.1/'\n";
        let both = "token_from = ['bearer']\nanonymous = true\n";
        for known in [
            "tokens = { a = 'jack' }",
            "jwt = { key_file = 'f' }",
            "hooks = { backend = 'app', on = ['open'] }",
        ] {
            assert!(
                read(&format!("{app}{WSRV}{both}{known}")).is_ok(),
                "{known}"
            );
        }
        let rule = "[[routes.channels]]\nname = 'vip'\njoin = { tokens = ['hush'] }";
        assert!(read(&format!("{WSRV}token_from = ['bearer']\n{rule}")).is_ok());
        assert!(read(&format!("{WSRV}anonymous = true\n{rule}")).is_err());
        let told = "hooks = { backend = 'app', on = ['close'] }";
        assert!(read(&format!("{app}{WSRV}{both}{told}")).is_err());

        let mut config = read(WSRV).expect("valid");
        config.routes[0].authenticated_by_code = true;
        config.routes[0].anonymous = true;
        config.routes[0].token_from = Some(vec![TokenSource::Query("t".to_owned())]);
        assert_eq!(config.validate(), Ok(()));
        let bad = [
            (
                TokenSource::Header("X-Token".to_owned()),
                "the name of a header must be in lower case",
            ),
            (
                TokenSource::Cookie(String::new()),
                "\"cookie:\" is no place for a token, allowed are \"bearer\", \"header:NAME\", \
                 \"cookie:NAME\" and \"query:NAME\"",
            ),
        ];
        for (source, problem) in bad {
            config.routes[0].token_from = Some(vec![source]);
            let error = config.validate().expect_err("no file can say so");
            assert_eq!(
                error.to_string(),
                format!("routes[0].token_from[0]: {problem}")
            );
        }
    }

    #[test]
    fn a_jwt_has_one_source_of_keys_and_valid_claims() {
        let expect_error = |jwt: &str, expected: &str| {
            check(
                &format!("{EDK}jwt = {jwt}"),
                &format!("f.toml:4: routes[0].jwt{expected}"),
            );
        };
        let one = ": must have exactly one of secret, key_file and jwks_file";
        expect_error("{}", one);
        expect_error("{ issuer = 'a' }", one);
        expect_error("{ key_file = 'a', jwks_file = 'b' }", one);
        expect_error(
            "{ secret = '0123456789abcdef0123456789abcdef', jwks_file = 'b' }",
            one,
        );
        expect_error(
            "'hush'",
            ": must be a table such as { key_file = \"jwt.pem\", issuer = \"https://a.example\" \
             }; found a string",
        );
        check(
            &format!("{EDK}jwt = {{ key = 'hush' }}"),
            "f.toml:4: routes[0].jwt.key: unknown key; did you mean \"key_file\"? allowed here: \
             secret, key_file, \
             jwks_file, issuer, audience, any_audience, user_claim, leeway_s",
        );
        expect_error(
            "{ secret = ['hush'] }",
            ".secret: must be a string, { file = \"...\" } or { env = \"...\" }; found an array",
        );
        let secret = |length: usize| format!("{{ secret = '{}' }}", "s".repeat(length));
        expect_error(&secret(31), ".secret: has 31 bytes, allowed are 32 to 4096");
        expect_error(
            &secret(4_097),
            ".secret: has 4097 bytes, allowed are 32 to 4096",
        );
        assert!(read(&format!("{EDK}jwt = {}", secret(32))).is_ok());
        for key in ["key_file", "jwks_file"] {
            let problem = format!(".{key}: is empty, and must be a file");
            expect_error(&format!("{{ {key} = '' }}"), &problem);
        }
        for (key, max) in [("issuer", 1_024), ("audience", 1_024), ("user_claim", 256)] {
            for length in [0, max + 1] {
                let value = "a".repeat(length);
                let problem = format!(".{key}: has {length} bytes, allowed are 1 to {max}");
                expect_error(
                    &format!("{{ key_file = 'f', {key} = '{value}' }}"),
                    &problem,
                );
            }
        }
        expect_error(
            "{ key_file = 'f', leeway_s = 301 }",
            ".leeway_s: 301 is too large, allowed are 0 to 300",
        );
        check(
            &format!("{EDK}tokens = {{ a = 'b' }}\njwt = {{ key_file = 'f' }}"),
            "f.toml:5: routes[0].jwt: cannot be combined with tokens",
        );

        let mut config = read(&format!("{EDK}jwt = {{ key_file = 'f' }}")).expect("valid");
        if let Some(jwt) = &mut config.routes[0].jwt {
            jwt.leeway_s = 301;
        }
        let errors = config.validate().expect_err("too much leeway");
        let error = errors.iter().next().expect("it has one");
        assert_eq!(error.key.as_deref(), Some("routes[0].jwt.leeway_s"));
    }
}
