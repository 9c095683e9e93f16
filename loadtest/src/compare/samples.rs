//! Comparison of samples of several servers from the same rounds. The functions are pure.
//!
//! Values of different rounds are never compared. Each value becomes a ratio to the base of its
//! round: the floor if there is one, else the first server. A ratio has a 95 % bootstrap interval
//! over the rounds. Two servers with overlapping intervals count as equal.

use crate::stats::{Interval, median};

/// The samples of one server, one per round.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Samples {
    pub(super) name: String,
    pub(super) values: Vec<f64>,
}

/// The comparison of one server with the first: a row of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Compared {
    pub(super) name: String,
    /// The median of the server's values.
    pub(super) value: f64,
    /// The interval of the ratios to the base.
    pub(super) ratio: Interval,
    /// The result against the first server.
    pub(super) against: Against,
}

/// The result of a comparison with the first server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Against {
    /// The server is the first.
    Itself,
    /// The intervals overlap.
    Equal,
    /// The ratio is lower.
    Less,
    /// The ratio is higher.
    More,
}

impl Against {
    /// Returns the word for tables.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Itself => "-",
            Self::Equal => "equal",
            Self::Less => "less",
            Self::More => "more",
        }
    }
}

/// Compares `servers` with the first of them, relative to `base`, which has one value per round.
///
/// # Panics
///
/// The number of a server's samples differs from the base's or is zero.
pub(super) fn compare(servers: &[Samples], base: &[f64], seed: u64) -> Vec<Compared> {
    let mut all: Vec<Compared> = Vec::new();
    for server in servers {
        assert_eq!(server.values.len(), base.len(), "rounds of {}", server.name);
        let ratios: Vec<f64> = server
            .values
            .iter()
            .zip(base)
            .map(|(value, base)| value / base.max(f64::MIN_POSITIVE))
            .collect();
        let ratio = Interval::of(&ratios, seed);
        let against = match all.first().map(|first| first.ratio) {
            None => Against::Itself,
            Some(first) if ratio.overlaps(first) => Against::Equal,
            Some(first) if ratio.median < first.median => Against::Less,
            Some(_) => Against::More,
        };
        all.push(Compared {
            name: server.name.clone(),
            value: median(&server.values),
            ratio,
            against,
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(name: &str, values: &[f64]) -> Samples {
        Samples {
            name: name.to_owned(),
            values: values.to_vec(),
        }
    }

    #[test]
    fn overlapping_intervals_are_equal() {
        let base = [1.0, 2.0, 1.0, 2.0, 1.0];
        let servers = [
            samples("first", &[1.1, 2.2, 1.2, 2.1, 1.1]),
            samples("same", &[1.15, 2.1, 1.1, 2.3, 1.1]),
            samples("dear", &[3.0, 6.0, 3.1, 6.1, 3.0]),
            samples("cheap", &[0.5, 1.0, 0.5, 1.0, 0.5]),
        ];
        let against: Vec<Against> = compare(&servers, &base, 1)
            .iter()
            .map(|one| one.against)
            .collect();
        let expected = [
            Against::Itself,
            Against::Equal,
            Against::More,
            Against::Less,
        ];
        assert_eq!(against, expected);
    }

    #[test]
    fn a_round_that_is_slow_for_all_changes_no_ratio() {
        let quiet = compare(&[samples("a", &[2.0, 2.0, 2.0])], &[1.0, 1.0, 1.0], 1);
        let noisy = compare(&[samples("a", &[2.0, 20.0, 2.0])], &[1.0, 10.0, 1.0], 1);
        assert_eq!(quiet[0].ratio, noisy[0].ratio);
    }
}
