//! The TOML file of a comparison, which `loadtest compare --help` explains.

use serde::Deserialize;

use crate::failure::{Attempt as _, Failure, Outcome};
use crate::protocol::{App, Name, Options};
use crate::rounds::MessageSource;

/// A comparison file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// A note for the report.
    #[serde(default)]
    pub(crate) note: Option<String>,
    #[serde(default = "rounds")]
    pub(crate) rounds: usize,
    #[serde(default = "round_seconds")]
    pub(crate) round_seconds: f64,
    #[serde(default = "subscribers")]
    pub(crate) subscribers: Vec<usize>,
    #[serde(default = "bytes")]
    pub(crate) bytes: Vec<usize>,
    #[serde(default = "outstanding")]
    pub(crate) outstanding: Vec<usize>,
    #[serde(default = "measures")]
    pub(crate) measures: Vec<Measure>,
    #[serde(default = "idle_sessions")]
    pub(crate) idle_sessions: usize,
    #[serde(default = "connect_sessions")]
    pub(crate) connect_sessions: usize,
    /// Rounds of `connect`, `idle` and `knee`, which are long.
    #[serde(default = "long_rounds")]
    pub(crate) long_rounds: usize,
    #[serde(default = "p99_max_ms")]
    pub(crate) p99_max_ms: f64,
    /// Maximum bytes of one batch over all subscribers. Cells above it are skipped.
    #[serde(default = "batch_bytes_max")]
    pub(crate) batch_bytes_max: usize,
    #[serde(rename = "server")]
    pub(crate) servers: Vec<ServerConfig>,
}

/// A measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// CPU per delivery and latency, for each number of subscribers, size and window
    Fanout,
    /// Round trip of one command on one connection
    Rpc,
    /// Most deliveries a second with p99 below the limit
    Knee,
    /// Latencies at half the rate that the slowest server reaches
    HalfLoad,
    /// CPU per connection
    Connect,
    /// Memory per idle connection
    Idle,
    /// CPU per delivery and latency of variants of the first server
    Shards,
}

/// A server of the comparison.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerConfig {
    pub(crate) name: String,
    /// The program and its arguments; `{port}` is replaced by a free port.
    pub(crate) command: Vec<String>,
    pub(crate) protocol: String,
    #[serde(default = "via")]
    pub(crate) via: MessageSource,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    publish_path: Option<String>,
    #[serde(default)]
    publish_header: Option<String>,
    #[serde(default)]
    app: Option<String>,
    /// The protocol of the measure `rpc`; `None` excludes the server from it.
    #[serde(default)]
    pub(crate) rpc_protocol: Option<String>,
    #[serde(default)]
    rpc_path: Option<String>,
    /// 0: all outstanding publications are pipelined on one connection. Else each has its own.
    #[serde(default = "one")]
    pub(crate) connections: usize,
    /// The version for the report.
    #[serde(default)]
    pub(crate) version: Option<String>,
    /// The measures of a variant of the first server; `None` for other servers. A variant does not
    /// count in the table of losses.
    #[serde(default)]
    measures: Option<Vec<Measure>>,
}

impl Config {
    /// Parses and checks the text of a comparison file.
    ///
    /// # Errors
    ///
    /// The TOML is invalid (the message has the line), or a value is out of range.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let config: Self = toml::from_str(text).attempt("parse the comparison file")?;
        if config.servers.is_empty() {
            return Err(Failure::new("the comparison file has no [[server]]"));
        }
        for server in &config.servers {
            server.protocol()?;
            server.rpc()?;
            if server.command.is_empty() {
                return Err(Failure::new(format!(
                    "server `{}` has no command",
                    server.name
                )));
            }
        }
        config.check()?;
        Ok(config)
    }

    /// Returns the servers of `measure`, in the order of the file.
    pub(crate) fn taking_part(&self, measure: Measure) -> impl Iterator<Item = &ServerConfig> {
        let takes_part = move |index: usize, server: &ServerConfig| match &server.measures {
            Some(measures) => measures.contains(&measure),
            None => measure != Measure::Shards || index == 0,
        };
        let servers = self.servers.iter().enumerate();
        servers.filter_map(move |(index, server)| takes_part(index, server).then_some(server))
    }

    /// Checks the ranges of all numbers.
    ///
    /// # Errors
    ///
    /// A number is 0, a list is empty, or a message size is out of range.
    pub(crate) fn check(&self) -> Outcome<()> {
        let is_some = |list: &[usize]| !list.is_empty() && list.iter().all(|n| *n > 0);
        let works = self.rounds > 0
            && self.long_rounds > 0
            && self.round_seconds > 0.0
            && is_some(&self.subscribers)
            && is_some(&self.bytes)
            && is_some(&self.outstanding);
        let sizes = crate::stamp::BYTES_MIN..=crate::stamp::BYTES_MAX;
        if works && self.bytes.iter().all(|bytes| sizes.contains(bytes)) {
            Ok(())
        } else {
            Err(Failure::new(
                "rounds, long_rounds, round_seconds, subscribers and outstanding must be above 0, \
                 bytes from 64 to 1048576",
            ))
        }
    }
}

impl ServerConfig {
    /// Returns `true` for a variant of the first server.
    pub(crate) const fn is_variant(&self) -> bool {
        self.measures.is_some()
    }

    /// Returns the server's protocol.
    ///
    /// # Errors
    ///
    /// The name is unknown.
    pub(crate) fn protocol(&self) -> Outcome<Name> {
        name(&self.protocol)
    }

    /// Returns the server's protocol in the measure `rpc`; `None` if it is excluded.
    ///
    /// # Errors
    ///
    /// The name is unknown.
    pub(crate) fn rpc(&self) -> Outcome<Option<Name>> {
        self.rpc_protocol.as_deref().map(name).transpose()
    }

    /// Returns the options of the protocol, for the measure `rpc` or for the others.
    pub(crate) fn options(&self, is_rpc: bool) -> Options {
        let words = self.app.as_deref().unwrap_or_default();
        let mut words = words.splitn(3, ':').map(str::to_owned);
        let app = match (words.next(), words.next(), words.next()) {
            (Some(id), Some(key), Some(secret)) => App { id, key, secret },
            _ => App::default(),
        };
        Options {
            path: if is_rpc { &self.rpc_path } else { &self.path }.clone(),
            publish_path: self.publish_path.clone(),
            publish_header: self.publish_header.clone(),
            app,
        }
    }
}

fn name(text: &str) -> Outcome<Name> {
    use clap::ValueEnum as _;
    Name::from_str(text, false).map_err(|_| {
        Failure::new(format!(
            "unknown protocol `{text}`; see `loadtest push --help`"
        ))
    })
}

fn rounds() -> usize {
    15
}
fn round_seconds() -> f64 {
    1.0
}
fn subscribers() -> Vec<usize> {
    vec![1_000, 10_000]
}
fn bytes() -> Vec<usize> {
    vec![64, 512, 16_384]
}
fn outstanding() -> Vec<usize> {
    vec![1, 16]
}
fn measures() -> Vec<Measure> {
    vec![
        Measure::Fanout,
        Measure::Rpc,
        Measure::Knee,
        Measure::HalfLoad,
        Measure::Connect,
        Measure::Idle,
        Measure::Shards,
    ]
}
fn idle_sessions() -> usize {
    10_000
}
fn connect_sessions() -> usize {
    2_000
}
fn long_rounds() -> usize {
    5
}
fn p99_max_ms() -> f64 {
    10.0
}
fn batch_bytes_max() -> usize {
    1 << 30
}
fn via() -> MessageSource {
    MessageSource::Http
}
fn one() -> usize {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        rounds = 3
        bytes = [64]
        [[server]]
        name = "a"
        command = ["a", "--port", "{port}"]
        protocol = "wserver"
        [[server]]
        name = "n"
        command = ["n"]
        protocol = "nats"
        via = "client"
        rpc_protocol = "nats"
        [[server]]
        name = "a2"
        command = ["a"]
        protocol = "wserver"
        measures = ["shards"]
    "#;

    #[test]
    fn missing_keys_have_defaults() {
        let config = Config::parse(TEXT).expect("well formed");
        assert_eq!((config.rounds, config.subscribers.len()), (3, 2));
        assert_eq!(config.servers[0].via, MessageSource::Http);
        assert_eq!(config.servers[0].rpc(), Ok(None));
        assert_eq!(config.servers[1].via, MessageSource::Client);
        assert_eq!(config.servers[1].rpc(), Ok(Some(Name::Nats)));
    }

    #[test]
    fn a_variant_takes_part_only_in_its_measures() {
        let config = Config::parse(TEXT).expect("well formed");
        let names = |measure| -> Vec<&str> {
            let servers = config.taking_part(measure);
            servers.map(|server| server.name.as_str()).collect()
        };
        assert_eq!(names(Measure::Shards), ["a", "a2"]);
        assert_eq!(names(Measure::Fanout), ["a", "n"]);
        assert!(config.servers[2].is_variant() && !config.servers[1].is_variant());
    }

    #[test]
    fn invalid_values_are_errors() {
        for (right, wrong) in [
            ("rounds = 3", "rounds = 0"),
            ("rounds = 3", "round = 3"),
            ("bytes = [64]", "bytes = [63]"),
            ("bytes = [64]", "bytes = []"),
            ("\"wserver\"", "\"wserwer\""),
            ("[\"n\"]", "[]"),
        ] {
            let text = TEXT.replacen(right, wrong, 1);
            assert!(Config::parse(&text).is_err(), "{wrong}");
        }
    }
}
