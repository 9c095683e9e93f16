//! Tests of output that cannot be written (log, start-up text): sessions are served, a stop works.

use crate::fixture::{Served, expect, serve, serve_with_stdout};
use campanile_tests::process::{full_pipe, lines};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::File;
use std::io::{PipeWriter, pipe};
use std::sync::mpsc::Receiver;

/// A config with a small log queue, so that a test needs few lines to fill it.
const FEW: &str = "[[routes]]\npath = '/ws'\ndialect = 'wserver'\npush_path = '/push'\n\
    [logging]\nlines_max = 16\nflush_ms = 100";

const DEBUG: &[&str] = &["--log", "debug"];

/// Asserts that sessions are served while other clients cause log lines, and are closed at a stop.
#[track_caller]
fn expect_served(served: Served) {
    let before = served.sessions();
    served.send_invalid_requests(100);
    let after = served.sessions();
    served.expect_stop(before.into_iter().chain(after).collect());
}

#[test]
fn a_log_without_a_reader_does_not_block() {
    let (reader, stderr) = pipe().expect("two descriptors");
    let served = serve(FEW, DEBUG, stderr);
    drop(reader);
    expect_served(served);
}

#[test]
fn a_log_on_a_full_disk_does_not_block() {
    let full = File::options().write(true).open("/dev/full");
    expect_served(serve(FEW, DEBUG, full.expect("it is there")));
}

#[test]
fn a_log_to_a_full_pipe_does_not_block() {
    let (reader, stderr) = full_pipe();
    expect_served(serve(FEW, DEBUG, stderr));
    drop(reader);
}

#[test]
fn a_log_to_a_full_nonblocking_pipe_does_not_block() {
    let (reader, stderr) = full_pipe();
    make_nonblocking(&stderr);
    expect_served(serve(FEW, DEBUG, stderr));
    drop(reader);
}

#[test]
fn a_start_up_text_that_cannot_be_written_does_not_block() {
    let full = File::options().write(true).open("/dev/full");
    let (reader, stderr) = pipe().expect("two descriptors");
    let served = serve_with_stdout(full.expect("it is there"), stderr);
    let log = lines(reader);
    expect(&log, &["WARN", "cannot write the start-up text"]);
    expect_served(served);

    let (reader, stdout) = pipe().expect("two descriptors");
    drop(reader);
    let (log, stderr) = pipe().expect("two descriptors");
    let served = serve_with_stdout(stdout, stderr);
    expect(&lines(log), &["WARN", "cannot write the start-up text"]);
    expect_served(served);

    let (unread, stdout) = full_pipe();
    let (log, stderr) = pipe().expect("two descriptors");
    expect_served(serve_with_stdout(stdout, stderr));
    drop((unread, log));
}

#[test]
fn a_log_that_is_read_again_counts_the_dropped_lines() {
    for is_nonblocking in [false, true] {
        let (unread, stderr) = full_pipe();
        if is_nonblocking {
            make_nonblocking(&stderr);
        }
        let served = serve(FEW, &["--log", "debug,json"], stderr);
        served.send_invalid_requests(100);
        let log = lines(unread);
        let dropped = dropped_lines(&log);
        assert!((50..100).contains(&dropped), "{dropped}");
        served.send_invalid_requests(1);
        expect(&log, &["rejected", "malformed"]);
        served.expect_stop(Vec::new());
        expect(&log, &["\"message\":\"stopped\""]);
    }
}

#[track_caller]
fn dropped_lines(log: &Receiver<String>) -> u64 {
    let line = expect(log, &["log lines were dropped"]);
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line is JSON");
    assert_eq!(line["level"], "ERROR");
    line["lines"].as_u64().expect("a count")
}

fn make_nonblocking(writer: &PipeWriter) {
    let flags = fcntl_getfl(writer).expect("it is open");
    fcntl_setfl(writer, flags | OFlags::NONBLOCK).expect("it is open");
}
