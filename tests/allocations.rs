//! What a delivery costs in heap allocations: nothing, and what a quiet session owns: nothing.
//!
//! A global allocator counts, for each thread by itself, so that tests do not count each other's.
//! The shard is the pure one: what the driver and hyper allocate is not looked at here.

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

/// The system's allocator, with what this thread took and still has.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator as it is; the counters are constants'
// worth of thread-local memory without a destructor, so counting allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, bytes(layout.size()));
        // SAFETY: the caller keeps the promises that `System` asks for.
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

/// A shard, alone in its process, whose sessions all listen to one user.
struct Room {
    shard: Shard,
    sessions: Vec<ConnectionId>,
}

impl Room {
    fn of(sessions: usize) -> Self {
        let settings = Arc::new(shard_settings(&Config::default()));
        let shard = Shard::new(ShardId::new(0), 1, settings, HashSeed([1, 2]), [3; 32]);
        let mut room = Self {
            shard,
            sessions: Vec::new(),
        };
        for _ in 0..sessions {
            let id = room.shard.handle_accepted().expect("there is room");
            room.shard.handle_upgraded(id, 0, b"the 101", false);
            room.sessions.push(id);
            let mut frame = masked(br#"{"token":"jack","event":"news"}"#);
            let taken = room.shard.handle_received(id, &mut frame);
            assert_eq!(taken, frame.len());
        }
        assert_eq!(room.drain(), sessions as u64);
        room
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

    /// Sends everything that is owed; returns how many sends that took.
    fn drain(&mut self) -> u64 {
        let mut sends = 0;
        while let Some((id, bytes)) = self.shard.poll_send() {
            let taken = u32::try_from(bytes.len()).expect("an outbox counts in u32");
            self.shard.handle_sent(id, taken);
            sends += 1;
        }
        sends
    }

    /// Owes every session frames of several turns, with the sends under way cut short, and has it
    /// say half a message. Then everything is sent and said to its end.
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

/// A text frame as a client sends it.
fn masked(payload: &[u8]) -> Vec<u8> {
    frame::masked(frame::TEXT, payload, [1, 2, 3, 4])
}

/// How many allocations `work` makes.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// However many a publication reaches: neither its frames nor the deliveries nor the sends cost an
/// allocation, once there is a buffer that was used before.
#[test]
fn a_delivery_allocates_nothing() {
    for sessions in [1, 100, 10_000] {
        let mut room = Room::of(sessions);
        room.publish(b"to warm up");
        room.drain();
        for _ in 0..3 {
            assert_eq!(allocations(|| room.publish(b"Hello World")), 0);
            let sends = |room: &mut Room| assert_eq!(room.drain(), sessions as u64);
            assert_eq!(allocations(|| sends(&mut room)), 0, "{sessions} sessions");
        }
    }
}

/// A buffer is kept with its table of frames, which has grown for the first turn of so many.
#[test]
fn publications_of_one_turn_allocate_nothing_the_second_time() {
    let mut room = Room::of(1_000);
    room.publish(b"to warm up");
    room.drain();
    let publish = |room: &mut Room, count| (0..count).for_each(|_| room.publish(b"Hello World"));
    publish(&mut room, 16);
    room.drain();
    assert_eq!(allocations(|| publish(&mut room, 16)), 0);
    assert_eq!(allocations(|| assert_eq!(room.drain(), 1_000)), 0);
}

/// A short send leaves a remainder, which is sent again from where it is.
#[test]
fn a_send_that_is_cut_short_allocates_nothing() {
    let mut room = Room::of(100);
    let cut_short = |room: &mut Room| {
        while let Some((id, bytes)) = room.shard.poll_send() {
            let taken = u32::from(bytes.len() > 1);
            room.shard.handle_sent(id, taken.max(1));
        }
    };
    for _ in 0..2 {
        room.publish(b"to warm up");
        cut_short(&mut room);
    }
    room.publish(b"Hello World");
    assert_eq!(allocations(|| cut_short(&mut room)), 0);
}

/// A small message that comes whole is read where it lies.
#[test]
fn a_message_that_changes_nothing_allocates_nothing() {
    let mut room = Room::of(100);
    let mut frames: Vec<Vec<u8>> = room
        .sessions
        .iter()
        .map(|_| masked(br#"{"token":"jack","event":"other"}"#))
        .collect();
    let say = |room: &mut Room, frames: &mut [Vec<u8>]| {
        for (&id, frame) in room.sessions.iter().zip(frames) {
            room.shard.handle_received(id, frame);
        }
    };
    assert_eq!(allocations(|| say(&mut room, &mut frames)), 0);
}

/// What remains of a burst is less than two bytes for each session, and nothing more the next time.
#[test]
fn a_quiet_session_owns_no_outbox_and_no_decoder() {
    let mut room = Room::of(10_000);
    room.shard.free_spare();
    let at_rest = LIVE_BYTES.get();
    room.burst();
    room.shard.free_spare();
    let after_one = LIVE_BYTES.get();
    assert!(after_one - at_rest < 16_384, "{at_rest} became {after_one}");
    room.burst();
    room.shard.free_spare();
    assert_eq!(LIVE_BYTES.get(), after_one);
}

/// What the bounds on names count is at least what the heap has of them, whatever their lengths,
/// with many names of one session and with one name of many; and what has gone leaves room for no
/// more than as much again.
#[test]
fn names_take_no_more_than_their_bounds_say() {
    let mut config = Config::default();
    config.limits.names_bytes_per_session_max = 64 << 10;
    config.limits.names_bytes_max = 4 << 20;
    let settings = Arc::new(shard_settings(&config));
    for len in [1_usize, 20, 300, 1_000] {
        let settings = Arc::clone(&settings);
        let mut shard = Shard::new(ShardId::new(0), 1, settings, HashSeed([1, 2]), [3; 32]);
        for round in 0..4 {
            // The last round again has names of another length than the first.
            let len = if round % 2 == 0 { len } else { 1_001 - len };
            let ids: Vec<ConnectionId> = (0..200)
                .map(|_| {
                    let id = shard.handle_accepted().expect("there is room");
                    shard.handle_upgraded(id, 0, b"the 101", false);
                    id
                })
                .collect();
            send_all(&mut shard);
            let (heap, counted) = (LIVE_BYTES.get(), shard.names_bytes());
            for (index, &id) in ids.iter().enumerate() {
                for number in 0..200 {
                    // One more than there is room for would end the session.
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
                // Besides, each slot has a place in the lists of bindings and memberships.
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

/// A channel that nobody is on any more is forgotten with its name.
#[test]
fn a_million_names_leave_no_bytes_behind() {
    const AT_ONCE: usize = 100;
    let mut room = Room::of(AT_ONCE);
    let mut round = |first: usize, names: usize| {
        for name in (first..first + names).step_by(AT_ONCE) {
            let name_of = |index: usize| format!("a channel that is soon forgotten, {index}");
            for (index, &id) in room.sessions.iter().enumerate() {
                room.shard.join(id, &name_of(name + index));
            }
            for (index, &id) in room.sessions.iter().enumerate() {
                assert!(room.shard.leave_channel(id, &name_of(name + index)));
            }
        }
        room.shard.free_spare();
        LIVE_BYTES.get()
    };
    let before = round(0, 10_000);
    let after = round(10_000, 1_000_000);
    assert!(after * 10 <= before * 11, "{before} became {after}");
}
