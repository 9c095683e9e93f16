//! The server API and the health, over HTTP against the real executable, with clients that are not
//! ours.
//!
//! Each rule has a gateway of its own. Nothing sleeps; what has to come is waited for.

mod calls;
mod http;
mod idempotency;
mod lists;

use campanile_tests::client::{open, open_as, settle};
use campanile_tests::executable;
use campanile_tests::process::Executable;
use http::Http;
use rustix::process::Signal;
use serde_json::{Value, json};

/// The executable under test.
const GATEWAY: Executable = executable!();

#[test]
fn a_key_is_asked_for_everywhere_but_at_the_document() {
    let process = GATEWAY.start(Some("[api]\nkeys = ['old', 'new']"));
    let mut http = Http::connect(process.address);
    for (headers, is_known) in [
        ("", false),
        ("Authorization: Bearer old\r\n", true),
        ("Authorization: bearer new\r\n", true),
        ("X-Api-Key: new\r\n", true),
        ("Authorization: Bearer nex\r\n", false),
        ("X-Api-Key: ne\r\n", false),
        ("Authorization: Basic new\r\n", false),
    ] {
        for (method, path) in [
            ("GET", "sessions"),
            ("POST", "broadcast"),
            ("GET", "nowhere"),
            ("PUT", "users"),
        ] {
            let answer = http.ask(method, &format!("/api/v1/{path}"), headers, "{}");
            assert_eq!(answer.status != 401, is_known, "{headers}{method} {path}");
            if !is_known {
                assert_eq!(answer.refusal(), "401 unauthorized");
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            }
        }
    }
    assert_eq!(http.get("openapi.json")["openapi"], "3.1.0");
}

#[test]
fn a_path_has_one_method_and_others_are_told_which() {
    let process = GATEWAY.start(None);
    let mut http = Http::connect(process.address);
    for (path, allow) in [
        ("publish", "POST"),
        ("push", "POST"),
        ("broadcast", "POST"),
        ("join", "POST"),
        ("leave", "POST"),
        ("disconnect", "POST"),
        ("batch", "POST"),
        ("sessions", "GET"),
        ("sessions/x", "GET"),
        ("channels", "GET"),
        ("channels/x/members", "GET"),
        ("users", "GET"),
        ("openapi.json", "GET"),
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let answer = http.ask(method, &format!("/api/v1/{path}"), "", "");
            if method == allow {
                assert_ne!(answer.status, 405, "{method} {path}");
            } else {
                assert_eq!(
                    answer.refusal(),
                    "405 method_not_allowed",
                    "{method} {path}"
                );
                assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
            }
        }
    }
    for nowhere in [
        "",
        "publish/",
        "sessions/a/b",
        "channels/a",
        "channels//members",
    ] {
        let answer = http.post(nowhere, "{}");
        assert_eq!(answer.refusal(), "404 not_found", "{nowhere}");
    }
}

#[test]
fn an_api_that_is_not_served_is_not_there() {
    let process = GATEWAY.start(Some("[api]\nenabled = false"));
    let mut http = Http::connect(process.address);
    http.send(b"POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}");
    // The text of whatever is not there is not JSON.
    http.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(http.text_answer(), 404);
    let health = http.answer();
    assert_eq!(health.body["sessions"], Value::Null);
    assert_eq!(health.body["status"], "ok");
}

#[test]
fn health_tells_everyone_little_and_those_with_a_key_more() {
    let process = GATEWAY.start(Some(
        "[api]\nkeys = ['k']\n[limits]\nsessions_max = 9\n[http]\nhttp_connections_max = 7",
    ));
    let client = open(process.address, "/ws");
    let mut http = Http::connect(process.address);
    let version = env!("CARGO_PKG_VERSION");
    let little = json!({"status": "ok", "version": version, "shards": 4});
    let answer = http.ask("GET", "/health", "", "");
    assert_eq!((answer.status, answer.body), (200, little.clone()));
    assert_eq!(
        http.ask("GET", "/health", "X-Api-Key: no\r\n", "").body,
        little
    );
    let mut more = little;
    more["sessions"] = 1.into();
    more["backends"] = json!([]);
    more["limits"] = json!({"sessions_max": 9, "http_connections_max": 7});
    let mut told = http.ask("GET", "/health", "X-Api-Key: k\r\n", "").body;
    let limits = told["limits"].as_object_mut().expect("members");
    let open_files_max = limits.remove("open_files_max").and_then(|it| it.as_u64());
    assert!(open_files_max > Some(9), "more than there may be sessions");
    assert_eq!(told, more);
    let head = http.ask("HEAD", "/health", "", "");
    assert_eq!((head.status, head.body), (200, Value::Null));
    let post = http.ask("POST", "/health", "", "");
    assert_eq!(
        (post.status, post.header("allow")),
        (405, Some("GET, HEAD, OPTIONS"))
    );
    drop(client);
}

#[test]
fn health_has_the_path_that_the_config_gives_it_or_none() {
    let process = GATEWAY.start(Some("health_path = '/up'"));
    let mut http = Http::connect(process.address);
    assert_eq!(http.ask("GET", "/up", "", "").body["status"], "ok");
    let paths = &http.get("openapi.json")["paths"];
    assert!(paths["/up"].is_object() && paths["/health"].is_null());
}

/// A connection that has begun a request before the gateway stops is still served.
#[test]
fn a_gateway_that_stops_says_so() {
    let process = GATEWAY.start_on(1, None);
    let mut session = open_as(process.address, "jack", "e");
    let mut http = Http::connect(process.address);
    http.send(b"GET /health HTTP/1.1\r\n");
    // The shard has read that: what comes later on another connection is answered behind it.
    let mut other = Http::connect(process.address);
    assert_eq!(other.ask("GET", "/health", "", "").status, 200);
    settle(&mut session);
    process.signal(Signal::TERM);
    let close = session
        .read()
        .expect("the shard says so when it begins to stop");
    assert!(close.is_close(), "{close}");
    http.send(b"Host: localhost\r\n\r\n");
    let answer = http.answer();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body, json!({"status": "stopping"}));
    drop(session);
    assert!(process.wait().status.success());
}

/// What the document says of bodies is what the gateway does with them: a member that is required
/// is missed, one that is described is known, and one that is not is refused.
#[test]
fn bodies_have_the_members_that_the_document_describes() {
    let process = GATEWAY.start(None);
    let mut http = Http::connect(process.address);
    let document = http.get("openapi.json");
    let schemas = &document["components"]["schemas"];
    let nobody = "00000000-0000-4000-8000-000000000000";
    for call in [
        "Publish",
        "Push",
        "Broadcast",
        "Join",
        "Leave",
        "Disconnect",
    ] {
        let path = call.to_ascii_lowercase();
        let schema = &schemas[call];
        let properties = schema["properties"].as_object().expect("members");
        let refusal = |http: &mut Http, body: Value| {
            let answer = http.post(&path, &body.to_string());
            match answer.status {
                200 => "200".to_owned(),
                _ => answer.refusal(),
            }
        };
        let value_of = |name: &str| match name {
            "session" => json!(nobody),
            "except" => json!([]),
            "route" => json!("/ws"),
            "code" => json!(1000),
            "bytes" => json!("AA=="),
            name => json!(name),
        };
        let mut base = json!({});
        for name in schema["required"].as_array().expect("names") {
            let name = name.as_str().expect("a name");
            base[name] = value_of(name);
        }
        for name in schema["required"].as_array().expect("names") {
            let name = name.as_str().expect("a name");
            let mut body = base.clone();
            body.as_object_mut().expect("an object").remove(name);
            let expected = format!("400 bad_request {name}");
            assert_eq!(refusal(&mut http, body), expected, "{call}");
        }
        for known in [
            "bytes", "channel", "code", "data", "event", "except", "reason", "route", "session",
            "user",
        ] {
            let mut body = base.clone();
            if ["Push", "Disconnect"].contains(&call) && !["session", "user"].contains(&known) {
                let of_session = ["code", "reason"].contains(&known);
                let whose = if of_session { "session" } else { "user" };
                body[whose] = value_of(whose);
            }
            body[known] = value_of(known);
            let refused = refusal(&mut http, body.clone());
            let is_known = properties.contains_key(known);
            let expected = format!("400 bad_request {known}");
            assert_eq!(refused != expected, is_known, "{call} {body}: {refused}");
        }
        base["more"] = json!(1);
        assert_eq!(refusal(&mut http, base), "400 bad_request more", "{call}");
    }
}
