//! Tests of the command `floor` and of unreachable targets, with the executable.
//!
//! The client process verifies every byte. The tests check no speed.

use std::process::Command;

#[test]
fn the_floor_reports_the_cost_per_delivery() {
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args([
            "floor",
            "--clients",
            "50",
            "--frames",
            "3",
            "--seconds",
            "1",
        ])
        .output()
        .expect("the executable of this package runs");

    let report = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}\n{errors}");
    assert!(
        report.contains("to 50 sockets, 3 at a time, 128 bytes"),
        "{report}"
    );
    assert!(report.contains("per delivery"), "{report}");
}

#[test]
fn an_error_names_an_unreachable_target() {
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["push", "--target", "ws://127.0.0.1:1/ws", "--seconds", "1"])
        .output()
        .expect("the executable of this package runs");

    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("127.0.0.1:1 was refused"), "{errors}");
}
