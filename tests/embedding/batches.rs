//! Tests of batches of the server API over several shards: which calls run concurrently, and that
//! each call sees the effects of earlier ones.

use crate::client_messages::{wsrv_request, wsrv_response};
use crate::fixture::{
    Client, Hold, ReleaseOnDrop, builder, config_of, connect_to, event_log, stop,
};
use crate::pushing::pushed;
use campanile::config::{Config, Http};
use campanile::dialect::wsrv::Wsrv;
use campanile::handler::Admission;
use campanile::{Context, Gateway, Reply};
use campanile_tests::http::Response as HttpResponse;
use campanile_tests::http::post;
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::TcpStream;

/// Returns the config of a `wsrv` gateway with the server API and long timeouts.
fn config(shards: u8) -> Config {
    let mut config = Config {
        http: Http {
            push_timeout_ms: 60_000,
            ..Http::default()
        },
        ..config_of(shards, &Wsrv)
    };
    config.api.enabled = Some(true);
    config
}

#[track_caller]
fn begin_batch(socket: &mut TcpStream, calls: &[Value]) {
    let body = json!({ "calls": calls }).to_string();
    let request = post("/api/v1/batch", "", &body);
    socket.write_all(request.as_bytes()).expect("it reads");
}

#[track_caller]
fn end_batch(socket: &TcpStream) -> Vec<Value> {
    let answer = HttpResponse::take(socket);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body: Value = serde_json::from_str(&answer.body).expect("JSON");
    body["results"].as_array().expect("a list").clone()
}

/// A member on the connection's shard receives all publications of a batch while the other shard is
/// blocked and returns no counts: no publication waits for an earlier one.
#[test]
fn publications_of_a_batch_do_not_wait_for_each_other() {
    const CALLS: usize = 100;
    let hold = Hold::default();
    let held = hold.clone();
    let (recorder, event_log) = event_log();
    let gateway = builder(config(2))
        .route("/x")
        .handle("hold", move |_| {
            let (recorder, hold) = (recorder.clone(), held.clone());
            async move {
                recorder.note("holding");
                hold.wait();
            }
        })
        .admit(async |_| Ok(Admission::new().join("room")))
        .start()
        .expect("it starts");
    let _release = ReleaseOnDrop(hold.clone());
    let address = gateway.local_addr();
    let mut members = [0, 1].map(|shard| Client::open_on(address, shard, "/x", &[]));
    let mut http = connect_to(address, 0);
    members[1].send(&wsrv_request("hold", "1", "{}"));
    event_log.expect(&["holding"]);

    let publish = |index| json!({"call": "publish", "channel": "room", "data": format!("{index}")});
    let calls: Vec<Value> = (0..CALLS).map(publish).collect();
    begin_batch(&mut http, &calls);
    for index in 0..CALLS {
        assert_eq!(pushed(&mut members[0]), index.to_string());
    }
    hold.release();
    let everywhere = vec![json!({"delivered": 2}); CALLS];
    assert_eq!(end_batch(&http), everywhere);
    let silence = wsrv_response("hold", "1", -1, "not implement", "{}");
    let mut index = 0;
    while index < CALLS {
        let received = members[1].receive();
        if received != silence {
            assert!(
                received.contains(&format!(r#""data":"{index}""#)),
                "{received}"
            );
            index += 1;
        }
    }
    drop((members, http));
    stop(gateway);
}

/// Starts a gateway with two shards. Returns it, a session on each shard, the sessions' ids, and a
/// connection to the first shard.
#[track_caller]
fn two_members() -> (Gateway, [Client; 2], [String; 2], TcpStream) {
    let gateway = builder(config(2))
        .route("/x")
        .handle("id", async |cx: Context| {
            Reply::text(cx.session_id().to_string())
        })
        .start()
        .expect("it starts");
    let address = gateway.local_addr();
    let mut members = [0, 1].map(|shard| Client::open_on(address, shard, "/x", &[]));
    let ids = members.each_mut().map(|member| {
        member.send(&wsrv_request("id", "1", "{}"));
        pushed(member)
    });
    let http = connect_to(address, 0);
    (gateway, members, ids, http)
}

/// Sessions of both shards join and leave between publications. Each call has the result that it
/// would have if the calls were sent one by one.
#[test]
fn each_call_of_a_batch_sees_the_effects_of_earlier_calls() {
    const ROUNDS: usize = 60;
    let (gateway, mut members, ids, mut http) = two_members();
    let publish = |text: &str| json!({"call": "publish", "channel": "room", "data": text});
    let of = |call: &str, session: usize, channel: &str| {
        let session = &ids[session];
        json!({"call": call, "session": session, "channel": channel, "route": "/x"})
    };
    let to = |session: usize, text: &str| {
        let session = &ids[session];
        json!({"call": "push", "session": session, "data": text})
    };
    let mut calls = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..ROUNDS {
        for (call, result) in [
            (publish("nobody"), json!({"delivered": 0})),
            (of("join", 1, "room"), json!({"joined": true})),
            (publish("b"), json!({"delivered": 1})),
            (of("join", 1, "room"), json!({"joined": false})),
            (of("join", 0, "room"), json!({"joined": true})),
            (of("join", 0, "other"), json!({"joined": true})),
            (publish("ab"), json!({"delivered": 2})),
            (to(1, "to b"), json!({"delivered": 1})),
            (to(0, "to a"), json!({"delivered": 1})),
            (publish("after"), json!({"delivered": 2})),
            (of("leave", 1, "room"), json!({"left": true})),
            (publish("a"), json!({"delivered": 1})),
            (of("leave", 0, "room"), json!({"left": true})),
            (of("leave", 0, "other"), json!({"left": true})),
        ] {
            calls.push(call);
            expected.push(result);
        }
    }
    for _ in 0..3 {
        begin_batch(&mut http, &calls);
        assert_eq!(end_batch(&http), expected);
        for _ in 0..ROUNDS {
            for text in ["ab", "to a", "after", "a"] {
                assert_eq!(pushed(&mut members[0]), text);
            }
            for text in ["b", "ab", "to b", "after"] {
                assert_eq!(pushed(&mut members[1]), text);
            }
        }
    }
    members[1].expect_no_message();
    drop((members, http));
    stop(gateway);
}

#[test]
fn a_session_closed_by_a_batch_receives_nothing_after_it() {
    let (gateway, mut members, ids, mut http) = two_members();
    let publish = |text: &str| json!({"call": "publish", "channel": "room", "data": text});
    let of = |call: &str| json!({"call": call, "session": ids[1]});
    let mut join = of("join");
    join["channel"] = json!("room");
    let calls = [
        join,
        publish("last"),
        of("disconnect"),
        publish("late"),
        of("push"),
    ];
    begin_batch(&mut http, &calls);
    let results = end_batch(&http);
    assert_eq!(results[1], json!({"delivered": 1}));
    assert_eq!(results[2], json!({"disconnected": 1}));
    assert_eq!(results[3], json!({"delivered": 0}));
    assert_eq!(results[4]["error"]["code"], "no_session");
    assert_eq!(pushed(&mut members[1]), "last");
    assert_eq!(members[1].closing().0, 1000);
    drop((members, http));
    stop(gateway);
}

/// The counts of a batch's publications use a part of `pushes_in_flight_max`.
#[test]
fn a_single_batch_never_exceeds_the_pushes_in_flight() {
    for pushes_in_flight_max in [1, 4, 9] {
        let mut config = config(3);
        config.limits.pushes_in_flight_max = pushes_in_flight_max;
        config.limits.commands_max = 16;
        config.limits.mailbox_messages_max = 1;
        let gateway = builder(config)
            .route("/x")
            .admit(async |_| Ok(Admission::new().join("room")))
            .start()
            .expect("it starts");
        let address = gateway.local_addr();
        let member = Client::open_on(address, 2, "/x", &[]);
        let mut http = connect_to(address, 0);
        let call = json!({"call": "publish", "channel": "room", "route": "/x"});
        begin_batch(&mut http, &vec![call; 200]);
        assert_eq!(end_batch(&http), vec![json!({"delivered": 1}); 200]);
        drop((member, http));
        stop(gateway);
    }
}
