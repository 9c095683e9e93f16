//! Running scripts in Node.js.

use crate::process::collect;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Returns the folder of the scripts.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("js")
}

/// Runs a script until it exits.
///
/// # Panics
///
/// The script fails, with its standard error, or cannot be run.
#[track_caller]
pub fn run(script: &str, arguments: &[&str]) {
    let folder = folder();
    check_packages(&folder);
    let mut command = Command::new("node");
    if version_major() < VERSION_WITH_WEBSOCKET {
        command.arg("--experimental-websocket");
    }
    let mut child = command
        .current_dir(&folder)
        .arg(script)
        .args(arguments)
        .env_remove("NODE_OPTIONS")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it has just printed its version");
    let output = collect(child.stdout.take().expect("piped above"));
    let errors = collect(child.stderr.take().expect("piped above"));
    let output = output.recv_timeout(PATIENCE);
    if output.is_err() {
        // The script stops its own children.
        match kill_process(Pid::from_child(&child), Signal::TERM) {
            Ok(()) | Err(_) => {} // An error means that it has exited.
        }
    }
    // Its output has ended, so it exits.
    let status = child.wait().expect("it is our child");
    let errors = errors.recv_timeout(PATIENCE).unwrap_or_default();
    let is_done = status.success() && output.as_deref() == Ok("done\n");
    assert!(is_done, "{script}: {status}, {output:?}\n{errors}");
}

/// Checks that the packages of package.json are installed in exactly its versions.
#[track_caller]
fn check_packages(folder: &Path) {
    let read = |path: PathBuf| -> Option<Value> {
        let text = fs::read_to_string(path).ok()?;
        serde_json::from_str(&text).ok()
    };
    let wanted = read(folder.join("package.json")).expect("it is JSON");
    let wanted = wanted["dependencies"].as_object().expect("there are some");
    for (name, version) in wanted {
        let found = read(folder.join("node_modules").join(name).join("package.json"));
        let found = found.map(|package| package["version"].clone());
        assert_eq!(
            found.as_ref(),
            Some(version),
            "the npm package {name} is not installed in this version: run `npm ci` in tests/js"
        );
    }
}

/// Returns the major version of Node.js.
#[track_caller]
fn version_major() -> u32 {
    let output = Command::new("node").arg("--version").output();
    let output = output.expect("Node.js is not installed, or not in PATH: install 20.10 or later");
    let text = String::from_utf8(output.stdout).expect("a version is text");
    let numbers = text.trim().trim_start_matches('v').split('.');
    let mut numbers = numbers.map_while(|number| number.parse().ok());
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    assert!(
        version >= VERSION_MIN,
        "Node.js {text} is too old: install 20.10 or later"
    );
    version.0
}

const VERSION_MIN: (u32, u32) = (20, 10);
/// The major version from which the built-in WebSocket needs no flag.
const VERSION_WITH_WEBSOCKET: u32 = 22;
/// The timeout of a script. The slowest registers a million names.
const PATIENCE: Duration = Duration::from_mins(5);
