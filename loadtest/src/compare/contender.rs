//! A server under comparison: its process, and the client processes for it.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::config::ServerConfig;
use crate::clock::{self, SECOND_NS};
use crate::cores::Cores;
use crate::failure::{Attempt as _, Failure, Outcome};
use crate::gateway;
use crate::protocol::Name;
use crate::rounds::{MessageSource, Reader, ReaderOptions};

/// A running server. Dropping it stops the process and removes its log.
#[derive(Debug)]
pub(super) struct Contender<'a> {
    config: &'a ServerConfig,
    child: Child,
    port: u16,
    log: PathBuf,
}

impl<'a> Contender<'a> {
    /// Starts the server on the server's core and waits until it accepts connections.
    ///
    /// # Errors
    ///
    /// The server cannot be started, exits, or does not listen within 30 s. The message has its
    /// output.
    pub(super) fn start(config: &'a ServerConfig, cores: &Cores) -> Outcome<Self> {
        let port = free_port()?;
        let stamp = clock::now_ns();
        let log = format!(
            "loadtest-{}-{}-{stamp}.log",
            config.name,
            std::process::id()
        );
        let log = std::env::temp_dir().join(log);
        let file = File::create(&log).attempt(&format!("create {}", log.display()))?;
        let errors = file.try_clone().attempt("duplicate the log's descriptor")?;
        let own = std::env::current_exe().attempt("find this program's own executable")?;
        let mut command = Command::new(own);
        command.arg("tied");
        command.args(
            config
                .command
                .iter()
                .map(|word| word.replace("{port}", &port.to_string())),
        );
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = cores.start_on_server(&mut command, &format!("start {}", config.name))?;
        let mut contender = Self {
            config,
            child,
            port,
            log,
        };
        contender.wait_until_listening()?;
        Ok(contender)
    }

    /// Returns the server's name in the comparison file.
    pub(super) fn name(&self) -> &'a str {
        &self.config.name
    }

    /// Returns the server's process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the server's URL, with the path if the file names one.
    pub(super) fn url(&self, is_rpc: bool) -> String {
        let path = self.config.options(is_rpc).path.unwrap_or_default();
        format!("ws://127.0.0.1:{}{path}", self.port)
    }

    /// Starts a client process with `clients` sessions, for `outstanding` publications at a time.
    ///
    /// # Errors
    ///
    /// A session cannot be opened, or is not a member within 10 s.
    pub(super) fn reader(
        &self,
        clients: usize,
        bytes: usize,
        outstanding: usize,
    ) -> Outcome<Reader> {
        let (publishers, pipeline) = match self.config.connections {
            0 => (1, outstanding),
            _ => (outstanding, 1),
        };
        Reader::start(&ReaderOptions {
            url: self.url(false),
            pid: self.pid(),
            protocol: self.config.protocol()?,
            options: self.config.options(false),
            via: self.config.via,
            clients,
            bytes,
            publishers,
            pipeline,
        })
    }

    /// Starts a client process that sends commands on one connection; `None` if the server has no
    /// `rpc_protocol`.
    ///
    /// # Errors
    ///
    /// The session cannot be opened.
    pub(super) fn rpc_reader(&self, bytes: usize) -> Outcome<Option<Reader>> {
        let Some(protocol) = self.config.rpc()? else {
            return Ok(None);
        };
        let reader = Reader::start(&ReaderOptions {
            url: self.url(true),
            pid: self.pid(),
            protocol,
            options: self.config.options(true),
            via: MessageSource::Rpc,
            clients: 1,
            bytes,
            publishers: 1,
            pipeline: 1,
        });
        reader.map(Some)
    }

    /// Runs another command of this program on the server and returns a figure of its report.
    ///
    /// # Errors
    ///
    /// The command fails, or its report lacks the figure.
    pub(super) fn figure(&self, arguments: &[&str], figure: &str) -> Outcome<f64> {
        let own = std::env::current_exe().attempt("find this program's own executable")?;
        let protocol: Name = self.config.protocol()?;
        let app = self.config.options(false).app;
        let output = Command::new(own)
            .args(arguments)
            .args([
                "--target",
                &self.url(false),
                "--protocol",
                &protocol.as_str(),
            ])
            .args(["--pid", &self.pid().to_string(), "--json"])
            .args(["--app", &format!("{}:{}:{}", app.id, app.key, app.secret)])
            .output()
            .attempt("run this program's own executable")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(Failure::new(errors.trim().to_owned()));
        }
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).attempt("parse a report")?;
        let value = report["figures"][figure].as_f64();
        value.ok_or_else(|| Failure::new(format!("a report has no figure `{figure}`")))
    }

    fn wait_until_listening(&mut self) -> Outcome<()> {
        let deadline = clock::now_ns() + START_NS_MAX;
        while clock::now_ns() < deadline {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failure(&format!("exited ({status}) before it listened")));
            }
            clock::pause(Duration::from_millis(20));
        }
        Err(self.failure(&format!(
            "does not listen on port {} within 30 s",
            self.port
        )))
    }

    fn failure(&self, what: &str) -> Failure {
        let printed = fs::read_to_string(&self.log).unwrap_or_default();
        let printed = printed.trim();
        Failure::new(format!(
            "{} {what}; it printed:\n{printed}",
            self.config.name
        ))
    }
}

impl Drop for Contender<'_> {
    fn drop(&mut self) {
        gateway::stop(&mut self.child);
        // If it fails, only a file in the temporary folder remains.
        let _removed = fs::remove_file(&self.log);
    }
}

fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).attempt("look for a free port")?;
    let address = listener.local_addr().attempt("get the port")?;
    Ok(address.port())
}

const START_NS_MAX: u64 = 30 * SECOND_NS;
