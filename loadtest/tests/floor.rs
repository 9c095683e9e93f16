//! The floor command as a stranger runs it: server process, client process and report together.
//!
//! It holds that every byte of every batch arrives, which the client process checks, and not how
//! fast.

use std::process::Command;

#[test]
fn a_short_floor_ends_well_and_says_what_a_delivery_costs() {
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
fn a_target_that_is_not_there_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["push", "--target", "ws://127.0.0.1:1/ws", "--seconds", "1"])
        .output()
        .expect("the executable of this package runs");

    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("127.0.0.1:1 was refused"), "{errors}");
}
