//! What a stop waits for, what it does not wait for, and what is left then.

use crate::client_messages::wsrv_request;
use crate::fixture::{
    Client, Hold, LastWords, Latch, Noted, Pen, ReleaseOnDrop, all, builder, config_of, connect_to,
    diary, done, get, in_time,
};
use campanile::config::Config;
use campanile::dialect::echo::Echo;
use campanile::dialect::wsrv::Wsrv;
use campanile::gateway::Fault;
use campanile::handler::{Admission, HandleError};
use campanile::metrics::Counters;
use campanile::{Context, Gateway, Message, Session};
use campanile_tests::PATIENCE;
use std::thread::JoinHandle;
use std::time::Duration;

/// Long enough for the clients of a test to say goodbye, and short enough to be waited for.
const SHORT: Duration = Duration::from_millis(100);

fn stopping(gateway: Gateway, grace: Duration) -> JoinHandle<Counters> {
    let thread = std::thread::Builder::new().name("stopping".to_owned());
    thread.spawn(move || gateway.stop(grace)).expect("a thread")
}

#[track_caller]
fn stopped(stopping: JoinHandle<Counters>) -> Counters {
    in_time(move || stopping.join().expect("it stops"))
}

/// A gateway whose command `wait` waits at a gate and keeps something meanwhile.
fn waiting(pen: &Pen, gate: &Latch) -> Gateway {
    let (pen, closing, gate) = (pen.clone(), pen.clone(), gate.clone());
    let gateway = builder(config_of(2, &Wsrv)).route("/x");
    let gateway = gateway
        .admit(async |upgrade| {
            let last = LastWords {
                route: upgrade.route().clone(),
                channel: "room",
            };
            Ok(Admission::new().value(last))
        })
        .handle("wait", move |cx: Context| {
            let last = LastWords {
                route: cx.route().clone(),
                channel: "room",
            };
            let (kept, gate) = (Noted("dropped", pen.clone()), gate.clone());
            async move {
                kept.1.note("waits");
                gate.pass().await;
                kept.1.note("goes on");
                drop(last);
            }
        })
        .on_close(move |session: Session| {
            let pen = closing.clone();
            async move {
                // Whatever takes time.
                tokio::time::sleep(Duration::from_millis(5)).await;
                pen.note(format!("closed {}", session.number()));
            }
        });
    gateway.start().expect("it starts")
}

#[test]
fn a_stop_tells_every_session_and_every_end_is_told() {
    const SESSIONS: usize = 12;
    let (pen, diary) = diary();
    let gateway = waiting(&pen, &Latch::new());
    let mut clients: Vec<Client> = (0..SESSIONS)
        .map(|_| Client::open(gateway.local_addr(), "/x"))
        .collect();
    let stopping = stopping(gateway, PATIENCE);
    for client in &mut clients {
        let shutting_down = "server is shutting down".to_owned();
        assert_eq!(client.closing(), (1001, shutting_down));
    }
    clients.into_iter().for_each(Client::end);
    let counters = stopped(stopping);
    assert_eq!(counters.ended("shutdown"), SESSIONS as u64);
    let expected: Vec<String> = (1..=SESSIONS)
        .map(|number| format!("closed {number}"))
        .collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    diary.expect_all(&expected);
    diary.expect_nothing();
}

#[test]
fn a_stop_lets_handlers_come_to_their_end() {
    let (pen, diary) = diary();
    let gate = Latch::new();
    let gateway = waiting(&pen, &gate);
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.say(&wsrv_request("wait", "1", "{}"));
    diary.expect(&["waits"]);
    let stopping = stopping(gateway, PATIENCE);
    assert_eq!(client.closing().0, 1001);
    client.end();
    diary.expect_nothing();
    gate.open();
    stopped(stopping);
    diary.expect(&["goes on", "dropped", "closed 1"]);
    diary.expect_nothing();
}

#[test]
fn a_stop_does_not_wait_for_handlers_beyond_the_grace() {
    let (pen, diary) = diary();
    let gate = Latch::new();
    let gateway = waiting(&pen, &gate);
    let mut clients = [0, 0, 1].map(|shard| {
        let mut client = Client::open_on(gateway.local_addr(), shard, "/x", &[]);
        client.say(&wsrv_request("wait", "1", "{}"));
        diary.expect(&["waits"]);
        client
    });
    let stopping = stopping(gateway, SHORT);
    for client in &mut clients {
        assert_eq!(client.closing().0, 1001);
    }
    // One takes its leave, the others do not.
    let [client, ..] = clients;
    client.end();
    stopped(stopping);
    // What they kept is gone with them.
    diary.expect(&["dropped"; 3]);
    gate.open();
    diary.expect_nothing();
}

#[test]
fn a_stop_does_not_wait_for_blocking_work_beyond_the_grace() {
    let hold = Hold::default();
    let (held, spawned) = (hold.clone(), hold.clone());
    let (pen, diary) = diary();
    let spawning = pen.clone();
    let gateway = builder(config_of(2, &Wsrv))
        .route("/x")
        .handle("block", move |cx: Context| {
            let (hold, pen) = (held.clone(), pen.clone());
            async move {
                let work = cx.blocking(move || {
                    pen.note("blocking");
                    hold.wait();
                });
                work.await;
            }
        })
        .handle("spawn", move |_| {
            let (hold, pen) = (spawned.clone(), spawning.clone());
            // As libraries do that resolve names or read files.
            drop(tokio::task::spawn_blocking(move || {
                pen.note("spawned");
                hold.wait();
            }));
            async {}
        })
        .start()
        .expect("it starts");
    let _release = ReleaseOnDrop(hold);
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.say(&wsrv_request("block", "1", "{}"));
    diary.expect(&["blocking"]);
    client.say(&wsrv_request("spawn", "2", "{}"));
    diary.expect(&["spawned"]);
    assert!(client.hear().contains("not implement"));
    client.hang_up();
    let counters = stopped(stopping(gateway, SHORT));
    assert_eq!(counters.sessions_opened, 1);
}

#[test]
fn a_stop_waits_for_no_task_that_was_only_spawned() {
    let (pen, diary) = diary();
    let gateway = builder(config_of(2, &Wsrv)).shard(move |setup| {
        let kept = Noted("dropped", pen.clone());
        let route = setup.route("/x").handle_of_route();
        tokio::task::spawn_local(async move {
            let _last = LastWords {
                route,
                channel: "room",
            };
            kept.1.note("runs");
            std::future::pending::<()>().await;
        });
    });
    let gateway = gateway.start().expect("it starts");
    diary.expect(&["runs", "runs"]);
    stopped(stopping(gateway, PATIENCE));
    diary.expect(&["dropped", "dropped"]);
}

#[test]
fn a_grace_without_end_ends_when_everything_has() {
    let (pen, diary) = diary();
    let gate = Latch::new();
    let gateway = waiting(&pen, &gate);
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.say(&wsrv_request("wait", "1", "{}"));
    diary.expect(&["waits"]);
    let stopping = stopping(gateway, Duration::MAX);
    assert_eq!(client.closing().0, 1001);
    client.end();
    gate.open();
    stopped(stopping);
    diary.expect(&["goes on", "dropped", "closed 1"]);
}

/// A cancellation that the kernel never sees leaves a connection behind; it is noticed, counted,
/// and made again.
#[test]
fn a_cancellation_that_never_ends_is_noticed() {
    let mut config = config_of(1, &Echo);
    config.heartbeat.handshake_timeout_ms = 100;
    config.heartbeat.close_grace_ms = 100;
    let gateway = builder(config).provoke_panic(Fault::Cancel).start();
    let gateway = gateway.expect("it starts");
    let mut silent = std::net::TcpStream::connect(gateway.local_addr()).expect("it listens");
    silent.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let ended = std::io::Read::read(&mut silent, &mut [0]).expect("its time is over");
    assert_eq!(ended, 0);
    // The slot is free again: nothing is left to be waited for.
    let counters = stopped(stopping(gateway, PATIENCE));
    assert_eq!(counters.cancels_late, 1);
}

/// A gateway of two shards with a route `/x`, and a session of the user `jack` on the channel
/// `room` on each of them.
fn two_members(config: Config) -> (Gateway, [Client; 2]) {
    let gateway = builder(config)
        .route("/x")
        .admit(async |_| Ok(Admission::new().user("jack").join("room")))
        .start()
        .expect("it starts");
    let clients = [0, 1].map(|shard| Client::open_on(gateway.local_addr(), shard, "/x", &[]));
    (gateway, clients)
}

#[test]
fn what_handles_have_asked_is_done_before_the_end_and_nothing_after() {
    const PUSHES: usize = 500;
    let (gateway, mut clients) = two_members(config_of(2, &Wsrv));
    let handle = gateway.handle();
    // One publishes through each shard.
    let routes = [gateway.route("/x"), gateway.route("/x")].map(|it| it.expect("it is there"));
    let session = all(routes[0].sessions())[0].id;
    let totals: Vec<_> = (0..PUSHES)
        .flat_map(|number| {
            let message = || Message::text("m", format!("push {number}"));
            [
                routes[0].publish("room", message()),
                routes[1].push_user("jack", message()),
            ]
        })
        .collect();
    let stopping = stopping(gateway, PATIENCE);
    for client in &mut clients {
        for _ in 0..2 * PUSHES {
            assert!(client.hear().contains("push "));
        }
        assert_eq!(client.closing().0, 1001);
    }
    for total in totals {
        assert_eq!(done(total), Ok(2));
    }

    let refused = Some(HandleError::Stopping);
    let message = || Message::text("m", "late");
    for route in &routes {
        assert_eq!(done(route.publish("room", message())).err(), refused);
        assert_eq!(done(route.push_user("jack", message())).err(), refused);
        assert_eq!(done(route.broadcast(message())).err(), refused);
        assert_eq!(done(route.push_session(session, message())).err(), refused);
        assert_eq!(done(route.drop_user("jack", None)).err(), refused);
        assert_eq!(done(route.join(session, "hall")).err(), refused);
        assert_eq!(done(route.leave(session, "room")).err(), refused);
        assert_eq!(done(route.close(session, 1000, "")).err(), refused);
    }
    let routes = handle.all_routes();
    let published = routes.publish_except("room", message(), &[]);
    assert_eq!(done(published).err(), refused);
    assert_eq!(done(routes.drop_user("jack", None)).err(), refused);
    // What only looks is answered until the last moment.
    assert_eq!(all(handle.sessions_count()).iter().sum::<usize>(), 0);
    clients.into_iter().for_each(Client::end);
    assert_eq!(stopped(stopping).ended("shutdown"), 2);
}

#[test]
fn during_the_delay_a_gateway_goes_on() {
    let config = Config {
        drain_delay_ms: 500,
        ..config_of(2, &Wsrv)
    };
    let (gateway, mut clients) = two_members(config);
    let (address, route) = (gateway.local_addr(), gateway.route("/x"));
    let route = route.expect("it is there");
    let mut kept = [0, 1].map(|shard| connect_to(address, shard));
    let stopping = stopping(gateway, PATIENCE);
    for socket in &mut kept {
        while get(socket, "/health").status != 503 {}
    }
    assert_eq!(done(route.publish("room", Message::text("m", "on"))), Ok(2));
    for client in &mut clients {
        assert!(client.hear().contains("on"));
        assert_eq!(client.closing().0, 1001);
    }
    clients.into_iter().for_each(Client::end);
    assert_eq!(stopped(stopping).ended("shutdown"), 2);
}

#[test]
fn a_stop_closes_sessions_at_the_pace_of_the_config() {
    const SESSIONS: usize = 200;
    let config = Config {
        drain_ms: 100_000,
        ..config_of(2, &Wsrv)
    };
    let gateway = builder(config).start().expect("it starts");
    let mut clients: Vec<Client> = (0..SESSIONS)
        .map(|_| Client::open(gateway.local_addr(), "/x"))
        .collect();
    let stopping = stopping(gateway, PATIENCE);
    // The first of them are closed at once, and others still answer.
    let mut closed = 0;
    let mut answered_later = 0;
    while let Some(mut client) = clients.pop() {
        if client.is_open() {
            answered_later += usize::from(closed > 0);
            clients.insert(0, client);
        } else {
            closed += 1;
            client.end();
        }
    }
    assert!(answered_later > 0);
    assert_eq!(stopped(stopping).ended("shutdown"), SESSIONS as u64);
}

/// A shard that a handler holds does not keep the others from closing their sessions.
#[test]
fn a_stop_goes_on_beside_a_shard_that_is_held() {
    let hold = Hold::default();
    let held = hold.clone();
    let (pen, diary) = diary();
    let gateway = builder(config_of(2, &Wsrv))
        .route("/x")
        .handle("hold", move |_| {
            pen.note("holds");
            held.wait();
            async {}
        })
        .start()
        .expect("it starts");
    let release = ReleaseOnDrop(hold);
    let mut holding = Client::open_on(gateway.local_addr(), 0, "/x", &[]);
    let mut other = Client::open_on(gateway.local_addr(), 1, "/x", &[]);
    holding.say(&wsrv_request("hold", "1", "{}"));
    diary.expect(&["holds"]);
    let stopping = stopping(gateway, PATIENCE);
    assert_eq!(other.closing().0, 1001);
    drop(release);
    assert!(holding.hear().contains("hold"), "its handler has returned");
    assert_eq!(holding.closing().0, 1001);
    [holding, other].into_iter().for_each(Client::end);
    assert_eq!(stopped(stopping).ended("shutdown"), 2);
}
