//! What a delivery costs the server, against the floor's: alone, and with 16 pushes outstanding.

use super::table::Row;
use super::{BOOTSTRAP_SEED, Bench};
use crate::cli::ReaderArguments;
use crate::clock;
use crate::failure::Outcome;
use crate::floor;
use crate::progress::Progress;
use crate::rounds::{Asking, Reader};
use crate::stats::{Interval, count, duration, median};

/// A figure of fan-out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fanout {
    /// Sessions.
    pub(super) clients: usize,
    /// Pushes outstanding, and frames per send of the floor.
    pub(super) frames: usize,
    /// How the gateway is asked for them.
    pub(super) asking: Asking,
    /// What the ratio may be.
    pub(super) bound: f64,
}

impl Fanout {
    fn name(self) -> String {
        let Self {
            clients,
            frames,
            asking,
            ..
        } = self;
        match asking {
            Asking::Pipeline => format!("pipelined-{clients} ({frames} on 1)"),
            _ if frames == 1 => format!("fanout-{clients}"),
            Asking::Trigger | Asking::Connections => {
                format!("window-{clients} ({frames} on {frames})")
            }
        }
    }

    /// Alternates rounds of the floor and of the gateway.
    pub(super) fn measure(self, bench: &Bench) -> Outcome<Vec<Row>> {
        let gateway = bench.start_gateway()?;
        let mut gateway_reader = Reader::start(&ReaderArguments {
            target: gateway.url(),
            pid: gateway.pid(),
            clients: self.clients,
            frames: self.frames,
            asking: self.asking,
        })?;
        let (_floor, mut floor_reader) =
            floor::start_with_reader(self.clients, self.frames, &bench.cores)?;

        let (mut floors, mut gateways, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut client_each = 0.0_f64;
        let mut progress = Progress::new("pairs", count(bench.pairs));
        // The first pair finds cold caches and fresh sockets, and is not counted.
        floor_reader.round(bench.round_ms)?;
        gateway_reader.round(bench.round_ms)?;
        for pair in 0..bench.pairs {
            let floor = floor_reader.round(bench.round_ms)?.server_ns_each();
            let round = gateway_reader.round(bench.round_ms)?;
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

        let gateway_each = median(&gateways);
        let words = [duration(median(&floors)), duration(gateway_each)];
        let ratio = Interval::of(&ratios, BOOTSTRAP_SEED);
        let row = Row::ratio(&self.name(), words, ratio, self.bound);
        Ok(vec![if client_each > gateway_each {
            let client = duration(client_each);
            row.with_note(&format!(
                "WARNING: the client needs {client} per delivery itself"
            ))
        } else {
            row
        }])
    }
}
