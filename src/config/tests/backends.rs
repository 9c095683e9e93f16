//! Texts of backends and of the server API.

use super::trial::{check, read};
use super::*;

fn backend(name: &str, url: &str, more: &str) -> String {
    format!("[[backends]]\nname = '{name}'\nurl = '{url}'\n{more}\n")
}

#[test]
fn api_keys_are_header_values_and_distinct() {
    let keys = |keys: &str| format!("[api]\nkeys = [{keys}]");
    let key = "f.toml:2: api.keys";
    check(
        &keys("'a', 'b c'"),
        &format!(
            "{key}[1]: has a character that is not allowed; allowed are visible ASCII \
             characters"
        ),
    );
    check(
        &keys("''"),
        &format!("{key}[0]: has 0 characters, allowed are 1 to 4096"),
    );
    check(
        &keys("'hush', 'a', 'hush'"),
        &format!("{key}[2]: is the same as api.keys[0]"),
    );
    check(
        "[api]\nkeys = 'hush'",
        &format!("{key}: must be a list such as [\"...\"]; found a string"),
    );
    check(
        &keys("1"),
        &format!(
            "{key}[0]: must be a string, {{ file = \"...\" }} or {{ env = \"...\" }}; found an \
             integer"
        ),
    );
    let many = |count: usize| {
        let key = |index| format!("'k{index}',");
        keys(&(0..count).map(key).collect::<String>())
    };
    check(
        &many(65),
        &format!("{key}: has 65 elements, allowed are 0 to 64"),
    );
    let config = read(&many(64)).expect("valid");
    assert_eq!(config.api.keys.len(), 64);
    assert!(!format!("{config:?}").contains("k63"));
}

#[test]
fn numbers_of_the_api_and_of_backends_are_in_their_ranges() {
    check(
        "[api]\nbatch_calls_max = 0",
        "f.toml:2: api.batch_calls_max: 0 is too small, allowed are 1 to 100000",
    );
    check(
        "[api]\nbatch_call_max = 1",
        "f.toml:2: api.batch_call_max: unknown key; did you mean \"batch_calls_max\"? allowed \
         here: enabled, open, keys, \
         allowed_origins, batch_calls_max, except_sessions_max, page_items_max, \
         page_bytes_max, \
         idempotency_keys_max, idempotency_bytes_max, idempotency_ttl_ms, \
         idempotency_answer_bytes_max",
    );
    check(
        "api = 1",
        "f.toml:1: api: must be a table, [api]; found an integer",
    );
    let url = "http://127.0.0.1/";
    check(
        &backend("app", url, "retries_max = 17"),
        "f.toml:4: backends[0].retries_max: 17 is too large, allowed are 0 to 16",
    );
    check(
        &backend("app", url, "timeout = 1"),
        "f.toml:4: backends[0].timeout: unknown key; did you mean \"timeout_ms\"? allowed here: \
         name, url, secret, \
         ca_file, timeout_ms, connect_timeout_ms, requests_in_flight_max, \
         requests_waiting_max, requests_waiting_bytes_max, retries_max, retry_delay_ms, \
         answer_bytes_max, values_bytes_max",
    );
    let text = backend("app", url, "timeout_ms = 64\nvalues_bytes_max = 2");
    let config = read(&format!("{text}[api]\npage_items_max = 7")).expect("valid");
    assert_eq!(config.api.limits.page_items_max, 7);
    assert_eq!(config.backends[0].limits.timeout_ms, 64);
    assert_eq!(config.backends[0].limits.values_bytes_max, 2);

    let mut config = Config::default();
    config.api.limits.page_items_max = 0;
    let error = config.validate().expect_err("no items");
    let first = error.iter().next().expect("it has one");
    assert_eq!(first.key.as_deref(), Some("api.page_items_max"));
    let mut config = Config::default();
    config.backends.push(Backend::new("app", url));
    assert_eq!(config.validate(), Ok(()));
    config.backends[0].limits.retries_max = 17;
    let error = config.validate().expect_err("too many retries");
    let first = error.iter().next().expect("it has one");
    assert_eq!(first.key.as_deref(), Some("backends[0].retries_max"));
}

#[test]
fn names_of_backends_are_unique() {
    let url = "http://127.0.0.1/";
    check(
        &backend("a b", url, ""),
        "f.toml:2: backends[0].name: \"a b\" is not a name, allowed are 1 to 64 letters, \
         digits and \"_.-\"",
    );
    check(
        &format!("{}{}", backend("app", url, ""), backend("app", url, "")),
        "f.toml:6: backends[1].name: \"app\" is taken by backends[0].name",
    );
    check(
        &format!("[[backends]]\nurl = '{url}'"),
        "f.toml:1: backends[0].name: is required, such as \"app\"",
    );
    check(
        "[[backends]]\nname = 'app'",
        "f.toml:1: backends[0].url: is required, such as \
         \"http://127.0.0.1:9000/campanile\"",
    );
    check(
        "[backends]\nname = 'app'",
        "f.toml:1: backends: must be [[backends]] tables; found a table",
    );
    let many = |count: usize| {
        let one = |index| backend(&format!("b{index}"), url, "");
        (0..count).map(one).collect::<String>()
    };
    check(
        &many(65),
        "f.toml:1: backends: has 65 elements, allowed are 0 to 64",
    );
    assert!(read(&many(64)).is_ok());
}

#[test]
fn the_url_of_a_backend_is_valid_and_never_shown() {
    const WRONG: &str = "is not a URL with http or https and a host, such as \
        \"http://127.0.0.1:9000/campanile\"";
    const USER: &str = "has a user or a password in it; use secret, which is not shown";
    let long = format!("http://a/{}", "a".repeat(2_040));
    for (url, problem) in [
        ("127.0.0.1:9000", WRONG),
        ("ftp://a/hush", WRONG),
        ("ws://a/", WRONG),
        ("unix:/run/a", WRONG),
        ("http:a", WRONG),
        ("http://", WRONG),
        ("http:///", WRONG),
        ("http://a b/", WRONG),
        ("http://a/b c", WRONG),
        ("http://a/\u{e9}", WRONG),
        ("http://a:99999/", WRONG),
        ("http://[::1/", WRONG),
        (" http://a/", WRONG),
        ("http://jack:hush@a/", USER),
        ("http://jack@a/", USER),
        ("http://:hush@a/", USER),
        ("http://a/#b", "has a fragment, which is not sent"),
        ("", "has 0 bytes, allowed are 1 to 2048"),
        (&long, "has 2049 bytes, allowed are 1 to 2048"),
    ] {
        check(
            &backend("app", url, ""),
            &format!("f.toml:3: backends[0].url: {problem}"),
        );
    }
    for url in [
        "http://127.0.0.1:9000/campanile",
        "https://app.example",
        "http://[::1]:9000/a?b=c",
        "http://a_b/%20",
    ] {
        assert_eq!(read(&backend("app", url, "")).err(), None, "{url}");
    }
}

#[test]
fn the_secret_and_ca_file_of_a_backend_are_valid() {
    let app = |more: &str| backend("app", "https://a/", more);
    check(
        &app("secret = 'a b'"),
        "f.toml:4: backends[0].secret: has a character that is not allowed; allowed are \
         visible ASCII characters",
    );
    check(
        &app("secret = ['hush']"),
        "f.toml:4: backends[0].secret: must be a string, { file = \"...\" } or { env = \"...\" \
         }; found an array",
    );
    check(
        &app("ca_file = ''"),
        "f.toml:4: backends[0].ca_file: is empty, and must be a file",
    );
    let config = read(&app("secret = 'hush'\nca_file = 'ca.pem'")).expect("valid");
    let mut expected = Backend::new("app", "https://a/");
    expected.secret = Some(Secret::new("hush"));
    expected.ca_file = Some("ca.pem".into());
    assert_eq!(config.backends, [expected]);
    assert!(!format!("{config:?}").contains("hush"));
}
