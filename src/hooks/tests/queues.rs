//! Hook queues: kinds are independent, waiting is limited, and no `close` hook that fits is lost.

use super::backend::{PATIENCE, TestBackend};
use super::client::{YES, config, report, run, send_hook, send_with};
use super::gateway::{TestGateway, lobby};
use crate::config::Backend;
use crate::dialect::wsrv::Wsrv;
use crate::hooks::HookError;
use crate::hooks::queue::WAITING_BYTES;
use crate::hooks::requests::Hook;
use crate::hooks::responses::read_allow;
use std::collections::BTreeSet;
use std::rc::Rc;

#[test]
fn no_kind_of_hook_waits_for_another() {
    let mut backend = TestBackend::start();
    let mut config = config(backend.url());
    config.limits.requests_in_flight_max = 1;
    config.limits.requests_waiting_max = 1;
    run(config, async |client, backends| {
        for slow in Hook::ALL {
            // One in flight, one waiting, one refused: the queue is full.
            let tasks: Vec<_> = (0..2)
                .map(|_| {
                    let client = Rc::clone(&client);
                    tokio::task::spawn_local(async move { send_hook(&client, slow).await })
                })
                .collect();
            let held = backend.next().await;
            assert_eq!(
                send_hook(&client, slow).await,
                Err(HookError::Busy),
                "{slow:?}"
            );
            for other in Hook::ALL.into_iter().filter(|&other| other != slow) {
                let (result, count) =
                    send_with(&client, &mut backend, other, |it| it.ok(YES)).await;
                assert_eq!((result, count), (Ok(true), 1), "{other:?} behind {slow:?}");
            }
            let report = &report(&backends)["hooks"][slow.as_str()];
            assert_eq!(
                (&report["in_flight"], &report["waiting"]),
                (&1.into(), &1.into())
            );
            assert_eq!(report["refused"], 1);
            held.ok(YES);
            backend.next().await.ok(YES);
            for task in tasks {
                assert_eq!(task.await.expect("no panic"), Ok(true));
            }
        }
    });
}

#[test]
fn hooks_that_wait_are_bounded_in_bytes_and_what_does_not_fit_is_counted() {
    let mut backend = TestBackend::start();
    let mut config = config(backend.url());
    config.limits.requests_in_flight_max = 1;
    config.limits.requests_waiting_bytes_max = 10_000;
    run(config, async |client, backends| {
        let send_hook = |bytes: usize| {
            let client = Rc::clone(&client);
            let body = move |_| format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes - 8)).into_bytes();
            tokio::task::spawn_local(async move { client.send(Hook::Open, body, read_allow).await })
        };
        let size = size_of_val(&client.send(Hook::Close, |_| Vec::new(), |_| Ok(())));
        assert!(
            size as u64 <= WAITING_BYTES / 4 * 3,
            "a hook takes {size} bytes"
        );
        let mut tasks = vec![send_hook(100_000)]; // in flight, so it does not count
        let held = backend.next().await;
        tasks.extend([send_hook(2_000), send_hook(10_000 - 2_000 - 2 * 2_048)]);
        for bytes in [8, 2_000] {
            let refused = send_hook(bytes).await.expect("no panic");
            assert_eq!(refused, Err(HookError::Busy));
        }
        let report = || report(&backends)["hooks"]["open"].clone();
        assert_eq!(report()["waiting"], 2);
        assert_eq!(report()["waiting_bytes"], 10_000);
        assert_eq!(
            (&report()["refused"], &report()["failed"]),
            (&2.into(), &2.into())
        );
        held.ok(YES);
        for _ in 0..2 {
            backend.next().await.ok(YES);
        }
        for task in tasks {
            assert_eq!(task.await.expect("no panic"), Ok(true));
        }
        assert_eq!(
            (&report()["waiting"], &report()["waiting_bytes"]),
            (&0.into(), &0.into())
        );
        assert_eq!(
            (&report()["answered"], &report()["abandoned"]),
            (&3.into(), &0.into())
        );
    });
}

#[test]
fn the_default_limits_hold_the_close_hooks_of_a_mass_disconnect() {
    const ENDS: usize = 5_500;
    let mut backend = TestBackend::start();
    run(
        Backend::new("b", backend.url()),
        async |client, backends| {
            let tell = || {
                let client = Rc::clone(&client);
                let body = |id| format!(r#"{{"hook":"close","id":"{id}"}}"#).into_bytes();
                tokio::task::spawn_local(
                    async move { client.send(Hook::Close, body, |_| Ok(())).await },
                )
            };
            let tasks: Vec<_> = (0..ENDS).map(|_| tell()).collect();
            let mut ids = BTreeSet::new();
            while ids.len() < ENDS {
                let request = backend.next().await;
                ids.insert(request.body["id"].to_string());
                request.answer(204, "");
            }
            for task in tasks {
                assert_eq!(task.await.expect("no panic"), Ok(()));
            }
            let report = report(&backends);
            assert_eq!(
                (&report["answered"], &report["failed"]),
                (&ENDS.into(), &0.into())
            );
        },
    );
}

#[test]
fn waiting_for_a_turn_is_not_part_of_the_time_of_a_close() {
    let mut backend = TestBackend::start();
    let mut config = config(backend.url());
    config.limits.requests_in_flight_max = 1;
    config.limits.timeout_ms = 100;
    run(config, async |client, _| {
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let client = Rc::clone(&client);
                tokio::task::spawn_local(async move { send_hook(&client, Hook::Close).await })
            })
            .collect();
        let mut held = Vec::new();
        for task in tasks {
            held.push(backend.next().await);
            assert_eq!(task.await.expect("no panic"), Err(HookError::TimedOut));
        }
    });
}

#[test]
fn each_ended_session_has_one_close_hook() {
    let mut stage = TestGateway::new(&Wsrv, |config| {
        config.backends[0].limits.requests_in_flight_max = 2;
        config.backends[0].limits.requests_waiting_max = 38;
    });
    let sessions: Vec<_> = (0..40).map(|_| stage.open("/x", "", &lobby())).collect();
    drop(sessions);
    stage.counts_when("close", "waiting", 38);
    let mut numbers: Vec<_> = (0..40)
        .map(|_| {
            let request = stage.next("close");
            let number = request.body["session"]["number"].as_u64();
            request.answer(204, "");
            number
        })
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq((1..=40).map(Some)));
    let counts = stage.counts_when("close", "answered", 40);
    assert_eq!(
        (&counts["refused"], &counts["failed"]),
        (&0.into(), &0.into())
    );
    stage.end();
}

#[test]
fn each_close_hook_that_does_not_fit_is_counted() {
    let mut stage = TestGateway::new(&Wsrv, |config| {
        config.backends[0].limits.requests_in_flight_max = 1;
        config.backends[0].limits.requests_waiting_max = 3;
    });
    let sessions: Vec<_> = (0..10).map(|_| stage.open("/x", "", &lobby())).collect();
    drop(sessions);
    let counts = stage.counts_when("close", "refused", 6);
    assert_eq!(
        (&counts["in_flight"], &counts["waiting"]),
        (&1.into(), &3.into())
    );
    for _ in 0..4 {
        stage.next("close").answer(204, "");
    }
    let counts = stage.counts_when("close", "answered", 4);
    assert_eq!(
        (&counts["refused"], &counts["failed"]),
        (&6.into(), &6.into())
    );
    stage.backend.expect_nothing();
    stage.end();
}

#[test]
fn waiting_close_hooks_are_sent_during_the_grace_of_a_stop() {
    let mut stage = TestGateway::new(&Wsrv, |config| {
        config.backends[0].limits.requests_in_flight_max = 1;
    });
    let sessions: Vec<_> = (0..5).map(|_| stage.open("/x", "", &lobby())).collect();
    drop(sessions);
    stage.counts_when("close", "waiting", 4);
    let TestGateway {
        gateway,
        mut backend,
    } = stage;
    let stopping = std::thread::Builder::new().spawn(move || gateway.stop(PATIENCE));
    for _ in 0..5 {
        let request = backend.wait();
        assert_eq!(request.hook(), "close");
        request.answer(204, "");
    }
    let _counters = stopping.expect("a thread").join().expect("it stops");
}
