//! Tests of the executable with a config, a backend in Node.js, and third-party clients.
//!
//! Each script in `tests/js/gateway` starts the executable with its own config and a backend that
//! responds to hooks, and prints `done` at its end. `fixture.mjs` has their shared functions.

use campanile_tests::node;
use campanile_tests::process::Executable;

/// Runs a script and asserts that it succeeds.
#[track_caller]
fn check(script: &str) {
    let Executable { path, folder, .. } = campanile_tests::executable!();
    node::run(&format!("gateway/{script}"), &[path, folder]);
}

#[test]
fn sessions_chat_without_any_config() {
    check("actions.mjs");
}

#[test]
fn rules_decide_about_joins_publications_and_commands() {
    check("rules.mjs");
}

#[test]
fn backends_push_list_and_disconnect() {
    check("api.mjs");
}

#[test]
fn the_memory_of_a_million_left_channels_is_reclaimed() {
    check("channel_memory.mjs");
}

#[test]
fn hooks_decide_in_every_dialect() {
    check("hooks.mjs");
}

#[test]
fn tokens_are_checked_in_every_dialect() {
    check("auth.mjs");
}

#[test]
fn a_slow_or_failed_backend_delays_only_its_own_sessions() {
    check("backend_failures.mjs");
}

#[test]
fn a_thousand_sessions_under_hooks_stay_in_order() {
    check("message_order.mjs");
}

#[test]
fn the_close_hook_of_a_session_is_the_last() {
    check("close_hooks.mjs");
}

#[test]
fn publications_are_encoded_in_every_receiving_dialect() {
    check("event_names.mjs");
}
