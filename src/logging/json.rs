//! The JSON form of a log line: one object with `timestamp`, `level`, `target` and `message`, then
//! the event's fields. Numbers stay numbers, and counts by reason are objects.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// A formatter of events as JSON lines. Spans are left out; the gateway has none.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut fields = Fields {
            target: metadata.target().to_owned(),
            ..Fields::default()
        };
        event.record(&mut fields);
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "\",\"level\":\"{}\"", metadata.level())?;
        write!(writer, ",\"target\":{}", json(&fields.target))?;
        write!(writer, ",\"message\":{}", json(&fields.message))?;
        writeln!(writer, "{}}}", fields.others)
    }
}

/// The fields of an event.
#[derive(Debug, Default)]
struct Fields {
    target: String,
    message: String,
    /// The other fields as JSON, each after a comma.
    others: String,
}

impl Fields {
    fn put(&mut self, field: &Field, value: &impl serde::Serialize) {
        let name = field.name();
        // The line has members of its own with these names.
        let prefix = if RESERVED.contains(&name) {
            "field_"
        } else {
            ""
        };
        let name = json(&format!("{prefix}{name}"));
        write!(self.others, ",{name}:{}", json(value)).expect("writing to a String");
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            // The crate `log` adds such fields.
            "log.target" => self.target = text.trim_matches('"').to_owned(),
            name if name.starts_with("log.") => {}
            name if COUNTS.contains(&name) => match serde_json::from_str(&text) {
                Ok::<BTreeMap<String, u64>, _>(counts) => self.put(field, &counts),
                Err(_) => self.put(field, &text),
            },
            _ => self.put(field, &text),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "log.target" => value.clone_into(&mut self.target),
            name if name.starts_with("log.") => {}
            _ => self.put(field, &value),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, &value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field, &value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.put(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, &value);
    }
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("text, numbers and maps with text for keys")
}

const RESERVED: [&str; 4] = ["timestamp", "level", "target", "message"];
/// Fields that map reasons to counts. They are logged with `?`.
const COUNTS: [&str; 8] = [
    "ends",
    "upgrades",
    "joins",
    "publishes",
    "commands",
    "tokens",
    "requests",
    "hooks",
];
