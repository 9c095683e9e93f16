//! Replays of the Autobahn suite's cases against `/echo`, from recorded transcripts.
//!
//! `scripts/autobahn.sh` runs the suite itself and is authoritative. This test needs no suite: it
//! replays the transcripts that `scripts/autobahn-record.py` stored in `tests/autobahn/` (grammar
//! in the README there). They have every case of groups 1 to 7, 9 and 10, every octet, split into
//! writes as the suite split it. The test accepts the outcomes that the suite accepts and is
//! stricter in four points:
//!
//! - The content of the long messages of group 9 is compared, not only the length.
//! - Text that is not UTF-8 must be closed at once, also within a frame.
//! - A close frame is required also where the suite accepts an end without one.
//! - After the close frame the connection must end without a reset.
//!
//! The test does not use the gateway's code.

mod replay;
mod transcript;

use campanile_tests::executable;
use replay::{ACCEPT, PAUSE, replay};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::iter;
use std::net::{Shutdown, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use transcript::{parse_cases, recorded_cases};

#[test]
fn every_case_has_an_outcome_that_the_suite_accepts() {
    let cases = recorded_cases();
    let gateway = executable!().start_on(1, None);

    let next = AtomicUsize::new(0);
    let (errors, found) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..WORKERS_COUNT {
            let (errors, cases, next, address) = (errors.clone(), &cases, &next, gateway.address);
            scope.spawn(move || {
                let rest = || cases.get(next.fetch_add(1, Ordering::Relaxed));
                let outcomes = iter::from_fn(rest).filter_map(|case| {
                    let error = replay(case, address, ANSWER_WAIT).err()?;
                    Some(format!("case {}: {error}", case.name))
                });
                for error in outcomes.take(ERRORS_PER_WORKER_MAX) {
                    errors.send(error).expect("`found` outlives the workers");
                }
            });
        }
    });
    drop(errors);

    let errors: Vec<String> = found.iter().collect();
    assert!(errors.is_empty(), "\n{}\n", errors.join("\n"));
}

#[test]
fn the_transcripts_hold_every_case_once() {
    let mut names = BTreeSet::new();
    let mut counts = BTreeMap::<String, usize>::new();
    for case in recorded_cases() {
        let (group, _) = case
            .name
            .split_once('.')
            .expect("a case belongs to a group");
        *counts.entry(group.to_owned()).or_default() += 1;
        assert!(names.insert(case.name.clone()), "case {} twice", case.name);
    }
    let found: Vec<_> = counts
        .iter()
        .map(|(group, count)| (group.as_str(), *count))
        .collect();
    assert_eq!(found, CASES_PER_GROUP);
}

#[test]
fn a_correct_peer_passes() {
    check(GREETING, &[HELLO, CLOSE_1000], Ending::Clean, None);
    check(
        "<? text 48656c6c6f\n< close 1002\n> 88 00000000 03e8",
        &[CLOSE_1002],
        Ending::Clean,
        None,
    );
    check(HASTY, &[CLOSE_1002], Ending::Clean, None);
    check(
        "> 88 00000000 -\n< close -",
        &[b"\x88\x00"],
        Ending::Clean,
        None,
    );
}

#[test]
fn a_peer_that_violates_a_rule_fails() {
    let clean = |answers: &[&[u8]], error| check(GREETING, answers, Ending::Clean, Some(error));
    clean(&[b"\x82\x05Hello", CLOSE_1000], "opcode 2 instead of text");
    clean(&[b"\x81\x05Hallo", CLOSE_1000], "differ at octet 1");
    clean(&[b"\x81\x04Hell", CLOSE_1000], "4 octets instead of 5");
    clean(
        &[b"\x01\x03Hel", b"\x80\x02lo", CLOSE_1000],
        "not a single unfragmented frame",
    );
    clean(&[b"\xc1\x05Hello", CLOSE_1000], "reserved bits");
    clean(&[b"\x81\x85\0\0\0\0Hello", CLOSE_1000], "a masked frame");
    clean(
        &[b"\x81\x7e\x00\x05Hello", CLOSE_1000],
        "length not in its shortest form",
    );
    clean(&[HELLO, HELLO, CLOSE_1000], "instead of a close frame");
    clean(&[CLOSE_1000], "closed with 1000 before its answer");
    clean(&[HELLO, CLOSE_1002], "closed with 1002, wanted 1000");
    clean(&[HELLO, b"\x88\x00"], "closed with no code, wanted 1000");
    clean(&[HELLO, b"\x88\x01\x03"], "a close frame of one octet");
    clean(&[HELLO], "ended before a frame was complete");
    clean(
        &[HELLO, b"\x88\x02\x03"],
        "ended before a frame was complete",
    );
    clean(&[HELLO, CLOSE_1000, HELLO], "spoke after its close frame");
    check(
        GREETING,
        &[HELLO, CLOSE_1000],
        Ending::Reset,
        Some("the end of the connection"),
    );
    check(
        GREETING,
        &[HELLO, CLOSE_1000],
        Ending::Never,
        Some("the end of the connection"),
    );
    check(
        ".\n< text 48656c6c6f",
        &[HELLO, CLOSE_1000],
        Ending::Clean,
        Some("broke a silence"),
    );
    check(
        HASTY,
        &[HELLO, CLOSE_1002],
        Ending::Clean,
        Some("instead of a close frame"),
    );
    // The suite continues after 1 s and rates a later close as non-strict.
    check(HASTY, &[], Ending::Never, Some("no answer"));
}

/// The way in which a peer in the replay's own tests ends its connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Clean,
    Reset,
    Never,
}

/// Replays a case against a peer that sends `answers` without reading. Panics unless the error
/// contains `error`, or unless there is none for `None`.
#[track_caller]
fn check(lines: &str, answers: &[&[u8]], ending: Ending, error: Option<&str>) {
    let mut cases = Vec::new();
    parse_cases(&format!("case of our own\n{lines}"), &mut cases);
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("bound above");

    let wait = if ending == Ending::Never {
        PAUSE
    } else {
        ANSWER_WAIT
    };
    let outcome = thread::scope(|scope| {
        scope.spawn(|| send_unrequested(&listener, answers, ending));
        replay(&cases[0], address, wait)
    });
    match (outcome, error) {
        (Ok(()), None) => {}
        (Err(found), Some(wanted)) if found.contains(wanted) => {}
        (outcome, wanted) => panic!("{outcome:?}, wanted {wanted:?} from {answers:02x?}"),
    }
}

fn send_unrequested(listener: &TcpListener, answers: &[&[u8]], ending: Ending) {
    let (mut stream, _) = listener.accept().expect("the replay connects");
    let mut request = BufReader::new(stream.try_clone().expect("a descriptor is free"));
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        request
            .read_line(&mut line)
            .expect("the replay sends a request");
    }
    let response = format!("HTTP/1.1 101 Welcome\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
    let octets = [response.as_bytes(), &answers.concat()].concat();
    stream
        .write_all(&octets)
        .expect("the replay is there to read");

    match ending {
        Ending::Clean => stream.shutdown(Shutdown::Write).expect("still connected"),
        Ending::Reset => socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .expect("Linux knows the option"),
        Ending::Never => {}
    }
    if ending != Ending::Reset {
        // Read everything first: closing with unread bytes would reset the connection.
        let rest = io::copy(&mut request, &mut io::sink());
        rest.expect("the replay only ends its connection");
    }
}

const ANSWER_WAIT: Duration = Duration::from_secs(10);
const WORKERS_COUNT: usize = 4;
/// The limit of errors, so that a gateway without responses does not time out in all 301 cases.
const ERRORS_PER_WORKER_MAX: usize = 10;

/// The groups and their numbers of cases, sorted by name.
const CASES_PER_GROUP: [(&str, usize); 9] = [
    ("1", 16),
    ("10", 1),
    ("2", 11),
    ("3", 7),
    ("4", 10),
    ("5", 20),
    ("6", 145),
    ("7", 37),
    ("9", 54),
];

const GREETING: &str =
    "> 81 37fa213d 48656c6c6f\n< text 48656c6c6f\n> 88 37fa213d 03e8\n< close 1000";
/// A case in which the server must close between two fragments.
const HASTY: &str = "> 01 37fa213d ff\n.?\n> 80 37fa213d -\n< close 1002\n> 88 37fa213d 03e8";
const HELLO: &[u8] = b"\x81\x05Hello";
const CLOSE_1000: &[u8] = b"\x88\x02\x03\xe8";
const CLOSE_1002: &[u8] = b"\x88\x02\x03\xea";
