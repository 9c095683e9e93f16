//! The table of losses: the figures in which another server is better than the first.
//!
//! Another server is better if the intervals do not overlap.

use std::collections::BTreeSet;

use super::config::Config;
use super::samples::{Against, Compared};
use crate::report::Table;

/// The losses found so far.
#[derive(Debug)]
pub(super) struct Losses {
    first: String,
    /// The names of variants of the first server, which are not listed.
    variants: BTreeSet<String>,
    rows: Vec<Vec<String>>,
}

/// The better direction of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    /// Smaller is better.
    Less,
    /// Larger is better.
    More,
}

impl Losses {
    /// Creates an empty table.
    pub(super) fn of(config: &Config) -> Self {
        let variants = config.servers.iter().filter(|server| server.is_variant());
        let first = config.servers.first();
        Self {
            first: first.map(|server| server.name.clone()).unwrap_or_default(),
            variants: variants.map(|server| server.name.clone()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds the servers that are better than the first, which is `servers[0]`, in one figure.
    pub(super) fn add(&mut self, what: &str, figure: &str, servers: &[Compared], better: Better) {
        let worse = match better {
            Better::Less => Against::Less,
            Better::More => Against::More,
        };
        let Some(own) = servers.first().map(|first| first.ratio.median) else {
            return;
        };
        for one in servers {
            if one.against == worse && !self.variants.contains(&one.name) {
                let ratio = format!("{:.3}", one.ratio.median / own);
                let cells = [what, figure, &one.name, &ratio];
                self.rows.push(cells.map(str::to_owned).to_vec());
            }
        }
    }

    /// Returns the table. Without losses it has one row that says so.
    pub(super) fn into_table(self) -> Table {
        let Self { first, rows, .. } = self;
        let of_first = format!("of {first}'s");
        let heads = ["measure", "figure", "to", &of_first];
        let none = ["in no figure of this run", "", "", ""];
        Table {
            title: format!("Where {first} loses"),
            heads: heads.map(str::to_owned).to_vec(),
            rows: if rows.is_empty() {
                vec![none.map(str::to_owned).to_vec()]
            } else {
                rows
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::samples::{Samples, compare};

    const TEXT: &str = r#"
        [[server]]
        name = "a"
        command = ["a"]
        protocol = "wserver"
        [[server]]
        name = "b"
        command = ["b"]
        protocol = "topics"
        [[server]]
        name = "a2"
        command = ["a"]
        protocol = "wserver"
        measures = ["rpc"]
    "#;

    fn compared(of_b: f64, of_a2: f64) -> Vec<Compared> {
        let samples = |name: &str, value: f64| Samples {
            name: name.to_owned(),
            values: vec![value; 5],
        };
        let all = [samples("a", 1.0), samples("b", of_b), samples("a2", of_a2)];
        compare(&all, &[1.0; 5], 1)
    }

    #[test]
    fn a_better_server_is_a_loss_unless_it_is_a_variant() {
        let config = Config::parse(TEXT).expect("well formed");
        let mut losses = Losses::of(&config);
        losses.add("rpc", "p50", &compared(0.9, 0.5), Better::Less);
        losses.add("rpc", "p99", &compared(1.1, 0.5), Better::Less);
        losses.add("knee", "", &compared(2.0, 3.0), Better::More);
        losses.add("knee", "", &compared(0.5, 0.5), Better::More);
        let rows = losses.into_table().rows;
        assert_eq!(
            rows,
            [["rpc", "p50", "b", "0.900"], ["knee", "", "b", "2.000"]]
        );
        let none = Losses::of(&config).into_table();
        assert_eq!(none.rows[0][0], "in no figure of this run");
    }
}
