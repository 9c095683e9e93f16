//! Tests of every scenario in small sizes against the gateway's executable.
//!
//! Each must end without errors. The tests check no speed.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::{Report, loadtest};

const SMALL: &[&str] = &["--clients", "20", "--seconds", "0.3", "--warm-up", "0.1"];

/// Runs a scenario of [`SMALL`] size. Asserts that messages were delivered, all without errors.
#[track_caller]
fn check(arguments: &[&str]) -> Report {
    let report = clean_report(&[arguments, SMALL].concat());
    for wrong in ["lost", "duplicated", "reordered", "misdelivered"] {
        assert!(report.figure(wrong) < 0.5, "{wrong}: {}", report.0);
    }
    assert!(report.figure("delivered") > 0.5, "{}", report.0);
    report
}

#[test]
fn pushes_reach_their_users() {
    check(&["push", "--rate", "300"]);
    check(&[
        "push",
        "--users",
        "3",
        "--arrivals",
        "poisson",
        "--rate",
        "300",
    ]);
    check(&[
        "push",
        "--users",
        "1",
        "--outstanding",
        "4",
        "--bytes",
        "16384",
    ]);
}

#[test]
fn members_and_http_publish_to_channels_in_every_dialect() {
    for protocol in ["wsrv", "easyws", "projectforge", "edk"] {
        for via in ["client", "http"] {
            check(&[
                "channel",
                "--protocol",
                protocol,
                "--via",
                via,
                "--outstanding",
                "3",
            ]);
        }
    }
}

#[test]
fn an_embedding_program_publishes_to_a_channel() {
    check(&["channel", "--via", "library", "--outstanding", "3"]);
}

#[test]
fn several_channels_and_threads_are_distinguished() {
    check(&[
        "channel",
        "--channels",
        "4",
        "--threads",
        "2",
        "--outstanding",
        "4",
    ]);
    check(&[
        "push",
        "--users",
        "5",
        "--threads",
        "3",
        "--sources",
        "127.0.0.2,127.0.0.3",
    ]);
}

#[test]
fn commands_have_replies_in_every_dialect_with_commands() {
    for protocol in ["echo", "wsrv", "easyws", "projectforge"] {
        check(&["rpc", "--protocol", protocol, "--outstanding", "5"]);
    }
    check(&["rpc", "--rate", "200", "--threads", "2"]);
}

#[test]
fn publications_and_commands_mix() {
    check(&["mixed", "--rate", "300", "--channels", "3"]);
}

#[test]
fn churning_members_receive_the_messages_of_their_memberships() {
    for arguments in [
        &["churn", "--wanderers", "15", "--moves", "200"][..],
        &[
            "churn",
            "--wanderers",
            "15",
            "--moves",
            "200",
            "--protocol",
            "wsrv",
        ],
    ] {
        let report = check(arguments);
        assert!(report.figure("stays") > 0.5, "{}", report.0);
    }
}

#[test]
fn slow_sessions_are_disconnected_and_others_lose_nothing() {
    let load = ["--bytes", "65536", "--rate", "200", "--slow", "3"];
    let report = check(&[&["slow"], &load[..]].concat());
    assert!(report.0.contains("slow sessions"), "{}", report.0);
}

#[test]
fn many_connections_are_opened_before_and_after_a_restart() {
    let report = clean_report(&["connect", "--clients", "30", "--repeat", "1"]);
    assert!(report.figure("storm: sessions_per_s") > 0.0, "{}", report.0);
    assert!(
        report.figure("after a restart: sessions_per_s") > 0.0,
        "{}",
        report.0
    );
}

#[test]
fn the_memory_of_idle_sessions_is_reported() {
    let arguments = ["idle", "--clients", "50", "--base", "10", "--settle", "0.1"];
    let report = clean_report(&arguments);
    assert!(
        report.0.contains("process_bytes_per_session"),
        "{}",
        report.0
    );
}

#[test]
fn a_ramp_ends_and_a_page_is_written() {
    let page = std::env::temp_dir().join(format!("loadtest-page-{}.html", std::process::id()));
    let path = page.to_str().expect("a path in UTF-8");
    let ramp = [
        "--ramp",
        "--rate",
        "50",
        "--ramp-factor",
        "40",
        "--report",
        path,
    ];
    // The measured rates depend on the machine, so only the report's form is checked.
    let report = clean_report(&[&["push", "--users", "1"], &ramp[..], SMALL].concat());
    assert!(report.0.contains("steps of the ramp"), "{}", report.0);
    let html = std::fs::read_to_string(&page).expect("the page was written");
    std::fs::remove_file(&page).expect("it can be removed again");
    assert!(
        html.contains("<svg") && html.contains("latency over throughput"),
        "{html}"
    );
}

#[test]
fn an_error_names_a_protocol_without_the_capability() {
    let output = loadtest(&["channel", "--protocol", "echo"]);
    let report = Report::of(&output);
    assert_eq!(output.status.code(), Some(2), "{}", report.0);
    assert!(
        report.0.contains("the protocol `echo` has no"),
        "{}",
        report.0
    );
}

#[test]
fn servers_are_compared_with_each_other_and_the_floor() {
    let server = |name: &str| {
        format!(
            "[[server]]\nname = \"{name}\"\nprotocol = \"wserver\"\nrpc_protocol = \"echo\"\n\
             command = [\"{}\", \"--listen\", \"127.0.0.1:{{port}}\", \"--shards\", \"1\"]\n",
            gateway().display()
        )
    };
    let sizes = "rounds = 2\nround_seconds = 0.05\nsubscribers = [10]\nbytes = [64]\n\
                 outstanding = [1, 3]\nmeasures = [\"fanout\", \"rpc\", \"connect\", \"idle\"]\n\
                 long_rounds = 1\nidle_sessions = 20\nconnect_sessions = 20\n";
    let text = format!("{sizes}{}{}", server("a"), server("b"));
    let file = std::env::temp_dir().join(format!("loadtest-compare-{}.toml", std::process::id()));
    std::fs::write(&file, text).expect("the temporary folder can be written to");
    let output = loadtest(&["compare", file.to_str().expect("UTF-8"), "--json"]);
    std::fs::remove_file(&file).expect("it can be removed again");
    let report = Report::of(&output);
    assert!(output.status.success(), "{}", report.0);
    for figure in [
        "fanout 10 64 3 b: cpu_to_floor",
        "rpc a: p50_ns",
        "connect b",
        "idle a",
    ] {
        assert!(report.0.contains(figure), "{figure}: {}", report.0);
    }
}

/// Runs a scenario with its own `campanile`, or the embedding example, and returns the report.
/// Asserts success.
#[track_caller]
fn clean_report(arguments: &[&str]) -> Report {
    let gateway = gateway().to_str().expect("a path in UTF-8");
    // With `--via library` the loadtest starts the example `publisher` instead of `campanile`.
    let gateway: &[&str] = if arguments.contains(&"library") {
        &[]
    } else {
        &["--gateway", gateway]
    };
    let output = loadtest(&[arguments, gateway, &["--json"]].concat());
    let report = Report::of(&output);
    assert!(output.status.success(), "{arguments:?}\n{}", report.0);
    report
}

/// Returns the gateway's executable of the same profile. Builds it if it is missing.
fn gateway() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let beside = Path::new(env!("CARGO_BIN_EXE_loadtest")).with_file_name("campanile");
        if !beside.is_file() {
            let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
            let built = Command::new(cargo)
                .args(["build", "-p", "campanile"])
                .status();
            assert!(
                built.is_ok_and(|status| status.success()),
                "campanile is built"
            );
        }
        beside
    })
}
