//! Tests of publications by handlers and handles: receivers, order and counts.

use crate::client_messages::{wsrv_request, wsrv_response};
use crate::fixture::{
    Client, Hold, ReleaseOnDrop, all, builder, config, config_of, done, event_log, id, stop,
};
use campanile::config::{Config, Route};
use campanile::dialect::wserver::Wserver;
use campanile::dialect::wsrv::Wsrv;
use campanile::handler::{Admission, HandleError};
use campanile::public_id::PublicId;
use campanile::{Context, Failure, Gateway, Message, Reply, RouteHandle};

/// Starts a gateway with three shards and a `wsrv` route, `/x`. On each shard a session of the user
/// `jack` is a member of the channel `room`.
fn three_members() -> (Gateway, RouteHandle, [Client; 3]) {
    let gateway = builder(config_of(3, &Wsrv))
        .route("/x")
        .admit(async |upgrade| {
            let admission = Admission::new();
            Ok(match upgrade.query("user") {
                Some(user) => admission.user(user).join("room"),
                None => admission,
            })
        })
        .handle("everything", async |cx: Context| {
            cx.push(Message::text("m", "session"));
            cx.publish("room", Message::text("m", "channel"));
            cx.route().push_user("jack", Message::text("m", "user"));
            cx.route().broadcast(Message::text("m", "everyone"));
            let own = cx.session_id();
            cx.publish_to_others("room", Message::text("m", "not to the sender"));
            cx.route().push_session(own, Message::text("m", "id"));
            Reply::ok()
        })
        .handle("totals", async |cx: Context| {
            let message = || Message::text("m", "total");
            let route = cx.route();
            let totals = [
                cx.publish("room", message()).await?,
                route.push_user("jack", message()).await?,
                route.broadcast(message()).await?,
                cx.publish_to_others("room", message()).await?,
                cx.push(message()).await?,
                cx.publish("empty", message()).await?,
            ];
            Reply::json(&totals).map_err(Failure::from)
        })
        .handle("wait", async |cx: Context| {
            let total = cx.publish("room", Message::new("m")).wait();
            Reply::json(&total.ok())
        })
        .start()
        .expect("it starts");
    let route = gateway.route("/x").expect("it is there");
    let members =
        [0, 1, 2].map(|shard| Client::open_on(gateway.local_addr(), shard, "/x?user=jack", &[]));
    (gateway, route, members)
}

/// Returns the text of the next push.
#[track_caller]
pub(crate) fn pushed(client: &mut Client) -> String {
    let received = client.receive();
    let (_, data) = received.rsplit_once(r#""data":""#).expect(&received);
    data.trim_end_matches("\"}").to_owned()
}

#[test]
fn pushes_of_a_handler_precede_its_response() {
    let (gateway, _, mut members) = three_members();
    let [first, others @ ..] = &mut members;
    for _ in 0..20 {
        first.send(&wsrv_request("everything", "1", "{}"));
        for kind in ["session", "channel", "user", "everyone", "id"] {
            assert_eq!(pushed(first), kind);
        }
        assert_eq!(
            first.receive(),
            wsrv_response("everything", "1", 0, "ok", "{}")
        );
        for other in &mut *others {
            for kind in ["channel", "user", "everyone", "not to the sender"] {
                assert_eq!(pushed(other), kind);
            }
        }
    }
    drop(members);
    stop(gateway);
}

#[test]
fn counts_include_all_shards() {
    let (gateway, route, mut members) = three_members();
    let other = Client::open(gateway.local_addr(), "/x");
    let message = || Message::text("m", "total");
    for member in &mut members {
        member.send(&wsrv_request("totals", "1", "{}"));
        let mut received = 0;
        let response = loop {
            let message = member.receive();
            if !message.contains(r#""cmd":"m""#) {
                break message;
            }
            received += 1;
        };
        let totals = wsrv_response("totals", "1", 0, "ok", "[3,3,4,2,1,0]");
        assert_eq!(response, totals);
        assert!(received >= 4, "counted messages come before the response");
    }
    assert_eq!(done(route.publish("room", message())), Ok(3));
    assert_eq!(done(route.push_user("jack", message())), Ok(3));
    assert_eq!(done(route.push_user("jill", message())), Ok(0));
    assert_eq!(done(route.broadcast(message())), Ok(4));
    let sessions: Vec<PublicId> = all(route.members("room")).iter().map(|it| it.id).collect();
    let but_one = route.publish_except("room", message(), &sessions[..2]);
    assert_eq!(done(but_one), Ok(1));
    let but_all = route.broadcast_except(message(), &sessions);
    assert_eq!(done(but_all), Ok(1));
    drop((members, other));
    stop(gateway);
}

#[test]
fn publications_of_many_threads_arrive_once_and_in_each_threads_order() {
    const THREADS: u32 = 4;
    const ROUNDS: u32 = 100;
    let (gateway, _, mut members) = three_members();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            // Each thread has its own handle, which publishes through another shard.
            let route = gateway.route("/x").expect("it is there");
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let message = Message::text("m", format!("{thread} {round}"));
                    let pending = route.publish("room", message);
                    // The publication runs even if its future is dropped.
                    if round % 2 == 0 {
                        assert_eq!(pending.wait(), Ok(3));
                    }
                }
            });
        }
    });
    for member in &mut members {
        let mut next = [0; THREADS as usize];
        for _ in 0..THREADS * ROUNDS {
            let received = pushed(member);
            let (thread, round) = received.split_once(' ').expect("two numbers");
            let thread: usize = thread.parse().expect("a number");
            assert_eq!(round, next[thread].to_string(), "of {thread}");
            next[thread] += 1;
        }
        member.expect_no_message();
    }
    drop(members);
    stop(gateway);
}

#[test]
fn a_session_can_be_pushed_to_from_a_handler_on_any_shard_and_from_any_thread() {
    let push = async |cx: Context| {
        let to: String = cx.bind()?;
        let message = Message::text("m", format!("from {}", cx.session().number()));
        let count = cx.route().push_session(id(&to), message).await?;
        Reply::json(&count).map_err(Failure::from)
    };
    let (recorder, event_log) = event_log();
    let gateway = builder(config(3))
        .route("/wsrv")
        .handle("push", push)
        .on_open(move |session| {
            recorder.note(session.id().to_string());
            async {}
        });
    let gateway = gateway.start().expect("it starts");
    let mut clients: Vec<(String, Client)> = [0, 1, 2]
        .map(|shard| {
            let client = Client::open_on(gateway.local_addr(), shard, "/wsrv", &[]);
            (event_log.next(), client)
        })
        .into();
    for from in 0..3 {
        for to in [(from + 1) % 3, (from + 2) % 3] {
            let request = wsrv_request("push", "1", &format!("\"{}\"", clients[to].0));
            clients[from].1.send(&request);
            assert_eq!(
                clients[from].1.receive(),
                wsrv_response("push", "1", 0, "ok", "1")
            );
            assert_eq!(pushed(&mut clients[to].1), format!("from {}", from + 1));
        }
    }
    let handle = gateway.handle();
    for (id_text, client) in &mut clients {
        let (handle, id) = (handle.clone(), id(id_text));
        let count = crate::fixture::in_time(move || {
            let pending = handle.push_session(id, Message::text("m", "from outside"));
            pending.wait()
        });
        assert_eq!(count, Ok(1));
        assert_eq!(pushed(client), "from outside");
    }
    for (_, client) in clients {
        client.leave();
    }
    stop(gateway);
}

#[test]
fn a_user_is_reached_for_all_events_or_for_one() {
    let mut config = config(3);
    let shared = |route: Route| Route {
        namespace: Some("n".to_owned()),
        ..route
    };
    config.routes = vec![
        shared(Route::new("/ws", &Wserver)),
        shared(Route::new("/admitted", &Wsrv)),
        Route::new("/else", &Wserver),
    ];
    let gateway = builder(config)
        .route("/admitted")
        .admit(async |_| Ok(Admission::new().user("jack")));
    let gateway = gateway.start().expect("it starts");
    let address = gateway.local_addr();
    let open = |shard, path, user: &str, event: &str| {
        let mut client = Client::open_on(address, shard, path, &[]);
        client.send(&format!(r#"{{"token":"{user}","event":"{event}"}}"#));
        client.expect_no_message();
        client
    };
    let mut a = open(0, "/ws", "jack", "a");
    let mut b = open(1, "/ws", "jack", "b");
    let mut jill = open(2, "/ws", "jill", "a");
    let mut elsewhere = open(2, "/else", "jack", "a");
    let mut admitted = Client::open_on(address, 2, "/admitted", &[]);

    let route = gateway.route("/ws").expect("it is there");
    let all_of_jack = route.push_user("jack", Message::text("a", "one"));
    assert_eq!(done(all_of_jack), Ok(3));
    // A session admitted as jack is bound for all events.
    let for_a = route.push_user_event("jack", "a", Message::text("a", "two"));
    assert_eq!(done(for_a), Ok(2));
    let for_none = route.push_user_event("jack", "c", Message::text("c", "three"));
    assert_eq!(done(for_none), Ok(1));
    let nobody = route.push_user("nobody", Message::text("a", "four"));
    assert_eq!(done(nobody), Ok(0));
    assert_eq!([a.receive(), a.receive()], ["one", "two"]);
    assert_eq!(b.receive(), "one");
    let received = [(); 3].map(|()| pushed(&mut admitted));
    assert_eq!(received, ["one", "two", "three"]);
    for client in [&mut a, &mut b, &mut jill, &mut elsewhere, &mut admitted] {
        client.expect_no_message();
    }
    let everyone = route.broadcast(Message::text("e", "five"));
    assert_eq!(done(everyone), Ok(4));
    elsewhere.expect_no_message();
    for client in [a, b, jill, elsewhere, admitted] {
        client.leave();
    }
    stop(gateway);
}

#[test]
fn a_count_without_a_shards_part_times_out() {
    let hold = Hold::default();
    let held = hold.clone();
    let (recorder, event_log) = event_log();
    let config = Config {
        http: campanile::config::Http {
            push_timeout_ms: 64,
            ..campanile::config::Http::default()
        },
        ..config_of(2, &Wsrv)
    };
    let gateway = builder(config)
        .route("/x")
        .handle("hold", move |_| {
            let (recorder, hold) = (recorder.clone(), held.clone());
            async move {
                recorder.note("holding");
                hold.wait();
            }
        })
        .handle("publish", async |cx: Context| {
            let total = cx.publish("room", Message::text("m", "late")).await;
            Reply::json(&total.map_err(|error| error.to_string()))
        })
        .admit(async |_| Ok(Admission::new().join("room")))
        .start()
        .expect("it starts");
    let _release = ReleaseOnDrop(hold.clone());
    let open = |shard| Client::open_on(gateway.local_addr(), shard, "/x", &[]);
    let (mut publisher, mut holder) = (open(0), open(1));
    holder.send(&wsrv_request("hold", "1", "{}"));
    event_log.expect(&["holding"]);
    publisher.send(&wsrv_request("publish", "1", "{}"));
    assert_eq!(pushed(&mut publisher), "late");
    let unknown = r#"{"Err":"timed out, it may have been done"}"#;
    assert_eq!(
        publisher.receive(),
        wsrv_response("publish", "1", 0, "ok", unknown)
    );
    hold.release();
    let silence = wsrv_response("hold", "1", -1, "not implement", "{}");
    let mut received = [holder.receive(), holder.receive()];
    received.sort_by_key(|message| message != &silence);
    assert_eq!(received[0], silence);
    assert!(received[1].contains("late"), "it has been done");
    publisher.send(&wsrv_request("publish", "2", "{}"));
    assert_eq!(pushed(&mut publisher), "late");
    let known = wsrv_response("publish", "2", 0, "ok", r#"{"Ok":2}"#);
    assert_eq!(publisher.receive(), known);
    drop((publisher, holder));
    stop(gateway);
}

#[test]
fn a_blocking_wait_in_a_handler_panics() {
    let (gateway, _, members) = three_members();
    for mut member in members {
        member.send(&wsrv_request("wait", "1", "{}"));
        loop {
            let received = member.receive();
            if !received.contains(r#""cmd":"m""#) {
                let expected = wsrv_response("wait", "1", 999_999_999, "internal error", "{}");
                assert_eq!(received, expected);
                break;
            }
        }
    }
    stop(gateway);
}

#[test]
fn invalid_names_are_errors() {
    let mut config = config(2);
    config.limits.name_bytes_max = 16;
    config.limits.token_bytes_max = 16;
    let gateway = builder(config).start().expect("it starts");
    let route = gateway.route("/wsrv").expect("it is there");
    let message = || Message::new("e");
    for name in ["", "12345678901234567"] {
        let bad = Err(HandleError::BadName);
        assert_eq!(done(route.publish(name, message())), bad);
        assert_eq!(done(route.publish_except(name, message(), &[])), bad);
        assert_eq!(done(route.push_user(name, message())), bad);
    }
    let long = "12345678901234567";
    let bad = Err(HandleError::BadName);
    let text = || Message::text("e", "x");
    assert_eq!(done(route.push_user_event(long, "e", text())), bad);
    assert_eq!(done(route.drop_user(long, None)), bad);
    assert_eq!(done(route.publish("1234567890123456", message())), Ok(0));
    stop(gateway);
}

/// The texts are those of the original's Push and Drop.
#[test]
fn an_empty_user_event_or_message_is_an_error() {
    let gateway = builder(config(2)).start().expect("it starts");
    let route = gateway.route("/ws").expect("it is there");
    let routes = gateway.handle().all_routes();
    for (user, event, text) in [
        ("", "e", "x"),
        ("jack", "", "x"),
        ("jack", "e", ""),
        ("", "", ""),
    ] {
        let message = || Message::text("e", text);
        for pushed in [
            route.push_user_event(user, event, message()),
            routes.push_user_event(user, event, message()),
        ] {
            let error = done(pushed).expect_err("something is empty");
            let sentence = "parameters(userId, event, message) can't be empty";
            assert_eq!(error.to_string(), sentence, "{user:?} {event:?} {text:?}");
        }
    }
    let nothing = route.push_user_event("jack", "e", Message::new("e"));
    assert!(matches!(done(nothing), Err(HandleError::Empty(_))));
    for dropped in [route.drop_user("", None), routes.drop_user("", Some("e"))] {
        let error = done(dropped).expect_err("no user");
        assert_eq!(error.to_string(), "userID can't be empty");
    }
    assert_eq!(
        done(route.push_user_event("jack", "e", Message::text("e", "x"))),
        Ok(0)
    );
    stop(gateway);
}

#[test]
fn an_event_that_the_dialect_cannot_encode_is_an_error() {
    let gateway = builder(config(1)).start().expect("it starts");
    let long = "x".repeat(256);
    for (event, why) in [
        ("", "command may not be empty"),
        ("a:b", "command may not contain a colon"),
        ("websocket", "command websocket is reserved"),
        (&long, "command may not be longer than 255 characters"),
    ] {
        let bad = Err(HandleError::BadEvent(why));
        let route = gateway.route("/easyws").expect("it is there");
        assert_eq!(done(route.publish("room", Message::new(event))), bad);
        assert_eq!(done(route.push_user("jack", Message::new(event))), bad);
        assert_eq!(done(route.broadcast(Message::new(event))), bad);
        let anybody = PublicId::from_bytes([0; 16]);
        assert_eq!(done(route.push_session(anybody, Message::new(event))), bad);
        let other = gateway.route("/wsrv").expect("it is there");
        assert_eq!(done(other.broadcast(Message::new(event))), Ok(0));
    }
    stop(gateway);
}
