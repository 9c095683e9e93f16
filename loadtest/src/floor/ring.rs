//! The floor of throughput: one `io_uring`, one thread, prepared bytes, nothing else.
//!
//! ```text
//!   wait for a trigger  (as many bytes as HTTP pushes of the same; not looked at)
//!   for each 1,024 sockets: queue a send of its last bytes, which are frames, enter, reap
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

    let frame = rounds::frame(arguments.bytes).len();
    let trigger = rounds::request(&target, arguments.bytes).len() * arguments.frames;
    let ring = Ring::new(&control, trigger.max(1))?;
    BareLoop {
        ring,
        sessions,
        frames_bytes: frame * arguments.frames,
        answer: wire::push_answer(arguments.clients).leak(),
        trigger_bytes: trigger,
    }
    .run()
}

struct BareLoop {
    ring: Ring,
    sessions: Vec<TcpStream>,
    frames_bytes: usize,
    answer: &'static [u8],
    trigger_bytes: usize,
}

impl BareLoop {
    fn run(mut self) -> Outcome<()> {
        let mut received = 0;
        self.ring.queue_receive(received)?;
        loop {
            self.ring.enter(1)?;
            while let Some((what, result)) = self.ring.next_completion() {
                match what {
                    What::Received if result == 0 => return Ok(()), // the client is done
                    What::Received => {
                        received += result;
                        if received < self.trigger_bytes {
                            self.ring.queue_receive(received)?;
                        }
                    }
                    What::Sent => check_length(result, self.answer.len())?,
                }
            }
            if received >= self.trigger_bytes {
                received = 0;
                self.send_to_all()?;
                self.ring.queue_answer(self.answer)?;
                self.ring.queue_receive(received)?;
            }
        }
    }

    fn send_to_all(&mut self) -> Outcome<()> {
        for some in self.sessions.chunks(SENDS_PER_ENTER) {
            self.ring.queue_sends(some, self.frames_bytes)?;
            self.ring.enter(0)?;
            let mut left = some.len();
            loop {
                while let Some((_, result)) = self.ring.next_completion() {
                    check_length(result, self.frames_bytes)?;
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

fn check_length(sent: usize, bytes: usize) -> Outcome<()> {
    if sent == bytes {
        Ok(())
    } else {
        let what = format!("a socket took {sent} of {bytes} bytes");
        Err(Failure::new(what))
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
    /// Leaked. The kernel writes here while a receive is queued and reads here while sends are;
    /// the two never are at once, and nobody else looks.
    inbound: *mut u8,
    inbound_bytes: usize,
}

impl Ring {
    /// With room for triggers of `inbound_bytes`.
    fn new(control: &TcpStream, inbound_bytes: usize) -> Outcome<Self> {
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
            inbound: vec![0_u8; inbound_bytes].leak().as_mut_ptr(),
            inbound_bytes,
        })
    }

    /// Receives what is lacking of a trigger of which `received` bytes are there.
    fn queue_receive(&mut self, received: usize) -> Outcome<()> {
        let at = self.inbound.wrapping_add(received);
        let length = entry_length(self.inbound_bytes - received);
        let entry = opcode::Recv::new(types::Fd(self.control), at, length).build();
        self.queue(&entry.user_data(RECEIVED))
    }

    fn queue_answer(&mut self, bytes: &'static [u8]) -> Outcome<()> {
        self.queue(&send(self.control, bytes.as_ptr(), bytes.len()))
    }

    fn queue(&mut self, entry: &Entry) -> Outcome<()> {
        // SAFETY: the entry comes from one of the two callers above, whose buffers are leaked and
        // so valid for as long as the kernel may use them.
        let pushed = unsafe { self.uring.submission().push(entry) };
        pushed.attempt("queue an operation")
    }

    /// Sends the last `bytes` of the trigger to each of `sockets`.
    fn queue_sends(&mut self, sockets: &[TcpStream], bytes: usize) -> Outcome<()> {
        let from = self.inbound.wrapping_add(self.inbound_bytes - bytes);
        let mut queue = self.uring.submission();
        for socket in sockets {
            let entry = send(socket.as_raw_fd(), from, bytes);
            // SAFETY: the entry sends from the inbound buffer, which is leaked, and `bytes` are no
            // more than it has.
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

/// A send that is complete only when all has been taken.
fn send(socket: RawFd, bytes: *const u8, length: usize) -> Entry {
    opcode::Send::new(types::Fd(socket), bytes, entry_length(length))
        .flags(MSG_WAITALL)
        .build()
        .user_data(SENT)
}

fn entry_length(length: usize) -> u32 {
    u32::try_from(length).expect("a batch is of megabytes at most")
}

/// Linux's value; without it a send may take less than it was given.
const MSG_WAITALL: i32 = 0x100;
const RECEIVED: u64 = 1;
const SENT: u64 = 2;
const SENDS_PER_ENTER: usize = 1024;
const RING_ENTRIES: u32 = 2048;
