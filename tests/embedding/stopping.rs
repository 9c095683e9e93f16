//! Tests of the stop of a gateway: what it waits for, and what remains.

use crate::client_messages::wsrv_request;
use crate::fixture::{
    Client, Hold, Latch, PublishOnDrop, Recorder, RecordsDrop, ReleaseOnDrop, all, builder,
    config_of, connect_to, done, event_log, get, in_time,
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

/// A grace that is long enough for the close handshakes of a test and short enough to wait for.
const SHORT: Duration = Duration::from_millis(100);

fn stopping(gateway: Gateway, grace: Duration) -> JoinHandle<Counters> {
    let thread = std::thread::Builder::new().name("stopping".to_owned());
    thread.spawn(move || gateway.stop(grace)).expect("a thread")
}

#[track_caller]
fn stopped(stopping: JoinHandle<Counters>) -> Counters {
    in_time(move || stopping.join().expect("it stops"))
}

/// Starts a gateway whose command `wait` waits at a latch and holds a value meanwhile.
fn waiting(recorder: &Recorder, latch: &Latch) -> Gateway {
    let (recorder, closing, latch) = (recorder.clone(), recorder.clone(), latch.clone());
    let gateway = builder(config_of(2, &Wsrv)).route("/x");
    let gateway = gateway
        .admit(async |upgrade| {
            let last = PublishOnDrop {
                route: upgrade.route().clone(),
                channel: "room",
            };
            Ok(Admission::new().value(last))
        })
        .handle("wait", move |cx: Context| {
            let last = PublishOnDrop {
                route: cx.route().clone(),
                channel: "room",
            };
            let (kept, latch) = (RecordsDrop("dropped", recorder.clone()), latch.clone());
            async move {
                kept.1.note("waits");
                latch.pass().await;
                kept.1.note("continues");
                drop(last);
            }
        })
        .on_close(move |session: Session| {
            let recorder = closing.clone();
            async move {
                // A task that takes time.
                tokio::time::sleep(Duration::from_millis(5)).await;
                recorder.note(format!("closed {}", session.number()));
            }
        });
    gateway.start().expect("it starts")
}

#[test]
fn a_stop_closes_every_session_and_runs_every_on_close() {
    const SESSIONS: usize = 12;
    let (recorder, event_log) = event_log();
    let gateway = waiting(&recorder, &Latch::new());
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
    event_log.expect_all(&expected);
    event_log.expect_nothing();
}

#[test]
fn a_stop_waits_for_running_handlers() {
    let (recorder, event_log) = event_log();
    let latch = Latch::new();
    let gateway = waiting(&recorder, &latch);
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.send(&wsrv_request("wait", "1", "{}"));
    event_log.expect(&["waits"]);
    let stopping = stopping(gateway, PATIENCE);
    assert_eq!(client.closing().0, 1001);
    client.end();
    event_log.expect_nothing();
    latch.open();
    stopped(stopping);
    event_log.expect(&["continues", "dropped", "closed 1"]);
    event_log.expect_nothing();
}

#[test]
fn a_stop_does_not_wait_for_handlers_beyond_the_grace() {
    let (recorder, event_log) = event_log();
    let latch = Latch::new();
    let gateway = waiting(&recorder, &latch);
    let mut clients = [0, 0, 1].map(|shard| {
        let mut client = Client::open_on(gateway.local_addr(), shard, "/x", &[]);
        client.send(&wsrv_request("wait", "1", "{}"));
        event_log.expect(&["waits"]);
        client
    });
    let stopping = stopping(gateway, SHORT);
    for client in &mut clients {
        assert_eq!(client.closing().0, 1001);
    }
    // One client completes the close handshake, the others do not.
    let [client, ..] = clients;
    client.end();
    stopped(stopping);
    // Their values are dropped.
    event_log.expect(&["dropped"; 3]);
    latch.open();
    event_log.expect_nothing();
}

#[test]
fn a_stop_does_not_wait_for_blocking_work_beyond_the_grace() {
    let hold = Hold::default();
    let (held, spawned) = (hold.clone(), hold.clone());
    let (recorder, event_log) = event_log();
    let spawning = recorder.clone();
    let gateway = builder(config_of(2, &Wsrv))
        .route("/x")
        .handle("block", move |cx: Context| {
            let (hold, recorder) = (held.clone(), recorder.clone());
            async move {
                let work = cx.blocking(move || {
                    recorder.note("blocking");
                    hold.wait();
                });
                work.await;
            }
        })
        .handle("spawn", move |_| {
            let (hold, recorder) = (spawned.clone(), spawning.clone());
            // Libraries do the same to resolve names or read files.
            drop(tokio::task::spawn_blocking(move || {
                recorder.note("spawned");
                hold.wait();
            }));
            async {}
        })
        .start()
        .expect("it starts");
    let _release = ReleaseOnDrop(hold);
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.send(&wsrv_request("block", "1", "{}"));
    event_log.expect(&["blocking"]);
    client.send(&wsrv_request("spawn", "2", "{}"));
    event_log.expect(&["spawned"]);
    assert!(client.receive().contains("not implement"));
    client.abort();
    let counters = stopped(stopping(gateway, SHORT));
    assert_eq!(counters.sessions_opened, 1);
}

#[test]
fn a_stop_does_not_wait_for_spawned_tasks() {
    let (recorder, event_log) = event_log();
    let gateway = builder(config_of(2, &Wsrv)).shard(move |setup| {
        let kept = RecordsDrop("dropped", recorder.clone());
        let route = setup.route("/x").handle_of_route();
        tokio::task::spawn_local(async move {
            let _last = PublishOnDrop {
                route,
                channel: "room",
            };
            kept.1.note("runs");
            std::future::pending::<()>().await;
        });
    });
    let gateway = gateway.start().expect("it starts");
    event_log.expect(&["runs", "runs"]);
    stopped(stopping(gateway, PATIENCE));
    event_log.expect(&["dropped", "dropped"]);
}

#[test]
fn a_stop_with_unlimited_grace_ends_with_the_last_session() {
    let (recorder, event_log) = event_log();
    let latch = Latch::new();
    let gateway = waiting(&recorder, &latch);
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.send(&wsrv_request("wait", "1", "{}"));
    event_log.expect(&["waits"]);
    let stopping = stopping(gateway, Duration::MAX);
    assert_eq!(client.closing().0, 1001);
    client.end();
    latch.open();
    stopped(stopping);
    event_log.expect(&["continues", "dropped", "closed 1"]);
}

/// A cancellation that is lost before the kernel is detected, counted and repeated.
#[test]
fn a_lost_cancellation_is_detected_and_repeated() {
    let mut config = config_of(1, &Echo);
    config.heartbeat.handshake_timeout_ms = 100;
    config.heartbeat.close_grace_ms = 100;
    let gateway = builder(config).provoke_panic(Fault::Cancel).start();
    let gateway = gateway.expect("it starts");
    let mut silent = std::net::TcpStream::connect(gateway.local_addr()).expect("it listens");
    silent.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let ended = std::io::Read::read(&mut silent, &mut [0]).expect("its time is over");
    assert_eq!(ended, 0);
    // The slot is free again: the stop need not wait for the connection.
    let counters = stopped(stopping(gateway, PATIENCE));
    assert_eq!(counters.cancels_late, 1);
}

/// Starts a gateway with two shards and a route `/x`. On each shard a session of the user `jack` is
/// a member of the channel `room`.
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
fn commands_before_the_stop_run_and_later_ones_are_errors() {
    const PUSHES: usize = 500;
    let (gateway, mut clients) = two_members(config_of(2, &Wsrv));
    let handle = gateway.handle();
    // The handles publish through different shards.
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
            assert!(client.receive().contains("push "));
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
    // Queries are served until the end.
    assert_eq!(all(handle.sessions_count()).iter().sum::<usize>(), 0);
    clients.into_iter().for_each(Client::end);
    assert_eq!(stopped(stopping).ended("shutdown"), 2);
}

#[test]
fn during_the_stop_delay_a_gateway_serves() {
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
        assert!(client.receive().contains("on"));
        assert_eq!(client.closing().0, 1001);
    }
    clients.into_iter().for_each(Client::end);
    assert_eq!(stopped(stopping).ended("shutdown"), 2);
}

#[test]
fn a_stop_closes_sessions_at_the_configured_rate() {
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
    // The first sessions are closed at once; others still respond.
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

/// A shard that is blocked by a handler does not delay the closing of sessions on other shards.
#[test]
fn a_stop_proceeds_beside_a_blocked_shard() {
    let hold = Hold::default();
    let held = hold.clone();
    let (recorder, event_log) = event_log();
    let gateway = builder(config_of(2, &Wsrv))
        .route("/x")
        .handle("hold", move |_| {
            recorder.note("holds");
            held.wait();
            async {}
        })
        .start()
        .expect("it starts");
    let release = ReleaseOnDrop(hold);
    let mut holding = Client::open_on(gateway.local_addr(), 0, "/x", &[]);
    let mut other = Client::open_on(gateway.local_addr(), 1, "/x", &[]);
    holding.send(&wsrv_request("hold", "1", "{}"));
    event_log.expect(&["holds"]);
    let stopping = stopping(gateway, PATIENCE);
    assert_eq!(other.closing().0, 1001);
    drop(release);
    assert!(
        holding.receive().contains("hold"),
        "its handler has returned"
    );
    assert_eq!(holding.closing().0, 1001);
    [holding, other].into_iter().for_each(Client::end);
    assert_eq!(stopped(stopping).ended("shutdown"), 2);
}
