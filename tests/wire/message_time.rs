//! Tests of the message timeout in real time with a client that sends single bytes.

use super::{MASK, read_close};
use crate::GATEWAY;
use campanile_tests::client::{expect_no_message, open};
use campanile_tests::frame::masked;
use std::io::Write as _;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;
use tungstenite::{Bytes, Message};

/// A fragment, a ping, and the rest byte by byte: each byte is input, so no other timeout fires.
#[test]
fn a_message_that_exceeds_its_timeout_closes_the_session() {
    for shards in [1, 2] {
        let config = "heartbeat.message_timeout_ms = 300";
        let process = GATEWAY.start_on(shards, Some(config));
        let mut client = open(process.address, "/ws");
        let mut beside = open(process.address, "/ws");
        let mut beginning = masked(0x01, b"{", MASK);
        beginning.extend(masked(0x89, b"still here", MASK));
        // The head of a final continuation frame with the largest 16-bit length.
        beginning.extend([0x80, 0xfe, 0xff, 0xff, 0, 0, 0, 0]);
        let mut socket = client.get_ref().try_clone().expect("a descriptor is left");
        let (enough, is_enough) = channel::<()>();
        let trickle = thread::Builder::new()
            .name("trickle".to_owned())
            .spawn(move || {
                socket.write_all(&beginning).expect("the gateway reads");
                while is_enough.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                    // The gateway may have ended the connection.
                    if socket.write_all(b" ").is_err() {
                        break;
                    }
                }
            })
            .expect("a thread starts");
        let pong = client.read().expect("a pong comes");
        assert_eq!(pong, Message::Pong(Bytes::from_static(b"still here")));
        let expected = (1008, "message timeout".to_owned());
        assert_eq!(read_close(&mut client), expected);
        drop(enough);
        trickle.join().expect("it ends well");
        expect_no_message(&mut beside);
        drop((client, beside));
        let log = process.stop().log;
        assert!(log.contains(r#""message_timeout": 1"#), "{log}");
    }
}

/// The pause between two bytes. A message of 65,535 bytes would take an hour.
const PAUSE: Duration = Duration::from_millis(50);
