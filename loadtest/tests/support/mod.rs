//! Helpers of the tests: running the executable, and reading its report.

use std::process::{Command, Output};

/// Runs `loadtest` with `arguments`.
pub(crate) fn loadtest(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(arguments)
        .output()
        .expect("the executable of this package runs")
}

/// The output of a command: a JSON report, then standard error.
#[derive(Debug)]
pub(crate) struct Report(pub(crate) String);

impl Report {
    /// Returns the output of a command.
    pub(crate) fn of(output: &Output) -> Self {
        let printed = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        Self(format!("{printed}\n{errors}"))
    }

    /// Returns a figure of the report.
    ///
    /// # Panics
    ///
    /// The report has no such figure.
    #[track_caller]
    pub(crate) fn figure(&self, name: &str) -> f64 {
        let key = format!("\"{name}\": ");
        let from = self
            .0
            .find(&key)
            .unwrap_or_else(|| panic!("no {name} in {}", self.0));
        let rest = &self.0[from + key.len()..];
        let end = rest.find([',', '\n']).expect("an object goes on or ends");
        rest[..end].parse().expect("a figure is a number")
    }
}
