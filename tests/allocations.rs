//! Tests of heap use: a delivery allocates nothing, and an idle session owns no heap memory.
//!
//! A global allocator counts per thread, so that tests do not affect each other. Only the pure
//! shard is measured, not the driver or hyper.

#![expect(
    unsafe_code,
    reason = "a global allocator can be written in no other way"
)]

use campanile::close::CloseCause;
use campanile::config::Config;
use campanile::content::{Content, Data};
use campanile::gateway::shard_settings;
use campanile::id::{ConnectionId, ShardId};
use campanile::publication::Audience;
use campanile::shard::hash::HashSeed;
use campanile::shard::{CloseStep, Shard};
use campanile_tests::frame;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

/// The system's allocator, which counts this thread's allocations and live bytes.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed to the system's allocator unchanged. The counters are thread-locals
// with constant initializers and no destructors, so counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, bytes(layout.size()));
        // SAFETY: the caller fulfills the contract of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -bytes(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, bytes(size) - bytes(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn count(allocations: u64, live_bytes: i64) {
    ALLOCATIONS.set(ALLOCATIONS.get() + allocations);
    LIVE_BYTES.set(LIVE_BYTES.get() + live_bytes);
}

fn bytes(size: usize) -> i64 {
    i64::try_from(size).expect("a layout's size fits an isize")
}

/// A single shard whose sessions are all bound to one user.
struct BoundSessions {
    shard: Shard,
    sessions: Vec<ConnectionId>,
}

impl BoundSessions {
    fn of(sessions: usize) -> Self {
        let settings = Arc::new(shard_settings(&Config::default()));
        let shard = Shard::new(ShardId::new(0), 1, settings, HashSeed([1, 2]), [3; 32]);
        let mut bound_sessions = Self {
            shard,
            sessions: Vec::new(),
        };
        for _ in 0..sessions {
            let id = bound_sessions
                .shard
                .handle_accepted()
                .expect("there is room");
            bound_sessions
                .shard
                .handle_upgraded(id, 0, 0, b"the 101", false);
            bound_sessions.sessions.push(id);
            let mut frame = masked(br#"{"token":"jack","event":"news"}"#);
            let taken = bound_sessions.shard.handle_received(id, &mut frame);
            assert_eq!(taken, frame.len());
        }
        assert_eq!(bound_sessions.drain(), sessions as u64);
        bound_sessions
    }

    fn publish(&mut self, payload: &[u8]) {
        let audience = Audience::User {
            namespace: 0,
            name: b"jack",
            event: Some(b"news"),
        };
        let content = Content {
            event: "news",
            data: Data::Bytes(payload),
            ..Content::default()
        };
        let reached = self.shard.publish(audience, &content, None);
        assert_eq!(reached as usize, self.sessions.len());
    }

    /// Sends all pending bytes and returns the number of sends.
    fn drain(&mut self) -> u64 {
        let mut sends = 0;
        while let Some((id, bytes)) = self.shard.poll_send() {
            let taken = u32::try_from(bytes.len()).expect("an outbox counts in u32");
            self.shard.handle_sent(id, taken);
            sends += 1;
        }
        sends
    }

    /// Enqueues frames of several turns with short sends, and lets every session send half a
    /// message. Then completes all sends and messages.
    fn burst(&mut self) {
        let mut halves: Vec<Vec<u8>> = Vec::new();
        for &id in &self.sessions {
            let mut frame = masked(&[b'x'; 1000]);
            let rest = frame.split_off(500);
            self.shard.handle_received(id, &mut frame);
            halves.push(rest);
        }
        for _ in 0..3 {
            for _ in 0..5 {
                self.publish(b"some words");
            }
            while let Some((id, _)) = self.shard.poll_send() {
                self.shard.handle_sent(id, 1);
                if id.slot() == self.sessions[0].slot() {
                    break;
                }
            }
        }
        for (&id, rest) in self.sessions.iter().zip(&mut halves) {
            self.shard.handle_received(id, rest);
        }
        self.drain();
        assert_eq!(self.shard.partial_bytes(), 0);
        self.shard.invariants();
    }
}

/// Encodes a masked text frame.
fn masked(payload: &[u8]) -> Vec<u8> {
    frame::masked(frame::TEXT, payload, [1, 2, 3, 4])
}

/// Returns the number of allocations of `work`.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// Once a pooled buffer exists, frames, deliveries and sends do not allocate, for any number of
/// receivers.
#[test]
fn a_delivery_allocates_nothing() {
    for sessions in [1, 100, 10_000] {
        let mut bound_sessions = BoundSessions::of(sessions);
        bound_sessions.publish(b"to warm up");
        bound_sessions.drain();
        for _ in 0..3 {
            assert_eq!(allocations(|| bound_sessions.publish(b"Hello World")), 0);
            let sends = |bound_sessions: &mut BoundSessions| {
                assert_eq!(bound_sessions.drain(), sessions as u64);
            };
            assert_eq!(
                allocations(|| sends(&mut bound_sessions)),
                0,
                "{sessions} sessions"
            );
        }
    }
}

/// A pooled buffer keeps its table of frames, which has grown in the first turn.
#[test]
fn publications_of_one_turn_allocate_nothing_the_second_time() {
    let mut bound_sessions = BoundSessions::of(1_000);
    bound_sessions.publish(b"to warm up");
    bound_sessions.drain();
    let publish = |bound_sessions: &mut BoundSessions, count| {
        (0..count).for_each(|_| bound_sessions.publish(b"Hello World"));
    };
    publish(&mut bound_sessions, 16);
    bound_sessions.drain();
    assert_eq!(allocations(|| publish(&mut bound_sessions, 16)), 0);
    assert_eq!(allocations(|| assert_eq!(bound_sessions.drain(), 1_000)), 0);
}

/// The rest after a short send is sent from the same buffer.
#[test]
fn a_short_send_allocates_nothing() {
    let mut bound_sessions = BoundSessions::of(100);
    let cut_short = |bound_sessions: &mut BoundSessions| {
        while let Some((id, bytes)) = bound_sessions.shard.poll_send() {
            let taken = u32::from(bytes.len() > 1);
            bound_sessions.shard.handle_sent(id, taken.max(1));
        }
    };
    for _ in 0..2 {
        bound_sessions.publish(b"to warm up");
        cut_short(&mut bound_sessions);
    }
    bound_sessions.publish(b"Hello World");
    assert_eq!(allocations(|| cut_short(&mut bound_sessions)), 0);
}

/// A small complete message is decoded in place.
#[test]
fn a_message_that_changes_nothing_allocates_nothing() {
    let mut bound_sessions = BoundSessions::of(100);
    let mut frames: Vec<Vec<u8>> = bound_sessions
        .sessions
        .iter()
        .map(|_| masked(br#"{"token":"jack","event":"other"}"#))
        .collect();
    let say = |bound_sessions: &mut BoundSessions, frames: &mut [Vec<u8>]| {
        for (&id, frame) in bound_sessions.sessions.iter().zip(frames) {
            bound_sessions.shard.handle_received(id, frame);
        }
    };
    assert_eq!(allocations(|| say(&mut bound_sessions, &mut frames)), 0);
}

/// After a burst less than 2 bytes per session remain, and after a second burst not more.
#[test]
fn an_idle_session_owns_no_outbox_and_no_decoder() {
    let mut bound_sessions = BoundSessions::of(10_000);
    bound_sessions.shard.free_spare();
    let at_rest = LIVE_BYTES.get();
    bound_sessions.burst();
    bound_sessions.shard.free_spare();
    let after_one = LIVE_BYTES.get();
    assert!(after_one - at_rest < 16_384, "{at_rest} became {after_one}");
    bound_sessions.burst();
    bound_sessions.shard.free_spare();
    assert_eq!(LIVE_BYTES.get(), after_one);
}

/// The counted bytes of names are at least their heap memory, for all lengths, for many names of
/// one session and one name of many sessions. Removed names leave at most as much again.
#[test]
fn names_take_at_most_the_counted_bytes() {
    let mut config = Config::default();
    config.limits.names_bytes_per_session_max = 64 << 10;
    config.limits.names_bytes_max = 4 << 20;
    let settings = Arc::new(shard_settings(&config));
    for len in [1_usize, 20, 300, 1_000] {
        let settings = Arc::clone(&settings);
        let mut shard = Shard::new(ShardId::new(0), 1, settings, HashSeed([1, 2]), [3; 32]);
        for round in 0..4 {
            // Rounds alternate between two lengths of names.
            let len = if round % 2 == 0 { len } else { 1_001 - len };
            let ids: Vec<ConnectionId> = (0..200)
                .map(|_| {
                    let id = shard.handle_accepted().expect("there is room");
                    shard.handle_upgraded(id, 0, 0, b"the 101", false);
                    id
                })
                .collect();
            send_all(&mut shard);
            let (heap, counted) = (LIVE_BYTES.get(), shard.names_bytes());
            for (index, &id) in ids.iter().enumerate() {
                for number in 0..200 {
                    // A name above the limit would close the session.
                    let has_room = shard.names_bytes_of(id) < 50 << 10;
                    if !has_room || shard.names_bytes() > (4 << 20) - (16 << 10) {
                        break;
                    }
                    let own = format!("{index} {number} {}", "x".repeat(len));
                    let shared = format!("{number} {}", "y".repeat(len));
                    shard.join(id, &own[..own.len().min(1_024)]);
                    shard.bind(id, &shared[..shared.len().min(1_024)], b"e");
                }
                let taken = LIVE_BYTES.get() - heap;
                let stated = bytes(shard.names_bytes() - counted);
                // Each slot also has an entry in the lists of bindings and memberships.
                let places = bytes(ids.len() * 2 * 24);
                if round == 0 {
                    assert!(taken <= stated + places, "{len}: {taken} of {stated}");
                }
                assert!(shard.names_bytes() <= 4 << 20);
            }
            assert!(
                LIVE_BYTES.get() - heap <= 2 * (4 << 20) + (1 << 20),
                "{len}"
            );
            shard.invariants();
            for id in ids {
                shard.abort(id, CloseCause::Reset);
            }
            send_all(&mut shard);
            assert_eq!(shard.names_bytes(), 0);
        }
    }
}

fn send_all(shard: &mut Shard) {
    while let Some((id, bytes)) = shard.poll_send() {
        let taken = u32::try_from(bytes.len()).expect("an outbox counts in u32");
        shard.handle_sent(id, taken);
    }
    while let Some((id, step)) = shard.poll_close() {
        assert_eq!(step, CloseStep::Finish);
        shard.handle_closed(id);
    }
    shard.free_spare();
}

/// A channel without members is removed with its name.
#[test]
fn a_million_names_leave_no_bytes_behind() {
    const AT_ONCE: usize = 100;
    let mut bound_sessions = BoundSessions::of(AT_ONCE);
    let mut round = |first: usize, names: usize| {
        for name in (first..first + names).step_by(AT_ONCE) {
            let name_of = |index: usize| format!("a channel that is soon forgotten, {index}");
            for (index, &id) in bound_sessions.sessions.iter().enumerate() {
                bound_sessions.shard.join(id, &name_of(name + index));
            }
            for (index, &id) in bound_sessions.sessions.iter().enumerate() {
                assert!(
                    bound_sessions
                        .shard
                        .leave_channel(id, &name_of(name + index))
                );
            }
        }
        bound_sessions.shard.free_spare();
        LIVE_BYTES.get()
    };
    let before = round(0, 10_000);
    let after = round(10_000, 1_000_000);
    assert!(after * 10 <= before * 11, "{before} became {after}");
}
