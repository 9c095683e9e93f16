//! The level and form of the log: the key `log`, and the flag `--log`.

use super::key::Shape;
use super::keywords::{quoted, quoted_list, spelled, text_values};
use std::fmt;
use std::str::FromStr;

/// The level and form of the log. Spelled as a level, `json`, or both: `debug,json`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Log {
    /// The least severe level that is logged.
    pub level: LogLevel,
    /// The form of a line.
    pub form: LogForm,
}

/// The level of a line; each includes those above it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogLevel {
    /// Failures of the gateway.
    Error,
    /// Problems that an operator should look at.
    Warn,
    /// Starts, stops and other events of operation.
    Info,
    /// Each end of a session and each rejection.
    Debug,
    /// Everything else.
    Trace,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogForm {
    /// Text for people.
    Text,
    /// One JSON object.
    Json,
}

spelled!(pub LogLevel:
    Error = "error"
    Warn = "warn"
    Info = "info"
    Debug = "debug"
    Trace = "trace"
);

text_values! {
    Log: Shape::Forms(&[
        "error", "warn", "info", "debug", "trace", "json", "LEVEL,json", "json,LEVEL",
    ]);
}

impl Default for Log {
    /// `info`, as text.
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            form: LogForm::Text,
        }
    }
}

impl FromStr for Log {
    type Err = String;

    /// Reads a level, `json` (level `info`), or both with a comma between them.
    fn from_str(text: &str) -> Result<Self, String> {
        let (level, form) = match text.split_once(',') {
            Some((level, JSON) | (JSON, level)) => (level, LogForm::Json),
            None if text == JSON => (LogLevel::Info.as_str(), LogForm::Json),
            _ => (text, LogForm::Text),
        };
        match level.parse() {
            Ok(level) => Ok(Self { level, form }),
            Err(_) => Err(format!(
                "{} is unknown, allowed are {}, \"json\", and both, such as \"debug,json\"",
                quoted(text),
                quoted_list(LogLevel::SPELLINGS)
            )),
        }
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.level.as_str())?;
        match self.form {
            LogForm::Text => Ok(()),
            LogForm::Json => write!(f, ",{JSON}"),
        }
    }
}

const JSON: &str = "json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_and_a_form_are_read_alone_and_together() {
        let log = |level, form| Ok(Log { level, form });
        assert_eq!("warn".parse(), log(LogLevel::Warn, LogForm::Text));
        assert_eq!("json".parse(), log(LogLevel::Info, LogForm::Json));
        assert_eq!("debug,json".parse(), log(LogLevel::Debug, LogForm::Json));
        assert_eq!("json,debug".parse(), log(LogLevel::Debug, LogForm::Json));
        for bad in [
            "",
            "loud",
            "debug,",
            ",json",
            "json,json",
            "debug,warn",
            "debug, json",
        ] {
            let error = bad.parse::<Log>().expect_err("not allowed");
            let expected = format!(
                "\"{bad}\" is unknown, allowed are \"error\", \"warn\", \"info\", \"debug\", \
                 \"trace\", \"json\", and both, such as \"debug,json\""
            );
            assert_eq!(error, expected);
        }
        for word in LogLevel::SPELLINGS {
            let level = word.parse().expect("it is one");
            for form in [LogForm::Text, LogForm::Json] {
                let log = Log { level, form };
                assert_eq!(log.to_string().parse(), Ok(log));
            }
        }
    }
}
