//! What happens when something panics: the process ends, soon, whatever becomes of the message.

use crate::logging::{self, limited};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::panic::PanicHookInfo;
use std::time::Duration;

/// Makes every panic end the process after its message, except in an embedder's functions, whose
/// panics are caught. Without it, a panic in a task that the runtime catches would go unnoticed.
///
/// The message is written by the hook that was there before, which has a second for it: where
/// standard error is a pipe that nobody reads, the process ends all the same. A caught panic is
/// logged; only where no subscriber wants errors is the hook from before called for it.
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
        if abort_soon() || can_be_told() {
            before(info);
            logging::flush_before_exit();
        }
        std::process::abort();
    }));
}

/// Never waits: a client may be the cause.
fn log_caught(info: &PanicHookInfo<'_>) {
    let said = info.payload_as_str().unwrap_or("not text");
    let location = info.location().map(ToString::to_string);
    limited!(
        ERROR,
        "an embedder's function panicked",
        said,
        location = location.as_deref()
    );
}

/// Has the process end in a while, whatever this thread waits for then; `false` if there is no
/// thread for that.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own, which waits for the end of the process"
)]
fn abort_soon() -> bool {
    let thread = std::thread::Builder::new().name("abort".to_owned());
    let started = thread.spawn(|| {
        std::thread::sleep(REPORT_TIME);
        std::process::abort()
    });
    started.is_ok()
}

/// Whether standard error takes a message at once.
fn can_be_told() -> bool {
    let stderr = std::io::stderr();
    let mut polled = [PollFd::new(&stderr, PollFlags::OUT)];
    poll(&mut polled, Some(&Timespec::default())) == Ok(1)
}

/// For the message of a panic that ends the process.
const REPORT_TIME: Duration = Duration::from_secs(1);
