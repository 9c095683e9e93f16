//! Tests of the verification: a server with one fault must be detected.

#[path = "verification/faulty.rs"]
mod faulty;
mod support;

use faulty::Fault;
use support::{Report, loadtest};

/// Runs the load test on a server with `fault` and returns the exit status and the report.
fn run(fault: Fault, load: &[&str]) -> (Option<i32>, Report) {
    let url = faulty::start(fault);
    let fixed = [
        "channel",
        "--target",
        &url,
        "--protocol",
        "topics",
        "--via",
        "http",
        "--clients",
        "6",
        "--channels",
        "2",
        "--publishers",
        "1",
        "--seconds",
        "0.6",
        "--warm-up",
        "0",
        "--json",
    ];
    let output = loadtest(&[&fixed[..], load].concat());
    (output.status.code(), Report::of(&output))
}

#[track_caller]
fn check(fault: Fault, wrong: [(&str, f64); 4]) {
    let (status, report) = run(fault, &["--rate", "200"]);
    let clean = wrong.iter().all(|(_, count)| *count == 0.0);
    assert_eq!(status, Some(i32::from(!clean)), "{fault:?}: {}", report.0);
    for (name, count) in wrong {
        let found = report.figure(name);
        assert!(
            (found - count).abs() < 0.5,
            "{fault:?}: {name} {found}: {}",
            report.0
        );
    }
}

fn wrong(
    lost: f64,
    duplicated: f64,
    reordered: f64,
    misdelivered: f64,
) -> [(&'static str, f64); 4] {
    [
        ("lost", lost),
        ("duplicated", duplicated),
        ("reordered", reordered),
        ("misdelivered", misdelivered),
    ]
}

#[test]
fn a_server_without_faults_has_no_errors() {
    check(Fault::None, wrong(0.0, 0.0, 0.0, 0.0));
}

#[test]
fn a_lost_message_is_found() {
    check(Fault::Loses, wrong(1.0, 0.0, 0.0, 0.0));
}

#[test]
fn a_duplicated_message_is_found() {
    check(Fault::Duplicates, wrong(0.0, 1.0, 0.0, 0.0));
}

#[test]
fn a_reordered_message_is_found() {
    check(Fault::Reorders, wrong(0.0, 0.0, 1.0, 0.0));
}

#[test]
fn a_message_to_the_wrong_members_is_found() {
    check(Fault::Misdelivers, wrong(0.0, 0.0, 0.0, 1.0));
}

#[test]
fn a_damaged_message_is_lost_and_misdelivered() {
    check(Fault::Damages, wrong(3.0, 0.0, 0.0, 3.0));
}

#[test]
fn a_failed_publication_is_an_error() {
    let (status, report) = run(Fault::Refuses, &["--rate", "200"]);
    assert_eq!(status, Some(1), "{}", report.0);
    assert!(report.0.contains("got the status 500"), "{}", report.0);
}

#[test]
fn a_lost_message_does_not_stall_a_closed_loop_for_ever() {
    let (status, report) = run(Fault::Loses, &["--outstanding", "4"]);
    assert_eq!(status, Some(1), "{}", report.0);
    assert!((report.figure("lost") - 1.0).abs() < 0.5, "{}", report.0);
}
