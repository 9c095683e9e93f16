//! How many instructions does a delivery take in the shard? A workload for `callgrind`.
//!
//! usage: instructions [PUBLICATIONS] [TURN]
//!
//! Publishes so many times to 1,000 sessions, `TURN` of them at a time (one).
//! `scripts/instructions.sh` runs it twice, with n and 2 n, so that the difference is n times 1,000
//! deliveries and nothing else. No time is measured here, and the allocator is the system's, which
//! valgrind knows.

use room::Room;

#[path = "support/room.rs"]
mod room;

fn main() {
    // `cargo bench` adds arguments of its own, none of which is a number.
    let mut asked = std::env::args().filter_map(|argument| argument.parse::<u64>().ok());
    let publications = asked.next().unwrap_or(100);
    let per_turn = asked.next().unwrap_or(1);
    let mut room = Room::of(SESSIONS);
    let mut sum = (0, 0);
    for number in 1..=publications {
        room.publish(PAYLOAD);
        if number % per_turn == 0 || number == publications {
            let (sends, bytes) = room.drain();
            sum = (sum.0 + sends, sum.1 + bytes);
        }
    }
    let frame_bytes = 2 + PAYLOAD.len() as u64;
    let (turns, sessions) = (publications.div_ceil(per_turn), u64::from(SESSIONS));
    assert_eq!(
        sum,
        (turns * sessions, publications * sessions * frame_bytes)
    );
}

const SESSIONS: u32 = 1_000;
const PAYLOAD: &[u8] = &[b'x'; 80];
