//! Tests with minimum limits: mailboxes of one message, four receive buffers, the smallest rings.
//! The gateway may be slow and return errors, but must not lose messages or miscount.

use crate::GATEWAY;
use campanile_tests::client::{expect_no_message, open_as, read_text};
use campanile_tests::http::{Response, post};
use campanile_tests::peer::{Peer, push_body, sent_to};
use std::collections::BTreeMap;
use std::thread;

const MINIMUM_LIMITS: &str = "[limits]\n\
    mailbox_messages_max = 1\n\
    sends_per_enter_max = 3\n\
    sends_per_turn_max = 5\n\
    [ring]\n\
    submission_entries = 64\n\
    completion_entries = 128\n\
    entries_min = 64\n\
    buffer_count = 4\n\
    buffer_bytes = 1024\n";

const SESSIONS: usize = 24;
const PUSHERS: usize = 8;

/// A config with busy polling, so that shards do not sleep after recent work.
const BUSY_POLL: &str = "limits.busy_poll_us = 1_000_000\n";

#[test]
fn with_minimum_limits_counts_are_right_and_nothing_is_lost() {
    push_and_receive(MINIMUM_LIMITS);
}

#[test]
fn with_busy_polling_counts_are_right_and_nothing_is_lost() {
    push_and_receive(BUSY_POLL);
}

fn push_and_receive(config: &str) {
    let process = GATEWAY.start(Some(config));
    let address = process.address;
    let mut clients: Vec<_> = (0..SESSIONS)
        .map(|_| open_as(address, "jack", "e"))
        .collect();
    let pushed: Vec<Vec<String>> = thread::scope(|scope| {
        let mut pushers = Vec::new();
        for pusher in 0..PUSHERS {
            pushers.push(scope.spawn(move || push_pipelined(Peer::connect(address), pusher)));
        }
        let accepted = pushers.into_iter().map(thread::ScopedJoinHandle::join);
        accepted.map(|list| list.expect("it ends well")).collect()
    });

    let all: usize = pushed.iter().map(Vec::len).sum();
    assert!(all > 0, "something was accepted");
    for client in &mut clients {
        let mut received: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for _ in 0..all {
            let text = read_text(client);
            let (pusher, _) = text.split_once(':').expect("both");
            received
                .entry(pusher.parse().expect("a number"))
                .or_default()
                .push(text);
        }
        expect_no_message(client);
        for (pusher, expected) in pushed.iter().enumerate() {
            let got = received.remove(&pusher).unwrap_or_default();
            assert_eq!(
                got, *expected,
                "what was answered 200, in order, and nothing else"
            );
        }
    }
    drop(clients);
    assert!(process.stop().status.success());
}

/// Pushes 16 messages at a time and returns the accepted ones. An error has no effect.
fn push_pipelined(mut peer: Peer, pusher: usize) -> Vec<String> {
    let mut accepted = Vec::new();
    for round in 0..20 {
        let text = |index: usize| format!("{pusher}:{}", 16 * round + index);
        let requests = (0..16).map(|at| post("/push", "", &push_body("jack", "e", &text(at))));
        let requests: Vec<String> = requests.collect();
        peer.send(requests.concat());
        for index in 0..16 {
            let Response { status, body, .. } = peer.response();
            if status == 503 {
                assert_eq!(body, "too busy, nothing was delivered");
                continue;
            }
            assert_eq!((status, body), (200, sent_to(SESSIONS)));
            accepted.push(text(index));
        }
    }
    accepted
}
