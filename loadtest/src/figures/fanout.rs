//! The figures of fan-out: CPU time per delivery relative to the floor, with 1 and 16 outstanding.

use super::table::Row;
use super::{BOOTSTRAP_SEED, Bench};
use crate::clock;
use crate::failure::{Failure, Outcome};
use crate::floor::{self, Shape};
use crate::progress::Progress;
use crate::protocol::Name as ProtocolName;
use crate::rounds::{self, Reader, ReaderOptions};
use crate::stats::{Interval, count, duration, float, median};
use crate::wire::MESSAGE_BYTES;

/// The connections of outstanding pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushers {
    /// Each push has its own connection.
    Many,
    /// All pushes are pipelined on one connection.
    One,
}

/// A figure of fan-out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fanout {
    /// Number of sessions.
    pub(super) clients: usize,
    /// Number of outstanding pushes, and of frames per send of the floor.
    pub(super) frames: usize,
    /// The connections of the pushes to the gateway.
    pub(super) pushers: Pushers,
    /// The largest allowed ratio.
    pub(super) limit: f64,
}

impl Fanout {
    fn name(self) -> String {
        let Self {
            clients,
            frames,
            pushers,
            ..
        } = self;
        match pushers {
            Pushers::One => format!("pipelined-{clients} ({frames} on 1)"),
            _ if frames == 1 => format!("fanout-{clients}"),
            Pushers::Many => {
                format!("window-{clients} ({frames} on {frames})")
            }
        }
    }

    /// Measures alternating rounds of the floor and the gateway.
    ///
    /// # Errors
    ///
    /// A process cannot be started or exits, or a message is not delivered correctly.
    pub(super) fn measure(self, bench: &Bench) -> Outcome<Vec<Row>> {
        let gateway = bench.start_gateway()?;
        let (publishers, pipeline) = match self.pushers {
            Pushers::Many => (self.frames, 1),
            Pushers::One => (1, self.frames),
        };
        let mut gateway_reader = Reader::start(&ReaderOptions {
            clients: self.clients,
            publishers,
            pipeline,
            ..rounds::plain_options(&gateway.url(), gateway.pid(), ProtocolName::Wserver)
        })?;
        let shape = Shape {
            clients: self.clients,
            frames: self.frames,
            publishers,
            bytes: MESSAGE_BYTES,
        };
        let (_floor, mut floor_reader) = floor::start_with_reader(shape, &bench.cores)?;

        let (mut floors, mut gateways, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut client_each = 0.0_f64;
        let mut progress = Progress::new("pairs", count(bench.pairs));
        // The first pair warms up caches and sockets and does not count.
        let seconds = float(bench.round_ms) / 1000.0;
        floor_reader.batches(self.frames, seconds)?;
        gateway_reader.batches(self.frames, seconds)?;
        for pair in 0..bench.pairs {
            let floor = floor_reader.batches(self.frames, seconds)?.server_ns_each();
            let round = gateway_reader.batches(self.frames, seconds)?;
            client_each = client_each.max(round.client_ns_each());
            let gateway = round.server_ns_each();
            floors.push(floor);
            gateways.push(gateway);
            ratios.push(gateway / floor);
            progress.at(count(pair + 1), clock::now_ns(), || {
                let (floor, gateway) = (duration(floor), duration(gateway));
                format!("{}: floor {floor}, gateway {gateway}", self.name())
            });
        }
        progress.finish();
        for reader in [&mut floor_reader, &mut gateway_reader] {
            let errors = reader.check()?.delivery_errors;
            if !errors.is_clean() {
                return Err(Failure::new(format!("{}: {errors:?}", self.name())));
            }
        }

        let gateway_each = median(&gateways);
        let words = [duration(median(&floors)), duration(gateway_each)];
        let ratio = Interval::of(&ratios, BOOTSTRAP_SEED);
        let row = Row::ratio(&self.name(), words, ratio, self.limit);
        Ok(vec![if client_each > gateway_each {
            let client = duration(client_each);
            row.with_note(&format!(
                "WARNING: the client needs more CPU than the gateway: {client} per delivery"
            ))
        } else {
            row
        }])
    }
}
