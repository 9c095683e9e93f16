//! What is compared, and how: a TOML file, explained by `loadtest compare --help`.

use serde::Deserialize;

use crate::failure::{Attempt as _, Failure, Outcome};
use crate::protocol::{App, Name, Options};
use crate::rounds::Asking;

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// How the file came to be, for the report.
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
    /// A cell whose batch would put more bytes than this into sockets is left out.
    #[serde(default = "batch_bytes_max")]
    pub(crate) batch_bytes_max: usize,
    #[serde(rename = "server")]
    pub(crate) servers: Vec<ServerConfig>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// CPU per delivery and latency, for each number of subscribers, size and window
    Fanout,
    /// Round trip of one command on one connection
    Rpc,
    /// Most deliveries a second with p99 below the bound
    Knee,
    /// Latencies at half of what the slowest server bears
    HalfLoad,
    /// CPU per connect
    Connect,
    /// Memory per idle connection
    Idle,
    /// CPU per delivery and latency of other ways to run the first server
    Shards,
}

/// One server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerConfig {
    pub(crate) name: String,
    /// The program and its arguments; `{port}` is replaced by a free port.
    pub(crate) command: Vec<String>,
    pub(crate) protocol: String,
    #[serde(default = "via")]
    pub(crate) via: Asking,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    publish_path: Option<String>,
    #[serde(default)]
    publish_header: Option<String>,
    #[serde(default)]
    app: Option<String>,
    /// What `rpc` speaks, and where; without it the server has no part in that measure.
    #[serde(default)]
    pub(crate) rpc_protocol: Option<String>,
    #[serde(default)]
    rpc_path: Option<String>,
    /// Publishing connections for each outstanding publication: 1, or 0 to pipeline all on one.
    #[serde(default = "one")]
    pub(crate) connections: usize,
    /// What the report says it is.
    #[serde(default)]
    pub(crate) version: Option<String>,
    /// For another way to run the first server: what it takes part in. It is nobody to lose to.
    #[serde(default)]
    measures: Option<Vec<Measure>>,
}

impl Config {
    /// Reads and checks the file's text.
    ///
    /// # Errors
    ///
    /// It is no such file; the message says where.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let config: Self = toml::from_str(text).attempt("read the comparison")?;
        if config.servers.is_empty() {
            return Err(Failure::new("the comparison names no [[server]]"));
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

    /// Those that take part in `measure`, the first of them first.
    pub(crate) fn taking_part(&self, measure: Measure) -> impl Iterator<Item = &ServerConfig> {
        let takes_part = move |index: usize, server: &ServerConfig| match &server.measures {
            Some(measures) => measures.contains(&measure),
            None => measure != Measure::Shards || index == 0,
        };
        let servers = self.servers.iter().enumerate();
        servers.filter_map(move |(index, server)| takes_part(index, server).then_some(server))
    }

    /// # Errors
    ///
    /// A number cannot work.
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
                "rounds, long_rounds, round_seconds, subscribers, bytes (64 and more) and \
                 outstanding must be above 0",
            ))
        }
    }
}

impl ServerConfig {
    /// Whether it is the first server, run in another way.
    pub(crate) const fn is_variant(&self) -> bool {
        self.measures.is_some()
    }

    /// What it speaks.
    ///
    /// # Errors
    ///
    /// There is no such protocol.
    pub(crate) fn protocol(&self) -> Outcome<Name> {
        name(&self.protocol)
    }

    /// What it speaks in `rpc`, if it has a part in that.
    ///
    /// # Errors
    ///
    /// There is no such protocol.
    pub(crate) fn rpc(&self) -> Outcome<Option<Name>> {
        self.rpc_protocol.as_deref().map(name).transpose()
    }

    /// What is to be said about the protocol, of `rpc` or of the rest.
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
    Name::from_str(text, false)
        .map_err(|_| Failure::new(format!("there is no protocol `{text}`; see --help")))
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
fn via() -> Asking {
    Asking::Http
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
    fn what_is_left_out_has_a_default() {
        let config = Config::parse(TEXT).expect("well formed");
        assert_eq!((config.rounds, config.subscribers.len()), (3, 2));
        assert_eq!(config.servers[0].via, Asking::Http);
        assert_eq!(config.servers[0].rpc(), Ok(None));
        assert_eq!(config.servers[1].via, Asking::Client);
        assert_eq!(config.servers[1].rpc(), Ok(Some(Name::Nats)));
    }

    #[test]
    fn another_way_to_run_the_first_takes_part_only_where_it_says() {
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
    fn what_cannot_work_is_refused_at_the_door() {
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
