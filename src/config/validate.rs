//! What must be true of a whole config, whether it was read from a file or made by an embedder.
//!
//! Each rule looks at the finished [`Config`] and complains in terms of its keys; the places supply
//! the line where there is one. The first broken rule is reported.

use std::collections::BTreeMap;

use super::error::{ConfigError, Places};
use super::{Config, DialectName, PushAuth, Route, Secret, quoted};
use crate::limits::{Heartbeat, Http, Limits, Ring, RouteLimits, SHUTDOWN_GRACE_MS, Setting};

/// Checks everything that a config promises to whoever reads it.
pub(super) fn validate(config: &Config, places: &Places) -> Result<(), ConfigError> {
    numbers_are_in_range(config, places)?;
    rings_fit_each_other(config, places)?;
    routes_are_sound(config, places)?;
    whole_messages_fit(config, places)?;
    pushing_is_guarded(config, places)
}

fn numbers_are_in_range(config: &Config, places: &Places) -> Result<(), ConfigError> {
    let check = |table: &str, settings: &[Setting], number: &dyn Fn(&str) -> Option<u64>| {
        for setting in settings {
            let Some(number) = number(setting.key) else {
                continue;
            };
            if let Err(problem) = setting.allowed.check(number.into()) {
                return Err(places.complain(&format!("{table}{}", setting.key), problem));
            }
        }
        Ok(())
    };

    check("", &[SHUTDOWN_GRACE_MS], &|_| {
        Some(config.shutdown_grace_ms.into())
    })?;
    check("limits.", Limits::SETTINGS, &|key| {
        config.limits.number(key)
    })?;
    check("heartbeat.", Heartbeat::SETTINGS, &|key| {
        config.heartbeat.number(key)
    })?;
    check("http.", Http::SETTINGS, &|key| config.http.number(key))?;
    check("ring.", Ring::SETTINGS, &|key| config.ring.number(key))?;
    for (index, route) in config.routes.iter().enumerate() {
        let table = format!("routes[{index}].");
        check(&table, RouteLimits::SETTINGS, &|key| {
            route.limits.number(key)
        })?;
    }
    Ok(())
}

/// Operations in flight stay below half the completion queue, and one full submission queue must
/// be able to be in flight.
fn rings_fit_each_other(config: &Config, places: &Places) -> Result<(), ConfigError> {
    let ring = &config.ring;
    if ring.completion_entries < 2 * ring.submission_entries {
        let problem = format!(
            "completion_entries, {}, must be at least twice submission_entries, {}",
            ring.completion_entries, ring.submission_entries
        );
        let keys = ["ring.completion_entries", "ring.submission_entries"];
        return Err(places.complain_of_either(&keys, problem));
    }
    if ring.entries_min > ring.submission_entries {
        let problem = format!(
            "entries_min, {}, must be at most submission_entries, {}",
            ring.entries_min, ring.submission_entries
        );
        let keys = ["ring.entries_min", "ring.submission_entries"];
        return Err(places.complain_of_either(&keys, problem));
    }
    Ok(())
}

fn routes_are_sound(config: &Config, places: &Places) -> Result<(), ConfigError> {
    let count = config.routes.len();
    if count == 0 || count > ROUTES_MAX {
        let problem = format!("there are {count} routes, allowed are 1 to {ROUTES_MAX}");
        return Err(places.complain("routes", problem));
    }

    let mut taken: BTreeMap<&str, String> = BTreeMap::new();
    for (index, route) in config.routes.iter().enumerate() {
        let paths = [
            ("path", Some(&route.path)),
            ("push_path", route.push_path.as_ref()),
            ("drop_path", route.drop_path.as_ref()),
        ];
        for (key, path) in paths {
            let Some(path) = path else { continue };
            let key = format!("routes[{index}].{key}");
            check_path(path).map_err(|problem| places.complain(&key, problem))?;
            if let Some(other) = taken.get(path.as_str()) {
                let problem = format!("{} is taken by {other}", quoted(path));
                return Err(places.complain(&key, problem));
            }
            taken.insert(path, key);
        }
        let complain = |key: &str, problem: String| {
            let in_route = format!("routes[{index}].{key}");
            let whole = format!("routes[{index}]");
            places.complain_of_either(&[&in_route, &whole], problem)
        };
        dialect_has_use_for(route).map_err(|(key, problem)| complain(key, problem))?;
        check_push_auth(route).map_err(|(key, problem)| complain(key, problem))?;
        check_tokens(route, &config.limits).map_err(|problem| complain("tokens", problem))?;
    }
    Ok(())
}

/// A key and what is wrong with it.
type Complaint = (&'static str, String);

/// For routes made in code: the file has already complained about keys an echo route lacks.
fn dialect_has_use_for(route: &Route) -> Result<(), Complaint> {
    match route.dialect {
        DialectName::Wserver => Ok(()),
        DialectName::Echo => {
            let used = [
                ("push_path", route.push_path.is_some()),
                ("drop_path", route.drop_path.is_some()),
                ("tokens", route.tokens.is_some()),
                ("push_secret", route.push_auth != PushAuth::None),
                (
                    "registration_timeout_ms",
                    route.limits.registration_timeout_ms != 0,
                ),
            ];
            match used.into_iter().find(|(_, used)| *used) {
                Some((key, _)) => Err((
                    key,
                    "a route of dialect \"echo\" has no such key".to_owned(),
                )),
                None => Ok(()),
            }
        }
    }
}

/// Paths are compared with a request's as they stand, so only what a request line can carry will
/// ever match.
fn check_path(path: &str) -> Result<(), String> {
    let is_allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&()*+,;=:@".contains(&byte);
    let problem = if !path.starts_with('/') {
        "does not start with \"/\"".to_owned()
    } else if path.len() > PATH_BYTES_MAX {
        return Err(format!(
            "has {} bytes, allowed are 1 to {PATH_BYTES_MAX}",
            path.len()
        ));
    } else if path.contains(['?', '#']) {
        "has a query or a fragment, which paths are compared without".to_owned()
    } else if !path.bytes().all(is_allowed) {
        "has a character that is not allowed; allowed are letters, digits and /-._~%!$&()*+,;=:@"
            .to_owned()
    } else {
        return Ok(());
    };
    Err(format!("{} {problem}", quoted(path)))
}

fn check_push_auth(route: &Route) -> Result<(), Complaint> {
    let key = match &route.push_auth {
        PushAuth::None => return Ok(()),
        PushAuth::Bearer { secret } => {
            check_header_value(secret, false).map_err(|problem| ("push_secret", problem))?;
            "push_secret"
        }
        PushAuth::Header { name, value } => {
            let is_token =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || name.len() > HEADER_NAME_BYTES_MAX || !name.bytes().all(is_token)
            {
                let problem = format!(
                    "{} is not the name of a header, such as \"X-Api-Key\"",
                    quoted(name)
                );
                return Err(("push_header.name", problem));
            }
            if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return Err(("push_header.name", "must be in lower case".to_owned()));
            }
            check_header_value(value, true).map_err(|problem| ("push_header.value", problem))?;
            "push_header"
        }
    };
    if route.push_path.is_none() && route.drop_path.is_none() {
        let problem = "guards nothing: the route has no push_path and no drop_path";
        return Err((key, problem.to_owned()));
    }
    Ok(())
}

/// A value that cannot be sent in a header could never be shown, and nobody could push.
fn check_header_value(secret: &Secret, inner_spaces: bool) -> Result<(), String> {
    let bytes = secret.0.as_bytes();
    let is_allowed = |byte: &u8| byte.is_ascii_graphic() || (inner_spaces && *byte == b' ');
    let has_space_around = bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ');
    if bytes.is_empty() || bytes.len() > SECRET_BYTES_MAX {
        let length = bytes.len();
        Err(format!(
            "has {length} characters, allowed are 1 to {SECRET_BYTES_MAX}"
        ))
    } else if has_space_around || !bytes.iter().all(is_allowed) {
        let spaces = if inner_spaces {
            ", and spaces between them"
        } else {
            ""
        };
        Err(format!(
            "has a character that is not allowed; allowed are visible ASCII characters{spaces}"
        ))
    } else {
        Ok(())
    }
}

/// A user's name that a registration could never have would be a silent dead end.
fn check_tokens(route: &Route, limits: &Limits) -> Result<(), String> {
    let Some(tokens) = &route.tokens else {
        return Ok(());
    };
    let max = limits.name_bytes_max as usize;
    let is_bad = |name: &str| name.is_empty() || name.len() > max;
    if tokens
        .0
        .iter()
        .any(|(token, user)| is_bad(token) || is_bad(user))
    {
        return Err(format!(
            "tokens and users have 1 to {max} bytes (limits.name_bytes_max)"
        ));
    }
    Ok(())
}

/// What one client may send whole must fit into what a shard may hold unfinished.
fn whole_messages_fit(config: &Config, places: &Places) -> Result<(), ConfigError> {
    let partial = config.limits.partial_bytes_max;
    let check = |what: &str, bytes: u32, keys: &[&str]| {
        if u64::from(bytes) <= partial {
            return Ok(());
        }
        let problem =
            format!("a {what} of {bytes} bytes does not fit into partial_bytes_max, {partial}");
        Err(places.complain_of_either(keys, problem))
    };

    for (index, route) in config.routes.iter().enumerate() {
        let own = format!("routes[{index}].message_bytes_max");
        let inherited = "limits.message_bytes_max";
        let keys = [own.as_str(), inherited, "limits.partial_bytes_max"];
        check("message", route.limits.message_bytes_max, &keys)?;
    }
    let keys = ["http.body_bytes_max", "limits.partial_bytes_max"];
    check("body", config.http.body_bytes_max, &keys)
}

/// Nobody should open a gateway to the world without having meant to.
fn pushing_is_guarded(config: &Config, places: &Places) -> Result<(), ConfigError> {
    if config.insecure || config.is_loopback() {
        return Ok(());
    }
    for (index, route) in config.routes.iter().enumerate() {
        let open = route.push_path.as_ref().or(route.drop_path.as_ref());
        let (Some(path), PushAuth::None) = (open, &route.push_auth) else {
            continue;
        };
        let problem = format!(
            "{} is not a loopback address, and {path} is open to everyone who reaches it; give its \
             route a push_secret or a push_header, or start with --insecure",
            config.listen
        );
        let route_key = format!("routes[{index}]");
        return Err(places.complain_of_either(&["listen", &route_key], problem));
    }
    Ok(())
}

/// Above this, looking through the routes for a request's path would want a table.
const ROUTES_MAX: usize = 64;
const PATH_BYTES_MAX: usize = 1_024;
const HEADER_NAME_BYTES_MAX: usize = 256;
const SECRET_BYTES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::Overrides;
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let result = Config::from_toml("f.toml", text, &Overrides::default());
        result.map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(read(text).expect_err("refused"), expected, "for {text:?}");
    }

    const WS: &str = "[[routes]]\npath = '/ws'\ndialect = 'wserver'\n";
    const ECHO: &str = "[[routes]]\npath = '/echo'\ndialect = 'echo'\n";

    #[test]
    fn a_path_is_one_that_a_request_can_have() {
        const CHARACTERS: &str = "has a character that is not allowed; allowed are letters, \
            digits and /-._~%!$&()*+,;=:@";
        const QUERY: &str = "has a query or a fragment, which paths are compared without";
        let cases = [
            ("ws", "\"ws\" does not start with \"/\"".to_owned()),
            ("", "\"\" does not start with \"/\"".to_owned()),
            ("/a?b", format!("\"/a?b\" {QUERY}")),
            ("/a#b", format!("\"/a#b\" {QUERY}")),
            ("/a b", format!("\"/a b\" {CHARACTERS}")),
            ("/{id}", format!("\"/{{id}}\" {CHARACTERS}")),
        ];
        for (path, expected) in cases {
            for key in ["push_path", "drop_path"] {
                check(
                    &format!("{WS}{key} = '{path}'"),
                    &format!("f.toml:4: routes[0].{key}: {expected}"),
                );
            }
            check(
                &format!("[[routes]]\ndialect = 'echo'\npath = '{path}'"),
                &format!("f.toml:3: routes[0].path: {expected}"),
            );
        }
        check(
            &format!("{WS}push_path = '/{}'", "a".repeat(1_024)),
            "f.toml:4: routes[0].push_path: has 1025 bytes, allowed are 1 to 1024",
        );
        let good = ["/", "/a/b", "/A-b_c.d~e", "/%20"];
        for path in good {
            assert!(read(&format!("{WS}push_path = '{path}'")).is_ok(), "{path}");
        }
    }

    #[test]
    fn no_path_occurs_twice_over_all_routes_and_kinds() {
        check(
            &format!("{WS}push_path = '/ws'"),
            "f.toml:4: routes[0].push_path: \"/ws\" is taken by routes[0].path",
        );
        check(
            &format!("{ECHO}{WS}drop_path = '/echo'"),
            "f.toml:7: routes[1].drop_path: \"/echo\" is taken by routes[0].path",
        );
        check(
            &format!("{WS}{WS}"),
            "f.toml:5: routes[1].path: \"/ws\" is taken by routes[0].path",
        );
        check(
            &format!("{WS}drop_path = '/echo'\n{ECHO}"),
            "f.toml:6: routes[1].path: \"/echo\" is taken by routes[0].drop_path",
        );
    }

    #[test]
    fn there_is_at_least_one_route_and_not_too_many() {
        check(
            "\nroutes = []",
            "f.toml:2: routes: there are 0 routes, allowed are 1 to 64",
        );
        let many = |count: usize| {
            let route = |index| format!("[[routes]]\npath = '/{index}'\ndialect = 'echo'\n");
            read(&(0..count).map(route).collect::<String>())
        };
        assert!(many(64).is_ok());
        let error = many(65).expect_err("one too many");
        assert!(
            error.ends_with("there are 65 routes, allowed are 1 to 64"),
            "{error}"
        );
    }

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
    fn tokens_and_users_have_a_length_that_a_registration_can_have() {
        let tokens = |token: &str, user: &str| {
            format!("limits.name_bytes_max = 16\n{WS}[routes.tokens]\n'{token}' = '{user}'")
        };
        let expected = "f.toml:5: routes[0].tokens: tokens and users have 1 to 16 bytes \
                        (limits.name_bytes_max)";
        let long = "a".repeat(17);
        check(&tokens("", "jack"), expected);
        check(&tokens("aaa", ""), expected);
        check(&tokens(&long, "jack"), expected);
        check(&tokens("aaa", &long), expected);
        assert!(read(&tokens(&long[1..], &long[1..])).is_ok());
    }

    #[test]
    fn a_ring_can_hold_what_is_in_flight() {
        check(
            "[ring]\nsubmission_entries = 16_384",
            "f.toml:2: ring.submission_entries: completion_entries, 16384, must be at least twice \
             submission_entries, 16384",
        );
        check(
            "[ring]\nentries_min = 8_192",
            "f.toml:2: ring.entries_min: entries_min, 8192, must be at most submission_entries, \
             4096",
        );
        assert!(read("ring = { submission_entries = 8192, entries_min = 8192 }").is_ok());
    }

    #[test]
    fn the_largest_message_and_body_fit_into_what_may_be_unfinished() {
        let does_not_fit = "does not fit into partial_bytes_max, 268435456";
        check(
            "limits.partial_bytes_max = 16_777_215",
            "f.toml:1: limits.partial_bytes_max: a message of 16777216 bytes does not fit into \
             partial_bytes_max, 16777215",
        );
        check(
            "limits.message_bytes_max = 268_435_457",
            &format!(
                "f.toml:1: limits.message_bytes_max: a message of 268435457 bytes {does_not_fit}"
            ),
        );
        check(
            &format!("{WS}message_bytes_max = 268_435_457"),
            &format!(
                "f.toml:4: routes[0].message_bytes_max: a message of 268435457 bytes \
                 {does_not_fit}"
            ),
        );
        check(
            "http.body_bytes_max = 268_435_457",
            &format!("f.toml:1: http.body_bytes_max: a body of 268435457 bytes {does_not_fit}"),
        );
        assert!(read("limits.partial_bytes_max = 16_777_216").is_ok());
    }

    #[test]
    fn an_open_push_is_refused_where_others_can_reach_it() {
        let open = |path: &str| {
            format!(
                "0.0.0.0:80 is not a loopback address, and {path} is open to everyone who reaches \
                 it; give its route a push_secret or a push_header, or start with --insecure"
            )
        };
        let listen = "\nlisten = '0.0.0.0:80'\n";
        check(listen, &format!("f.toml:2: listen: {}", open("/push")));
        check(
            &format!("{listen}{WS}drop_path = '/d'"),
            &format!("f.toml:2: listen: {}", open("/d")),
        );
        // One guarded route does not guard another.
        let guarded = format!("{WS}push_path = '/p'\npush_secret = 'a'\n");
        let second =
            "[[routes]]\npath = '/ws2'\ndialect = 'wserver'\npush_path = '/p2'\n".to_owned();
        check(
            &format!("{listen}{guarded}{second}"),
            &format!("f.toml:2: listen: {}", open("/p2")),
        );
        assert!(read(&format!("{listen}{guarded}")).is_ok());
        assert!(read(&format!("{listen}{WS}")).is_ok(), "nothing to push to");
        assert!(read(&format!("insecure = true{listen}")).is_ok());

        // Where a flag says where to listen, the line to change is the route's.
        let overrides = Overrides {
            listen: Some(SocketAddr::from(([0, 0, 0, 0], 80))),
            ..Overrides::default()
        };
        let text = format!("listen = '127.0.0.1:80'\n{WS}push_path = '/p'");
        let error = Config::from_toml("f.toml", &text, &overrides).expect_err("open");
        assert_eq!(
            error.to_string(),
            format!("f.toml:2: routes[0]: {}", open("/p"))
        );
        let error = Config::load(None, &overrides).expect_err("open");
        assert_eq!(error.to_string(), format!("listen: {}", open("/push")));
        let insecure = Overrides {
            insecure: true,
            ..overrides
        };
        assert!(Config::load(None, &insecure).is_ok());
    }

    #[test]
    fn loopback_is_loopback_in_every_spelling() {
        for ip in ["127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(read(&format!("listen = '{ip}:80'")).is_ok(), "{ip}");
        }
        for ip in ["10.0.0.1", "[::]", "[2001:db8::1]", "[::ffff:10.0.0.1]"] {
            assert!(read(&format!("listen = '{ip}:80'")).is_err(), "{ip}");
        }
    }

    #[test]
    fn a_config_made_in_code_is_held_to_the_same_rules() {
        type Spoil = fn(&mut Config);
        let cases: [(Spoil, &str); 6] = [
            (
                |config| config.limits.looks_per_turn_max = 0,
                "limits.looks_per_turn_max",
            ),
            (
                |config| config.shutdown_grace_ms = u32::MAX,
                "shutdown_grace_ms",
            ),
            (|config| config.ring.buffer_count = 100, "ring.buffer_count"),
            (
                |config| config.routes[1].limits.ping_interval_ms = 1,
                "routes[1].ping_interval_ms",
            ),
            (
                |config| config.routes[1].push_path = Some("/p".to_owned()),
                "routes[1].push_path",
            ),
            (
                |config| {
                    config.routes[0].push_auth = PushAuth::Header {
                        name: "X-Key".to_owned(),
                        value: Secret::new("a"),
                    };
                },
                "routes[0].push_header.name",
            ),
        ];
        for (spoil, key) in cases {
            let mut config = Config::default();
            spoil(&mut config);
            let error = config.validate().expect_err(key);
            assert_eq!((error.key.as_deref(), error.line), (Some(key), None));
        }
    }
}
