//! Tests of the heartbeat of `wsrv` in real time: only messages keep a session open.

use crate::GATEWAY;
use campanile_tests::client::{open, read_text};
use tungstenite::{Bytes, Message};

/// Neither the client's pongs nor its pings count; otherwise the session would stay open forever.
#[test]
fn a_session_of_wsrv_that_only_pings_is_closed() {
    let process = GATEWAY.start(Some(CONFIG));
    let mut client = open(process.address, "/ws");
    let mut pings_count = 0;
    let end = loop {
        match client.read().expect("something comes") {
            Message::Ping(_) => {
                pings_count += 1;
                assert!(pings_count <= PINGS_MAX, "it is not closed");
                // The client's pong is sent along.
                let ping = Message::Ping(Bytes::from_static(b"here"));
                client.send(ping).expect("the gateway reads");
            }
            Message::Pong(payload) => assert_eq!(payload, "here"),
            end @ (Message::Text(_)
            | Message::Binary(_)
            | Message::Close(_)
            | Message::Frame(_)) => break end,
        }
    };
    let Message::Close(Some(frame)) = end else {
        panic!("{end:?}");
    };
    assert_eq!(u16::from(frame.code), 1001);
    assert_eq!(frame.reason, "idle timeout");
    drop(client);
    let log = process.stop().log;
    assert!(log.contains(r#""idle_timeout": 1"#), "{log}");
}

/// The pings that the client answers with empty messages take longer than the idle timeout, so the
/// messages must have counted.
#[test]
fn a_session_of_wsrv_that_sends_messages_stays() {
    let process = GATEWAY.start(Some(CONFIG));
    let mut client = open(process.address, "/ws");
    for index in 0..6 {
        let message = client.read().expect("a ping comes");
        assert!(message.is_ping(), "{message:?}");
        let heartbeat = match index % 2 {
            0 => Message::text(""),
            _ => Message::binary(Bytes::new()),
        };
        client.send(heartbeat).expect("the gateway reads");
    }
    let request = Message::text(r#"{"cmd":"c","seqno":"s"}"#);
    client.send(request).expect("the gateway reads");
    assert_eq!(
        read_text(&mut client),
        r#"{"cmd":"c","seqno":"s","status":-1,"msg":"not implement","data":{}}"#
    );
}

const CONFIG: &str = "[[routes]]\npath = '/ws'\ndialect = 'wsrv'\n\
    ping_interval_ms = 200\nidle_timeout_ms = 1000";
const PINGS_MAX: u32 = 30;
