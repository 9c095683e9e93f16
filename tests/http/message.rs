//! Tests of the requirements of RFC 9110 and RFC 9112 for requests and responses.

use crate::{GATEWAY, PUSH};
use campanile_tests::http::{LOCAL, request, upgrade};
use campanile_tests::peer::{Peer, ask};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;

#[test]
fn a_request_has_one_host() {
    let process = GATEWAY.start(None);
    let get = "GET /health HTTP/1.1";
    let up = "GET /ws HTTP/1.1";
    for bad in [
        request(get, &[], ""),
        request(get, &[LOCAL, LOCAL], ""),
        request(get, &["Host: a b"], ""),
        upgrade(up, &[]),
        upgrade(up, &[LOCAL, "Host: other"]),
    ] {
        let mut raw = Peer::connect(process.address);
        raw.send(&bad);
        assert_eq!(raw.response().status, 400, "{bad}");
        raw.expect_end();
    }
    for good in [
        request(get, &["Host:"], ""),
        request("GET /health HTTP/1.0", &[], ""),
    ] {
        assert_eq!(ask(process.address, good.as_bytes()).status, 200, "{good}");
    }
}

#[test]
fn the_only_transfer_coding_is_chunked_once_and_without_a_length() {
    let process = GATEWAY.start(None);
    let length = format!("Content-Length: {}", PUSH.len());
    let post = |headers: &[&str]| {
        let head = request("POST /push HTTP/1.1", &[&[LOCAL], headers].concat(), "");
        let mut raw = Peer::connect(process.address);
        raw.send(format!("{head}{:x}\r\n{PUSH}\r\n0\r\n\r\n", PUSH.len()));
        let status = raw.response().status;
        if status != 200 {
            raw.expect_end();
        }
        status
    };
    let chunked = "Transfer-Encoding: chunked";
    assert_eq!(post(&[chunked]), 200);
    assert_eq!(post(&["Transfer-Encoding: gzip, chunked"]), 501);
    assert_eq!(post(&["Transfer-Encoding: foo, chunked"]), 501);
    assert_eq!(post(&["Transfer-Encoding: identity", chunked]), 501);
    assert_eq!(post(&["Transfer-Encoding: chunked, chunked"]), 400);
    assert_eq!(post(&[chunked, chunked]), 400);
    assert_eq!(post(&["Transfer-Encoding: gzip"]), 400);
    assert_eq!(post(&[&length, chunked]), 400);
    assert_eq!(post(&[chunked, &length]), 400);
}

/// Requests in one segment are separated: each head is checked as if it had come alone.
#[test]
fn pipelined_requests_are_checked_like_others() {
    let process = GATEWAY.start(None);
    let get = request("GET /health HTTP/1.1", &[LOCAL], "");
    let push = request("POST /push HTTP/1.1", &[LOCAL], PUSH);
    let length = format!("Content-Length: {}", PUSH.len());
    let chunked = [LOCAL, "Transfer-Encoding: chunked", &length];
    let smuggled = request("POST /push HTTP/1.1", &chunked, "");
    let whole = format!(
        "{get}{push}{get}{smuggled}{:x}\r\n{PUSH}\r\n0\r\n\r\n{get}",
        PUSH.len()
    );
    for cut in [
        0,
        1,
        get.len(),
        get.len() + 9,
        whole.len() / 2,
        whole.len() - 1,
    ] {
        let mut raw = Peer::connect(process.address);
        raw.send(&whole[..cut]);
        raw.send(&whole[cut..]);
        let statuses = [(); 4].map(|()| raw.response().status);
        assert_eq!(statuses, [200, 200, 200, 400], "{cut}");
        raw.expect_end();
    }
}

/// Only hyper finds the end of a chunked body, so the gateway does not check a head after it in the
/// same segment. If that request is chunked too, it may hide a length, so the connection is closed.
#[test]
fn a_second_chunked_request_in_a_segment_closes_the_connection() {
    let process = GATEWAY.start(None);
    let get = request("GET /health HTTP/1.1", &[LOCAL], "");
    let head = request(
        "POST /push HTTP/1.1",
        &[LOCAL, "Transfer-Encoding: chunked"],
        "",
    );
    let chunked = format!("{head}{:x}\r\n{PUSH}\r\n0\r\n\r\n", PUSH.len());
    let mut raw = Peer::connect(process.address);
    raw.send([&*chunked, &get, &chunked, &get].concat());
    for is_last in [false, false, true] {
        let seen = raw.response();
        assert_eq!(
            (seen.status, seen.header("connection").is_some()),
            (200, is_last)
        );
    }
    raw.expect_end();
    // Chunked requests in separate segments are served without limit.
    let mut raw = Peer::connect(process.address);
    for _ in 0..3 {
        raw.send(&chunked);
        assert_eq!(raw.response().header("connection"), None);
    }
}

/// The end of the stream within a head closes the connection at once.
#[test]
fn the_end_of_the_stream_within_a_head_closes_at_once() {
    let process = GATEWAY.start(Some("heartbeat.handshake_timeout_ms = 60_000"));
    let get = request("GET /health HTTP/1.1", &[LOCAL], "");
    let push = request("POST /push HTTP/1.1", &[LOCAL], PUSH);
    for before in [&*get, &push, ""] {
        let mut raw = Peer::connect(process.address);
        raw.send(format!("{before}GET /he"));
        raw.end();
        if !before.is_empty() {
            assert_eq!(raw.response().status, 200);
        }
        raw.expect_end();
    }
}

/// After an error before the body, the connection is closed, and the response announces it.
#[test]
fn an_error_before_the_body_announces_the_close() {
    let process = GATEWAY.start(Some("http.body_bytes_max = 4096"));
    let stranger = ["Host: a.example"];
    for (start, headers, body, status) in [
        ("POST /push HTTP/1.1", stranger, PUSH, 403),
        ("POST /api/v1/broadcast HTTP/1.1", stranger, PUSH, 403),
        ("GET /push HTTP/1.1", [LOCAL], PUSH, 405),
        ("POST /nowhere HTTP/1.1", [LOCAL], PUSH, 404),
        ("POST /push HTTP/1.1", [LOCAL], &"a".repeat(5000), 413),
    ] {
        let whole = request(start, &headers, body);
        let mut raw = Peer::connect(process.address);
        raw.send(&whole[..whole.len() - body.len()]);
        let refused = raw.response();
        assert_eq!(
            (refused.status, refused.header("connection")),
            (status, Some("close")),
            "{start}"
        );
        // A request that was received completely does not close the connection.
        let mut raw = Peer::connect(process.address);
        raw.send(&whole);
        let refused = raw.response();
        assert_eq!(
            (refused.status, refused.header("connection")),
            (status, None),
            "{start}"
        );
        raw.send(request("POST /push HTTP/1.1", &[LOCAL], PUSH));
        assert_eq!(raw.response().status, 200, "{start}");
    }
}

#[test]
fn every_405_has_an_allow_header() {
    let process = GATEWAY.start(None);
    for (path, method, allow) in [
        ("/push", "GET", "POST"),
        ("/push", "OPTIONS", "POST"),
        ("/drop", "DELETE", "POST"),
        ("/health", "POST", "GET, HEAD, OPTIONS"),
        ("/playground/ws", "POST", "GET, HEAD"),
        ("/api/v1/publish", "GET", "POST"),
        ("/api/v1/users", "PUT", "GET"),
    ] {
        let start = format!("{method} {path} HTTP/1.1");
        let seen = ask(process.address, request(&start, &[LOCAL], ""));
        assert_eq!(
            (seen.status, seen.header("allow")),
            (405, Some(allow)),
            "{method} {path}"
        );
    }
    let seen = ask(process.address, upgrade("POST /ws HTTP/1.1", &[LOCAL]));
    assert_eq!((seen.status, seen.header("allow")), (405, Some("GET")));
    let seen = ask(
        process.address,
        request("OPTIONS /health HTTP/1.1", &[LOCAL], ""),
    );
    assert_eq!(
        (seen.status, seen.header("allow")),
        (204, Some("GET, HEAD, OPTIONS"))
    );
}

#[test]
fn a_body_may_be_gzip_and_no_other_coding() {
    let process = GATEWAY.start(Some("http.body_bytes_max = 4096"));
    let gzip = |plain: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).expect("into memory");
        encoder.finish().expect("into memory")
    };
    let post = |path: &str, coding: &str, body: &[u8]| {
        let length = format!("Content-Length: {}", body.len());
        let coding = format!("Content-Encoding: {coding}");
        let head = request(
            &format!("POST {path} HTTP/1.1"),
            &[LOCAL, &length, &coding],
            "",
        );
        ask(process.address, [head.as_bytes(), body].concat())
    };
    let publish = br#"{"channel":"room","data":"hi"}"#;
    for (path, body) in [("/push", PUSH.as_bytes()), ("/api/v1/publish", publish)] {
        assert_eq!(post(path, "gzip", &gzip(body)).status, 200, "{path}");
        assert_eq!(post(path, "gzip", body).status, 400, "{path}");
        let large = gzip(&[b' '; 5000]);
        assert!(large.len() < 200);
        assert_eq!(post(path, "gzip", &large).status, 413, "{path}");
        for other in ["br", "deflate", "zstd", "gzip, gzip"] {
            let refused = post(path, other, &gzip(body));
            assert_eq!(refused.status, 415, "{path} {other}");
            assert_eq!(
                refused.header("accept-encoding"),
                Some("gzip"),
                "{path} {other}"
            );
        }
    }
}

#[test]
fn json_of_the_api_may_begin_with_a_byte_order_mark() {
    let process = GATEWAY.start(None);
    for (path, body) in [
        ("publish", r#"{"channel":"room","data":"hi"}"#),
        ("batch", r#"{"calls":[{"call":"broadcast","data":1}]}"#),
    ] {
        let marked = format!("\u{feff}{body}");
        let start = format!("POST /api/v1/{path} HTTP/1.1");
        assert_eq!(
            ask(process.address, request(&start, &[LOCAL], &marked)).status,
            200
        );
        let twice = format!("\u{feff}{marked}");
        assert_eq!(
            ask(process.address, request(&start, &[LOCAL], &twice)).status,
            400
        );
    }
}

#[test]
fn paths_are_percent_decoded_once() {
    let config = "[[routes]]\npath = '/rooms/{room}'\ndialect = 'echo'\n\
        [[routes]]\npath = '/a%20b'\ndialect = 'echo'\n\
        [[routes]]\npath = '/ws'\ndialect = 'wserver'\npush_path = '/push'\n";
    let process = GATEWAY.start(Some(config));
    for (path, status) in [
        ("/%77s", 101),
        ("/w%73", 101),
        ("/%2577s", 404),
        ("//ws", 404),
        ("/ws/", 404),
        ("/a%20b", 101),
        ("/%61%20b", 101),
        ("/r%6Foms/x", 101),
        ("/rooms/x%2Fy", 101),
        ("/rooms/x/y", 404),
        ("/rooms%2Fx", 404),
    ] {
        let seen = ask(
            process.address,
            upgrade(&format!("GET {path} HTTP/1.1"), &[LOCAL]),
        );
        assert_eq!(seen.status, status, "{path}");
    }
    for (path, status) in [
        ("POST /p%75sh", 200),
        ("GET /%68ealth", 200),
        ("GET /%61pi/v1/sessions", 200),
        ("GET /api/v1/channels/a%2Fb/members", 200),
        ("GET /api%2Fv1/sessions", 404),
        ("GET /api/v1/channels/a/b/members", 404),
    ] {
        let body = if path.starts_with("POST") { PUSH } else { "" };
        let seen = ask(
            process.address,
            request(&format!("{path} HTTP/1.1"), &[LOCAL], body),
        );
        assert_eq!(seen.status, status, "{path}");
    }
}
