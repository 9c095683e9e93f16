//! Instructions of each stage up to the shard: workloads for `callgrind`.
//!
//! `support/counting.rs` describes the usage. Nothing depends on time or chance, and the allocator
//! is the system's, which valgrind knows. Each workload ends with a check of its output whose cost
//! does not grow with N.
//!
//! The whole gateway is in another program: there too, the shard's sends are called from one place
//! and inlined into it.

use bound_sessions::BoundSessions;
use campanile::id::{ConnectionId, ShardId};
use campanile::shard::connection_table::ConnectionTable;
use campanile::shard::message::{CountRequestId, DropTarget, MailboxMessage};
use campanile::shard::wheel::Wheel;
use campanile::ws::{Decoder, Event, OpCode, encoder, handshake};
use counting::Workload;
use dialects::{DATA_BYTES, DialectMessage, json, length_of};
use pair::{Pair, endpoints};
use requests::upgrade_request;
use std::hint::black_box;
use std::sync::Arc;

#[path = "support/bound_sessions.rs"]
mod bound_sessions;
#[path = "support/checksum.rs"]
mod checksum;
#[path = "support/counting.rs"]
mod counting;
#[expect(dead_code, reason = "the workloads name their dialects")]
#[path = "support/dialects.rs"]
mod dialects;
#[path = "support/frames.rs"]
mod frames;
#[path = "support/pair.rs"]
mod pair;
#[expect(dead_code, reason = "nothing is pushed here")]
#[path = "support/requests.rs"]
mod requests;

fn main() -> Result<(), String> {
    counting::run(ALL)
}

/// In the order in which a message passes them.
const ALL: &[Workload] = &[
    Workload::new("handshake", "request", 2_000, 1, validate),
    Workload::new("decode", "frame", 12_800, 128, decode),
    Workload::new("decode-wsrv", "message", 2_000, 1, decode_as),
    Workload::new("decode-easyws", "message", 2_000, 1, decode_as),
    Workload::new("decode-projectforge", "message", 2_000, 1, decode_as),
    Workload::new("decode-edk", "message", 2_000, 1, decode_as),
    Workload::new("decode-wserver", "message", 2_000, 1, decode_as),
    Workload::new("encode", "frame", 12_800, 128, encode),
    Workload::new("encode-wsrv", "publication", 2_000, 1, encode_as),
    Workload::new("encode-easyws", "publication", 2_000, 1, encode_as),
    Workload::new("encode-projectforge", "publication", 2_000, 1, encode_as),
    Workload::new("encode-edk", "publication", 2_000, 1, encode_as),
    Workload::new("encode-wserver", "publication", 2_000, 1, encode_as),
    Workload::new("fanout-1", "delivery", 20_000, 1_000, fan_out),
    Workload::new("fanout-16", "delivery", 320_000, 16_000, fan_out),
    Workload::new("mailbox", "message", 25_600, 256, mailbox),
    Workload::new("crossing", "publication", 2_560, 256, crossing),
    Workload::new("table", "session", 20_000, 1_000, session_table),
    Workload::new("wheel", "deadline", 100_000, 10_000, wheel),
];

/// Validates a browser's upgrade request and encodes the 101.
fn validate(_: &str, requests: u64) {
    let request = upgrade_request("/ws");
    let lines = request.lines().filter_map(|line| line.split_once(": "));
    let headers: Vec<(&str, &[u8])> = lines.map(|(name, text)| (name, text.as_bytes())).collect();
    let mut output = Vec::with_capacity(1_024);
    for _ in 0..requests {
        output.clear();
        let lines = black_box(&headers).iter().copied();
        let accept = handshake::validate("GET", lines, || true).expect("a browser's is right");
        handshake::put_switching_protocols(&mut output, &accept, None);
    }
    checksum::check("handshake", &output, SWITCHING);
}

/// Decodes frames of 128 masked bytes, 64 in a chunk. Decoding twice restores them.
fn decode(_: &str, frames: u64) {
    let mut frame = Vec::new();
    encoder::put_head(&mut frame, OpCode::Text, FRAME_BYTES);
    frame[1] |= 0x80;
    frame.extend_from_slice(&[0x37, 0xfa, 0x21, 0x3d]);
    frame.resize(frame.len() + FRAME_BYTES, b'x');
    let mut stream = frame.repeat(64);
    let before = checksum::of(&stream);
    let (mut decoder, mut bytes) = (Decoder::new(), 0);
    for _ in 0..frames / 64 {
        let mut rest = black_box(&mut stream[..]);
        while let (taken, Some(event)) = decoder.step(rest, 1 << 20).expect("valid") {
            if let Event::Message { payload, .. } = event {
                bytes += payload.bytes().len() as u64;
            }
            rest = &mut rest[taken..];
        }
    }
    assert_eq!(bytes, frames * FRAME_BYTES as u64);
    assert_eq!(checksum::of(&stream), before);
}

/// Decodes a client's message.
fn decode_as(name: &'static str, messages: u64) {
    let mut sample = DialectMessage::new(name, DATA_BYTES[0]);
    let length = sample.decode(length_of);
    let lengths: usize = (0..messages)
        .map(|_| black_box(&mut sample).decode(length_of))
        .sum();
    assert_eq!(lengths as u64, messages * length as u64);
    sample.check();
}

/// Encodes frames of 128 bytes, 128 of them into one buffer.
fn encode(_: &str, frames: u64) {
    let payload = [b'x'; FRAME_BYTES];
    let mut batch = Vec::with_capacity(128 * (FRAME_BYTES + 16));
    for number in 0..frames {
        if number % 128 == 0 {
            batch.clear();
        }
        encoder::put_frame(&mut batch, OpCode::Text, black_box(&payload));
    }
    checksum::check("encode", &batch, 0x079a_07f1);
}

/// Encodes a publication as a frame.
fn encode_as(name: &'static str, publications: u64) {
    let (mut sample, data) = (
        DialectMessage::new(name, DATA_BYTES[0]),
        json(DATA_BYTES[0]),
    );
    let mut frame = Vec::with_capacity(1_024);
    for _ in 0..publications {
        frame.clear();
        sample.encode(black_box(data.as_bytes()), &mut frame);
    }
    assert!(!frame.is_empty());
    sample.check();
}

/// Publishes to 1,000 sessions, `per_turn` publications per turn. `fanout.rs` checks the bytes:
/// here that would be counted for each delivery.
fn fan_out(per_turn: &str, deliveries: u64) {
    let per_turn: u64 = per_turn.parse().expect("it is in the name");
    let mut bound = BoundSessions::of(SESSIONS);
    let (sessions, mut sum) = (u64::from(SESSIONS), (0, 0));
    let turns = deliveries / sessions / per_turn;
    for _ in 0..turns {
        for _ in 0..per_turn {
            bound.publish(PAYLOAD);
        }
        let (sends, bytes) = bound.drain(None);
        sum = (sum.0 + sends, sum.1 + bytes);
    }
    let frame_bytes = 2 + PAYLOAD.len() as u64;
    assert_eq!(sum, (turns * sessions, deliveries * frame_bytes));
}

/// Sends messages from one shard to another, a full mailbox at a time.
fn mailbox(_: &str, messages: u64) {
    let (near, far) = (ShardId::new(0), ShardId::new(1));
    let (mut sender, receiver) = endpoints(SLOTS as usize);
    let target = Arc::new(DropTarget {
        namespace: 0,
        name: (*b"jack").into(),
        event: None,
    });
    let rounds = messages / u64::from(SLOTS);
    let mut sum = 0;
    for _ in 0..rounds {
        for index in 0..SLOTS {
            let count_request = Some(CountRequestId {
                requester: near,
                index,
            });
            let target = Arc::clone(&target);
            sender.send(
                far,
                MailboxMessage::Drop {
                    target,
                    count_request,
                },
            );
        }
        sender.flush();
        while let Some(message) = receiver.receive() {
            if let MailboxMessage::Drop { count_request, .. } = message {
                sum += count_request.map_or(0, |count_request| u64::from(count_request.index));
            }
        }
    }
    assert_eq!(sum, rounds * u64::from(SLOTS) * u64::from(SLOTS - 1) / 2);
}

/// Publishes on one shard to one session on another.
fn crossing(_: &str, publications: u64) {
    let mut pair = Pair::new(SLOTS as usize);
    let mut sum = (0, 0);
    for _ in 0..publications / u64::from(SLOTS) {
        (0..SLOTS).for_each(|_| pair.publish(PAYLOAD));
        pair.cross();
        let (sends, bytes) = pair.far.drain(None);
        sum = (sum.0 + sends, sum.1 + bytes);
    }
    let frame_bytes = 2 + PAYLOAD.len() as u64;
    let rounds = publications / u64::from(SLOTS);
    assert_eq!(sum, (rounds, publications * frame_bytes));
}

/// Looks up, removes and inserts each of 1,000 connections.
fn session_table(_: &str, sessions: u64) {
    let mut table = ConnectionTable::new();
    let row = |slot: u32| [slot; 12];
    let ids = (0..1_000).map(|slot| table.insert(row(slot)).expect("there is room"));
    let mut ids: Vec<ConnectionId> = ids.collect();
    let mut sum = 0;
    for _ in 0..sessions / 1_000 {
        for id in &mut ids {
            sum += u64::from(table.get(*id).expect("filed before")[0]);
            let row = table.remove(*id).expect("just seen");
            *id = table.insert(row).expect("its slot is free");
        }
    }
    assert_eq!(sum, sessions / 1_000 * 499_500);
}

/// Schedules 10,000 deadlines within two minutes, moves each by a tick, and lets them expire.
fn wheel(_: &str, deadlines: u64) {
    const TICKS: u32 = 1_875;
    let (mut wheel, mut due, mut now, mut sum) = (Wheel::new(), Vec::new(), 0, 0);
    for _ in 0..deadlines / u64::from(ENTRIES) {
        for by in 0..2 {
            for slot in 0..ENTRIES {
                // Neighbours get distant deadlines.
                let after = slot * 7_919 % (TICKS - 1);
                wheel.schedule(slot, now + 1 + after + by);
            }
        }
        for _ in 0..TICKS {
            now += 1;
            wheel.advance(now, &mut due);
        }
        sum += due.drain(..).map(u64::from).sum::<u64>();
    }
    let rounds = deadlines / u64::from(ENTRIES);
    assert_eq!(
        sum,
        rounds * u64::from(ENTRIES) * u64::from(ENTRIES - 1) / 2
    );
}

const SWITCHING: u32 = 0x1206_a59d;
const PAYLOAD: &[u8] = &[b'x'; 80];
const FRAME_BYTES: usize = 128;
const SESSIONS: u32 = 1_000;
const SLOTS: u32 = 256;
const ENTRIES: u32 = 10_000;
