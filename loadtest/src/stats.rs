//! Statistics: medians, bootstrap intervals, seeded random numbers, latency histograms.
//!
//! The functions are pure. Random numbers come from a seed, so equal samples give equal intervals.

use hdrhistogram::Histogram;

/// A median with its 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    /// The median of the samples.
    pub(crate) median: f64,
    /// The 2.5th percentile of the resampled medians.
    pub(crate) low: f64,
    /// The 97.5th percentile of the resampled medians.
    pub(crate) high: f64,
}

impl Interval {
    /// Computes the median of `samples` and its 95 % interval by the percentile bootstrap.
    ///
    /// # Panics
    ///
    /// `samples` is empty.
    pub(crate) fn of(samples: &[f64], seed: u64) -> Self {
        let mut prng = SplitMix(seed);
        let mut medians: Vec<f64> = (0..RESAMPLES_COUNT)
            .map(|_| {
                let draw = (0..samples.len()).map(|_| samples[prng.below(samples.len())]);
                median(&draw.collect::<Vec<f64>>())
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        Self {
            median: median(samples),
            low: medians[RESAMPLES_COUNT * 25 / 1000],
            high: medians[RESAMPLES_COUNT * 975 / 1000],
        }
    }

    /// Returns `true` if the intervals have a value in common.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }

    /// Returns `true` if the lower end of the interval is at most `limit`.
    pub(crate) fn is_within(self, limit: f64) -> bool {
        self.low <= limit
    }
}

/// Returns the median of `samples`: for an even number the mean of the middle two.
///
/// # Panics
///
/// `samples` is empty.
pub(crate) fn median(samples: &[f64]) -> f64 {
    assert!(!samples.is_empty(), "the median of no samples");
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

/// Converts a count to `f64`. Exact below 2^53, which is 104 days in nanoseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact for every count a load test reaches"
)]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

/// Converts a length to the type of the counters.
pub(crate) fn count(length: usize) -> u64 {
    u64::try_from(length).expect("a length fits in 64 bits")
}

/// Creates a histogram of latencies in nanoseconds: 100 ns to 60 s, three significant digits.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(100, 60_000_000_000, 3).expect("bounds and digits are constants")
}

/// Formats one line of percentiles.
pub(crate) fn percentile_line(histogram: &Histogram<u64>) -> String {
    let at = |quantile: f64| duration(float(histogram.value_at_quantile(quantile)));
    format!(
        "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
        at(0.50),
        at(0.90),
        at(0.99),
        at(0.999),
        duration(float(histogram.max())),
    )
}

/// Formats nanoseconds in ns, us, ms or s: the largest unit in which the number is at least 1.
pub(crate) fn duration(ns: f64) -> String {
    if ns >= 1e9 {
        format!("{:.2} s", ns / 1e9)
    } else if ns >= 1e6 {
        format!("{:.2} ms", ns / 1e6)
    } else if ns >= 1e3 {
        format!("{:.2} us", ns / 1e3)
    } else {
        format!("{ns:.0} ns")
    }
}

/// The pseudo-random number generator `splitmix64`; the field is its seed.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    /// Returns the next 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`. The remainder's bias is 2^-58 for the sample counts here.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let drawn = self.next() % count(end);
        usize::try_from(drawn).expect("below a usize")
    }

    /// Returns a number of at least 0 and below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        float(self.next() >> 11) / 9_007_199_254_740_992.0 // 2^53
    }
}

const RESAMPLES_COUNT: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle_two() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median(&[4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-12);
    }

    #[test]
    fn equal_samples_have_an_interval_of_one_point() {
        let interval = Interval::of(&[1.25; 15], 1);
        assert_eq!(
            interval,
            Interval {
                median: 1.25,
                low: 1.25,
                high: 1.25
            }
        );
    }

    #[test]
    fn the_interval_holds_the_median_and_narrows_with_samples() {
        let spread = |samples: u32| {
            let values: Vec<f64> = (0..samples).map(|n| f64::from(n % 15)).collect();
            let interval = Interval::of(&values, 7);
            assert!(interval.low <= interval.median && interval.median <= interval.high);
            interval.high - interval.low
        };
        assert!(spread(15) > spread(150));
        assert!(spread(15) > 0.0);
    }

    #[test]
    fn a_limit_holds_if_the_lower_end_is_within_it() {
        let interval = Interval {
            median: 1.2,
            low: 1.1,
            high: 1.3,
        };
        assert!(interval.is_within(1.15));
        assert!(interval.is_within(1.1));
        assert!(!interval.is_within(1.09));
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let samples: Vec<f64> = (0..20).map(|n| f64::from(n * n)).collect();
        assert_eq!(Interval::of(&samples, 3), Interval::of(&samples, 3));
    }

    #[test]
    fn durations_have_a_fitting_unit() {
        assert_eq!(duration(12.0), "12 ns");
        assert_eq!(duration(3_400.0), "3.40 us");
        assert_eq!(duration(25_000_000.0), "25.00 ms");
        assert_eq!(duration(2.5e9), "2.50 s");
    }

    #[test]
    fn percentiles_are_those_of_the_samples() {
        let mut histogram = latencies();
        for microseconds in 1..=1000 {
            histogram
                .record(microseconds * 1000)
                .expect("within the bounds");
        }
        let line = percentile_line(&histogram);
        assert!(line.starts_with("p50 500."), "{line}");
        assert!(line.contains("p99 990."), "{line}");
        assert!(line.ends_with("max 1.00 ms"), "{line}");
    }
}
