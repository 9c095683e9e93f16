//! Tests of upgrade requests: HTTP/1.0, subprotocols, and reasons of rejections.

use crate::{GATEWAY, PUSH};
use campanile_tests::client::{expect_no_message, open};
use campanile_tests::http::{LOCAL, request, upgrade};
use campanile_tests::peer::{Peer, ask};

const REGISTRATION: &[u8] = br#"{"token":"jack","event":"e"}"#;
/// The length 28 with the mask bit.
const REGISTRATION_LENGTH: u8 = 0x9c;

/// nginx uses HTTP/1.0 by default, and the originals accept it.
#[test]
fn an_upgrade_over_http_10_is_served() {
    let process = GATEWAY.start(None);
    for headers in [&[LOCAL][..], &[]] {
        let start = "GET /ws HTTP/1.0";
        let mut raw = Peer::connect(process.address);
        // Also one byte at a time.
        for byte in upgrade(start, headers).as_bytes() {
            raw.send([*byte]);
        }
        let granted = raw.response();
        assert_eq!(
            (granted.version.as_str(), granted.status),
            ("HTTP/1.1", 101)
        );
        raw.send([&[0x81, REGISTRATION_LENGTH, 0, 0, 0, 0], REGISTRATION].concat());
        // The pong proves that the registration was read.
        raw.send([0x89, 0x80, 0, 0, 0, 0]);
        raw.expect_bytes(&[0x8a, 0]);
        let pushed = ask(
            process.address,
            request("POST /push HTTP/1.1", &[LOCAL], PUSH),
        );
        assert_eq!(pushed.body, "message sent to 1 clients");
        raw.expect_bytes(b"\x81\x01m");
    }
}

/// A regression test: one segment once terminated the process.
#[test]
fn an_upgrade_over_http_10_may_follow_other_requests() {
    let process = GATEWAY.start(Some("http.http_in_bytes_max = 32768"));
    let upgrade = upgrade("GET /ws HTTP/1.0", &[LOCAL]);
    let get = request("GET /health HTTP/1.1", &[LOCAL], "");
    let old = request(
        "GET /health HTTP/1.0",
        &[LOCAL, "Connection: keep-alive"],
        "",
    );
    let padding = format!("X-Long: {}", "a".repeat(20_000));
    let long = upgrade.replace("Upgrade:", &format!("{padding}\r\nUpgrade:"));
    for (before, asked, rest) in [
        (0, format!("\r\n{upgrade}"), ""),
        (0, format!("\n\r\n{upgrade}"), ""),
        (1, format!("{get}{upgrade}"), ""),
        (1, format!("{old}{upgrade}"), ""),
        (2, format!("{get}{old}GET /"), &upgrade[5..]),
        (0, long.clone(), ""),
    ] {
        let mut raw = Peer::connect(process.address);
        raw.send(&asked);
        for _ in 0..before {
            assert_eq!(raw.response().status, 200);
        }
        raw.send(rest);
        assert_eq!(
            raw.response().status,
            101,
            "{}",
            &asked[..asked.len().min(300)]
        );
    }

    // An upgrade that is not detected is ignored (RFC 9110, section 7.8).
    let chunked = request(
        "POST /push HTTP/1.1",
        &[LOCAL, "Transfer-Encoding: chunked"],
        "",
    );
    let body = format!("{:x}\r\n{PUSH}\r\n0\r\n\r\n", PUSH.len());
    let longer = long.replace(&padding, &padding.repeat(3));
    for (before, asked) in [(1, format!("{chunked}{body}{upgrade}")), (0, longer)] {
        let mut raw = Peer::connect(process.address);
        raw.send(&asked);
        for _ in 0..before {
            assert_eq!(raw.response().status, 200);
        }
        let refused = raw.response();
        assert_eq!(refused.status, 400);
        assert_eq!(
            refused.header("campanile-refused"),
            Some("no_websocket_in_upgrade")
        );
    }
    expect_no_message(&mut open(process.address, "/ws"));
}

#[test]
fn other_requests_over_http_10_get_responses_over_http_10() {
    let process = GATEWAY.start(None);
    for request in [
        request("GET /health HTTP/1.0", &[], ""),
        // A rejected upgrade, and upgrades on paths without sessions.
        upgrade("GET /easyws HTTP/1.0", &[]),
        upgrade("GET /health HTTP/1.0", &[]),
        upgrade("GET /nowhere HTTP/1.0", &[]),
    ] {
        let mut raw = Peer::connect(process.address);
        raw.send(&request);
        let response = raw.response();
        assert_eq!(response.version, "HTTP/1.0", "{request}");
        assert_ne!(response.status, 101, "{request}");
        raw.expect_end();
    }
}

#[test]
fn a_header_has_the_reason_of_a_rejected_upgrade() {
    let config = "limits.name_bytes_max = 64\n\
        [[routes]]\npath = '/ws'\ndialect = 'wserver'\n\
        [[routes]]\npath = '/easyws'\ndialect = 'easyws'\n\
        [[routes]]\npath = '/edk'\ndialect = 'edk'\n\
        [[routes]]\npath = '/pf'\ndialect = 'projectforge'\ntap_path = '/tap'\ntap_secret = 's'\n";
    let process = GATEWAY.start(Some(config));
    let get = |path: &str| format!("GET {path} HTTP/1.1");
    let ws = upgrade(&get("/ws"), &[LOCAL]);
    let without = |name: &str| {
        let lines = ws.split_inclusive("\r\n");
        lines
            .filter(|line| !line.starts_with(name))
            .collect::<String>()
    };
    let cookie = "Cookie: auth=a";
    for (request, reason, status) in [
        (without("Connection:"), "no_upgrade_in_connection", 400),
        (without("Upgrade:"), "no_websocket_in_upgrade", 400),
        (ws.replace("GET", "PUT"), "method", 405),
        (
            ws.replace("Version: 13", "Version: 8"),
            "not_version_13",
            400,
        ),
        (without("Sec-WebSocket-Key"), "no_key", 400),
        (ws.replace("dGhl", ""), "bad_key", 400),
        (
            ws.replace("Upgrade: web", "Content-Length: 1\r\nUpgrade: web"),
            "body",
            400,
        ),
        (
            upgrade(&get("/easyws"), &[LOCAL, cookie, "Origin: http://a"]),
            "origin",
            403,
        ),
        (
            upgrade(
                &get("/easyws"),
                &["Host: a", cookie, "Origin: http://a", "Origin: http://b"],
            ),
            "origin",
            403,
        ),
        (upgrade(&get("/easyws"), &[LOCAL]), "unauthorized", 403),
        (
            upgrade(&get("/edk"), &[LOCAL, "x-user-id: jack"]),
            "unauthorized",
            401,
        ),
        (upgrade(&get("/tap"), &[LOCAL]), "unauthorized", 401),
        (
            upgrade(&get(&format!("/pf?ch={}", "a".repeat(65))), &[LOCAL]),
            "channel",
            400,
        ),
    ] {
        let refused = ask(process.address, &request);
        assert_eq!(refused.status, status, "{request}");
        assert_eq!(
            refused.header("campanile-refused"),
            Some(reason),
            "{request}"
        );
        let challenge = refused.header("www-authenticate");
        assert_eq!(challenge.is_some(), status == 401, "{request}");
    }
}

/// A browser fails the connection if it offers subprotocols and the server selects none.
#[test]
fn a_route_selects_its_first_subprotocol_that_is_offered() {
    let config = "[[routes]]\npath = '/echo'\ndialect = 'echo'\n\
        subprotocols = ['v1.chat', 'v2.chat']\n\
        [[routes]]\npath = '/easyws'\ndialect = 'easyws'\nsubprotocols = ['v1.chat']\n\
        [[routes]]\npath = '/plain'\ndialect = 'echo'\n";
    let process = GATEWAY.start(Some(config));
    let agreed = |path: &str, lines: &[&str]| {
        let headers = [&[LOCAL, "Cookie: auth=a"], lines].concat();
        let granted = ask(
            process.address,
            upgrade(&format!("GET {path} HTTP/1.1"), &headers),
        );
        assert_eq!(granted.status, 101, "{path} {lines:?}");
        let agreed = granted.header("sec-websocket-protocol");
        agreed.map(str::to_owned)
    };
    let offer = |list: &str| format!("Sec-WebSocket-Protocol: {list}");
    let echo = |list: &str| agreed("/echo", &[&offer(list)]);
    assert_eq!(echo("v2.chat, v1.chat").as_deref(), Some("v2.chat"));
    assert_eq!(echo("other, v1.chat").as_deref(), Some("v1.chat"));
    assert_eq!(echo("V1.chat"), None);
    assert_eq!(agreed("/echo", &[]), None);
    let two_lines = [&*offer("other"), &offer("v1.chat")];
    assert_eq!(agreed("/echo", &two_lines).as_deref(), Some("v1.chat"));
    assert_eq!(agreed("/plain", &[&offer("v1.chat")]), None);

    let easyws = |lines: &[&str]| agreed("/easyws", lines);
    let own = easyws(&[&offer("v1.chat, cmd.fossores.de")]);
    assert_eq!(own.as_deref(), Some("cmd.fossores.de"));
    assert_eq!(easyws(&[&offer("v1.chat")]).as_deref(), Some("v1.chat"));
    // The dialect's own subprotocol counts only in the first header line, as with gorilla.
    assert_eq!(easyws(&[&offer("other"), &offer("cmd.fossores.de")]), None);
}

#[test]
fn a_port_added_to_host_by_a_proxy_is_the_same_origin() {
    let process = GATEWAY.start(None);
    for (host, origin, status) in [
        ("a.example:443", "https://a.example", 101),
        ("a.example:80", "http://a.example", 101),
        ("a.example", "https://a.example:443", 101),
        ("a.example", "http://a.example:80", 101),
        ("a.example", "http://a.example:3001", 403),
        ("a.example:80", "https://a.example", 403),
    ] {
        let (host, origin) = (format!("Host: {host}"), format!("Origin: {origin}"));
        let headers = [&*host, &origin, "Cookie: auth=a"];
        let seen = ask(process.address, upgrade("GET /easyws HTTP/1.1", &headers));
        assert_eq!(seen.status, status, "{host} {origin}");
    }
}
