//! What two or more of the gateway's tests share. Depends on nothing of the gateway's.
//!
//! ```text
//!   process   the executable, started and bounded in its life; any child; pauses
//!   net       sockets whose reads time out, free addresses
//!   http      requests as bytes, and the one reader of responses and requests
//!   peer      a connection: exact bytes out, responses in
//!   client    a WebSocket client that is not ours
//!   frame     WebSocket frames as bytes
//!   backend   a server that hooks are posted to
//!   node      scripts of Node.js
//!   prng      seeded random numbers
//! ```
//!
//! Every wait ends after [`PATIENCE`], and nothing sleeps. What is wrong panics where the test
//! called.

pub mod backend;
pub mod client;
pub mod frame;
pub mod http;
pub mod net;
pub mod node;
pub mod peer;
pub mod prng;
pub mod process;

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// For anything that happens at once unless something is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often [`wait_for`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks again and again until a condition holds.
///
/// # Panics
///
/// If it does not within [`PATIENCE`].
#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let (_sender, never) = channel::<()>();
    for _ in 0..PATIENCE.as_millis() / LOOK_EVERY.as_millis() {
        if condition() {
            return;
        }
        assert!(never.recv_timeout(LOOK_EVERY).is_err());
    }
    panic!("not in time: {what}");
}

/// Starts a thread that nobody waits for.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(body).expect("a thread");
}
