//! Tests of requests without a key: push, drop, tap, server API, user header.

use crate::{GATEWAY, PUSH};
use campanile_tests::http::{LOCAL, request, upgrade};
use campanile_tests::peer::ask;
use campanile_tests::process::Process;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// A config with routes for a push, a drop, an API call, a list and a tap.
const CONFIG: &str = "\
    [[routes]]\npath = '/ws'\ndialect = 'wserver'\npush_path = '/push'\ndrop_path = '/drop'\n\
    [[routes]]\npath = '/edk'\ndialect = 'edk'\n\
    [[routes]]\npath = '/pf'\ndialect = 'projectforge'\ntap_path = '/tap'\n\
    origin = 'any'\n";

/// Returns the status of each request with a given HTTP version, target prefix and header lines.
/// The body of a 403 must name the config key that guards the path.
#[track_caller]
fn statuses(address: SocketAddr, version: &str, prefix: &str, headers: &[&str]) -> Vec<u16> {
    let start = |method: &str, path: &str| format!("{method} {prefix}{path} {version}");
    let requests = [
        (
            "push_secret",
            request(&start("POST", "/push"), headers, PUSH),
        ),
        (
            "push_secret",
            request(&start("POST", "/drop"), headers, r#"{"userId":"jack"}"#),
        ),
        (
            "[api]",
            request(
                &start("POST", "/api/v1/broadcast"),
                headers,
                r#"{"data":1}"#,
            ),
        ),
        (
            "[api]",
            request(&start("GET", "/api/v1/sessions"), headers, ""),
        ),
        ("tap_secret", upgrade(&start("GET", "/tap"), headers)),
    ];
    let ask_all = requests.iter().map(|(key, request)| {
        let response = ask(address, request);
        let names_key = response.body.contains(key);
        assert_eq!(response.status == 403, names_key, "{request}: {response:?}");
        response.status
    });
    ask_all.collect()
}

const SERVED: [u16; 5] = [200, 200, 200, 200, 101];
const FORBIDDEN: [u16; 5] = [403; 5];

#[test]
fn without_a_key_only_direct_local_requests_are_served() {
    let process = GATEWAY.start(Some(CONFIG));
    let served = |headers: &[&str]| statuses(process.address, "HTTP/1.1", "", headers);
    for headers in [
        &[LOCAL][..],
        &["Host: 127.0.0.1:8080"],
        &["Host: [::1]"],
        &["Host: app.localhost:3000"],
        &["Host: [::ffff:127.0.0.1]:80"],
        // A page of this machine, on any port.
        &[LOCAL, "Origin: http://localhost:3000"],
        &[LOCAL, "Content-Type: text/plain"],
    ] {
        assert_eq!(served(headers), SERVED, "{headers:?}");
    }
    for headers in [
        // DNS rebinding: a foreign name that resolves to this machine, with its own page.
        &["Host: evil.example:8080"][..],
        &[
            "Host: evil.example:8080",
            "Origin: http://evil.example:8080",
        ],
        &["Host: gateway"],
        &["Host: 10.0.0.1"],
        &["Host: 127.0.0.1.nip.io"],
        // A page of another host in a local browser; posting text needs no preflight.
        &[
            LOCAL,
            "Origin: https://evil.example",
            "Content-Type: text/plain",
        ],
        &[LOCAL, "Origin: null"],
        // Proxies on the same host.
        &[LOCAL, "X-Forwarded-For: 127.0.0.1"],
        &[LOCAL, "X-Forwarded-Proto: https"],
        &[LOCAL, "Forwarded: for=127.0.0.1"],
        &[LOCAL, "X-Real-IP: 127.0.0.1"],
        &[LOCAL, "Via: 1.1 proxy"],
        &[LOCAL, "CF-Connecting-IP: 127.0.0.1"],
    ] {
        assert_eq!(served(headers), FORBIDDEN, "{headers:?}");
    }
    // The default of nginx.
    let old = statuses(process.address, "HTTP/1.0", "", &[LOCAL]);
    assert_eq!(old, FORBIDDEN);
    // The authority of an absolute target has priority over Host.
    let absolute =
        |target: &str, host: &str| statuses(process.address, "HTTP/1.1", target, &[host]);
    assert_eq!(absolute("http://evil.example", LOCAL), FORBIDDEN);
    assert_eq!(absolute("http://localhost", "Host: evil.example"), SERVED);
}

/// A proxy that adds no header cannot be detected, so the config can disable keyless access.
#[test]
fn with_api_open_false_every_request_needs_a_key() {
    let closed = format!("api.open = false\n{CONFIG}");
    let process = GATEWAY.start(Some(&closed));
    assert_eq!(
        statuses(process.address, "HTTP/1.1", "", &[LOCAL]),
        FORBIDDEN
    );
    let named = upgrade("GET /edk HTTP/1.1", &[LOCAL, "x-user-id: jack", TOKEN]);
    assert_eq!(ask(process.address, named).status, 401);

    let keys = "[api]\nopen = false\nkeys = ['k']\n\
        [[routes]]\npath = '/ws'\ndialect = 'wserver'\npush_path = '/push'\npush_secret = 's'\n\
        [[routes]]\npath = '/ws2'\ndialect = 'wserver'\npush_path = '/push2'\n\
        push_header = { name = 'X-Key', value = 's' }\n";
    let process = GATEWAY.start(Some(keys));
    let proxied = [LOCAL, "X-Forwarded-For: 10.0.0.1"];
    for (start, key, challenge) in [
        ("POST /push HTTP/1.1", "Authorization: Bearer s", "Bearer"),
        ("POST /push2 HTTP/1.1", "X-Key: s", "ApiKey"),
        ("POST /api/v1/push HTTP/1.1", "X-Api-Key: k", "Bearer"),
    ] {
        let body = if start.contains("/api/") {
            r#"{"user":"jack","data":1}"#
        } else {
            PUSH
        };
        let unknown = ask(process.address, request(start, &proxied, body));
        assert_eq!(unknown.status, 401, "{unknown:?}");
        assert_eq!(
            unknown.header("www-authenticate"),
            Some(challenge),
            "{start}"
        );
        let headers = [&proxied[..], &[key]].concat();
        let known = ask(process.address, request(start, &headers, body));
        assert_eq!(known.status, 200, "{known:?}");
    }
}

#[test]
fn an_insecure_gateway_accepts_all_and_warns() {
    let mut command = GATEWAY.command(Some(CONFIG));
    command
        .arg("--insecure")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("the program can be executed");
    let output = BufReader::new(child.stdout.take().expect("piped above"));
    let mut address = None;
    let mut warning = String::new();
    for line in output.lines().map_while(Result::ok) {
        if let Some((_, rest)) = line.split_once("ws://") {
            address = address.or_else(|| rest.split('/').next()?.parse().ok());
        }
        if line.starts_with("Warning:") {
            warning = line;
            break;
        }
    }
    let address = address.expect("the ready line has the address");
    let everybody = [
        "Host: evil.example",
        "Origin: http://evil.example",
        "Via: 1.1 a",
    ];
    let seen = statuses(address, "HTTP/1.1", "", &everybody);
    let as_jack = [&everybody[..], &["x-user-id: jack", TOKEN]].concat();
    let named = upgrade("GET /edk HTTP/1.1", &as_jack);
    let as_jack = ask(address, named).status;
    child.kill().expect("it still serves");
    child.wait().expect("it is our child");
    assert_eq!((seen.as_slice(), as_jack), (&SERVED[..], 101));
    for word in [
        "push",
        "watch all traffic",
        "use the server API",
        "choose their user name",
    ] {
        assert!(warning.contains(word), "{word}: {warning}");
    }
}

#[test]
fn the_user_header_is_trusted_locally_or_by_config() {
    let edk = "[[routes]]\npath = '/edk'\ndialect = 'edk'\n";
    let status = |process: &Process, headers: &[&str]| {
        let headers = [headers, &["x-user-id: jack", TOKEN]].concat();
        ask(process.address, upgrade("GET /edk HTTP/1.1", &headers)).status
    };
    let proxied = [LOCAL, "X-Forwarded-For: 10.0.0.1"];
    let process = GATEWAY.start(Some(edk));
    assert_eq!(status(&process, &[LOCAL]), 101);
    assert_eq!(status(&process, &proxied), 401);
    assert_eq!(status(&process, &["Host: gateway.example"]), 401);
    let as_jack = [&proxied[..], &["x-user-id: jack", TOKEN]].concat();
    let ignored = ask(process.address, upgrade("GET /edk HTTP/1.1", &as_jack));
    assert!(
        ignored.body.starts_with("missing user: "),
        "{}",
        ignored.body
    );
    assert!(
        ignored.body.contains("trust_user_header"),
        "{}",
        ignored.body
    );
    assert_eq!(
        ignored.header("campanile-refused"),
        Some("user_not_believed")
    );
    let process = GATEWAY.start(Some(&format!("{edk}trust_user_header = true")));
    assert_eq!(status(&process, &proxied), 101);
    // With a table of tokens the header proves nothing; it must only agree with the token.
    let table = format!("{edk}tokens = {{ token = 'jack' }}");
    let process = GATEWAY.start(Some(&table));
    assert_eq!(status(&process, &proxied), 101);
}

#[test]
fn health_shows_less_to_remote_clients() {
    let process = GATEWAY.start(Some(CONFIG));
    for (headers, tells_all) in [(&[LOCAL][..], true), (&[LOCAL, "Via: 1.1 a"], false)] {
        let health = ask(
            process.address,
            request("GET /health HTTP/1.1", headers, ""),
        );
        assert_eq!(health.status, 200);
        assert_eq!(
            health.body.contains("sessions_max"),
            tells_all,
            "{headers:?}"
        );
    }
}

#[test]
fn checking_a_config_warns_of_weak_and_unprotected_secrets() {
    let text = "api.keys = ['short']\n\
        [[routes]]\npath = '/a'\ndialect = 'easyws'\norigin = 'any'\n";
    let mut check = Command::new(GATEWAY.path);
    check
        .arg("check")
        .arg("--config")
        .arg(GATEWAY.config_file(text));
    let done = check.output().expect("the program can be executed");
    let output = String::from_utf8(done.stdout).expect("it is text");
    assert!(done.status.success(), "{output}");
    let lines: Vec<&str> = output
        .lines()
        .filter(|it| it.starts_with("warning: "))
        .collect();
    assert_eq!(lines.len(), 2, "{output}");
    assert!(
        lines[0].starts_with("warning: api.keys[0]: has 5 characters"),
        "{output}"
    );
    assert!(
        lines[1].starts_with("warning: routes[0].origin: "),
        "{output}"
    );
    assert!(!output.contains("short"), "{output}");

    let ended = GATEWAY.start(Some(text)).stop();
    assert_eq!(ended.status.code(), Some(0));
    assert!(
        ended.log.contains("api.keys[0]: has 5 characters"),
        "{}",
        ended.log
    );
}

const TOKEN: &str = "Sec-WebSocket-Protocol: token";
