//! The scenarios: each opens sessions, does something to them, and reports.
//!
//! `flow.rs` has those that publish and differ only in how (push, channel, rpc, mixed, slow,
//! churn); the others have files of their own.

pub(crate) mod arguments;
pub(crate) mod connect;
pub(crate) mod flow;
pub(crate) mod idle;
pub(crate) mod measure;
mod outcome;
mod stays;

use std::sync::Arc;

use self::arguments::{CrowdArguments, ServerArguments};
use crate::cores::Cores;
use crate::engine::Setup;
use crate::failure::{Failure, Outcome};
use crate::gateway::{Gateway, GatewayOptions};
use crate::limits;
use crate::protocol::{Member, Name, Protocol, Way};
use crate::report::Report;
use crate::wire::Target;

/// The server under test, and where all stand.
pub(crate) struct Scene {
    cores: Cores,
    options: GatewayOptions,
    /// `None` when somebody else started the server.
    gateway: Option<Gateway>,
    pid: Option<u32>,
    target: Target,
    name: Name,
    protocol: Arc<dyn Protocol>,
}

impl Scene {
    /// Finds the server, or starts one.
    ///
    /// # Errors
    ///
    /// It could not be started, or another server than Campanile is meant and none is named.
    pub(crate) fn prepare(
        server: &ServerArguments,
        crowd: &CrowdArguments,
        own: Name,
    ) -> Outcome<Self> {
        limits::make_room_for(crowd.clients + 512)?;
        let name = server.protocol.unwrap_or(own);
        let protocol = name.build(&server.protocol_options());
        let cores = Cores::find()?;
        let mut scene = Self {
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
            Some(url) => scene.target = Target::parse(url)?,
            None if name.is_campaniles() => scene.start()?,
            None => {
                return Err(Failure::new(format!(
                    "which server speaks `{}`? name it with --target ws://HOST:PORT",
                    name.as_str()
                )));
            }
        }
        scene.cores.spread_clients(crowd.threads)?;
        Ok(scene)
    }

    /// Starts the gateway; where there was one, on the same port.
    fn start(&mut self) -> Outcome<()> {
        let gateway = Gateway::start(&self.options, &self.cores)?;
        self.target = gateway.target().clone();
        self.pid = Some(gateway.pid());
        self.options.port = self.target.address()?.port();
        self.gateway = Some(gateway);
        Ok(())
    }

    /// What every engine needs to know, with members in groups of these sizes.
    pub(crate) fn setup(&self, crowd: &CrowdArguments, groups: Vec<u32>, bytes: usize) -> Setup {
        Setup {
            target: self.target.clone(),
            protocol: Arc::clone(&self.protocol),
            groups: groups.into(),
            bytes,
            speakers: 1,
            sources: crowd.sources.clone(),
            counts_receivers: true,
            keeps_times: false,
            may_end: false,
        }
    }

    /// # Errors
    ///
    /// The protocol has no words for this.
    fn must_offer(&self, way: Way) -> Outcome<()> {
        if self.protocol.offers(way) {
            return Ok(());
        }
        let what = match way {
            Way::Http => "no publishing over HTTP",
            Way::Client => "no publishing by a client",
            Way::Ask => "no command that is answered",
            Way::Wander => "no joining and leaving that is answered",
        };
        let name = self.name.as_str();
        Err(Failure::new(format!(
            "the protocol `{name}` has {what} that this program knows of"
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

/// `sessions` members of `groups` groups, dealt out in turn, from session `from` on.
pub(crate) fn members(from: usize, sessions: usize, groups: usize) -> Vec<Member> {
    (from..from + sessions)
        .map(|session| Member {
            session,
            group: session % groups,
        })
        .collect()
}

/// How many of `members` each of `groups` groups has.
pub(crate) fn sizes(members: &[Member], groups: usize) -> Vec<u32> {
    let mut sizes = vec![0; groups];
    for member in members {
        sizes[member.group] += 1;
    }
    sizes
}
