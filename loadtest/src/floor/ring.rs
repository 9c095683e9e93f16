//! The floor of throughput: one `io_uring` and one thread that send prepared bytes.
//!
//! ```text
//!   wait for the requests of each publishing connection  (as long as HTTP pushes, not parsed)
//!   for each 1,024 sockets: queue a send of the frames at the requests' ends, enter, reap
//!   respond to each request  (as many bytes as a gateway's response), wait again
//! ```
//!
//! The ring has the flags that are fastest for a single thread. The loop parses, encodes, looks up
//! and counts nothing per session, so a gateway on `io_uring` cannot be expected to be cheaper.
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

/// Runs the floor's process: accepts the sockets, then the publishing connections, and serves until
/// one of these ends.
///
/// # Errors
///
/// An `io_uring` cannot be created, or a socket accepted less than a whole batch of frames.
pub(crate) fn serve(arguments: FloorServerArguments) -> Outcome<()> {
    limits::raise_file_limit(arguments.clients + arguments.publishers)?;
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
        responses: wire::push_response(arguments.clients)
            .repeat(sizes.requests)
            .leak(),
    }
    .run()
}

struct BareLoop {
    ring: Ring,
    sessions: Vec<TcpStream>,
    /// The responses to all requests of one publishing connection in a batch.
    responses: &'static [u8],
}

impl BareLoop {
    fn run(mut self) -> Outcome<()> {
        loop {
            let mut awaited = self.ring.queue_receives()?;
            while awaited > 0 {
                self.ring.enter(1)?;
                while let Some((what, result)) = self.ring.next_completion() {
                    match what {
                        Operation::Sent => check_length(result, self.responses.len())?,
                        Operation::Received if result == self.ring.inbound_bytes() => awaited -= 1,
                        Operation::Received => return Ok(()), // The client has disconnected.
                    }
                }
            }
            self.ring.collect_frames();
            self.send_to_all()?;
            self.ring.queue_responses(self.responses)?;
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
        let what = format!("a socket accepted {sent} of {bytes} bytes");
        Err(Failure::new(what))
    }
}

/// The operation of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Received,
    Sent,
}

/// The sizes of requests and frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    /// Length of a request in bytes.
    request: usize,
    /// Length of a frame in bytes.
    frame: usize,
    /// Requests per publishing connection in a batch.
    requests: usize,
}

/// An `io_uring` whose operations use only leaked memory.
struct Ring {
    uring: IoUring,
    sizes: Sizes,
    /// Each publishing connection and the buffer of its requests. The buffer is leaked. The kernel
    /// writes to it while a receive is queued; this thread reads it while none is.
    publishers: Vec<(RawFd, *mut u8)>,
    /// The buffer of the frames of all requests. It is leaked. The kernel reads it while sends are
    /// queued; this thread writes to it while none are.
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
            .attempt("create an io_uring (needs Linux 6.1 or newer and no seccomp filter)")?;
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

    /// Returns the length of all requests of one publishing connection in bytes.
    const fn inbound_bytes(&self) -> usize {
        self.sizes.request * self.sizes.requests
    }

    /// Queues a receive of all requests of each publishing connection. Returns their number.
    fn queue_receives(&mut self) -> Outcome<usize> {
        let length = entry_length(self.inbound_bytes());
        for index in 0..self.publishers.len() {
            let (publisher, inbound) = self.publishers[index];
            let entry = opcode::Recv::new(types::Fd(publisher), inbound, length).flags(MSG_WAITALL);
            self.queue(&entry.build().user_data(RECEIVED))?;
        }
        Ok(self.publishers.len())
    }

    /// Copies the frames at the ends of all requests to the outbound buffer.
    fn collect_frames(&self) {
        let Sizes { request, frame, .. } = self.sizes;
        let requests = self.publishers.iter().flat_map(|(_, inbound)| {
            (1..=self.sizes.requests).map(move |end| inbound.wrapping_add(end * request - frame))
        });
        for (index, from) in requests.enumerate() {
            let to = self.outbound.wrapping_add(index * frame);
            // SAFETY: `from` and `to` are in leaked buffers and a frame fits after each; no receive
            // or send is queued now, so the kernel does not use the buffers.
            unsafe {
                std::ptr::copy_nonoverlapping(from, to, frame);
            }
        }
    }

    fn queue_responses(&mut self, bytes: &'static [u8]) -> Outcome<()> {
        for index in 0..self.publishers.len() {
            let (publisher, _) = self.publishers[index];
            self.queue(&send(publisher, bytes.as_ptr(), bytes.len()))?;
        }
        Ok(())
    }

    fn queue(&mut self, entry: &Entry) -> Outcome<()> {
        // SAFETY: the entry comes from one of the two callers above. Their buffers are leaked, so
        // they are valid as long as the kernel may use them.
        let pushed = unsafe { self.uring.submission().push(entry) };
        pushed.attempt("queue an operation")
    }

    /// Queues a send of the frames to each of `sockets`.
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

    /// Submits the queued operations and waits for `completions` completions.
    fn enter(&self, completions: usize) -> Outcome<()> {
        loop {
            match self.uring.submit_and_wait(completions) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).attempt("enter the ring"),
            }
        }
    }

    /// Returns the next completion and its number of bytes, 0 for a failed operation.
    fn next_completion(&mut self) -> Option<(Operation, usize)> {
        let completion = self.uring.completion().next()?;
        let what = if completion.user_data() == RECEIVED {
            Operation::Received
        } else {
            Operation::Sent
        };
        Some((what, usize::try_from(completion.result()).unwrap_or(0)))
    }
}

/// Creates a send that completes only when all bytes are sent.
fn send(socket: RawFd, bytes: *const u8, length: usize) -> Entry {
    opcode::Send::new(types::Fd(socket), bytes, entry_length(length))
        .flags(MSG_WAITALL)
        .build()
        .user_data(SENT)
}

fn entry_length(length: usize) -> u32 {
    u32::try_from(length).expect("a batch is shorter than 4 GiB")
}

/// The flag of `send` and `recv` on Linux. Without it a send may be partial.
const MSG_WAITALL: i32 = 0x100;
const RECEIVED: u64 = 1;
const SENT: u64 = 2;
const SENDS_PER_ENTER: usize = 1024;
const RING_ENTRIES: u32 = 2048;
