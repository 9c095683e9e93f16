//! Byte stages: what sits between a connection's socket and the host, such as TLS.
//!
//! ```text
//!   socket --received--> Stage::receive --plain--> host
//!   socket <--out buffer-- Stage::seal, send_own, seal_end <--plain-- host
//! ```
//!
//! A listener decides whether its connections have a stage. Most have none, and cost one test of a
//! byte beside others that are loaded anyway. Bytes are sealed when they are sent and not before,
//! all that is pending at once, into a buffer of the shard's pool. The host is told that they were
//! sent when the socket has taken the buffer whole. A connection that keeps up owns no buffer.

#![expect(
    unsafe_code,
    reason = "the host's bytes are sealed where they are lent"
)]

use super::kernel::LentBytes;
use crate::vocabulary::id::ConnectionId;
use std::collections::VecDeque;
use std::sync::Arc;

/// The stage of one connection: a byte format below HTTP and WebSocket.
pub trait Stage {
    /// Handles received bytes and passes the plain bytes in them to `plain`, in order, in place
    /// where it can.
    ///
    /// # Errors
    ///
    /// A [`StageError`] if the bytes are invalid. The connection is aborted, after an attempt to
    /// send what the stage wants to send.
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), StageError>;

    /// Handles the end of the peer's bytes.
    ///
    /// # Errors
    ///
    /// A [`StageError`] if the peer has not announced the end, so that bytes may be missing.
    fn receive_end(&mut self) -> Result<(), StageError>;

    /// Returns whether it has bytes of its own to send, such as those of a handshake.
    fn wants_to_send(&self) -> bool;

    /// Appends its own bytes to `out`.
    fn send_own(&mut self, out: &mut Vec<u8>);

    /// Appends records that hold the first bytes of `plain` to `out`, and returns how many those
    /// are; 0 if none can be sent before more is received. `plain` has at most
    /// [`SEALED_BYTES_MAX`] bytes.
    fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> usize;

    /// Appends the announcement that no more bytes follow.
    fn seal_end(&mut self, out: &mut Vec<u8>);

    /// Returns the number of received bytes that it holds until more come. A connection whose stage
    /// holds more than [`HELD_BYTES_MAX`] is aborted.
    fn held_bytes(&self) -> usize;
}

/// A violation of a stage's format by the peer.
#[derive(Clone, Copy, Debug)]
pub struct StageError(pub &'static str);

/// A function that creates the stage of an accepted connection.
pub type StageFactory = Arc<dyn Fn() -> Box<dyn Stage> + Send + Sync>;

/// The stages of a shard's connections, and the buffers that they send from.
#[derive(Default)]
pub(super) struct Stages {
    /// By slot; empty unless a listener has stages.
    staged: Vec<Option<Box<Staged>>>,
    /// Connections that may have something to send, each at most once.
    queue: VecDeque<ConnectionId>,
    /// Connections that wait for a buffer, in order.
    waiting: VecDeque<ConnectionId>,
    /// Buffers without bytes.
    spare: Vec<Vec<u8>>,
    /// Buffers with bytes that are being sent, at most [`BUFFERS_MAX`].
    in_use: usize,
}

/// A connection with a stage.
pub(super) struct Staged {
    id: ConnectionId,
    pub(super) stage: Box<dyn Stage>,
    /// Bytes being sent, of which the socket has taken `taken`.
    out: Vec<u8>,
    taken: usize,
    /// Bytes that the host has lent.
    lent: Option<LentBytes>,
    /// Number of lent bytes that `out` holds; 0 if none was sealed.
    sealed: usize,
    pub(super) is_sending: bool,
    is_queued: bool,
    end: SendingEnd,
    /// The peer has violated the format: its bytes are discarded.
    pub(super) has_failed: bool,
}

/// The state of shutting the write side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum SendingEnd {
    Open,
    /// To be announced behind everything else.
    Wanted,
    /// Announced in `out`. The write side is shut when the socket has taken it.
    Announced,
    Shut,
}

/// What can be sent for a connection.
#[derive(Debug)]
pub(super) enum NextSend {
    /// These bytes, which stay until [`Stages::sent`].
    Bytes(LentBytes),
    /// Nothing more: the write side is to be shut.
    Shutdown,
    /// Nothing now.
    Nothing,
}

impl Stages {
    /// Adds the stage of a new connection.
    pub(super) fn insert(&mut self, id: ConnectionId, stage: Box<dyn Stage>) {
        if self.staged.len() <= id.index() {
            self.staged.resize_with(id.index() + 1, || None);
        }
        self.staged[id.index()] = Some(Box::new(Staged {
            id,
            stage,
            out: Vec::new(),
            taken: 0,
            lent: None,
            sealed: 0,
            is_sending: false,
            is_queued: false,
            end: SendingEnd::Open,
            has_failed: false,
        }));
    }

    /// Removes the stage of a connection that was closed, if it had one.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        if let Some(staged) = self.staged.get_mut(id.index()).and_then(Option::take) {
            self.put_back(staged.out);
        }
    }

    /// Returns the connection's stage.
    ///
    /// # Panics
    ///
    /// If it has none.
    pub(super) fn of(&mut self, id: ConnectionId) -> &mut Staged {
        let staged = self.staged[id.index()].as_mut().expect("it has a stage");
        assert!(staged.id == id, "a slot outlives its operations");
        staged
    }

    /// Queues a connection to be looked at in the next flush.
    pub(super) fn queue(&mut self, id: ConnectionId) {
        if !std::mem::replace(&mut self.of(id).is_queued, true) {
            self.queue.push_back(id);
        }
    }

    /// Takes bytes that the host lends until they are reported as sent.
    pub(super) fn lend(&mut self, id: ConnectionId, bytes: LentBytes) {
        let before = self.of(id).lent.replace(bytes);
        assert!(before.is_none(), "the host lends once at a time");
        self.queue(id);
    }

    /// Shuts the write side behind everything that is pending.
    pub(super) fn shut(&mut self, id: ConnectionId) {
        self.of(id).end = SendingEnd::Wanted;
        self.queue(id);
    }

    /// Returns whether a connection is queued.
    pub(super) fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Takes the next queued connection; `None` if there is none.
    pub(super) fn next(&mut self) -> Option<ConnectionId> {
        loop {
            let id = self.queue.pop_front()?;
            if let Some(staged) = self.current(id) {
                staged.is_queued = false;
                return Some(id);
            }
        }
    }

    /// Returns a queued connection's stage; `None` if its slot is another connection's by now.
    fn current(&mut self, id: ConnectionId) -> Option<&mut Staged> {
        let staged = self.staged[id.index()].as_deref_mut();
        staged.filter(|staged| staged.id == id)
    }

    /// Returns what a connection without a send in flight can send next, sealing pending bytes if
    /// nothing is left of those sealed before.
    pub(super) fn next_send(&mut self, id: ConnectionId) -> NextSend {
        let has_buffer = self.in_use < BUFFERS_MAX;
        let staged = self.of(id);
        if staged.out.is_empty() {
            if staged.end == SendingEnd::Announced {
                staged.end = SendingEnd::Shut;
                return NextSend::Shutdown;
            }
            // Nothing is sealed behind the end, whatever comes in.
            if staged.end == SendingEnd::Shut || !staged.has_something() {
                return NextSend::Nothing;
            }
            if !has_buffer {
                staged.is_queued = true;
                self.waiting.push_back(id);
                return NextSend::Nothing;
            }
            let mut out = self.spare.pop().unwrap_or_default();
            self.of(id).fill(&mut out);
            if out.is_empty() {
                self.spare.push(out);
                return NextSend::Nothing;
            }
            self.in_use += 1;
            self.of(id).out = out;
        }
        let staged = self.of(id);
        staged.is_sending = true;
        NextSend::Bytes(LentBytes::from(&staged.out[staged.taken..]))
    }

    /// Records that the socket has taken `taken` bytes. Returns the number of the host's bytes that
    /// were sent, if all sealed ones were.
    pub(super) fn sent(&mut self, id: ConnectionId, taken: usize) -> Option<u32> {
        let staged = self.of(id);
        staged.is_sending = false;
        staged.taken += taken;
        assert!(staged.taken <= staged.out.len());
        let mut sent = None;
        if staged.taken == staged.out.len() {
            staged.taken = 0;
            let out = std::mem::take(&mut staged.out);
            let sealed = std::mem::take(&mut staged.sealed);
            if sealed > 0 {
                staged.lent = None;
                sent = Some(u32::try_from(sealed).expect("at most SEALED_BYTES_MAX"));
            }
            self.put_back(out);
        }
        self.queue(id);
        sent
    }

    /// Discards what is pending, since nothing more can be sent. Returns whether the host waits to
    /// be told.
    pub(super) fn abandon(&mut self, id: ConnectionId) -> bool {
        let staged = self.of(id);
        staged.is_sending = false;
        (staged.taken, staged.sealed) = (0, 0);
        let was_lent = staged.lent.take().is_some();
        let out = std::mem::take(&mut staged.out);
        self.put_back(out);
        was_lent
    }

    /// Frees the buffers that are kept for reuse.
    pub(super) fn free_spare(&mut self) {
        self.spare = Vec::new();
    }

    /// Takes back a buffer, if it is one.
    fn put_back(&mut self, mut out: Vec<u8>) {
        if !out.is_empty() {
            out.clear();
            self.in_use -= 1;
            self.spare.push(out);
            while let Some(id) = self.waiting.pop_front() {
                if self.current(id).is_some() {
                    self.queue.push_back(id);
                    break;
                }
            }
        }
    }
}

impl Staged {
    fn has_something(&self) -> bool {
        self.stage.wants_to_send() || self.lent.is_some() || self.end == SendingEnd::Wanted
    }

    /// Appends to `out` what is to be sent now.
    fn fill(&mut self, out: &mut Vec<u8>) {
        if self.stage.wants_to_send() {
            self.stage.send_own(out);
        }
        if let Some(lent) = &self.lent {
            // SAFETY: the host keeps what it lends in place until it is told that it was sent,
            // which resets `lent`.
            let plain = unsafe { lent.bytes() };
            let plain = &plain[..plain.len().min(SEALED_BYTES_MAX)];
            self.sealed = self.stage.seal(plain, out);
        } else if self.end == SendingEnd::Wanted {
            self.stage.seal_end(out);
            self.end = SendingEnd::Announced;
        }
    }
}

/// Plain bytes of one connection that are sealed at a time.
pub const SEALED_BYTES_MAX: usize = 16 << 10;
/// Received bytes that a stage may hold.
pub const HELD_BYTES_MAX: usize = 32 << 10;
/// Buffers of a shard that are being sent, of [`SEALED_BYTES_MAX`] and what a stage adds. While all
/// are in use, further sends of connections with stages wait, in order.
const BUFFERS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    /// A stage that doubles each byte.
    struct Doubling;

    impl Stage for Doubling {
        fn receive(
            &mut self,
            bytes: &mut [u8],
            plain: &mut dyn FnMut(&mut [u8]),
        ) -> Result<(), StageError> {
            plain(bytes);
            Ok(())
        }

        fn receive_end(&mut self) -> Result<(), StageError> {
            Ok(())
        }

        fn wants_to_send(&self) -> bool {
            false
        }

        fn send_own(&mut self, _: &mut Vec<u8>) {}

        fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> usize {
            out.extend(plain.iter().flat_map(|&byte| [byte, byte]));
            plain.len()
        }

        fn seal_end(&mut self, out: &mut Vec<u8>) {
            out.push(b'.');
        }

        fn held_bytes(&self) -> usize {
            0
        }
    }

    fn id(slot: u32) -> ConnectionId {
        ConnectionId::new(slot, 1)
    }

    fn send(stages: &mut Stages, id: ConnectionId) -> Vec<u8> {
        let NextSend::Bytes(bytes) = stages.next_send(id) else {
            panic!("there is something to send");
        };
        // SAFETY: the stage keeps them until they are sent.
        unsafe { bytes.bytes() }.to_vec()
    }

    #[test]
    fn the_host_is_told_when_the_buffer_with_its_bytes_was_taken_whole() {
        let mut stages = Stages::default();
        stages.insert(id(0), Box::new(Doubling));
        stages.lend(id(0), LentBytes::from(&b"abc"[..]));
        assert_eq!(stages.next(), Some(id(0)));
        assert_eq!(send(&mut stages, id(0)), b"aabbcc");
        assert_eq!(stages.sent(id(0), 4), None);
        assert_eq!(send(&mut stages, id(0)), b"cc");
        assert_eq!(stages.sent(id(0), 2), Some(3));

        stages.shut(id(0));
        assert_eq!(send(&mut stages, id(0)), b".");
        assert_eq!(stages.sent(id(0), 1), None);
        assert!(matches!(stages.next_send(id(0)), NextSend::Shutdown));
        assert!(matches!(stages.next_send(id(0)), NextSend::Nothing));
        assert_eq!(stages.in_use, 0);
    }

    #[test]
    fn sends_wait_while_all_buffers_are_in_use() {
        let mut stages = Stages::default();
        let many = u32::try_from(BUFFERS_MAX).expect("few");
        for slot in 0..=many {
            stages.insert(id(slot), Box::new(Doubling));
            stages.lend(id(slot), LentBytes::from(&b"abc"[..]));
        }
        for slot in 0..many {
            assert_eq!(stages.next(), Some(id(slot)));
            assert_eq!(send(&mut stages, id(slot)), b"aabbcc");
        }
        assert_eq!(stages.next(), Some(id(many)));
        assert!(matches!(stages.next_send(id(many)), NextSend::Nothing));
        assert_eq!(stages.sent(id(2), 4), None);
        assert_eq!(stages.next(), Some(id(2)));
        assert_eq!(send(&mut stages, id(2)), b"cc", "what is begun goes on");
        assert!(stages.abandon(id(0)), "the host has lent bytes");
        stages.remove(id(1));
        assert_eq!(stages.in_use, BUFFERS_MAX - 2);
        assert_eq!(stages.next(), Some(id(many)));
        assert_eq!(send(&mut stages, id(many)), b"aabbcc");
    }
}
