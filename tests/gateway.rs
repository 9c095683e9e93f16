//! The gateway by its config alone: the real executable, a backend in Node.js, and clients that are
//! not ours.
//!
//! Each script in `tests/js/gateway` starts the executable with a config of its own, and a backend
//! that answers its hooks, and says `done` at its end. `world.mjs` is what they share.

use campanile_tests::node;
use campanile_tests::process::Executable;

/// Runs a script to its end.
#[track_caller]
fn check(script: &str) {
    let Executable { path, folder, .. } = campanile_tests::executable!();
    node::run(&format!("gateway/{script}"), &[path, folder]);
}

#[test]
fn strangers_chat_without_any_config() {
    check("actions.mjs");
}

#[test]
fn rules_say_who_may_join_publish_and_command() {
    check("rules.mjs");
}

#[test]
fn backends_push_look_and_disconnect() {
    check("api.mjs");
}

#[test]
fn a_million_names_leave_nothing_behind() {
    check("names.mjs");
}

#[test]
fn hooks_decide_in_every_language() {
    check("hooks.mjs");
}

#[test]
fn tokens_are_checked_in_every_language() {
    check("auth.mjs");
}

#[test]
fn a_backend_that_is_slow_or_down_hurts_only_those_who_ask_it() {
    check("down.mjs");
}

#[test]
fn a_thousand_sessions_under_hooks_stay_in_order() {
    check("order.mjs");
}

#[test]
fn the_end_of_a_session_is_told_last() {
    check("ends.mjs");
}

#[test]
fn what_is_published_has_words_in_every_language_that_hears_it() {
    check("languages.mjs");
}
