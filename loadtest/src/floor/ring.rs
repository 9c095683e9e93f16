//! The floor of throughput: one `io_uring`, one thread, prepared bytes, nothing else.
//!
//! ```text
//!   wait for a trigger  (as many bytes as an HTTP push; not looked at)
//!   for each 1,024 sockets: queue a send of the same frames, enter, reap
//!   answer the trigger  (as many bytes as a gateway's answer), wait again
//! ```
//!
//! The ring is made with the flags that suit one thread best. Nothing is parsed, encoded, looked up
//! or counted per session, so a gateway on `io_uring` cannot be cheaper but by luck.
#![expect(
    unsafe_code,
    reason = "io_uring takes addresses; two blocks, one operation each"
)]

use std::net::TcpStream;
use std::os::fd::{AsRawFd as _, RawFd};

use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};

use crate::cli::FloorServerArguments;
use crate::failure::{Attempt as _, Failure, Outcome};
use crate::{limits, rounds, wire};

/// The floor's process: accepts the sockets, then the control connection, and serves it to its end.
///
/// # Errors
///
/// The kernel has no `io_uring` for us, or a socket took less than a whole batch of frames.
pub(crate) fn serve(arguments: FloorServerArguments) -> Outcome<()> {
    limits::make_room_for(arguments.clients)?;
    let (listener, target) = super::listen()?;
    let accept = || -> Outcome<TcpStream> {
        let (stream, _) = listener.accept().attempt("accept")?;
        stream.set_nodelay(true).attempt("set TCP_NODELAY")?;
        Ok(stream)
    };
    let sessions = (0..arguments.clients)
        .map(|_| accept())
        .collect::<Outcome<Vec<_>>>()?;
    let control = accept()?;

    let frames = rounds::fan_out_frame().repeat(arguments.frames);
    let trigger_bytes = rounds::fan_out_request(&target).len();
    let ring = Ring::new(&control)?;
    BareLoop {
        ring,
        sessions,
        frames: frames.leak(),
        answer: wire::push_answer(arguments.clients).leak(),
        trigger_bytes,
    }
    .run()
}

struct BareLoop {
    ring: Ring,
    sessions: Vec<TcpStream>,
    frames: &'static [u8],
    answer: &'static [u8],
    trigger_bytes: usize,
}

impl BareLoop {
    fn run(mut self) -> Outcome<()> {
        let mut received = 0;
        self.ring.queue_receive()?;
        loop {
            self.ring.enter(1)?;
            while let Some((what, result)) = self.ring.next_completion() {
                match what {
                    What::Received if result == 0 => return Ok(()), // the client is done
                    What::Received => {
                        received += result;
                        if received < self.trigger_bytes {
                            self.ring.queue_receive()?;
                        }
                    }
                    What::Sent => check_length(result, self.answer)?,
                }
            }
            if received >= self.trigger_bytes {
                received -= self.trigger_bytes;
                self.send_to_all()?;
                self.ring.queue_answer(self.answer)?;
                self.ring.queue_receive()?;
            }
        }
    }

    fn send_to_all(&mut self) -> Outcome<()> {
        for some in self.sessions.chunks(SENDS_PER_ENTER) {
            self.ring.queue_sends(some, self.frames)?;
            self.ring.enter(0)?;
            let mut left = some.len();
            loop {
                while let Some((_, result)) = self.ring.next_completion() {
                    check_length(result, self.frames)?;
                    left -= 1;
                }
                if left == 0 {
                    break;
                }
                self.ring.enter(1)?;
            }
        }
        Ok(())
    }
}

fn check_length(sent: usize, bytes: &[u8]) -> Outcome<()> {
    if sent == bytes.len() {
        Ok(())
    } else {
        Err(Failure::new(format!(
            "a socket took {sent} of {} bytes",
            bytes.len()
        )))
    }
}

/// What a completion is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Received,
    Sent,
}

/// An `io_uring` whose operations only ever name memory that is never freed.
struct Ring {
    uring: IoUring,
    control: RawFd,
    /// Leaked: the kernel may write here whenever it likes, and nobody reads it.
    inbound: *mut u8,
}

impl Ring {
    fn new(control: &TcpStream) -> Outcome<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .build(RING_ENTRIES)
            .attempt("make an io_uring (Linux 6.1 or newer, not blocked by seccomp)")?;
        Ok(Self {
            uring,
            control: control.as_raw_fd(),
            inbound: vec![0_u8; INBOUND_BYTES].leak().as_mut_ptr(),
        })
    }

    fn queue_receive(&mut self) -> Outcome<()> {
        let length = u32::try_from(INBOUND_BYTES).expect("a constant that fits");
        let entry = opcode::Recv::new(types::Fd(self.control), self.inbound, length).build();
        self.queue(&entry.user_data(RECEIVED))
    }

    fn queue_answer(&mut self, bytes: &'static [u8]) -> Outcome<()> {
        self.queue(&send(self.control, bytes))
    }

    fn queue(&mut self, entry: &Entry) -> Outcome<()> {
        // SAFETY: the entry comes from one of the two callers above, whose buffers are leaked and
        // so valid for as long as the kernel may use them.
        let pushed = unsafe { self.uring.submission().push(entry) };
        pushed.attempt("queue an operation")
    }

    fn queue_sends(&mut self, sockets: &[TcpStream], bytes: &'static [u8]) -> Outcome<()> {
        let mut queue = self.uring.submission();
        for socket in sockets {
            let entry = send(socket.as_raw_fd(), bytes);
            // SAFETY: the entry sends `bytes`, which live for ever.
            let pushed = unsafe { queue.push(&entry) };
            pushed.attempt("queue a send")?;
        }
        Ok(())
    }

    /// Submits what is queued and waits for `completions`.
    fn enter(&self, completions: usize) -> Outcome<()> {
        loop {
            match self.uring.submit_and_wait(completions) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).attempt("enter the ring"),
            }
        }
    }

    /// The next completion and its count of bytes; a failed operation counts none.
    fn next_completion(&mut self) -> Option<(What, usize)> {
        let completion = self.uring.completion().next()?;
        let what = if completion.user_data() == RECEIVED {
            What::Received
        } else {
            What::Sent
        };
        Some((what, usize::try_from(completion.result()).unwrap_or(0)))
    }
}

fn send(socket: RawFd, bytes: &'static [u8]) -> Entry {
    let length = u32::try_from(bytes.len()).expect("256 frames at most");
    opcode::Send::new(types::Fd(socket), bytes.as_ptr(), length)
        .build()
        .user_data(SENT)
}

const RECEIVED: u64 = 1;
const SENT: u64 = 2;
const SENDS_PER_ENTER: usize = 1024;
const RING_ENTRIES: u32 = 2048;
const INBOUND_BYTES: usize = 4096;
