//! Random client messages: random bytes, valid messages of every dialect, and damaged ones.
//!
//! `serde_json`, prost or this file encode the messages, never the code under test. Each message
//! keeps its contents for comparison. JSON has random white space and escapes.

use crate::Prng;
use crate::schema::{Custom, Envelope};
use prost::Message as _;
use serde_json::{Map, Number, Value};

/// An encoded message and its contents.
#[derive(Clone, Debug)]
pub(crate) struct ClientMessage {
    pub(crate) bytes: Vec<u8>,
    pub(crate) contents: Contents,
}

/// The contents of a message, by dialect.
#[derive(Clone, Debug)]
pub(crate) enum Contents {
    Wsrv {
        command: String,
        id: String,
        data: Option<Value>,
    },
    Projectforge {
        from: String,
        channel: String,
        command: String,
        data: Option<Value>,
    },
    Easyws {
        command: String,
        content: Vec<u8>,
    },
    Envelope(Envelope),
    Custom(Custom),
    Register {
        token: String,
        event: String,
    },
}

/// Generates a message of a random dialect.
pub(crate) fn client_message(prng: &mut Prng) -> ClientMessage {
    let (contents, bytes) = match prng.range(0, 5) {
        0 => {
            let (command, content) = (command(prng), noise(prng, 40));
            let bytes = [command.as_bytes(), b": ", &content].concat();
            (Contents::Easyws { command, content }, bytes)
        }
        1 => {
            let envelope = envelope(prng);
            let bytes = envelope.encode_to_vec();
            (Contents::Envelope(envelope), bytes)
        }
        2 => {
            let inner = Custom {
                verb: text(prng),
                ..Custom::default()
            };
            let custom = Custom {
                number: prng.range(0, 300),
                inner: prng.chance(1, 2).then(|| Box::new(inner)),
                verb: text(prng),
            };
            let bytes = custom.encode_to_vec();
            (Contents::Custom(custom), bytes)
        }
        _ => json_message(prng),
    };
    ClientMessage { bytes, contents }
}

fn json_message(prng: &mut Prng) -> (Contents, Vec<u8>) {
    let (first, second) = (text(prng), text(prng));
    let data = prng.chance(2, 3).then(|| json(prng, 3));
    let mut members: Vec<(&str, Value)> = Vec::new();
    let contents = match prng.range(0, 2) {
        0 => {
            members.push(("cmd", first.clone().into()));
            members.push(("seqno", second.clone().into()));
            members.extend(data.clone().map(|data| ("data", data)));
            Contents::Wsrv {
                command: first,
                id: second,
                data,
            }
        }
        1 => {
            let mut from = String::new();
            if prng.chance(1, 2) {
                from = uuid(prng);
                members.push(("from", from.clone().into()));
            }
            members.push(("channel", first.clone().into()));
            members.push(("cmd", second.clone().into()));
            members.extend(data.clone().map(|data| ("param", data)));
            Contents::Projectforge {
                from,
                channel: first,
                command: second,
                data,
            }
        }
        _ => {
            let event = format!("e{second}");
            members.push(("token", first.clone().into()));
            members.push(("event", event.clone().into()));
            Contents::Register {
                token: first,
                event,
            }
        }
    };
    let mut bytes = Vec::new();
    put_object(prng, members.into_iter(), &mut bytes);
    (contents, bytes)
}

/// Generates a message of the built-in schema.
pub(crate) fn envelope(prng: &mut Prng) -> Envelope {
    Envelope {
        kind: text(prng),
        payload: noise(prng, 40),
        id: text(prng),
    }
}

/// Returns the message with a few bytes changed, removed, repeated or inserted.
pub(crate) fn damaged(prng: &mut Prng, message: &[u8]) -> Vec<u8> {
    const SPECIAL_BYTES: &[&[u8]] = &[
        b"\"",
        b"\\",
        b": ",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"null",
        b"1e5",
        b"\\ud800",
        b"\\u00",
        b"\xff",
        b"\x00",
        b"\xe2\x80\xa8",
        b"cmd",
        b"\"cmd\":5",
        b"\x0a\x02",
        b"\x12\x7f",
        b"\x0b",
        b"\x0c",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"listen: ",
    ];
    let mut message = message.to_vec();
    for _ in 0..prng.range(1, 4) {
        let at = usize::try_from(prng.below(message.len() as u64 + 1)).expect("an index");
        match prng.range(0, 5) {
            0 if at < message.len() => message[at] ^= 1 << prng.range(0, 7),
            1 => message.truncate(at),
            2 => message.extend_from_within(at..),
            3 => drop(message.drain(..at)),
            4 => {
                let other = client_message(prng).bytes;
                message.splice(at.., other);
            }
            _ => {
                let piece = prng.pick(SPECIAL_BYTES.iter().copied()).expect("some");
                message.splice(at..at, piece.iter().copied());
            }
        }
    }
    message
}

/// Generates at most `bytes_max` random bytes.
pub(crate) fn noise(prng: &mut Prng, bytes_max: u32) -> Vec<u8> {
    let byte = |prng: &mut Prng| u8::try_from(prng.range(0, 255)).expect("a byte");
    (0..prng.range(0, bytes_max)).map(|_| byte(prng)).collect()
}

/// Generates text from words and characters that are special in some dialect.
pub(crate) fn text(prng: &mut Prng) -> String {
    const WORDS: &[&str] = &[
        "",
        "chat",
        "listen",
        "websocket",
        "a: b",
        "a:",
        ": ",
        "7",
        "null",
    ];
    const SPECIAL_CHARS: &[char] = &[
        '\0',
        '\u{1}',
        '\u{8}',
        '\t',
        '\n',
        '\u{b}',
        '\u{c}',
        '\r',
        '\u{1b}',
        '\u{1f}',
        ' ',
        '"',
        '\\',
        '/',
        '<',
        '>',
        '&',
        '\'',
        '{',
        '}',
        ':',
        ',',
        '\u{7f}',
        '\u{80}',
        '\u{e9}',
        '\u{7ff}',
        '\u{800}',
        '\u{2027}',
        '\u{2028}',
        '\u{2029}',
        '\u{202a}',
        '\u{20ac}',
        '\u{d7ff}',
        '\u{e000}',
        '\u{feff}',
        '\u{fffd}',
        '\u{ffff}',
        '\u{10000}',
        '\u{1f600}',
        '\u{10ffff}',
    ];
    if prng.chance(1, 3) {
        return prng.pick(WORDS.iter()).expect("some").to_string();
    }
    let long = if prng.chance(1, 12) { 260 } else { 8 };
    let any = |prng: &mut Prng| match prng.range(0, 2) {
        0 => char::from_u32(prng.range(0x20, 0x7e)).expect("ASCII"),
        1 => prng.pick(SPECIAL_CHARS.iter().copied()).expect("some"),
        _ => char::from_u32(prng.range(0, 0x0010_ffff)).unwrap_or('\u{fffd}'),
    };
    (0..prng.range(0, long)).map(|_| any(prng)).collect()
}

/// Generates a command of `easyws`.
pub(crate) fn command(prng: &mut Prng) -> String {
    loop {
        let text = text(prng);
        if is_command(&text) {
            return text;
        }
    }
}

/// Returns `true` if `text` is a valid command of `easyws` (docs/dialects/easyws.md, "Messages").
pub(crate) fn is_command(text: &str) -> bool {
    (1..=254).contains(&text.len()) && !text.contains(": ")
}

/// Generates a version 4 UUID in one of its text forms.
pub(crate) fn uuid(prng: &mut Prng) -> String {
    let mut digits = |count: usize| -> String {
        let digit = |_| char::from_digit(prng.range(0, 15), 16).expect("a digit");
        (0..count).map(digit).collect()
    };
    let plain = [digits(8), digits(4), digits(4), digits(4), digits(12)].join("-");
    if prng.chance(1, 4) {
        plain.to_uppercase()
    } else {
        plain
    }
}

/// Generates a JSON value of at most `depth` levels.
pub(crate) fn json(prng: &mut Prng, depth: u32) -> Value {
    match prng.range(0, if depth == 0 { 4 } else { 6 }) {
        0 => Value::Null,
        1 => prng.chance(1, 2).into(),
        2 => number(prng).into(),
        3 | 4 => text(prng).into(),
        5 => {
            let values = (0..prng.range(0, 4)).map(|_| json(prng, depth - 1));
            values.collect::<Vec<Value>>().into()
        }
        _ => {
            let members = (0..prng.range(0, 4)).map(|_| (text(prng), json(prng, depth - 1)));
            members.collect::<Map<String, Value>>().into()
        }
    }
}

fn number(prng: &mut Prng) -> Number {
    let bits = prng.below(u64::MAX);
    match prng.range(0, 3) {
        0 => prng.range(0, 9).into(),
        1 => bits.into(),
        2 => bits.cast_signed().into(),
        _ => Number::from_f64(f64::from(prng.range(0, 1 << 20)) / 64.0).expect("finite"),
    }
}

/// Serializes a value as JSON with random white space and escapes.
pub(crate) fn random_json_text(prng: &mut Prng, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_value(prng, value, &mut out);
    out
}

fn put_value(prng: &mut Prng, value: &Value, out: &mut Vec<u8>) {
    put_space(prng, out);
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            out.extend_from_slice(value.to_string().as_bytes());
        }
        Value::String(text) => put_string(prng, text, out),
        Value::Array(values) => {
            out.push(b'[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                put_value(prng, value, out);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(key, value)| (key.as_str(), value.clone()));
            put_object(prng, members, out);
        }
    }
    put_space(prng, out);
}

fn put_object<'k>(
    prng: &mut Prng,
    members: impl Iterator<Item = (&'k str, Value)>,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    for (index, (key, value)) in members.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put_space(prng, out);
        put_string(prng, key, out);
        put_space(prng, out);
        out.push(b':');
        put_value(prng, &value, out);
    }
    out.push(b'}');
}

fn put_string(prng: &mut Prng, text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for character in text.chars() {
        let must = character < ' ' || character == '"' || character == '\\';
        if must || prng.chance(1, 10) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let upper = prng.chance(1, 2);
                let hex = if upper {
                    format!("{unit:04X}")
                } else {
                    format!("{unit:04x}")
                };
                out.extend_from_slice(b"\\u");
                out.extend_from_slice(hex.as_bytes());
            }
        } else {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    out.push(b'"');
}

fn put_space(prng: &mut Prng, out: &mut Vec<u8>) {
    while prng.chance(1, 8) {
        out.push(prng.pick(b" \t\r\n".iter().copied()).expect("some"));
    }
}
