//! Time-outs that count what has arrived: a process that was paused does not give up responses
//! that came meanwhile.
//!
//! ```text
//!   expired --> the runtime's other tasks and its reactor have a few turns --> done after all
//!                   |                                                      \-> expired on time
//!                   \-> expired late: the clock has jumped; the whole time again, so many times
//! ```
//!
//! A runtime that wakes up long after a deadline finds the timer and the response at once, and
//! polls whoever waits for both before the task that would read the response. Nothing here knows
//! what is waited for. Times are those of `CLOCK_MONOTONIC`, which stands still while a machine
//! sleeps.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Runs `work` for at most `time`. Returns `None` if it was not done by then; it is dropped then.
///
/// If the time-out fires more than [`LATE`] after its deadline, the process was paused or its shard
/// was blocked, and `work` gets the whole time again, at most [`EXTENSIONS_MAX`] times.
pub(crate) async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut extensions = 0;
    loop {
        let deadline = Instant::now() + time;
        if let Ok(output) = timeout_at(deadline, work.as_mut()).await {
            return Some(output);
        }
        let late_by = Instant::now().saturating_duration_since(deadline);
        if let Some(output) = take_arrived(work.as_mut()).await {
            return Some(output);
        }
        if late_by <= LATE || extensions == EXTENSIONS_MAX {
            return None;
        }
        extensions += 1;
    }
}

/// Lets the runtime's other tasks and its reactor run, and looks whether that has completed `work`.
async fn take_arrived<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    for _ in 0..TURNS {
        // Resumes after the reactor was polled and the tasks that were ready have run.
        tokio::task::yield_now().await;
        let polled = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
    }
    None
}

/// Turns of the runtime that an expired time-out waits for: one each until a socket is seen to be
/// readable, its task has read it, and its reader has had the head and then the body; twice that,
/// since a turn runs only so many tasks.
const TURNS: u32 = 8;

/// How late a time-out may fire on a machine that has much to do. Later ones show that the clock
/// has jumped.
const LATE: Duration = Duration::from_millis(250);

/// How often the time is given again, so that a shard that is always late gives up as well.
const EXTENSIONS_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use tokio::io::AsyncReadExt as _;
    use tokio::sync::oneshot;
    use tokio::task::LocalSet;

    const TIME: Duration = Duration::from_millis(50);

    fn run(test: impl AsyncFnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        LocalSet::new().block_on(&runtime.expect("a runtime"), test());
    }

    /// Blocks this thread, and with it the runtime.
    fn block(time: Duration) {
        let (_sender, never) = mpsc::channel::<()>();
        assert_eq!(
            never.recv_timeout(time),
            Err(mpsc::RecvTimeoutError::Timeout)
        );
    }

    /// A response that a task of its own reads from a socket, as those of HTTP clients are; and the
    /// far end.
    fn response() -> (oneshot::Receiver<u8>, UnixStream) {
        let (near, far) = UnixStream::pair().expect("descriptors are left");
        near.set_nonblocking(true).expect("a socket");
        let mut near = tokio::net::UnixStream::from_std(near).expect("a socket");
        let (sender, read) = oneshot::channel();
        drop(tokio::spawn(async move {
            let byte = near.read_u8().await.expect("a byte comes");
            sender.send(byte).expect("somebody waits");
        }));
        (read, far)
    }

    #[test]
    fn what_has_arrived_when_the_runtime_looks_again_is_in_time() {
        run(async || {
            let (read, mut far) = response();
            let blocked = async {
                tokio::task::yield_now().await;
                far.write_all(b"a").expect("it is read");
                block(TIME + LATE / 2); // not long enough for the time to be given again
            };
            let (output, ()) = tokio::join!(within(TIME, read), blocked);
            assert_eq!(output, Some(Ok(b'a')));
        });
    }

    #[test]
    fn a_time_out_that_fires_much_too_late_gives_the_time_again() {
        run(async || {
            let (read, mut far) = response();
            let (resumed, at_resume) = mpsc::channel();
            let sender = std::thread::Builder::new().spawn(move || {
                let time = at_resume.recv().expect("it resumes");
                block(time);
                far.write_all(b"a").expect("it is read");
                far
            });
            let sender = sender.expect("a thread");
            let long = 4 * TIME;
            let blocked = async {
                tokio::task::yield_now().await;
                block(long + 2 * LATE);
                resumed.send(TIME).expect("somebody waits");
            };
            let (output, ()) = tokio::join!(within(long, read), blocked);
            assert_eq!(output, Some(Ok(b'a')));
            drop(sender.join().expect("no panic"));
        });
    }

    #[test]
    fn what_never_comes_is_given_up_also_by_a_runtime_that_is_always_late() {
        run(async || {
            assert_eq!(within(TIME, std::future::pending::<()>()).await, None);
            let always_late = async {
                loop {
                    tokio::task::yield_now().await;
                    block(TIME + 2 * LATE);
                }
            };
            tokio::select! {
                biased;
                given_up = within(TIME, std::future::pending::<()>()) => {
                    assert_eq!(given_up, None);
                }
                () = always_late => {}
            }
        });
    }
}
