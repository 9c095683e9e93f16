//! In which order the handlers and hooks of a session run, and what goes on meanwhile.

use crate::client_messages::{envelope, wsrv_request, wsrv_response};
use crate::fixture::{
    Client, Diary, Latch, Pen, all, builder, config, config_of, diary, done, get, noting, stop,
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

/// A gateway whose command `slow` waits at a gate, and whose command `fast` does not. Both write
/// down when they begin and end, with the number of their session.
fn slow_and_fast(builder: Builder, path: &str, pen: &Pen, gate: &Latch) -> Builder {
    let (slow_pen, fast_pen, gate) = (pen.clone(), pen.clone(), gate.clone());
    let slow = move |cx: Context| {
        let (pen, gate) = (slow_pen.clone(), gate.clone());
        async move {
            pen.note(format!("slow begins {}", cx.session().number()));
            gate.pass().await;
            pen.note(format!("slow ends {}", cx.session().number()));
        }
    };
    let fast = move |cx: Context| {
        let pen = fast_pen.clone();
        async move { pen.note(format!("fast {}", cx.session().number())) }
    };
    let route = builder.route(path).handle("slow", slow);
    route.handle("fast", fast).done()
}

/// What is said in a language to have a command handled.
type Words = fn(&str) -> Vec<u8>;

#[track_caller]
fn expect_order(route: Route, words: Words, headers: &[&[(&str, &str)]; 3]) {
    let mut config = config(2);
    config.routes = vec![route];
    let (pen, diary) = diary();
    let gate = Latch::new();
    let gateway = slow_and_fast(builder(config), "/x", &pen, &gate);
    let gateway = gateway.start().expect("it starts");
    let address = gateway.local_addr();
    let open = |shard, index: usize| Client::open_on(address, shard, "/x", headers[index]);
    let (mut first, mut second, mut third) = (open(0, 0), open(0, 1), open(1, 2));

    for command in ["slow", "fast", "slow", "fast"] {
        first.say_bytes(&words(command));
    }
    diary.expect(&["slow begins 1"]);
    // Whatever the first one's shard has read of it before this has been handled, or waits.
    second.say_bytes(&words("fast"));
    diary.expect(&["fast 2"]);
    third.say_bytes(&words("fast"));
    diary.expect(&["fast 3"]);
    gate.open();
    diary.expect(&["slow ends 1", "fast 1", "slow begins 1"]);
    second.say_bytes(&words("fast"));
    diary.expect(&["fast 2"]);
    gate.open();
    diary.expect(&["slow ends 1", "fast 1"]);
    first.settle();
    diary.expect_nothing();
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

/// A `wsrv` gateway on one shard whose command `wait` waits at the gate that its data names.
fn waiting(in_flight_max: u32, gates: &[Latch]) -> (campanile::Gateway, Diary) {
    let mut config = config_of(1, &Wsrv);
    config.routes[0].limits.requests_in_flight_max = in_flight_max;
    let (pen, diary) = diary();
    let gates = gates.to_vec();
    let wait = move |cx: Context| {
        let (pen, gates) = (pen.clone(), gates.clone());
        async move {
            let gate: usize = cx.bind().expect("the index of a gate");
            pen.note(format!("begins {gate}"));
            gates[gate].pass().await;
            Reply::json(&gate)
        }
    };
    let builder = builder(config).route("/x").handle("wait", wait);
    let builder = builder.handle("now", |_| async { Reply::ok() });
    (builder.start().expect("it starts"), diary)
}

fn wait(gate: usize) -> String {
    wsrv_request("wait", &format!("s{gate}"), &gate.to_string())
}

fn waited(gate: usize) -> String {
    wsrv_response("wait", &format!("s{gate}"), 0, "ok", &gate.to_string())
}

#[test]
fn requests_of_wsrv_run_at_once_and_are_answered_as_they_are_ready() {
    let gates = [(); 3].map(|()| Latch::new());
    let (gateway, diary) = waiting(64, &gates);
    let mut client = Client::open(gateway.local_addr(), "/x");
    let now = wsrv_request("now", "n", "null");
    client.say_all(&[&wait(0), &wait(1), &now, &wait(2)]);
    assert_eq!(client.hear(), wsrv_response("now", "n", 0, "ok", "{}"));
    diary.expect_all(&["begins 0", "begins 1", "begins 2"]);
    client.settle();
    for gate in [2, 0, 1] {
        gates[gate].open();
        assert_eq!(client.hear(), waited(gate));
    }
    drop(client);
    stop(gateway);
}

#[test]
fn a_session_of_wsrv_is_read_no_further_while_its_requests_in_flight_are_at_their_bound() {
    let gates = [(); 4].map(|()| Latch::new());
    let (gateway, diary) = waiting(2, &gates);
    let mut client = Client::open(gateway.local_addr(), "/x");
    let mut other = Client::open(gateway.local_addr(), "/x");
    client.say_all(&[&wait(0), &wait(1), &wait(2), &wait(3)]);
    diary.expect_all(&["begins 0", "begins 1"]);
    // The bound is a session's own.
    other.say(&wsrv_request("now", "n", "null"));
    assert_eq!(other.hear(), wsrv_response("now", "n", 0, "ok", "{}"));
    diary.expect_nothing();
    gates[1].open();
    assert_eq!(client.hear(), waited(1));
    diary.expect(&["begins 2"]);
    other.settle();
    diary.expect_nothing();
    gates[0].open();
    assert_eq!(client.hear(), waited(0));
    diary.expect(&["begins 3"]);
    gates[3].open();
    assert_eq!(client.hear(), waited(3));
    gates[2].open();
    assert_eq!(client.hear(), waited(2));
    client.settle();
    drop((client, other));
    stop(gateway);
}

#[test]
fn sixty_four_requests_of_a_session_are_in_flight_unless_the_route_says_otherwise() {
    let gates = [(); 65].map(|()| Latch::new());
    let unchanged = Route::new("/x", &Wsrv).limits;
    let (gateway, diary) = waiting(unchanged.requests_in_flight_max, &gates);
    let mut client = Client::open(gateway.local_addr(), "/x");
    let requests: Vec<String> = (0..65).map(wait).collect();
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    client.say_all(&requests);
    for gate in 0..64 {
        diary.expect(&[&format!("begins {gate}")]);
    }
    let mut other = Client::open(gateway.local_addr(), "/x");
    other.settle();
    diary.expect_nothing();
    gates[63].open();
    assert_eq!(client.hear(), waited(63));
    diary.expect(&["begins 64"]);
    for gate in &gates {
        gate.open();
    }
    drop((client, other));
    stop(gateway);
}

#[test]
fn what_a_session_says_waits_for_its_validator() {
    let (pen, diary) = diary();
    let gate = Latch::new();
    let (judge_pen, judge_gate) = (pen.clone(), gate.clone());
    let gateway = builder(config_of(1, &Easyws))
        .route("/x")
        .channel_with("room", move |_| {
            let (pen, gate) = (judge_pen.clone(), judge_gate.clone());
            async move {
                pen.note("judging");
                gate.pass().await;
                pen.note("judged");
                Ok(())
            }
        })
        .handle("say", noting(&pen, "said"))
        .start()
        .expect("it starts");
    let cookie = [("Cookie", "auth=valid")];
    let mut client = Client::open_with(gateway.local_addr(), "/x", &cookie);
    let mut other = Client::open_with(gateway.local_addr(), "/x", &cookie);
    client.say_all(&["listen: room", "say: x"]);
    diary.expect(&["judging"]);
    other.settle();
    other.say("say: y");
    diary.expect(&["said"]);
    gate.open();
    diary.expect(&["judged", "said"]);
    drop((client, other));
    stop(gateway);
}

#[test]
fn what_a_session_says_waits_for_the_user_of_its_token() {
    let (pen, diary) = diary();
    let gate = Latch::new();
    let hook_gate = gate.clone();
    let gateway = builder(config_of(1, &Wserver))
        .route("/x")
        .authenticate(move |token| {
            let (pen, gate) = (pen.clone(), hook_gate.clone());
            async move {
                pen.note(format!("asks {token}"));
                gate.pass().await;
                pen.note(format!("knows {token}"));
                Some(token.to_uppercase())
            }
        })
        .start()
        .expect("it starts");
    let register = |token| format!(r#"{{"token":"{token}","event":"e"}}"#);
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.say_all(&[&register("a"), &register("b")]);
    diary.expect(&["asks a"]);
    Client::open(gateway.local_addr(), "/x").settle();
    gate.open();
    diary.expect(&["knows a", "asks b"]);
    gate.open();
    diary.expect(&["knows b"]);
    client.settle();
    let route = gateway.route("/x").expect("it is there");
    let users = all(route.users()).into_iter();
    let mut names: Vec<String> = users.map(|user| user.name).collect();
    names.sort();
    assert_eq!(names, ["A", "B"]);
    drop(client);
    stop(gateway);
}

#[test]
fn what_a_session_says_waits_until_it_was_told_that_it_is_open() {
    let (pen, diary) = diary();
    let gate = Latch::new();
    let open_gate = gate.clone();
    let open_pen = pen.clone();
    let gateway = builder(config_of(1, &Wsrv))
        .route("/x")
        .on_open(move |_| {
            let (pen, gate) = (open_pen.clone(), open_gate.clone());
            async move {
                pen.note("opening");
                gate.pass().await;
                pen.note("open");
            }
        })
        .on_open(noting(&pen, "open, too"))
        .handle("c", noting(&pen, "said"))
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.say(&wsrv_request("c", "1", "null"));
    diary.expect(&["opening"]);
    assert_eq!(get(&mut connect(gateway.local_addr()), "/").status, 200);
    diary.expect_nothing();
    gate.open();
    diary.expect(&["open", "open, too", "said"]);
    drop(client);
    stop(gateway);
}

#[test]
fn an_end_is_told_when_everything_that_was_said_before_has_been_handled() {
    let (pen, diary) = diary();
    let gate = Latch::new();
    let gateway = slow_and_fast(builder(config_of(1, &Projectforge)), "/x", &pen, &gate);
    let gateway = gateway.route("/x").on_close(move |session| {
        let pen = pen.clone();
        async move {
            assert!(!session.is_open());
            pen.note(format!("end {}", session.number()));
        }
    });
    let gateway = gateway.start().expect("it starts");
    let [slow, fast] = ["slow", "fast"].map(|command| format!(r#"{{"cmd":"{command}"}}"#));

    // Whether they take their leave,
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.say_all(&[&slow, &fast]);
    drop(client.0.close(None));
    client.0.flush().expect("the gateway reads");
    diary.expect(&["slow begins 1"]);
    gate.open();
    diary.expect(&["slow ends 1", "fast 1", "end 1"]);
    client.end();

    // only stop talking,
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.say_all(&[&slow, &fast]);
    diary.expect(&["slow begins 2"]);
    client.hang_up();
    gate.open();
    diary.expect(&["slow ends 2", "fast 2", "end 2"]);

    // or are closed while a handler is at work, whose end is waited for.
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.say(&slow);
    diary.expect(&["slow begins 3"]);
    let route = gateway.route("/x").expect("it is there");
    let sessions = all(route.sessions());
    let closed = route.close(sessions[0].id, 4000, "enough");
    assert_eq!(done(closed), Ok(()));
    assert_eq!(client.closing(), (4000, "enough".to_owned()));
    diary.expect_nothing();
    gate.open();
    diary.expect(&["slow ends 3", "end 3"]);
    drop(client);
    stop(gateway);
}

/// Something that writes down that it was asked, waits at a gate, and writes down that it answers.
fn asking<T: 'static>(
    pen: &Pen,
    gate: &Latch,
) -> impl Fn(T) -> Pin<Box<dyn Future<Output = T>>> + Clone + Send + Sync + 'static {
    let (pen, gate) = (pen.clone(), gate.clone());
    move |question| {
        let (pen, gate) = (pen.clone(), gate.clone());
        Box::pin(async move {
            pen.note("asked");
            gate.pass().await;
            pen.note("answers");
            question
        })
    }
}

/// Whoever comes then has the place of the one that is gone.
#[test]
fn answers_for_a_session_that_is_gone_reach_nobody_else() {
    let (pen, diary) = diary();
    let gate = Latch::new();
    let (handle, join, user) = (
        asking::<Context>(&pen, &gate),
        asking::<Joining>(&pen, &gate),
        asking::<Box<str>>(&pen, &gate),
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
    for (path, headers, said) in [
        ("/easyws", cookie, "listen: room".to_owned()),
        ("/ws", &[], r#"{"token":"jack","event":"e"}"#.to_owned()),
        ("/wsrv", &[], wsrv_request("c", "1", "{}")),
    ] {
        let open = || Client::open_with(gateway.local_addr(), path, headers);
        let mut gone = open();
        gone.say(&said);
        diary.expect(&["asked"]);
        let route = gateway.route(path).expect("it is there");
        let id = all(route.sessions())[0].id;
        assert_eq!(done(route.close(id, 4000, "")), Ok(()));
        assert_eq!(gone.closing().0, 4000);
        gone.end();
        let mut others: Vec<Client> = (0..4).map(|_| open()).collect();
        gate.open();
        diary.expect(&["answers"]);
        for other in &mut others {
            other.settle();
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
fn a_handler_or_hook_may_close_its_own_session() {
    let (pen, diary) = diary();
    let close = async |cx: Context| {
        let closed = cx.close(4000, "enough").await;
        let again = cx.close(4000, "enough").await;
        let pushed = cx.push(Message::new("m")).await;
        assert_eq!((closed, again), (Ok(()), Err(HandleError::NoSession)));
        assert_eq!(pushed, Err(HandleError::NoSession));
        assert!(!cx.session().is_open());
        Reply::text("nobody hears it")
    };
    let gateway = builder(config(1))
        .route("/wsrv")
        .handle("close", close)
        .on_close(noting(&pen, "closed"))
        .route("/projectforge")
        .on_open(async |session: Session| {
            let closed = session.route().close(session.id(), 4001, "not today");
            assert_eq!(closed.await, Ok(()));
        })
        .handle("c", noting(&pen, "not heard"))
        .on_close(noting(&pen, "closed"))
        .start()
        .expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/wsrv");
    let close = wsrv_request("close", "1", "{}");
    client.say_all(&[&close, &close]);
    assert_eq!(client.closing(), (4000, "enough".to_owned()));
    client.end();
    diary.expect(&["closed"]);
    let mut client = Client::open(gateway.local_addr(), "/projectforge");
    client.say(r#"{"cmd":"c"}"#);
    assert_eq!(client.closing(), (4001, "not today".to_owned()));
    client.end();
    diary.expect(&["closed"]);
    diary.expect_nothing();
    stop(gateway);
}

/// The socket of a session whose messages wait is not read. When it is closed, that must not keep
/// its connection for as long as a client may take to answer.
#[test]
fn a_session_that_is_closed_while_its_messages_wait_is_gone_when_its_handler_is() {
    let (pen, diary) = diary();
    let gate = Latch::new();
    let mut config = config_of(1, &Projectforge);
    config.heartbeat.close_grace_ms = 600_000;
    let gateway = slow_and_fast(builder(config), "/x", &pen, &gate);
    let gateway = gateway.start().expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    let [slow, fast] = ["slow", "fast"].map(|command| format!(r#"{{"cmd":"{command}"}}"#));
    client.say_all(&[&slow, &fast]);
    diary.expect(&["slow begins 1"]);
    let route = gateway.route("/x").expect("it is there");
    let id = all(route.sessions())[0].id;
    assert_eq!(done(route.close(id, 4000, "")), Ok(()));
    assert_eq!(client.closing().0, 4000);
    client.end();
    gate.open();
    diary.expect(&["slow ends 1"]);
    assert_eq!(stop(gateway).ended("closed"), 1);
    diary.expect_nothing();
}
