//! What a stop waits for, what it does not wait for, and what is left then.

use crate::stage::{
    Client, Gate, Hold, LastWords, Noted, PATIENCE, Pen, ReleaseOnDrop, builder, config_of, diary,
    in_time,
};
use crate::words::asked;
use campanile::config::DialectName;
use campanile::embedder::Fault;
use campanile::handler::Admission;
use campanile::metrics::Counters;
use campanile::{Context, Gateway, Session};
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
fn waiting(pen: &Pen, gate: &Gate) -> Gateway {
    let (pen, closing, gate) = (pen.clone(), pen.clone(), gate.clone());
    let gateway = builder(config_of(2, DialectName::Wsrv)).route("/x");
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
    let gateway = waiting(&pen, &Gate::new());
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
    let gate = Gate::new();
    let gateway = waiting(&pen, &gate);
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.say(&asked("wait", "1", "{}"));
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
    let gate = Gate::new();
    let gateway = waiting(&pen, &gate);
    let mut clients = [0, 0, 1].map(|shard| {
        let mut client = Client::open_on(gateway.local_addr(), shard, "/x", &[]);
        client.say(&asked("wait", "1", "{}"));
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
    let gateway = builder(config_of(2, DialectName::Wsrv))
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
    client.say(&asked("block", "1", "{}"));
    diary.expect(&["blocking"]);
    client.say(&asked("spawn", "2", "{}"));
    diary.expect(&["spawned"]);
    assert!(client.hear().contains("not implement"));
    client.hang_up();
    let counters = stopped(stopping(gateway, SHORT));
    assert_eq!(counters.sessions_opened, 1);
}

#[test]
fn a_stop_waits_for_no_task_that_was_only_spawned() {
    let (pen, diary) = diary();
    let gateway = builder(config_of(2, DialectName::Wsrv)).shard(move |setup| {
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
    let gate = Gate::new();
    let gateway = waiting(&pen, &gate);
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.say(&asked("wait", "1", "{}"));
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
    let mut config = config_of(1, DialectName::Echo);
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
