//! Tests of the server API and the health endpoint with the executable and independent clients.
//!
//! Each test has its own gateway. No test sleeps; tests wait for events.

mod calls;
mod http;
mod idempotency;
mod lists;

use campanile_tests::client::{expect_no_message, open, open_as};
use campanile_tests::executable;
use campanile_tests::process::Executable;
use http::Http;
use rustix::process::Signal;
use serde_json::{Value, json};

/// The executable under test.
const GATEWAY: Executable = executable!();

#[test]
fn every_path_but_the_document_needs_a_key() {
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
            let response = http.request(method, &format!("/api/v1/{path}"), headers, "{}");
            assert_eq!(response.status != 401, is_known, "{headers}{method} {path}");
            if !is_known {
                assert_eq!(response.error(), "401 unauthorized");
                assert_eq!(response.header("www-authenticate"), Some("Bearer"));
            }
        }
    }
    assert_eq!(http.get("openapi.json")["openapi"], "3.1.0");
}

#[test]
fn a_wrong_method_gets_405_with_the_allowed_one() {
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
            let response = http.request(method, &format!("/api/v1/{path}"), "", "");
            if method == allow {
                assert_ne!(response.status, 405, "{method} {path}");
            } else {
                assert_eq!(
                    response.error(),
                    "405 method_not_allowed",
                    "{method} {path}"
                );
                assert_eq!(response.header("allow"), Some(allow), "{method} {path}");
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
        let response = http.post(nowhere, "{}");
        assert_eq!(response.error(), "404 not_found", "{nowhere}");
    }
}

#[test]
fn a_disabled_api_gets_404() {
    let process = GATEWAY.start(Some("[api]\nenabled = false"));
    let mut http = Http::connect(process.address);
    http.send(b"POST /api/v1/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}");
    // The 404 of an unknown path has no JSON body.
    http.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(http.text_response(), 404);
    let health = http.response();
    assert_eq!(health.body["sessions"], Value::Null);
    assert_eq!(health.body["status"], "ok");
}

#[test]
fn health_shows_details_only_with_a_key() {
    let process = GATEWAY.start(Some(
        "[api]\nkeys = ['k']\n[limits]\nsessions_max = 9\n[http]\nhttp_connections_max = 7",
    ));
    let client = open(process.address, "/ws");
    let mut http = Http::connect(process.address);
    let version = env!("CARGO_PKG_VERSION");
    let little = json!({"status": "ok", "version": version, "shards": 4});
    let response = http.request("GET", "/health", "", "");
    assert_eq!((response.status, response.body), (200, little.clone()));
    assert_eq!(
        http.request("GET", "/health", "X-Api-Key: no\r\n", "").body,
        little
    );
    let mut more = little;
    more["sessions"] = 1.into();
    more["backends"] = json!([]);
    more["limits"] = json!({"sessions_max": 9, "http_connections_max": 7});
    let mut health = http.request("GET", "/health", "X-Api-Key: k\r\n", "").body;
    let limits = health["limits"].as_object_mut().expect("members");
    let open_files_max = limits.remove("open_files_max").and_then(|it| it.as_u64());
    assert!(open_files_max > Some(9), "more than there may be sessions");
    assert_eq!(health, more);
    let head = http.request("HEAD", "/health", "", "");
    assert_eq!((head.status, head.body), (200, Value::Null));
    let post = http.request("POST", "/health", "", "");
    assert_eq!(
        (post.status, post.header("allow")),
        (405, Some("GET, HEAD, OPTIONS"))
    );
    drop(client);
}

#[test]
fn the_path_of_health_is_configurable_or_absent() {
    let process = GATEWAY.start(Some("health_path = '/up'"));
    let mut http = Http::connect(process.address);
    assert_eq!(http.request("GET", "/up", "", "").body["status"], "ok");
    let paths = &http.get("openapi.json")["paths"];
    assert!(paths["/up"].is_object() && paths["/health"].is_null());
}

/// A request that was begun before the stop still gets a response.
#[test]
fn health_reports_a_stopping_gateway() {
    let process = GATEWAY.start_on(1, None);
    let mut session = open_as(process.address, "jack", "e");
    let mut http = Http::connect(process.address);
    http.send(b"GET /health HTTP/1.1\r\n");
    // A response on another connection proves that the shard has read the earlier bytes.
    let mut other = Http::connect(process.address);
    assert_eq!(other.request("GET", "/health", "", "").status, 200);
    expect_no_message(&mut session);
    process.signal(Signal::TERM);
    let close = session
        .read()
        .expect("the shard reports that it begins to stop");
    assert!(close.is_close(), "{close}");
    http.send(b"Host: localhost\r\n\r\n");
    let response = http.response();
    assert_eq!(response.status, 503);
    assert_eq!(response.body, json!({"status": "stopping"}));
    drop(session);
    assert!(process.wait().status.success());
}

/// The gateway treats bodies as the `OpenAPI` document describes: a missing required member is an
/// error, described members are accepted, others are errors.
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
        let error = |http: &mut Http, body: Value| {
            let response = http.post(&path, &body.to_string());
            match response.status {
                200 => "200".to_owned(),
                _ => response.error(),
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
            assert_eq!(error(&mut http, body), expected, "{call}");
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
            let refused = error(&mut http, body.clone());
            let is_known = properties.contains_key(known);
            let expected = format!("400 bad_request {known}");
            assert_eq!(refused != expected, is_known, "{call} {body}: {refused}");
        }
        base["more"] = json!(1);
        assert_eq!(error(&mut http, base), "400 bad_request more", "{call}");
    }
}
