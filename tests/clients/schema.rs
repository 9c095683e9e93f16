//! The JSON Schema of the config, by a validator that is not ours: it accepts and rejects what the
//! gateway does, but for errors of keys that do not fit each other.

use campanile::config::{self, Config, Overrides};
use campanile_tests::node;
use serde_json::{Value, json};
use std::fs;

const ROUTE: &str = "[[routes]]\npath = '/a'\ndialect = ";

/// Configs, each with what must be true of it: it is accepted.
const VALID: &[&str] = &[
    "",
    "listen = 'localhost:80'\nshards = 'auto'\nlog = 'debug,json'\nhealth_path = ''",
    "shards = 4\nlimits = { sessions_max = 'auto', busy_poll_us = 0 }",
    "insecure = true\napi = { keys = ['0123456789abcdef', { env = 'CARGO_PKG_NAME' }] }",
    "'wsrv'\ncommands = { a = 'join', b = { action = 'reply', data = [1, { c = 'd' }] } }",
    "'wsrv'\ntokens = { a = 'b' }\ntoken_from = ['bearer', 'header:X-Token']\norigin = 'same'",
    "'wserver'\npush_path = '/p'\npush_header = { name = 'X-Key', value = 'a' }",
    "'edk'\nschema = 'descriptor'\ndescriptor_set = 'f'\nmessage = 'M'\norigin = \
     ['https://a.example']",
    "'edk'\njwt = { key_file = 'f', audience = 'a', any_audience = false }",
    "'easyws'\nchannels = [{ name = 'a-*', join = { tokens = ['a'] } }, { name = 'b', join = \
     'anyone' }]",
    "'projectforge'\nlenient = true\ntap_path = '/t'\nidle_timeout_ms = 64",
];

/// Configs that are rejected.
const INVALID: &[&str] = &[
    "limts = 1",
    "pin = 1",
    "log = 'loud'",
    "shards = 0",
    "routes = []",
    "api = { key = [] }",
    "limits = { looks_per_turn_max = 65 }",
    "limits = { looks_per_turn_max = 'auto' }",
    "backends = [{ name = 'a' }]",
    "[[routes]]\npath = '/a'",
    "'wsvr'",
    "'echo'\npush_path = '/p'",
    "'wsrv'\nrequests_in_flight_max = 0",
    "'wserver'\nrequests_in_flight_max = 1",
    "'wsrv'\ncommands = { a = 'jon' }",
    "'wsrv'\ncommands = { a = { action = 'echo', channel = 'b' } }",
    "'wsrv'\ntoken_from = ['basic']",
    "'wsrv'\ntoken_from = ['bearer:']",
    "'wserver'\npush_path = '/p'\npush_secret = 'a'\npush_header = { name = 'X-Key', value = 'a' }",
    "'wserver'\npush_path = '/p'\npush_secret = { file = 'a', env = 'b' }",
    "'easyws'\nchannels = [{ name = 'a', join = { token = ['a'] } }]",
];

#[test]
fn the_schema_accepts_and_rejects_what_the_gateway_does() {
    let whole = |text: &&str| {
        let is_route = text.starts_with('\'');
        if is_route {
            format!("{ROUTE}{text}")
        } else {
            (*text).to_owned()
        }
    };
    let is_valid = |text: &str| {
        let config = Config::from_toml("f.toml", text, &Overrides::default());
        config.map(drop).map_err(|errors| errors.to_string())
    };
    let as_json = |text: String| {
        let value: Value = toml::from_str(&text).expect("it is TOML");
        json!([text, value])
    };
    let valid: Vec<String> = VALID
        .iter()
        .map(whole)
        .chain([config::default_text()])
        .collect();
    let invalid: Vec<String> = INVALID.iter().map(whole).collect();
    for text in &valid {
        assert_eq!(is_valid(text), Ok(()));
    }
    for text in &invalid {
        assert!(is_valid(text).is_err(), "{text}");
    }

    let schema: Value = serde_json::from_str(&config::json_schema()).expect("it is JSON");
    let all = json!({
        "schema": schema,
        "valid": valid.into_iter().map(as_json).collect::<Vec<_>>(),
        "invalid": invalid.into_iter().map(as_json).collect::<Vec<_>>(),
    });
    let path = std::env::temp_dir().join(format!("campanile-schema-{}.json", std::process::id()));
    fs::write(&path, all.to_string()).expect("the temporary folder is writable");
    node::run("schema.mjs", &[&path.display().to_string()]);
    fs::remove_file(&path).expect("it was there");
}
