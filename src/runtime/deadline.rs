//! Time-outs that respect responses that have arrived: after a pause of the process, a response
//! that came meanwhile is not given up.
//!
//! ```text
//!   expired --> the runtime's other tasks and its reactor run for a few turns --> done after all
//!                   |                                                         \-> expired on time
//!                   \-> expired late: the clock has jumped; the whole time again, a few times
//! ```
//!
//! A runtime that wakes long after a deadline sees the timer and the response at once. It polls the
//! task that waits for both before the task that would read the response. Times are those of
//! `CLOCK_MONOTONIC`, which stops while the machine is suspended.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Runs `work` for at most `time`. Returns `None` if it does not finish; `work` is dropped then.
///
/// A time-out that fires more than [`LATE`] after its deadline shows that the process was paused or
/// the shard blocked. `work` gets the whole time again then, at most [`EXTENSIONS_MAX`] times.
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

/// Runs the runtime's other tasks and its reactor, and polls `work` after each turn. Returns its
/// output if that completes it.
async fn take_arrived<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    for _ in 0..TURNS {
        // Resumes after the reactor was polled and the ready tasks have run.
        tokio::task::yield_now().await;
        let polled = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
    }
    None
}

/// Turns of the runtime after an expired time-out. Four are needed: for the reactor to see the
/// socket as readable, for its task to read it, and for the reader to take the head and the body.
/// Doubled, since a turn runs a limited number of tasks.
const TURNS: u32 = 8;

/// Lateness of a time-out that load alone explains. A later one shows that the clock has jumped.
const LATE: Duration = Duration::from_millis(250);

/// Maximum number of repetitions of the time, so that a shard that is always late gives up as well.
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

    /// Blocks this thread and with it the runtime.
    fn block(time: Duration) {
        let (_sender, never) = mpsc::channel::<()>();
        assert_eq!(
            never.recv_timeout(time),
            Err(mpsc::RecvTimeoutError::Timeout)
        );
    }

    /// Returns a response that its own task reads from a socket, as with HTTP clients; and the
    /// socket's far end.
    fn response() -> (oneshot::Receiver<u8>, UnixStream) {
        let (near, far) = UnixStream::pair().expect("descriptors are left");
        near.set_nonblocking(true).expect("a socket");
        let mut near = tokio::net::UnixStream::from_std(near).expect("a socket");
        let (sender, read) = oneshot::channel();
        drop(tokio::spawn(async move {
            let byte = near.read_u8().await.expect("a byte comes");
            sender.send(byte).expect("the receiver waits");
        }));
        (read, far)
    }

    #[test]
    fn a_response_that_arrived_during_a_block_is_in_time() {
        run(async || {
            let (read, mut far) = response();
            let blocked = async {
                tokio::task::yield_now().await;
                far.write_all(b"a").expect("it is read");
                block(TIME + LATE / 2); // not late enough for an extension
            };
            let (output, ()) = tokio::join!(within(TIME, read), blocked);
            assert_eq!(output, Some(Ok(b'a')));
        });
    }

    #[test]
    fn a_very_late_time_out_repeats_the_time() {
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
                resumed.send(TIME).expect("the receiver waits");
            };
            let (output, ()) = tokio::join!(within(long, read), blocked);
            assert_eq!(output, Some(Ok(b'a')));
            drop(sender.join().expect("no panic"));
        });
    }

    #[test]
    fn a_runtime_that_is_always_late_gives_up_too() {
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
