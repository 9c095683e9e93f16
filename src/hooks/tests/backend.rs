//! A backend for tests, on a thread of its own.
//!
//! The backend passes each request to the test and waits for the response, so that a test can hold
//! any number of requests. Stopping the backend closes all of its connections.

use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// The timeout for steps that take no time unless something is broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A running backend. Dropping it stops it.
pub(super) struct TestBackend {
    pub(super) address: SocketAddr,
    requests: UnboundedReceiver<ReceivedRequest>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A request that waits for its response.
pub(super) struct ReceivedRequest {
    /// The request line and headers.
    pub(super) head: String,
    /// The body.
    pub(super) body: Value,
    /// The number of the connection, from zero.
    pub(super) connection: usize,
    answer: oneshot::Sender<(Vec<u8>, bool)>,
}

impl TestBackend {
    pub(super) fn start() -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Starts a backend with TLS and a certificate of the tests' own authority.
    pub(super) fn start_tls() -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider);
        let config = config
            .with_safe_default_protocol_versions()
            .expect("it has them");
        let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem"));
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key"));
        let certificates = vec![certificate.expect("PEM")];
        let config = config
            .with_no_client_auth()
            .with_single_cert(certificates, key.expect("PEM"))
            .expect("the key is the certificate's");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::start_with(address, Some(TlsAcceptor::from(Arc::new(config))))
    }

    /// Starts a backend on the port of an earlier one.
    pub(super) fn start_at(address: SocketAddr) -> Self {
        Self::start_with(address, None)
    }

    fn start_with(address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let listener = std::net::TcpListener::bind(address).expect("the port is free");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("it listens");
        let (sender, requests) = unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("test-backend".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                serve(listener, tls, sender, stopped).await;
            });
        });
        Self {
            address,
            requests,
            stop: Some(stop),
            thread: Some(thread.expect("a thread")),
        }
    }

    /// Returns the URL for hooks, with TLS.
    pub(super) fn tls_url(&self) -> String {
        self.url().replace("http:", "https:")
    }

    /// Returns the URL for hooks.
    pub(super) fn url(&self) -> String {
        format!("http://{}/hooks?v=1", self.address)
    }

    /// Returns the next request, in async code.
    pub(super) async fn next(&mut self) -> ReceivedRequest {
        let next = tokio::time::timeout(PATIENCE, self.requests.recv()).await;
        next.expect("a request comes").expect("the backend runs")
    }

    /// Returns the next request, on a thread that may block.
    pub(super) fn wait(&mut self) -> ReceivedRequest {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(self.next())
    }

    /// Checks that no further request has come.
    #[track_caller]
    pub(super) fn expect_nothing(&mut self) {
        assert!(self.requests.try_recv().is_err());
    }

    /// Stops the backend and returns its address.
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

impl ReceivedRequest {
    /// Returns the value of a header, by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Returns the kind of the hook.
    pub(super) fn hook(&self) -> &str {
        self.body["hook"].as_str().expect("a hook is named")
    }

    /// Sends a complete response.
    pub(super) fn answer(self, status: u16, body: &str) {
        let len = body.len();
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {len}\r\n\r\n{body}");
        self.write(&text);
    }

    /// Sends a complete response with status 200.
    pub(super) fn ok(self, body: &str) {
        self.answer(200, body);
    }

    /// Writes raw bytes and keeps the connection open.
    pub(super) fn write(self, bytes: &str) {
        // The client may be gone.
        drop(self.answer.send((bytes.as_bytes().to_vec(), true)));
    }

    /// Writes raw bytes and closes the connection.
    pub(super) fn write_and_close(self, bytes: &str) {
        drop(self.answer.send((bytes.as_bytes().to_vec(), false)));
    }
}

/// A plain or TLS connection.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    sender: UnboundedSender<ReceivedRequest>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    for connection in 0.. {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, _) = accepted.expect("descriptors are left");
                let (tls, sender) = (tls.clone(), sender.clone());
                connections.spawn(async move {
                    match tls {
                        None => answer_all(socket, connection, sender).await,
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                answer_all(socket, connection, sender).await;
                            }
                        }
                    }
                });
            }
            _ = &mut stopped => break,
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn answer_all(
    mut socket: impl Stream,
    connection: usize,
    sender: UnboundedSender<ReceivedRequest>,
) {
    while let Some((head, body)) = read_request(&mut socket).await {
        let (answer, answered) = oneshot::channel();
        let request = ReceivedRequest {
            head,
            body: serde_json::from_slice(&body).expect("a hook is JSON"),
            connection,
            answer,
        };
        if sender.send(request).is_err() {
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

/// Reads a request; returns `None` at the end of the connection.
async fn read_request(socket: &mut impl Stream) -> Option<(String, Vec<u8>)> {
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
