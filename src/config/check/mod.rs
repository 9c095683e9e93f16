//! Rules between the keys of a config, whether it was read from a file or made in code.
//!
//! Each rule looks at the finished [`Config`] and records errors in terms of its keys; the lines
//! come from [`Errors`]. Rules of one key stand in its row.

mod access;
mod channels;
mod commands;
mod guard;
mod hooks;
mod path;
mod route;
mod rule;

use self::path::PathsTaken;
use super::Config;
use super::error::Errors;
use super::key::check_table;
use super::keywords::quoted;

/// Checks everything that readers of a config rely on.
pub(super) fn check(config: &Config, errors: &mut Errors) {
    check_table(config, "", errors);
    rings_fit_each_other(config, errors);
    names_fit(config, errors);
    names_of_backends_differ(config, errors);
    paths_differ(config, errors);
    for (index, route) in config.routes.iter().enumerate() {
        let at = format!("routes[{index}]");
        if !errors.is_wrong(&format!("{at}.dialect")) {
            route::check(route, config, &at, errors);
        }
    }
    channels::check(config, errors);
    whole_messages_fit(config, errors);
    guard::check(config, errors);
}

/// Operations in flight stay below half the completion queue, and one full submission queue must
/// be able to be in flight.
fn rings_fit_each_other(config: &Config, errors: &mut Errors) {
    let ring = &config.ring;
    let (submission, completion) = (ring.submission_entries, ring.completion_entries);
    if completion / 2 < submission {
        let problem = format!(
            "completion_entries, {completion}, must be at least twice submission_entries, \
             {submission}"
        );
        errors.error_of(
            &["ring.completion_entries", "ring.submission_entries"],
            problem,
        );
    }
    let min = ring.entries_min;
    if min > submission {
        let problem =
            format!("entries_min, {min}, must be at most submission_entries, {submission}");
        errors.error_of(&["ring.entries_min", "ring.submission_entries"], problem);
    }
}

/// A session has room for one registration with the longest names, and a shard for one session.
fn names_fit(config: &Config, errors: &mut Errors) {
    let limits = &config.limits;
    let session = u64::from(limits.names_bytes_per_session_max);
    let longest = 2 * (u64::from(limits.token_bytes_max) + u64::from(limits.name_bytes_max));
    if session < longest {
        let problem = format!(
            "names_bytes_per_session_max, {session}, must be at least {longest}, twice \
             token_bytes_max and name_bytes_max together"
        );
        let keys = [
            "limits.names_bytes_per_session_max",
            "limits.token_bytes_max",
            "limits.name_bytes_max",
        ];
        errors.error_of(&keys, problem);
    }
    let shard = limits.names_bytes_max;
    if shard < session {
        let problem = format!(
            "names_bytes_max, {shard}, must be at least names_bytes_per_session_max, {session}"
        );
        let keys = [
            "limits.names_bytes_max",
            "limits.names_bytes_per_session_max",
        ];
        errors.error_of(&keys, problem);
    }
}

fn names_of_backends_differ(config: &Config, errors: &mut Errors) {
    for (index, backend) in config.backends.iter().enumerate() {
        let mut before = config.backends[..index].iter();
        if let Some(other) = before.position(|it| it.name == backend.name) {
            let name = quoted(&backend.name);
            let problem = format!("{name} is taken by backends[{other}].name");
            errors.error(&format!("backends[{index}].name"), problem);
        }
    }
}

fn paths_differ(config: &Config, errors: &mut Errors) {
    let mut taken = PathsTaken::new(config.serves_api());
    if let Some(path) = &config.health_path {
        let key = "health_path";
        errors.check(key, taken.take(path, key, false));
    }
    for (index, route) in config.routes.iter().enumerate() {
        let paths = [
            ("path", Some(&route.path)),
            ("push_path", route.push_path.as_ref()),
            ("drop_path", route.drop_path.as_ref()),
            ("playground_path", route.playground_path.as_ref()),
            ("tap_path", route.tap_path.as_ref()),
        ];
        for (key, path) in paths {
            let Some(path) = path else { continue };
            let is_pattern = key == "path";
            let key = format!("routes[{index}].{key}");
            if !errors.is_wrong(&key) {
                errors.check(&key, taken.take(path, &key, is_pattern));
            }
        }
    }
}

/// The longest message of one client must fit into what a shard may hold unfinished.
fn whole_messages_fit(config: &Config, errors: &mut Errors) {
    let partial = config.limits.partial_bytes_max;
    let mut check = |what: &str, bytes: u32, keys: &[&str]| {
        if u64::from(bytes) > partial {
            let problem =
                format!("a {what} of {bytes} bytes does not fit into partial_bytes_max, {partial}");
            errors.error_of(keys, problem);
        }
    };

    for (index, route) in config.routes.iter().enumerate() {
        let own = format!("routes[{index}].message_bytes_max");
        let inherited = "limits.message_bytes_max";
        let keys = [own.as_str(), inherited, "limits.partial_bytes_max"];
        check("message", route.limits.message_bytes_max, &keys);
    }
    let keys = ["http.body_bytes_max", "limits.partial_bytes_max"];
    check("body", config.http.body_bytes_max, &keys);
}

#[cfg(test)]
mod tests {
    use super::super::{PushHeader, Secret};
    use super::*;
    use crate::config::tests::trial::{check, read};

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
        ];
        // Only the path of the sockets may have parameters.
        let with_parameters = |expected: &str| {
            let is_of_characters = expected.ends_with(":@");
            let parameters = if is_of_characters {
                ", and {parameters}"
            } else {
                ""
            };
            format!("{expected}{parameters}")
        };
        for (path, expected) in cases {
            for key in ["push_path", "drop_path", "playground_path"] {
                check(
                    &format!("{WS}{key} = '{path}'"),
                    &format!("f.toml:4: routes[0].{key}: {expected}"),
                );
            }
            check(
                &format!("[[routes]]\ndialect = 'echo'\npath = '{path}'"),
                &format!("f.toml:3: routes[0].path: {}", with_parameters(&expected)),
            );
        }
        check(
            &format!("{WS}push_path = '/{{id}}'"),
            &format!("f.toml:4: routes[0].push_path: \"/{{id}}\" {CHARACTERS}"),
        );
        assert!(read(&format!("{WS}playground_path = '/a'")).is_ok());
        assert!(read("[[routes]]\ndialect = 'echo'\npath = '/{id}'").is_ok());
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
        check(
            &format!("{WS}playground_path = '/p'\npush_path = '/p'"),
            "f.toml:4: routes[0].playground_path: \"/p\" is taken by routes[0].push_path",
        );
        let forge = "[[routes]]\npath = '/{room}'\ndialect = 'projectforge'\n";
        check(
            &format!("{ECHO}{forge}tap_path = '/echo'"),
            "f.toml:7: routes[1].tap_path: \"/echo\" is taken by routes[0].path",
        );
        check(
            &format!("{forge}{ECHO}path = '/{{id}}'").replace("path = '/echo'\n", ""),
            "f.toml:6: routes[1].path: \"/{id}\" conflicts with \"/{room}\", which is \
             routes[0].path",
        );
        assert!(read(&format!("{forge}{ECHO}")).is_ok());
    }

    #[test]
    fn a_path_is_none_of_the_gateway_itself() {
        check(
            &format!("{WS}push_path = '/health'"),
            "f.toml:4: routes[0].push_path: \"/health\" is taken by health_path",
        );
        check(
            &format!("health_path = '/ws'\n{WS}"),
            "f.toml:3: routes[0].path: \"/ws\" is taken by health_path",
        );
        check(
            &format!("health_path = 'health'\n{WS}"),
            "f.toml:1: health_path: \"health\" does not start with \"/\"",
        );
        let nowhere = read(&format!("health_path = ''\n{WS}push_path = '/health'"));
        assert_eq!(nowhere.expect("valid").health_path, None);
        let elsewhere = read(&format!("health_path = '/up'\n{WS}push_path = '/health'"));
        let elsewhere = elsewhere.expect("valid").health_path;
        assert_eq!(elsewhere.as_deref(), Some("/up"));

        let taken = "is taken by the server API, as all under /api/ is (api.enabled)";
        for path in ["/api/", "/api/push", "/api/v1/push"] {
            check(
                &format!("{WS}push_path = '{path}'"),
                &format!("f.toml:4: routes[0].push_path: \"{path}\" {taken}"),
            );
            let off = format!("api.enabled = false\n{WS}push_path = '{path}'");
            assert_eq!(read(&off).err(), None);
        }
        check(
            "[[routes]]\ndialect = 'echo'\npath = '/api/{id}'",
            &format!("f.toml:3: routes[0].path: \"/api/{{id}}\" {taken}"),
        );
        check(
            "health_path = '/api/health'",
            &format!("f.toml:1: health_path: \"/api/health\" {taken}"),
        );
        assert_eq!(read(&format!("{WS}push_path = '/api'")).err(), None);
    }

    #[test]
    fn there_is_at_least_one_route_and_not_too_many() {
        check(
            "\nroutes = []",
            "f.toml:2: routes: has 0 elements, allowed are 1 to 64",
        );
        let many = |count: usize| {
            let route = |index| format!("[[routes]]\npath = '/{index}'\ndialect = 'echo'\n");
            read(&(0..count).map(route).collect::<String>())
        };
        assert!(many(64).is_ok());
        let error = many(65).expect_err("one too many");
        assert!(
            error.ends_with("has 65 elements, allowed are 1 to 64"),
            "{error}"
        );
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
    fn a_session_has_room_for_the_longest_names_and_a_shard_for_a_session() {
        check(
            "limits.names_bytes_per_session_max = 18_431",
            "f.toml:1: limits.names_bytes_per_session_max: names_bytes_per_session_max, 18431, \
             must be at least 18432, twice token_bytes_max and name_bytes_max together",
        );
        check(
            "[limits]\nname_bytes_max = 1_048_576",
            "f.toml:2: limits.name_bytes_max: names_bytes_per_session_max, 1048576, must be at \
             least 2113536, twice token_bytes_max and name_bytes_max together",
        );
        check(
            "limits.names_bytes_max = 1_048_575",
            "f.toml:1: limits.names_bytes_max: names_bytes_max, 1048575, must be at least \
             names_bytes_per_session_max, 1048576",
        );
        assert!(read("limits.names_bytes_per_session_max = 18_432").is_ok());
    }

    #[test]
    fn the_largest_message_and_body_fit_into_partial_bytes_max() {
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
                    config.routes[0].push_header = Some(PushHeader {
                        name: "X Key".to_owned(),
                        value: Secret::new("a"),
                    });
                },
                "routes[0].push_header.name",
            ),
        ];
        for (spoil, key) in cases {
            let mut config = Config::default();
            spoil(&mut config);
            let errors = config.validate().expect_err(key);
            let error = errors.iter().next().expect("it has one");
            assert_eq!((error.key.as_deref(), error.line), (Some(key), None));
        }
    }
}
