//! Sessions of several framings beside each other, with random input, sends and ends.

use crate::codec::json::Scratch;
use crate::config::Config;
use crate::dialect::{
    DecodeError, Dialect, Framing, Intent, Intents, Options, StreamFraming, StreamItem,
};
use crate::gateway::shard_settings;
use crate::shard::hash::HashSeed;
use crate::shard::settings::RouteFormat;
use crate::shard::{CloseStep, Shard};
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::content::{Content, Data};
use crate::vocabulary::id::{ConnectionId, ShardId};
use crate::vocabulary::publication::{Audience, Publication};
use crate::vocabulary::time::Tick;
use crate::ws::MessageType;
use campanile_tests::prng::Prng;
use std::sync::Arc;

/// Formats of [`Both`].
const FRAMES: u8 = 0;
const LINES: u8 = 1;
const FEED: u8 = 2;

/// A dialect without any structure, which returns a client's messages.
#[derive(Debug)]
struct Both;

/// A line for each message. With `is_feed` there are no pings, nothing at the close, and the
/// session goes on when the peer has ended its input.
#[derive(Debug)]
struct Lines {
    is_feed: bool,
}

impl Dialect for Both {
    fn name(&self) -> &'static str {
        "both"
    }

    fn formats(&self) -> u8 {
        3
    }

    fn framing(&self, format: u8) -> Framing {
        match format {
            FRAMES => Framing::WebSocket,
            LINES => Framing::Stream(&Lines { is_feed: false }),
            _ => Framing::Stream(&Lines { is_feed: true }),
        }
    }

    fn decode<'m>(
        &self,
        kind: MessageType,
        payload: &'m mut [u8],
        _: &Options,
        _: &'m mut Scratch,
        intents: &mut Intents<'m>,
    ) -> Result<(), DecodeError> {
        intents.push(Intent::Reply { kind, payload });
        Ok(())
    }

    fn encode_publication(
        &self,
        publication: &Publication<'_>,
        _: &Options,
        out: &mut Vec<u8>,
    ) -> MessageType {
        out.extend_from_slice(publication.content.data.bytes());
        MessageType::Text
    }
}

impl StreamFraming for Lines {
    fn media_type(&self) -> &'static str {
        "text/x-lines"
    }

    fn end(&self, out: &mut Vec<u8>, _: usize, _: MessageType) {
        out.push(b'\n');
    }

    fn put_ping(&self, out: &mut Vec<u8>) {
        if !self.is_feed {
            out.extend_from_slice(b"ping\n");
        }
    }

    fn put_close(&self, out: &mut Vec<u8>, _: Option<u16>, reason: &str) {
        if !self.is_feed {
            out.extend_from_slice(format!("close {reason}\n").as_bytes());
        }
    }

    fn read(&self, bytes: &[u8], scanned: usize) -> Option<(usize, StreamItem)> {
        let rest = &bytes[scanned..];
        let at = scanned + rest.iter().position(|&byte| byte == b'\n')?;
        let item = StreamItem::Message {
            kind: MessageType::Text,
            payload: 0..at,
        };
        Some((at + 1, item))
    }

    fn outlives_input(&self) -> bool {
        self.is_feed
    }
}

fn shard() -> Shard {
    let mut config = Config::default();
    config.routes.truncate(1);
    let limits = &mut config.routes[0].limits;
    (limits.message_bytes_max, limits.outbox_bytes_max) = (2_000, 8_192);
    limits.ping_interval_ms = 1_000;
    let mut settings = shard_settings(&config);
    let route = &mut settings.routes[0];
    route.dialect = &Both;
    route.registration_timeout = None;
    let options = |format| Options {
        format,
        ..Options::default()
    };
    let formats = [FRAMES, LINES, FEED];
    route.formats = formats.map(options).map(RouteFormat::new).into();
    settings.intern_encodings();
    let (seed, settings) = (HashSeed([1, 2]), Arc::new(settings));
    Shard::new(ShardId::new(0), 1, settings, seed, [3; 32])
}

fn open(shard: &mut Shard, format: u8) -> ConnectionId {
    let id = shard.handle_accepted().expect("there is room");
    shard.handle_upgraded(id, 0, format, b"head\n", false);
    id
}

fn publish(shard: &mut Shard, text: &str) -> u32 {
    let everyone = Audience::Everyone {
        namespace: 0,
        except: &[],
    };
    let content = Content {
        data: Data::Text(text),
        ..Content::default()
    };
    shard.publish(everyone, &content, None)
}

fn framed(format: u8, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let kind = MessageType::Text;
    Both.framing(format)
        .put_message(&mut out, kind, text.as_bytes());
    out
}

/// Takes all that one session has to send.
fn sent_to(shard: &mut Shard, session: ConnectionId) -> Vec<u8> {
    let mut sent = Vec::new();
    while let Some((id, bytes)) = shard.poll_send() {
        let taken = u32::try_from(bytes.len()).expect("small");
        if id == session {
            sent.extend_from_slice(bytes);
        }
        shard.handle_sent(id, taken);
    }
    shard.invariants();
    sent
}

#[test]
fn a_close_without_bytes_only_ends_the_connection() {
    for is_sending in [false, true] {
        let mut shard = shard();
        let id = open(&mut shard, FEED);
        if is_sending {
            assert_eq!(shard.poll_send().map(|(to, _)| to), Some(id));
        } else {
            assert_eq!(sent_to(&mut shard, id), b"head\n");
        }
        shard.close_session(id, CloseCause::Dropped);
        shard.invariants();
        if is_sending {
            assert_eq!(shard.poll_close(), None, "its bytes are still being sent");
            shard.handle_sent(id, 5);
        }
        assert_eq!(shard.poll_close(), Some((id, CloseStep::Shutdown)));
        assert_eq!(shard.counters().ended("dropped"), 1);
        shard.invariants();
    }
}

#[test]
fn only_a_framing_that_has_pings_sends_and_counts_them() {
    let mut shard = shard();
    let sessions = [FRAMES, LINES, FEED].map(|format| open(&mut shard, format));
    sent_to(&mut shard, sessions[0]);
    shard.set_time(Tick(20));
    shard.fire_deadlines(Tick(20));
    let mut sent = Vec::new();
    while let Some((id, bytes)) = shard.poll_send() {
        let taken = u32::try_from(bytes.len()).expect("small");
        sent.push((id, bytes.to_vec()));
        shard.handle_sent(id, taken);
    }
    sent.sort_by_key(|&(id, _)| id.slot());
    let pings = [
        (sessions[0], b"\x89\0".to_vec()),
        (sessions[1], b"ping\n".to_vec()),
    ];
    assert_eq!(sent, pings);
    assert_eq!(shard.counters().pings, 2);
}

#[test]
fn sessions_of_all_framings_get_every_message_in_order_until_they_end() {
    let mut ends = 0;
    for seed in 0..60 {
        ends += run(&mut Prng::from_seed(seed));
    }
    assert!(ends > 60, "{ends}");
}

/// A session, the bytes that it must get, and those that it got.
struct Model {
    id: ConnectionId,
    format: u8,
    expected: Vec<u8>,
    got: Vec<u8>,
    /// The message that it sends, and the bytes of it that have not arrived.
    message: String,
    input: Vec<u8>,
    has_ended: bool,
}

/// Runs random steps. Returns the number of sessions that ended before the last step.
fn run(prng: &mut Prng) -> usize {
    let mut shard = shard();
    let mut models: Vec<Model> = Vec::new();
    for step in 0..120 {
        let index = prng.pick(0..models.len());
        match (prng.below(10), index) {
            (0, _) => {
                let format = u8::try_from(prng.below(3)).expect("small");
                let id = open(&mut shard, format);
                models.push(Model {
                    id,
                    format,
                    expected: b"head\n".to_vec(),
                    got: Vec::new(),
                    message: String::new(),
                    input: Vec::new(),
                    has_ended: false,
                });
            }
            (1..4, _) => {
                let text = format!(
                    "publication {step} {}",
                    "x".repeat(prng.range(0, 300) as usize)
                );
                let open = models.iter_mut().filter(|it| shard.is_open(it.id));
                open.for_each(|it| it.expected.extend(framed(it.format, &text)));
                publish(&mut shard, &text);
            }
            (4..6, Some(index)) => receive(&mut shard, &mut models[index], prng, step),
            (6, Some(index)) if prng.chance(1, 3) => {
                let model = &mut models[index];
                shard.handle_hangup(model.id, false);
                let goes_on = model.format == FEED;
                assert!(!shard.is_open(model.id) || goes_on);
            }
            (7, Some(index)) if prng.chance(1, 3) => {
                let model = &mut models[index];
                shard.close_session(model.id, CloseCause::Dropped);
            }
            _ => send(&mut shard, &mut models, prng),
        }
        // They take far longer than a step.
        if step % 8 == 0 {
            shard.invariants();
        }
        for model in &mut models {
            model.has_ended |= !shard.is_open(model.id);
            check(model);
        }
        while shard.poll_close().is_some() {}
    }
    while shard.wants_to_send() {
        send(&mut shard, &mut models, prng);
    }
    shard.invariants();
    for model in &models {
        check(model);
        assert!(
            model.has_ended || model.got == model.expected,
            "{}",
            model.format
        );
    }
    models.iter().filter(|it| it.has_ended).count()
}

/// Receives a part of a session's input.
fn receive(shard: &mut Shard, model: &mut Model, prng: &mut Prng, step: u32) {
    if model.input.is_empty() {
        let text = format!("message {step}");
        model.input = match model.format {
            FRAMES => {
                let length = u8::try_from(text.len()).expect("short");
                [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
            }
            _ => framed(model.format, &text),
        };
        model.message = text;
    }
    let len = u32::try_from(model.input.len()).expect("short");
    let count = prng.range(1, len) as usize;
    let mut part: Vec<u8> = model.input.drain(..count).collect();
    let before = shard.counters().messages_received;
    let is_open = shard.is_open(model.id);
    assert_eq!(shard.handle_received(model.id, &mut part), part.len());
    let is_complete = shard.counters().messages_received > before;
    assert_eq!(is_complete, is_open && model.input.is_empty());
    if is_complete {
        model.expected.extend(framed(model.format, &model.message));
    }
}

/// Checks what a session got: what it must get or, after its end, a part of it and a close.
fn check(model: &Model) {
    let both = model.got.iter().zip(&model.expected);
    let equal = both.take_while(|(one, other)| one == other).count();
    let rest = &model.got[equal..];
    let close: &[u8] = match model.format {
        FRAMES => b"\x88",
        LINES => b"close ",
        _ => b"",
    };
    let begins = rest.starts_with(close) || close.starts_with(rest);
    let may_close = model.has_ended && begins && (!close.is_empty() || rest.is_empty());
    let got = model.got.escape_ascii();
    assert!(rest.is_empty() || may_close, "{}: {got}", model.format);
}

fn send(shard: &mut Shard, models: &mut [Model], prng: &mut Prng) {
    while let Some((id, bytes)) = shard.poll_send() {
        let len = u32::try_from(bytes.len()).expect("small");
        let taken = prng.range(0, len);
        let model = models.iter_mut().find(|it| it.id == id);
        model
            .expect("opened above")
            .got
            .extend_from_slice(&bytes[..taken as usize]);
        shard.handle_sent(id, taken);
        if taken == 0 {
            break;
        }
    }
}
