//! Phases: an engine publishes on a schedule or in a window, then waits for all deliveries.

use std::sync::atomic::Ordering;

use super::churn::Published;
use super::publisher::Request;
use super::schedule::{Arrivals, Schedule};
use super::session::{Context, Pace};
use super::{Counters, Engine, SLOTS_MAX, TIMEOUT_NS};
use crate::clock::{self, MILLISECOND_NS, SECOND_NS};
use crate::failure::{Failure, Outcome};
use crate::procfs;
use crate::protocol::{Capability, Member};
use crate::stamp::{NO_SLOT, PROBE, Stamp};
use crate::stats::{SplitMix, count, float};

/// The load on the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    /// An open loop: `rate` publications a second, sent without regard to earlier ones.
    Open { rate: f64, arrivals: Arrivals },
    /// A closed loop: the next publication when one of `outstanding` has been received by all.
    Closed { outstanding: usize },
    /// A closed loop of batches: the next `outstanding` when all have been received by all.
    Batches { outstanding: usize },
}

/// The proportions of publications by HTTP, publications by clients, and commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    pub(crate) http: u32,
    pub(crate) client: u32,
    pub(crate) command: u32,
}

/// A phase of a run. Times are nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    pub(crate) load: Load,
    pub(crate) mix: Mix,
    /// Due time of the first publication.
    pub(crate) begin_ns: u64,
    /// End of the warm-up: messages that are due earlier are not measured.
    pub(crate) from_ns: u64,
    /// End of publishing: all due times are below it.
    pub(crate) until_ns: u64,
    /// Time without progress after which missing messages count as lost.
    pub(crate) idle_timeout_ns: u64,
    /// Seed of the arrivals, the mix, and the sessions that join and leave.
    pub(crate) seed: u64,
    /// Joins and leaves per second, over all engines.
    pub(crate) moves: f64,
    /// The number of engines that share `rate` (if all publish) and `moves`.
    pub(crate) engines: usize,
}

impl Phase {
    fn is_published_by(&self, engine: usize) -> bool {
        engine == 0 || (self.mix.http == 0 && self.mix.client == 0)
    }
}

impl Engine {
    /// Runs a phase and returns its counters.
    ///
    /// # Errors
    ///
    /// A system call failed. Errors of the server are counted in the tally.
    pub(crate) fn run(&mut self, phase: &Phase) -> Outcome<Counters> {
        clock::set_timer_slack()?;
        let waited_ns = procfs::own_waited_ns()?;
        let began_ns = clock::now_ns();
        let errors = std::mem::replace(&mut self.counters, Counters::new(phase.from_ns));
        if errors.errors().1 > 0 {
            self.counters.add(&errors); // Errors between phases count in this phase.
        }
        let mut prng = SplitMix(phase.seed ^ count(self.number) << 32);
        if phase.is_published_by(self.number) {
            match phase.load {
                Load::Open { rate, arrivals } => {
                    let engines = if phase.mix.http + phase.mix.client == 0 {
                        phase.engines
                    } else {
                        1
                    };
                    let rate = rate / float(count(engines));
                    let seed = prng.next();
                    let schedule = Schedule::new(phase.begin_ns, rate, arrivals, seed);
                    self.publish_on(schedule, phase, &mut prng)?;
                }
                Load::Closed { outstanding } => {
                    self.publish_in(outstanding, false, phase, &mut prng)?;
                }
                Load::Batches { outstanding } => {
                    self.publish_in(outstanding, true, phase, &mut prng)?;
                }
            }
        } else {
            self.churn_until_end(phase, &mut prng)?;
        }
        self.shared.publishing.fetch_sub(1, Ordering::SeqCst);
        self.drain(phase.idle_timeout_ns)?;
        self.counters.waited_ns = procfs::own_waited_ns()?.saturating_sub(waited_ns);
        self.counters.ran_ns = clock::now_ns() - began_ns;
        Ok(std::mem::replace(&mut self.counters, Counters::new(0)))
    }

    /// Runs the open loop.
    fn publish_on(
        &mut self,
        mut schedule: Schedule,
        phase: &Phase,
        prng: &mut SplitMix,
    ) -> Outcome<()> {
        let mut moves = self.churn_schedule(phase, prng);
        while schedule.due_ns() < phase.until_ns {
            let mut now_ns = clock::now_ns();
            let mut at_once = 0;
            while schedule.due_ns() <= now_ns
                && schedule.due_ns() < phase.until_ns
                && at_once < AT_ONCE_MAX
            {
                self.publish(phase, schedule.due_ns(), NO_SLOT, prng);
                schedule.advance();
                at_once += 1;
            }
            self.run_due_churn(&mut moves, phase, prng)?;
            now_ns = clock::now_ns();
            let next_ns = schedule.due_ns().min(moves.due_ns());
            self.wait_paced(next_ns.saturating_sub(now_ns))?;
        }
        Ok(())
    }

    /// Runs the closed loop: a window of `outstanding` slots, refilled slot by slot or, with
    /// `is_batch`, only when all are free.
    fn publish_in(
        &mut self,
        outstanding: usize,
        is_batch: bool,
        phase: &Phase,
        prng: &mut SplitMix,
    ) -> Outcome<()> {
        let outstanding = outstanding.min(SLOTS_MAX);
        let first = self.number * SLOTS_MAX;
        let mut moves = self.churn_schedule(phase, prng);
        let mut idle = IdleTimer::new(self.counters.events);
        while clock::now_ns() < phase.begin_ns {
            self.wait_paced(phase.begin_ns.saturating_sub(clock::now_ns()))?;
        }
        loop {
            let now_ns = clock::now_ns();
            if now_ns >= phase.until_ns
                || idle.for_ns(self.counters.events, now_ns) > phase.idle_timeout_ns
            {
                return Ok(());
            }
            let is_free = |slot: &usize| self.shared.slots[*slot].load(Ordering::Relaxed) == 0;
            let free: Vec<usize> = (first..first + outstanding).filter(is_free).collect();
            if !free.is_empty() && (!is_batch || free.len() == outstanding) {
                for slot in free {
                    let slot = u16::try_from(slot).expect("32 engines of 1024 slots fit");
                    self.publish(phase, now_ns, slot, prng);
                }
            }
            self.run_due_churn(&mut moves, phase, prng)?;
            self.wait_paced(20 * MILLISECOND_NS)?;
        }
    }

    /// Sends the next publication or command, of a kind that `phase.mix` selects.
    fn publish(&mut self, phase: &Phase, due_ns: u64, slot: u16, prng: &mut SplitMix) {
        let Mix {
            http,
            client,
            command,
        } = phase.mix;
        let drawn = match http + client + command {
            0 => return,
            // Only one kind has a share: no random number is needed.
            total if total == http.max(client).max(command) => 0,
            total => u32::try_from(prng.below(index(total))).unwrap_or(0),
        };
        if drawn < http {
            self.publish_by_http(due_ns, slot);
        } else if drawn < http + client {
            self.publish_by_client(due_ns, slot);
        } else {
            self.command_message(due_ns, slot);
        }
    }

    fn publish_by_http(&mut self, due_ns: u64, slot: u16) {
        let groups = self.setup.groups.len();
        let (number, group) = (self.turn % self.publishers.len(), self.turn % groups);
        self.turn += 1;
        self.publish_to(number, group, due_ns, slot);
    }

    /// Publishes to `group` on publishing connection `number`.
    pub(super) fn publish_to(&mut self, number: usize, group: usize, due_ns: u64, slot: u16) {
        let receivers = self.setup.groups[group];
        let publisher = &mut self.publishers[number];
        let sequence = publisher.sent[group];
        publisher.sent[group] += 1;
        let stamp = Stamp {
            publisher: narrow(number),
            group: narrow(group),
            slot,
            sequence,
            due_ns,
        };
        self.shared.expect_deliveries(slot, receivers, 1);
        stamp.write(self.setup.bytes, &mut self.text);
        let (setup, seconds) = (&self.setup, clock::unix_seconds());
        let authority = &setup.target.authority;
        let bytes = setup
            .protocol
            .request(authority, group, &self.text, seconds);
        let is_kept = self.setup.keeps_times;
        let published = is_kept.then_some(self.published.len());
        if is_kept {
            self.published.push(Published {
                publisher: stamp.publisher,
                sequence,
                group,
                sent_ns: clock::now_ns(),
                responded_ns: None,
            });
        }
        let request = Request {
            receivers: Some(receivers),
            slot,
            due_ns,
            published,
        };
        let (setup, shared, counters) = (&self.setup, &*self.shared, &mut self.counters);
        let mut context = Context::new(setup, shared, self.number, counters);
        let bytes = bytes.expect("the protocol offers publishing by HTTP");
        publisher.push(bytes, request, &mut context);
    }

    fn publish_by_client(&mut self, due_ns: u64, slot: u16) {
        let client_publishers = self
            .setup
            .client_publishers
            .clamp(1, self.sessions.len().max(1));
        let Some(number) = self.next_open(client_publishers) else {
            return self
                .counters
                .record_error(|| "no session is open to publish".to_owned());
        };
        let state = &mut self.sessions[number].state;
        let member = state.member;
        let receivers = self.setup.groups[member.group];
        let sequence = state.messages_sent;
        state.messages_sent += 1;
        let publisher = publisher_of(member);
        if self.setup.keeps_times {
            self.published.push(Published {
                publisher,
                sequence,
                group: member.group,
                sent_ns: clock::now_ns(),
                responded_ns: None,
            });
        }
        self.enqueue_stamped(number, publisher, sequence, due_ns, slot, receivers);
    }

    fn command_message(&mut self, due_ns: u64, slot: u16) {
        let Some(number) = self.next_open(self.sessions.len()) else {
            return self
                .counters
                .record_error(|| "no session is open to send a command".to_owned());
        };
        let state = &mut self.sessions[number].state;
        let publisher = commander_of(state.member);
        let sequence = state.commands_sent;
        state.commands_sent += 1;
        self.enqueue_stamped(number, publisher, sequence, due_ns, slot, 1);
    }

    /// Enqueues a stamped message on session `number`: a command if `publisher` is one of
    /// [`commander_of`], else a publication.
    #[expect(
        clippy::too_many_arguments,
        reason = "they are one stamp and its receivers"
    )]
    fn enqueue_stamped(
        &mut self,
        number: usize,
        publisher: u32,
        sequence: u32,
        due_ns: u64,
        slot: u16,
        receivers: u32,
    ) {
        let member = self.sessions[number].state.member;
        let stamp = Stamp {
            publisher,
            group: narrow(member.group),
            slot,
            sequence,
            due_ns,
        };
        self.shared.expect_deliveries(slot, receivers, 0);
        stamp.write(self.setup.bytes, &mut self.text);
        let protocol = &self.setup.protocol;
        let payload = if publisher >= COMMANDERS_FROM {
            protocol.command_message(member, &self.text)
        } else {
            protocol.publish_message(member.group, &self.text)
        };
        let payload = payload.expect("the protocol offers this kind of message");
        self.sessions[number].enqueue(&payload, protocol.kind());
        self.unwritten.push(number);
        self.counters.publish(due_ns, clock::now_ns());
    }

    /// Returns the next open one of the first `sessions` sessions, round-robin; `None` if all have
    /// ended.
    fn next_open(&mut self, sessions: usize) -> Option<usize> {
        for _ in 0..sessions {
            let number = self.turn % sessions;
            self.turn += 1;
            if self.sessions[number].is_open() {
                return Some(number);
            }
        }
        None
    }

    /// Waits at most `timeout_ns` or 20 ms for events. Lets slow sessions read ten times a second.
    pub(super) fn wait_paced(&mut self, timeout_ns: u64) -> Outcome<()> {
        self.send_heartbeats();
        self.wait(timeout_ns.min(20 * MILLISECOND_NS))?;
        self.read_paced(clock::now_ns(), false);
        Ok(())
    }

    fn read_paced(&mut self, now_ns: u64, is_last: bool) {
        if self.paced.is_empty() || (!is_last && now_ns < self.paced_ns) {
            return;
        }
        self.paced_ns = now_ns + SECOND_NS / 10;
        for index in &self.paced {
            let session = &mut self.sessions[*index];
            let budget = match session.state.pace {
                _ if is_last => usize::MAX,
                Pace::Slow(bytes) => (bytes / 10).max(1),
                Pace::Never | Pace::Eager => continue,
            };
            let (setup, shared, counters) = (&self.setup, &*self.shared, &mut self.counters);
            let mut context = Context::new(setup, shared, self.number, counters);
            let flags = rustix::event::epoll::EventFlags::RDHUP; // Read until nothing is left.
            session.read(&mut self.scratch, budget, flags, &mut context);
        }
    }

    /// Lets slow sessions read without a limit until nothing arrives for 500 ms.
    ///
    /// # Errors
    ///
    /// `epoll_wait` failed.
    pub(crate) fn catch_up(&mut self) -> Outcome<()> {
        let mut idle = IdleTimer::new(self.counters.events);
        while idle.for_ns(self.counters.events, clock::now_ns()) < SECOND_NS / 2 {
            self.read_paced(clock::now_ns(), true);
            self.wait(10 * MILLISECOND_NS)?;
        }
        Ok(())
    }

    /// Waits until all publications have responses and are delivered, or `idle_timeout_ns` pass
    /// without progress.
    fn drain(&mut self, idle_timeout_ns: u64) -> Outcome<()> {
        let mut idle = IdleTimer::new(self.progress());
        loop {
            self.wait_paced(10 * MILLISECOND_NS)?;
            let is_complete = self.shared.publishing.load(Ordering::SeqCst) == 0
                && self.publishers.iter().all(super::Publisher::is_idle)
                && self.shared.delivered.load(Ordering::SeqCst)
                    >= self.shared.expected.load(Ordering::SeqCst);
            // Wait a little even if all has arrived: a duplicate may follow.
            let idle_ns = idle.for_ns(self.progress(), clock::now_ns());
            if idle_ns
                > if is_complete {
                    DUPLICATE_NS
                } else {
                    idle_timeout_ns
                }
            {
                return Ok(());
            }
        }
    }

    /// Returns a number that changes whenever an engine makes progress.
    fn progress(&self) -> u64 {
        let publishing = count(self.shared.publishing.load(Ordering::SeqCst));
        let delivered = self.shared.delivered.load(Ordering::SeqCst);
        self.counters.events + delivered - publishing.min(delivered)
    }

    /// Publishes probes until every session of every engine has received one.
    ///
    /// Not every protocol confirms a join, and a server may confirm it before all of its threads
    /// know the member.
    ///
    /// # Errors
    ///
    /// A session has received no probe within 10 s.
    pub(crate) fn probe(&mut self, capability: Capability, sessions: usize) -> Outcome<()> {
        let deadline = clock::now_ns() + TIMEOUT_NS;
        let mut again_ns = 0;
        while self.shared.probed.load(Ordering::Relaxed) < sessions {
            let now_ns = clock::now_ns();
            if now_ns > deadline {
                let probed = self.shared.probed.load(Ordering::Relaxed);
                let why = self.counters.first_error().unwrap_or("no request failed");
                return Err(Failure::new(format!(
                    "a publication reaches {probed} of {sessions} sessions ({why})"
                )));
            }
            let is_idle = self.publishers.iter().all(super::Publisher::is_idle);
            if now_ns >= again_ns && is_idle {
                self.send_probes(capability);
                again_ns = now_ns + PROBE_AGAIN_NS;
            }
            self.wait_paced(10 * MILLISECOND_NS)?;
        }
        Ok(())
    }

    fn send_probes(&mut self, capability: Capability) {
        let protocol = std::sync::Arc::clone(&self.setup.protocol);
        if capability == Capability::Client {
            let mut has_published = vec![false; self.setup.groups.len()];
            for (number, session) in self.sessions.iter_mut().enumerate() {
                let group = session.state.member.group;
                if !std::mem::replace(&mut has_published[group], true)
                    && let Some(probe) = protocol.publish_message(group, PROBE)
                {
                    session.enqueue(&probe, protocol.kind());
                    self.unwritten.push(number);
                }
            }
            return;
        }
        for group in 0..self.setup.groups.len() {
            let authority = &self.setup.target.authority;
            let bytes = protocol.request(authority, group, PROBE, clock::unix_seconds());
            let publishers = self.publishers.len();
            let Some((publisher, bytes)) = self
                .publishers
                .get_mut(group % publishers.max(1))
                .zip(bytes)
            else {
                return;
            };
            let (setup, shared, counters) = (&self.setup, &*self.shared, &mut self.counters);
            let mut context = Context::new(setup, shared, self.number, counters);
            let request = Request {
                receivers: None,
                slot: NO_SLOT,
                due_ns: 0,
                published: None,
            };
            publisher.push(bytes, request, &mut context);
        }
    }
}

/// A timer of the time since the last event.
#[derive(Debug)]
struct IdleTimer {
    events: u64,
    since_ns: u64,
}

impl IdleTimer {
    fn new(events: u64) -> Self {
        Self {
            events,
            since_ns: clock::now_ns(),
        }
    }

    fn for_ns(&mut self, events: u64, now_ns: u64) -> u64 {
        if events != self.events {
            self.events = events;
            self.since_ns = now_ns;
        }
        now_ns - self.since_ns.min(now_ns)
    }
}

/// Returns the publisher number of a session for publications to its group.
pub(super) fn publisher_of(member: Member) -> u32 {
    PUBLISHERS_FROM + narrow(member.session)
}

/// Returns the publisher number of a session for commands, whose replies only it receives.
pub(super) fn commander_of(member: Member) -> u32 {
    COMMANDERS_FROM + narrow(member.session)
}

fn narrow(index: usize) -> u32 {
    u32::try_from(index).expect("counts of sessions and groups fit in 32 bits")
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("a usize has at least 32 bits")
}

const PUBLISHERS_FROM: u32 = 0x1_0000;
const COMMANDERS_FROM: u32 = 0x8_0000;
const AT_ONCE_MAX: u32 = 64;
const PROBE_AGAIN_NS: u64 = 100 * MILLISECOND_NS;
const DUPLICATE_NS: u64 = 50 * MILLISECOND_NS;
