//! Plays a transcript's steps in a world and compares what is heard.
//!
//! Frames and answers are read by a parser of its own: it has to show what is wrong with them, and
//! every octet that it compares is one that a transcript may have said otherwise.

use crate::script::{Act, Script, Step, Word};
use crate::target::World;
use crate::text::{Names, Text};
use campanile_tests::frame::masked;
use campanile_tests::http::UPGRADE;
use std::fmt::Write as _;

/// Plays a transcript; an error says in which line what was different.
///
/// In the end every client has heard everything: what is left over is different, too.
pub(crate) fn run(script: &Script, world: &mut dyn World) -> Result<(), String> {
    let mut clients: Vec<Ear> = Vec::new();
    clients.resize_with(script.clients.len(), Ear::default);
    let mut names = Names::new();
    for step in &script.steps {
        let ear = &mut clients[step.client];
        for _ in 0..step.count {
            act(ear, world, step, &mut names).map_err(|complaint| {
                format!("{}:{}: {}\n{complaint}", script.name, step.line, step.text)
            })?;
        }
    }
    for (client, (ear, name)) in clients.iter_mut().zip(&script.clients).enumerate() {
        world.end(client);
        while world.receive(client, &mut ear.heard)? {}
        if !ear.heard.is_empty() {
            let heard = shown(&ear.heard);
            return Err(format!("{}: {name} heard more: {heard}", script.name));
        }
    }
    Ok(())
}

fn act(ear: &mut Ear, world: &mut dyn World, step: &Step, names: &mut Names) -> Result<(), String> {
    match &step.act {
        Act::Say(word) => say(ear, world, step, word, names),
        Act::Hear(word) => hear(ear, world, step, word, names),
        Act::Silence => hear_silence(ear, world, step),
        Act::Pass(ms) => world.pass(*ms),
    }
}

/// What one client has heard and not compared yet.
#[derive(Default)]
struct Ear {
    heard: Vec<u8>,
    is_session: bool,
    silences: u32,
}

fn say(
    ear: &mut Ear,
    world: &mut dyn World,
    step: &Step,
    word: &Word,
    names: &Names,
) -> Result<(), String> {
    let client = step.client;
    let resolve = |text: &Text| {
        let bytes = text.resolve(names);
        bytes.ok_or_else(|| "nothing has this name yet".to_owned())
    };
    match word {
        Word::Open(path) => {
            ear.is_session = true;
            let path = String::from_utf8_lossy(&resolve(path)?).into_owned();
            let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}");
            world.send(client, with_headers(head, step).as_bytes());
        }
        Word::Request { method, path, body } => {
            let path = String::from_utf8_lossy(&resolve(path)?).into_owned();
            let body = resolve(body)?;
            let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
            let named = |(name, _): &(String, String)| name == "Transfer-Encoding";
            if !body.is_empty() && !step.headers.iter().any(named) {
                write!(head, "Content-Length: {}\r\n", body.len()).expect("a String");
            }
            let mut bytes = with_headers(head, step).into_bytes();
            bytes.extend(body);
            world.send(client, &bytes);
        }
        Word::Frame(first_octet, payload) => {
            world.send(client, &masked(*first_octet, &resolve(payload)?, MASK));
        }
        Word::Raw(bytes) => world.send(client, &resolve(bytes)?),
        Word::End => world.end(client),
        Word::Opened(_) | Word::Answer { .. } => panic!("clients answer nothing"),
    }
    Ok(())
}

fn with_headers(mut head: String, step: &Step) -> String {
    for (name, value) in &step.headers {
        write!(head, "{name}: {value}\r\n").expect("a String");
    }
    head.push_str("\r\n");
    head
}

fn hear(
    ear: &mut Ear,
    world: &mut dyn World,
    step: &Step,
    word: &Word,
    names: &mut Names,
) -> Result<(), String> {
    match word {
        Word::Opened(subprotocol) => {
            ear.is_session = true;
            let mut head = SWITCHING.to_vec();
            if !subprotocol.is_empty() {
                head.extend(b"Sec-WebSocket-Protocol: ");
                head.extend(subprotocol.resolve(names).expect("no wildcards"));
                head.extend(b"\r\n");
            }
            head.extend(b"\r\n");
            expect_bytes(ear, world, step, &Text::plain(head), names)
        }
        Word::Raw(bytes) => expect_bytes(ear, world, step, bytes, names),
        Word::Frame(first_octet, payload) => {
            let (octet, heard) = hear_frame(ear, world, step)?;
            if octet == *first_octet && payload.matches(&heard, names) {
                return Ok(());
            }
            let heard = shown(&heard);
            Err(format!("heard a frame {octet:02x} \"{heard}\""))
        }
        Word::Answer { status, body } => {
            ear.is_session = false;
            hear_answer(ear, world, step, *status, body, names)
        }
        Word::End => {
            while world.receive(step.client, &mut ear.heard)? {}
            if ear.heard.is_empty() {
                return Ok(());
            }
            Err(format!("heard \"{}\"", shown(&ear.heard)))
        }
        Word::Open(_) | Word::Request { .. } => panic!("the gateway asks nothing"),
    }
}

/// See the grammar for what silence means.
fn hear_silence(ear: &mut Ear, world: &mut dyn World, step: &Step) -> Result<(), String> {
    let mut names = Names::new();
    if ear.is_session {
        ear.silences += 1;
        let payload = format!("silence {}", ear.silences).into_bytes();
        world.send(step.client, &masked(0x89, &payload, MASK));
        let pong = Word::Frame(0x8a, Text::plain(payload));
        return hear(ear, world, step, &pong, &mut names);
    }
    let request = "GET /silence HTTP/1.1\r\nHost: localhost\r\n\r\n";
    world.send(step.client, request.as_bytes());
    let body = Text::plain("404 page not found\n");
    hear_answer(ear, world, step, 404, &body, &mut names)
}

fn expect_bytes(
    ear: &mut Ear,
    world: &mut dyn World,
    step: &Step,
    expected: &Text,
    names: &mut Names,
) -> Result<(), String> {
    let len = expected.len(names).ok_or("nothing has this name yet")?;
    let plain = expected.resolve(names).unwrap_or_default();
    hear_until(ear, world, step, |heard| {
        let differs = heard.iter().zip(&plain).any(|(a, b)| a != b);
        (differs || heard.len() >= len).then_some(())
    })?;
    if ear.heard.len() < len || !expected.matches(&ear.heard[..len], names) {
        return Err(format!("heard \"{}\"", shown(&ear.heard)));
    }
    ear.heard.drain(..len);
    Ok(())
}

/// Hears one whole unmasked frame, its length in the shortest form.
fn hear_frame(ear: &mut Ear, world: &mut dyn World, step: &Step) -> Result<(u8, Vec<u8>), String> {
    let (head, end) = hear_until(ear, world, step, |heard| {
        let (head, len) = match *heard.get(1)? {
            126 => (
                4,
                u64::from(u16::from_be_bytes(heard.get(2..4)?.try_into().ok()?)),
            ),
            127 => (10, u64::from_be_bytes(heard.get(2..10)?.try_into().ok()?)),
            len => (2, u64::from(len)),
        };
        let end = head + usize::try_from(len).expect("64 bits");
        // Nothing here is this long: it is masked, or no frame at all.
        let is_frame = heard[1] < 0x80 && end < FRAME_BYTES_MAX;
        (heard.len() >= end || !is_frame).then_some((head, if is_frame { end } else { 0 }))
    })?;
    let is_short = match end.saturating_sub(head) {
        ..126 => head == 2,
        126..0x1_0000 => head == 4,
        _ => head == 10,
    };
    if end == 0 || !is_short {
        return Err(format!("heard no frame: \"{}\"", shown(&ear.heard)));
    }
    let frame: Vec<u8> = ear.heard.drain(..end).collect();
    Ok((frame[0], frame[head..].to_vec()))
}

fn hear_answer(
    ear: &mut Ear,
    world: &mut dyn World,
    step: &Step,
    status: u16,
    body: &Text,
    names: &mut Names,
) -> Result<(), String> {
    let end = hear_until(ear, world, step, |heard| {
        let at = heard.windows(4).position(|four| four == b"\r\n\r\n")?;
        Some(at + 4)
    })?;
    let head = String::from_utf8_lossy(&ear.heard[..end - 4]).into_owned();
    let mut lines = head.split("\r\n");
    let status_line = lines.next().expect("at least one");
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    if status_line.split(' ').nth(1) != Some(&*status.to_string()) {
        return Err(format!("heard {head}"));
    }

    let length = headers.iter().find(|(name, _)| *name == "Content-Length");
    let len: usize = length.and_then(|(_, len)| len.parse().ok()).unwrap_or(0);
    hear_until(ear, world, step, |heard| {
        (heard.len() >= end + len).then_some(())
    })?;
    let answer: Vec<u8> = ear.heard.drain(..end + len).collect();
    if !body.is(b"*") && !body.matches(&answer[end..], names) {
        return Err(format!("heard {head}\n\n{}", shown(&answer[end..])));
    }

    let same = |((name, value), (heard_name, heard)): (&(String, String), &(&str, &str))| {
        name == heard_name && (value == "*" || value == heard)
    };
    let wanted = &step.headers;
    let all_same = wanted.len() == headers.len() && wanted.iter().zip(&headers).all(same);
    if !wanted.is_empty() && !all_same {
        return Err(format!("heard {head}"));
    }
    Ok(())
}

/// Receives until `found` finds what it looks for.
fn hear_until<T>(
    ear: &mut Ear,
    world: &mut dyn World,
    step: &Step,
    mut found: impl FnMut(&[u8]) -> Option<T>,
) -> Result<T, String> {
    loop {
        if let Some(it) = found(&ear.heard) {
            return Ok(it);
        }
        let received = world.receive(step.client, &mut ear.heard);
        let complaint = match received {
            Ok(true) => continue,
            Ok(false) => "heard the end".to_owned(),
            Err(complaint) => complaint,
        };
        return Err(format!("{complaint}, behind \"{}\"", shown(&ear.heard)));
    }
}

/// For a complaint; a long one would hide the others.
fn shown(heard: &[u8]) -> String {
    let end = heard.len().min(SHOWN_BYTES_MAX);
    let rest = if end < heard.len() { " .." } else { "" };
    format!("{}{rest}", heard[..end].escape_ascii())
}

const SHOWN_BYTES_MAX: usize = 600;
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const FRAME_BYTES_MAX: usize = 1 << 24;
