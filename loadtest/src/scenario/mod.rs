//! The scenarios. Each opens sessions, runs a load, and reports the results.
//!
//! `flow.rs` has the publishing scenarios (push, channel, rpc, mixed, slow, churn); `connect` and
//! `idle` have their own files.

pub(crate) mod arguments;
pub(crate) mod connect;
pub(crate) mod flow;
pub(crate) mod idle;
pub(crate) mod measure;
mod membership_check;
mod outcome;

use std::sync::Arc;

use self::arguments::{ClientArguments, ServerArguments};
use crate::cores::Cores;
use crate::engine::Setup;
use crate::failure::{Failure, Outcome};
use crate::gateway::{Gateway, GatewayOptions};
use crate::limits;
use crate::protocol::{Capability, Member, Name, Protocol};
use crate::report::Report;
use crate::wire::Target;

/// The server under test and the CPU pinning.
pub(crate) struct Environment {
    cores: Cores,
    options: GatewayOptions,
    /// The gateway's process; `None` if this program did not start the server.
    gateway: Option<Gateway>,
    pid: Option<u32>,
    target: Target,
    name: Name,
    protocol: Arc<dyn Protocol>,
}

impl Environment {
    /// Selects the server of `--target`, or starts a gateway. `own` is the scenario's protocol.
    ///
    /// # Errors
    ///
    /// The gateway cannot be started, the URL is invalid, or `--target` is missing for a protocol
    /// that `campanile` does not serve.
    pub(crate) fn prepare(
        server: &ServerArguments,
        client: &ClientArguments,
        own: Name,
    ) -> Outcome<Self> {
        limits::raise_file_limit(client.clients + 512)?;
        let name = server.protocol.unwrap_or(own);
        let protocol = name.build(&server.protocol_options());
        let cores = Cores::find()?;
        let mut environment = Self {
            cores,
            options: GatewayOptions {
                executable: server.gateway.clone(),
                config: server.config.clone(),
                shards: server.shards,
                port: 0,
            },
            gateway: None,
            pid: server.pid,
            target: Target::parse("ws://127.0.0.1:0")?,
            name,
            protocol,
        };
        match &server.target {
            Some(url) => environment.target = Target::parse(url)?,
            None if name.is_campaniles() => environment.start()?,
            None => {
                return Err(Failure::new(format!(
                    "the protocol `{}` needs --target ws://HOST:PORT of its server",
                    name.as_str()
                )));
            }
        }
        environment.cores.pin_clients(client.threads)?;
        Ok(environment)
    }

    /// Starts the gateway. A restart uses the same port.
    fn start(&mut self) -> Outcome<()> {
        let gateway = Gateway::start(&self.options, &self.cores)?;
        self.target = gateway.target().clone();
        self.pid = Some(gateway.pid());
        self.options.port = self.target.address()?.port();
        self.gateway = Some(gateway);
        Ok(())
    }

    /// Returns the settings of the engines. `groups` has the number of sessions of each group.
    pub(crate) fn setup(&self, client: &ClientArguments, groups: Vec<u32>, bytes: usize) -> Setup {
        Setup {
            target: self.target.clone(),
            protocol: Arc::clone(&self.protocol),
            groups: groups.into(),
            bytes,
            client_publishers: 1,
            sources: client.sources.clone(),
            counts_receivers: true,
            keeps_times: false,
            may_end: false,
        }
    }

    /// Checks that the protocol has a capability.
    ///
    /// # Errors
    ///
    /// The protocol lacks it.
    fn must_offer(&self, capability: Capability) -> Outcome<()> {
        if self.protocol.offers(capability) {
            return Ok(());
        }
        let what = match capability {
            Capability::Http => "no publishing by HTTP",
            Capability::Client => "no publishing by clients",
            Capability::Command => "no commands with replies",
            Capability::Membership => "no confirmed joins and leaves",
        };
        let name = self.name.as_str();
        Err(Failure::new(format!(
            "the protocol `{name}` has {what} in this program"
        )))
    }

    fn describe(&self, report: &mut Report) {
        let whose = match &self.gateway {
            Some(_) => format!("shards: {}; {}", self.options.shards, self.cores.describe()),
            None => "not started by this program".to_owned(),
        };
        let (authority, name) = (&self.target.authority, self.name.as_str());
        report.row("server", format!("ws://{authority}, {name}; {whose}"));
    }
}

/// Returns `sessions` members, numbered from `from`, distributed round-robin over `groups` groups.
pub(crate) fn members(from: usize, sessions: usize, groups: usize) -> Vec<Member> {
    (from..from + sessions)
        .map(|session| Member {
            session,
            group: session % groups,
        })
        .collect()
}

/// Returns the number of members of each of `groups` groups.
pub(crate) fn sizes(members: &[Member], groups: usize) -> Vec<u32> {
    let mut sizes = vec![0; groups];
    for member in members {
        sizes[member.group] += 1;
    }
    sizes
}
