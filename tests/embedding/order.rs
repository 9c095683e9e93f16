//! Tests of the order of a session's handlers and observers.

use crate::client_messages::{envelope, wsrv_request, wsrv_response};
use crate::fixture::{
    Client, EventLog, Latch, Recorder, all, builder, config, config_of, done, event_log, get,
    recording_handler, stop,
};
use campanile::config::{Route, Schema};
use campanile::dialect::easyws::Easyws;
use campanile::dialect::edk::Edk;
use campanile::dialect::projectforge::Projectforge;
use campanile::dialect::wserver::Wserver;
use campanile::dialect::wsrv::Wsrv;
use campanile::handler::{HandleError, Joining};
use campanile::{Builder, Context, Message, Reply, Session};
use campanile_tests::net::connect;
use std::pin::Pin;

/// Adds the commands `slow`, which waits at a latch, and `fast`, which does not. Both record their
/// begin and end with the number of their session.
fn slow_and_fast(builder: Builder, path: &str, recorder: &Recorder, latch: &Latch) -> Builder {
    let (slow_recorder, fast_recorder, latch) = (recorder.clone(), recorder.clone(), latch.clone());
    let slow = move |cx: Context| {
        let (recorder, latch) = (slow_recorder.clone(), latch.clone());
        async move {
            recorder.note(format!("slow begins {}", cx.session().number()));
            latch.pass().await;
            recorder.note(format!("slow ends {}", cx.session().number()));
        }
    };
    let fast = move |cx: Context| {
        let recorder = fast_recorder.clone();
        async move { recorder.note(format!("fast {}", cx.session().number())) }
    };
    let route = builder.route(path).handle("slow", slow);
    route.handle("fast", fast).done()
}

/// Encodes a command in a dialect.
type Encode = fn(&str) -> Vec<u8>;

#[track_caller]
fn expect_order(route: Route, encode: Encode, headers: &[&[(&str, &str)]; 3]) {
    let mut config = config(2);
    config.routes = vec![route];
    let (recorder, event_log) = event_log();
    let latch = Latch::new();
    let gateway = slow_and_fast(builder(config), "/x", &recorder, &latch);
    let gateway = gateway.start().expect("it starts");
    let address = gateway.local_addr();
    let open = |shard, index: usize| Client::open_on(address, shard, "/x", headers[index]);
    let (mut first, mut second, mut third) = (open(0, 0), open(0, 1), open(1, 2));

    for command in ["slow", "fast", "slow", "fast"] {
        first.send_bytes(&encode(command));
    }
    event_log.expect(&["slow begins 1"]);
    // After this reply, the shard has read the first session's messages; they wait.
    second.send_bytes(&encode("fast"));
    event_log.expect(&["fast 2"]);
    third.send_bytes(&encode("fast"));
    event_log.expect(&["fast 3"]);
    latch.open();
    event_log.expect(&["slow ends 1", "fast 1", "slow begins 1"]);
    second.send_bytes(&encode("fast"));
    event_log.expect(&["fast 2"]);
    latch.open();
    event_log.expect(&["slow ends 1", "fast 1"]);
    first.expect_no_message();
    event_log.expect_nothing();
    drop((first, second, third));
    stop(gateway);
}

#[test]
fn handlers_of_one_session_run_in_the_order_of_its_messages() {
    const COOKIE: &[(&str, &str)] = &[("Cookie", "auth=valid")];
    let easyws = |command: &str| format!("{command}: x").into_bytes();
    let route = |dialect| Route::new("/x", dialect);
    expect_order(route(&Easyws), easyws, &[COOKIE; 3]);

    let projectforge = |command: &str| format!(r#"{{"cmd":"{command}"}}"#).into_bytes();
    expect_order(route(&Projectforge), projectforge, &[&[]; 3]);

    let edk = |command: &str| envelope(command, "x");
    let users = ["a", "b", "c"].map(|user| [("x-user-id", user), ("Sec-WebSocket-Protocol", "t")]);
    let route = Route {
        schema: Schema::Builtin,
        ..route(&Edk)
    };
    expect_order(route, edk, &[&users[0], &users[1], &users[2]]);
}

/// Starts a `wsrv` gateway with one shard. Its command `wait` waits at the latch that its data
/// names.
fn waiting(in_flight_max: u32, latches: &[Latch]) -> (campanile::Gateway, EventLog) {
    let mut config = config_of(1, &Wsrv);
    config.routes[0].limits.requests_in_flight_max = in_flight_max;
    let (recorder, event_log) = event_log();
    let latches = latches.to_vec();
    let wait = move |cx: Context| {
        let (recorder, latches) = (recorder.clone(), latches.clone());
        async move {
            let latch: usize = cx.bind().expect("the index of a gate");
            recorder.note(format!("begins {latch}"));
            latches[latch].pass().await;
            Reply::json(&latch)
        }
    };
    let builder = builder(config).route("/x").handle("wait", wait);
    let builder = builder.handle("now", |_| async { Reply::ok() });
    (builder.start().expect("it starts"), event_log)
}

fn wait(latch: usize) -> String {
    wsrv_request("wait", &format!("s{latch}"), &latch.to_string())
}

fn waited(latch: usize) -> String {
    wsrv_response("wait", &format!("s{latch}"), 0, "ok", &latch.to_string())
}

#[test]
fn requests_of_wsrv_run_concurrently_and_respond_when_ready() {
    let latches = [(); 3].map(|()| Latch::new());
    let (gateway, event_log) = waiting(64, &latches);
    let mut client = Client::open(gateway.local_addr(), "/x");
    let now = wsrv_request("now", "n", "null");
    client.send_all(&[&wait(0), &wait(1), &now, &wait(2)]);
    assert_eq!(client.receive(), wsrv_response("now", "n", 0, "ok", "{}"));
    event_log.expect_all(&["begins 0", "begins 1", "begins 2"]);
    client.expect_no_message();
    for latch in [2, 0, 1] {
        latches[latch].open();
        assert_eq!(client.receive(), waited(latch));
    }
    drop(client);
    stop(gateway);
}

#[test]
fn reading_of_a_wsrv_session_pauses_at_the_limit_of_requests_in_flight() {
    let latches = [(); 4].map(|()| Latch::new());
    let (gateway, event_log) = waiting(2, &latches);
    let mut client = Client::open(gateway.local_addr(), "/x");
    let mut other = Client::open(gateway.local_addr(), "/x");
    client.send_all(&[&wait(0), &wait(1), &wait(2), &wait(3)]);
    event_log.expect_all(&["begins 0", "begins 1"]);
    // The limit is per session.
    other.send(&wsrv_request("now", "n", "null"));
    assert_eq!(other.receive(), wsrv_response("now", "n", 0, "ok", "{}"));
    event_log.expect_nothing();
    latches[1].open();
    assert_eq!(client.receive(), waited(1));
    event_log.expect(&["begins 2"]);
    other.expect_no_message();
    event_log.expect_nothing();
    latches[0].open();
    assert_eq!(client.receive(), waited(0));
    event_log.expect(&["begins 3"]);
    latches[3].open();
    assert_eq!(client.receive(), waited(3));
    latches[2].open();
    assert_eq!(client.receive(), waited(2));
    client.expect_no_message();
    drop((client, other));
    stop(gateway);
}

#[test]
fn the_default_limit_of_requests_in_flight_is_64() {
    let latches = [(); 65].map(|()| Latch::new());
    let unchanged = Route::new("/x", &Wsrv).limits;
    let (gateway, event_log) = waiting(unchanged.requests_in_flight_max, &latches);
    let mut client = Client::open(gateway.local_addr(), "/x");
    let requests: Vec<String> = (0..65).map(wait).collect();
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    client.send_all(&requests);
    for latch in 0..64 {
        event_log.expect(&[&format!("begins {latch}")]);
    }
    let mut other = Client::open(gateway.local_addr(), "/x");
    other.expect_no_message();
    event_log.expect_nothing();
    latches[63].open();
    assert_eq!(client.receive(), waited(63));
    event_log.expect(&["begins 64"]);
    for latch in &latches {
        latch.open();
    }
    drop((client, other));
    stop(gateway);
}

#[test]
fn messages_wait_for_the_validator() {
    let (recorder, event_log) = event_log();
    let latch = Latch::new();
    let (validator_recorder, validator_latch) = (recorder.clone(), latch.clone());
    let gateway = builder(config_of(1, &Easyws))
        .route("/x")
        .channel_with("room", move |_| {
            let (recorder, latch) = (validator_recorder.clone(), validator_latch.clone());
            async move {
                recorder.note("validating");
                latch.pass().await;
                recorder.note("validated");
                Ok(())
            }
        })
        .handle("say", recording_handler(&recorder, "said"))
        .start()
        .expect("it starts");
    let cookie = [("Cookie", "auth=valid")];
    let mut client = Client::open_with(gateway.local_addr(), "/x", &cookie);
    let mut other = Client::open_with(gateway.local_addr(), "/x", &cookie);
    client.send_all(&["listen: room", "say: x"]);
    event_log.expect(&["validating"]);
    other.expect_no_message();
    other.send("say: y");
    event_log.expect(&["said"]);
    latch.open();
    event_log.expect(&["validated", "said"]);
    drop((client, other));
    stop(gateway);
}

#[test]
fn messages_wait_for_the_user_of_the_token() {
    let (recorder, event_log) = event_log();
    let latch = Latch::new();
    let hook_latch = latch.clone();
    let gateway = builder(config_of(1, &Wserver))
        .route("/x")
        .authenticate(move |token| {
            let (recorder, latch) = (recorder.clone(), hook_latch.clone());
            async move {
                recorder.note(format!("authenticates {token}"));
                latch.pass().await;
                recorder.note(format!("knows {token}"));
                Some(token.to_uppercase())
            }
        })
        .start()
        .expect("it starts");
    let register = |token| format!(r#"{{"token":"{token}","event":"e"}}"#);
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.send_all(&[&register("a"), &register("b")]);
    event_log.expect(&["authenticates a"]);
    Client::open(gateway.local_addr(), "/x").expect_no_message();
    latch.open();
    event_log.expect(&["knows a", "authenticates b"]);
    latch.open();
    event_log.expect(&["knows b"]);
    client.expect_no_message();
    let route = gateway.route("/x").expect("it is there");
    let users = all(route.users()).into_iter();
    let mut names: Vec<String> = users.map(|user| user.name).collect();
    names.sort();
    assert_eq!(names, ["A", "B"]);
    drop(client);
    stop(gateway);
}

#[test]
fn messages_wait_for_on_open() {
    let (recorder, event_log) = event_log();
    let latch = Latch::new();
    let open_latch = latch.clone();
    let open_pen = recorder.clone();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .on_open(move |_| {
            let (recorder, latch) = (open_pen.clone(), open_latch.clone());
            async move {
                recorder.note("opening");
                latch.pass().await;
                recorder.note("open");
            }
        })
        .on_open(recording_handler(&recorder, "open, too"))
        .handle("c", recording_handler(&recorder, "said"))
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.send(&wsrv_request("c", "1", "null"));
    event_log.expect(&["opening"]);
    assert_eq!(get(&mut connect(gateway.local_addr()), "/").status, 200);
    event_log.expect_nothing();
    latch.open();
    event_log.expect(&["open", "open, too", "said"]);
    drop(client);
    stop(gateway);
}

#[test]
fn on_close_runs_after_all_earlier_messages() {
    let (recorder, event_log) = event_log();
    let latch = Latch::new();
    let gateway = slow_and_fast(
        builder(config_of(1, &Projectforge)),
        "/x",
        &recorder,
        &latch,
    );
    let gateway = gateway.route("/x").on_close(move |session| {
        let recorder = recorder.clone();
        async move {
            assert!(!session.is_open());
            recorder.note(format!("end {}", session.number()));
        }
    });
    let gateway = gateway.start().expect("it starts");
    let [slow, fast] = ["slow", "fast"].map(|command| format!(r#"{{"cmd":"{command}"}}"#));

    // A client that sends a close frame,
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.send_all(&[&slow, &fast]);
    drop(client.0.close(None));
    client.0.flush().expect("the gateway reads");
    event_log.expect(&["slow begins 1"]);
    latch.open();
    event_log.expect(&["slow ends 1", "fast 1", "end 1"]);
    client.end();

    // a client that shuts down its write side,
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.send_all(&[&slow, &fast]);
    event_log.expect(&["slow begins 2"]);
    client.abort();
    latch.open();
    event_log.expect(&["slow ends 2", "fast 2", "end 2"]);

    // and a session that is closed while a handler runs, which is waited for.
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.send(&slow);
    event_log.expect(&["slow begins 3"]);
    let route = gateway.route("/x").expect("it is there");
    let sessions = all(route.sessions());
    let closed = route.close(sessions[0].id, 4000, "enough");
    assert_eq!(done(closed), Ok(()));
    assert_eq!(client.closing(), (4000, "enough".to_owned()));
    event_log.expect_nothing();
    latch.open();
    event_log.expect(&["slow ends 3", "end 3"]);
    drop(client);
    stop(gateway);
}

/// Returns a function that records its call, waits at a latch, and records its return.
fn slow_function<T: 'static>(
    recorder: &Recorder,
    latch: &Latch,
) -> impl Fn(T) -> Pin<Box<dyn Future<Output = T>>> + Clone + Send + Sync + 'static {
    let (recorder, latch) = (recorder.clone(), latch.clone());
    move |question| {
        let (recorder, latch) = (recorder.clone(), latch.clone());
        Box::pin(async move {
            recorder.note("asked");
            latch.pass().await;
            recorder.note("answers");
            question
        })
    }
}

/// The next session reuses the slot of the ended one.
#[test]
fn replies_to_an_ended_session_reach_no_other() {
    let (recorder, event_log) = event_log();
    let latch = Latch::new();
    let (handle, join, user) = (
        slow_function::<Context>(&recorder, &latch),
        slow_function::<Joining>(&recorder, &latch),
        slow_function::<Box<str>>(&recorder, &latch),
    );
    let gateway = builder(config(1))
        .route("/easyws")
        .channel_with("room", move |joining| {
            let pending = join(joining);
            async move {
                drop(pending.await);
                Ok(())
            }
        })
        .route("/ws")
        .authenticate(move |token| {
            let pending = user(token);
            async move { Some(pending.await.into_string()) }
        })
        .route("/wsrv")
        .handle("c", move |cx| {
            let pending = handle(cx);
            async move {
                drop(pending.await);
                Reply::ok()
            }
        })
        .start()
        .expect("it starts");
    let cookie: &[(&str, &str)] = &[("Cookie", "auth=")];
    for (path, headers, message) in [
        ("/easyws", cookie, "listen: room".to_owned()),
        ("/ws", &[], r#"{"token":"jack","event":"e"}"#.to_owned()),
        ("/wsrv", &[], wsrv_request("c", "1", "{}")),
    ] {
        let open = || Client::open_with(gateway.local_addr(), path, headers);
        let mut gone = open();
        gone.send(&message);
        event_log.expect(&["asked"]);
        let route = gateway.route(path).expect("it is there");
        let id = all(route.sessions())[0].id;
        assert_eq!(done(route.close(id, 4000, "")), Ok(()));
        assert_eq!(gone.closing().0, 4000);
        gone.end();
        let mut others: Vec<Client> = (0..4).map(|_| open()).collect();
        latch.open();
        event_log.expect(&["answers"]);
        for other in &mut others {
            other.expect_no_message();
        }
        assert_eq!(done(route.publish("room", Message::new("m"))), Ok(0));
        assert_eq!(done(route.push_user("jack", Message::new("m"))), Ok(0));
        for other in others {
            other.leave();
        }
    }
    stop(gateway);
}

#[test]
fn a_handler_or_observer_may_close_its_own_session() {
    let (recorder, event_log) = event_log();
    let close = async |cx: Context| {
        let closed = cx.close(4000, "enough").await;
        let again = cx.close(4000, "enough").await;
        let pushed = cx.push(Message::new("m")).await;
        assert_eq!((closed, again), (Ok(()), Err(HandleError::NoSession)));
        assert_eq!(pushed, Err(HandleError::NoSession));
        assert!(!cx.session().is_open());
        Reply::text("not delivered")
    };
    let gateway = builder(config(1))
        .route("/wsrv")
        .handle("close", close)
        .on_close(recording_handler(&recorder, "closed"))
        .route("/projectforge")
        .on_open(async |session: Session| {
            let closed = session.route().close(session.id(), 4001, "not today");
            assert_eq!(closed.await, Ok(()));
        })
        .handle("c", recording_handler(&recorder, "not called"))
        .on_close(recording_handler(&recorder, "closed"))
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/wsrv");
    let close = wsrv_request("close", "1", "{}");
    client.send_all(&[&close, &close]);
    assert_eq!(client.closing(), (4000, "enough".to_owned()));
    client.end();
    event_log.expect(&["closed"]);
    let mut client = Client::open(gateway.local_addr(), "/projectforge");
    client.send(r#"{"cmd":"c"}"#);
    assert_eq!(client.closing(), (4001, "not today".to_owned()));
    client.end();
    event_log.expect(&["closed"]);
    event_log.expect_nothing();
    stop(gateway);
}

/// The socket of a session with waiting messages is not read. When the session is closed, its
/// connection must not stay open until the timeout of the close handshake.
#[test]
fn a_closed_session_with_waiting_messages_ends_with_its_handler() {
    let (recorder, event_log) = event_log();
    let latch = Latch::new();
    let mut config = config_of(1, &Projectforge);
    config.heartbeat.close_grace_ms = 600_000;
    let gateway = slow_and_fast(builder(config), "/x", &recorder, &latch);
    let gateway = gateway.start().expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    let [slow, fast] = ["slow", "fast"].map(|command| format!(r#"{{"cmd":"{command}"}}"#));
    client.send_all(&[&slow, &fast]);
    event_log.expect(&["slow begins 1"]);
    let route = gateway.route("/x").expect("it is there");
    let id = all(route.sessions())[0].id;
    assert_eq!(done(route.close(id, 4000, "")), Ok(()));
    assert_eq!(client.closing().0, 4000);
    client.end();
    latch.open();
    event_log.expect(&["slow ends 1"]);
    assert_eq!(stop(gateway).ended("closed"), 1);
    event_log.expect_nothing();
}
