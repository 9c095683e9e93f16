//! Reports of results: text for a terminal, JSON, Markdown, or an HTML page.
//!
//! A scenario fills a [`Report`]; this module formats it. A report has all that is needed to
//! repeat the run: command line, version, kernel, CPU, date.

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
    /// The command line, quoted for a shell.
    command: String,
    version: String,
    machine: String,
    date: String,
    /// The results as text.
    rows: Vec<Row>,
    /// The results as numbers, by name.
    figures: Map<String, Value>,
    tables: Vec<Table>,
    charts: Vec<Chart>,
    warnings: Vec<String>,
    errors: Vec<String>,
    /// True if there are no errors.
    is_clean: bool,
}

/// A labelled line of a report.
#[derive(Clone, Debug, Serialize)]
struct Row {
    label: String,
    text: String,
}

/// A table with column heads.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) heads: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// The output formats of a report.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Destination {
    /// Print one JSON document instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Also write the report as Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<std::path::PathBuf>,

    /// Also write one self-contained HTML page with charts
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<std::path::PathBuf>,
}

impl Report {
    /// Creates an empty report of this process's command line.
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
            errors: Vec::new(),
            is_clean: true,
        }
    }

    /// Adds a line of text.
    pub(crate) fn row(&mut self, label: &str, text: impl Into<String>) {
        self.rows.push(Row {
            label: label.to_owned(),
            text: text.into(),
        });
    }

    /// Adds a number. Its name ends with the unit.
    pub(crate) fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Adds a table.
    pub(crate) fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Inserts a table before all others.
    pub(crate) fn put_first(&mut self, table: Table) {
        self.tables.insert(0, table);
    }

    /// Adds a chart.
    pub(crate) fn chart(&mut self, chart: Chart) {
        self.charts.push(chart);
    }

    /// Adds a warning: the figures may be inaccurate.
    pub(crate) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Adds an error. The command then exits with status 1.
    pub(crate) fn record_error(&mut self, error: impl Into<String>) {
        self.errors.push(error.into());
        self.is_clean = false;
    }

    /// Prints the report and writes the requested files. Returns `true` if there are no errors.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub(crate) fn deliver(&self, destination: &Destination) -> Outcome<bool> {
        if let Some(path) = &destination.report {
            write_page(path, &page::render(self))?;
        }
        if let Some(path) = &destination.markdown {
            write_page(path, &self.as_markdown())?;
        }
        if destination.json {
            let text = serde_json::to_string_pretty(self).attempt("serialize the report")?;
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
        for (what, lines) in [("Error", &self.errors), ("Warning", &self.warnings)] {
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
        for error in &self.errors {
            println!("{:<16}{error}", "ERROR");
        }
    }
}

impl Table {
    /// Formats the table in Markdown.
    fn as_markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = line(&self.heads);
        text.push_str(&line(&vec!["---".to_owned(); self.heads.len()]));
        for row in &self.rows {
            text.push_str(&line(row));
        }
        text
    }

    /// Formats the table in aligned columns.
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

/// Returns the latencies of `histogram` as a line: `(percentile in nines, milliseconds)`.
pub(crate) fn percentile_curve(name: &str, histogram: &Histogram<u64>) -> Line {
    let mut points = Vec::new();
    for step in 0..=160 {
        let nines = float(step) / 40.0; // 0 to 4: from p0 to p99.99
        let quantile = 1.0 - 10_f64.powf(-nines);
        if 10_f64.powf(-nines) * float(histogram.len()) < 1.0 {
            break; // Fewer than one sample is above this percentile.
        }
        let latency_ms = float(histogram.value_at_quantile(quantile)) / 1e6;
        points.push((nines, latency_ms));
    }
    Line {
        name: name.to_owned(),
        points,
    }
}

/// Returns deliveries per second as a line, from counts per 100 ms.
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
    fn cells_are_aligned_with_the_heads() {
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
    fn a_curve_ends_at_the_last_sample() {
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
    fn a_page_is_complete_and_self_contained() {
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
