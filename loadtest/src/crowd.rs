//! Many sessions on one epoll, read as cheaply as can be: bytes are counted, not looked at.
//!
//! The measuring figures need a client that costs less than the server it measures, also when ten
//! thousand sockets receive at once. So the upgrade is written by hand, a delivery is one `read`,
//! and what is checked is the number of bytes: of all after each batch, of each session at the end
//! of a round. (`push` is the command that reads every frame.)

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::answers::{Answers, head_end};
use crate::clock::{self, SECOND_NS};
use crate::failure::{Attempt as _, Failure, Outcome};
use crate::stats::count;
use crate::wire::{self, Target};

/// Sessions and publishing connections, all watched by one epoll.
pub(crate) struct Crowd {
    target: Target,
    address: SocketAddr,
    epoll: OwnedFd,
    events: Vec<Event>,
    scratch: Vec<u8>,
    sessions: Vec<Session>,
    publishers: Vec<Publisher>,
    /// Bytes of frames received by all sessions.
    received_bytes: u64,
    /// Pushes answered, and the clients that the answers claim to have reached.
    answered: u64,
    reached: u64,
}

#[derive(Debug)]
struct Session {
    stream: TcpStream,
    received_bytes: u64,
    /// What is awaited before frames; `None` once the session is registered.
    opening: Option<Opening>,
}

#[derive(Debug)]
struct Opening {
    /// The answer to the upgrade request, as far as it has come.
    head: Vec<u8>,
    /// The frame to send when it is all there.
    register: Vec<u8>,
}

#[derive(Debug)]
struct Publisher {
    stream: TcpStream,
    answers: Answers,
}

/// What a session says before it receives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hello {
    /// Nothing: the floor speaks no protocol.
    Nothing,
    /// Upgrade, then register for this event as the user of that index.
    Register(&'static str, fn(usize) -> String),
}

/// Every session is the same user's.
pub(crate) const HELLO_FAN_OUT: Hello = Hello::Register(wire::EVENT, |_| wire::user_name(0));

impl Crowd {
    /// No sessions yet, of the server at `target`.
    ///
    /// # Errors
    ///
    /// The host is unknown, or there is no epoll to be had.
    pub(crate) fn new(target: &Target) -> Outcome<Self> {
        Ok(Self {
            target: target.clone(),
            address: target.address()?,
            epoll: epoll::create(CreateFlags::CLOEXEC).attempt("make an epoll")?,
            events: Vec::with_capacity(EVENTS_MAX),
            scratch: vec![0; SCRATCH_BYTES],
            sessions: Vec::new(),
            publishers: Vec::new(),
            received_bytes: 0,
            answered: 0,
            reached: 0,
        })
    }

    /// Opens sessions until there are `clients`, `at_a_time` handshakes under way at once.
    ///
    /// # Errors
    ///
    /// One is refused or nothing happens for ten seconds.
    pub(crate) fn grow(&mut self, clients: usize, at_a_time: usize, hello: Hello) -> Outcome<()> {
        let mut open = self.sessions.len();
        while open < clients {
            while self.sessions.len() < clients && self.sessions.len() - open < at_a_time {
                open += usize::from(self.connect_session(hello)?);
            }
            if open < self.sessions.len() {
                open += self.wait(SECOND_NS * 10)?;
            }
        }
        Ok(())
    }

    /// Opens `connections` more connections for pushes.
    ///
    /// # Errors
    ///
    /// One is refused.
    pub(crate) fn add_publishers(&mut self, connections: usize) -> Outcome<()> {
        for _ in 0..connections {
            let stream = self.connect(PUBLISHER_BIT | count(self.publishers.len()))?;
            self.publishers.push(Publisher {
                stream,
                answers: Answers::default(),
            });
        }
        Ok(())
    }

    /// Writes `requests` on the publishing connection of that index.
    ///
    /// # Errors
    ///
    /// The connection has ended, or its buffer is full: nobody pushes that much at once.
    pub(crate) fn push(&mut self, publisher: usize, requests: &[u8]) -> Outcome<()> {
        let stream = &mut self.publishers[publisher].stream;
        stream.write_all(requests).attempt("write a push")
    }

    /// Reads until `bytes` more bytes and `answers` more answers have come than at `mark`.
    ///
    /// # Errors
    ///
    /// More came, a connection ended, or nothing happened for ten seconds.
    pub(crate) fn read_until(&mut self, mark: Mark, bytes: u64, answers: u64) -> Outcome<()> {
        let bytes = mark.received_bytes + bytes;
        let answers = mark.answered + answers;
        while self.received_bytes < bytes || self.answered < answers {
            self.wait(SECOND_NS * 10)?;
        }
        if self.received_bytes > bytes || self.answered > answers {
            return Err(Failure::new(format!(
                "{} bytes too many came, {} answers too many",
                self.received_bytes - bytes,
                self.answered - answers
            )));
        }
        Ok(())
    }

    /// Where the counts stand.
    pub(crate) const fn mark(&self) -> Mark {
        Mark {
            received_bytes: self.received_bytes,
            answered: self.answered,
            reached: self.reached,
        }
    }

    /// How many sessions the answers since `mark` claim to have reached.
    pub(crate) const fn reached_since(&self, mark: Mark) -> u64 {
        self.reached - mark.reached
    }

    /// Pushes one message that all sessions should get, until it does reach all: registering is
    /// never answered.
    ///
    /// # Errors
    ///
    /// It does not within ten seconds.
    pub(crate) fn wait_until_registered(&mut self, request: &[u8], frame: usize) -> Outcome<()> {
        let deadline = clock::now_ns() + 10 * SECOND_NS;
        loop {
            let mark = self.mark();
            self.push(0, request)?;
            self.read_until_answered(mark, 1)?;
            let reached = self.reached_since(mark);
            self.read_until(mark, reached * count(frame), 1)?;
            if reached == count(self.sessions.len()) {
                return Ok(());
            }
            if clock::now_ns() > deadline {
                return Err(Failure::new(format!(
                    "a push reaches {reached} of {} sessions",
                    self.sessions.len()
                )));
            }
            clock::pause(std::time::Duration::from_millis(20));
        }
    }

    /// Checks that every session has received as many bytes as every other.
    ///
    /// # Errors
    ///
    /// One has not.
    pub(crate) fn check_all_equal(&self) -> Outcome<()> {
        let first = self.sessions.first().map_or(0, |s| s.received_bytes);
        match self.sessions.iter().position(|s| s.received_bytes != first) {
            None => Ok(()),
            Some(session) => Err(Failure::new(format!(
                "session {session} received {} bytes, session 0 {first}",
                self.sessions[session].received_bytes
            ))),
        }
    }

    /// Reads until `answers` more answers have come than at `mark`, whatever else comes.
    ///
    /// # Errors
    ///
    /// A connection ended, or nothing happened for ten seconds.
    pub(crate) fn read_until_answered(&mut self, mark: Mark, answers: u64) -> Outcome<()> {
        while self.answered < mark.answered + answers {
            self.wait(SECOND_NS * 10)?;
        }
        Ok(())
    }

    /// Connects one more session; `true` when it has nothing to wait for.
    fn connect_session(&mut self, hello: Hello) -> Outcome<bool> {
        let index = self.sessions.len();
        let mut stream = self.connect(count(index))?;
        let opening = match hello {
            Hello::Nothing => None,
            Hello::Register(event, user) => {
                let request = self.target.upgrade_request();
                stream.write_all(&request).attempt("write an upgrade")?;
                let message = wire::register_message(&user(index), event);
                let mask = u32::try_from(index).unwrap_or(1).to_be_bytes();
                Some(Opening {
                    head: Vec::new(),
                    register: wire::masked_text_frame(message.as_bytes(), mask),
                })
            }
        };
        let is_open = opening.is_none();
        self.sessions.push(Session {
            stream,
            received_bytes: 0,
            opening,
        });
        Ok(is_open)
    }

    fn connect(&self, data: u64) -> Outcome<TcpStream> {
        let what = format!("connect to {}", self.address);
        let stream = TcpStream::connect(self.address).attempt(&what)?;
        stream.set_nodelay(true).attempt("set TCP_NODELAY")?;
        stream.set_nonblocking(true).attempt("set O_NONBLOCK")?;
        // Edge-triggered: one read per arrival, and none to find out that there is no more.
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&self.epoll, &stream, EventData::new_u64(data), flags)
            .attempt("watch a socket")?;
        Ok(stream)
    }

    /// Waits for what comes next and takes it; returns how many sessions have just been opened.
    fn wait(&mut self, timeout_ns: u64) -> Outcome<usize> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let timeout = clock::timespec(timeout_ns);
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(0) => {
                    return Err(Failure::new(format!(
                        "nothing came for {} s ({} bytes and {} answers so far)",
                        timeout_ns / SECOND_NS,
                        self.received_bytes,
                        self.answered
                    )));
                }
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).attempt("wait on epoll"),
            }
        }
        let mut opened = 0;
        for event in &events {
            let data = event.data.u64();
            if data & PUBLISHER_BIT == 0 {
                opened += usize::from(self.read_session(index(data))?);
            } else {
                self.read_publisher(index(data & !PUBLISHER_BIT))?;
            }
        }
        self.events = events;
        Ok(opened)
    }

    /// Reads a session dry; `true` when it has just been opened.
    fn read_session(&mut self, index: usize) -> Outcome<bool> {
        let session = &mut self.sessions[index];
        let before = session.received_bytes;
        let mut opened = false;
        loop {
            let read = match session.stream.read(&mut self.scratch) {
                Ok(0) => return Err(Failure::new(format!("session {index} was ended"))),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).attempt(&format!("read session {index}")),
            };
            let bytes = &self.scratch[..read];
            match &mut session.opening {
                None => session.received_bytes += count(read),
                Some(opening) => {
                    opening.head.extend_from_slice(bytes);
                    if let Some(end) = head_end(&opening.head) {
                        let surplus = opening.head.len() - end;
                        session.received_bytes += count(surplus);
                        finish_opening(&mut session.stream, opening)?;
                        session.opening = None;
                        opened = true;
                    }
                }
            }
            if read < self.scratch.len() {
                break;
            }
        }
        self.received_bytes += session.received_bytes - before;
        Ok(opened)
    }

    fn read_publisher(&mut self, index: usize) -> Outcome<()> {
        let publisher = &mut self.publishers[index];
        loop {
            match publisher.stream.read(&mut self.scratch) {
                Ok(0) => return Err(Failure::new("a publishing connection was ended")),
                Ok(read) => publisher.answers.extend(&self.scratch[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).attempt("read an answer"),
            }
        }
        while let Some(reached) = publisher.answers.next_reached()? {
            self.answered += 1;
            self.reached += reached;
        }
        Ok(())
    }
}

/// A point in the counts of a [`Crowd`], to count from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    received_bytes: u64,
    answered: u64,
    reached: u64,
}

fn finish_opening(stream: &mut TcpStream, opening: &Opening) -> Outcome<()> {
    if !opening.head.starts_with(b"HTTP/1.1 101 ") {
        let shown = opening.head[..opening.head.len().min(300)].escape_ascii();
        return Err(Failure::new(format!("an upgrade was answered `{shown}`")));
    }
    stream
        .write_all(&opening.register)
        .attempt("write a register message")
}

fn index(data: u64) -> usize {
    usize::try_from(data).expect("it was made from an index")
}

const PUBLISHER_BIT: u64 = 1 << 63;
const EVENTS_MAX: usize = 1024;
const SCRATCH_BYTES: usize = 64 * 1024;
