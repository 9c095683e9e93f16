//! Tests of idempotency keys: a repeated request is processed once.

use crate::GATEWAY;
use crate::http::{ApiResponse, Http};
use campanile_tests::client::{expect_no_message, open_as, read_text};
use campanile_tests::process::{pause, resume};
use serde_json::json;
use std::thread;
use std::time::Duration;

#[track_caller]
fn push(http: &mut Http, headers: &str, data: &str) -> ApiResponse {
    let body = json!({"user": "jack", "event": "e", "data": data}).to_string();
    http.request("POST", "/api/v1/push", headers, &body)
}

#[test]
fn a_repeated_request_gets_the_stored_response() {
    let process = GATEWAY.start(Some("[api]\nkeys = ['one', 'two']"));
    let mut client = open_as(process.address, "jack", "e");
    let mut http = Http::connect(process.address);
    let one = "X-Api-Key: one\r\nIdempotency-Key: k\r\n";
    let first = push(&mut http, one, "1");
    assert_eq!(
        (first.status, first.header("idempotent-replayed")),
        (200, None)
    );
    for _ in 0..3 {
        // On any shard.
        let again = push(&mut Http::connect(process.address), one, "1");
        assert_eq!((again.status, &again.body), (200, &first.body));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
    }
    let other = push(&mut http, one, "2");
    assert_eq!(other.error(), "422 key_reused Idempotency-Key");
    let two = "X-Api-Key: two\r\nIdempotency-Key: k\r\n";
    assert_eq!(
        push(&mut http, two, "3").header("idempotent-replayed"),
        None
    );
    assert_eq!(
        (read_text(&mut client), read_text(&mut client)),
        ("1".into(), "3".into())
    );
    expect_no_message(&mut client);
}

#[test]
fn an_error_before_processing_is_not_stored() {
    let process = GATEWAY.start(None);
    let mut client = open_as(process.address, "jack", "e");
    let mut http = Http::connect(process.address);
    let key = "Idempotency-Key: k\r\n";
    let bad = http.request("POST", "/api/v1/push", key, "{}");
    assert_eq!(bad.error(), "400 bad_request user");
    let gone = r#"{"session": "00000000-0000-4000-8000-000000000000"}"#;
    let gone = http.request("POST", "/api/v1/push", key, gone);
    assert_eq!(gone.error(), "404 no_session");
    assert_eq!(push(&mut http, key, "1").status, 200);
    assert_eq!(read_text(&mut client), "1");

    let long = format!("Idempotency-Key: {}\r\n", "k".repeat(256));
    for bad in ["Idempotency-Key: a b\r\n", "Idempotency-Key:\r\n", &long] {
        let response = push(&mut http, bad, "2");
        assert_eq!(response.error(), "400 bad_request Idempotency-Key", "{bad}");
    }
    expect_no_message(&mut client);
}

#[test]
fn a_key_on_several_shards_at_once_is_processed_once() {
    const ROUNDS: usize = 100;
    let process = GATEWAY.start(None);
    let mut client = open_as(process.address, "jack", "e");
    let address = process.address;
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(move || {
                let mut http = Http::connect(address);
                for round in 0..ROUNDS {
                    let key = format!("Idempotency-Key: {round}\r\n");
                    let response = push(&mut http, &key, &round.to_string());
                    if response.status == 409 {
                        assert_eq!(response.error(), "409 in_progress Idempotency-Key");
                    } else {
                        assert_eq!(response.body, json!({"delivered": 1}));
                    }
                }
            });
        }
    });
    let mut received: Vec<usize> = (0..ROUNDS)
        .map(|_| read_text(&mut client).parse().expect("a number"))
        .collect();
    received.sort_unstable();
    assert!(received.into_iter().eq(0..ROUNDS));
    expect_no_message(&mut client);
}

/// The case that keys exist for: the response is lost, and the client sends the request again.
#[test]
fn a_request_of_a_closed_connection_is_processed_and_its_response_stored() {
    let process = GATEWAY.start(None);
    let mut client = open_as(process.address, "jack", "e");
    for round in 0..50 {
        let mut lost = Http::connect(process.address);
        let body = json!({"user": "jack", "event": "e", "data": round.to_string()}).to_string();
        let len = body.len();
        let key = format!("Idempotency-Key: {round}\r\n");
        let request = format!(
            "POST /api/v1/push HTTP/1.1\r\nHost: localhost\r\n{key}Content-Length: {len}\r\n\r\n\
             {body}"
        );
        lost.send(request.as_bytes());
        assert_eq!(read_text(&mut client), round.to_string());
        drop(lost);
        let mut http = Http::connect(process.address);
        let again = loop {
            let response = push(&mut http, &key, &round.to_string());
            if response.status != 409 {
                break response;
            }
        };
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!((again.status, again.body), (200, json!({"delivered": 1})));
    }
    expect_no_message(&mut client);
}

/// During a pause nothing expires: a request that arrives in it gets the stored response.
#[test]
fn a_pause_of_the_process_does_not_expire_a_response() {
    let process = GATEWAY.start(Some("[api]\nidempotency_ttl_ms = 800"));
    let mut client = open_as(process.address, "jack", "e");
    let mut http = Http::connect(process.address);
    let key = "Idempotency-Key: k\r\n";
    assert_eq!(
        push(&mut http, key, "1").header("idempotent-replayed"),
        None
    );
    pause(&process.child);
    let body = json!({"user": "jack", "event": "e", "data": "1"}).to_string();
    http.begin("POST", "/api/v1/push", key, &body);
    http.expect_quiet(Duration::from_secs(2));
    resume(&process.child);
    assert_eq!(http.response().header("idempotent-replayed"), Some("true"));
    assert_eq!(read_text(&mut client), "1");
    expect_no_message(&mut client);
    // Later the stored response expires.
    while push(&mut http, key, "1")
        .header("idempotent-replayed")
        .is_some()
    {}
    assert_eq!(read_text(&mut client), "1");
    expect_no_message(&mut client);
}
