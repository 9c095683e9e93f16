//! What a run came to: for a terminal, as one JSON document, or as one HTML page.
//!
//! A scenario fills a [`Report`]; how it looks is decided here. Everything needed to run it again
//! is in it: command line, versions, kernel, CPU, date.

mod chart;
mod page;

use std::fs;
use std::path::Path;

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::{Map, Value};

pub(crate) use self::chart::{Chart, Line, Scale};
use crate::clock;
use crate::failure::{Attempt as _, Outcome};
use crate::procfs;
use crate::stats::{count, float};

/// The result of a command.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    title: String,
    /// The command line, to run it again.
    command: String,
    version: String,
    machine: String,
    date: String,
    /// What was found, in words, in order.
    rows: Vec<Row>,
    /// The same in numbers, by name.
    figures: Map<String, Value>,
    /// Larger tables.
    tables: Vec<Table>,
    charts: Vec<Chart>,
    warnings: Vec<String>,
    complaints: Vec<String>,
    /// Whether all was as it should be.
    is_clean: bool,
}

/// One line of the result.
#[derive(Clone, Debug, Serialize)]
struct Row {
    label: String,
    text: String,
}

/// A table with heads.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) heads: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// Where a report goes.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Destination {
    /// Print one JSON document instead of the table
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the tables as Markdown too
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<std::path::PathBuf>,

    /// Write one self-contained HTML page with the curves too
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<std::path::PathBuf>,
}

impl Report {
    /// A report of a run of this very command line.
    pub(crate) fn new(title: impl Into<String>) -> Self {
        let arguments: Vec<String> = std::env::args_os()
            .map(|argument| quoted(&argument.to_string_lossy()))
            .collect();
        Self {
            title: title.into(),
            command: arguments.join(" "),
            version: format!("loadtest {}", env!("CARGO_PKG_VERSION")),
            machine: procfs::machine(),
            date: clock::date(),
            rows: Vec::new(),
            figures: Map::new(),
            tables: Vec::new(),
            charts: Vec::new(),
            warnings: Vec::new(),
            complaints: Vec::new(),
            is_clean: true,
        }
    }

    /// Adds a line.
    pub(crate) fn row(&mut self, label: &str, text: impl Into<String>) {
        self.rows.push(Row {
            label: label.to_owned(),
            text: text.into(),
        });
    }

    /// Adds a number. Units are in its name.
    pub(crate) fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    pub(crate) fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Puts a table before those that are there.
    pub(crate) fn put_first(&mut self, table: Table) {
        self.tables.insert(0, table);
    }

    pub(crate) fn chart(&mut self, chart: Chart) {
        self.charts.push(chart);
    }

    /// Says what makes the figures doubtful.
    pub(crate) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Says what was wrong; the run has failed.
    pub(crate) fn complain(&mut self, complaint: impl Into<String>) {
        self.complaints.push(complaint.into());
        self.is_clean = false;
    }

    /// Shows the report where it is wanted.
    ///
    /// # Errors
    ///
    /// The page cannot be written.
    pub(crate) fn deliver(&self, destination: &Destination) -> Outcome<bool> {
        if let Some(path) = &destination.report {
            write_page(path, &page::render(self))?;
        }
        if let Some(path) = &destination.markdown {
            write_page(path, &self.as_markdown())?;
        }
        if destination.json {
            let text = serde_json::to_string_pretty(self).attempt("word the report")?;
            println!("{text}");
        } else {
            self.print();
        }
        Ok(self.is_clean)
    }

    fn as_markdown(&self) -> String {
        let Self {
            title,
            command,
            version,
            machine,
            date,
            ..
        } = self;
        let mut text = format!("# {title}\n\n- {machine}; {date}; {version}\n- `{command}`\n");
        for Row { label, text: words } in &self.rows {
            let line = format!("- {}: {words}\n", label.trim());
            text.push_str(&line);
        }
        for table in &self.tables {
            let table = format!("\n## {}\n\n{}", table.title, table.as_markdown());
            text.push_str(&table);
        }
        for (what, lines) in [("Wrong", &self.complaints), ("Warning", &self.warnings)] {
            for line in lines {
                let line = format!("\n{what}: {line}\n");
                text.push_str(&line);
            }
        }
        text
    }

    fn print(&self) {
        println!("{}", self.title);
        println!("{:<16}{}; {}", "machine", self.machine, self.date);
        for Row { label, text } in &self.rows {
            println!("{label:<15} {text}");
        }
        for table in &self.tables {
            println!("\n{}", table.title);
            print!("{}", table.as_text());
        }
        for warning in &self.warnings {
            println!("{:<16}{warning}", "WARNING");
        }
        for complaint in &self.complaints {
            println!("{:<16}{complaint}", "WRONG");
        }
    }
}

impl Table {
    /// The table in Markdown.
    fn as_markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = line(&self.heads);
        text.push_str(&line(&vec!["---".to_owned(); self.heads.len()]));
        for row in &self.rows {
            text.push_str(&line(row));
        }
        text
    }

    /// The table in columns, as wide as they need be.
    pub(crate) fn as_text(&self) -> String {
        let columns = self.heads.len();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(String::len).max().unwrap_or_default();
            widest.max(self.heads[column].len())
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |cells: &[String]| {
            let mut text = String::new();
            for (cell, width) in cells.iter().zip(&widths) {
                let cell = format!("{cell:<width$}  ");
                text.push_str(&cell);
            }
            format!("{}\n", text.trim_end())
        };
        let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        let mut text = line(&self.heads);
        text.push_str(&line(&rules));
        for row in &self.rows {
            text.push_str(&line(row));
        }
        text
    }
}

/// The latencies of `histogram` by percentile, as a line of a chart: one nine after another.
pub(crate) fn percentile_curve(name: &str, histogram: &Histogram<u64>) -> Line {
    let mut points = Vec::new();
    for step in 0..=160 {
        let nines = float(step) / 40.0; // 0 to 4: from p0 to p99.99
        let quantile = 1.0 - 10_f64.powf(-nines);
        if 10_f64.powf(-nines) * float(histogram.len()) < 1.0 {
            break; // beyond this there is less than one sample
        }
        let latency_ms = float(histogram.value_at_quantile(quantile)) / 1e6;
        points.push((nines, latency_ms));
    }
    Line {
        name: name.to_owned(),
        points,
    }
}

/// Deliveries a second, from counts per tenth of a second, as a line of a chart.
pub(crate) fn throughput_line(name: &str, tenths: &[u64]) -> Line {
    let points = tenths
        .iter()
        .enumerate()
        .map(|(tenth, deliveries)| (float(count(tenth)) / 10.0, float(*deliveries) * 10.0))
        .collect();
    Line {
        name: name.to_owned(),
        points,
    }
}

fn write_page(path: &Path, page: &str) -> Outcome<()> {
    fs::write(path, page).attempt(&format!("write {}", path.display()))
}

fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_its_cells_under_their_heads() {
        let table = Table {
            title: "t".to_owned(),
            heads: vec!["a".to_owned(), "long head".to_owned()],
            rows: vec![vec!["longer cell".to_owned(), "x".to_owned()]],
        };
        assert_eq!(
            table.as_text(),
            "a            long head\n-----------  ---------\nlonger cell  x\n"
        );
    }

    #[test]
    fn a_command_line_can_be_pasted_into_a_shell() {
        assert_eq!(quoted("--rate=5"), "--rate=5");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_curve_ends_where_samples_do() {
        let mut histogram = crate::stats::latencies();
        for microseconds in 1..=100 {
            histogram
                .record(microseconds * 1000)
                .expect("within the bounds");
        }
        let line = percentile_curve("x", &histogram);
        let (nines, latency_ms) = *line.points.last().expect("there are points");
        assert!((1.9..=2.0).contains(&nines), "{nines}");
        assert!((0.098..=0.101).contains(&latency_ms), "{latency_ms}");
    }

    #[test]
    fn a_page_is_whole_and_needs_nothing_from_elsewhere() {
        let mut report = Report::new("a <title>");
        report.row("latency", "p50 1 & more");
        report.chart(Chart {
            title: "throughput".to_owned(),
            x_name: "seconds".to_owned(),
            y_name: "per second".to_owned(),
            x_scale: Scale::Linear,
            y_scale: Scale::Linear,
            lines: vec![throughput_line("x", &[1, 2, 3])],
        });
        let page = page::render(&report);
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        assert!(page.contains("a &lt;title&gt;") && page.contains("p50 1 &amp; more"));
        assert!(page.contains("<svg") && page.contains("<polyline"));
        for outside in ["http://", "https://", "src=", "<link", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
