//! The table of figures: values of floor and gateway, the measured figure, the limit, the result.

use std::fmt;

use crate::stats::Interval;

/// A line of the table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    figure: String,
    floor: String,
    gateway: String,
    measured: String,
    limit: String,
    holds: bool,
    note: Option<String>,
}

/// The head of the table.
pub(super) const HEAD: &str = "\
figure                        floor        gateway      measured [95 %]           limit     holds\n\
----------------------------  -----------  -----------  ------------------------  --------  -----";

impl Row {
    /// Creates a row for the ratio of the gateway's value to the floor's, both formatted.
    pub(super) fn ratio(
        figure: &str,
        [floor, gateway]: [String; 2],
        ratio: Interval,
        limit: f64,
    ) -> Self {
        let Interval { median, low, high } = ratio;
        Self {
            figure: figure.to_owned(),
            floor,
            gateway,
            measured: format!("{median:.3} [{low:.3}, {high:.3}]"),
            limit: format!("<= {limit:.2}"),
            holds: ratio.is_within(limit),
            note: None,
        }
    }

    /// Creates a row for a value of the gateway in `unit`, without a floor.
    pub(super) fn price(figure: &str, price: Interval, unit: &str, limit: f64) -> Self {
        let Interval { median, low, high } = price;
        Self {
            figure: figure.to_owned(),
            floor: "-".to_owned(),
            gateway: format!("{median:.1} {unit}"),
            measured: format!("{median:.1} [{low:.1}, {high:.1}]"),
            limit: format!("<= {limit}"),
            holds: price.is_within(limit),
            note: None,
        }
    }

    /// Creates a row for a value that is measured once, without an interval.
    pub(super) fn count(figure: &str, value: f64, unit: &str, limit: f64) -> Self {
        Self {
            figure: figure.to_owned(),
            floor: "-".to_owned(),
            gateway: format!("{value:.1} {unit}"),
            measured: format!("{value:.2}"),
            limit: format!("<= {limit}"),
            holds: value <= limit,
            note: None,
        }
    }

    /// Creates a row for a figure that cannot be measured, with the reason. It does not hold.
    pub(super) fn missing(figure: &str, why: &str) -> Self {
        Self {
            figure: figure.to_owned(),
            floor: "-".to_owned(),
            gateway: "-".to_owned(),
            measured: "not measured".to_owned(),
            limit: "-".to_owned(),
            holds: false,
            note: Some(format!("{figure}: {why}")),
        }
    }

    /// Adds a note, which is printed below the table.
    pub(super) fn with_note(mut self, note: &str) -> Self {
        self.note = Some(format!("{}: {note}", self.figure));
        self
    }

    /// Returns the note.
    pub(super) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Returns `true` if the figure is within its limit.
    pub(super) const fn holds(&self) -> bool {
        self.holds
    }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            figure,
            floor,
            gateway,
            measured,
            limit,
            holds,
            ..
        } = self;
        let holds = if *holds { "yes" } else { "NO" };
        write!(
            formatter,
            "{figure:<28}  {floor:<11}  {gateway:<11}  {measured:<24}  {limit:<8}  {holds}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Interval = Interval {
        median: 1.2,
        low: 1.14,
        high: 1.3,
    };

    #[test]
    fn cells_are_aligned_with_the_heads() {
        let words = ["3.40 us".to_owned(), "4.08 us".to_owned()];
        let row = Row::ratio("fanout-1000", words, INTERVAL, 1.15).to_string();
        let head = HEAD.lines().next().expect("two lines");
        for (column, cell) in [
            ("floor", "3.40 us"),
            ("gateway", "4.08 us"),
            ("limit", "<= 1.15"),
        ] {
            assert_eq!(head.find(column), row.find(cell), "{column}\n{head}\n{row}");
        }
        assert!(row.ends_with("yes"), "{row}");
    }

    #[test]
    fn a_missing_figure_does_not_hold() {
        let row = Row::missing("syscalls", "strace is not installed");
        assert!(!row.holds());
        assert_eq!(row.note(), Some("syscalls: strace is not installed"));
    }
}
