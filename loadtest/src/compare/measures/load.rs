//! Measures under a load that somebody bears: the knee, half of the load, more shards.

use super::{Bench, Measure, Samples};
use crate::compare::losses::Better;
use crate::failure::Outcome;
use crate::rounds::{Order, Reader};
use crate::stats::{count, float};

impl Bench<'_> {
    /// The highest rate that is sustained, by bisection.
    pub(super) fn knee(&mut self) {
        let (clients, bytes) = (SUBSCRIBERS, BYTES);
        let what = format!(
            "most deliveries a second with p99 below {} ms, {clients} subscribers, {bytes} bytes",
            self.config.p99_max_ms
        );
        eprintln!("{what}");
        let mut parts = self.parts(Measure::Knee, &what, &|contender| {
            contender.reader(clients, bytes, CONNECTIONS).map(Some)
        });
        let seconds = self.config.round_seconds;
        let p99_max_ns = self.config.p99_max_ms * 1e6;
        for number in 0..self.config.long_rounds {
            self.round(&what, &mut parts, number, |part| {
                let rate = find_knee(&mut part.reader, clients, seconds, p99_max_ns)?;
                part.values.push(rate * float(count(clients)));
                Ok(())
            });
        }
        self.judge(&what, &mut parts, Vec::new());
        let all: Vec<Samples> = parts
            .iter()
            .map(|part| Samples {
                name: part.contender.name().to_owned(),
                values: part.values.clone(),
            })
            .collect();
        self.add_samples(&what, "knee", &all, Better::More, &|rate| {
            format!("{rate:.0}")
        });
    }

    /// Latencies at a load that every server can bear.
    pub(super) fn half_load(&mut self) {
        let what = "capacity, for half of it".to_owned();
        eprintln!("{what}");
        let mut parts = self.parts(Measure::HalfLoad, &what, &|contender| {
            let (clients, connections) = (SUBSCRIBERS, CONNECTIONS);
            contender.reader(clients, BYTES, connections).map(Some)
        });
        let seconds = self.config.round_seconds;
        self.round(&what, &mut parts, 0, |part| {
            part.values
                .push(capacity(&mut part.reader, SUBSCRIBERS, seconds)?);
            Ok(())
        });
        let capacities = parts.iter().flat_map(|part| part.values.iter().copied());
        let rate = capacities.fold(f64::INFINITY, f64::min) / 2.0;
        if !(rate.is_finite() && rate > 0.0) {
            self.report
                .warn("half_load: not measured, for no server bears anything");
            return;
        }
        let what = format!(
            "{rate:.0} publications a second to {SUBSCRIBERS}, half of what the slowest \
             bears, {BYTES} bytes"
        );
        eprintln!("{what}");
        self.latencies(&what, "half_load", parts, Order::open(rate, seconds));
    }

    /// A fan-out to sessions that are spread over shards, against the same in the first server.
    pub(super) fn shards(&mut self) {
        let what = format!("{SUBSCRIBERS} subscribers, {BYTES} bytes, 1 outstanding, by shards");
        eprintln!("{what}");
        let parts = self.parts(Measure::Shards, &what, &|contender| {
            contender.reader(SUBSCRIBERS, BYTES, 1).map(Some)
        });
        let order = Order::batches(1, self.config.round_seconds);
        self.latencies(&what, "shards", parts, order);
    }
}

/// The highest rate of publications, up to one and a half of what a closed loop reaches, at which
/// p99 stays within the bound in one of two tries: one stumble of the machine is no knee.
fn find_knee(reader: &mut Reader, clients: usize, seconds: f64, p99_max_ns: f64) -> Outcome<f64> {
    let capacity = capacity(reader, clients, seconds)?;
    let mut is_borne = |rate| -> Outcome<bool> {
        for _ in 0..2 {
            let round = reader.round(Order::open(rate, seconds))?;
            if round.p99_ns <= p99_max_ns && round.keeps_up && round.complaints == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let (mut low, mut high) = (0.0, capacity * 1.5);
    let mut rate = capacity * 0.7;
    for _ in 0..KNEE_STEPS {
        *(if is_borne(rate)? { &mut low } else { &mut high }) = rate;
        rate = f64::midpoint(low, high);
    }
    Ok(low)
}

/// Publications a second in a closed loop.
fn capacity(reader: &mut Reader, clients: usize, seconds: f64) -> Outcome<f64> {
    let closed = reader.batches(CONNECTIONS, seconds)?;
    Ok(closed.deliveries_per_s / float(count(clients)))
}

const SUBSCRIBERS: usize = 1_000;
const BYTES: usize = 512;
const CONNECTIONS: usize = 16;
const KNEE_STEPS: usize = 7;
