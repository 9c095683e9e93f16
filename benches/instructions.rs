//! How many instructions does a delivery take in the shard? A workload for `callgrind`.
//!
//! usage: instructions [PUBLICATIONS]
//!
//! Publishes so many times to 1,000 sessions, one turn each. `scripts/instructions.sh` runs it
//! twice, with n and 2 n, so that the difference is n times 1,000 deliveries and nothing else. No
//! time is measured here, and the allocator is the system's, which valgrind knows.

use room::Room;

#[path = "support/room.rs"]
mod room;

fn main() {
    // `cargo bench` adds arguments of its own, none of which is a number.
    let asked = std::env::args().find_map(|argument| argument.parse().ok());
    let publications: u64 = asked.unwrap_or(100);
    let mut room = Room::of(SESSIONS);
    let mut sum = (0, 0);
    for _ in 0..publications {
        room.publish(PAYLOAD);
        let (sends, bytes) = room.drain();
        sum = (sum.0 + sends, sum.1 + bytes);
    }
    let deliveries = publications * u64::from(SESSIONS);
    assert_eq!(sum, (deliveries, deliveries * (2 + PAYLOAD.len() as u64)));
}

const SESSIONS: u32 = 1_000;
const PAYLOAD: &[u8] = &[b'x'; 80];
