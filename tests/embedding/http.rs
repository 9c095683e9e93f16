//! Tests of an embedder's HTTP service beside the gateway's own paths.

use crate::client_messages::{wsrv_request, wsrv_response};
use crate::fixture::{Client, Latch, ask_to_upgrade, config, event_log, get, in_time, post, stop};
use campanile::{Builder, Context, Gateway, Reply, Setup};
use campanile_tests::PATIENCE;
use campanile_tests::http::{Response as HttpResponse, take_chunk};
use campanile_tests::net::connect;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::{Request, Response};
use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, Ready};
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

fn text(status: u16, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status);
    response.body(Full::new(text.into())).expect("a response")
}

/// Starts a gateway with one shard and an HTTP service.
fn serving<F, Fut, B>(service: F) -> Gateway
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: Body<Data = Bytes, Error = Infallible> + 'static,
{
    let builder = Gateway::builder(config(1)).shard(move |setup| {
        setup.http(service.clone());
    });
    with_ok(builder).start().expect("it starts")
}

fn with_ok(builder: Builder) -> Builder {
    let ok = async |_: Context| Reply::ok();
    builder.route("/wsrv").handle("c", ok).done()
}

/// Asserts that sessions are served.
#[track_caller]
fn expect_sessions(gateway: &Gateway) {
    let mut client = Client::open(gateway.local_addr(), "/wsrv");
    client.send(&wsrv_request("c", "1", "{}"));
    assert_eq!(client.receive(), wsrv_response("c", "1", 0, "ok", "{}"));
    client.leave();
}

#[test]
fn without_a_service_other_paths_get_404() {
    let gateway = Gateway::builder(config(1)).start().expect("it starts");
    let nothing = get(&mut connect(gateway.local_addr()), "/other");
    let expected = (404, "404 page not found\n");
    assert_eq!(nothing.status_and_body(), expected);
    stop(gateway);
}

#[test]
fn a_service_gets_requests_for_other_paths() {
    let gateway = serving(async |request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let header = head.headers.get("x-test").cloned();
        let body = body
            .collect()
            .await
            .expect("the client sends it")
            .to_bytes();
        let description = format!("{} {} {header:?} {body:?}", head.method, head.uri);
        Ok::<_, Infallible>(text(201, description))
    });
    let address = gateway.local_addr();
    let answer = post(address, "/any/path?q=1", &[("X-Test", "yes")], "a body");
    let expected = r#"POST /any/path?q=1 Some("yes") b"a body""#;
    assert_eq!((answer.status, answer.body.as_str()), (201, expected));
    let length = expected.len().to_string();
    assert_eq!(
        answer.header("content-length"),
        Some(&*length),
        "it is known"
    );
    // Several requests on one connection, and then an upgrade.
    let mut socket = connect(address);
    for path in ["/a", "/b", "/"] {
        let answer = get(&mut socket, path);
        assert_eq!(answer.body, format!(r#"GET {path} None b"""#));
    }
    let client = Client::upgrade(socket, "/wsrv", &[]);
    client.expect("the upgrade is granted").leave();
    // The service does not get requests for paths of the gateway.
    assert_eq!(get(&mut connect(address), "/wsrv").status, 400);
    assert_eq!(post(address, "/push", &[], "x").status, 400);
    assert_eq!(get(&mut connect(address), "/push").status, 405);
    // An upgrade request for no route goes to the service like any other request.
    let mut socket = connect(address);
    ask_to_upgrade(&mut socket, "/nowhere", &[]);
    assert_eq!(HttpResponse::take(&socket).status, 201);
    drop(socket);
    expect_sessions(&gateway);
    stop(gateway);
}

#[test]
fn a_service_may_have_local_state_and_wait() {
    let (recorder, event_log) = event_log();
    let latch = Latch::new();
    let service_latch = latch.clone();
    let gateway = Gateway::builder(config(1)).shard(move |setup: &mut Setup| {
        let count = Rc::new(Cell::new(0));
        let (recorder, latch) = (recorder.clone(), service_latch.clone());
        setup.http(move |request: Request<Incoming>| {
            let (count, recorder, latch) = (Rc::clone(&count), recorder.clone(), latch.clone());
            async move {
                if request.uri().path() == "/slow" {
                    recorder.note("waits");
                    latch.pass().await;
                }
                count.set(count.get() + 1);
                Ok::<_, Infallible>(text(200, count.get().to_string()))
            }
        });
    });
    let gateway = with_ok(gateway).start().expect("it starts");
    let address = gateway.local_addr();
    let mut slow = connect(address);
    let request = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n";
    slow.write_all(request).expect("the gateway reads");
    event_log.expect(&["waits"]);
    assert_eq!(get(&mut connect(address), "/").body, "1");
    expect_sessions(&gateway);
    latch.open();
    assert_eq!(HttpResponse::take(&slow).body, "2");
    // A client that does not wait for the response affects no other.
    slow.write_all(request).expect("the gateway reads");
    event_log.expect(&["waits"]);
    drop(slow);
    latch.open();
    expect_sessions(&gateway);
    stop(gateway);
}

/// A body of pieces that arrive one by one.
struct Pieces(UnboundedReceiver<&'static str>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.0.poll_recv(cx);
        piece.map(|piece| Some(Ok(Frame::data(piece?.into()))))
    }
}

#[test]
fn bodies_are_streamed_in_both_directions() {
    let (pieces, made) = unbounded_channel();
    let made = std::sync::Arc::new(tokio::sync::Mutex::new(Some(made)));
    let (recorder, event_log) = event_log();
    let gateway = Gateway::builder(config(1)).shard(move |setup| {
        let (made, recorder) = (std::sync::Arc::clone(&made), recorder.clone());
        setup.http(move |request: Request<Incoming>| {
            let (made, recorder) = (std::sync::Arc::clone(&made), recorder.clone());
            async move {
                let mut body = request.into_body();
                while let Some(frame) = body.frame().await {
                    let data = frame.expect("it comes").into_data().expect("data");
                    recorder.note(String::from_utf8_lossy(&data));
                }
                let made = made.lock().await.take().expect("called once");
                Ok::<_, Infallible>(Response::new(Pieces(made)))
            }
        });
    });
    let gateway = with_ok(gateway).start().expect("it starts");
    let mut socket = connect(gateway.local_addr());
    let head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n";
    socket.write_all(head).expect("the gateway reads");
    for piece in ["one", "two"] {
        socket.write_all(piece.as_bytes()).expect("it reads");
        event_log.expect(&[piece]);
    }
    let mut head = String::new();
    pieces.send("three").expect("it is read");
    while !head.ends_with("\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("a head comes");
        head.push(char::from(byte[0]));
    }
    assert!(
        head.to_ascii_lowercase()
            .contains("transfer-encoding: chunked"),
        "{head}"
    );
    assert_eq!(take_chunk(&socket), b"three");
    pieces.send("four").expect("it is read");
    assert_eq!(take_chunk(&socket), b"four");
    expect_sessions(&gateway);
    drop(pieces);
    assert_eq!(take_chunk(&socket), b"");
    drop(socket);
    stop(gateway);
}

/// While a response is sent, hyper holds the bytes after its request, so later bytes must not be
/// parsed as the start of another request.
#[test]
fn bytes_that_arrive_during_a_response_are_parsed_in_order() {
    let (pieces, made) = unbounded_channel();
    let made = std::sync::Arc::new(tokio::sync::Mutex::new(Some(made)));
    let gateway = serving(move |request: Request<Incoming>| {
        let made = std::sync::Arc::clone(&made);
        async move {
            let body = request.into_body().collect().await.expect("it comes");
            Ok::<_, Infallible>(match made.lock().await.take() {
                Some(made) => Response::new(Pieces(made).boxed_unsync()),
                None => text(200, body.to_bytes()).map(Full::boxed_unsync),
            })
        }
    });
    let mut socket = connect(gateway.local_addr());
    let chunked = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
        0\r\n\r\n";
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n";
    socket
        .write_all(format!("{chunked}{head}").as_bytes())
        .expect("the gateway reads");
    pieces.send("one").expect("it is read");
    let mut seen = String::new();
    while !seen.ends_with("\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("a head comes");
        seen.push(char::from(byte[0]));
    }
    assert_eq!(take_chunk(&socket), b"one");
    // This looks like an incomplete head.
    socket.write_all(b"HELLO").expect("the gateway reads");
    expect_sessions(&gateway);
    drop(pieces);
    assert_eq!(take_chunk(&socket), b"");
    assert_eq!(HttpResponse::take(&socket).body, "HELLO");
    drop(socket);
    stop(gateway);
}

#[test]
fn a_large_body_waits_for_its_reader() {
    const LEN: usize = 8 << 20;
    let gateway = serving(async |request: Request<Incoming>| {
        let sent = request.into_body().collect().await.expect("it comes");
        Ok::<_, Infallible>(text(200, sent.to_bytes()))
    });
    let address = gateway.local_addr();
    let body = "0123456789abcdef".repeat(LEN / 16);
    let socket = connect(address);
    let mut sending = socket.try_clone().expect("a descriptor");
    let sent = body.clone();
    let writer = std::thread::Builder::new().spawn(move || {
        let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LEN}\r\n\r\n");
        sending.write_all(head.as_bytes()).expect("it reads");
        sending.write_all(sent.as_bytes()).expect("it reads");
    });
    writer.expect("a thread").join().expect("it is all sent");
    // The client does not read yet; others are served.
    expect_sessions(&gateway);
    let answer = HttpResponse::take(&socket);
    assert!(answer.body == body, "every octet in its place");
    drop(socket);
    stop(gateway);
}

/// A body that panics when one of its methods is called.
struct Panicking(&'static str);

impl Panicking {
    fn at(&self, method: &str) {
        assert_ne!(self.0, method, "on purpose");
    }
}

impl Body for Panicking {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.at("poll_frame");
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.at("is_end_stream");
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.at("size_hint");
        SizeHint::default()
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        self.at("drop");
    }
}

#[test]
fn a_failing_service_responds_with_500() {
    let gateway = Gateway::builder(config(1)).shard(|setup| {
        setup.http(|request: Request<Incoming>| {
            let path = request.uri().path().to_owned();
            assert_ne!(path, "/at-once", "on purpose");
            async move {
                tokio::task::yield_now().await;
                match path.as_str() {
                    "/error" => Err(std::io::Error::other("it broke")),
                    "/later" => panic!("on purpose"),
                    _ => Ok(text(200, "fine")),
                }
            }
        });
    });
    let gateway = with_ok(gateway).start().expect("it starts");
    let mut socket = connect(gateway.local_addr());
    for path in ["/at-once", "/later", "/error"] {
        let answer = get(&mut socket, path);
        let expected = (500, "internal error");
        assert_eq!((answer.status, answer.body.as_str()), expected, "{path}");
    }
    assert_eq!(get(&mut socket, "/").body, "fine");
    drop(socket);
    expect_sessions(&gateway);
    stop(gateway);
}

#[test]
fn a_panicking_body_ends_only_its_connection() {
    let gateway = serving(
        |request: Request<Incoming>| -> Ready<Result<_, Infallible>> {
            let method = match request.uri().path() {
                "/poll_frame" => "poll_frame",
                "/is_end_stream" => "is_end_stream",
                "/size_hint" => "size_hint",
                "/drop" => "drop",
                _ => "none",
            };
            std::future::ready(Ok(Response::new(Panicking(method))))
        },
    );
    let address = gateway.local_addr();
    for path in ["/poll_frame", "/is_end_stream", "/size_hint", "/drop", "/"] {
        let mut socket = connect(address);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n\
            "
        );
        socket.write_all(request.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        // The connection ends, whether or not bytes were sent before.
        drop(socket.read_to_end(&mut answer));
        drop(socket.shutdown(Shutdown::Both));
        expect_sessions(&gateway);
    }
    stop(gateway);
}

#[test]
fn a_stop_waits_for_requests_in_progress() {
    let (recorder, event_log) = event_log();
    let latch = Latch::new();
    let service_latch = latch.clone();
    let gateway = Gateway::builder(config(1)).shard(move |setup| {
        let (recorder, latch) = (recorder.clone(), service_latch.clone());
        setup.http(move |_: Request<Incoming>| {
            let (recorder, latch) = (recorder.clone(), latch.clone());
            async move {
                recorder.note("at work");
                latch.pass().await;
                Ok::<_, Infallible>(text(200, "done"))
            }
        });
    });
    let gateway = gateway.start().expect("it starts");
    let (address, route) = (gateway.local_addr(), gateway.route("/wsrv"));
    let mut socket = connect(address);
    socket
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("it reads");
    event_log.expect(&["at work"]);
    let mut session = Client::open(address, "/wsrv");
    let stopping = std::thread::Builder::new().spawn(move || gateway.stop(PATIENCE));
    let stopping = stopping.expect("a thread");
    // The stop has begun.
    assert_eq!(session.closing().0, 1001);
    session.end();
    latch.open();
    assert_eq!(HttpResponse::take(&socket).body, "done");
    drop((socket, route));
    in_time(move || stopping.join().expect("it stops"));
}

#[test]
fn a_playground_serves_a_page_for_its_route() {
    let gateway = Gateway::builder(config(1)).playground("/play", "/wsrv");
    let gateway = with_ok(gateway).start().expect("it starts");
    let page = get(&mut connect(gateway.local_addr()), "/play");
    assert_eq!(page.status, 200);
    assert!(page.body.starts_with("<!doctype html>"), "{}", page.body);
    assert!(page.body.contains("/wsrv"), "{}", page.body);
    assert_eq!(post(gateway.local_addr(), "/play", &[], "").status, 405);
    stop(gateway);
}
