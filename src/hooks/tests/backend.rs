//! A backend on a thread of its own that reads requests and answers them as its test says.
//!
//! Each request comes to the test with the means to answer it; it waits for that, so that a test
//! holds as many at once as it likes. Stopping it closes all of its connections.

use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// For anything that happens at once unless something is broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A backend, until it is dropped.
pub(super) struct TestBackend {
    pub(super) address: SocketAddr,
    asked: UnboundedReceiver<Asked>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A request that waits for its answer.
pub(super) struct Asked {
    /// Its first line and its headers.
    pub(super) head: String,
    /// Its body.
    pub(super) body: Value,
    /// Counts the connections from zero.
    pub(super) connection: usize,
    answer: oneshot::Sender<(Vec<u8>, bool)>,
}

impl TestBackend {
    pub(super) fn start() -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// A backend on a port that one was on before.
    pub(super) fn start_at(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let listener = std::net::TcpListener::bind(address).expect("the port is free");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("it listens");
        let (sender, asked) = unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("test-backend".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                serve(listener, sender, stopped).await;
            });
        });
        Self {
            address,
            asked,
            stop: Some(stop),
            thread: Some(thread.expect("a thread")),
        }
    }

    /// Where hooks are posted to.
    pub(super) fn url(&self) -> String {
        format!("http://{}/hooks?v=1", self.address)
    }

    /// The next request, in async code.
    pub(super) async fn next(&mut self) -> Asked {
        let next = tokio::time::timeout(PATIENCE, self.asked.recv()).await;
        next.expect("a request comes").expect("the backend runs")
    }

    /// The next request, on a thread that may wait.
    pub(super) fn wait(&mut self) -> Asked {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(self.next())
    }

    /// No request has come that was not looked at.
    #[track_caller]
    pub(super) fn expect_nothing(&mut self) {
        assert!(self.asked.try_recv().is_err());
    }

    /// Ends it, and gives its address back.
    pub(super) fn stop(self) -> SocketAddr {
        self.address
    }
}

impl Drop for TestBackend {
    fn drop(&mut self) {
        drop(self.stop.take());
        let thread = self.thread.take().expect("not joined before");
        let ended = thread.join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

impl Asked {
    /// The value of a header, by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Which hook it is.
    pub(super) fn hook(&self) -> &str {
        self.body["hook"].as_str().expect("a hook is named")
    }

    /// Answers in whole.
    pub(super) fn answer(self, status: u16, body: &str) {
        let len = body.len();
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {len}\r\n\r\n{body}");
        self.write(&text);
    }

    /// Answers with success.
    pub(super) fn ok(self, body: &str) {
        self.answer(200, body);
    }

    /// Writes any bytes, and keeps the connection.
    pub(super) fn write(self, bytes: &str) {
        // Whoever has asked may be gone.
        drop(self.answer.send((bytes.as_bytes().to_vec(), true)));
    }

    /// Writes any bytes, and closes the connection.
    pub(super) fn write_and_close(self, bytes: &str) {
        drop(self.answer.send((bytes.as_bytes().to_vec(), false)));
    }
}

async fn serve(
    listener: TcpListener,
    sender: UnboundedSender<Asked>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    for connection in 0.. {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, _) = accepted.expect("descriptors are left");
                connections.spawn(answer_all(socket, connection, sender.clone()));
            }
            _ = &mut stopped => break,
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn answer_all(mut socket: TcpStream, connection: usize, sender: UnboundedSender<Asked>) {
    while let Some((head, body)) = read_request(&mut socket).await {
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            head,
            body: serde_json::from_slice(&body).expect("a hook is JSON"),
            connection,
            answer,
        };
        if sender.send(asked).is_err() {
            return;
        }
        let Ok((bytes, keep)) = answered.await else {
            return;
        };
        if socket.write_all(&bytes).await.is_err() || !keep {
            return;
        }
    }
}

/// Reads a request; `None` at the end of the connection.
async fn read_request(socket: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("a head is ASCII");
    let len = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse().expect("a length"))
    });
    let mut body = vec![0; len.expect("a hook has a length")];
    socket.read_exact(&mut body).await.ok()?;
    Some((head, body))
}
