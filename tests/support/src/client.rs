//! A WebSocket client that is not ours: tungstenite, over a socket whose reads time out.

use crate::net::{connect, patient};
use std::net::{SocketAddr, TcpStream};
use tungstenite::{Bytes, ClientRequestBuilder, Message, WebSocket};

/// A session.
pub type Client = WebSocket<TcpStream>;

/// A session on `path`.
#[track_caller]
pub fn open(address: SocketAddr, path: &str) -> Client {
    open_with(address, path, &[])
}

/// A session on `path`, asked for with headers.
#[track_caller]
pub fn open_with(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Client {
    try_open(connect(address), path, headers).expect("the upgrade is granted")
}

/// A session on `path` over a socket; an error is what else was answered.
pub fn open_on(socket: TcpStream, path: &str) -> Result<Client, String> {
    try_open(socket, path, &[])
}

/// A session on `path` over a socket, asked for with headers; an error is what else was answered.
pub fn try_open(socket: TcpStream, path: &str, headers: &[(&str, &str)]) -> Result<Client, String> {
    let address = socket.peer_addr().expect("connected");
    let url = format!("ws://{address}{path}");
    let mut request = ClientRequestBuilder::new(url.parse().expect("a plain URL"));
    for &(name, value) in headers {
        // It fails on a subprotocol of the response that it does not know that it offered.
        request = if name.eq_ignore_ascii_case("sec-websocket-protocol") {
            request.with_sub_protocol(value)
        } else {
            request.with_header(name, value)
        };
    }
    socket.set_nodelay(true).expect("a TCP socket");
    let opened = tungstenite::client(request, patient(socket));
    opened
        .map(|(client, _)| client)
        .map_err(|error| error.to_string())
}

/// A session on `/ws` that speaks for a user.
#[track_caller]
pub fn open_as(address: SocketAddr, token: &str, event: &str) -> Client {
    let mut client = open(address, "/ws");
    register(&mut client, token, event);
    client
}

/// Registers, and waits until the gateway has acted on it.
#[track_caller]
pub fn register(client: &mut Client, token: &str, event: &str) {
    let text = format!(r#"{{"token":"{token}","event":"{event}"}}"#);
    client.send(Message::text(text)).expect("the gateway reads");
    expect_no_message(client);
}

/// Shows that nothing has come: the next thing is the answer to a ping.
#[track_caller]
pub fn expect_no_message(client: &mut Client) {
    let payload = Bytes::from_static(b"settle");
    let ping = Message::Ping(payload.clone());
    client.send(ping).expect("the gateway reads");
    let answer = client.read().expect("an answer comes");
    assert_eq!(answer, Message::Pong(payload));
}

/// The next message, a text.
#[track_caller]
pub fn read_text(client: &mut Client) -> String {
    let message = client.read().expect("a message comes");
    let Message::Text(text) = message else {
        panic!("{message:?}");
    };
    text.to_string()
}

/// The next frame is a close frame: its code and reason.
#[track_caller]
pub fn closing(client: &mut Client) -> (u16, String) {
    let frame = client.read().expect("a frame comes");
    let Message::Close(Some(close)) = frame else {
        panic!("{frame:?}");
    };
    (close.code.into(), close.reason.to_string())
}

/// Whether a ping is answered; if not, the session is closed because the gateway stops.
#[track_caller]
pub fn is_open(client: &mut Client) -> bool {
    let payload = Bytes::from_static(b"there?");
    // It may just have been closed.
    drop(client.send(Message::Ping(payload.clone())));
    let frame = client.read().expect("a frame comes");
    if let Message::Close(close) = &frame {
        assert_eq!(close.as_ref().map(|it| u16::from(it.code)), Some(1001));
        return false;
    }
    assert_eq!(frame, Message::Pong(payload));
    true
}
