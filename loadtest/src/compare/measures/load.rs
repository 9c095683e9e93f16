//! Measures under load: the knee, latencies at half load, several shards.

use super::{Bench, Measure, Samples};
use crate::compare::losses::Better;
use crate::failure::Outcome;
use crate::rounds::{Order, Reader};
use crate::stats::{count, float};

impl Bench<'_> {
    /// Measures the highest sustained rate, by bisection.
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
        self.check(&what, &mut parts, Vec::new());
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

    /// Measures latencies at half the rate that the slowest server reaches in a closed loop.
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
                .warn("half_load: not measured, no server delivered anything");
            return;
        }
        let what = format!(
            "{rate:.0} publications a second to {SUBSCRIBERS}, half the slowest server's \
             maximum, {BYTES} bytes"
        );
        eprintln!("{what}");
        self.latencies(&what, "half_load", parts, Order::open(rate, seconds));
    }

    /// Measures a fan-out by variants with more shards, relative to the first server.
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

/// Returns the highest rate of publications with p99 at most `p99_max_ns` in one of two tries.
///
/// The search ends at 1.5 times the rate of a closed loop. The second try excludes single
/// disturbances by the machine. Returns 0 if no tried rate is sustained.
fn find_knee(reader: &mut Reader, clients: usize, seconds: f64, p99_max_ns: f64) -> Outcome<f64> {
    let capacity = capacity(reader, clients, seconds)?;
    let mut is_borne = |rate| -> Outcome<bool> {
        for _ in 0..2 {
            let round = reader.round(Order::open(rate, seconds))?;
            if round.p99_ns <= p99_max_ns && round.keeps_up && round.errors == 0 {
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

/// Measures the publications per second of a closed loop.
fn capacity(reader: &mut Reader, clients: usize, seconds: f64) -> Outcome<f64> {
    let closed = reader.batches(CONNECTIONS, seconds)?;
    Ok(closed.deliveries_per_s / float(count(clients)))
}

const SUBSCRIBERS: usize = 1_000;
const BYTES: usize = 512;
const CONNECTIONS: usize = 16;
const KNEE_STEPS: usize = 7;
