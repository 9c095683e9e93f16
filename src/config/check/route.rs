//! Rules between the keys of one route.
//!
//! Whether what a route has is protected well enough is for `guard.rs`.

use super::super::error::Errors;
use super::super::{Config, PushAuth, Route, Schema};
use super::{access, channels, commands, hooks};

/// Checks a route but for its paths and the channels of its namespace.
pub(super) fn check(route: &Route, config: &Config, at: &str, errors: &mut Errors) {
    access::check(route, config, at, errors);
    hooks::check(route, config, at, errors);
    commands::check(route, config, at, errors);
    channels::check_join_on_open(route, &config.limits, at, errors);
    check_secrets_of_paths(route, at, errors);
    check_schema(route, at, errors);
}

/// A secret that protects nothing is a mistake.
fn check_secrets_of_paths(route: &Route, at: &str, errors: &mut Errors) {
    let key = match route.push_auth() {
        PushAuth::None => None,
        PushAuth::Bearer { .. } => Some("push_secret"),
        PushAuth::Header { .. } => Some("push_header"),
    };
    if let Some(key) = key
        && route.push_path.is_none()
        && route.drop_path.is_none()
    {
        let paths = ["push_path", "drop_path"].map(|path| format!("{at}.{path}"));
        let problem = "protects nothing: the route has no push_path and no drop_path";
        errors.error_unless(&paths, &format!("{at}.{key}"), problem);
    }
    if route.tap_secret.is_some() && route.tap_path.is_none() {
        let problem = "protects nothing: the route has no tap_path";
        let path = [format!("{at}.tap_path")];
        errors.error_unless(&path, &format!("{at}.tap_secret"), problem);
    }
}

/// The keys of a descriptor belong to the schema `descriptor`, which needs the first two.
fn check_schema(route: &Route, at: &str, errors: &mut Errors) {
    let keys = [
        (
            "descriptor_set",
            route.descriptor_set.is_some(),
            "a file as `protoc` writes it",
        ),
        ("message", route.message.is_some(), "such as \"ws.Message\""),
        ("command_field", route.command_field.is_some(), ""),
    ];
    let is_descriptor = route.schema == Schema::Descriptor;
    for (key, is_set, hint) in keys {
        let path = format!("{at}.{key}");
        if is_set && !is_descriptor {
            let problem = "belongs to schema = \"descriptor\" and to no other schema";
            errors.error_unless(&[format!("{at}.schema")], &path, problem);
        } else if is_descriptor && !is_set && !hint.is_empty() {
            let problem = format!("is required by schema = \"descriptor\", {hint}");
            errors.error_unless(&[format!("{at}.schema")], &path, problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::keywords::quoted;
    use super::super::super::{
        Action, ChannelSetting, CommandSetting, Hooks, Jwt, JwtKeys, OnFailure, PushFrame,
        PushHeader, Secret, Sender, TokenSource, Tokens,
    };
    use super::*;
    use crate::config::tests::trial::{check, read};
    use crate::dialect::tap::Tap;

    const WS: &str = "[[routes]]\npath = '/ws'\ndialect = 'wserver'\n";
    const EDK: &str = "[[routes]]\npath = '/edk'\ndialect = 'edk'\n";
    const FORGE: &str = "[[routes]]\npath = '/forge'\ndialect = 'projectforge'\n";

    #[test]
    fn the_credentials_of_a_push_are_header_values() {
        const VISIBLE: &str =
            "has a character that is not allowed; allowed are visible ASCII characters";
        let bearer = |secret: &str| format!("{WS}push_path = '/p'\npush_secret = \"{secret}\"");
        let key = "f.toml:5: routes[0].push_secret";
        check(
            &bearer(""),
            &format!("{key}: has 0 characters, allowed are 1 to 4096"),
        );
        check(&bearer("a b"), &format!("{key}: {VISIBLE}"));
        check(&bearer("a\\n"), &format!("{key}: {VISIBLE}"));
        assert!(read(&bearer("a=+/~")).is_ok());

        let header = |name: &str, value: &str| {
            format!("{WS}push_path = '/p'\npush_header = {{ name = '{name}', value = '{value}' }}")
        };
        let key = "f.toml:5: routes[0].push_header";
        check(
            &header("a b", "c"),
            &format!("{key}.name: is not the name of a header, such as \"X-Api-Key\""),
        );
        check(
            &header("", "c"),
            &format!("{key}.name: is not the name of a header, such as \"X-Api-Key\""),
        );
        check(
            &header("a", " c"),
            &format!("{key}.value: {VISIBLE}, and spaces between them"),
        );
        check(
            &header("a", ""),
            &format!("{key}.value: has 0 characters, allowed are 1 to 4096"),
        );
        assert!(read(&header("X-Api-Key", "Basic b c")).is_ok());
    }

    #[test]
    fn a_push_secret_needs_a_push_or_drop_path() {
        check(
            &format!("{WS}push_secret = 'a'"),
            "f.toml:4: routes[0].push_secret: protects nothing: the route has no push_path and no \
             drop_path",
        );
        assert!(read(&format!("{WS}push_secret = 'a'\ndrop_path = '/d'")).is_ok());
    }

    #[test]
    fn a_name_is_short_and_plain() {
        let name = |name: &str| format!("{WS}name = '{name}'");
        for bad in ["", "a b", "a/b", "\u{e9}", &"a".repeat(65)] {
            let error = read(&name(bad)).expect_err("not a name");
            let expected = format!(
                "f.toml:4: routes[0].name: {} is not a name, allowed are 1 to 64 letters, digits \
                 and \"_.-\"",
                quoted(bad)
            );
            assert_eq!(error, expected);
        }
        assert!(read(&name("A-b_c.9")).is_ok());
        assert!(read(&name(&"a".repeat(64))).is_ok());
        let shared = format!("{WS}name = 'a'\n{EDK}name = 'a'");
        assert!(read(&shared).is_ok(), "two routes may share a name");
    }

    #[test]
    fn the_length_of_a_namespace_is_limited() {
        let namespace = |name: &str| format!("{WS}namespace = '{name}'");
        let key = "f.toml:4: routes[0].namespace";
        check(
            &namespace(""),
            &format!("{key}: has 0 bytes, allowed are 1 to 256"),
        );
        check(
            &namespace(&"a".repeat(257)),
            &format!("{key}: has 257 bytes, allowed are 1 to 256"),
        );
        assert!(read(&namespace(&"a".repeat(256))).is_ok());
        assert!(read(&namespace("what we call it")).is_ok());
    }

    #[test]
    fn a_listed_origin_is_one_that_a_browser_can_send() {
        const WRONG: &str = "is not an origin, such as \"https://a.example\" or \
            \"http://a.example:8080\"";
        const BEHIND: &str = "has something behind the host and port, which no origin has";
        const USUAL: &str = "has the usual port of its scheme, which browsers leave out";
        let list = |origin: &str| format!("{WS}origin = ['https://a.example', '{origin}']");
        let long = format!("https://{}", "a".repeat(505));
        let cases = [
            ("", WRONG),
            ("a.example", WRONG),
            ("*", WRONG),
            ("://a.example", WRONG),
            ("1http://a.example", WRONG),
            ("ht tp://a.example", WRONG),
            ("https://", WRONG),
            ("https://a b", WRONG),
            ("https://*.a.example", WRONG),
            ("https://a.example:", WRONG),
            ("https://a.example:x", WRONG),
            ("https://a.example:080", WRONG),
            ("https://a.example:65536", WRONG),
            ("https://a.example:1:2", WRONG),
            ("https://[::1", WRONG),
            ("https://[a]", WRONG),
            ("https://[::1]a:8080", WRONG),
            ("https://A.example", "must be in lower case"),
            ("https://a.example/", BEHIND),
            ("https://a.example?a", BEHIND),
            ("https://a.example:443", USUAL),
            ("http://[::1]:80", USUAL),
            (&long, "has more than 512 bytes"),
        ];
        for (origin, problem) in cases {
            check(
                &list(origin),
                &format!("f.toml:4: routes[0].origin[1]: \"{origin}\" {problem}"),
            );
        }
        check(
            &list("https://jack:hush@a.example"),
            "f.toml:4: routes[0].origin[1]: has a user in it, which no origin has",
        );
        for good in [
            "http://localhost:3000",
            "http://127.0.0.1",
            "https://a_b.c-d.example:80",
            "http://[::1]:8080",
            "http://[::1]",
            "app://x",
        ] {
            assert_eq!(read(&list(good)).err(), None);
        }
        let origins = |count: usize| format!("{WS}origin = [{}]", "'http://a',".repeat(count));
        check(
            &origins(0),
            "f.toml:4: routes[0].origin: has 0 elements, allowed are 1 to 64",
        );
        check(
            &origins(65),
            "f.toml:4: routes[0].origin: has 65 elements, allowed are 1 to 64",
        );
        assert!(read(&origins(64)).is_ok());
    }

    #[test]
    fn a_tap_secret_is_a_header_value_and_needs_a_tap() {
        check(
            &format!("{FORGE}tap_secret = 'a'"),
            "f.toml:4: routes[0].tap_secret: protects nothing: the route has no tap_path",
        );
        check(
            &format!("{FORGE}tap_path = '/t'\ntap_secret = 'a b'"),
            "f.toml:5: routes[0].tap_secret: has a character that is not allowed; allowed are \
             visible ASCII characters",
        );
        assert!(read(&format!("{FORGE}tap_path = '/t'\ntap_secret = 'a'")).is_ok());
    }

    #[test]
    fn names_of_a_descriptor_are_identifiers() {
        let schema = |file: &str, message: &str, field: &str| {
            format!(
                "{EDK}schema = 'descriptor'\ndescriptor_set = '{file}'\nmessage = '{message}'\n\
                 command_field = '{field}'"
            )
        };
        check(
            &schema("", "a.B", "c"),
            "f.toml:5: routes[0].descriptor_set: is empty, and must be a file",
        );
        for bad in ["", ".", ".a", "a.", "a b", "a.1b", "a-b"] {
            check(
                &schema("f", bad, "c"),
                &format!(
                    "f.toml:6: routes[0].message: \"{bad}\" is not the full name of a message, \
                     such as \"ws.Message\""
                ),
            );
        }
        for bad in ["", "a.b", "1a"] {
            check(
                &schema("f", "a.B", bad),
                &format!(
                    "f.toml:7: routes[0].command_field: \"{bad}\" is not the name of a field, \
                     such as \"type\""
                ),
            );
        }
        assert!(read(&schema("dir/f", "Message", "_type1")).is_ok());
    }

    #[test]
    fn a_route_made_in_code_has_a_dialect_that_routes_have() {
        let mut config = Config::default();
        config.routes[0] = Route::new("/a", &Tap);
        let errors = config.validate().expect_err("it is the dialect of taps");
        let expected = "routes[0].dialect: \"tap\" is unknown, allowed are \"edk\", ";
        assert!(errors.to_string().starts_with(expected), "{errors}");
    }

    #[test]
    fn a_route_made_in_code_has_only_keys_of_its_dialect() {
        type Spoil = fn(&mut Route);
        let descriptor = |route: &mut Route| route.schema = Schema::Builtin;
        let cases: &[(Spoil, &str)] = &[
            (|it| it.push_secret = Some(Secret::new("a")), "push_secret"),
            (
                |it| {
                    it.push_header = Some(PushHeader {
                        name: "a".to_owned(),
                        value: Secret::new("a"),
                    });
                },
                "push_header",
            ),
            (|it| it.tokens = Some(Tokens::default()), "tokens"),
            (
                |it| it.token_from = Some(vec![TokenSource::Bearer]),
                "token_from",
            ),
            (|it| it.anonymous = true, "anonymous"),
            (
                |it| it.jwt = Some(Jwt::new(JwtKeys::Pem("f".into()))),
                "jwt",
            ),
            (
                |it| {
                    it.hooks = Some(Hooks {
                        backend: "app".to_owned(),
                        on: Vec::new(),
                        on_failure: OnFailure::Fail,
                    });
                },
                "hooks",
            ),
            (
                |it| {
                    let echo = CommandSetting::new(Action::Echo);
                    it.commands.insert("echo".to_owned(), echo);
                },
                "commands",
            ),
            (|it| it.channels.push(ChannelSetting::new("a")), "channels"),
            (|it| it.join_on_open.push("a".to_owned()), "join_on_open"),
            (|it| it.push_path = Some("/p".to_owned()), "push_path"),
            (|it| it.drop_path = Some("/p".to_owned()), "drop_path"),
            (|it| it.trust_user_header = Some(true), "trust_user_header"),
            (
                |it| it.kick_out_new_user_conn = true,
                "kick_out_new_user_conn",
            ),
            (descriptor, "schema"),
            (|it| it.push_frame = PushFrame::Text, "push_frame"),
            (|it| it.from = Sender::User, "from"),
            (|it| it.lenient = true, "lenient"),
            (|it| it.tap_path = Some("/t".to_owned()), "tap_path"),
            (|it| it.tap_secret = Some(Secret::new("a")), "tap_secret"),
            (
                |it| it.playground_path = Some("/t".to_owned()),
                "playground_path",
            ),
            (
                |it| it.limits.registration_timeout_ms = 64,
                "registration_timeout_ms",
            ),
            (
                |it| it.limits.requests_in_flight_max = 1,
                "requests_in_flight_max",
            ),
        ];
        for (spoil, key) in cases {
            let mut config = Config::default();
            spoil(&mut config.routes[5]);
            let errors = config.validate().expect_err(key);
            let error = errors.iter().next().expect("it has one");
            let expected = format!("routes[5].{key}");
            assert_eq!(error.key.as_deref(), Some(expected.as_str()));
            assert_eq!(error.problem, "dialect \"echo\" has no such key");
        }
    }
}
