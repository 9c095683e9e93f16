//! The floor of throughput: one `io_uring`, one thread, prepared bytes, nothing else.
//!
//! ```text
//!   wait for a request on each publishing connection  (as long as HTTP pushes; not looked at)
//!   for each 1,024 sockets: queue a send of the frames at the requests' ends, enter, reap
//!   answer each request  (as many bytes as a gateway's answer), wait again
//! ```
//!
//! The ring is made with the flags that suit one thread best. Nothing is parsed, encoded, looked up
//! or counted per session, so a gateway on `io_uring` cannot be cheaper but by luck.
#![expect(
    unsafe_code,
    reason = "io_uring takes addresses; three blocks, one operation each"
)]

use std::net::TcpStream;
use std::os::fd::{AsRawFd as _, RawFd};

use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};

use super::FloorServerArguments;
use crate::failure::{Attempt as _, Failure, Outcome};
use crate::{limits, rounds, wire};

/// The floor's process: accepts the sockets, then the publishing connections, and serves these
/// until one of them ends.
///
/// # Errors
///
/// The kernel has no `io_uring` for us, or a socket took less than a whole batch of frames.
pub(crate) fn serve(arguments: FloorServerArguments) -> Outcome<()> {
    limits::make_room_for(arguments.clients + arguments.publishers)?;
    let (listener, target) = super::listen()?;
    let accept = || -> Outcome<TcpStream> {
        let (stream, _) = listener.accept().attempt("accept")?;
        stream.set_nodelay(true).attempt("set TCP_NODELAY")?;
        Ok(stream)
    };
    let accept_all = |count| (0..count).map(|_| accept()).collect::<Outcome<Vec<_>>>();
    let sessions = accept_all(arguments.clients)?;
    let publishers = accept_all(arguments.publishers)?;

    let sizes = Sizes {
        request: rounds::request(&target, arguments.bytes).len(),
        frame: rounds::frame(arguments.bytes).len(),
        requests: arguments.frames / arguments.publishers,
    };
    BareLoop {
        ring: Ring::new(&publishers, sizes)?,
        sessions,
        answers: wire::push_answer(arguments.clients)
            .repeat(sizes.requests)
            .leak(),
    }
    .run()
}

struct BareLoop {
    ring: Ring,
    sessions: Vec<TcpStream>,
    /// To all requests of one publisher.
    answers: &'static [u8],
}

impl BareLoop {
    fn run(mut self) -> Outcome<()> {
        loop {
            let mut awaited = self.ring.queue_receives()?;
            while awaited > 0 {
                self.ring.enter(1)?;
                while let Some((what, result)) = self.ring.next_completion() {
                    match what {
                        What::Sent => check_length(result, self.answers.len())?,
                        What::Received if result == self.ring.inbound_bytes() => awaited -= 1,
                        What::Received => return Ok(()), // the client is done
                    }
                }
            }
            self.ring.collect_frames();
            self.send_to_all()?;
            self.ring.queue_answers(self.answers)?;
        }
    }

    fn send_to_all(&mut self) -> Outcome<()> {
        let bytes = self.ring.outbound_bytes;
        for some in self.sessions.chunks(SENDS_PER_ENTER) {
            self.ring.queue_sends(some)?;
            self.ring.enter(0)?;
            let mut left = some.len();
            loop {
                while let Some((_, result)) = self.ring.next_completion() {
                    check_length(result, bytes)?;
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

/// How long things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    request: usize,
    frame: usize,
    /// Requests from each publisher at a time.
    requests: usize,
}

/// An `io_uring` whose operations only ever name memory that is never freed.
struct Ring {
    uring: IoUring,
    sizes: Sizes,
    /// Each publisher and where its requests are received: leaked, written by the kernel while a
    /// receive is queued, and read here when none is.
    publishers: Vec<(RawFd, *mut u8)>,
    /// The frames of all requests: leaked, read by the kernel while sends are queued, and written
    /// here when none are.
    outbound: *mut u8,
    outbound_bytes: usize,
}

impl Ring {
    fn new(publishers: &[TcpStream], sizes: Sizes) -> Outcome<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .build(RING_ENTRIES)
            .attempt("make an io_uring (Linux 6.1 or newer, not blocked by seccomp)")?;
        let leak = |bytes: usize| vec![0_u8; bytes.max(1)].leak().as_mut_ptr();
        let inbound_bytes = sizes.request * sizes.requests;
        let outbound_bytes = sizes.frame * sizes.requests * publishers.len();
        let with_buffer = |publisher: &TcpStream| (publisher.as_raw_fd(), leak(inbound_bytes));
        Ok(Self {
            uring,
            sizes,
            publishers: publishers.iter().map(with_buffer).collect(),
            outbound: leak(outbound_bytes),
            outbound_bytes,
        })
    }

    /// What all requests of one publisher take.
    const fn inbound_bytes(&self) -> usize {
        self.sizes.request * self.sizes.requests
    }

    /// Receives all requests of each publisher; returns how many publishers there are.
    fn queue_receives(&mut self) -> Outcome<usize> {
        let length = entry_length(self.inbound_bytes());
        for index in 0..self.publishers.len() {
            let (publisher, inbound) = self.publishers[index];
            let entry = opcode::Recv::new(types::Fd(publisher), inbound, length).flags(MSG_WAITALL);
            self.queue(&entry.build().user_data(RECEIVED))?;
        }
        Ok(self.publishers.len())
    }

    /// Puts the frames at the ends of all requests one after the other.
    fn collect_frames(&self) {
        let Sizes { request, frame, .. } = self.sizes;
        let requests = self.publishers.iter().flat_map(|(_, inbound)| {
            (1..=self.sizes.requests).map(move |end| inbound.wrapping_add(end * request - frame))
        });
        for (index, from) in requests.enumerate() {
            let to = self.outbound.wrapping_add(index * frame);
            // SAFETY: `from` and `to` lie in leaked buffers with room for a frame there, and no
            // receive or send is queued while the loop is here.
            unsafe {
                std::ptr::copy_nonoverlapping(from, to, frame);
            }
        }
    }

    fn queue_answers(&mut self, bytes: &'static [u8]) -> Outcome<()> {
        for index in 0..self.publishers.len() {
            let (publisher, _) = self.publishers[index];
            self.queue(&send(publisher, bytes.as_ptr(), bytes.len()))?;
        }
        Ok(())
    }

    fn queue(&mut self, entry: &Entry) -> Outcome<()> {
        // SAFETY: the entry comes from one of the two callers above, whose buffers are leaked and
        // so valid for as long as the kernel may use them.
        let pushed = unsafe { self.uring.submission().push(entry) };
        pushed.attempt("queue an operation")
    }

    /// Sends the frames to each of `sockets`.
    fn queue_sends(&mut self, sockets: &[TcpStream]) -> Outcome<()> {
        let mut queue = self.uring.submission();
        for socket in sockets {
            let entry = send(socket.as_raw_fd(), self.outbound, self.outbound_bytes);
            // SAFETY: the entry sends the outbound buffer, which is leaked.
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
