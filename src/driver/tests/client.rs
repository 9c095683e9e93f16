//! Clients of the machine: bytes in, bytes out, and what they may expect.

use super::machine::Machine;
use campanile_tests::frame::{self, BINARY, CLOSE, PING, PONG, TEXT, masked};
use campanile_tests::http::{LOCAL, Response, get, post, upgrade};
use campanile_tests::prng::Prng;
use campanile_tests::records::{Opener, Record, Sealer};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// What a client does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    /// Pushes numbered messages to a user.
    Pusher { user: usize },
    /// Registers as a user and receives what is pushed.
    Subscriber { user: usize },
    /// Calls handlers, some of which wait.
    Caller,
    /// Requests `/health` several times.
    Visitor,
}

/// What is wrong with a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flaw {
    None,
    /// It stops reading at some time.
    Stalls,
    /// It resets its connection at some time.
    Resets,
    /// It shuts its write side when it has sent everything.
    HalfCloses,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    New,
    /// It sends requests, or waits for the response to its upgrade.
    Http,
    /// Its session is open.
    Open,
    /// It has received a close frame.
    Closing,
    Ended,
}

/// What all clients of a run know together.
#[derive(Default)]
pub(super) struct Model {
    /// By user and number: the total of a push, 0 before, and `None` if it is not known.
    pub(super) pushes: BTreeMap<(usize, u32), Option<u32>>,
    /// Numbers that a subscriber has missed.
    missed: Vec<(usize, u32)>,
    pub(super) received: u32,
    pub(super) replies: u32,
    pub(super) is_stopping: bool,
    /// Clients are flawed, or time jumps, so that totals may be lost.
    pub(super) has_losses: bool,
}

/// A client.
pub(super) struct Client {
    role: Role,
    flaw: Flaw,
    has_stalled: bool,
    phase: Phase,
    shard: usize,
    link: Option<usize>,
    outgoing: VecDeque<u8>,
    incoming: Vec<u8>,
    /// Requests or calls that it has still to make.
    left: u32,
    /// Numbers or messages without a response, in order.
    pending: VecDeque<String>,
    next: u32,
    /// The last number received.
    last: Option<u32>,
    /// It shuts its write side, as an upgrade was rejected.
    leaves: bool,
    /// The format below; `None` without stages.
    records: Option<Records>,
    /// When a stalled client sends again.
    sends_at: Option<Instant>,
}

impl Client {
    pub(super) fn new(
        prng: &mut Prng,
        role: Role,
        shard: usize,
        may_be_flawed: bool,
        is_staged: bool,
    ) -> Self {
        let flaws = [Flaw::Stalls, Flaw::Resets, Flaw::HalfCloses];
        let flaw = if may_be_flawed && prng.chance(1, 4) {
            prng.pick(flaws.into_iter()).expect("some")
        } else {
            Flaw::None
        };
        Self {
            role,
            flaw,
            has_stalled: false,
            phase: Phase::New,
            shard,
            link: None,
            outgoing: VecDeque::new(),
            incoming: Vec::new(),
            left: prng.range(1, 12),
            pending: VecDeque::new(),
            next: 0,
            last: None,
            leaves: false,
            records: is_staged.then(|| Records::new(prng.below(u64::MAX))),
            sends_at: None,
        }
    }

    /// A client that pushes one more message to a user.
    pub(super) fn last_pusher(prng: &mut Prng, user: usize, next: u32, is_staged: bool) -> Self {
        let mut client = Self::new(prng, Role::Pusher { user }, 0, false, is_staged);
        client.left = 1;
        client.next = next;
        client
    }

    pub(super) fn is_flawed(&self) -> bool {
        self.flaw != Flaw::None
    }

    pub(super) fn may_still_push_to(&self, user: usize) -> bool {
        self.is_flawed() && self.role == Role::Pusher { user }
    }

    /// Returns whether it waits for something that must come.
    pub(super) fn waits(&self) -> bool {
        if self.is_flawed() || self.phase == Phase::Ended {
            return false;
        }
        match self.role {
            Role::Subscriber { .. } => matches!(self.phase, Phase::New | Phase::Http),
            Role::Pusher { .. } | Role::Visitor | Role::Caller => {
                self.left > 0 || !self.pending.is_empty()
            }
        }
    }

    /// Asserts that a subscriber has received its user's push with this number.
    pub(super) fn check_last(&self, of: usize, number: u32) {
        if let Role::Subscriber { user } = self.role
            && user == of
            && !self.is_flawed()
            && self.phase == Phase::Open
        {
            assert_eq!(self.last, Some(number), "the last push");
        }
    }

    /// Asserts that it has ended.
    pub(super) fn check_end(&self) {
        let is_over = matches!(self.phase, Phase::New | Phase::Ended);
        assert!(is_over || self.is_flawed(), "{self}");
    }

    /// Makes one step; returns whether anything moved.
    pub(super) fn step(&mut self, machine: &mut Machine, model: &mut Model) -> bool {
        let Some(link) = self.link else {
            return self.phase == Phase::New && self.connect(machine);
        };
        if self.phase == Phase::Ended {
            return false;
        }
        if self.flaw == Flaw::Resets && machine.prng.chance(1, 40) {
            let link = &mut machine.links[link];
            link.client_reset = true;
            link.to_gateway.clear();
            machine.coverage.resets += 1;
            self.phase = Phase::Ended;
            return true;
        }
        self.has_stalled |= self.flaw == Flaw::Stalls && machine.prng.chance(1, 20);
        if self.has_stalled && self.phase == Phase::Open {
            let now = machine.now;
            if self.sends_at.is_none_or(|at| at <= now) {
                self.sends_at = Some(now + Duration::from_secs(1));
                self.put_frame(&mut machine.prng, PONG, b"still here");
            }
        }
        let mut moved = self.produce(&mut machine.prng, model);
        moved |= self.write(machine, link);
        if !self.has_stalled {
            moved |= self.read(machine, model, link);
        }
        moved
    }

    fn connect(&mut self, machine: &mut Machine) -> bool {
        let listeners = machine.kernels[self.shard].listeners.len();
        let listener = machine.prng.pick(0..listeners).expect("some");
        self.link = machine.connect(self.shard, listener);
        let Some(link) = self.link else {
            self.phase = Phase::Ended;
            return true;
        };
        machine.log(|| format!("{self} connects by link {link}"));
        self.phase = Phase::Http;
        match self.role {
            Role::Pusher { .. } | Role::Visitor => {}
            Role::Subscriber { user } => {
                self.outgoing
                    .extend(upgrade("GET /ws HTTP/1.1", &[LOCAL]).bytes());
                // Frames behind the request are the session's.
                let register = format!(r#"{{"token":"u{user}","event":"e"}}"#);
                self.put_frame(&mut machine.prng, TEXT, register.as_bytes());
            }
            Role::Caller => self
                .outgoing
                .extend(upgrade("GET /easyws HTTP/1.1", &[LOCAL, "Cookie: auth=a"]).bytes()),
        }
        true
    }

    fn put_frame(&mut self, prng: &mut Prng, first: u8, payload: &[u8]) {
        let mask = prng.below(1 << 32).to_le_bytes();
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        self.outgoing.extend(masked(first, payload, mask));
    }

    /// Makes the next request or call, at most three ahead of the responses.
    fn produce(&mut self, prng: &mut Prng, model: &mut Model) -> bool {
        if self.left == 0 || self.pending.len() >= 3 {
            return false;
        }
        match (self.role, self.phase) {
            (Role::Pusher { user }, Phase::Http) => {
                let number = self.next;
                model.pushes.insert((user, number), None);
                let padding = if prng.chance(1, 8) {
                    "x".repeat(2_000)
                } else {
                    String::new()
                };
                let body =
                    format!(r#"{{"userId":"u{user}","event":"e","message":"{number} {padding}"}}"#);
                self.outgoing.extend(post("/push", "", &body).bytes());
                self.pending.push_back(number.to_string());
            }
            (Role::Visitor, Phase::Http) => {
                self.outgoing.extend(get("/health", "").bytes());
                self.pending.push_back(String::new());
            }
            (Role::Caller, Phase::Open) => {
                let command = if prng.chance(1, 2) { "echo" } else { "slow" };
                let call = format!("{command}: {}", self.next);
                self.put_frame(prng, TEXT, call.as_bytes());
                self.pending.push_back(call);
            }
            _ => return false,
        }
        self.next += 1;
        self.left -= 1;
        true
    }

    fn write(&mut self, machine: &mut Machine, link: usize) -> bool {
        if let Some(records) = &mut self.records {
            records.seal(&mut self.outgoing);
        }
        let outgoing = match &mut self.records {
            Some(records) => &mut records.outgoing,
            None => &mut self.outgoing,
        };
        let most = u32::try_from(outgoing.len()).expect("few");
        if most > 0 {
            let len = if machine.prng.chance(1, 2) {
                most
            } else {
                machine.prng.range(1, most)
            };
            let bytes = outgoing.drain(..len as usize);
            machine.links[link].to_gateway.extend(bytes);
            return true;
        }
        let has_said_all = self.left == 0 && self.phase != Phase::New;
        let link = &mut machine.links[link];
        let ends = self.leaves || (self.flaw == Flaw::HalfCloses && has_said_all);
        if ends && !link.client_ended {
            link.client_ended = true;
            if let Some(records) = &mut self.records {
                records.end(&mut link.to_gateway);
            }
            return true;
        }
        false
    }

    fn read(&mut self, machine: &mut Machine, model: &mut Model, index: usize) -> bool {
        let link = &mut machine.links[index];
        if link.gateway_reset {
            let is_legal = self.is_flawed() || link.was_aborted;
            assert!(is_legal, "{self} is reset");
            self.end(machine);
            return true;
        }
        let most = u32::try_from(link.to_client.len()).expect("few");
        if most == 0 {
            if link.gateway_ended && self.phase != Phase::Ended {
                if !link.was_aborted {
                    self.on_end(model);
                }
                self.end(machine);
                return true;
            }
            return false;
        }
        let len = machine.prng.range(1, most) as usize;
        let bytes = machine.links[index].to_client.drain(..len);
        match &mut self.records {
            None => self.incoming.extend(bytes),
            Some(records) => records.open(bytes.collect(), &mut self.incoming),
        }
        while self.parse(machine, model) {}
        true
    }

    fn end(&mut self, machine: &mut Machine) {
        machine.log(|| format!("{self} ends"));
        self.phase = Phase::Ended;
        if let Some(link) = self.link {
            let link = &mut machine.links[link];
            if let (Some(records), false) = (&mut self.records, link.client_ended) {
                records.end(&mut link.to_gateway);
            }
            link.client_ended = true;
        }
    }

    /// Handles the end of the gateway's bytes.
    fn on_end(&self, model: &Model) {
        let is_legal = match self.phase {
            Phase::Closing => true,
            // Requests may have been on their way when a stop closed idle connections.
            Phase::Http => model.is_stopping,
            Phase::Open | Phase::New | Phase::Ended => false,
        };
        assert!(is_legal || self.is_flawed(), "{self} is left in silence");
        if let (Some(records), Phase::Closing) = (&self.records, self.phase) {
            assert!(
                records.opener.has_ended() || self.is_flawed(),
                "{self}: cut off"
            );
        }
        assert!(
            self.incoming.is_empty() || self.is_flawed(),
            "{self}: the end cuts {}",
            self.incoming.escape_ascii()
        );
    }

    /// Parses one response or frame; returns whether there was a whole one.
    fn parse(&mut self, machine: &mut Machine, model: &mut Model) -> bool {
        let bytes = std::mem::take(&mut self.incoming);
        let used = match self.phase {
            Phase::Http => Response::parse(&bytes).map(|(response, used)| {
                self.on_response(&response, model);
                used
            }),
            Phase::Open | Phase::Closing => frame::parse(&bytes).map(|(frame, used)| {
                self.on_frame(frame.opcode, frame.payload, machine, model);
                used
            }),
            Phase::New | Phase::Ended => None,
        };
        self.incoming = bytes;
        self.incoming.drain(..used.unwrap_or(0));
        used.is_some()
    }

    fn on_response(&mut self, response: &Response, model: &mut Model) {
        if response.body == TOO_MANY {
            self.give_up();
            return;
        }
        let is_busy = response.status == 503 && (model.is_stopping || self.is_push());
        assert!(
            is_busy || matches!(response.status, 101 | 200),
            "{self}: {response:?}"
        );
        match self.role {
            Role::Subscriber { .. } | Role::Caller => {
                if is_busy {
                    self.give_up();
                    self.leaves = true;
                } else {
                    self.phase = Phase::Open;
                }
            }
            Role::Visitor => drop(self.pending.pop_front().expect("it was requested")),
            Role::Pusher { user } => {
                let number = self.pending.pop_front().expect("it was requested");
                let number = number.parse().expect("a number");
                if response.status == 200 {
                    let total = response.body.split(' ').nth(3);
                    let total = total.and_then(|it| it.parse().ok());
                    let total: u32 = total.unwrap_or_else(|| panic!("{}", response.body));
                    model.pushes.insert((user, number), Some(total));
                }
            }
        }
    }

    /// Sends nothing more and expects only the end.
    fn give_up(&mut self) {
        self.phase = Phase::Closing;
        self.left = 0;
        self.pending.clear();
        self.outgoing.clear();
    }

    fn is_push(&self) -> bool {
        matches!(self.role, Role::Pusher { .. })
    }

    fn on_frame(&mut self, opcode: u8, payload: &[u8], machine: &mut Machine, model: &mut Model) {
        assert!(
            self.phase == Phase::Open,
            "{self}: a frame behind the close"
        );
        let opcode = opcode | 0x80;
        match (opcode, self.role) {
            (PING, _) => self.put_frame(&mut machine.prng, PONG, payload),
            (CLOSE, _) => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                let is_legal = code == 1001 && model.is_stopping;
                assert!(is_legal || self.is_flawed(), "{self} is closed with {code}");
                self.give_up();
                self.put_frame(&mut machine.prng, CLOSE, payload);
            }
            (TEXT, Role::Caller) => {
                let reply = str::from_utf8(payload).expect("text");
                let expected = self.pending.pop_front();
                assert_eq!(Some(reply), expected.as_deref(), "{self}");
                model.replies += 1;
            }
            (TEXT | BINARY, Role::Subscriber { user }) => {
                let text = str::from_utf8(payload).expect("text");
                let number = text.split(' ').next().expect("a number");
                let number: u32 = number.parse().expect("a number");
                if let Some(last) = self.last {
                    assert!(number > last, "{self}: {number} after {last}");
                    model.missed.extend((last + 1..number).map(|it| (user, it)));
                }
                self.last = Some(number);
                model.received += 1;
            }
            (opcode, _) => panic!("{self}: a frame with {opcode:x}"),
        }
    }
}

/// The records of a client's connection.
struct Records {
    sealer: Sealer,
    opener: Opener,
    outgoing: VecDeque<u8>,
    has_begun: bool,
}

impl Records {
    fn new(seed: u64) -> Self {
        Self {
            sealer: Sealer::new(seed),
            opener: Opener::new(),
            outgoing: VecDeque::new(),
            has_begun: false,
        }
    }

    fn seal(&mut self, plain: &mut VecDeque<u8>) {
        if plain.is_empty() {
            return;
        }
        let mut sealed = Vec::new();
        if !std::mem::replace(&mut self.has_begun, true) {
            self.sealer.hello(&mut sealed);
        }
        let plain: Vec<u8> = plain.drain(..).collect();
        self.sealer.seal(&plain, &mut sealed);
        self.outgoing.extend(sealed);
    }

    fn end(&mut self, to_gateway: &mut VecDeque<u8>) {
        let mut sealed = Vec::new();
        if !std::mem::replace(&mut self.has_begun, true) {
            self.sealer.hello(&mut sealed);
        }
        self.sealer.end(&mut sealed);
        to_gateway.extend(self.outgoing.drain(..));
        to_gateway.extend(sealed);
    }

    fn open(&mut self, mut bytes: Vec<u8>, plain: &mut Vec<u8>) {
        let opened = self.opener.open(&mut bytes, &mut |record| {
            if let Record::Data(bytes) = record {
                plain.extend_from_slice(bytes);
            }
        });
        opened.expect("the gateway's records are valid");
    }
}

impl Model {
    /// Asserts that no subscriber has missed a push that succeeded, and that totals are right.
    pub(super) fn check_end(&self) {
        for missed in &self.missed {
            assert_eq!(self.pushes[missed], None, "{missed:?} was missed");
        }
        if !self.has_losses {
            let totals: u32 = self.pushes.values().map(|total| total.unwrap_or(0)).sum();
            assert_eq!(totals, self.received, "totals");
        }
    }

    /// Returns the number of the next push to a user.
    pub(super) fn next_push(&self, user: usize) -> u32 {
        let numbers = self.pushes.range((user, 0)..=(user, u32::MAX));
        numbers.last().map_or(0, |((_, number), _)| number + 1)
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (role, flaw, phase) = (self.role, self.flaw, self.phase);
        write!(f, "{role:?} ({flaw:?}, {phase:?}, link {:?})", self.link)?;
        write!(f, " with {:?} pending, {} left", self.pending, self.left)
    }
}

/// The body of the response to a connection for which there is no descriptor.
const TOO_MANY: &str = "too many connections\n";
