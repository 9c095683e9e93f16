//! The floor of latency: an epoll loop that reads a request on one socket, writes a frame to
//! another, then a response to the first.

use std::io::{Read as _, Write as _};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::failure::{Attempt as _, Outcome};
use crate::{rounds, wire};

/// Runs the floor's process: accepts the session, then the publisher, and serves until the
/// publisher disconnects.
///
/// # Errors
///
/// A system call failed.
pub(crate) fn serve() -> Outcome<()> {
    let (listener, target) = super::listen()?;
    let (mut session, _) = listener.accept().attempt("accept the session")?;
    let (mut publisher, _) = listener.accept().attempt("accept the publisher")?;
    for stream in [&session, &publisher] {
        stream.set_nodelay(true).attempt("set TCP_NODELAY")?;
    }

    let frame = rounds::frame(wire::MESSAGE_BYTES);
    let response = wire::push_response(1);
    let request_bytes = rounds::request(&target, wire::MESSAGE_BYTES).len();
    let watch = epoll::create(CreateFlags::CLOEXEC).attempt("create an epoll instance")?;
    epoll::add(&watch, &publisher, EventData::new_u64(0), EventFlags::IN)
        .attempt("add the publisher to epoll")?;

    let mut events: Vec<Event> = Vec::with_capacity(1);
    let mut scratch = [0; 4096];
    let mut received = 0;
    loop {
        events.clear();
        match epoll::wait(&watch, spare_capacity(&mut events), None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error).attempt("wait on epoll"),
        }
        match publisher.read(&mut scratch).attempt("read a request")? {
            0 => return Ok(()),
            read => received += read,
        }
        while received >= request_bytes {
            received -= request_bytes;
            session.write_all(&frame).attempt("write a frame")?;
            publisher.write_all(&response).attempt("write a response")?;
        }
    }
}
