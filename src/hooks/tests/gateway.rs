//! Hooks in a complete gateway: the requests to the backend, the messages to clients, and their
//! order.

use super::backend::{PATIENCE, ReceivedRequest, TestBackend};
use crate::Gateway;
use crate::config::{Backend, ChannelSetting, Config, HookKind, Hooks, OnFailure, Route, Rule};
use crate::dialect::Dialect;
use crate::dialect::easyws::Easyws;
use crate::dialect::edk::Edk;
use crate::dialect::projectforge::Projectforge;
use crate::dialect::wsrv::Wsrv;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::num::NonZeroU8;
use std::time::Duration;
use tokio::time::Instant;
use tungstenite::protocol::Role;
use tungstenite::{Message as Frame, WebSocket};

/// A gateway with a route `/x` that has all hooks, and its backend.
pub(super) struct TestGateway {
    pub(super) gateway: Gateway,
    pub(super) backend: TestBackend,
}

fn config(dialect: &'static dyn Dialect, backend: &TestBackend) -> Config {
    let mut route = Route::new("/x", dialect);
    route.hooks = Some(Hooks {
        backend: "b".to_owned(),
        on: vec![HookKind::Open, HookKind::Message, HookKind::Close],
        on_failure: OnFailure::Fail,
    });
    route.channels = vec![ChannelSetting {
        join: Rule::Hook,
        ..ChannelSetting::new("secret")
    }];
    Config {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        shards: NonZeroU8::new(1),
        pin: false,
        backends: vec![Backend::new("b", backend.url())],
        routes: vec![route],
        ..Config::default()
    }
}

impl TestGateway {
    pub(super) fn new(dialect: &'static dyn Dialect, change: impl FnOnce(&mut Config)) -> Self {
        let backend = TestBackend::start();
        let mut config = config(dialect, &backend);
        change(&mut config);
        let gateway = Gateway::builder(config).start().expect("it starts");
        Self { gateway, backend }
    }

    fn connect(&self, path: &str, headers: &str) -> Client {
        let socket = TcpStream::connect(self.gateway.local_addr()).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let mut client = Client(socket);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: \
             websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {headers}\r\n"
        );
        client.0.write_all(request.as_bytes()).expect("it reads");
        client
    }

    /// Opens a session; the backend admits it with `answer`.
    pub(super) fn open(&mut self, path: &str, headers: &str, answer: &Value) -> Session {
        let client = self.connect(path, headers);
        let hook_request = self.next("open");
        hook_request.ok(&answer.to_string());
        client.session()
    }

    /// Returns the next request, which must be this hook.
    #[track_caller]
    pub(super) fn next(&mut self, hook: &str) -> ReceivedRequest {
        let hook_request = self.backend.wait();
        assert_eq!(hook_request.hook(), hook);
        assert_eq!(hook_request.header("campanile-hook"), Some(hook));
        hook_request
    }

    /// Waits until one count of this kind of hook has the wanted value, and returns all its counts.
    #[track_caller]
    pub(super) fn counts_when(&self, hook: &str, count: &str, wanted: usize) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = self.gateway.backend_reports().remove(0);
            let counts = &report["hooks"][hook];
            if counts[count] == wanted {
                return counts.clone();
            }
            assert!(
                Instant::now() < deadline,
                "{count} is not {wanted}: {report}"
            );
            std::thread::yield_now();
        }
    }

    fn members(&self, channel: &str) -> usize {
        let route = self.gateway.route("/x").expect("in the config");
        route.members(channel).wait().expect("not busy").len()
    }

    pub(super) fn end(self) {
        drop(self.backend);
        let _counters = self.gateway.stop(Duration::ZERO);
    }
}

/// A client that waits for the response to its upgrade request.
struct Client(TcpStream);

impl Client {
    /// Returns the head and the body of the response.
    fn answer(&mut self) -> (String, String) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).expect("an answer comes");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("ASCII").to_ascii_lowercase();
        let len = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; len.map_or(0, |len| len.parse().expect("a length"))];
        self.0.read_exact(&mut body).expect("a body comes");
        (head, String::from_utf8(body).expect("text"))
    }

    fn session(mut self) -> Session {
        let (head, body) = self.answer();
        assert!(head.starts_with("http/1.1 101 "), "{head}{body}");
        Session(WebSocket::from_raw_socket(self.0, Role::Client, None))
    }

    #[track_caller]
    fn rejection(mut self) -> (u16, String) {
        let (head, body) = self.answer();
        (head[9..12].parse().expect("a status"), body)
    }
}

/// A client with an open session.
pub(super) struct Session(WebSocket<TcpStream>);

impl Session {
    fn send(&mut self, text: &str) {
        self.0.send(Frame::text(text)).expect("the gateway reads");
    }

    #[track_caller]
    fn receive(&mut self) -> String {
        let frame = self.0.read().expect("a message comes");
        assert!(frame.is_text() || frame.is_binary(), "{frame:?}");
        String::from_utf8(frame.into_data().to_vec()).expect("text")
    }

    /// Returns the next message as JSON.
    #[track_caller]
    fn receive_json(&mut self) -> Value {
        serde_json::from_str(&self.receive()).expect("JSON")
    }

    #[track_caller]
    fn closing(&mut self) -> (u16, String) {
        let frame = self.0.read().expect("a frame comes");
        let Frame::Close(Some(close)) = frame else {
            panic!("{frame:?}");
        };
        (close.code.into(), close.reason.to_string())
    }
}

fn request(cmd: &str, seqno: &str) -> String {
    json!({"cmd": cmd, "seqno": seqno, "data": {"t": "hi"}}).to_string()
}

fn reply(seqno: &str, data: &Value) -> Value {
    json!({"cmd": "chat", "seqno": seqno, "status": 0, "msg": "ok", "data": data})
}

const REJECT: &str = r#"{"admit":false}"#;

pub(super) fn lobby() -> Value {
    json!({"admit": true, "channels": ["lobby"], "values": {"n": 1}})
}

#[test]
fn an_open_hook_contains_the_upgrade_request() {
    let mut stage = TestGateway::new(&Easyws, |_| {});
    let headers =
        "X-Note: a\r\nCookie: auth=t0ken\r\nx-note: b\r\nTE: trailers\r\nX-Bad: \u{e9}\r\n";
    let client = stage.connect("/x?room=3&n=%20", headers);
    let hook_request = stage.next("open");
    let body = &hook_request.body;
    assert_eq!(
        (&body["route"], &body["dialect"]),
        (&"/x".into(), &"easyws".into())
    );
    assert_eq!(body["token"], "t0ken");
    for null in ["user", "claims", "channel"] {
        assert_eq!(body.get(null), Some(&Value::Null), "{null}");
    }
    let expected = json!({
        "method": "GET",
        "path": "/x",
        "query": "room=3&n=%20",
        "headers": {
            "cookie": ["auth=t0ken"],
            "host": ["localhost"],
            "sec-websocket-version": ["13"],
            "x-bad": ["\u{e9}"],
            "x-note": ["a", "b"],
        },
        "parameters": {},
    });
    assert_eq!(body["request"], expected);
    hook_request.ok(r#"{"admit":true}"#);
    drop(client.session());
    assert_eq!(stage.next("close").body["session"]["values"], json!({}));
    stage.end();
}

#[test]
fn responses_set_up_and_change_a_session() {
    let mut stage = TestGateway::new(&Wsrv, |_| {});
    let mut session = stage.open(
        "/x",
        "",
        &json!({
            "admit": true, "user": "ada", "profile": {"name": "Ada", "fields": {"k": "v"}},
            "channels": ["lobby"], "values": {"n": 1},
            "message": {"event": "hello", "data": {"a": 1}},
        }),
    );
    let hello = session.receive_json();
    assert_eq!(
        (&hello["cmd"], &hello["data"]),
        (&"hello".into(), &json!({"a": 1}))
    );

    session.send(&request("chat", "s1"));
    let hook_request = stage.next("message");
    let id = hook_request.body["session"]["id"].clone();
    let sent = json!({
        "id": id, "number": 1, "user": "ada", "name": "Ada", "fields": {"k": "v"},
        "values": {"n": 1},
    });
    assert_eq!(hook_request.body["session"], sent);
    for (key, value) in [("command", "chat"), ("request_id", "s1"), ("channel", "")] {
        assert_eq!(hook_request.body[key], value);
    }
    assert_eq!(hook_request.body["data"], json!({"t": "hi"}));
    assert_eq!(hook_request.body.get("bytes"), None);
    hook_request.ok(&json!({
        "join": ["room"], "leave": ["no"], "values": {"n": 2}, "reply": {"data": {"ok": true}},
        "push": [
            {"channel": "lobby", "event": "others", "except_sender": true},
            {"channel": "room", "event": "joined", "data": 1},
            {"user": "ada", "event": "user", "data": 2},
            {"session": id, "event": "session", "data": 3},
            {"everyone": true, "event": "everyone", "data": 4},
        ],
    })
    .to_string());
    for (event, data) in [("joined", 1), ("user", 2), ("session", 3), ("everyone", 4)] {
        let push = session.receive_json();
        assert_eq!((&push["cmd"], &push["data"]), (&event.into(), &data.into()));
    }
    assert_eq!(session.receive_json(), reply("s1", &json!({"ok": true})));

    session.send(&request("chat", "s2"));
    let hook_request = stage.next("message");
    assert_eq!(hook_request.body["session"]["values"], json!({"n": 2}));
    hook_request.answer(204, "");
    assert_eq!(session.receive_json(), reply("s2", &json!({})));

    drop(session);
    let hook_request = stage.next("close");
    let sent = ["id", "values"].map(|key| hook_request.body["session"][key].clone());
    assert_eq!(sent, [id, json!({"n": 2})]);
    hook_request.answer(204, "");
    stage.end();
}

#[test]
fn a_session_is_closed_behind_the_response() {
    let mut stage = TestGateway::new(&Wsrv, |_| {});
    let mut session = stage.open("/x", "", &lobby());
    session.send(&request("chat", "s3"));
    let close = r#"{"leave":["room"],"failure":{"status":7,"message":"no"},
                    "close":{"code":4001,"reason":"bye"}}"#;
    stage.next("message").ok(close);
    let failed = session.receive_json();
    assert_eq!(
        (&failed["seqno"], &failed["status"], &failed["msg"]),
        (&"s3".into(), &7.into(), &"no".into())
    );
    assert_eq!(session.closing(), (4001, "bye".to_owned()));
    stage.next("close").ok("");
    stage.end();
}

#[test]
fn an_invalid_response_changes_nothing() {
    let mut stage = TestGateway::new(&Wsrv, |config| {
        config.limits.channels_per_session_max = 2;
    });
    let mut session = stage.open("/x", "", &lobby());
    let worst = r#"{"join":["room"],"push":[{"everyone":true,"event":"x"}],"values":{},
                    "reply":{},"close":{"code":1}}"#;
    let many = r#"{"join":["room","b"],"push":[{"everyone":true,"event":"x"}],"values":{}}"#;
    for (invalid, health) in [
        (worst, "down"),
        (r#"{"join":["room"],"reply":{"data":1},"extra":1}"#, "down"),
        (many, "up"), // the session's limit, not an invalid response
    ] {
        session.send(&request("chat", "s"));
        let hook_request = stage.next("message");
        assert_eq!(hook_request.body["session"]["values"], json!({"n": 1}));
        hook_request.ok(invalid);
        let failed = session.receive_json();
        assert_eq!(
            (&failed["seqno"], &failed["msg"]),
            (&"s".into(), &"backend unavailable".into())
        );
        assert_eq!(failed["status"], 999_999_999);
        assert_eq!((stage.members("room"), stage.members("lobby")), (0, 1));
        assert_eq!(stage.gateway.backend_reports()[0]["state"], health);
    }
    session.send(&request("chat", "t"));
    stage.next("message").ok(r#"{"join":["room"],"reply":{}}"#);
    assert_eq!(session.receive_json(), reply("t", &json!({})));
    assert_eq!(stage.members("room"), 1);
    stage.end();
}

#[test]
fn a_failed_message_hook_closes_the_session_if_configured() {
    let mut stage = TestGateway::new(&Wsrv, |config| {
        let hooks = config.routes[0].hooks.as_mut().expect("it has some");
        hooks.on_failure = OnFailure::Close;
    });
    let mut session = stage.open("/x", "", &lobby());
    session.send(&request("chat", "s"));
    stage.next("message").answer(500, "");
    assert_eq!(session.closing(), (1013, "backend unavailable".to_owned()));
    stage.end();
}

#[test]
fn a_rejected_client_gets_the_status_of_the_backend_or_503() {
    let mut stage = TestGateway::new(&Wsrv, |config| {
        config.backends[0].limits.retry_delay_ms = 1;
        config.backends[0].limits.retries_max = 1;
    });
    let client = stage.connect("/x", "");
    stage
        .next("open")
        .ok(r#"{"admit":false,"status":418,"body":"tea only\n"}"#);
    assert_eq!(client.rejection(), (418, "tea only\n".to_owned()));
    let unavailable = (503, "the backend does not answer, try again\n".to_owned());
    let client = stage.connect("/x", "");
    stage.next("open").ok(r#"{"admit":true,"user":""}"#);
    assert_eq!(client.rejection(), unavailable);
    let client = stage.connect("/x", "");
    let first = stage.next("open");
    let id = first.body["id"].clone();
    first.write_and_close("");
    let second = stage.next("open");
    assert_eq!(second.body["id"], id);
    second.answer(503, "");
    assert_eq!(client.rejection(), unavailable);
    // The same if the backend is not running.
    let address = stage.backend.address;
    stage.backend = TestBackend::start();
    let client = stage.connect("/x", "");
    assert_eq!(client.rejection(), unavailable);
    let report = stage.gateway.backend_reports().remove(0);
    assert_eq!(report["state"], "down");
    assert!(
        report["last_error"]
            .as_str()
            .is_some_and(|it| it.contains("refused")),
        "{report}"
    );
    stage.backend = TestBackend::start_at(address);
    drop(stage.open("/x", "", &lobby()));
    stage.end();
}

#[test]
fn message_hooks_of_a_session_run_in_order_and_delay_no_other_session() {
    let mut stage = TestGateway::new(&Easyws, |_| {});
    let mut first = stage.open("/x", "Cookie: auth=a\r\n", &json!({"admit": true}));
    let mut second = stage.open("/x", "Cookie: auth=b\r\n", &json!({"admit": true}));
    first.send("a: 1");
    first.send("b: 2");
    let held = stage.next("message");
    assert_eq!(
        (&held.body["command"], &held.body["data"]),
        (&"a".into(), &"1".into())
    );
    second.send("c: 3");
    let hook_request = stage.next("message");
    assert_eq!(hook_request.body["command"], "c");
    hook_request.ok(r#"{"reply":{"data":"three"}}"#);
    assert_eq!(second.receive(), "c: three");
    stage.backend.expect_nothing();
    held.ok(r#"{"reply":{"event":"z","data":"one"}}"#);
    let hook_request = stage.next("message");
    assert_eq!(hook_request.body["command"], "b");
    hook_request.ok("{}"); // this dialect has no empty reply
    first.send("d: 4");
    stage
        .next("message")
        .ok(r#"{"reply":{"bytes":"Zm91cg=="}}"#);
    assert_eq!(
        (first.receive(), first.receive()),
        ("z: one".to_owned(), "d: four".to_owned())
    );
    stage.end();
}

#[test]
fn messages_after_a_close_have_no_hook() {
    let mut stage = TestGateway::new(&Easyws, |_| {});
    let mut session = stage.open("/x", "Cookie: auth=a\r\n", &json!({"admit": true}));
    session.send("a: 1");
    session.send("b: 2");
    let close = r#"{"reply":{"data":"last"},"close":{"code":1000}}"#;
    stage.next("message").ok(close);
    assert_eq!(session.receive(), "a: last");
    assert_eq!(session.closing(), (1000, String::new()));
    stage.next("close").ok("");
    stage.backend.expect_nothing();
    stage.end();
}

#[test]
fn bytes_are_base64_in_both_directions() {
    let mut stage = TestGateway::new(&Edk, |config| {
        config.routes[0].authenticated_by_code = true;
    });
    let mut session = stage.open(
        "/x",
        "Sec-WebSocket-Protocol: t\r\n",
        &json!({"admit": true, "user": "ada"}),
    );
    session
        .0
        .send(Frame::binary(&b"\x0a\x01x"[..]))
        .expect("the gateway reads");
    let hook_request = stage.next("message");
    assert_eq!(
        (&hook_request.body["bytes"], hook_request.body.get("data")),
        (&"CgF4".into(), None)
    );
    hook_request.ok(r#"{"reply":{"bytes":"CgF5"}}"#);
    assert_eq!(session.receive(), "\u{a}\u{1}y");
    stage.end();
}

#[test]
fn a_backend_decides_who_joins() {
    let mut stage = TestGateway::new(&Easyws, |_| {});
    let mut session = stage.open(
        "/x",
        "Cookie: auth=a\r\n",
        &json!({"admit": true, "user": "ada"}),
    );
    for (answer, received) in [
        (r#"{"allow":false}"#, "websocket: not authorized"),
        (r#"{"allow":1}"#, "websocket: not authorized"),
        (r#"{"allow":true}"#, "e: done"),
    ] {
        session.send("listen: secret");
        session.send("e: x");
        let hook_request = stage.next("join");
        assert_eq!(
            (&hook_request.body["channel"], &hook_request.body["user"]),
            (&"secret".into(), &"ada".into())
        );
        assert_eq!(
            (
                &hook_request.body["token"],
                &hook_request.body["session"]["number"]
            ),
            (&"a".into(), &1.into())
        );
        assert_eq!(hook_request.body.get("command"), None);
        hook_request.ok(answer);
        stage.next("message").ok(r#"{"reply":{"data":"done"}}"#);
        assert_eq!(session.receive(), received);
        if received != "e: done" {
            assert_eq!(
                (session.receive(), stage.members("secret")),
                ("e: done".to_owned(), 0)
            );
        }
    }
    assert_eq!(stage.members("secret"), 1);
    stage.end();
}

#[test]
fn a_join_hook_of_an_upgrade_has_no_session() {
    let mut stage = TestGateway::new(&Projectforge, |_| {});
    for (allow, status) in [(false, 403), (true, 101)] {
        let client = stage.connect("/x?ch=secret", "");
        let hook_request = stage.next("open");
        assert_eq!(hook_request.body["channel"], "secret");
        hook_request.ok(r#"{"admit":true,"user":"ada"}"#);
        let hook_request = stage.next("join");
        assert_eq!(
            (&hook_request.body["session"], &hook_request.body["user"]),
            (&Value::Null, &"ada".into())
        );
        hook_request.ok(&json!({"allow": allow}).to_string());
        assert_eq!(client.rejection().0, status);
    }
    stage.end();
}

#[test]
fn a_backend_that_restarts_between_two_messages_is_not_missed() {
    let mut stage = TestGateway::new(&Wsrv, |_| {});
    let mut session = stage.open("/x", "", &lobby());
    for round in 0..10 {
        let seqno = format!("s{round}");
        session.send(&request("chat", &seqno));
        stage.next("message").ok("{}");
        assert_eq!(session.receive_json(), reply(&seqno, &json!({})));
        let address = stage.backend.address;
        drop(std::mem::replace(&mut stage.backend, TestBackend::start()));
        stage.backend = TestBackend::start_at(address);
    }
    assert_eq!(stage.gateway.backend_reports()[0]["failed"], 0);
    stage.end();
}

#[test]
fn a_slow_open_hook_delays_no_message_of_open_sessions() {
    let mut stage = TestGateway::new(&Wsrv, |config| {
        config.backends[0].limits.requests_in_flight_max = 2;
    });
    let mut session = stage.open("/x", "", &lobby());
    let clients: Vec<_> = (0..5).map(|_| stage.connect("/x", "")).collect();
    let mut opens = vec![stage.next("open"), stage.next("open")];
    let counts = stage.counts_when("open", "waiting", 3);
    assert_eq!(counts["in_flight"], 2);
    for seqno in ["1", "2"] {
        session.send(&request("chat", seqno));
        stage.next("message").ok("{}");
        assert_eq!(session.receive_json(), reply(seqno, &json!({})));
    }
    // No `open` hook had a response before.
    for _ in 0..3 {
        opens.remove(0).ok(REJECT);
        opens.push(stage.next("open"));
    }
    for open in opens {
        open.ok(REJECT);
    }
    for client in clients {
        assert_eq!(client.rejection().0, 403);
    }
    stage.end();
}
