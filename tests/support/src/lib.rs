//! Helpers of the gateway's tests. The crate does not depend on the gateway.
//!
//! ```text
//!   process   the executable and other child processes, killed on drop
//!   net       sockets with timeouts, free addresses
//!   http      encoder and parser of HTTP
//!   peer      a raw TCP connection with HTTP helpers
//!   client    a third-party WebSocket client
//!   frame     encoder and decoder of WebSocket frames
//!   backend   backends for hooks
//!   node      scripts of Node.js
//!   prng      seeded random numbers
//! ```
//!
//! Every wait ends after [`PATIENCE`]. Failures panic with the location of the caller.

pub mod backend;
pub mod client;
pub mod frame;
pub mod http;
pub mod net;
pub mod node;
pub mod peer;
pub mod prng;
pub mod process;
pub mod records;

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// The timeout of every wait.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The polling interval of [`wait_for`].
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Polls until a condition holds.
///
/// # Panics
///
/// The condition does not hold within [`PATIENCE`].
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

/// Starts a detached thread.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(body).expect("a thread");
}
