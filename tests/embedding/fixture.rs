//! What every test stands on: a config, clients, raw HTTP, and means to watch and hold handlers.
//!
//! Every wait is for something that comes at once unless something is broken, and ends after
//! [`PATIENCE`]. A client can be put on the shard that a test wants: the HTTP service of
//! [`builder`] tells a connection where it is, and the connection is upgraded then.

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

/// A config with a port of the kernel's choice, the default routes and so many shards.
pub(crate) fn config(shards: u8) -> Config {
    Config {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        shards: NonZeroU8::new(shards),
        pin: false,
        // All tests are one process, and their lines count together.
        logging: Logging {
            lines_per_place_max: 1_000_000,
            ..Logging::default()
        },
        ..Config::default()
    }
}

/// [`config`] with a single route, `/x`.
pub(crate) fn config_of(shards: u8, dialect: &'static dyn Dialect) -> Config {
    Config {
        routes: vec![Route::new("/x", dialect)],
        ..config(shards)
    }
}

/// A gateway that tells connections on which shard they are.
pub(crate) fn builder(config: Config) -> Builder {
    Gateway::builder(config).shard(|setup| {
        let shard = setup.shard_index();
        setup.http(move |request: Request<_>| async move {
            let path = request.uri().path();
            let told = format!("{shard} {path}");
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(told))))
        });
    })
}

/// A session, or a connection that may become one.
pub(crate) struct Client(pub(crate) WebSocket<TcpStream>);

/// Headers of a request: names and values.
pub(crate) type Headers<'h> = &'h [(&'h str, &'h str)];

impl Client {
    /// A session on `path`.
    #[track_caller]
    pub(crate) fn open(address: SocketAddr, path: &str) -> Self {
        Self::open_with(address, path, &[])
    }

    /// A session on `path`, whose request has headers.
    #[track_caller]
    pub(crate) fn open_with(address: SocketAddr, path: &str, headers: Headers<'_>) -> Self {
        Self::upgrade(connect(address), path, headers).expect("the upgrade is granted")
    }

    /// A session on `path`, on a shard of the test's choice; the gateway is one of [`builder`].
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

    /// Makes a session of a connection, or returns how it was refused.
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

    /// Sends one message.
    #[track_caller]
    pub(crate) fn say(&mut self, text: &str) {
        self.say_all(&[text]);
    }

    /// Sends messages in one piece.
    #[track_caller]
    pub(crate) fn say_all(&mut self, texts: &[&str]) {
        for text in texts {
            self.0.write(Frame::text(*text)).expect("there is room");
        }
        self.0.flush().expect("the gateway reads");
    }

    /// Sends one message of bytes.
    #[track_caller]
    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        let frame = Frame::Binary(Bytes::copy_from_slice(bytes));
        self.0.send(frame).expect("the gateway reads");
    }

    /// The next message, of either type.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> String {
        let frame = self.0.read().expect("a message comes");
        assert!(frame.is_text() || frame.is_binary(), "{frame:?}");
        let bytes = frame.into_data();
        String::from_utf8(bytes.to_vec()).expect("all that is said here is text")
    }

    /// Shows that nothing has come: the next thing is the answer to a ping.
    #[track_caller]
    pub(crate) fn settle(&mut self) {
        client::settle(&mut self.0);
    }

    /// The next thing is a close frame: its code and reason.
    #[track_caller]
    pub(crate) fn closing(&mut self) -> (u16, String) {
        client::closing(&mut self.0)
    }

    /// Whether a ping is answered; if not, the session is closed because the gateway stops.
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

    /// Ends the connection without a word.
    pub(crate) fn hang_up(self) {
        // It may have been closed already.
        drop(self.0.get_ref().shutdown(Shutdown::Both));
    }
}

/// A connection on a shard of the test's choice; the gateway is one of [`builder`].
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

/// Asks for a page, and returns the answer.
#[track_caller]
pub(crate) fn get(socket: &mut TcpStream, path: &str) -> HttpResponse {
    socket
        .write_all(http::get(path, "").as_bytes())
        .expect("it reads");
    HttpResponse::take(socket)
}

/// Posts a body, and returns the answer.
#[track_caller]
pub(crate) fn post(
    address: SocketAddr,
    path: &str,
    headers: Headers<'_>,
    body: &str,
) -> HttpResponse {
    ask(address, http::post(path, &lines(headers), body))
}

/// How an upgrade on `path` is refused.
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

/// Writes down what happens in handlers, on whatever thread; [`Diary`] reads it.
#[derive(Clone)]
pub(crate) struct Pen(Sender<String>);

/// What was written down, in order.
pub(crate) struct Diary(Receiver<String>);

/// A new diary.
pub(crate) fn diary() -> (Pen, Diary) {
    let (sender, receiver) = channel();
    (Pen(sender), Diary(receiver))
}

impl Pen {
    pub(crate) fn note(&self, what: impl Into<String>) {
        // Whoever has read enough is gone.
        drop(self.0.send(what.into()));
    }
}

impl Diary {
    /// The next thing that happens.
    #[track_caller]
    pub(crate) fn next(&self) -> String {
        let next = self.0.recv_timeout(PATIENCE);
        next.expect("something happens")
    }

    /// The next things that happen are these, in this order.
    #[track_caller]
    pub(crate) fn expect(&self, happened: &[&str]) {
        for expected in happened {
            assert_eq!(self.next(), *expected);
        }
    }

    /// The next things that happen are these, in whatever order.
    #[track_caller]
    pub(crate) fn expect_all(&self, happened: &[&str]) {
        let mut found: Vec<String> = happened.iter().map(|_| self.next()).collect();
        found.sort();
        let mut expected = happened.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    /// Nothing has happened that was not looked at.
    #[track_caller]
    pub(crate) fn expect_nothing(&self) {
        assert_eq!(self.0.try_recv().ok(), None);
    }
}

/// A handler or hook that only writes something down.
pub(crate) fn noting<T: 'static>(
    pen: &Pen,
    what: &'static str,
) -> impl Fn(T) -> Ready<()> + Clone + Send + Sync + 'static {
    let pen = pen.clone();
    move |_| {
        pen.note(what);
        ready(())
    }
}

/// What handlers wait at, without holding their shard.
#[derive(Clone)]
pub(crate) struct Latch(Arc<Semaphore>);

impl Latch {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets one handler pass.
    pub(crate) fn open(&self) {
        self.0.add_permits(1);
    }

    pub(crate) async fn pass(&self) {
        let permit = self.0.acquire().await;
        permit.expect("never closed").forget();
    }
}

/// What a handler waits for while it holds its shard.
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

/// Releases a hold when its test ends, however it does.
pub(crate) struct ReleaseOnDrop(pub(crate) Hold);

/// Writes down that it was dropped.
pub(crate) struct Noted(pub(crate) &'static str, pub(crate) Pen);

impl Drop for Noted {
    fn drop(&mut self) {
        self.1.note(self.0);
    }
}

/// Publishes to a channel when it is dropped.
pub(crate) struct LastWords {
    pub(crate) route: RouteHandle,
    pub(crate) channel: &'static str,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        let message = Message::text("last", "words");
        drop(self.route.publish(self.channel, message));
    }
}

/// The id that a client was told.
#[track_caller]
pub(crate) fn id(text: &str) -> PublicId {
    text.parse().expect("a public id")
}

/// Stops a gateway whose clients are gone, or at least no longer wait for anything.
#[track_caller]
pub(crate) fn stop(gateway: Gateway) -> Counters {
    in_time(move || gateway.stop(PATIENCE))
}

/// What comes of something, which is waited for as a thread does that may block.
#[track_caller]
pub(crate) fn done<T: Send + 'static>(pending: Pending<T>) -> Result<T, HandleError> {
    in_time(move || pending.wait())
}

/// What every shard has looked up.
#[track_caller]
pub(crate) fn all<T: Send + 'static>(gathered: Gathered<T>) -> Vec<T> {
    in_time(move || gathered.wait()).expect("the gateway runs")
}

/// Does something that ends in time unless something is broken.
#[track_caller]
pub(crate) fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    let thread = std::thread::Builder::new().name("in time".to_owned());
    let spawned = thread.spawn(move || {
        // Whoever has given up waiting needs it no more.
        drop(sender.send(work()));
    });
    spawned.expect("a thread");
    receiver.recv_timeout(PATIENCE).expect("it ends in time")
}

/// With two shards, the odds that none of so many connections is on one of them are 1 to 2^255.
const CONNECTS_MAX: usize = 256;
