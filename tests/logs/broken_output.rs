//! Where the log or the start-up text cannot be written, everybody is served on, and a stop is one.

use crate::fixture::{Served, expect, serve, serve_saying_nothing};
use campanile_tests::process::{full_pipe, lines};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::File;
use std::io::{PipeWriter, pipe};
use std::sync::mpsc::Receiver;

/// Few lines wait, so that a test need not cause many.
const FEW: &str = "[[routes]]\npath = '/ws'\ndialect = 'wserver'\npush_path = '/push'\n\
    [logging]\nlines_max = 16\nflush_ms = 100";

const DEBUG: &[&str] = &["--log", "debug"];

/// Sessions are answered while strangers cause lines, and hear of a stop.
#[track_caller]
fn nobody_is_hurt(served: Served) {
    let before = served.sessions();
    served.strangers(100);
    let after = served.sessions();
    served.stops_in_order(before.into_iter().chain(after).collect());
}

#[test]
fn a_log_whose_reader_is_gone_hurts_nobody() {
    let (reader, stderr) = pipe().expect("two descriptors");
    let served = serve(FEW, DEBUG, stderr);
    drop(reader);
    nobody_is_hurt(served);
}

#[test]
fn a_log_on_a_full_disk_hurts_nobody() {
    let full = File::options().write(true).open("/dev/full");
    nobody_is_hurt(serve(FEW, DEBUG, full.expect("it is there")));
}

#[test]
fn a_log_that_nobody_reads_hurts_nobody() {
    let (reader, stderr) = full_pipe();
    nobody_is_hurt(serve(FEW, DEBUG, stderr));
    drop(reader);
}

#[test]
fn a_log_that_nobody_reads_and_that_does_not_block_hurts_nobody() {
    let (reader, stderr) = full_pipe();
    make_nonblocking(&stderr);
    nobody_is_hurt(serve(FEW, DEBUG, stderr));
    drop(reader);
}

#[test]
fn a_start_up_text_that_cannot_be_written_hurts_nobody() {
    let full = File::options().write(true).open("/dev/full");
    let (reader, stderr) = pipe().expect("two descriptors");
    let served = serve_saying_nothing(full.expect("it is there"), stderr);
    let log = lines(reader);
    expect(&log, &["WARN", "cannot write the start-up text"]);
    nobody_is_hurt(served);

    let (reader, stdout) = pipe().expect("two descriptors");
    drop(reader);
    let (log, stderr) = pipe().expect("two descriptors");
    let served = serve_saying_nothing(stdout, stderr);
    expect(&lines(log), &["WARN", "cannot write the start-up text"]);
    nobody_is_hurt(served);

    let (unread, stdout) = full_pipe();
    let (log, stderr) = pipe().expect("two descriptors");
    nobody_is_hurt(serve_saying_nothing(stdout, stderr));
    drop((unread, log));
}

#[test]
fn when_the_log_is_read_again_it_says_how_many_lines_are_missing() {
    for is_nonblocking in [false, true] {
        let (unread, stderr) = full_pipe();
        if is_nonblocking {
            make_nonblocking(&stderr);
        }
        let served = serve(FEW, &["--log", "debug,json"], stderr);
        served.strangers(100);
        let log = lines(unread);
        let dropped = dropped_lines(&log);
        assert!((50..100).contains(&dropped), "{dropped}");
        served.strangers(1);
        expect(&log, &["rejected", "malformed"]);
        served.stops_in_order(Vec::new());
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
