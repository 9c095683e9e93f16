//! Tests of the examples for common patterns: chat, live data, game, notifications.

use crate::process::Example;
use campanile_tests::client::{
    Client, expect_no_message, open, open_on, open_with, read_text, try_open,
};
use campanile_tests::net::connect;
use campanile_tests::peer::Peer;
use serde_json::{Value, json};
use std::net::TcpStream;
use tungstenite::Message;

#[track_caller]
fn send(client: &mut Client, message: &Value) {
    let message = Message::text(message.to_string());
    client.send(message).expect("the example reads");
}

#[track_caller]
fn read(client: &mut Client) -> Value {
    serde_json::from_str(&read_text(client)).expect("JSON")
}

/// Reads until a message with `command` comes.
#[track_caller]
fn read_until(client: &mut Client, command: &str) -> Value {
    loop {
        let message = read(client);
        if message["cmd"] == command {
            return message;
        }
    }
}

/// Reads the next message that is no presence message.
#[track_caller]
fn read_chat(client: &mut Client) -> Value {
    loop {
        let message = read(client);
        if message["cmd"] != "online-update" {
            return json!([message["channel"], message["cmd"], message["param"]]);
        }
    }
}

#[test]
fn a_chat_sends_joins_leaves_and_messages() {
    let example = Example::start("chat", &[]);
    let mut ann = open(example.address, "/chat?name=ann");
    send(&mut ann, &json!({"channel": "lobby", "cmd": "who"}));
    let alone = json!(["lobby", "who", {"names": ["ann"]}]);
    assert_eq!(read_chat(&mut ann), alone);
    let mut bob = open(example.address, "/chat?name=bob");
    assert_eq!(read_chat(&mut ann), json!(["lobby", "joined", "bob"]));

    send(&mut bob, &json!({"channel": "lobby", "cmd": "who"}));
    let here = json!(["lobby", "who", {"names": ["ann", "bob"]}]);
    assert_eq!(read_chat(&mut bob), here);
    for text in ["hi", "\u{e9}\u{2028}<b>"] {
        let param = json!({"text": text});
        send(
            &mut bob,
            &json!({"channel": "lobby", "cmd": "say", "param": param}),
        );
        let expected = json!(["lobby", "said", {"name": "bob", "text": text}]);
        assert_eq!(read_chat(&mut ann), expected);
        assert_eq!(read_chat(&mut bob), expected);
    }

    let garden = json!({"room": "garden"});
    send(&mut ann, &json!({"cmd": "join", "param": garden}));
    send(&mut ann, &json!({"channel": "garden", "cmd": "who"}));
    let alone = json!(["garden", "who", {"names": ["ann"]}]);
    assert_eq!(read_chat(&mut ann), alone);
    let mut eve = open(example.address, "/chat?name=eve&ch=garden");
    assert_eq!(read_chat(&mut ann), json!(["garden", "joined", "eve"]));
    // Bob is not in the garden, so his message there reaches nobody.
    let whisper = json!({"text": "psst"});
    send(
        &mut bob,
        &json!({"channel": "garden", "cmd": "say", "param": whisper}),
    );
    let refused = json!(["garden", "refused", "you are not in this room"]);
    assert_eq!(read_chat(&mut bob), refused);
    send(&mut ann, &json!({"cmd": "leave", "param": garden}));
    assert_eq!(read_chat(&mut eve), json!(["garden", "left", "ann"]));

    ann.close(None).expect("it is open");
    assert_eq!(read_chat(&mut bob), json!(["lobby", "left", "ann"]));
    expect_no_message(&mut eve);

    let nameless = TcpStream::connect(example.address).expect("it listens");
    let refusal = open_on(nameless, "/chat").expect_err("no name");
    assert!(refusal.contains("400"), "{refusal}");
    drop((ann, bob, eve));
    example.stop();
}

#[test]
fn live_data_begins_with_the_current_state_and_loses_no_update() {
    let example = Example::start("live_data", &["--every-ms", "20"]);
    let mut clients: Vec<Client> = (0..6).map(|_| open(example.address, "/live")).collect();
    let symbols = json!({"symbols": ["ACME"]});
    for client in &mut clients {
        send(
            client,
            &json!({"cmd": "subscribe", "seqno": "1", "data": symbols}),
        );
    }
    for client in &mut clients {
        // Quotes may come before the response; the response is at least as recent.
        let mut last = None;
        let response = loop {
            let message = read(client);
            if message["cmd"] == "subscribe" {
                break message;
            }
            last = message["data"]["tick"].as_u64();
        };
        assert_eq!(
            (&response["status"], &response["msg"]),
            (&json!(0), &json!("ok"))
        );
        let now = response["data"][0]["tick"].as_u64().expect("a tick");
        assert!(last.is_none_or(|last| last <= now), "{last:?} {now}");

        let mut expected = now + 1;
        while expected <= now + 20 {
            let quote = read(client);
            assert_eq!(quote["cmd"], "quote");
            let (quote, tick) = (&quote["data"], quote["data"]["tick"].as_u64());
            // The quote in the response may come once more.
            assert!(
                tick == Some(expected) || tick == Some(now),
                "{tick:?} {expected}"
            );
            let cents = 10_000 + tick.expect("just seen") * 37 % 101;
            assert_eq!(
                *quote,
                json!({"symbol": "ACME", "tick": tick, "cents": cents})
            );
            expected += u64::from(tick == Some(expected));
        }
    }

    let client = &mut clients[0];
    let other = json!({"symbols": ["ACME", "BOGUS"]});
    send(
        client,
        &json!({"cmd": "subscribe", "seqno": "2", "data": other}),
    );
    let refused = read_until(client, "subscribe");
    assert_eq!(refused["msg"], "no such symbol: BOGUS");
    send(
        client,
        &json!({"cmd": "unsubscribe", "seqno": "3", "data": symbols}),
    );
    assert_eq!(read_until(client, "unsubscribe")["status"], 0);
    let globex = json!({"symbols": ["GLOBEX"]});
    send(
        client,
        &json!({"cmd": "subscribe", "seqno": "4", "data": globex}),
    );
    for _ in 0..5 {
        assert_eq!(read_until(client, "quote")["data"]["symbol"], "GLOBEX");
    }
    drop(clients);
    example.stop();
}

/// Sends a request. Returns status and text of its response, and the states that came before it.
#[track_caller]
fn ask(client: &mut Client, command: &str, data: &Value) -> (Value, Vec<Value>) {
    send(client, &json!({"cmd": command, "seqno": "s", "data": data}));
    let mut states = Vec::new();
    loop {
        let message = read(client);
        if message["cmd"] == "state" {
            states.push(message["data"].clone());
        } else {
            let answer = json!([message["status"], message["msg"], message["data"]]);
            return (answer, states);
        }
    }
}

#[test]
fn a_game_has_the_same_state_on_every_shard() {
    let example = Example::start("game", &[]);
    // The kernel spreads connections over the shards.
    let mut clients: Vec<Client> = (0..8).map(|_| open(example.address, "/game")).collect();
    let mut seen: Vec<Vec<Value>> = vec![Vec::new(); clients.len()];
    for (index, client) in clients.iter_mut().enumerate() {
        let (answer, states) = ask(client, "sit", &json!({"game": "g"}));
        let seat = if index < 2 { json!(index) } else { Value::Null };
        assert_eq!(answer, json!([0, "ok", {"seat": seat}]));
        seen[index].extend(states);
    }

    let refuse = |why: &str| json!([409, why, {}]);
    let mut sticks = 21_u32;
    let mut turn = u32::try_from(clients.len()).expect("few");
    for (mover, count, answer) in [
        (1, 1, refuse("it is not your turn")),
        (2, 1, refuse("you are watching")),
        (0, 4, refuse("take 1 to 3 of those that are left")),
        (0, 3, json!([0, "ok", {}])),
        (0, 1, refuse("it is not your turn")),
        (1, 0, refuse("take 1 to 3 of those that are left")),
        (1, 2, json!([0, "ok", {}])),
    ] {
        let (answered, states) = ask(&mut clients[mover], "take", &json!({"count": count}));
        assert_eq!(answered, answer, "{mover} takes {count}");
        seen[mover].extend(states);
        if answer[0] == 0 {
            (turn, sticks) = (turn + 1, sticks - count);
        }
    }
    let (answered, states) = ask(&mut clients[0], "sit", &json!({"game": "h"}));
    assert_eq!(answered, refuse("you sit somewhere already"));
    seen[0].extend(states);

    // A player that disconnects loses.
    drop(clients.remove(1));
    seen.remove(1);
    turn += 1;
    let last = json!({"turn": turn, "sticks": sticks, "next": 0, "winner": 0});
    for (client, states) in clients.iter_mut().zip(&mut seen) {
        while states.last() != Some(&last) {
            let message = read(client);
            assert_eq!(message["cmd"], "state", "{states:?}");
            states.push(message["data"].clone());
        }
    }
    // Each client has received all states since its join, in order.
    let all = seen[0].clone();
    let turns: Vec<u64> = all.iter().filter_map(|it| it["turn"].as_u64()).collect();
    assert_eq!(turns, (1..=u64::from(turn)).collect::<Vec<_>>());
    for (states, before) in seen.iter().zip([0, 2, 3, 4, 5, 6, 7]) {
        let is_enough = states.len() >= all.len() - before;
        assert!(is_enough && all.ends_with(states), "{states:?} {all:?}");
    }
    drop(clients);
    example.stop();
}

/// Selects a level and reads the reply.
#[track_caller]
fn choose(client: &mut Client, level: &str, answer: &str) {
    let message = Message::text(format!("level: {level}"));
    client.send(message).expect("the example reads");
    assert_eq!(read_text(client), answer);
}

/// Posts a notification.
#[track_caller]
fn notify(backend: &mut Peer, body: &Value, status: u16, answer: &str) {
    let answered = backend.post("/notify", "", &body.to_string());
    let seen = (answered.status, answered.body.as_str());
    assert_eq!(seen, (status, answer), "{body}");
}

#[test]
fn notifications_reach_their_users_with_a_matching_level() {
    let example = Example::start("notifications", &[]);
    let as_user = |token| open_with(example.address, "/ws", &[("cookie", token)]);
    let mut jack = as_user("auth=token-of-jack");
    let mut other_jack = as_user("auth=token-of-jack");
    let mut jill = as_user("auth=token-of-jill");
    choose(&mut jack, "warn", "level: warn");
    choose(&mut other_jack, "critical", "level: critical");
    // Jill selects no valid level and receives all notifications.
    choose(&mut jill, "bogus", "error: no such level");

    let mut backend = Peer::connect(example.address);
    for (level, user, text, count) in [
        ("info", None, "a", 1),
        ("warn", None, "b", 2),
        ("warn", Some("jack"), "c", 1),
        ("critical", Some("jack"), "d", 2),
        ("critical", None, "e", 3),
        ("info", Some("joe"), "f", 0),
    ] {
        let body = json!({"level": level, "user": user, "text": text});
        let answer = format!("sent to {count} sessions\n");
        notify(&mut backend, &body, 200, &answer);
    }
    let jacks = ["warn: b", "warn: c", "critical: d", "critical: e"];
    let other_jacks = ["critical: d", "critical: e"];
    let jills = ["info: a", "warn: b", "critical: e"];
    let expected: [(&mut Client, &[&str]); 3] = [
        (&mut jack, &jacks),
        (&mut other_jack, &other_jacks),
        (&mut jill, &jills),
    ];
    for (client, texts) in expected {
        for text in texts {
            assert_eq!(read_text(client), *text);
        }
        expect_no_message(client);
    }

    // Back to all notifications.
    choose(&mut other_jack, "info", "level: info");
    let all = json!({"level": "info", "text": "g"});
    notify(&mut backend, &all, 200, "sent to 2 sessions\n");
    assert_eq!(read_text(&mut other_jack), "info: g");
    drop((jack, other_jack, jill, backend));
    example.stop();
}

#[test]
fn notifications_reach_no_other_user() {
    let example = Example::start("notifications", &[]);
    let mut jill = open_with(example.address, "/ws", &[("cookie", "auth=token-of-jill")]);
    let listen = Message::text("listen: user/jack/warn");
    jill.send(listen).expect("the example reads");
    let refusal = "websocket: channel does not exist";
    assert_eq!(read_text(&mut jill), refusal);
    let refusal = try_open(connect(example.address), "/ws", &[("cookie", "auth=jack")]);
    let refusal = refusal.expect_err("no such token");
    assert!(refusal.contains("403"), "{refusal}");

    let mut backend = Peer::connect(example.address);
    let bad = json!({"level": "bogus", "text": "a"});
    notify(&mut backend, &bad, 400, "no such level: bogus\n");
    let bad = json!({"level": "info"});
    let missing = "missing field `text` at line 1 column 16\n";
    notify(&mut backend, &bad, 400, missing);
    expect_no_message(&mut jill);
    assert_eq!(Peer::connect(example.address).get("/notify").status, 404);
    drop((jill, backend));
    example.stop();
}
