//! The sending side: keep-alive HTTP connections by hyper, each a queue of pushes sent in order.
//!
//! A connection sends its next push when the last was answered, as HTTP without pipelining does;
//! the schedule does not wait for it. A queue that grows shows as lateness and latency.

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;

use super::message::{PROBE, Stamp};
use super::sessions::SharedLedger;
use crate::clock;
use crate::failure::{Attempt as _, Failure, Outcome};
use crate::wire::{self, PUSH_PATH, Target};

/// One keep-alive connection to the push path.
#[derive(Debug)]
pub(super) struct Publisher {
    authority: String,
    event: String,
    sender: SendRequest<Full<Bytes>>,
}

/// A push on its way to a publisher's queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Push {
    /// What it carries.
    pub(super) stamp: Stamp,
    /// How many sessions it must be answered to have reached.
    pub(super) sessions: u64,
}

impl Publisher {
    /// Connects.
    ///
    /// # Errors
    ///
    /// The connection is refused.
    pub(super) async fn connect(target: &Target, event: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(target.address()?)
            .await
            .attempt("connect a publisher")?;
        stream.set_nodelay(true).attempt("set TCP_NODELAY")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .attempt("start HTTP")?;
        drop(spawn_local(async move {
            // An error here also fails the request that waits for an answer, which reports it.
            drop(connection.await);
        }));
        Ok(Self {
            authority: target.authority.clone(),
            event: event.to_owned(),
            sender,
        })
    }

    /// Pushes the probe to `user` until it reaches `sessions` sessions.
    ///
    /// Registering is never answered, so this is how to learn that it has happened.
    ///
    /// # Errors
    ///
    /// It does not within ten seconds, or a push fails.
    pub(super) async fn probe(&mut self, user: usize, sessions: u64) -> Outcome<()> {
        let deadline = clock::now_ns() + PROBE_NS_MAX;
        loop {
            let reached = self.push(user, PROBE).await?;
            if reached == sessions {
                return Ok(());
            }
            if reached > sessions || clock::now_ns() > deadline {
                return Err(Failure::new(format!(
                    "user {user} has {sessions} sessions, a push reached {reached}"
                )));
            }
            tokio::time::sleep(PROBE_AGAIN).await;
        }
    }

    /// Sends what comes out of `queue`, each `message_bytes` long, until it is closed.
    pub(super) async fn serve(
        mut self,
        mut queue: UnboundedReceiver<Push>,
        message_bytes: usize,
        ledger: SharedLedger,
    ) {
        while let Some(push) = queue.recv().await {
            let due_ns = ledger.borrow().started_ns + push.stamp.due_ns;
            let late_ns = clock::now_ns().saturating_sub(due_ns);
            let message = push.stamp.word(message_bytes);
            let answer = self.push(push.stamp.user, &message).await;

            let mut ledger = ledger.borrow_mut();
            ledger.lateness.saturating_record(late_ns);
            match answer {
                Ok(reached) if reached == push.sessions => ledger.answered += 1,
                Ok(reached) => ledger.complain(format!(
                    "a push to user {} reached {reached} of {} sessions",
                    push.stamp.user, push.sessions
                )),
                Err(failure) => ledger.complain(failure.to_string()),
            }
        }
    }

    /// One push, to its answer.
    async fn push(&mut self, user: usize, message: &str) -> Outcome<u64> {
        let body = wire::push_body(&wire::user_name(user), &self.event, message);
        let request = Request::post(PUSH_PATH)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .attempt("word a push")?;
        self.sender.ready().await.attempt("push")?;
        let response = self.sender.send_request(request).await.attempt("push")?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .attempt("read the answer to a push")?
            .to_bytes();
        if status != StatusCode::OK {
            let shown = body.escape_ascii().to_string();
            return Err(Failure::new(format!(
                "a push was answered {status}: `{shown}`"
            )));
        }
        wire::clients_reached(&body).ok_or_else(|| {
            let shown = body.escape_ascii().to_string();
            Failure::new(format!("a push was answered 200 with `{shown}`"))
        })
    }
}

const PROBE_NS_MAX: u64 = 10 * clock::SECOND_NS;
const PROBE_AGAIN: std::time::Duration = std::time::Duration::from_millis(20);
