//! A topic server with one fault: `GET /ws?topic=X`, `POST /publish?topic=X`.
//!
//! It implements only the HTTP and WebSocket that the load test uses. The load test's upgrade key
//! is constant.
#![expect(
    clippy::disallowed_methods,
    reason = "a server for tests has threads and no shards"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};

/// The fault in the handling of the 50th publication, not counting probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No fault.
    None,
    /// One member does not receive the message.
    Loses,
    /// One member receives the message twice.
    Duplicates,
    /// One member receives the message after the next one.
    Reorders,
    /// A member of another topic receives the message too.
    Misdelivers,
    /// One byte of the message is changed.
    Damages,
    /// The response has status 500.
    Refuses,
}

enum Event {
    Joined(String, TcpStream),
    Published(String, Vec<u8>, TcpStream),
}

/// Starts the server and returns its URL. The server runs until the test process exits.
pub(crate) fn start(fault: Fault) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    let url = format!("ws://{}/ws", listener.local_addr().expect("it is bound"));
    let (sender, events) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            std::thread::spawn(move || serve(&stream, &sender));
        }
    });
    std::thread::spawn(move || {
        let mut topics = Topics {
            fault,
            stamped: 0,
            members: BTreeMap::new(),
            held: None,
        };
        for event in events {
            topics.take(event);
        }
    });
    url
}

/// Handles the requests of one connection until its upgrade or end.
fn serve(stream: &TcpStream, events: &Sender<Event>) {
    let mut reader = BufReader::new(stream.try_clone().expect("descriptors are left"));
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let head = String::from_utf8(head).expect("the loadtest sends ASCII");
        let topic = head.split("topic=").nth(1).expect("a topic is named");
        let topic = topic
            .split(' ')
            .next()
            .expect("a request line goes on")
            .to_owned();
        let mut stream = stream.try_clone().expect("descriptors are left");
        if head.starts_with("GET ") {
            stream.write_all(UPGRADED).expect("the client is there");
            events
                .send(Event::Joined(topic, stream))
                .expect("topics live on");
            let mut rest = Vec::new();
            let _read = reader.read_to_end(&mut rest); // Blocks until the client disconnects.
            return;
        }
        let length = head
            .split("Content-Length: ")
            .nth(1)
            .expect("a length is stated");
        let length = length
            .split("\r\n")
            .next()
            .expect("a line")
            .parse()
            .expect("a number");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a whole body");
        events
            .send(Event::Published(topic, body, stream))
            .expect("topics live on");
    }
}

struct Topics {
    fault: Fault,
    stamped: u32,
    members: BTreeMap<String, Vec<TcpStream>>,
    /// The topic and frame that one member receives after the next one.
    held: Option<(String, Vec<u8>)>,
}

impl Topics {
    fn take(&mut self, event: Event) {
        match event {
            Event::Joined(topic, stream) => self.members.entry(topic).or_default().push(stream),
            Event::Published(topic, body, publisher) => self.publish(&topic, body, publisher),
        }
    }

    fn publish(&mut self, topic: &str, mut body: Vec<u8>, mut publisher: TcpStream) {
        self.stamped += u32::from(body.starts_with(b"=LT="));
        let fault = if self.stamped == 50 {
            self.stamped += 1; // once
            self.fault
        } else {
            Fault::None
        };
        if fault == Fault::Refuses {
            let _sent = publisher.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
        }
        if fault == Fault::Damages {
            body[60] = b'!';
        }
        let frame = frame(&body);
        let members = self.members.entry(topic.to_owned()).or_default();
        for (index, member) in members.iter_mut().enumerate() {
            let times = match (index, fault) {
                (0, Fault::Loses) => 0,
                (0, Fault::Duplicates) => 2,
                (0, Fault::Reorders) => {
                    self.held = Some((topic.to_owned(), frame.clone()));
                    continue;
                }
                _ => 1,
            };
            let mut bytes = frame.repeat(times);
            if index == 0 && self.held.as_ref().is_some_and(|(held, _)| held == topic) {
                let (_, held) = self.held.take().expect("just seen");
                bytes.extend_from_slice(&held);
            }
            let _sent = member.write_all(&bytes); // The member may have disconnected.
        }
        let count = members.len();
        if fault == Fault::Misdelivers {
            let other = self.members.iter_mut().find(|(name, _)| *name != topic);
            let (_, members) = other.expect("there are two topics");
            let _sent = members[0].write_all(&frame);
        }
        if fault != Fault::Refuses {
            let count = count.to_string();
            let length = count.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{count}");
            let _sent = publisher.write_all(answer.as_bytes());
        }
    }
}

/// Encodes a text frame of at most 65,535 bytes of payload.
fn frame(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("messages are short");
    let mut frame = match u8::try_from(length) {
        Ok(short) if short < 126 => vec![0x81, short],
        _ => {
            let [high, low] = length.to_be_bytes();
            vec![0x81, 126, high, low]
        }
    };
    frame.extend_from_slice(body);
    frame
}

const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
