//! A WebSocket client that is not ours: tungstenite, over a socket whose reads time out.

use crate::process::PATIENCE;
use std::net::{SocketAddr, TcpStream};
use tungstenite::{Bytes, Message, WebSocket};

pub(crate) type Client = WebSocket<TcpStream>;

/// A session on `path`.
#[track_caller]
pub(crate) fn open(address: SocketAddr, path: &str) -> Client {
    let socket = TcpStream::connect(address).expect("the gateway listens");
    open_on(socket, path).expect("the upgrade is granted")
}

/// A session on `path` over a socket; an error is what else was answered.
pub(crate) fn open_on(socket: TcpStream, path: &str) -> Result<Client, String> {
    let address = socket.peer_addr().expect("connected");
    socket.set_nodelay(true).expect("a TCP socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    socket.set_write_timeout(Some(PATIENCE)).expect("not zero");
    let opened = tungstenite::client(format!("ws://{address}{path}"), socket);
    opened
        .map(|(client, _)| client)
        .map_err(|error| error.to_string())
}

/// A session on `/ws` that speaks for a user.
#[track_caller]
pub(crate) fn open_as(address: SocketAddr, token: &str, event: &str) -> Client {
    let mut client = open(address, "/ws");
    register(&mut client, token, event);
    client
}

/// Registers, and waits until the gateway has acted on it.
#[track_caller]
pub(crate) fn register(client: &mut Client, token: &str, event: &str) {
    let text = format!(r#"{{"token":"{token}","event":"{event}"}}"#);
    client.send(Message::text(text)).expect("the gateway reads");
    settle(client);
}

/// Shows that nothing has come: the next thing is the answer to a ping.
#[track_caller]
pub(crate) fn settle(client: &mut Client) {
    let payload = Bytes::from_static(b"settle");
    let ping = Message::Ping(payload.clone());
    client.send(ping).expect("the gateway reads");
    let answer = client.read().expect("an answer comes");
    assert_eq!(answer, Message::Pong(payload));
}

/// The next message, a text.
#[track_caller]
pub(crate) fn read_text(client: &mut Client) -> String {
    let message = client.read().expect("a message comes");
    let Message::Text(text) = message else {
        panic!("{message:?}");
    };
    text.to_string()
}
