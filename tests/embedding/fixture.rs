//! The fixture of the tests: configs, clients, raw HTTP, and tools to observe and block handlers.
//!
//! Every wait ends after [`PATIENCE`]. A test can select the shard of a client: the HTTP service of
//! [`builder`] returns the shard of a connection, and [`connect_to`] connects until it is right.

use campanile::config::{Config, Route};
use campanile::dialect::Dialect;
use campanile::handler::{Gathered, HandleError, Pending};
use campanile::limits::Logging;
use campanile::metrics::Counters;
use campanile::public_id::PublicId;
use campanile::{Builder, Gateway, Message, RouteHandle};
use campanile_tests::http::{self, Response as HttpResponse, UPGRADE};
use campanile_tests::net::connect;
use campanile_tests::peer::ask;
use campanile_tests::{PATIENCE, client};
use http_body_util::Full;
use hyper::{Request, Response};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroU8;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use tokio::sync::Semaphore;
use tungstenite::protocol::Role;
use tungstenite::{Bytes, Message as Frame, WebSocket};

/// Returns a config with a free port, the default routes and `shards` shards.
pub(crate) fn config(shards: u8) -> Config {
    Config {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        shards: NonZeroU8::new(shards),
        pin: false,
        // All tests share a process, so their log lines are counted together.
        logging: Logging {
            lines_per_place_max: 1_000_000,
            ..Logging::default()
        },
        ..Config::default()
    }
}

/// Returns [`config`] with a single route, `/x`.
pub(crate) fn config_of(shards: u8, dialect: &'static dyn Dialect) -> Config {
    Config {
        routes: vec![Route::new("/x", dialect)],
        ..config(shards)
    }
}

/// Returns a builder whose HTTP service responds with the connection's shard.
pub(crate) fn builder(config: Config) -> Builder {
    Gateway::builder(config).shard(|setup| {
        let shard = setup.shard_index();
        setup.http(move |request: Request<_>| async move {
            let path = request.uri().path();
            let body = format!("{shard} {path}");
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body))))
        });
    })
}

/// A client's session.
pub(crate) struct Client(pub(crate) WebSocket<TcpStream>);

/// The headers of a request: names and values.
pub(crate) type Headers<'h> = &'h [(&'h str, &'h str)];

impl Client {
    /// Opens a session on `path`.
    #[track_caller]
    pub(crate) fn open(address: SocketAddr, path: &str) -> Self {
        Self::open_with(address, path, &[])
    }

    /// Opens a session on `path` with headers.
    #[track_caller]
    pub(crate) fn open_with(address: SocketAddr, path: &str, headers: Headers<'_>) -> Self {
        Self::upgrade(connect(address), path, headers).expect("the upgrade is granted")
    }

    /// Opens a session on `path` on a given shard of a gateway of [`builder`].
    #[track_caller]
    pub(crate) fn open_on(
        address: SocketAddr,
        shard: usize,
        path: &str,
        headers: Headers<'_>,
    ) -> Self {
        let socket = connect_to(address, shard);
        Self::upgrade(socket, path, headers).expect("the upgrade is granted")
    }

    /// Upgrades a connection. `Err` is the response that rejects it.
    pub(crate) fn upgrade(
        mut socket: TcpStream,
        path: &str,
        headers: Headers<'_>,
    ) -> Result<Self, HttpResponse> {
        ask_to_upgrade(&mut socket, path, headers);
        let answer = HttpResponse::take(&socket);
        if answer.status != 101 {
            return Err(answer);
        }
        let socket = WebSocket::from_raw_socket(socket, Role::Client, None);
        Ok(Self(socket))
    }

    /// Sends a text message.
    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        self.send_all(&[text]);
    }

    /// Sends several text messages in one write.
    #[track_caller]
    pub(crate) fn send_all(&mut self, texts: &[&str]) {
        for text in texts {
            self.0.write(Frame::text(*text)).expect("there is room");
        }
        self.0.flush().expect("the gateway reads");
    }

    /// Sends a binary message.
    #[track_caller]
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let frame = Frame::Binary(Bytes::copy_from_slice(bytes));
        self.0.send(frame).expect("the gateway reads");
    }

    /// Returns the next message, text or binary.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> String {
        let frame = self.0.read().expect("a message comes");
        assert!(frame.is_text() || frame.is_binary(), "{frame:?}");
        let bytes = frame.into_data();
        String::from_utf8(bytes.to_vec()).expect("messages of these tests are text")
    }

    /// Sends a ping and asserts that the next frame is its pong: no message is pending.
    #[track_caller]
    pub(crate) fn expect_no_message(&mut self) {
        client::expect_no_message(&mut self.0);
    }

    /// Returns code and reason of the next frame, which must be a close frame.
    #[track_caller]
    pub(crate) fn closing(&mut self) -> (u16, String) {
        client::closing(&mut self.0)
    }

    /// Sends a ping. Returns `false` if the session is closed because the gateway stops.
    #[track_caller]
    pub(crate) fn is_open(&mut self) -> bool {
        client::is_open(&mut self.0)
    }

    /// Waits until the gateway closes the connection.
    pub(crate) fn end(mut self) {
        while self.0.read().is_ok() {}
    }

    /// Closes the connection and waits until the gateway has, too.
    pub(crate) fn leave(mut self) {
        // It may have been closed already.
        drop(self.0.close(None));
        self.end();
    }

    /// Ends the connection without a close frame.
    pub(crate) fn abort(self) {
        // It may have been closed already.
        drop(self.0.get_ref().shutdown(Shutdown::Both));
    }
}

/// Connects to a given shard of a gateway of [`builder`].
#[track_caller]
pub(crate) fn connect_to(address: SocketAddr, shard: usize) -> TcpStream {
    let wanted = format!("{shard} /shard");
    for _ in 0..CONNECTS_MAX {
        let mut socket = connect(address);
        if get(&mut socket, "/shard").body == wanted {
            return socket;
        }
    }
    panic!("the kernel gives shard {shard} no connection");
}

/// Sends a GET request and returns the response.
#[track_caller]
pub(crate) fn get(socket: &mut TcpStream, path: &str) -> HttpResponse {
    socket
        .write_all(http::get(path, "").as_bytes())
        .expect("it reads");
    HttpResponse::take(socket)
}

/// Posts a body and returns the response.
#[track_caller]
pub(crate) fn post(
    address: SocketAddr,
    path: &str,
    headers: Headers<'_>,
    body: &str,
) -> HttpResponse {
    ask(address, http::post(path, &lines(headers), body))
}

/// Returns status and body of a rejected upgrade on `path`.
#[track_caller]
pub(crate) fn rejection(address: SocketAddr, path: &str, headers: Headers<'_>) -> (u16, String) {
    let refused = Client::upgrade(connect(address), path, headers).err();
    let answer = refused.expect("the upgrade is refused");
    (answer.status, answer.body)
}

/// Sends an upgrade request.
pub(crate) fn ask_to_upgrade(socket: &mut TcpStream, path: &str, headers: Headers<'_>) {
    let request = http::get(path, &format!("{UPGRADE}{}", lines(headers)));
    socket.write_all(request.as_bytes()).expect("it reads");
}

fn lines(headers: Headers<'_>) -> String {
    let mut lines = String::new();
    for (name, value) in headers {
        for part in [name, ": ", value, "\r\n"] {
            lines.push_str(part);
        }
    }
    lines
}

/// Records events in handlers on any thread. [`EventLog`] reads them.
#[derive(Clone)]
pub(crate) struct Recorder(Sender<String>);

/// The recorded events, in order.
pub(crate) struct EventLog(Receiver<String>);

/// Creates a recorder and its log.
pub(crate) fn event_log() -> (Recorder, EventLog) {
    let (sender, receiver) = channel();
    (Recorder(sender), EventLog(receiver))
}

impl Recorder {
    pub(crate) fn note(&self, what: impl Into<String>) {
        // The log may have been dropped.
        drop(self.0.send(what.into()));
    }
}

impl EventLog {
    /// Waits for the next event.
    #[track_caller]
    pub(crate) fn next(&self) -> String {
        let next = self.0.recv_timeout(PATIENCE);
        next.expect("something happens")
    }

    /// Asserts that the next events are these, in this order.
    #[track_caller]
    pub(crate) fn expect(&self, happened: &[&str]) {
        for expected in happened {
            assert_eq!(self.next(), *expected);
        }
    }

    /// Asserts that the next events are these, in any order.
    #[track_caller]
    pub(crate) fn expect_all(&self, happened: &[&str]) {
        let mut found: Vec<String> = happened.iter().map(|_| self.next()).collect();
        found.sort();
        let mut expected = happened.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    /// Asserts that no further event was recorded.
    #[track_caller]
    pub(crate) fn expect_nothing(&self) {
        assert_eq!(self.0.try_recv().ok(), None);
    }
}

/// Returns a handler or observer that only records `what`.
pub(crate) fn recording_handler<T: 'static>(
    recorder: &Recorder,
    what: &'static str,
) -> impl Fn(T) -> Ready<()> + Clone + Send + Sync + 'static {
    let recorder = recorder.clone();
    move |_| {
        recorder.note(what);
        ready(())
    }
}

/// A latch that handlers wait at without blocking their shard.
#[derive(Clone)]
pub(crate) struct Latch(Arc<Semaphore>);

impl Latch {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Releases one handler.
    pub(crate) fn open(&self) {
        self.0.add_permits(1);
    }

    pub(crate) async fn pass(&self) {
        let permit = self.0.acquire().await;
        permit.expect("never closed").forget();
    }
}

/// A wait that blocks the shard of its handler.
#[derive(Clone, Default)]
pub(crate) struct Hold(Arc<OnceLock<()>>);

impl Hold {
    pub(crate) fn release(&self) {
        self.0.get_or_init(|| ());
    }

    pub(crate) fn wait(&self) {
        self.0.wait();
    }
}

impl Drop for ReleaseOnDrop {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Releases a hold when its test ends or panics.
pub(crate) struct ReleaseOnDrop(pub(crate) Hold);

/// A value that records its drop.
pub(crate) struct RecordsDrop(pub(crate) &'static str, pub(crate) Recorder);

impl Drop for RecordsDrop {
    fn drop(&mut self) {
        self.1.note(self.0);
    }
}

/// A value that publishes to a channel when it is dropped.
pub(crate) struct PublishOnDrop {
    pub(crate) route: RouteHandle,
    pub(crate) channel: &'static str,
}

impl Drop for PublishOnDrop {
    fn drop(&mut self) {
        let message = Message::text("last", "words");
        drop(self.route.publish(self.channel, message));
    }
}

/// Parses a public id that a client has received.
#[track_caller]
pub(crate) fn id(text: &str) -> PublicId {
    text.parse().expect("a public id")
}

/// Stops a gateway whose clients have disconnected or wait for nothing.
#[track_caller]
pub(crate) fn stop(gateway: Gateway) -> Counters {
    in_time(move || gateway.stop(PATIENCE))
}

/// Waits for the result of a pending operation, as a thread that may block.
#[track_caller]
pub(crate) fn done<T: Send + 'static>(pending: Pending<T>) -> Result<T, HandleError> {
    in_time(move || pending.wait())
}

/// Waits for the items of all shards.
#[track_caller]
pub(crate) fn all<T: Send + 'static>(gathered: Gathered<T>) -> Vec<T> {
    in_time(move || gathered.wait()).expect("the gateway runs")
}

/// Runs `work` on a thread and waits at most [`PATIENCE`] for its result.
#[track_caller]
pub(crate) fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    let thread = std::thread::Builder::new().name("in time".to_owned());
    let spawned = thread.spawn(move || {
        // The receiver is gone after a timeout.
        drop(sender.send(work()));
    });
    spawned.expect("a thread");
    receiver.recv_timeout(PATIENCE).expect("it ends in time")
}

/// The limit of attempts. With two shards, all miss one shard with a probability of 2^-255.
const CONNECTS_MAX: usize = 256;
