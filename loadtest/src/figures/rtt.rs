//! The figure `rtt`: the time from a push request to the frame at one session, relative to an epoll
//! loop.
//!
//! Pushes follow each other at a low rate, so that no queue builds up. Each half of a pair gives a
//! median; the figure is the ratio of the medians.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::table::Row;
use super::{BOOTSTRAP_SEED, Bench};
use crate::clock::{self, MILLISECOND_NS, SECOND_NS};
use crate::failure::{Attempt as _, Failure, Outcome};
use crate::floor::Floor;
use crate::progress::Progress;
use crate::protocol::{Member, Name, Options, Purpose};
use crate::rounds;
use crate::stats::{Interval, count, duration, float, latencies, median};
use crate::wire::http::{Responses, head_end};
use crate::wire::{self, MESSAGE_BYTES, Target, frames};

/// Measures alternating rounds of the epoll loop and the gateway.
///
/// # Errors
///
/// A server cannot be started, or a push does not reach the session.
pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Row>> {
    let floor = Floor::start_epoll(&bench.cores)?;
    let mut floor_pair = Pair::connect(&floor.target()?)?;
    let gateway = bench.start_gateway()?;
    let mut gateway_pair = Pair::connect(gateway.target())?;
    gateway_pair.register(gateway.target())?;

    let (mut floors, mut gateways, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut progress = Progress::new("pairs", count(bench.pairs));
    // The first pair warms up and does not count.
    floor_pair.p50_ns(bench.round_ms)?;
    gateway_pair.p50_ns(bench.round_ms)?;
    for pair in 0..bench.pairs {
        let floor = floor_pair.p50_ns(bench.round_ms)?;
        let gateway = gateway_pair.p50_ns(bench.round_ms)?;
        floors.push(floor);
        gateways.push(gateway);
        ratios.push(gateway / floor);
        progress.at(count(pair + 1), clock::now_ns(), || {
            format!(
                "rtt: floor {}, gateway {}",
                duration(floor),
                duration(gateway)
            )
        });
    }
    progress.finish();

    let words = [duration(median(&floors)), duration(median(&gateways))];
    let ratio = Interval::of(&ratios, BOOTSTRAP_SEED);
    Ok(vec![Row::ratio(
        "rtt (p50, push to frame)",
        words,
        ratio,
        1.1,
    )])
}

/// A session and a publishing connection, both blocking.
struct Pair {
    session: TcpStream,
    publisher: TcpStream,
    request: Vec<u8>,
    frame: Vec<u8>,
    responses: Responses,
}

impl Pair {
    fn connect(target: &Target) -> Outcome<Self> {
        let connect = || -> Outcome<TcpStream> {
            let stream = TcpStream::connect(target.address()?).attempt("connect")?;
            stream.set_nodelay(true).attempt("set TCP_NODELAY")?;
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .attempt("set a timeout")?;
            Ok(stream)
        };
        Ok(Self {
            session: connect()?,
            publisher: connect()?,
            request: rounds::request(target, MESSAGE_BYTES),
            frame: vec![0; rounds::frame(MESSAGE_BYTES).len()],
            responses: Responses::default(),
        })
    }

    /// Upgrades and registers the session, and waits until a push reaches it.
    fn register(&mut self, target: &Target) -> Outcome<()> {
        let wserver = Name::Wserver.build(&Options::default());
        let member = Member {
            session: 0,
            group: 0,
        };
        let upgrade = wserver
            .upgrade(member, Purpose::Receive)
            .unwrap_or_default();
        self.session
            .write_all(&wire::upgrade_request(target, &upgrade))
            .attempt("write an upgrade")?;
        let mut head = Vec::new();
        let mut byte = [0];
        while head_end(&head).is_none() {
            self.session.read_exact(&mut byte).attempt("read a 101")?;
            head.push(byte[0]);
        }
        let register = wserver
            .opening(member, Purpose::Receive)
            .message
            .unwrap_or_default();
        let mut frame = Vec::new();
        frames::put_masked(frames::TEXT, &register, [1, 2, 3, 4], &mut frame);
        self.session.write_all(&frame).attempt("register")?;

        let deadline = clock::now_ns() + 10 * SECOND_NS;
        while clock::now_ns() < deadline {
            self.publisher.write_all(&self.request).attempt("push")?;
            if self.response()? == 1 {
                return self
                    .session
                    .read_exact(&mut self.frame)
                    .attempt("read a frame");
            }
        }
        Err(Failure::new("no push reaches the session within 10 s"))
    }

    /// Measures the median latency over about `milliseconds`, with 1 ms between pushes.
    fn p50_ns(&mut self, milliseconds: u64) -> Outcome<f64> {
        let mut histogram = latencies();
        let end_ns = clock::now_ns() + milliseconds * MILLISECOND_NS;
        while clock::now_ns() < end_ns {
            clock::pause(Duration::from_millis(1));
            let sent_ns = clock::now_ns();
            self.publisher.write_all(&self.request).attempt("push")?;
            self.session
                .read_exact(&mut self.frame)
                .attempt("read a frame")?;
            histogram.saturating_record(clock::now_ns() - sent_ns);
            if self.response()? != 1 {
                return Err(Failure::new("a push did not reach the session"));
            }
        }
        Ok(float(histogram.value_at_quantile(0.5)))
    }

    /// Reads a push response and returns its number of clients.
    fn response(&mut self) -> Outcome<u64> {
        let mut scratch = [0; 4096];
        loop {
            let response = self.responses.next(false).map_err(Failure::new)?;
            if let Some(response) = response {
                return wire::clients_reached(&response.body).ok_or_else(|| {
                    let shown = response.body.escape_ascii();
                    Failure::new(format!(
                        "a push got the status {}: `{shown}`",
                        response.status
                    ))
                });
            }
            match self
                .publisher
                .read(&mut scratch)
                .attempt("read a response")?
            {
                0 => return Err(Failure::new("the server closed the publishing connection")),
                read => self.responses.extend(&scratch[..read]),
            }
        }
    }
}
