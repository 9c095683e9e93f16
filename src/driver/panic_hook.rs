//! The panic hook: every panic ends the process, except in an embedder's functions.

use crate::logging::{self, limited};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::panic::PanicHookInfo;
use std::time::Duration;

/// Installs a panic hook that aborts the process after writing the message.
///
/// Panics in an embedder's functions are caught: they are logged, or passed to the previous hook if
/// no subscriber wants errors. All others abort, also those that tokio would catch in a task.
///
/// The previous hook writes the message. It has one second for that: the process ends even if
/// standard error is a pipe that is not read.
///
/// The binary calls this first; an embedding program may.
pub fn abort_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if crate::runtime::panic::is_running() {
            if tracing::enabled!(tracing::Level::ERROR) {
                log_caught(info);
            } else {
                before(info);
            }
            return;
        }
        if abort_after_timeout() || can_write_stderr() {
            before(info);
            logging::flush_before_exit();
        }
        std::process::abort();
    }));
}

/// Logs a caught panic, without waiting and at a limited rate: a client may be the cause.
fn log_caught(info: &PanicHookInfo<'_>) {
    let panic_message = info.payload_as_str().unwrap_or("not text");
    let location = info.location().map(ToString::to_string);
    limited!(
        ERROR,
        "an embedder's function panicked",
        panic_message,
        location = location.as_deref()
    );
}

/// Aborts the process after [`REPORT_TIME`], from a new thread. Returns `false` if there is no
/// thread for it.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own, which waits for the end of the process"
)]
fn abort_after_timeout() -> bool {
    let thread = std::thread::Builder::new().name("abort".to_owned());
    let started = thread.spawn(|| {
        std::thread::sleep(REPORT_TIME);
        std::process::abort()
    });
    started.is_ok()
}

/// Returns whether standard error can be written to without waiting.
fn can_write_stderr() -> bool {
    let stderr = std::io::stderr();
    let mut polled = [PollFd::new(&stderr, PollFlags::OUT)];
    poll(&mut polled, Some(&Timespec::default())) == Ok(1)
}

/// Time for the message of a panic that ends the process.
const REPORT_TIME: Duration = Duration::from_secs(1);
