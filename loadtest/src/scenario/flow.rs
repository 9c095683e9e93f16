//! The publishing scenarios: push, channel, rpc, mixed, churn and slow.
//!
//! They differ in publishers, receivers and additional sessions. Each opens its sessions, verifies
//! that all are members, runs its load once or several times, and verifies every message.

use super::arguments::{
    ChannelArguments, ChurnArguments, FlowArguments, LoadArguments, MixedArguments, PushArguments,
    RpcArguments, SlowArguments, Via,
};
use super::measure::{Plan, Sample, measure};
use super::{Environment, members, membership_check, outcome, sizes};
use crate::engine::{Load, Mix, Pace};
use crate::failure::{Failure, Outcome};
use crate::gateway;
use crate::procfs;
use crate::protocol::{Capability, Member, Name, Purpose};
use crate::report::Report;
use crate::stats::{count, duration, float};
use crate::team::EngineTeam;

/// The definition of a publishing scenario.
struct Flow<'a> {
    title: &'static str,
    arguments: &'a FlowArguments,
    groups: usize,
    mix: Mix,
    purpose: Purpose,
    load: Load,
    background: Background,
}

/// The additional sessions of a scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Background {
    /// No additional sessions.
    Nothing,
    /// Slow sessions: their number and pace.
    Slow(usize, Pace),
    /// Sessions that join and leave: their number, and the joins and leaves per second.
    Churn(usize, f64),
}

/// Publications by HTTP only.
pub(crate) const HTTP: Mix = Mix {
    http: 1,
    client: 0,
    command: 0,
};
/// Publications by clients only.
pub(crate) const CLIENT: Mix = Mix {
    http: 0,
    client: 1,
    command: 0,
};
/// Commands only.
pub(crate) const ASK: Mix = Mix {
    http: 0,
    client: 0,
    command: 1,
};

/// Runs `loadtest push`. Returns `false` if the report contains an error.
///
/// # Errors
///
/// The server cannot be started or reached, the protocol lacks a capability, or a session cannot be
/// opened.
pub(crate) fn push(arguments: &PushArguments) -> Outcome<bool> {
    let flow = &arguments.flow;
    let groups = arguments
        .users
        .unwrap_or(flow.client.clients)
        .min(flow.client.clients);
    Flow {
        title: "push: by HTTP to the sessions of users",
        arguments: flow,
        groups,
        mix: HTTP,
        purpose: Purpose::Receive,
        load: load_of(&flow.load, open(&flow.load, 1000.0)),
        background: Background::Nothing,
    }
    .run(Name::Wserver)
}

/// Runs `loadtest channel`. Returns `false` if the report contains an error.
///
/// # Errors
///
/// As [`push`].
pub(crate) fn channel(arguments: &ChannelArguments) -> Outcome<bool> {
    let mut flow = arguments.flow.clone();
    if arguments.via == Some(Via::Library) {
        flow.server
            .publish_path
            .get_or_insert_with(|| "/publish".to_owned());
        if flow.server.gateway.is_none() && flow.server.target.is_none() {
            flow.server.gateway = Some(gateway::find_or_build(&gateway::PUBLISHER)?);
        }
    }
    let flow = &flow;
    let name = flow.server.protocol.unwrap_or(Name::Wsrv);
    let protocol = name.build(&flow.server.protocol_options());
    let own = if protocol.offers(Capability::Client) {
        Via::Client
    } else {
        Via::Http
    };
    let via = arguments.via.unwrap_or(own);
    let (mix, title) = match via {
        Via::Http => (HTTP, "channel: publications by HTTP"),
        Via::Library => (HTTP, "channel: publications by an embedding program"),
        Via::Client => (CLIENT, "channel: publications by a member"),
    };
    Flow {
        title,
        arguments: flow,
        groups: arguments.channels.min(flow.client.clients),
        mix,
        purpose: Purpose::Receive,
        load: load_of(&flow.load, Load::Closed { outstanding: 1 }),
        background: Background::Nothing,
    }
    .run(Name::Wsrv)
}

/// Runs `loadtest rpc`. Returns `false` if the report contains an error.
///
/// # Errors
///
/// As [`push`].
pub(crate) fn rpc(arguments: &RpcArguments) -> Outcome<bool> {
    let flow = &arguments.flow;
    Flow {
        title: "rpc: commands and their replies",
        arguments: flow,
        groups: flow.client.clients,
        mix: ASK,
        purpose: Purpose::Command,
        load: load_of(&flow.load, Load::Closed { outstanding: 1 }),
        background: Background::Nothing,
    }
    .run(Name::Wsrv)
}

/// Runs `loadtest mixed`. Returns `false` if the report contains an error.
///
/// # Errors
///
/// As [`push`].
pub(crate) fn mixed(arguments: &MixedArguments) -> Outcome<bool> {
    let flow = &arguments.flow;
    let (http, client, command) = (arguments.http, arguments.client, arguments.rpc);
    if http
        .checked_add(client)
        .and_then(|sum| sum.checked_add(command))
        .is_none_or(|sum| sum == 0)
    {
        return Err(Failure::new(
            "the sum of the weights --http, --client and --rpc must be from 1 to 4294967295",
        ));
    }
    if command > 0 && flow.server.protocol == Some(Name::Nats) {
        return Err(Failure::new(
            "the protocol nats has no replies besides publications: use --rpc 0",
        ));
    }
    Flow {
        title: "mixed: publications and commands",
        arguments: flow,
        groups: arguments.channels.min(flow.client.clients),
        mix: Mix {
            http,
            client,
            command,
        },
        purpose: Purpose::Receive,
        load: load_of(&flow.load, open(&flow.load, 1000.0)),
        background: Background::Nothing,
    }
    .run(Name::Wsrv)
}

/// Runs `loadtest churn`. Returns `false` if the report contains an error.
///
/// # Errors
///
/// As [`push`].
pub(crate) fn churn(arguments: &ChurnArguments) -> Outcome<bool> {
    let flow = &arguments.flow;
    let name = flow.server.protocol.unwrap_or(Name::Wserver);
    let by_http = name
        .build(&flow.server.protocol_options())
        .offers(Capability::Http);
    Flow {
        title: "churn: members join and leave",
        arguments: flow,
        groups: arguments.channels.min(flow.client.clients),
        // A client's publication is known to be applied when the client receives it.
        mix: if by_http { HTTP } else { CLIENT },
        purpose: Purpose::Receive,
        load: load_of(&flow.load, open(&flow.load, 200.0)),
        background: Background::Churn(arguments.wanderers, arguments.moves),
    }
    .run(Name::Wserver)
}

/// Runs `loadtest slow`. Returns `false` if the report contains an error.
///
/// # Errors
///
/// As [`push`].
pub(crate) fn slow(arguments: &SlowArguments) -> Outcome<bool> {
    let flow = &arguments.flow;
    let pace = match arguments.slow_bytes {
        0 => Pace::Never,
        bytes => Pace::Slow(bytes),
    };
    Flow {
        title: "slow: some sessions do not keep up",
        arguments: flow,
        groups: 1,
        mix: HTTP,
        purpose: Purpose::Receive,
        load: load_of(&flow.load, open(&flow.load, 200.0)),
        background: Background::Slow(arguments.slow, pace),
    }
    .run(Name::Wserver)
}

fn open(load: &LoadArguments, rate: f64) -> Load {
    Load::Open {
        rate: load.rate.unwrap_or(rate),
        arrivals: load.arrivals,
    }
}

/// Returns the load of the arguments, or `own` if they name none.
fn load_of(load: &LoadArguments, own: Load) -> Load {
    match load.outstanding {
        Some(outstanding) => Load::Closed { outstanding },
        None if load.rate.is_some() || load.ramp => open(load, 100.0),
        None => own,
    }
}

impl Flow<'_> {
    fn run(&self, own: Name) -> Outcome<bool> {
        let client = &self.arguments.client;
        let environment = Environment::prepare(&self.arguments.server, client, own)?;
        self.check(&environment)?;
        let mut report = Report::new(self.title);
        environment.describe(&mut report);

        let all = members(0, client.clients, self.groups);
        let mut setup =
            environment.setup(client, sizes(&all, self.groups), self.arguments.load.bytes);
        setup.counts_receivers = self.background == Background::Nothing;
        setup.keeps_times = matches!(self.background, Background::Churn(..));
        setup.client_publishers = self.arguments.load.publishers;
        let mut team = EngineTeam::new(&setup, client.threads)?;
        self.open(&mut team, &all, &environment, &mut report)?;

        let samples = if self.arguments.load.ramp {
            self.ramp(&mut team, &environment, &mut report)?
        } else {
            let mut samples = Vec::new();
            for repetition in 0..self.arguments.load.repeat {
                let plan = self.plan(self.load, count(repetition));
                samples.push(measure(&mut team, &plan, environment.pid)?);
            }
            samples
        };
        if !self.arguments.load.ramp {
            outcome::add_samples(&mut report, &samples, client.threads);
        }
        self.verify(&mut team, &mut report)?;
        report.deliver(&self.arguments.destination)
    }

    fn check(&self, environment: &Environment) -> Outcome<()> {
        let Mix {
            http,
            client,
            command,
        } = self.mix;
        for (weight, capability) in [
            (http, Capability::Http),
            (client, Capability::Client),
            (command, Capability::Command),
        ] {
            if weight > 0 {
                environment.must_offer(capability)?;
            }
        }
        Ok(())
    }

    /// Opens all connections and waits until every session is a member.
    fn open(
        &self,
        team: &mut EngineTeam,
        all: &[Member],
        environment: &Environment,
        report: &mut Report,
    ) -> Outcome<()> {
        let load = &self.arguments.load;
        let engines = team.size();
        if self.mix.http > 0 {
            team.first()
                .add_publishers(load.publishers, load.pipeline)?;
        }
        let memory = || environment.pid.map(procfs::anonymous_bytes).transpose();
        let before = memory()?;
        let at_a_time = OPENING_AT_A_TIME;
        team.all(
            |number, engine| {
                engine.open(
                    &EngineTeam::share(all, number, engines),
                    self.purpose,
                    at_a_time,
                )
            },
            |_| (),
        )?;
        let more = |sessions| members(all.len(), sessions, self.groups);
        match self.background {
            Background::Nothing => {}
            Background::Slow(sessions, pace) => team.first().open_paced(&more(sessions), pace)?,
            Background::Churn(sessions, _) => {
                let more = more(sessions);
                team.all(
                    |number, engine| {
                        engine.open_churning(&EngineTeam::share(&more, number, engines), at_a_time)
                    },
                    |_| (),
                )?;
            }
        }
        let capability = if self.mix.http > 0 {
            Capability::Http
        } else {
            Capability::Client
        };
        if self.purpose == Purpose::Receive {
            team.all(|_, engine| engine.probe(capability, all.len()), |_| ())?;
        }
        let memory = match before.zip(memory()?) {
            Some((before, after)) => {
                let each = (float(after) - float(before)) / float(count(all.len()));
                report.figure("server_bytes_per_session", each);
                format!(", {each:.0} bytes each in the server")
            }
            None => String::new(),
        };
        let (sessions, groups) = (all.len(), self.groups);
        report.row("sessions", format!("{sessions} in {groups} groups{memory}"));
        let messages = format!(
            "{} bytes, from {} publishers, {} in flight each",
            load.bytes, load.publishers, load.pipeline
        );
        report.row("messages of", messages);
        Ok(())
    }

    fn plan(&self, load: Load, repetition: u64) -> Plan {
        let arguments = &self.arguments.load;
        Plan {
            load,
            mix: self.mix,
            warm_up_s: arguments.warm_up,
            measured_s: arguments.seconds,
            patience_s: match self.background {
                Background::Nothing => 3.0,
                Background::Slow(..) | Background::Churn(..) => 1.0,
            },
            seed: arguments.seed.wrapping_add(repetition),
            moves: match self.background {
                Background::Churn(_, moves) => moves,
                Background::Nothing | Background::Slow(..) => 0.0,
            },
            is_shown: true,
        }
    }

    /// Raises the rate step by step until p99 exceeds its limit or the server falls behind.
    fn ramp(
        &self,
        team: &mut EngineTeam,
        environment: &Environment,
        report: &mut Report,
    ) -> Outcome<Vec<Sample>> {
        let arguments = &self.arguments.load;
        let Load::Open { mut rate, arrivals } = self.load else {
            return Err(Failure::new("--ramp needs an open loop"));
        };
        let mut samples: Vec<Sample> = Vec::new();
        let mut knee = None;
        for step in 0..RAMP_STEPS_MAX {
            let load = Load::Open { rate, arrivals };
            let sample = measure(team, &self.plan(load, step), environment.pid)?;
            let p99_ms = sample.latency_ns(0.99) / 1e6;
            let is_too_much = p99_ms > arguments.p99_max_ms || !sample.keeps_up();
            eprintln!(
                "{rate:.0} a second: {:.0} deliveries a second, p99 {}",
                sample.deliveries_per_s(),
                duration(sample.latency_ns(0.99))
            );
            if !is_too_much {
                knee = Some(samples.len());
            }
            samples.push(sample);
            if is_too_much {
                break;
            }
            rate *= arguments.ramp_factor;
        }
        let knee = knee.map(|index| &samples[index]);
        if let Some(knee) = knee {
            outcome::add_samples(report, std::slice::from_ref(knee), team.size());
        }
        outcome::add_ramp(report, &samples, knee);
        Ok(samples)
    }

    fn verify(&self, team: &mut EngineTeam, report: &mut Report) -> Outcome<()> {
        if matches!(self.background, Background::Slow(..)) {
            team.all(|_, engine| engine.catch_up(), |_| ())?;
        }
        let membership_changes = team.membership_changes();
        let accounts = team.accounts();
        let mut errors = accounts.errors();
        match self.background {
            Background::Nothing => {}
            Background::Slow(..) => outcome::add_slow(report, &accounts),
            Background::Churn(sessions, _) => {
                let check = membership_check::check(&accounts.sessions, &accounts.published);
                errors.add(check.errors);
                report.row(
                    "churning sessions",
                    format!(
                        "{sessions}, {membership_changes} joins and leaves, {} memberships; \
                         {} messages due",
                        check.memberships, check.expected
                    ),
                );
                report.figure("moves", membership_changes);
                report.figure("stays", check.memberships);
            }
        }
        outcome::add_delivery_errors(report, errors);
        Ok(())
    }
}

const OPENING_AT_A_TIME: usize = 64;
const RAMP_STEPS_MAX: u64 = 60;
