//! Comparison of the decoder and encoder with the crate fastwebsockets, on the same bytes.
//!
//! All streams are valid, because the two treat errors differently: fastwebsockets accepts unmasked
//! frames and long pongs, requires UTF-8 in text, and its size limit is one byte lower.

use campanile::ws::{Decoder, Event, MessageType, encoder};
use campanile_tests::prng::Prng;
use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket, WebSocketError, unmask};
use tokio::io::{AsyncWriteExt as _, DuplexStream};

/// A decoded message or control frame in a common form.
#[derive(Debug, PartialEq)]
enum Seen {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

#[test]
fn fastwebsockets_decodes_the_same_from_client_streams() {
    let runtime = runtime();
    let mut events = 0;
    for seed in 0..400 {
        let mut prng = Prng::from_seed(seed);
        let stream = client_stream(&mut prng);
        let theirs = runtime.block_on(theirs(&stream, Role::Server));
        assert_eq!(ours(&mut prng, &stream), theirs, "seed {seed}");
        events += theirs.len();
    }
    assert!(events > 2_000, "{events}");
}

#[test]
fn fastwebsockets_decodes_the_encoders_frames() {
    let runtime = runtime();
    for seed in 0..100 {
        let mut prng = Prng::from_seed(seed);
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..prng.range(1, 8) {
            let text = text(&mut prng);
            if prng.chance(1, 2) {
                encoder::put_frame(&mut stream, OpCode::Text, text.as_bytes());
                expected.push(Seen::Text(text.into_bytes()));
            } else {
                let start = encoder::begin(&mut stream);
                stream.extend_from_slice(text.as_bytes());
                encoder::end(&mut stream, start, OpCode::Binary);
                expected.push(Seen::Binary(text.into_bytes()));
            }
        }
        encoder::put_frame(&mut stream, OpCode::Ping, b"ping");
        encoder::put_close(&mut stream, Some(1001), "server is shutting down");
        expected.extend([Seen::Ping(b"ping".to_vec()), Seen::Close(Some(1001))]);
        let theirs = runtime.block_on(theirs(&stream, Role::Client));
        assert_eq!(theirs, expected, "seed {seed}");
    }
}

/// Decodes a stream with the gateway's decoder in random chunks.
fn ours(prng: &mut Prng, stream: &[u8]) -> Vec<Seen> {
    let (mut decoder, mut seen, mut rest) = (Decoder::new(), Vec::new(), stream);
    let chunk_max = 1 << prng.range(0, 17);
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(rest.len().min(prng.range(1, chunk_max) as usize));
        let mut chunk = chunk.to_vec();
        let mut input = &mut chunk[..];
        while let (taken, Some(event)) = decoder.step(input, usize::MAX).expect("valid") {
            seen.push(match event {
                Event::Message { kind, payload, .. } => {
                    let bytes = payload.bytes().to_vec();
                    match kind {
                        MessageType::Text => Seen::Text(bytes),
                        MessageType::Binary => Seen::Binary(bytes),
                    }
                }
                Event::Ping(payload) => Seen::Ping(payload.bytes().to_vec()),
                Event::Pong => Seen::Pong,
                Event::Close(code) => Seen::Close(code),
            });
            input = &mut input[taken..];
        }
        rest = behind;
    }
    seen
}

/// Decodes a stream with fastwebsockets, over a pipe that holds the whole stream and the replies.
async fn theirs(stream: &[u8], role: Role) -> Vec<Seen> {
    let (mut peer, pipe) = tokio::io::duplex(stream.len() + 4_096);
    peer.write_all(stream).await.expect("the pipe has room");
    peer.shutdown().await.expect("the pipe is open");

    let mut socket: WebSocket<DuplexStream> = WebSocket::after_handshake(pipe, role);
    socket.set_auto_pong(false);
    socket.set_max_message_size(usize::MAX);
    let mut socket = FragmentCollector::new(socket);
    let mut seen = Vec::new();
    loop {
        let frame = match socket.read_frame().await {
            Ok(frame) => frame,
            Err(WebSocketError::UnexpectedEOF) => return seen,
            Err(error) => panic!("fastwebsockets refuses a valid stream: {error}"),
        };
        seen.push(match frame.opcode {
            OpCode::Text => Seen::Text(frame.payload.to_vec()),
            OpCode::Binary => Seen::Binary(frame.payload.to_vec()),
            OpCode::Ping => Seen::Ping(frame.payload.to_vec()),
            OpCode::Pong => Seen::Pong,
            OpCode::Close => {
                let code = frame.payload.first_chunk();
                seen.push(Seen::Close(code.map(|&code| u16::from_be_bytes(code))));
                return seen;
            }
            OpCode::Continuation => unreachable!("the collector hands out whole messages"),
        });
    }
}

/// Generates messages in one frame or several, with pings and pongs between and within them, and
/// sometimes a close frame.
fn client_stream(prng: &mut Prng) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..prng.range(1, 10) {
        let message = text(prng).into_bytes();
        let mut opcode = if prng.chance(1, 2) {
            OpCode::Text
        } else {
            OpCode::Binary
        };
        let mut rest = &message[..];
        loop {
            while prng.chance(1, 4) {
                let control = if prng.chance(1, 2) {
                    OpCode::Ping
                } else {
                    OpCode::Pong
                };
                let length = prng.range(0, 125) as usize;
                put_client_frame(prng, &mut stream, control, true, &vec![b'p'; length]);
            }
            let fin = prng.chance(1, 2);
            let length = u32::try_from(rest.len()).expect("small");
            let length = if fin { length } else { prng.range(0, length) };
            // A fragment may end within a character, a message must not.
            let (fragment, behind) = rest.split_at(length as usize);
            put_client_frame(prng, &mut stream, opcode, fin, fragment);
            (opcode, rest) = (OpCode::Continuation, behind);
            if fin {
                break;
            }
        }
    }
    match prng.range(0, 3) {
        0 => put_client_frame(prng, &mut stream, OpCode::Close, true, b""),
        1 => put_client_frame(prng, &mut stream, OpCode::Close, true, b"\x03\xe8done"),
        _ => {}
    }
    stream
}

/// Generates text with 2-byte characters, of lengths near those at which a frame's head changes.
fn text(prng: &mut Prng) -> String {
    let bytes = match prng.range(0, 9) {
        0..=3 => prng.range(0, 100),
        4..=6 => prng.range(122, 130),
        7 | 8 => prng.range(200, 3_000),
        _ => prng.range(65_532, 65_540),
    };
    let mut text = "\u{e9}".repeat(bytes as usize / 2);
    if bytes % 2 == 1 {
        text.push('e');
    }
    text
}

fn put_client_frame(prng: &mut Prng, out: &mut Vec<u8>, opcode: OpCode, fin: bool, payload: &[u8]) {
    let start = out.len();
    encoder::put_head(out, OpCode::Binary, payload.len());
    out[start] = u8::from(fin) << 7 | opcode as u8;
    out[start + 1] |= 0x80;
    let mask = prng.range(0, u32::MAX).to_be_bytes();
    out.extend_from_slice(&mask);
    let body = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[body..], mask);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without I/O")
}
