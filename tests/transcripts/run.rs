//! Runs the steps of a transcript on a target and compares what the clients receive.
//!
//! It has its own parsers of frames and responses: they must describe errors and compare every
//! octet.

use crate::script::{Act, Script, Step, Unit};
use crate::target::Target;
use crate::text::{Names, Text};
use campanile_tests::frame::masked;
use campanile_tests::http::UPGRADE;
use std::fmt::Write as _;

/// Runs a transcript. `Err` has the line and the difference.
///
/// At the end, received bytes that no step has compared are a difference, too.
pub(crate) fn run(script: &Script, target: &mut dyn Target) -> Result<(), String> {
    let mut clients: Vec<ClientInput> = Vec::new();
    clients.resize_with(script.clients.len(), ClientInput::default);
    let mut names = Names::new();
    for step in &script.steps {
        let input = &mut clients[step.client];
        for _ in 0..step.count {
            act(input, target, step, &mut names).map_err(|error| {
                format!("{}:{}: {}\n{error}", script.name, step.line, step.text)
            })?;
        }
    }
    for (client, (input, name)) in clients.iter_mut().zip(&script.clients).enumerate() {
        target.end(client);
        while target.receive(client, &mut input.received)? {}
        if !input.received.is_empty() {
            let received = shown(&input.received);
            return Err(format!("{}: {name} received more: {received}", script.name));
        }
    }
    Ok(())
}

fn act(
    input: &mut ClientInput,
    target: &mut dyn Target,
    step: &Step,
    names: &mut Names,
) -> Result<(), String> {
    match &step.act {
        Act::Send(word) => send(input, target, step, word, names),
        Act::Receive(word) => receive(input, target, step, word, names),
        Act::Silence => expect_silence(input, target, step),
        Act::Pass(ms) => target.pass(*ms),
    }
}

/// The received bytes of a client that no step has compared yet.
#[derive(Default)]
struct ClientInput {
    received: Vec<u8>,
    is_session: bool,
    silences: u32,
}

fn send(
    input: &mut ClientInput,
    target: &mut dyn Target,
    step: &Step,
    word: &Unit,
    names: &Names,
) -> Result<(), String> {
    let client = step.client;
    let resolve = |text: &Text| {
        let bytes = text.resolve(names);
        bytes.ok_or_else(|| "nothing has this name yet".to_owned())
    };
    match word {
        Unit::Open(path) => {
            input.is_session = true;
            let path = String::from_utf8_lossy(&resolve(path)?).into_owned();
            let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}");
            target.send(client, with_headers(head, step).as_bytes());
        }
        Unit::Request { method, path, body } => {
            let path = String::from_utf8_lossy(&resolve(path)?).into_owned();
            let body = resolve(body)?;
            let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
            let named = |(name, _): &(String, String)| name == "Transfer-Encoding";
            if !body.is_empty() && !step.headers.iter().any(named) {
                write!(head, "Content-Length: {}\r\n", body.len()).expect("a String");
            }
            let mut bytes = with_headers(head, step).into_bytes();
            bytes.extend(body);
            target.send(client, &bytes);
        }
        Unit::Frame(first_octet, payload) => {
            target.send(client, &masked(*first_octet, &resolve(payload)?, MASK));
        }
        Unit::Raw(bytes) => target.send(client, &resolve(bytes)?),
        Unit::End => target.end(client),
        Unit::Opened(_) | Unit::Answer { .. } => panic!("clients answer nothing"),
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

fn receive(
    input: &mut ClientInput,
    target: &mut dyn Target,
    step: &Step,
    word: &Unit,
    names: &mut Names,
) -> Result<(), String> {
    match word {
        Unit::Opened(subprotocol) => {
            input.is_session = true;
            let mut head = SWITCHING.to_vec();
            if !subprotocol.is_empty() {
                head.extend(b"Sec-WebSocket-Protocol: ");
                head.extend(subprotocol.resolve(names).expect("no wildcards"));
                head.extend(b"\r\n");
            }
            head.extend(b"\r\n");
            expect_bytes(input, target, step, &Text::plain(head), names)
        }
        Unit::Raw(bytes) => expect_bytes(input, target, step, bytes, names),
        Unit::Frame(first_octet, payload) => {
            let (octet, received) = receive_frame(input, target, step)?;
            if octet == *first_octet && payload.matches(&received, names) {
                return Ok(());
            }
            let received = shown(&received);
            Err(format!("received a frame {octet:02x} \"{received}\""))
        }
        Unit::Answer { status, body } => {
            input.is_session = false;
            receive_response(input, target, step, *status, body, names)
        }
        Unit::End => {
            while target.receive(step.client, &mut input.received)? {}
            if input.received.is_empty() {
                return Ok(());
            }
            Err(format!("received \"{}\"", shown(&input.received)))
        }
        Unit::Open(_) | Unit::Request { .. } => panic!("the gateway sends no requests"),
    }
}

/// Checks silence, as the grammar defines it.
fn expect_silence(
    input: &mut ClientInput,
    target: &mut dyn Target,
    step: &Step,
) -> Result<(), String> {
    let mut names = Names::new();
    if input.is_session {
        input.silences += 1;
        let payload = format!("silence {}", input.silences).into_bytes();
        target.send(step.client, &masked(0x89, &payload, MASK));
        let pong = Unit::Frame(0x8a, Text::plain(payload));
        return receive(input, target, step, &pong, &mut names);
    }
    let request = "GET /silence HTTP/1.1\r\nHost: localhost\r\n\r\n";
    target.send(step.client, request.as_bytes());
    let body = Text::plain("404 page not found\n");
    receive_response(input, target, step, 404, &body, &mut names)
}

fn expect_bytes(
    input: &mut ClientInput,
    target: &mut dyn Target,
    step: &Step,
    expected: &Text,
    names: &mut Names,
) -> Result<(), String> {
    let len = expected.len(names).ok_or("nothing has this name yet")?;
    let plain = expected.resolve(names).unwrap_or_default();
    receive_until(input, target, step, |received| {
        let differs = received.iter().zip(&plain).any(|(a, b)| a != b);
        (differs || received.len() >= len).then_some(())
    })?;
    if input.received.len() < len || !expected.matches(&input.received[..len], names) {
        return Err(format!("received \"{}\"", shown(&input.received)));
    }
    input.received.drain(..len);
    Ok(())
}

/// Receives a complete unmasked frame with its length in the shortest form.
fn receive_frame(
    input: &mut ClientInput,
    target: &mut dyn Target,
    step: &Step,
) -> Result<(u8, Vec<u8>), String> {
    let (head, end) = receive_until(input, target, step, |received| {
        let (head, len) = match *received.get(1)? {
            126 => (
                4,
                u64::from(u16::from_be_bytes(received.get(2..4)?.try_into().ok()?)),
            ),
            127 => (
                10,
                u64::from_be_bytes(received.get(2..10)?.try_into().ok()?),
            ),
            len => (2, u64::from(len)),
        };
        let end = head + usize::try_from(len).expect("64 bits");
        // No frame of a transcript is this long: it is masked, or no frame.
        let is_frame = received[1] < 0x80 && end < FRAME_BYTES_MAX;
        (received.len() >= end || !is_frame).then_some((head, if is_frame { end } else { 0 }))
    })?;
    let is_short = match end.saturating_sub(head) {
        ..126 => head == 2,
        126..0x1_0000 => head == 4,
        _ => head == 10,
    };
    if end == 0 || !is_short {
        return Err(format!("received no frame: \"{}\"", shown(&input.received)));
    }
    let frame: Vec<u8> = input.received.drain(..end).collect();
    Ok((frame[0], frame[head..].to_vec()))
}

fn receive_response(
    input: &mut ClientInput,
    target: &mut dyn Target,
    step: &Step,
    status: u16,
    body: &Text,
    names: &mut Names,
) -> Result<(), String> {
    let end = receive_until(input, target, step, |received| {
        let at = received.windows(4).position(|four| four == b"\r\n\r\n")?;
        Some(at + 4)
    })?;
    let head = String::from_utf8_lossy(&input.received[..end - 4]).into_owned();
    let mut lines = head.split("\r\n");
    let status_line = lines.next().expect("at least one");
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    if status_line.split(' ').nth(1) != Some(&*status.to_string()) {
        return Err(format!("received {head}"));
    }

    let length = headers.iter().find(|(name, _)| *name == "Content-Length");
    let len: usize = length.and_then(|(_, len)| len.parse().ok()).unwrap_or(0);
    receive_until(input, target, step, |received| {
        (received.len() >= end + len).then_some(())
    })?;
    let answer: Vec<u8> = input.received.drain(..end + len).collect();
    if !body.is(b"*") && !body.matches(&answer[end..], names) {
        return Err(format!("received {head}\n\n{}", shown(&answer[end..])));
    }

    let same = |((name, value), (received_name, received)): (&(String, String), &(&str, &str))| {
        name == received_name && (value == "*" || value == received)
    };
    let wanted = &step.headers;
    let all_same = wanted.len() == headers.len() && wanted.iter().zip(&headers).all(same);
    if !wanted.is_empty() && !all_same {
        return Err(format!("received {head}"));
    }
    Ok(())
}

/// Receives until `found` returns a value.
fn receive_until<T>(
    input: &mut ClientInput,
    target: &mut dyn Target,
    step: &Step,
    mut found: impl FnMut(&[u8]) -> Option<T>,
) -> Result<T, String> {
    loop {
        if let Some(it) = found(&input.received) {
            return Ok(it);
        }
        let received = target.receive(step.client, &mut input.received);
        let error = match received {
            Ok(true) => continue,
            Ok(false) => "received the end".to_owned(),
            Err(error) => error,
        };
        return Err(format!("{error}, behind \"{}\"", shown(&input.received)));
    }
}

/// Escapes received bytes for an error, shortened to [`SHOWN_BYTES_MAX`].
fn shown(received: &[u8]) -> String {
    let end = received.len().min(SHOWN_BYTES_MAX);
    let rest = if end < received.len() { " .." } else { "" };
    format!("{}{rest}", received[..end].escape_ascii())
}

const SHOWN_BYTES_MAX: usize = 600;
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const FRAME_BYTES_MAX: usize = 1 << 24;
