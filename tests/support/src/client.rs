//! A third-party WebSocket client: tungstenite, on a socket with read timeouts.

use crate::net::{connect, with_timeouts};
use std::net::{SocketAddr, TcpStream};
use tungstenite::{Bytes, ClientRequestBuilder, Message, WebSocket};

/// A client's session.
pub type Client = WebSocket<TcpStream>;

/// Opens a session on `path`.
#[track_caller]
pub fn open(address: SocketAddr, path: &str) -> Client {
    open_with(address, path, &[])
}

/// Opens a session on `path` with headers.
#[track_caller]
pub fn open_with(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Client {
    try_open(connect(address), path, headers).expect("the upgrade is granted")
}

/// Opens a session on `path` over a socket.
///
/// # Errors
///
/// A description of the response that rejects it.
pub fn open_on(socket: TcpStream, path: &str) -> Result<Client, String> {
    try_open(socket, path, &[])
}

/// Opens a session on `path` over a socket with headers.
///
/// # Errors
///
/// A description of the response that rejects it.
pub fn try_open(socket: TcpStream, path: &str, headers: &[(&str, &str)]) -> Result<Client, String> {
    let address = socket.peer_addr().expect("connected");
    let url = format!("ws://{address}{path}");
    let mut request = ClientRequestBuilder::new(url.parse().expect("a plain URL"));
    for &(name, value) in headers {
        // tungstenite only accepts subprotocols that were set by this method.
        request = if name.eq_ignore_ascii_case("sec-websocket-protocol") {
            request.with_sub_protocol(value)
        } else {
            request.with_header(name, value)
        };
    }
    socket.set_nodelay(true).expect("a TCP socket");
    let opened = tungstenite::client(request, with_timeouts(socket));
    opened
        .map(|(client, _)| client)
        .map_err(|error| error.to_string())
}

/// Opens a session on `/ws` that is bound to a user.
#[track_caller]
pub fn open_as(address: SocketAddr, token: &str, event: &str) -> Client {
    let mut client = open(address, "/ws");
    register(&mut client, token, event);
    client
}

/// Sends a registration and waits until the gateway has handled it.
#[track_caller]
pub fn register(client: &mut Client, token: &str, event: &str) {
    let text = format!(r#"{{"token":"{token}","event":"{event}"}}"#);
    client.send(Message::text(text)).expect("the gateway reads");
    expect_no_message(client);
}

/// Sends a ping and asserts that the next frame is its pong: no message is pending.
#[track_caller]
pub fn expect_no_message(client: &mut Client) {
    let payload = Bytes::from_static(b"settle");
    let ping = Message::Ping(payload.clone());
    client.send(ping).expect("the gateway reads");
    let answer = client.read().expect("an answer comes");
    assert_eq!(answer, Message::Pong(payload));
}

/// Returns the next message, which must be text.
#[track_caller]
pub fn read_text(client: &mut Client) -> String {
    let message = client.read().expect("a message comes");
    let Message::Text(text) = message else {
        panic!("{message:?}");
    };
    text.to_string()
}

/// Returns code and reason of the next frame, which must be a close frame.
#[track_caller]
pub fn closing(client: &mut Client) -> (u16, String) {
    let frame = client.read().expect("a frame comes");
    let Message::Close(Some(close)) = frame else {
        panic!("{frame:?}");
    };
    (close.code.into(), close.reason.to_string())
}

/// Sends a ping. Returns `false` if the session is closed because the gateway stops.
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
