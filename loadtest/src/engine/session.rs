//! A session, from connect to its end. Every frame is decoded and every message verified.
//!
//! ```text
//!   Connecting -> Upgrading -> Greeting -> Joining -> Open -> Ended
//!                  (steps that a protocol lacks are skipped)
//! ```

use rustix::event::epoll::EventFlags;

use super::churn::MembershipLog;
use super::pipe::{EndCause, Pipe, Read};
use super::run::publisher_of;
use super::{Counters, Setup, Shared};
use crate::clock;
use crate::delivery_check::{DeliveryCheck, Received};
use crate::protocol::{Member, MessageType, Purpose, ServerMessage};
use crate::stamp::{NO_SLOT, PROBE, Stamp};
use crate::wire::frames::{self, Event, Frames};
use crate::wire::{self, SAMPLE_ACCEPT, http};

/// The parts of the engine that sessions and publishers use while they handle an event.
pub(super) struct Context<'a> {
    pub(super) setup: &'a Setup,
    pub(super) shared: &'a Shared,
    /// The index of the engine.
    pub(super) engine: usize,
    pub(super) counters: &'a mut Counters,
    /// The time at which the current bytes were read.
    pub(super) now_ns: u64,
}

impl<'a> Context<'a> {
    pub(super) const fn new(
        setup: &'a Setup,
        shared: &'a Shared,
        engine: usize,
        counters: &'a mut Counters,
    ) -> Self {
        Self {
            setup,
            shared,
            engine,
            counters,
            now_ns: 0,
        }
    }
}

/// The rate at which an open session reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Reads all bytes as they arrive.
    Eager,
    /// Reads this many bytes a second, in ten portions.
    Slow(usize),
    /// Never reads.
    Never,
}

impl Pace {
    /// Returns the session's `SO_RCVBUF` in bytes; `None` for the kernel's default.
    pub(super) const fn receive_buffer_bytes(self) -> Option<usize> {
        match self {
            Self::Eager => None,
            Self::Slow(_) | Self::Never => Some(4096),
        }
    }
}

/// A session and its connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) pipe: Pipe,
    frames: Frames,
    /// Bytes that the protocol keeps between reads, for messages split over frames.
    rest: Vec<u8>,
    pub(super) state: State,
}

/// The state of a session, without its connection.
#[derive(Debug)]
pub(super) struct State {
    /// The index in `Engine::sessions`.
    pub(super) index: usize,
    pub(super) member: Member,
    pub(super) purpose: Purpose,
    stage: Stage,
    pub(super) pace: Pace,
    begun_ns: u64,
    pub(super) check: DeliveryCheck,
    /// Number of messages that the session published.
    pub(super) messages_sent: u32,
    /// Number of commands that the session sent.
    pub(super) commands_sent: u32,
    /// True if the session has received a probe.
    pub(super) is_probed: bool,
    /// The end of the session. Before `Stage::Ended`, the code of a received close frame.
    pub(super) end: Option<EndCause>,
    /// The session's memberships, if it joins and leaves during the run.
    pub(super) membership_log: Option<Box<MembershipLog>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    /// The bytes of the upgrade's response so far.
    Upgrading(Vec<u8>),
    Greeting,
    Joining,
    Open,
    Ended,
}

impl Session {
    /// Creates a session on a connecting socket and enqueues its upgrade request.
    pub(super) fn new(mut pipe: Pipe, state: State, setup: &Setup) -> Self {
        if let Some(upgrade) = setup.protocol.upgrade(state.member, state.purpose) {
            let request = wire::upgrade_request(&setup.target, &upgrade);
            pipe.unwritten().extend_from_slice(&request);
        }
        Self {
            pipe,
            frames: Frames::default(),
            rest: Vec::new(),
            state,
        }
    }

    /// Returns `true` if the session is a member, as far as the protocol confirms it.
    pub(super) fn is_open(&self) -> bool {
        self.state.stage == Stage::Open
    }

    /// Returns `true` if the connection has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.state.stage == Stage::Ended
    }

    /// Returns the time at which connecting began.
    pub(super) const fn begun_ns(&self) -> u64 {
        self.state.begun_ns
    }

    /// Enqueues a message. The next flush writes it.
    pub(super) fn enqueue(&mut self, payload: &[u8], kind: MessageType) {
        put_message(
            payload,
            kind,
            self.state.member.session,
            self.pipe.unwritten(),
        );
    }

    /// Sends a close frame with code 1000.
    pub(super) fn close(&mut self) {
        let mask = mask_of(self.state.member.session);
        frames::put_masked(frames::CLOSE, &[0x03, 0xe8], mask, self.pipe.unwritten());
        self.pipe.flush();
    }

    /// Handles an epoll event. Slow sessions do not read here once they are open.
    pub(super) fn serve(
        &mut self,
        flags: EventFlags,
        scratch: &mut [u8],
        context: &mut Context<'_>,
    ) {
        if self.state.stage == Stage::Connecting {
            match self.pipe.finish_connecting() {
                None => return,
                Some(Ok(())) if self.pipe.unwritten().is_empty() => {
                    self.state.stage = Stage::Open; // The floor has no upgrade.
                }
                Some(Ok(())) => self.state.stage = Stage::Upgrading(Vec::new()),
                Some(Err(end)) => return self.finish(end, context),
            }
        }
        if flags.intersects(EventFlags::OUT) {
            self.pipe.flush();
        }
        let is_paced = self.state.pace != Pace::Eager && self.is_open();
        if !is_paced {
            self.read(scratch, usize::MAX, flags, context);
        }
    }

    /// Reads until nothing is available or `budget` bytes are read, and processes the bytes.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        budget: usize,
        flags: EventFlags,
        context: &mut Context<'_>,
    ) {
        let mut total = 0;
        while self.state.stage != Stage::Ended && total < budget {
            let room = scratch.len().min(budget - total);
            match self.pipe.read(&mut scratch[..room]) {
                Read::Bytes(bytes, is_full) => {
                    total += bytes;
                    context.now_ns = clock::now_ns();
                    self.take(&scratch[..bytes], context);
                    if !is_full && !flags.intersects(EventFlags::RDHUP) {
                        break;
                    }
                }
                Read::Nothing => break,
                Read::Ended(end) => {
                    let end = self.state.end.unwrap_or(end);
                    self.finish(end, context);
                }
            }
        }
        if !self.pipe.unwritten().is_empty() {
            self.pipe.flush();
        }
    }

    fn take(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        let Stage::Upgrading(head) = &mut self.state.stage else {
            return self.feed(bytes, context);
        };
        head.extend_from_slice(bytes);
        let Some(end) = http::head_end(head) else {
            return;
        };
        let head = std::mem::take(head);
        if !is_upgraded(&head[..end]) {
            let shown = head[..head.len().min(300)].escape_ascii();
            context
                .counters
                .record_error(|| format!("an upgrade request got the response `{shown}`"));
            return self.finish(EndCause::ConnectFailed, context);
        }
        self.state.upgraded(self.pipe.unwritten(), context);
        if end < head.len() {
            self.feed(&head[end..], context);
        }
    }

    fn feed(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        let Self {
            pipe,
            frames,
            rest,
            state,
        } = self;
        let out = pipe.unwritten();
        let protocol = &*context.setup.protocol;
        let fed = frames.feed(bytes, &mut |event| match event {
            Event::Message(payload) => {
                protocol.read(rest, payload, &mut |message| {
                    state.handle(&message, out, context);
                });
            }
            Event::Ping(payload) => {
                let mask = mask_of(state.member.session);
                frames::put_masked(frames::PONG, payload, mask, out);
            }
            Event::Close(code) => {
                if state.end.is_none() {
                    let code_bytes = code.map(u16::to_be_bytes);
                    let payload = code_bytes.as_ref().map_or(&[][..], |bytes| &bytes[..]);
                    let mask = mask_of(state.member.session);
                    frames::put_masked(frames::CLOSE, payload, mask, out);
                }
                state.end = Some(EndCause::Closed(code));
            }
        });
        if let Err(wrong) = fed {
            let session = self.state.member.session;
            context
                .counters
                .record_error(|| format!("session {session}: {wrong}"));
            self.finish(EndCause::Eof, context);
        } else if self.state.end.is_some() {
            self.pipe.flush();
            self.pipe.shut_down();
        }
    }

    /// Ends the session. An end that the run does not allow is recorded as an error.
    fn finish(&mut self, end: EndCause, context: &mut Context<'_>) {
        let was_open = self.is_open();
        self.state.stage = Stage::Ended;
        self.state.end = Some(end);
        context.counters.events += 1;
        let session = self.state.member.session;
        if let Some(membership_log) = &mut self.state.membership_log {
            membership_log.ended(clock::now_ns());
        } else if self.state.pace == Pace::Eager && !context.setup.may_end {
            let when = if was_open {
                "early"
            } else {
                "before it was open"
            };
            context
                .counters
                .record_error(|| format!("session {session} was {end}, {when}"));
        }
    }
}

impl State {
    /// Creates the state of a session that begins to connect now.
    pub(super) fn new(index: usize, member: Member, purpose: Purpose, pace: Pace) -> Self {
        Self {
            index,
            member,
            purpose,
            stage: Stage::Connecting,
            pace,
            begun_ns: clock::now_ns(),
            check: DeliveryCheck::default(),
            messages_sent: 0,
            commands_sent: 0,
            is_probed: false,
            end: None,
            membership_log: None,
        }
    }

    /// Called when the session is open. Records the join if the protocol confirms joins or the
    /// connection itself is the join.
    pub(super) fn connected(&mut self, now_ns: u64, setup: &Setup) {
        let opening = setup.protocol.opening(self.member, self.purpose);
        if let Some(membership_log) = &mut self.membership_log
            && self.purpose == Purpose::Receive
            && (opening.is_confirmed || opening.message.is_none())
        {
            membership_log.confirmed(now_ns);
        }
    }

    /// Called on status 101. Joins, or waits for the server's greeting first.
    fn upgraded(&mut self, out: &mut Vec<u8>, context: &Context<'_>) {
        let opening = context.setup.protocol.opening(self.member, self.purpose);
        if opening.has_greeting {
            self.stage = Stage::Greeting;
        } else {
            self.send_join(out, context);
        }
    }

    /// Sends the message that joins the group, if the protocol has one.
    fn send_join(&mut self, out: &mut Vec<u8>, context: &Context<'_>) {
        let protocol = &context.setup.protocol;
        let opening = protocol.opening(self.member, self.purpose);
        self.stage = Stage::Open;
        if let Some(message) = opening.message {
            put_message(&message, protocol.kind(), self.member.session, out);
            if opening.is_confirmed {
                self.stage = Stage::Joining;
            }
        }
    }

    /// Applies a decoded message of the server.
    fn handle(
        &mut self,
        message: &ServerMessage<'_>,
        out: &mut Vec<u8>,
        context: &mut Context<'_>,
    ) {
        match message {
            ServerMessage::Greeting if self.stage == Stage::Greeting => {
                self.send_join(out, context);
            }
            ServerMessage::Joined if self.stage == Stage::Joining => self.stage = Stage::Open,
            ServerMessage::Joined | ServerMessage::Left => {
                if let Some(membership_log) = &mut self.membership_log {
                    membership_log.confirmed(context.now_ns);
                }
            }
            ServerMessage::Message(message) => self.receive(message, context),
            ServerMessage::Ping(bytes) => {
                let kind = context.setup.protocol.kind();
                put_message(bytes, kind, self.member.session, out);
            }
            ServerMessage::Error(why) => {
                let session = self.member.session;
                context
                    .counters
                    .record_error(|| format!("session {session} received an error: {why}"));
            }
            ServerMessage::Greeting | ServerMessage::Accepted => {}
        }
    }

    fn receive(&mut self, message: &[u8], context: &mut Context<'_>) {
        match Stamp::read(message, context.setup.bytes) {
            Some(stamp) if count_of(stamp.group) == self.member.group => {
                if let Some(membership_log) = &mut self.membership_log {
                    membership_log.received(stamp.publisher, stamp.sequence, context.now_ns);
                    context.counters.deliver(stamp.due_ns, context.now_ns);
                    return; // No slot waits for sessions that join and leave.
                }
                if context.setup.keeps_times && stamp.publisher == publisher_of(self.member) {
                    let back = (stamp.publisher, stamp.sequence, context.now_ns);
                    context.counters.own_receipts.push(back);
                }
                let received = self.check.receive(stamp.publisher, stamp.sequence);
                if received == Received::Fresh && self.pace == Pace::Eager {
                    context.counters.deliver(stamp.due_ns, context.now_ns);
                    if stamp.slot != NO_SLOT {
                        context.shared.count_arrival(stamp.slot, context.engine);
                    }
                }
            }
            None if message == PROBE.as_bytes() => {
                let is_counted = self.pace == Pace::Eager && self.membership_log.is_none();
                if is_counted && !self.is_probed {
                    self.is_probed = true;
                    context
                        .shared
                        .probed
                        .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            }
            Some(_) | None => {
                self.check.receive_invalid();
                let session = self.member.session;
                context.counters.record_error(|| {
                    let shown = message[..message.len().min(80)].escape_ascii();
                    format!("session {session} received a foreign message: `{shown}`")
                });
            }
        }
    }
}

fn count_of(group: u32) -> usize {
    usize::try_from(group).unwrap_or(usize::MAX)
}

fn put_message(payload: &[u8], kind: MessageType, session: usize, out: &mut Vec<u8>) {
    let opcode = match kind {
        MessageType::Text => frames::TEXT,
        MessageType::Binary => frames::BINARY,
    };
    frames::put_masked(opcode, payload, mask_of(session), out);
}

/// Returns the session's frame mask. It is constant: masks need no entropy in a load test.
fn mask_of(session: usize) -> [u8; 4] {
    let mixed = u32::try_from(session & 0xff_ffff)
        .unwrap_or(1)
        .wrapping_mul(0x9e37_79b1);
    (mixed | 1).to_be_bytes()
}

fn is_upgraded(head: &[u8]) -> bool {
    str::from_utf8(head).is_ok_and(|head| {
        let accept = http::header(head, "sec-websocket-accept");
        http::status(head) == Some(101) && accept == Some(SAMPLE_ACCEPT)
    })
}
