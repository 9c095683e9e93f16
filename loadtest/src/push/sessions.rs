//! The receiving side: one fastwebsockets client per session, opened, registered and read.
//!
//! fastwebsockets reads every frame whole, so each delivery is a second opinion on the gateway's
//! framing by a library that shares no code with it.

use std::cell::RefCell;
use std::rc::Rc;

use fastwebsockets::{FragmentCollector, Frame, OpCode, handshake};
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_local};

use super::ledger::Ledger;
use crate::clock;
use crate::failure::{Attempt as _, Failure, Outcome};
use crate::wire::{self, SAMPLE_ACCEPT, SAMPLE_KEY, Target};

/// The ledger, shared on one thread.
pub(super) type SharedLedger = Rc<RefCell<Ledger>>;

/// Opens `clients` sessions, session `n` registered for user `n % users`, and leaves each to a task
/// that reads it into `ledger`.
///
/// # Errors
///
/// One could not be opened.
pub(super) async fn open_all(
    target: &Target,
    event: &str,
    clients: usize,
    users: usize,
    ledger: &SharedLedger,
) -> Outcome<()> {
    let at_a_time = Rc::new(Semaphore::new(AT_A_TIME_MAX));
    let mut opening = JoinSet::new();
    for session in 0..clients {
        let target = target.clone();
        let register = wire::register_message(&wire::user_name(session % users), event);
        let at_a_time = Rc::clone(&at_a_time);
        let ledger = Rc::clone(ledger);
        opening.spawn_local(async move {
            let _turn = at_a_time.acquire().await.attempt("wait for a turn")?;
            let what = format!("open session {session}");
            let socket = open(&target, register)
                .await
                .map_err(|failure| Failure::new(format!("{what}: {failure}")))?;
            ledger.borrow_mut().open += 1;
            drop(spawn_local(read_all(session, socket, ledger)));
            Ok::<(), Failure>(())
        });
    }
    while let Some(opened) = opening.join_next().await {
        opened.attempt("a task that opens a session")??;
    }
    Ok(())
}

type Socket = FragmentCollector<TokioIo<Upgraded>>;

async fn open(target: &Target, register: String) -> Outcome<Socket> {
    let stream = TcpStream::connect(target.address()?)
        .await
        .attempt("connect")?;
    stream.set_nodelay(true).attempt("set TCP_NODELAY")?;
    let request = Request::builder()
        .uri(&target.path)
        .header(HOST, &target.authority)
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "Upgrade")
        .header("Sec-WebSocket-Version", "13")
        .header(SEC_WEBSOCKET_KEY, SAMPLE_KEY)
        .body(Empty::<Bytes>::new())
        .attempt("word the upgrade request")?;
    let (mut socket, response) = handshake::client(&OnThisThread, request, stream)
        .await
        .attempt("upgrade")?;
    // fastwebsockets does not look at this header.
    let accept = response.headers().get(SEC_WEBSOCKET_ACCEPT);
    if accept.is_none_or(|accept| accept != SAMPLE_ACCEPT) {
        return Err(Failure::new(format!("Sec-WebSocket-Accept is {accept:?}")));
    }
    let frame = Frame::text(register.into_bytes().into());
    socket.write_frame(frame).await.attempt("register")?;
    Ok(FragmentCollector::new(socket))
}

async fn read_all(session: usize, mut socket: Socket, ledger: SharedLedger) {
    let end = loop {
        match socket.read_frame().await {
            Ok(frame) if frame.opcode == OpCode::Text => {
                let now_ns = clock::now_ns();
                ledger.borrow_mut().receive(session, &frame.payload, now_ns);
            }
            Ok(frame) if matches!(frame.opcode, OpCode::Ping | OpCode::Pong) => {}
            Ok(frame) => break format!("a {:?} frame came", frame.opcode),
            Err(error) => break error.to_string(),
        }
    };
    let mut ledger = ledger.borrow_mut();
    ledger.open -= 1;
    if !ledger.finishing {
        ledger.complain(format!("session {session} ended early: {end}"));
    }
}

/// Runs hyper's connection tasks where the sessions run.
struct OnThisThread;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for OnThisThread {
    fn execute(&self, future: F) {
        drop(spawn_local(future));
    }
}

const AT_A_TIME_MAX: usize = 256;
