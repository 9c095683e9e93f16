//! Tests of the examples that reproduce the documented samples of the five originals
//! (docs/dialects/README.md, "Documented samples").

use crate::process::Example;
use campanile_tests::client::{
    Client, expect_no_message, open, open_as, open_with, read_text, register, try_open,
};
use campanile_tests::net::connect;
use campanile_tests::node;
use campanile_tests::peer::{Peer, sent_to};
use serde_json::Value;
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;

#[track_caller]
fn send(client: &mut Client, text: &str) {
    client.send(Message::text(text)).expect("the example reads");
}

/// Closes a session and asserts that the close frame comes back with the same code.
#[track_caller]
fn close(mut client: Client) {
    let frame = CloseFrame {
        code: 1000.into(),
        reason: "".into(),
    };
    client.close(Some(frame)).expect("it is open");
    assert_eq!(read_close(&mut client), (1000, String::new()));
}

#[track_caller]
fn read_close(client: &mut Client) -> (u16, String) {
    let message = client.read().expect("a close comes");
    let Message::Close(Some(frame)) = message else {
        panic!("{message:?}");
    };
    (frame.code.into(), frame.reason.to_string())
}

#[test]
fn edk_logs_messages_and_disconnects() {
    let mut example = Example::start("edk", &[]);
    let page = Peer::connect(example.address).get("/");
    assert_eq!(page.status_and_body(), (200, "Hello world"));

    let jack = [("x-user-id", "42"), ("sec-websocket-protocol", "e30.e30.s")];
    let mut first = open_with(example.address, "/ws", &jack);
    let chat: &[u8] = b"\x0a\x04chat\x12\x02hi";
    first.send(Message::binary(chat)).expect("it reads");
    let line = example.expect_log("user 42: message:");
    assert!(line.ends_with(r#"user 42: message: type:"chat" payload:"hi""#));

    let mut second = open_with(example.address, "/ws", &jack);
    let replaced = "replaced by a new connection".to_owned();
    assert_eq!(read_close(&mut first), (4001, replaced));
    example.expect_log("user 42 is disconnected");

    second.send(Message::binary(chat)).expect("it reads");
    example.expect_log("user 42: message:");
    close(second);
    example.expect_log("user 42 is disconnected");

    for missing in 0..2 {
        let refusal = try_open(connect(example.address), "/ws", &jack[missing..=missing]);
        let refusal = refusal.expect_err("half of the credentials");
        assert!(refusal.contains("401"), "{refusal}");
    }
    drop(first);
    example.stop();
}

/// Reads a push and replaces its random sequence number by a constant.
#[track_caller]
fn read_push(client: &mut Client) -> String {
    let text = read_text(client);
    let (head, rest) = text.split_once(r#""seqno":""#).expect("a push has a name");
    let (seqno, rest) = rest.split_once('"').expect("it has an end");
    let is_letter = |it: char| it.is_ascii_alphanumeric() || it == '$' || it == '@';
    assert!(seqno.len() == 8 && seqno.chars().all(is_letter), "{text}");
    format!(r#"{head}"seqno":"?"{rest}"#)
}

#[test]
fn wsrv_authorizes_registers_and_notifies_registered_sessions() {
    let mut example = Example::start("wsrv", &[]);
    let mut first = open(example.address, "/ws");
    send(
        &mut first,
        r#"{"cmd":"userinfo","seqno":"1","data":{"a":1}}"#,
    );
    assert_eq!(
        read_text(&mut first),
        r#"{"cmd":"userinfo","seqno":"1","status":-1,"msg":"not implement","data":{}}"#
    );
    example.expect_log(r#"request: session 1, cmd userinfo, data {\"a\":1}"#);
    let answered = example.expect_log("response: session 1, cmd userinfo, data");
    assert!(answered.trim_end().ends_with("data"), "{answered}");

    let mut stranger = open(example.address, "/ws");
    let push = |cmd: &str, uid: i64| {
        let rest = format!(r#""status":0,"msg":"ok","data":{{"uid":{uid}}}"#);
        format!(r#"{{"cmd":"{cmd}","seqno":"?",{rest}}}"#)
    };
    let mut known = vec![(first, 5)];
    for uid in [5, 7, -1] {
        if uid != 5 {
            known.push((open(example.address, "/ws"), uid));
        }
        let (client, _) = known.last_mut().expect("just pushed");
        let data = format!(r#"{{"UID":{uid}}}"#);
        let request = format!(r#"{{"cmd":"register","seqno":"s","data":{data}}}"#);
        send(client, &request);
        for (client, uid) in &mut known {
            assert_eq!(read_push(client), push("have_user_register", *uid));
        }
        let (client, _) = known.last_mut().expect("just pushed");
        assert_eq!(read_push(client), push("user_register", uid));
        let ok = r#"{"cmd":"register","seqno":"s","status":0,"msg":"ok","data":{}}"#;
        assert_eq!(read_text(client), ok);
    }
    expect_no_message(&mut stranger);
    send(
        &mut stranger,
        r#"{"cmd":"register","seqno":"3","data":{"uid":"5"}}"#,
    );
    let words = "json: cannot unmarshal string into Go struct field .UID of type int64";
    let failed = format!(r#""seqno":"3","status":999999999,"msg":"{words}","data":{{}}"#);
    assert_eq!(
        read_text(&mut stranger),
        format!(r#"{{"cmd":"register",{failed}}}"#)
    );

    for (client, uid) in &mut known {
        send(client, r#"{"cmd":"userinfo","seqno":"2"}"#);
        let record = format!(
            r#"{{"cmd":"userinfo","seqno":"2","status":0,"msg":"ok","data":{{"uid":{uid}}}}}"#
        );
        assert_eq!(read_text(client), record);
    }
    example.expect_log(r#"response: session 1, cmd userinfo, data {\"uid\":5}"#);
    close(stranger);
    drop(known);
    example.stop();
}

#[test]
fn easyws_welcomes_thanks_and_pushes_to_one_session() {
    let example = Example::start("easyws", &[]);
    let cookie = |token: &'static str| [("cookie", token)];
    let mut first = open_with(example.address, "/ws", &cookie("auth=x"));
    let welcome = read_text(&mut first);
    let id = welcome.strip_prefix("welcome: Hello ").expect("a welcome");
    assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'), "{id}");
    let mut second = open_with(example.address, "/ws", &cookie("auth=valid"));
    assert_ne!(read_text(&mut second), welcome);

    send(&mut second, "listen: test");
    for _ in 0..2 {
        let thanks = "thanks: Thank you for listening!";
        assert_eq!(read_text(&mut second), thanks);
    }
    let direct = "direct: This message is only sent to a single client";
    assert_eq!(read_text(&mut first), direct);

    // An admitted session cannot log in again.
    for (client, expected) in [
        (&mut first, "websocket: not authorized"),
        (&mut second, "websocket: already listening"),
    ] {
        send(client, "listen: restricted");
        send(client, "listen: restricted");
        let mut words = std::iter::repeat_with(|| read_text(client));
        let about_it = words.find(|text| text.starts_with("websocket: "));
        assert_eq!(about_it.as_deref(), Some(expected));
    }

    let refusal = try_open(connect(example.address), "/ws", &[]).expect_err("no cookie");
    assert!(refusal.contains("403"), "{refusal}");
    drop((first, second));
    example.stop();
}

/// Reads a message and replaces its time by `?`.
#[track_caller]
fn read_timed(client: &mut Client, key: &str) -> String {
    let text = read_text(client);
    let message: Value = serde_json::from_str(&text).expect("JSON");
    let time = &message["param"][key];
    // From 2025 to 2100.
    let is_time = |time: u64| (1_735_689_600_000..4_102_444_800_000).contains(&time);
    assert!(time.as_u64().is_some_and(is_time), "{text}");
    text.replace(&time.to_string(), "?")
}

#[track_caller]
fn read_presence(client: &mut Client, channel: &str, connected: bool) {
    let message: Value = serde_json::from_str(&read_text(client)).expect("JSON");
    assert_eq!(message["cmd"], "online-update");
    assert_eq!(message["channel"], channel);
    assert_eq!(message["param"]["connected"], connected);
    assert_eq!(message["param"]["userID"], message["from"]);
}

#[test]
fn projectforge_serves_its_page_and_nothing_else() {
    let example = Example::start("projectforge", &[]);
    let page = Peer::connect(example.address).get("/example");
    assert_eq!(page.status, 200);
    for part in ["<form", "<ul", "/example/socket", "pong", "user-joined"] {
        assert!(page.body.contains(part), "{part}");
    }
    let lost = Peer::connect(example.address).get("/example/");
    let text = "404 page not found\n";
    assert_eq!((lost.status, lost.body.as_str()), (404, text));
    example.stop();
}

#[test]
fn the_page_of_projectforge_trims_sends_no_empty_text_and_reconnects() {
    let example = Example::start("projectforge", &[]);
    let address = format!("ws://{}", example.address);
    node::run("pages/projectforge.mjs", &[&address]);
    example.stop();
}

#[test]
fn projectforge_pings_chats_and_joins() {
    let mut example = Example::start("projectforge", &[]);
    let mut first = open(example.address, "/example/socket?ch=room");
    let mut second = open(example.address, "/example/socket?ch=room&name=bob");
    read_presence(&mut first, "room", true);

    let ping = r#"{"channel":"room","cmd":"ping","param":null}"#;
    send(&mut first, ping);
    let pong = "{\n  \"channel\": \"room\",\n  \"cmd\": \"pong\",\n  \"param\": {\n    \
        \"timestamp\": ?\n  }\n}";
    for client in [&mut first, &mut second] {
        assert_eq!(read_timed(client, "timestamp"), pong);
    }

    // A message without a channel uses the session's own channel.
    for (from_bob, user) in [(false, "Guest"), (true, "bob")] {
        let sender = if from_bob { &mut second } else { &mut first };
        send(sender, r#"{"cmd":"chat","param":{"text":"<hi>"}}"#);
        let chat = format!(
            "{{\n  \"channel\": \"room\",\n  \"cmd\": \"chat\",\n  \"param\": {{\n    \
             \"text\": \"<hi>\",\n    \"time\": ?,\n    \"user\": \"{user}\"\n  }}\n}}"
        );
        for client in [&mut first, &mut second] {
            assert_eq!(read_timed(client, "time"), chat);
        }
    }

    // A session that joins a room receives its messages. Its own messages go to its own channel,
    // whatever channel they name.
    let mut third = open(example.address, "/example/socket?ch=b");
    let (ping_b, pong_b) = (ping.replace("room", "b"), pong.replace("room", "b"));
    send(&mut third, ping);
    assert_eq!(read_timed(&mut third, "timestamp"), pong_b);
    send(&mut first, r#"{"cmd":"join-room","param":{"room":"b"}}"#);
    read_presence(&mut third, "b", true);
    send(&mut first, &ping_b);
    for client in [&mut first, &mut second] {
        assert_eq!(read_timed(client, "timestamp"), pong);
    }
    expect_no_message(&mut third);
    send(&mut third, &ping_b);
    for client in [&mut first, &mut third] {
        assert_eq!(read_timed(client, "timestamp"), pong_b);
    }
    close(third);
    read_presence(&mut first, "b", false);

    send(&mut first, r#"{"channel":"room","cmd":"bogus"}"#);
    let warned = example.expect_log("unhandled command [bogus]");
    assert!(warned.contains("WARN"), "{warned}");
    close(second);
    read_presence(&mut first, "room", false);
    close(first);
    example.stop();
}

/// docs/dialects/README.md, "Documented samples": the documented page connects without a channel,
/// names its own, and sends nothing that closes the session.
#[test]
fn projectforge_accepts_messages_of_its_documented_page() {
    let mut example = Example::start("projectforge", &[]);
    let mut page = open(example.address, "/example/socket");
    let mut answer = |message: &str| -> Value {
        send(&mut page, message);
        serde_json::from_str(&read_text(&mut page)).expect("JSON")
    };
    let pong = answer(r#"{"channel":"example","cmd":"ping","param":{}}"#);
    assert_eq!(pong["cmd"], "pong");
    let own = pong["channel"].as_str().expect("a channel").to_owned();
    let random = own.strip_prefix("example-").expect("a name of its own");
    assert_eq!(random.len(), 8, "{own}");

    let long = format!("{:?}", "x".repeat(2_000));
    for (param, text) in [
        (r#"{"text":"hi"}"#, r#""hi""#),
        ("{}", "null"),
        ("null", "null"),
        ("[]", "null"),
        (r#"{"text":5}"#, "5"),
        (r#"{"text":""}"#, r#""""#),
        (r#"{"text":[1.0,{}]}"#, "[1,{}]"),
        (&format!(r#"{{"text":{long}}}"#), &long),
    ] {
        let chat = answer(&format!(
            r#"{{"channel":"example","cmd":"chat","param":{param}}}"#
        ));
        assert_eq!(chat["channel"], *own);
        assert_eq!(chat["param"]["text"].to_string(), text, "{param:.50}");
        assert_eq!(chat["param"]["user"], "Guest");
    }
    assert_eq!(answer(r#"{"cmd":"chat"}"#)["param"]["text"], Value::Null);

    for (param, room) in [
        (r#"{"room":5}"#, "5"),
        (r#"{"room":1e30}"#, "1e+30"),
        (r#"{"room":0.00001}"#, "1e-05"),
        ("{}", "<nil>"),
        (r#"{"room":{"a":[1,true]}}"#, "map[a:[1 true]]"),
        (r#"{"room":"\u00e9"}"#, "\u{e9}"),
    ] {
        let query: String = form_urlencoded::byte_serialize(room.as_bytes()).collect();
        let mut member = open(example.address, &format!("/example/socket?ch={query}"));
        send(
            &mut page,
            &format!(r#"{{"cmd":"join-room","param":{param}}}"#),
        );
        read_presence(&mut member, room, true);
        close(member);
        read_presence(&mut page, room, false);
    }
    send(&mut page, r#"{"cmd":"join-room","param":{"room":""}}"#);
    example.expect_log("cannot join room []");
    expect_no_message(&mut page);
    close(page);
    example.stop();
}

#[test]
fn wserver_knows_jack_and_accepts_all_pushes() {
    let example = Example::start("wserver", &[]);
    let mut jack = open_as(example.address, "aaa", "topic1");
    let mut nobody = open_as(example.address, "jack", "topic1");
    register(&mut nobody, "bbb", "topic1");

    let mut backend = Peer::connect(example.address);
    assert_eq!(backend.push("jack", "topic1", "Hello World"), sent_to(1));
    assert_eq!(read_text(&mut jack), "Hello World");
    for (user, event) in [("jack", "topic2"), ("aaa", "topic1"), ("bbb", "topic1")] {
        assert_eq!(backend.push(user, event, "Hello"), sent_to(0));
    }
    expect_no_message(&mut jack);
    expect_no_message(&mut nobody);
    close(jack);
    close(nobody);
    drop(backend);
    example.stop();
}
