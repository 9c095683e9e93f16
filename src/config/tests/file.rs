//! Texts of files: the types and ranges of values, unknown keys, syntax.

use super::*;

/// Reads a file `f.toml` that has the errors `expected`.
#[track_caller]
fn check(text: &str, expected: &str) {
    let result = Config::from_toml("f.toml", text, &Overrides::default());
    let error = result.expect_err("invalid").to_string();
    assert_eq!(error, expected, "for {text:?}");
}

const WS: &str = "[[routes]]\npath = '/ws'\ndialect = 'wserver'\n";

#[test]
fn an_unknown_key_is_named_with_its_line_and_those_that_are_allowed() {
    const TOP: &str = "listen, shards, pin, insecure, log, shutdown_grace_ms, \
        drain_delay_ms, drain_ms, health_path, api, limits, heartbeat, http, ring, logging, \
        backends, routes";
    const ROUTE: &str = "path, dialect, name, namespace, origin, subprotocols, \
        playground_path, push_path, drop_path, push_secret, push_header, tokens, \
        jwt, hooks, join_on_open, channels, \
        message_bytes_max, outbox_bytes_max, ping_interval_ms, idle_timeout_ms, \
        registration_timeout_ms";
    check(
        "# one\n\nlimts = 1",
        &format!("f.toml:3: limts: unknown key; did you mean \"limits\"? allowed here: {TOP}"),
    );
    check(
        "pin = true\r\n[limts]\r\na = 1",
        &format!("f.toml:2: limts: unknown key; did you mean \"limits\"? allowed here: {TOP}"),
    );
    check(
        "[ring]\n\nsize = 1",
        "f.toml:3: ring.size: unknown key; allowed here: submission_entries, \
         completion_entries, buffer_count, buffer_bytes, entries_min",
    );
    check(
        &format!("{WS}pth = 1"),
        &format!(
            "f.toml:4: routes[0].pth: unknown key; did you mean \"path\"? allowed here: {ROUTE}"
        ),
    );
    check(
        &format!("{WS}push_header = {{ name = 'a', valu = 'b' }}"),
        "f.toml:4: routes[0].push_header.valu: unknown key; did you mean \"value\"? allowed \
         here: name, value\n\
         f.toml:4: routes[0].push_header.value: is required, such as \"...\"",
    );
}

#[test]
fn all_errors_of_a_file_are_reported_in_its_order() {
    check(
        "pin = 1\nlimts = 2\n[[routes]]\npath = 'a'\ndialect = 'wsrv'\norigin = 'b'\ntoken = 3\n\
         name = ''\n[limits]\nlooks_per_turn_max = 0\n[ring]\nentries_min = 8_192",
        "f.toml:1: pin: must be true or false; found an integer\n\
         f.toml:2: limts: unknown key; did you mean \"limits\"? allowed here: listen, shards, pin, \
         insecure, log, shutdown_grace_ms, drain_delay_ms, drain_ms, health_path, api, limits, \
         heartbeat, http, ring, logging, backends, routes\n\
         f.toml:4: routes[0].path: \"a\" does not start with \"/\"\n\
         f.toml:6: routes[0].origin: \"b\" is unknown, allowed are \"any\", \"same\" and lists \
         such as [\"https://a.example\"]\n\
         f.toml:7: routes[0].token: unknown key; did you mean \"tokens\"? allowed here: path, \
         dialect, name, namespace, origin, subprotocols, playground_path, tokens, jwt, token_from, \
         anonymous, push_frame, hooks, join_on_open, commands, channels, message_bytes_max, \
         outbox_bytes_max, ping_interval_ms, idle_timeout_ms, requests_in_flight_max\n\
         f.toml:8: routes[0].name: \"\" is not a name, allowed are 1 to 64 letters, digits and \
         \"_.-\"\n\
         f.toml:10: limits.looks_per_turn_max: 0 is too small, allowed are 1 to 64\n\
         f.toml:12: ring.entries_min: entries_min, 8192, must be at most submission_entries, 4096",
    );
}

/// An error may have many in its wake, which say nothing more.
#[test]
fn an_error_is_reported_once_and_not_those_that_follow_from_it() {
    let dialects =
        "allowed are \"edk\", \"wsrv\", \"easyws\", \"projectforge\", \"wserver\", \"echo\"";
    check(
        "[[routes]]\npath = '/a'\ndialect = 'wsvr'\npush_path = '/p'\ncommands = { a = 'hook' }",
        &format!("f.toml:3: routes[0].dialect: \"wsvr\" is unknown, {dialects}"),
    );
    check(
        "listen = ':80'\n[[routes]]\npath = '/a'\ndialect = 'wserver'\npush_path = '/p'\n\
         push_secret = 1",
        "f.toml:6: routes[0].push_secret: must be a string, { file = \"...\" } or { env = \
         \"...\" }; \
         found an integer",
    );
    check(
        "[[backends]]\nname = 'app'\nurl = 1\n[[routes]]\npath = '/a'\ndialect = 'wserver'\n\
         hooks = { backend = 'app', on = ['open'] }",
        "f.toml:3: backends[0].url: must be a string; found an integer",
    );
}

/// Each text has exactly these errors; every one of them was hidden once, or followed by others.
#[test]
fn an_error_hides_neither_too_little_nor_too_much() {
    const ROUTE: &str = "[[routes]]\ndialect = 'wsrv'\n";
    let app = "[[backends]]\nname = 'app'\nurl = 'http://127.0.0.1/'\n";
    let hook = "commands = { a = 'hook', b = { action = 'echo', allow = 'hook' } }\n";
    let claim = "channels = [{ name = 'a', join = { claim = 'b', value = 'c' } }]\n";
    for (text, expected) in [
        (
            format!("{ROUTE}name = ''"),
            &["1: routes[0].path: is required", "3: routes[0].name: "][..],
        ),
        (
            format!("{ROUTE}path = '/a'\n{hook}hooks = 'app'"),
            &["5: routes[0].hooks: must be a table"],
        ),
        (
            format!("{ROUTE}path = '/a'\n{claim}jwt = 1"),
            &["5: routes[0].jwt: must be a table"],
        ),
        (
            format!(
                "{app}timeot_ms = 1\n{ROUTE}path = '/a'\nhooks = {{ backend = 'b', on = ['open'] }}"
            ),
            &["4: backends[0].timeot_ms: ", "8: routes[0].hooks.backend: "],
        ),
        (
            "[[routes]]\npath = '/a'\ndialect = 'edk'\nschema = 'descriptor'".to_owned(),
            &["1: routes[0].descriptor_set: ", "1: routes[0].message: "],
        ),
        (
            "listen = ':80'\ninsecure = 'yes'\n[[routes]]\npath = '/a'\ndialect = 'edk'".to_owned(),
            &["2: insecure: must be true or false"],
        ),
        (
            format!(
                "{ROUTE}path = '/a'\ncommands = {{ a = {{ action = 'reply', data = [nan, inf] }} }}"
            ),
            &[
                "4: routes[0].commands.a.data[0]: ",
                "4: routes[0].commands.a.data[1]: ",
            ],
        ),
        (
            format!("shutdown_grace_ms = 10_000ms\n{ROUTE}path = '/a'\njoin_on_open = {{}}"),
            &[
                "1: shutdown_grace_ms: 10000ms is not a number",
                "5: routes[0].join_on_open: ",
            ],
        ),
        (
            "[api]\nkeys = ['hush'\nopen = true\n[limits]\nname_bytes_max = 512".to_owned(),
            &["2: keys: not valid TOML: the value has no end"],
        ),
        (
            "pin = no\npin = no".to_owned(),
            &[
                "1: pin: not valid TOML: a text must",
                "2: pin: not valid TOML: a text must",
            ],
        ),
        (
            "insecure = no\nlog = trace\npin = true".to_owned(),
            &[
                "1: insecure: not valid TOML: a text must be in",
                "2: log: not valid TOML: a text must",
            ],
        ),
    ] {
        let errors = Config::from_toml("f.toml", &text, &Overrides::default());
        let errors = errors.expect_err("errors").to_string();
        let lines: Vec<&str> = errors.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{text}\n{errors}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(
                line.starts_with(&format!("f.toml:{expected}")),
                "{text}\n{errors}"
            );
        }
    }
}

#[test]
fn many_elements_and_large_numbers_are_errors_and_no_panic() {
    let route = "[[routes]]\npath = '/a'\ndialect = 'echo'\n";
    let errors = Config::from_toml("f.toml", &route.repeat(65_536), &Overrides::default());
    let expected = "f.toml:1: routes: has 65536 elements, allowed are 1 to 64";
    assert_eq!(errors.expect_err("too many").to_string(), expected);

    let mut config = Config::default();
    config.ring.submission_entries = u32::MAX;
    config.ring.completion_entries = u32::MAX;
    config.limits.token_bytes_max = u32::MAX;
    config.limits.name_bytes_max = u32::MAX;
    assert!(config.validate().expect_err("too large").iter().count() >= 4);
}

#[test]
fn every_line_that_is_not_toml_is_reported_and_none_is_shown() {
    let result = Config::from_toml(
        "f.toml",
        "listen = 127.0.0.1:80\npin = tru\nhush hush\nlog = 'info'\nnosuch = 1",
        &Overrides::default(),
    );
    let errors = result.expect_err("not TOML");
    let lines: Vec<Option<usize>> = errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [Some(1), Some(2), Some(3)], "{errors}");
    assert!(!errors.to_string().contains("hush"), "{errors}");
}

#[test]
fn a_secret_comes_from_the_file_from_another_or_from_the_environment() {
    let path = std::env::temp_dir().join(format!("campanile-secret-{}", std::process::id()));
    fs::write(&path, "hush-in-a-file\r\n").expect("the temporary folder is writable");
    let tap = "[[routes]]\npath = '/a'\ndialect = 'projectforge'\ntap_path = '/t'\ntap_secret = ";
    let read = |value: &str| {
        let text = format!("{tap}{value}");
        let config = Config::from_toml("f.toml", &text, &Overrides::default());
        config.map(|mut it| it.routes.remove(0).tap_secret.expect("it has one"))
    };
    let of_file = read(&format!("{{ file = '{}' }}", path.display()));
    fs::remove_file(&path).expect("it was there");
    assert_eq!(of_file, Ok(Secret::new("hush-in-a-file")));
    // A variable that every test has.
    let manifest = env!("CARGO_MANIFEST_DIR");
    let of_environment = read("{ env = 'CARGO_MANIFEST_DIR' }");
    assert_eq!(of_environment, Ok(Secret::new(manifest)));

    for (value, problem) in [
        (
            "{ env = 'NO_SUCH' }",
            ".env: the variable \"NO_SUCH\" is not set",
        ),
        ("{ env = '' }", ".env: the variable \"\" is not set"),
        (
            "{ file = '/no/f' }",
            ".file: cannot read \"/no/f\": No such file or directory (os error 2)",
        ),
        (
            "{ file = '/dev/zero' }",
            ".file: \"/dev/zero\" is not a regular file",
        ),
        (
            "{ path = '/no/f' }",
            ".path: unknown key; allowed here: file, env",
        ),
        ("{}", ": must have one key, file or env"),
        (
            "{ file = 'a', env = 'b' }",
            ": must have one key, file or env",
        ),
        ("{ file = 1 }", ".file: must be a string; found an integer"),
    ] {
        let errors = read(value).expect_err(value).to_string();
        assert_eq!(errors, format!("f.toml:5: routes[0].tap_secret{problem}"));
    }
}

#[test]
fn a_value_of_the_wrong_type_is_an_error() {
    let cases = [
        ("listen = 1", "listen: must be a string; found an integer"),
        ("pin = 'yes'", "pin: must be true or false; found a string"),
        (
            "insecure = 1",
            "insecure: must be true or false; found an integer",
        ),
        ("log = []", "log: must be a string; found an array"),
        (
            "shards = 1.5",
            "shards: must be \"auto\" or 1 to 255; found a float",
        ),
        (
            "limits = true",
            "limits: must be a table, [limits]; found a boolean",
        ),
        (
            "http = 1979-05-27",
            "http: must be a table, [http]; found a date or time",
        ),
        (
            "routes = 1",
            "routes: must be [[routes]] tables; found an integer",
        ),
        (
            "[routes]",
            "routes: must be [[routes]] tables; found a table",
        ),
        (
            "routes = [1]",
            "routes[0]: must be [[routes]] tables; found an integer",
        ),
        (
            "ring.buffer_bytes = '1'",
            "ring.buffer_bytes: must be a number, allowed are 1024 to 1048576; found a string",
        ),
        (
            "limits.sessions_max = 'lots'",
            "limits.sessions_max: must be a number, allowed are \"auto\" and 1 to 16000000; \
             found a string",
        ),
        (
            "limits.looks_per_turn_max = 'auto'",
            "limits.looks_per_turn_max: must be a number, allowed are 1 to 64; found a string",
        ),
    ];
    for (text, expected) in cases {
        check(text, &format!("f.toml:1: {expected}"));
    }
}

#[test]
fn a_number_outside_its_range_is_an_error() {
    let cases = [
        (
            "shutdown_grace_ms = 600_001",
            "shutdown_grace_ms: 600001 is too large, allowed are 0 to 600000",
        ),
        (
            "limits.outbox_bytes_max = 12",
            "limits.outbox_bytes_max: 12 is too small, allowed are 4096 to 1073741824",
        ),
        (
            "limits.sessions_max = 0",
            "limits.sessions_max: 0 is too small, allowed are \"auto\" and 1 to 16000000",
        ),
        (
            "limits.looks_per_turn_max = -1",
            "limits.looks_per_turn_max: -1 is too small, allowed are 1 to 64",
        ),
        (
            "limits.looks_per_turn_max = 999999999999999999999999999999999999999999",
            "limits.looks_per_turn_max: 999999999999999999999999999999999999999999 is too \
             large, allowed are 1 to 64",
        ),
        (
            "limits.looks_per_turn_max = -999999999999999999999999999999999999999999",
            "limits.looks_per_turn_max: -999999999999999999999999999999999999999999 is too \
             small, allowed are 1 to 64",
        ),
        (
            "heartbeat.ping_interval_ms = 0",
            "heartbeat.ping_interval_ms: 0 is too small, allowed are 64 to 86400000",
        ),
        (
            "ring.buffer_count = 100",
            "ring.buffer_count: 100 is not a power of two, allowed are the powers of two from \
             4 to 32768",
        ),
        (
            "shards = 0",
            "shards: \"0\" is not a number of shards, allowed are \"auto\" and 1 to 255",
        ),
        (
            "shards = 'many'",
            "shards: \"many\" is not a number of shards, allowed are \"auto\" and 1 to 255",
        ),
    ];
    for (text, expected) in cases {
        check(text, &format!("f.toml:1: {expected}"));
    }
    check(
        &format!("{WS}registration_timeout_ms = 5"),
        "f.toml:4: routes[0].registration_timeout_ms: 5 is too small, allowed are 0 (off) and \
         64 to 86400000",
    );
}

#[test]
fn an_unknown_keyword_is_an_error_with_the_allowed_ones() {
    check(
        "\nlisten = 'localhost'",
        "f.toml:2: listen: \"localhost\" is not an address and port, such as \
         \"127.0.0.1:8080\", \"[::1]:8080\", \"localhost:8080\" or, for every address of this \
         machine, \":8080\"",
    );
    check(
        "log = \"lo\\nud\"",
        "f.toml:1: log: \"lo\\nud\" is unknown, allowed are \"error\", \"warn\", \"info\", \
         \"debug\", \"trace\", \"json\", and both, such as \"debug,json\"",
    );
    check(
        "[[routes]]\npath = '/a'\ndialect = 'ecko'",
        "f.toml:3: routes[0].dialect: \"ecko\" is unknown, allowed are \"edk\", \"wsrv\", \
         \"easyws\", \"projectforge\", \"wserver\", \"echo\"",
    );
}

#[test]
fn a_syntax_error_has_its_line_and_key() {
    check(
        "pin = true\nlisten = 127.0.0.1",
        "f.toml:2: listen: not valid TOML: invalid float",
    );
    check(
        "\n[limits\n",
        "f.toml:2: not valid TOML: unclosed table, expected `]`",
    );
    check(
        "a b",
        "f.toml:1: not valid TOML: key with no value, expected `=`",
    );
    for address in ["127.0.0.1:80", "localhost:80", ":80", "[::1]:80"] {
        let text = format!("listen = {address} # here");
        let result = Config::from_toml("f.toml", &text, &Overrides::default());
        let error = result.expect_err("not TOML").to_string();
        let is_named = error.starts_with("f.toml:1: listen: not valid TOML: ");
        let cure = format!("; an address is in quotes: listen = \"{address}\"");
        assert!(is_named && error.ends_with(&cure), "{error}");
    }
    for (table, key) in [("[api]", "keys"), ("[[backends]]", "secret")] {
        let text = format!("{table}\n{key} = hush");
        let result = Config::from_toml("f.toml", &text, &Overrides::default());
        let error = result.expect_err("not TOML").to_string();
        assert!(
            error.starts_with(&format!("f.toml:2: {key}: not valid TOML: ")),
            "{error}"
        );
        assert!(!error.contains("hush"), "{error}");
    }
}

#[test]
fn a_duplicate_key_is_an_error_at_its_second_line() {
    let twice = "listen = '127.0.0.1:1'\nlisten = '127.0.0.1:1'";
    check(twice, "f.toml:2: duplicate key \"listen\"");
    check(
        "[limits]\n[http]\n[limits]",
        "f.toml:3: duplicate key \"limits\"",
    );
}

#[test]
fn a_key_that_is_quoted_in_a_file_is_quoted_in_an_error() {
    check(
        "\"a\\nb\" = 1\n",
        "f.toml:1: \"a\\nb\": unknown key; allowed here: listen, shards, pin, insecure, \
         log, shutdown_grace_ms, drain_delay_ms, drain_ms, health_path, api, limits, \
         heartbeat, http, ring, logging, backends, routes",
    );
}

#[test]
fn every_listed_key_is_read() {
    for key in Config::keys() {
        // No key takes a date, so each is an error, and none is unknown.
        let text = format!("{} = 1979-05-27", key.name);
        let result = Config::from_toml("f.toml", &text, &Overrides::default());
        let errors = result.expect_err("no key takes a date").to_string();
        let expected = format!("f.toml:1: {}: must be ", key.name);
        assert!(errors.starts_with(&expected), "{errors}");
    }
}
