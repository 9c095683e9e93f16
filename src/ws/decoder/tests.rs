//! Tests of the decoder against RFC 6455 and a simple model, with random chunks.

use super::*;
use campanile_tests::prng::Prng;

/// An event, or the error at the end, with owned data.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Message(MessageType, Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    Failed(ProtocolError),
}

impl Seen {
    fn is_last(&self) -> bool {
        matches!(self, Self::Close(_) | Self::Failed(_))
    }
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message {
                kind,
                rsv1,
                payload,
            } => {
                assert!(!rsv1);
                Self::Message(kind, payload.bytes().to_vec())
            }
            Event::Ping(payload) => Self::Ping(payload.bytes().to_vec()),
            Event::Pong => Self::Pong,
            Event::Close(code) => Self::Close(code),
        }
    }
}

/// Returns a client's frame, with its length in the shortest form.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    frame_of_form(first, payload, 0)
}

/// Returns a client's frame whose extended length has at least `form` (0, 2 or 8) bytes.
fn frame_of_form(first: u8, payload: &[u8], form: usize) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match (payload.len(), form) {
        (0..=125, 0) => bytes.push(MASK | u8::try_from(payload.len()).expect("small")),
        (0..=0xffff, 0 | 2) => {
            bytes.push(MASK | LENGTH_IS_16_BITS);
            let length = u16::try_from(payload.len()).expect("16 bits");
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            bytes.push(MASK | LENGTH_IS_64_BITS);
            bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    bytes
}

/// Feeds `stream` in chunks of the lengths that `chunk` yields, and checks the decoder's invariants
/// at every step.
fn read(stream: &[u8], bytes_max: usize, mut chunk: impl FnMut() -> usize) -> Vec<Seen> {
    let (mut decoder, mut seen, mut at) = (Decoder::new(), Vec::new(), 0);
    while at < stream.len() {
        let end = stream.len().min(at + chunk());
        let mut input = stream[at..end].to_vec();
        let mut rest = &mut input[..];
        loop {
            match decoder.step(rest, bytes_max) {
                Ok((taken, Some(event))) => {
                    seen.push(Seen::from(event));
                    rest = &mut rest[taken..];
                }
                Ok((taken, None)) => {
                    assert_eq!(taken, rest.len(), "without an event all bytes are read");
                    break;
                }
                Err(error) => seen.push(Seen::Failed(error)),
            }
            if seen.last().is_some_and(Seen::is_last) {
                return seen;
            }
            decoder.invariants();
        }
        at = end;
        decoder.invariants();
        // Doubling holds at most twice the bytes received, and a control frame a few more.
        assert!(decoder.partial_bytes() <= size_of::<Partial>() + 2 * at + 256);
    }
    seen
}

fn read_whole(stream: &[u8], bytes_max: usize) -> Vec<Seen> {
    read(stream, bytes_max, || usize::MAX - stream.len())
}

/// A simple parser of a whole stream, whose only state between frames is the partial message.
fn model(stream: &[u8], bytes_max: usize) -> Vec<Seen> {
    let (mut seen, mut at) = (Vec::new(), 0);
    let mut message: Option<(MessageType, Vec<u8>)> = None;
    while !seen.last().is_some_and(Seen::is_last) && stream.len() - at >= 2 {
        let (first, second) = (stream[at], stream[at + 1]);
        let (fin, opcode, short) = (first >= 0x80, first % 16, second % 128);
        let mut faults = HeadFaults::default();
        let control = opcode >= 8;
        for (fault, present) in [
            (HeadFault::Rsv1, first & 0x40 > 0),
            (HeadFault::Rsv2, first & 0x20 > 0),
            (HeadFault::Rsv3, first & 0x10 > 0),
            (HeadFault::Opcode, !matches!(opcode, 0..=2 | 8..=10)),
            (
                HeadFault::ControlTooLong,
                matches!(opcode, 8..=10) && short > 125,
            ),
            (HeadFault::ControlNotFinal, matches!(opcode, 8..=10) && !fin),
            (
                HeadFault::DataBeforeFin,
                matches!(opcode, 1 | 2) && message.is_some(),
            ),
            (
                HeadFault::ContinuationAfterFin,
                opcode == 0 && message.is_none(),
            ),
            (HeadFault::Mask, second < 0x80),
        ] {
            faults.note(fault, present);
        }
        if !faults.is_empty() {
            seen.push(Seen::Failed(ProtocolError::Head { faults, opcode }));
            break;
        }

        let extended = [0, 2, 8][usize::from(short.saturating_sub(125))];
        let body = at + 2 + extended + 4;
        if stream.len() < body {
            break;
        }
        let length = match extended {
            0 => u64::from(short),
            _ => stream[at + 2..body - 4]
                .iter()
                .fold(0, |length, &byte| length << 8 | u64::from(byte)),
        };
        let held = message.as_ref().map_or(0, |(_, bytes)| bytes.len() as u64);
        if length >= 1 << 63 {
            seen.push(Seen::Failed(ProtocolError::LengthTopBit));
            break;
        }
        if !control && held + length > bytes_max as u64 {
            seen.push(Seen::Failed(ProtocolError::TooBig));
            break;
        }
        let opened = match opcode {
            1 => Some(MessageType::Text),
            2 => Some(MessageType::Binary),
            _ => None,
        };
        if let Some(kind) = opened {
            message = Some((kind, Vec::new()));
        }
        if ((stream.len() - body) as u64) < length {
            break;
        }
        let end = body + usize::try_from(length).expect("in the stream");
        let mask = &stream[body - 4..body];
        let payload: Vec<u8> = stream[body..end]
            .iter()
            .enumerate()
            .map(|(index, byte)| byte ^ mask[index % 4])
            .collect();
        at = end;

        if control {
            seen.push(match (opcode, &payload[..]) {
                (9, _) => Seen::Ping(payload),
                (10, _) => Seen::Pong,
                (_, []) => Seen::Close(None),
                (_, [_]) => Seen::Failed(ProtocolError::CloseOfOneByte),
                (_, [high, low, reason @ ..]) => {
                    let code = u16::from(*high) << 8 | u16::from(*low);
                    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                        Seen::Failed(ProtocolError::CloseCode(code))
                    } else if String::from_utf8(reason.to_vec()).is_err() {
                        Seen::Failed(ProtocolError::CloseReason)
                    } else {
                        Seen::Close(Some(code))
                    }
                }
            });
            continue;
        }
        let (kind, mut bytes) = message.take().expect("checked above");
        bytes.extend(payload);
        if fin {
            seen.push(Seen::Message(kind, bytes));
        } else {
            message = Some((kind, bytes));
        }
    }
    seen
}

/// Checks that a stream fails with this reason, without an event before.
#[track_caller]
fn check_fails(stream: &[u8], reason: &str) {
    for chunk in [1, 2, 3, usize::from(u16::MAX)] {
        let seen = read(stream, 1_000, || chunk);
        let [Seen::Failed(error)] = seen[..] else {
            panic!("{seen:?}");
        };
        assert_eq!(error.reason().as_str(), reason);
        let code = if error == ProtocolError::TooBig {
            1009
        } else {
            1002
        };
        assert_eq!(error.code(), code);
    }
}

#[test]
fn a_message_in_one_frame_and_one_chunk_is_handed_out_in_place() {
    let mut input = [frame(0x81, b"Hello"), frame(0x82, b"!")].concat();
    let mut decoder = Decoder::new();
    let (taken, event) = decoder.step(&mut input, 5).expect("valid");
    assert_eq!(taken, 11);
    let Some(Event::Message {
        kind: MessageType::Text,
        payload: Payload::InPlace(payload),
        ..
    }) = event
    else {
        panic!("{event:?}");
    };
    assert_eq!(payload, b"Hello");

    let second = input[taken..].to_vec();
    assert_eq!(second, frame(0x82, b"!"), "what was not taken is untouched");
    assert_eq!(decoder.partial_bytes(), 0);
}

#[test]
fn a_head_kept_across_chunks_never_allocates() {
    for payload_bytes in [0, 125, 126, 65_536] {
        let bytes = frame(0x82, &vec![7; payload_bytes]);
        let head_bytes = bytes.len() - payload_bytes;
        let mut decoder = Decoder::new();
        for byte in &bytes[..head_bytes] {
            assert_eq!(decoder.partial_bytes(), 0);
            decoder.step(&mut [*byte], 65_536).expect("valid");
        }
        assert_eq!(decoder.partial_bytes(), 0);
        // The payload then lies in one chunk, so it is returned in place.
        if payload_bytes > 0 {
            let (taken, event) = decoder
                .step(&mut bytes[head_bytes..].to_vec(), 65_536)
                .map(|(taken, event)| (taken, event.map(Seen::from)))
                .expect("valid");
            assert_eq!(taken, payload_bytes);
            assert_eq!(
                event,
                Some(Seen::Message(MessageType::Binary, vec![7; payload_bytes]))
            );
            assert_eq!(decoder.partial_bytes(), 0);
        }
    }
}

#[test]
fn memory_grows_with_what_has_arrived_not_with_what_a_head_declares() {
    let mut decoder = Decoder::new();
    let mut head = vec![0x82, MASK | LENGTH_IS_64_BITS, 0, 0, 0, 0, 0x40, 0, 0, 0];
    head.extend_from_slice(&[1, 2, 3, 4]);
    decoder.step(&mut head, 1 << 31).expect("a GiB may come");
    assert_eq!(decoder.partial_bytes(), 0);
    for chunks in 1..=100 {
        decoder.step(&mut [0; 100], 1 << 31).expect("valid");
        let held = decoder.partial_bytes() - size_of::<Partial>();
        assert!((100 * chunks..=200 * chunks).contains(&held), "{held}");
    }
}

#[test]
fn a_partial_message_never_has_more_capacity_than_it_can_need() {
    // A final frame declares the message's length; with a fragment, only the limit is known.
    for (first, total_bytes, bytes_max) in [(0x82, 1_000, 5_000), (0x02, 2_000, 2_000)] {
        let bytes = frame(first, &vec![7; total_bytes]);
        let most = total_bytes * 4 / 5;
        let mut decoder = Decoder::new();
        for part in [&bytes[..most], &bytes[most..most + 20]] {
            let (_, event) = decoder
                .step(&mut part.to_vec(), bytes_max)
                .map(|(taken, event)| (taken, event.map(Seen::from)))
                .expect("valid");
            assert_eq!(event, None);
        }
        assert_eq!(decoder.partial_bytes(), size_of::<Partial>() + total_bytes);
    }
}

#[test]
fn a_decoder_owns_nothing_once_its_messages_are_handed_out() {
    let stream = [
        frame(0x01, b"one "),
        frame(0x89, b"ping"),
        frame(0x80, b"message"),
        frame(0x89, b"ping"),
    ]
    .concat();
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    for byte in stream {
        let mut input = [byte];
        let (_, event) = decoder.step(&mut input, 100).expect("valid");
        seen.extend(event.map(Seen::from));
    }
    assert_eq!(
        seen,
        [
            Seen::Ping(b"ping".to_vec()),
            Seen::Message(MessageType::Text, b"one message".to_vec()),
            Seen::Ping(b"ping".to_vec()),
        ]
    );
    assert_eq!(decoder.partial_bytes(), 0);
}

#[test]
fn text_is_not_checked_for_utf8() {
    assert_eq!(
        read_whole(&frame(0x81, b"\xff\xfe"), 10),
        [Seen::Message(MessageType::Text, b"\xff\xfe".to_vec())]
    );
}

#[test]
fn a_message_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    for bytes_max in [0, 1, 125, 126, 65_535, 65_536] {
        let (fits, exceeds) = (vec![7; bytes_max], vec![7; bytes_max + 1]);
        assert_eq!(
            read_whole(&frame(0x82, &fits), bytes_max),
            [Seen::Message(MessageType::Binary, fits.clone())]
        );
        // The head is sufficient, in one frame and in the last of two.
        let too_big = [Seen::Failed(ProtocolError::TooBig)];
        let whole = frame(0x82, &exceeds);
        let head = &whole[..whole.len() - exceeds.len()];
        assert_eq!(read_whole(head, bytes_max), too_big);
        let fragments = [frame(0x02, &fits), frame(0x80, b"+")].concat();
        assert_eq!(
            read_whole(&fragments[..fragments.len() - 1], bytes_max),
            too_big
        );
    }
}

#[test]
fn control_frames_do_not_count_towards_the_message_limit() {
    let stream = [
        frame(0x02, b"ab"),
        frame(0x89, &[7; 125]),
        frame(0x80, b"c"),
    ]
    .concat();
    assert_eq!(
        read_whole(&stream, 3),
        [
            Seen::Ping(vec![7; 125]),
            Seen::Message(MessageType::Binary, b"abc".to_vec()),
        ]
    );
}

#[test]
fn invalid_heads_fail_with_gorillas_texts_at_their_second_byte() {
    check_fails(&[0x81, 0x05], "bad MASK");
    check_fails(&[0x83, 0x80], "bad opcode 3");
    check_fails(&[0x8f, 0x80], "bad opcode 15");
    check_fails(&[0xc1, 0x80], "RSV1 set");
    check_fails(&[0xa1, 0x80], "RSV2 set");
    check_fails(&[0x91, 0x80], "RSV3 set");
    check_fails(&[0x89, 0xfe], "len > 125 for control");
    check_fails(&[0x8a, 0xff], "len > 125 for control");
    check_fails(&[0x08, 0x80], "FIN not set on control");
    check_fails(&[0x80, 0x80], "continuation after FIN");
    check_fails(&[0x00, 0x80], "continuation after FIN");
    check_fails(
        &[frame(0x01, b"a"), vec![0x81, 0x80]].concat(),
        "data before FIN",
    );
    check_fails(
        &[frame(0x01, b""), vec![0x02, 0x80]].concat(),
        "data before FIN",
    );
    check_fails(
        &[0x79, 0x7f],
        "RSV1 set, RSV2 set, RSV3 set, len > 125 for control, FIN not set on control, bad MASK",
    );
}

#[test]
fn every_first_two_bytes_pass_or_fail_with_a_reason_that_fits() {
    let mut passed = 0;
    for first in 0..=u8::MAX {
        for second in 0..=u8::MAX {
            for in_message in [false, true] {
                match validate_head(first, second, in_message) {
                    Ok(_) => passed += 1,
                    Err(error) => assert!(!error.reason().as_str().is_empty()),
                }
            }
        }
    }
    // Two data opcodes outside a message and the continuation inside one, final or not, of
    // any length; three control opcodes, in and outside, final, of 0 to 125 bytes.
    assert_eq!(passed, (2 + 1) * 2 * 128 + 3 * 2 * 126);
}

#[test]
fn a_length_with_its_top_bit_set_is_an_error_and_a_long_form_is_not() {
    let mut head = vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0];
    head.extend_from_slice(&[0; 4]);
    check_fails(&head, "bad length");
    head[2..10].fill(0x7f);
    check_fails(&head, "message too big");

    for form in [2, 8] {
        assert_eq!(
            read_whole(&frame_of_form(0x82, b"abc", form), 10),
            [Seen::Message(MessageType::Binary, b"abc".to_vec())]
        );
    }
}

#[test]
fn every_close_code_is_checked_as_in_gorilla_and_1014_passes() {
    for code in 0..=u16::MAX {
        let seen = read_whole(&frame(0x88, &code.to_be_bytes()), 0);
        let expected = match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Seen::Close(Some(code)),
            _ => Seen::Failed(ProtocolError::CloseCode(code)),
        };
        assert_eq!(seen, [expected]);
    }
    check_fails(&frame(0x88, b"\x03\xedgone"), "bad close code 1005");
}

#[test]
fn a_close_payload_is_nothing_or_a_code_and_text() {
    assert_eq!(read_whole(&frame(0x88, b""), 0), [Seen::Close(None)]);
    assert_eq!(
        read_whole(&frame(0x88, b"\x03\xe8\xc3\xa9"), 0),
        [Seen::Close(Some(1000))]
    );
    check_fails(&frame(0x88, b"\x03"), "bad close payload");
    check_fails(
        &frame(0x88, b"\x03\xe8\xc3"),
        "invalid utf8 payload in close frame",
    );
}

#[test]
fn a_close_ends_a_partial_message() {
    let stream = [frame(0x01, b"a"), frame(0x88, b"\x03\xe8")].concat();
    assert_eq!(read_whole(&stream, 10), [Seen::Close(Some(1000))]);
}

/// Returns a random stream of messages, fragmented or not, with control frames between and inside
/// them.
fn valid_stream(prng: &mut Prng, bytes_max: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..prng.range(1, 12) {
        let mut left = match prng.range(0, 3) {
            0 => prng.range(0, 20) as usize,
            1 => prng.range(120, 130) as usize,
            2 if prng.chance(1, 4) => prng.range(65_530, 65_540) as usize,
            _ => bytes_max - prng.range(0, 2) as usize,
        }
        .min(bytes_max);
        let mut opcode = u8::try_from(prng.range(1, 2)).expect("small");
        loop {
            while prng.chance(1, 4) {
                let control = 0x89 + u8::try_from(prng.range(0, 1)).expect("small");
                let bytes = random_bytes(prng, 125);
                stream.extend(frame(control, &bytes));
            }
            let last = prng.chance(1, 2);
            let length = if last {
                left
            } else {
                prng.range(0, u32::try_from(left).expect("small")) as usize
            };
            let (byte, step) = (random_byte(prng), random_byte(prng));
            let payload: Vec<u8> =
                std::iter::successors(Some(byte), |byte| Some(byte.wrapping_add(step)))
                    .take(length)
                    .collect();
            let form = [0, 0, 0, 0, 2, 8][prng.range(0, 5) as usize];
            let fin = if last { FIN } else { 0 };
            stream.extend(frame_of_form(fin | opcode, &payload, form));
            (opcode, left) = (0, left - length);
            if last {
                break;
            }
        }
    }
    if prng.chance(1, 2) {
        let code = u16::try_from(prng.range(3000, 4999)).expect("small");
        let reason = "e".repeat(prng.range(0, 123) as usize);
        stream.extend(frame(
            0x88,
            &[&code.to_be_bytes(), reason.as_bytes()].concat(),
        ));
    }
    stream
}

fn random_bytes(prng: &mut Prng, bytes_max: u32) -> Vec<u8> {
    let length = prng.range(0, bytes_max);
    (0..length).map(|_| random_byte(prng)).collect()
}

fn random_byte(prng: &mut Prng) -> u8 {
    u8::try_from(prng.range(0, 255)).expect("a byte")
}

/// Returns chunk lengths with a random maximum per stream, from one byte to the whole stream.
fn chunking(prng: &mut Prng) -> impl FnMut() -> usize + use<> {
    let chunk_max = 1 << prng.range(0, 17);
    let mut prng = prng.clone();
    move || prng.range(1, chunk_max) as usize
}

/// For any chunks, the events equal the model's. A complete, truncated or corrupted stream never
/// makes the decoder panic or violate its invariants.
#[test]
fn any_chunks_of_any_stream_are_read_as_by_the_simple_parser() {
    let (mut messages, mut failures) = (0, 0);
    for seed in 0..500 {
        let mut prng = Prng::from_seed(seed);
        let bytes_max = [10, 130, 3_000, 65_536][prng.range(0, 3) as usize];
        let mut stream = valid_stream(&mut prng, bytes_max);
        let is_valid = prng.chance(1, 3);
        if !is_valid {
            corrupt(&mut prng, &mut stream);
        }

        let expected = model(&stream, bytes_max);
        assert_eq!(read_whole(&stream, bytes_max), expected, "seed {seed}");
        for _ in 0..3 {
            let seen = read(&stream, bytes_max, chunking(&mut prng));
            assert_eq!(seen, expected, "seed {seed}");
        }

        let failed = matches!(expected.last(), Some(Seen::Failed(_)));
        assert!(!(is_valid && failed), "seed {seed}: {:?}", expected.last());
        failures += usize::from(failed);
        messages += expected
            .iter()
            .filter(|seen| matches!(seen, Seen::Message(..)))
            .count();
    }
    // Both cases must occur often enough to be tested.
    assert!(messages > 1_000, "{messages}");
    assert!(failures > 100, "{failures}");
}

/// Flips a few bits, mostly near the beginning, where heads are, and may truncate the stream.
fn corrupt(prng: &mut Prng, stream: &mut Vec<u8>) {
    for _ in 0..prng.range(1, 4) {
        let within = stream.len().min(1 << prng.range(0, 17));
        let at = prng.range(1, u32::try_from(within).expect("small")) as usize - 1;
        stream[at] ^= 1 << prng.range(0, 7);
    }
    if prng.chance(1, 2) {
        stream.truncate(prng.range(0, u32::try_from(stream.len()).expect("small")) as usize);
    }
}

#[test]
fn random_bytes_are_read_as_by_the_simple_parser() {
    for seed in 0..3_000 {
        let mut prng = Prng::from_seed(seed);
        let mut stream = random_bytes(&mut prng, 60);
        // Half of the streams get past the check of the first two bytes.
        if let [first, second, ..] = &mut stream[..]
            && prng.chance(1, 2)
        {
            *first &= 0x8b;
            *second |= MASK;
        }
        let expected = model(&stream, 20);
        assert_eq!(read_whole(&stream, 20), expected, "seed {seed}");
        let seen = read(&stream, 20, chunking(&mut prng));
        assert_eq!(seen, expected, "seed {seed}");
    }
}
