//! Queues of hooks: no kind waits for another, what waits is bounded, and no end is lost that fits.

use super::backend::{PATIENCE, TestBackend};
use super::client::{YES, ask, ask_with, config, report, run};
use super::gateway::{Stage, lobby};
use crate::config::Backend;
use crate::dialect::wsrv::Wsrv;
use crate::hooks::HookError;
use crate::hooks::answers::read_allow;
use crate::hooks::asks::Hook;
use crate::hooks::queue::WAITING_BYTES;
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
            // One in flight, one that waits, one that is refused: its queue is full.
            let tasks: Vec<_> = (0..2)
                .map(|_| {
                    let client = Rc::clone(&client);
                    tokio::task::spawn_local(async move { ask(&client, slow).await })
                })
                .collect();
            let held = backend.next().await;
            assert_eq!(ask(&client, slow).await, Err(HookError::Busy), "{slow:?}");
            for other in Hook::ALL.into_iter().filter(|&other| other != slow) {
                let (result, count) = ask_with(&client, &mut backend, other, |it| it.ok(YES)).await;
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
        let ask = |bytes: usize| {
            let client = Rc::clone(&client);
            let body = move |_| format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes - 8)).into_bytes();
            tokio::task::spawn_local(async move { client.ask(Hook::Open, body, read_allow).await })
        };
        let size = size_of_val(&client.ask(Hook::Close, |_| Vec::new(), |_| Ok(())));
        assert!(
            size as u64 <= WAITING_BYTES / 4 * 3,
            "a hook takes {size} bytes"
        );
        let mut asks = vec![ask(100_000)]; // it does not wait
        let held = backend.next().await;
        asks.extend([ask(2_000), ask(10_000 - 2_000 - 2 * 2_048)]);
        for bytes in [8, 2_000] {
            let refused = ask(bytes).await.expect("no panic");
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
        for ask in asks {
            assert_eq!(ask.await.expect("no panic"), Ok(true));
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
fn a_mass_disconnect_is_told_in_whole_by_the_default_limits() {
    const ENDS: usize = 5_500;
    let mut backend = TestBackend::start();
    run(
        Backend::new("b", backend.url()),
        async |client, backends| {
            let tell = || {
                let client = Rc::clone(&client);
                let body = |id| format!(r#"{{"hook":"close","id":"{id}"}}"#).into_bytes();
                tokio::task::spawn_local(
                    async move { client.ask(Hook::Close, body, |_| Ok(())).await },
                )
            };
            let tasks: Vec<_> = (0..ENDS).map(|_| tell()).collect();
            let mut ids = BTreeSet::new();
            while ids.len() < ENDS {
                let asked = backend.next().await;
                ids.insert(asked.body["id"].to_string());
                asked.answer(204, "");
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
                tokio::task::spawn_local(async move { ask(&client, Hook::Close).await })
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
fn each_of_many_ends_is_told_once() {
    let mut stage = Stage::new(&Wsrv, |config| {
        config.backends[0].limits.requests_in_flight_max = 2;
        config.backends[0].limits.requests_waiting_max = 38;
    });
    let sessions: Vec<_> = (0..40).map(|_| stage.open("/x", "", &lobby())).collect();
    drop(sessions);
    stage.counts_when("close", "waiting", 38);
    let mut numbers: Vec<_> = (0..40)
        .map(|_| {
            let asked = stage.next("close");
            let number = asked.body["session"]["number"].as_u64();
            asked.answer(204, "");
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
fn ends_that_the_queue_has_no_room_for_are_counted_to_the_last() {
    let mut stage = Stage::new(&Wsrv, |config| {
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
fn ends_that_wait_when_the_gateway_stops_have_its_grace() {
    let mut stage = Stage::new(&Wsrv, |config| {
        config.backends[0].limits.requests_in_flight_max = 1;
    });
    let sessions: Vec<_> = (0..5).map(|_| stage.open("/x", "", &lobby())).collect();
    drop(sessions);
    stage.counts_when("close", "waiting", 4);
    let Stage {
        gateway,
        mut backend,
    } = stage;
    let stopping = std::thread::Builder::new().spawn(move || gateway.stop(PATIENCE));
    for _ in 0..5 {
        let asked = backend.wait();
        assert_eq!(asked.hook(), "close");
        asked.answer(204, "");
    }
    let _counters = stopping.expect("a thread").join().expect("it stops");
}
