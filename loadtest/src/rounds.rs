//! Rounds of closed-loop fan-out, run by a client process of their own on command.
//!
//! A round lasts about as long as asked. In it, one batch of pushes after the other is sent, each
//! when the last has been received by every session and answered. The server is idle at both ends
//! of a round, so the CPU time it gained in between is the price of the deliveries in between.
//!
//! With several pushes outstanding, a batch is all of them, written one after the other as fast as
//! this client can; a gateway that sends as soon as it has read the first pays for two sends.
//!
//! The process is told what to do on its standard input and answers on its standard output, a line
//! each. A process of its own for each server, because the sockets of two servers' ten thousand
//! clients do not fit into one process's open files.
//!
//! ```text
//!   figures                      reader
//!      |            ready           |   all sessions open and registered
//!      |<---------------------------|
//!      | 1000                       |   milliseconds
//!      |--------------------------->|
//!      | 297000 1009876543 71234567 |   deliveries, server ns, client ns
//!      |<---------------------------|
//! ```

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;

use crate::cli::ReaderArguments;
use crate::clock::{self, MILLISECOND_NS};
use crate::crowd::{Crowd, Hello};
use crate::failure::{Attempt as _, Failure, Outcome};
use crate::stats::{count, float};
use crate::wire::{self, Target};
use crate::{gateway, limits, procfs};

/// How a batch of frames is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Asking {
    /// One trigger, for a floor, which knows how many frames to send for it.
    Trigger,
    /// One push per frame, each on a keep-alive connection of its own, written one after the other.
    Connections,
    /// One push per frame, all in one write on one connection.
    Pipeline,
}

/// What one round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// Frames received, by all sessions together.
    pub(crate) deliveries: u64,
    /// The server's time on a CPU.
    pub(crate) server_ns: u64,
    /// The client's.
    pub(crate) client_ns: u64,
}

impl Round {
    /// The server's nanoseconds per delivery.
    pub(crate) fn server_ns_each(self) -> f64 {
        float(self.server_ns) / float(self.deliveries.max(1))
    }

    /// The client's nanoseconds per delivery.
    pub(crate) fn client_ns_each(self) -> f64 {
        float(self.client_ns) / float(self.deliveries.max(1))
    }

    fn word(self) -> String {
        format!("{} {} {}", self.deliveries, self.server_ns, self.client_ns)
    }

    fn read(line: &str) -> Option<Self> {
        let mut numbers = line.split_ascii_whitespace().map(str::parse);
        let round = Self {
            deliveries: numbers.next()?.ok()?,
            server_ns: numbers.next()?.ok()?,
            client_ns: numbers.next()?.ok()?,
        };
        numbers.next().is_none().then_some(round)
    }
}

/// The push that every figure of fan-out sends: 128 bytes to every session of one user.
pub(crate) fn fan_out_request(target: &Target) -> Vec<u8> {
    target.push_request(&wire::user_name(0), EVENT, &message())
}

/// The frame that it must arrive in.
pub(crate) fn fan_out_frame() -> Vec<u8> {
    wire::text_frame(message().as_bytes())
}

/// Every session is the same user's.
pub(crate) const HELLO_FAN_OUT: Hello = Hello::Register(EVENT, |_| wire::user_name(0));
/// The event that sessions of the figures register for.
pub(crate) const EVENT: &str = "news";

/// The message of every measured push.
pub(crate) fn message() -> String {
    "m".repeat(MESSAGE_BYTES)
}

/// A client process, seen from the one that commands it; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Reader {
    child: Child,
    orders: ChildStdin,
    results: BufReader<ChildStdout>,
}

impl Reader {
    /// Starts the process and waits until its sessions are open and registered.
    ///
    /// It runs where this process runs.
    ///
    /// # Errors
    ///
    /// It could not start, or said on standard error why it ended.
    pub(crate) fn start(arguments: &ReaderArguments) -> Outcome<Self> {
        let own = std::env::current_exe().attempt("find this program's own executable")?;
        let asking = arguments
            .asking
            .to_possible_value()
            .expect("no value is skipped");
        let mut child = Command::new(own)
            .args(["reader", "--target", &arguments.target])
            .args(["--pid", &arguments.pid.to_string()])
            .args(["--clients", &arguments.clients.to_string()])
            .args(["--frames", &arguments.frames.to_string()])
            .args(["--asking", asking.get_name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .attempt("start a client process")?;
        let orders = child.stdin.take().expect("it is piped");
        let results = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut reader = Self {
            child,
            orders,
            results,
        };
        match reader.line()?.as_str() {
            READY => Ok(reader),
            other => Err(Failure::new(format!("a client process said `{other}`"))),
        }
    }

    /// Runs one round of about `milliseconds`.
    ///
    /// # Errors
    ///
    /// The process ended; it said on standard error why.
    pub(crate) fn round(&mut self, milliseconds: u64) -> Outcome<Round> {
        writeln!(self.orders, "{milliseconds}").attempt("command a client process")?;
        let line = self.line()?;
        Round::read(&line)
            .ok_or_else(|| Failure::new(format!("a client process reported `{line}`")))
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        let read = self.results.read_line(&mut line);
        match read.attempt("read from a client process")? {
            0 => Err(Failure::new("a client process ended")),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        gateway::stop(&mut self.child);
    }
}

/// The client process itself: opens, registers, then runs rounds until its input ends.
///
/// # Errors
///
/// Anything that makes the figures meaningless: a lost or surplus byte, a refused push.
pub(crate) fn serve(arguments: &ReaderArguments) -> Outcome<()> {
    limits::make_room_for(arguments.clients + arguments.frames)?;
    limits::end_with_parent()?;
    let target = Target::parse(&arguments.target)?;
    let mut loop_ = Loop::open(&target, arguments)?;
    println!("{READY}");

    for line in std::io::stdin().lines() {
        let line = line.attempt("read an order")?;
        let milliseconds = line.parse().attempt("read an order")?;
        println!("{}", loop_.round(arguments.pid, milliseconds)?.word());
    }
    Ok(())
}

/// A closed loop over a [`Crowd`].
struct Loop {
    crowd: Crowd,
    /// Written on each publishing connection for each batch.
    requests: Vec<u8>,
    publishers: usize,
    answers: u64,
    sessions: u64,
    deliveries: u64,
    frame_bytes: u64,
}

impl Loop {
    fn open(target: &Target, arguments: &ReaderArguments) -> Outcome<Self> {
        let request = fan_out_request(target);
        let frame_bytes = fan_out_frame().len();
        let frames = arguments.frames;
        let (publishers, per_publisher, hello) = match arguments.asking {
            Asking::Trigger => (1, 1, Hello::Nothing),
            Asking::Connections => (frames, 1, HELLO_FAN_OUT),
            Asking::Pipeline => (1, frames, HELLO_FAN_OUT),
        };

        let mut crowd = Crowd::new(target)?;
        crowd.grow(arguments.clients, OPENING_AT_A_TIME, hello)?;
        crowd.add_publishers(publishers)?;
        if arguments.asking != Asking::Trigger {
            crowd.wait_until_registered(&request, frame_bytes)?;
        }
        Ok(Self {
            crowd,
            requests: request.repeat(per_publisher),
            publishers,
            answers: count(publishers * per_publisher),
            sessions: count(arguments.clients),
            deliveries: count(arguments.clients * frames),
            frame_bytes: count(frame_bytes),
        })
    }

    fn round(&mut self, pid: u32, milliseconds: u64) -> Outcome<Round> {
        let own = std::process::id();
        self.batch()?; // caches, buffers and branch predictors are another round's by now
        clock::pause(SETTLE);
        let (server_before, client_before) = (procfs::cpu_ns(pid)?, procfs::cpu_ns(own)?);
        let end_ns = clock::now_ns() + milliseconds * MILLISECOND_NS;
        let mut deliveries = 0;
        while clock::now_ns() < end_ns {
            self.batch()?;
            deliveries += self.deliveries;
        }
        let client_ns = procfs::cpu_since_ns(own, client_before)?;
        clock::pause(SETTLE);
        let server_ns = procfs::cpu_since_ns(pid, server_before)?;
        self.crowd.check_all_equal()?;
        Ok(Round {
            deliveries,
            server_ns,
            client_ns,
        })
    }

    fn batch(&mut self) -> Outcome<()> {
        let mark = self.crowd.mark();
        for publisher in 0..self.publishers {
            self.crowd.push(publisher, &self.requests)?;
        }
        let bytes = self.deliveries * self.frame_bytes;
        self.crowd.read_until(mark, bytes, self.answers)?;
        let reached = self.crowd.reached_since(mark);
        if reached == self.answers * self.sessions {
            Ok(())
        } else {
            Err(Failure::new(format!(
                "{} pushes to {} sessions reached {reached}",
                self.answers, self.sessions
            )))
        }
    }
}

const READY: &str = "ready";
const MESSAGE_BYTES: usize = 128;
const OPENING_AT_A_TIME: usize = 64;
/// A server's time is exact once its thread has gone to sleep.
const SETTLE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_reads_back_as_worded() {
        let round = Round {
            deliveries: 297_000,
            server_ns: 1_009_876_543,
            client_ns: 71,
        };
        assert_eq!(Round::read(&round.word()), Some(round));
        assert_eq!(Round::read("1 2"), None);
        assert_eq!(Round::read("1 2 3 4"), None);
    }

    #[test]
    fn the_frame_has_128_bytes_of_payload() {
        assert_eq!(fan_out_frame().len(), 4 + 128);
    }
}
