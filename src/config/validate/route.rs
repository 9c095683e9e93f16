//! What must be true of one route by itself.
//!
//! Each rule names the key that it complains about; the caller knows which route it is. Whether
//! what a route has is guarded well enough is for `guard.rs` to judge.

use super::super::route::{ROUTE_KEYS, is_name, language};
use super::super::words::quoted;
use super::super::{Config, Origin, PushAuth, Route, Schema};
use super::texts::{Complaint, check_header_value, check_length, complain, is_token, not_a_name};
use super::{access, channels, commands, hooks};

/// Checks everything about a route but its numbers, its paths and the channels of its namespace.
pub(super) fn check(route: &Route, config: &Config) -> Result<(), Complaint> {
    dialect_has_use_for(route)?;
    check_name(route)?;
    check_namespace(route)?;
    check_origin_rule(route)?;
    check_subprotocols(route)?;
    access::check(route, config)?;
    hooks::check(route, config)?;
    commands::check(route, config)?;
    channels::check_join_on_open(route, &config.limits)?;
    check_push_auth(route)?;
    check_schema(route)?;
    check_tap_secret(route)
}

/// For routes made in code: the file has already complained about a dialect that there is not, and
/// about keys a dialect lacks.
fn dialect_has_use_for(route: &Route) -> Result<(), Complaint> {
    language(route.dialect.name()).map_err(|problem| ("dialect".to_owned(), problem))?;
    match ROUTE_KEYS.iter().find(|key| key.is_misplaced(route)) {
        None => Ok(()),
        Some(key) => {
            let dialect = quoted(route.dialect.name());
            let problem = format!("a route of dialect {dialect} has no such key");
            complain(key.key, problem)
        }
    }
}

fn check_name(route: &Route) -> Result<(), Complaint> {
    match &route.name {
        Some(name) if !is_name(name) => complain("name", not_a_name(name)),
        _ => Ok(()),
    }
}

fn check_namespace(route: &Route) -> Result<(), Complaint> {
    match &route.namespace {
        Some(namespace) => check_length("namespace", namespace, NAMESPACE_BYTES_MAX),
        None => Ok(()),
    }
}

fn check_origin_rule(route: &Route) -> Result<(), Complaint> {
    let Some(Origin::List(list)) = &route.origin else {
        return Ok(());
    };
    let count = list.len();
    if count == 0 || count > ORIGINS_MAX {
        let problem = format!("lists {count} origins, allowed are 1 to {ORIGINS_MAX}");
        return complain("origin", problem);
    }
    for (index, origin) in list.iter().enumerate() {
        if let Err(problem) = check_origin(origin) {
            return complain(&format!("origin[{index}]"), problem);
        }
    }
    Ok(())
}

fn check_subprotocols(route: &Route) -> Result<(), Complaint> {
    let all = &route.subprotocols;
    let count = all.len();
    if count > SUBPROTOCOLS_MAX {
        let problem = format!("lists {count} subprotocols, allowed are 0 to {SUBPROTOCOLS_MAX}");
        return complain("subprotocols", problem);
    }
    for (index, subprotocol) in all.iter().enumerate() {
        let key = format!("subprotocols[{index}]");
        if !is_token(subprotocol) || subprotocol.len() > SUBPROTOCOL_BYTES_MAX {
            let problem = format!(
                "{} is not a subprotocol, allowed are 1 to {SUBPROTOCOL_BYTES_MAX} letters, digits \
                 and !#$%&'*+-.^_`|~",
                quoted(subprotocol)
            );
            return complain(&key, problem);
        }
        if let Some(other) = all[..index].iter().position(|it| it == subprotocol) {
            return complain(&key, format!("is the same as subprotocols[{other}]"));
        }
    }
    Ok(())
}

/// Checks an origin that is listed: one that no browser would send would never match.
pub(super) fn check_origin(origin: &str) -> Result<(), String> {
    look_at_origin(origin).map_err(|problem| format!("{} {problem}", quoted(origin)))
}

fn look_at_origin(origin: &str) -> Result<(), &'static str> {
    const WRONG: &str = "is not an origin, such as \"https://a.example\" or \
        \"http://a.example:8080\"";
    if origin.len() > ORIGIN_BYTES_MAX {
        return Err("has more than 512 bytes");
    }
    if origin.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("must be in lower case");
    }
    let (scheme, authority) = origin.split_once("://").ok_or(WRONG)?;
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic();
    if !scheme.as_bytes().first().is_some_and(is_letter) || !scheme.bytes().all(is_scheme) {
        return Err(WRONG);
    }
    if authority.contains(['/', '?', '#']) {
        return Err("has something behind the host and port, which no origin has");
    }
    // The colons of an IPv6 address are within brackets.
    let host_end = authority.rfind(']').map_or(0, |at| at + 1);
    let port_at = authority[host_end..].find(':').map(|at| host_end + at);
    let (host, port) = authority.split_at(port_at.unwrap_or(authority.len()));
    let is_address = |inner: &str| inner.parse::<std::net::Ipv6Addr>().is_ok();
    let bracketed = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_host = !host.is_empty() && host.bytes().all(is_part);
    if !bracketed.map_or(is_host, is_address) {
        return Err(WRONG);
    }
    match (scheme, port) {
        (_, "") => Ok(()),
        ("https", ":443") | ("http", ":80") => {
            Err("has the usual port of its scheme, which browsers leave out")
        }
        (_, port) => {
            let digits = port.trim_start_matches(':');
            let is_port = digits
                .parse::<u16>()
                .is_ok_and(|it| it.to_string() == digits);
            if is_port { Ok(()) } else { Err(WRONG) }
        }
    }
}

fn check_push_auth(route: &Route) -> Result<(), Complaint> {
    let key = match &route.push_auth {
        PushAuth::None => return Ok(()),
        PushAuth::Bearer { secret } => {
            check_header_value(secret, false)
                .map_err(|problem| ("push_secret".to_owned(), problem))?;
            "push_secret"
        }
        PushAuth::Header { name, value } => {
            if name.len() > HEADER_NAME_BYTES_MAX || !is_token(name) {
                let problem = format!(
                    "{} is not the name of a header, such as \"X-Api-Key\"",
                    quoted(name)
                );
                return complain("push_header.name", problem);
            }
            if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return complain("push_header.name", "must be in lower case");
            }
            check_header_value(value, true)
                .map_err(|problem| ("push_header.value".to_owned(), problem))?;
            "push_header"
        }
    };
    if route.push_path.is_none() && route.drop_path.is_none() {
        let problem = "guards nothing: the route has no push_path and no drop_path";
        return complain(key, problem);
    }
    Ok(())
}

fn check_tap_secret(route: &Route) -> Result<(), Complaint> {
    let Some(secret) = &route.tap_secret else {
        return Ok(());
    };
    check_header_value(secret, false).map_err(|problem| ("tap_secret".to_owned(), problem))?;
    match route.tap_path {
        Some(_) => Ok(()),
        None => complain("tap_secret", "guards nothing: the route has no tap_path"),
    }
}

fn check_schema(route: &Route) -> Result<(), Complaint> {
    let Schema::Descriptor {
        file,
        message,
        command_field,
    } = &route.schema
    else {
        return Ok(());
    };
    if file.as_os_str().is_empty() {
        return complain("descriptor_set", "is empty, and a file is wanted");
    }
    if !message.split('.').all(is_identifier) {
        let problem = format!(
            "{} is not the full name of a message, such as \"ws.Message\"",
            quoted(message)
        );
        return complain("message", problem);
    }
    match command_field {
        Some(field) if !is_identifier(field) => {
            let problem = format!(
                "{} is not the name of a field, such as \"type\"",
                quoted(field)
            );
            complain("command_field", problem)
        }
        _ => Ok(()),
    }
}

/// Whether something in a Protocol Buffers schema can be called so.
fn is_identifier(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts_with_digit = name.starts_with(|letter: char| letter.is_ascii_digit());
    !name.is_empty() && !starts_with_digit && name.bytes().all(is_part)
}

const NAMESPACE_BYTES_MAX: usize = 256;
pub(super) const ORIGINS_MAX: usize = 64;
const SUBPROTOCOLS_MAX: usize = 64;
const SUBPROTOCOL_BYTES_MAX: usize = 256;
const ORIGIN_BYTES_MAX: usize = 512;
const HEADER_NAME_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::super::super::{
        Action, ChannelSetting, CommandSetting, Hooks, Jwt, JwtKeys, OnFailure, PushFrame, Secret,
        Sender, TokenSource, Tokens,
    };
    use super::super::tests::trial::{check, read};
    use super::*;
    use crate::dialect::echo::Echo;
    use crate::dialect::tap::Tap;

    const WS: &str = "[[routes]]\npath = '/ws'\ndialect = 'wserver'\n";
    const EDK: &str = "[[routes]]\npath = '/edk'\ndialect = 'edk'\n";
    const FORGE: &str = "[[routes]]\npath = '/forge'\ndialect = 'projectforge'\n";

    #[test]
    fn what_guards_a_push_can_be_shown_by_a_pusher() {
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
            &format!("{key}.name: \"a b\" is not the name of a header, such as \"X-Api-Key\""),
        );
        check(
            &header("", "c"),
            &format!("{key}.name: \"\" is not the name of a header, such as \"X-Api-Key\""),
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
    fn what_guards_nothing_is_refused() {
        check(
            &format!("{WS}push_secret = 'a'"),
            "f.toml:4: routes[0].push_secret: guards nothing: the route has no push_path and no \
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
    fn a_namespace_has_a_length() {
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
            ("https://jack@a.example", WRONG),
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
            "f.toml:4: routes[0].origin: lists 0 origins, allowed are 1 to 64",
        );
        check(
            &origins(65),
            "f.toml:4: routes[0].origin: lists 65 origins, allowed are 1 to 64",
        );
        assert!(read(&origins(64)).is_ok());
    }

    #[test]
    fn a_tap_secret_guards_a_tap_and_can_be_shown() {
        check(
            &format!("{FORGE}tap_secret = 'a'"),
            "f.toml:4: routes[0].tap_secret: guards nothing: the route has no tap_path",
        );
        check(
            &format!("{FORGE}tap_path = '/t'\ntap_secret = 'a b'"),
            "f.toml:5: routes[0].tap_secret: has a character that is not allowed; allowed are \
             visible ASCII characters",
        );
        assert!(read(&format!("{FORGE}tap_path = '/t'\ntap_secret = 'a'")).is_ok());
    }

    #[test]
    fn a_descriptor_is_named_as_such_things_are() {
        let schema = |file: &str, message: &str, field: &str| {
            format!(
                "{EDK}schema = 'descriptor'\ndescriptor_set = '{file}'\nmessage = '{message}'\n\
                 command_field = '{field}'"
            )
        };
        check(
            &schema("", "a.B", "c"),
            "f.toml:5: routes[0].descriptor_set: is empty, and a file is wanted",
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
        let error = super::check(&Route::new("/a", &Tap), &Config::default());
        let (key, problem) = error.expect_err("it is what taps speak");
        assert_eq!(key, "dialect");
        assert!(problem.starts_with("\"tap\" is unknown, allowed are \"edk\", "));
    }

    #[test]
    fn a_route_made_in_code_has_only_what_its_dialect_has_a_use_for() {
        type Spoil = fn(&mut Route);
        let descriptor = |route: &mut Route| route.schema = Schema::Builtin;
        let secret = || Secret::new("a");
        let cases: &[(Spoil, &str)] = &[
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
            let error = config.validate().expect_err(key);
            let expected = format!("routes[5].{key}");
            assert_eq!(error.key.as_deref(), Some(expected.as_str()));
            assert_eq!(error.problem, "a route of dialect \"echo\" has no such key");
        }
        let push_auths = [
            (PushAuth::Bearer { secret: secret() }, "push_secret"),
            (
                PushAuth::Header {
                    name: "a".to_owned(),
                    value: secret(),
                },
                "push_header",
            ),
        ];
        for (push_auth, key) in push_auths {
            let mut route = Route::new("/a", &Echo);
            route.push_auth = push_auth;
            let error = super::check(&route, &Config::default()).expect_err(key);
            assert_eq!(error.0, key);
        }
    }
}
