//! Tests of each call of the server API: its effect, what clients receive, and its errors.

use crate::GATEWAY;
use crate::http::Http;
use campanile_tests::client::{Client, expect_no_message, open, open_as, read_text};
use serde_json::{Value, json};
use tungstenite::Message;

/// Returns the id of the only session of a route.
#[track_caller]
pub(crate) fn id_of(http: &mut Http, route: &str) -> String {
    let page = http.get(&format!("sessions?route={route}"));
    let items = page["items"].as_array().expect("items");
    assert_eq!(items.len(), 1, "{page}");
    items[0]["id"].as_str().expect("an id").to_owned()
}

#[track_caller]
fn read_json(client: &mut Client) -> Value {
    let bytes = client.read().expect("a message comes").into_data();
    serde_json::from_slice(&bytes).expect("it is JSON")
}

#[test]
fn a_publication_reaches_the_members_of_a_channel_in_every_dialect() {
    let config = "
        routes = [
            { path = '/ws', dialect = 'wserver' },
            { path = '/wsrv', dialect = 'wsrv' },
            { path = '/forge', dialect = 'projectforge' },
            { path = '/edk', dialect = 'edk', trust_user_header = true },
        ]";
    let process = GATEWAY.start(Some(config));
    let address = process.address;
    let mut http = Http::connect(address);
    let mut clients = ["/ws", "/wsrv", "/forge"].map(|path| open(address, path));
    for path in ["/ws", "/wsrv", "/forge"] {
        let session = id_of(&mut http, path);
        let join = json!({"session": session, "channel": "room"}).to_string();
        assert_eq!(http.done("join", &join), json!({"joined": true}));
        assert_eq!(http.done("join", &join), json!({"joined": false}));
    }
    let publish = r#"{"channel": "room", "event": "chat", "data": {"n": 1e2}}"#;
    assert_eq!(http.done("publish", publish), json!({"delivered": 3}));
    let [ws, wsrv, forge] = &mut clients;
    assert_eq!(read_text(ws), r#"{"n": 1e2}"#);
    let received = read_json(wsrv);
    assert_eq!(
        (&received["cmd"], &received["data"]),
        (&json!("chat"), &json!({"n": 1e2}))
    );
    let received = read_json(forge);
    assert_eq!(
        (&received["channel"], &received["cmd"]),
        (&json!("room"), &json!("chat"))
    );

    let one = r#"{"channel": "room", "bytes": "aGk=", "route": "/ws"}"#;
    assert_eq!(http.done("publish", one), json!({"delivered": 1}));
    assert_eq!(read_text(ws), "hi");
    let except = id_of(&mut http, "/ws");
    let publish = json!({"channel": "room", "data": "x", "except": [except]}).to_string();
    assert_eq!(http.done("publish", &publish), json!({"delivered": 2}));
    expect_no_message(ws);

    let leave = json!({"session": except, "channel": "room"}).to_string();
    assert_eq!(http.done("leave", &leave), json!({"left": true}));
    assert_eq!(http.done("leave", &leave), json!({"left": false}));
    let elsewhere = r#"{"channel": "nobody's"}"#;
    assert_eq!(http.done("publish", elsewhere), json!({"delivered": 0}));
    expect_no_message(ws);
}

/// docs/dialects/projectforge.md, "The TypeScript client": in debug mode the original's client
/// ignores messages without a channel.
#[test]
fn a_projectforge_push_names_the_channel_of_the_call_or_of_the_session() {
    let config = "
        [[routes]]
        path = '/forge'
        dialect = 'projectforge'
        anonymous = true
        tokens = { t = 'jack' }";
    let process = GATEWAY.start(Some(config));
    let address = process.address;
    let mut http = Http::connect(address);
    let mut room = open(address, "/forge?ch=room");
    let id = id_of(&mut http, "/forge");
    let mut hall = open(address, "/forge?ch=hall&token=t");
    let both = json!({"session": id, "channel": "second"}).to_string();
    assert_eq!(http.done("join", &both), json!({"joined": true}));
    let named = |client: &mut Client, channel: &str, data: &str| {
        let text = read_text(client);
        let message: Value = serde_json::from_str(&text).expect("JSON");
        let expected = json!({"channel": channel, "cmd": "message", "param": data});
        assert_eq!(message, expected);
    };

    assert_eq!(
        http.done("broadcast", r#"{"data": "1"}"#),
        json!({"delivered": 2})
    );
    named(&mut room, "room", "1");
    named(&mut hall, "hall", "1");
    let given = r#"{"data": "2", "channel": "given"}"#;
    assert_eq!(http.done("broadcast", given), json!({"delivered": 2}));
    named(&mut room, "given", "2");
    named(&mut hall, "given", "2");

    assert_eq!(
        http.done("push", r#"{"user": "jack", "data": "3"}"#),
        json!({"delivered": 1})
    );
    named(&mut hall, "hall", "3");
    let given = r#"{"user": "jack", "data": "4", "channel": "given"}"#;
    assert_eq!(http.done("push", given), json!({"delivered": 1}));
    named(&mut hall, "given", "4");

    let mut push = json!({"session": id, "data": "5"});
    assert_eq!(
        http.done("push", &push.to_string()),
        json!({"delivered": 1})
    );
    named(&mut room, "room", "5");
    for (left, own) in [("room", "second"), ("second", id.as_str())] {
        let leave = json!({"session": id, "channel": left}).to_string();
        assert_eq!(http.done("leave", &leave), json!({"left": true}));
        assert_eq!(
            http.done("push", &push.to_string()),
            json!({"delivered": 1})
        );
        named(&mut room, own, "5");
    }
    push["channel"] = json!("given");
    assert_eq!(
        http.done("push", &push.to_string()),
        json!({"delivered": 1})
    );
    named(&mut room, "given", "5");
    push["channel"] = json!("");
    assert_eq!(
        http.post("push", &push.to_string()).error(),
        "400 bad_request channel"
    );
}

#[test]
fn a_namespace_of_several_routes_is_reached_once() {
    let config = "
        routes = [
            { path = '/a', dialect = 'wserver', namespace = 'n' },
            { path = '/b', dialect = 'wserver', namespace = 'n' },
            { path = '/c', dialect = 'wserver' },
        ]";
    let process = GATEWAY.start(Some(config));
    let mut clients = ["/a", "/b", "/c"].map(|path| open(process.address, path));
    let mut http = Http::connect(process.address);
    assert_eq!(
        http.done("broadcast", r#"{"data": "1"}"#),
        json!({"delivered": 3})
    );
    let of_b = r#"{"data": "2", "route": "/b"}"#;
    assert_eq!(http.done("broadcast", of_b), json!({"delivered": 2}));
    for (client, expected) in clients
        .iter_mut()
        .zip([&["1", "2"][..], &["1", "2"], &["1"]])
    {
        for text in expected {
            assert_eq!(read_text(client), *text);
        }
        expect_no_message(client);
    }
}

#[test]
fn a_push_reaches_a_user_by_event_or_one_session() {
    let process = GATEWAY.start(None);
    let mut jack = open_as(process.address, "jack", "a");
    let mut http = Http::connect(process.address);
    let a = r#"{"user": "jack", "event": "a", "data": "1"}"#;
    assert_eq!(http.done("push", a), json!({"delivered": 1}));
    assert_eq!(
        http.done("push", r#"{"user": "jack"}"#),
        json!({"delivered": 0})
    );
    assert_eq!(
        http.done("push", r#"{"user": "jill"}"#),
        json!({"delivered": 0})
    );
    let session = id_of(&mut http, "/ws");
    let push = json!({"session": session, "data": "2"});
    assert_eq!(
        http.done("push", &push.to_string()),
        json!({"delivered": 1})
    );
    assert_eq!(
        (read_text(&mut jack), read_text(&mut jack)),
        ("1".into(), "2".into())
    );
    let mut elsewhere = push;
    elsewhere["route"] = "/wsrv".into();
    let response = http.post("push", &elsewhere.to_string());
    assert_eq!(response.error(), "404 no_session");
    expect_no_message(&mut jack);
}

#[test]
fn a_session_or_a_user_is_disconnected() {
    let process = GATEWAY.start(None);
    let mut http = Http::connect(process.address);
    let mut client = open_as(process.address, "jack", "a");
    let session = id_of(&mut http, "/ws");
    let end = json!({"session": session, "code": 4000.0, "reason": "bye"}).to_string();
    assert_eq!(http.done("disconnect", &end), json!({"disconnected": 1}));
    let Message::Close(Some(frame)) = client.read().expect("a close comes") else {
        panic!("no close frame");
    };
    assert_eq!(
        (u16::from(frame.code), frame.reason.as_str()),
        (4000, "bye")
    );
    let gone = http.post("disconnect", &end);
    assert_eq!(gone.error(), "404 no_session");
    for call in ["join", "leave"] {
        let body = json!({"session": session, "channel": "c"}).to_string();
        assert_eq!(http.post(call, &body).error(), "404 no_session");
    }

    let mut clients = ["a", "b", "b"].map(|event| open_as(process.address, "jill", event));
    let of_b = r#"{"user": "jill", "event": "b"}"#;
    assert_eq!(http.done("disconnect", of_b), json!({"disconnected": 2}));
    let all = r#"{"user": "jill", "route": "/ws"}"#;
    assert_eq!(http.done("disconnect", all), json!({"disconnected": 1}));
    assert_eq!(http.done("disconnect", all), json!({"disconnected": 0}));
    for client in &mut clients {
        assert!(client.read().expect("a close comes").is_close());
    }
}

/// Posts each call and checks its error, and that nothing was done.
#[track_caller]
fn check_errors(cases: &[(&str, &str, &str)]) {
    let process = GATEWAY.start(Some("[limits]\nname_bytes_max = 16\ntoken_bytes_max = 16"));
    let mut client = open_as(process.address, "jack", "message");
    let mut http = Http::connect(process.address);
    for (call, body, expected) in cases {
        let body = body.replace("ID", "00000000-0000-4000-8000-000000000000");
        assert_eq!(http.post(call, &body).error(), *expected, "{call} {body}");
    }
    expect_no_message(&mut client);
}

#[test]
fn a_malformed_call_is_an_error_and_changes_nothing() {
    check_errors(&[
        ("broadcast", "", "400 bad_request"),
        ("broadcast", "[]", "400 bad_request"),
        ("broadcast", r#"{"data": 1} 2"#, "400 bad_request"),
        ("broadcast", r#"{"data": 01}"#, "400 bad_request"),
        (
            "broadcast",
            r#"{"data": 1, "data": 2}"#,
            "400 bad_request data",
        ),
        ("broadcast", r#"{"date": 1}"#, "400 bad_request date"),
        ("broadcast", r#"{"event": ""}"#, "400 bad_request event"),
        ("broadcast", r#"{"event": null}"#, "400 bad_request event"),
        ("broadcast", r#"{"event": "a:b"}"#, "400 bad_request event"),
        (
            "broadcast",
            r#"{"event": "\ud800"}"#,
            "400 bad_request event",
        ),
        ("broadcast", r#"{"data": "\ud800"}"#, "400 bad_request data"),
        (
            "broadcast",
            r#"{"data": null, "bytes": ""}"#,
            "400 bad_request bytes",
        ),
        ("broadcast", r#"{"bytes": "a"}"#, "400 bad_request bytes"),
        (
            "broadcast",
            r#"{"route": "/nowhere"}"#,
            "404 no_route route",
        ),
        (
            "broadcast",
            r#"{"except": ["x"]}"#,
            "400 bad_request except[0]",
        ),
        ("broadcast", r#"{"except": {}}"#, "400 bad_request except"),
        ("broadcast", "{}", "400 bad_request data"),
        ("broadcast", r#"{"route": "/ws"}"#, "400 bad_request data"),
        ("broadcast", r#"{"except": []}"#, "400 bad_request data"),
        ("broadcast?x=1", "{}", "400 bad_request x"),
    ]);
}

#[test]
fn a_call_with_missing_or_conflicting_members_is_an_error() {
    const LONG: &str = r#"{"channel": "seventeen letters"}"#;
    let reason = format!(r#"{{"session": "ID", "reason": "{}"}}"#, "r".repeat(124));
    check_errors(&[
        ("publish", "{}", "400 bad_request channel"),
        ("publish", LONG, "400 bad_request channel"),
        ("push", "{}", "400 bad_request user"),
        (
            "push",
            r#"{"user": "jack", "session": "ID"}"#,
            "400 bad_request session",
        ),
        ("push", r#"{"session": "{ID}"}"#, "400 bad_request session"),
        ("push", r#"{"session": "ID"}"#, "404 no_session"),
        ("join", r#"{"session": "ID"}"#, "400 bad_request channel"),
        ("join", r#"{"channel": "c"}"#, "400 bad_request session"),
        ("disconnect", "{}", "400 bad_request user"),
        (
            "disconnect",
            r#"{"session": "ID", "code": 1005}"#,
            "400 bad_request code",
        ),
        (
            "disconnect",
            r#"{"session": "ID", "code": "1"}"#,
            "400 bad_request code",
        ),
        ("disconnect", &reason, "400 bad_request reason"),
        (
            "disconnect",
            r#"{"session": "ID", "event": "e"}"#,
            "400 bad_request event",
        ),
        (
            "disconnect",
            r#"{"user": "jack", "code": 1000}"#,
            "400 bad_request code",
        ),
    ]);
}

#[test]
fn a_body_above_the_limit_is_an_error() {
    let process = GATEWAY.start(Some("[http]\nbody_bytes_max = 100"));
    let mut http = Http::connect(process.address);
    let body = format!("{{\"data\": \"{}\"}}", "x".repeat(100));
    assert_eq!(http.post("broadcast", &body).error(), "413 body_too_large");
}

#[test]
fn the_number_of_channels_of_a_session_is_limited() {
    let process = GATEWAY.start(Some("[limits]\nchannels_per_session_max = 1"));
    let client = open(process.address, "/ws");
    let mut http = Http::connect(process.address);
    let session = id_of(&mut http, "/ws");
    let join = |channel: &str| json!({"session": session, "channel": channel}).to_string();
    assert_eq!(http.done("join", &join("a")), json!({"joined": true}));
    let refused = http.post("join", &join("b"));
    assert_eq!(refused.error(), "409 too_many_channels");
    drop(client);
}

#[test]
fn an_event_is_an_error_if_a_targeted_dialect_cannot_encode_it() {
    let config = "
        routes = [
            { path = '/easyws', dialect = 'easyws', namespace = 'n' },
            { path = '/wsrv', dialect = 'wsrv', namespace = 'n' },
            { path = '/ws', dialect = 'wserver' },
        ]";
    let process = GATEWAY.start(Some(config));
    let mut http = Http::connect(process.address);
    for (route, expected) in [
        ("/easyws", Some("400 bad_request event")),
        ("/wsrv", Some("400 bad_request event")),
        ("/ws", None),
    ] {
        let body = json!({"event": "a:b", "route": route}).to_string();
        let response = http.post("broadcast", &body);
        match expected {
            Some(expected) => assert_eq!(response.error(), expected, "{route}"),
            None => assert_eq!(response.body, json!({"delivered": 0})),
        }
    }
}

#[test]
fn a_batch_runs_in_order_and_returns_a_result_per_call() {
    let process = GATEWAY.start(Some("[api]\nbatch_calls_max = 6"));
    let mut client = open(process.address, "/ws");
    let mut http = Http::connect(process.address);
    let session = id_of(&mut http, "/ws");
    let gone = "00000000-0000-4000-8000-000000000000";
    for round in 0..20 {
        let publish = |data: String| json!({"call": "publish", "channel": "c", "data": data});
        let calls = json!({"calls": [
            publish("no member".to_owned()),
            {"call": "join", "session": session, "channel": "c"},
            publish(format!("{round}")),
            {"call": "push", "session": gone},
            {"call": "leave", "session": session, "channel": "c"},
            publish("no member".to_owned()),
        ]});
        let mut done = http.done("batch", &calls.to_string());
        let error = done["results"][3].take();
        assert_eq!(error["error"]["code"], "no_session");
        let expected = json!({"results": [
            {"delivered": 0}, {"joined": true}, {"delivered": 1}, null, {"left": true},
            {"delivered": 0},
        ]});
        assert_eq!(done, expected);
        assert_eq!(read_text(&mut client), format!("{round}"));
    }
    expect_no_message(&mut client);
    assert_eq!(
        http.done("batch", r#"{"calls": []}"#),
        json!({"results": []})
    );
}

#[test]
fn a_batch_with_one_invalid_call_does_nothing() {
    let process = GATEWAY.start(Some("[api]\nbatch_calls_max = 3"));
    let mut client = open(process.address, "/ws");
    let mut http = Http::connect(process.address);
    let good = r#"{"call": "broadcast", "data": "x"}"#;
    for (bad, expected) in [
        (r#"{"call": "publish"}"#, "400 bad_request calls[1].channel"),
        (r#"{"call": "burn"}"#, "400 bad_request calls[1].call"),
        (r#"{"data": "x"}"#, "400 bad_request calls[1].call"),
        (
            r#"{"call": "batch", "calls": []}"#,
            "400 bad_request calls[1].call",
        ),
        (
            r#"{"call": "broadcast", "user": "j"}"#,
            "400 bad_request calls[1].user",
        ),
        (
            r#"{"call": "broadcast", "more": 1}"#,
            "400 bad_request calls[1].more",
        ),
        (
            r#"{"call": "broadcast", "route": "/"}"#,
            "404 no_route calls[1].route",
        ),
        ("1", "400 bad_request calls[1]"),
        (r#"{"call": "broadcast"}"#, "400 bad_request calls[1].data"),
        (
            r#"{"publish": {"channel": "c"}}"#,
            "400 bad_request calls[1].call",
        ),
        (
            r#"{"call": "publish", "publish": {}}"#,
            "400 bad_request calls[1].publish",
        ),
    ] {
        let body = format!("{{\"calls\": [{good}, {bad}]}}");
        assert_eq!(http.post("batch", &body).error(), expected, "{bad}");
    }
    let many = format!("{{\"calls\": [{good}, {good}, {good}, {good}]}}");
    assert_eq!(http.post("batch", &many).error(), "400 bad_request calls");
    assert_eq!(http.post("batch", "{}").error(), "400 bad_request calls");
    expect_no_message(&mut client);
}
