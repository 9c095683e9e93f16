//! The requests and responses in docs/hooks.md, against a gateway with the config of that page.

use super::blocks::{Block, Kind};
use super::shell::ports_of;
use super::{GATEWAY, PATIENCE};
use campanile_tests::backend::respond;
use campanile_tests::client::{self, Client};
use serde_json::{Deserializer, Value, json};
use std::sync::mpsc::{Receiver, channel};

#[test]
fn hooks_send_and_accept_what_is_documented() {
    let blocks = super::of_kind(|kind| matches!(kind, Kind::Config | Kind::Json));
    let blocks: Vec<&Block> = blocks
        .iter()
        .filter(|it| it.document == "docs/hooks.md")
        .collect();
    let [config, open, responses, message] = &blocks[..] else {
        panic!("a config, a request, responses and another request, not {blocks:?}");
    };
    let admit = values(&responses.text).swap_remove(0);

    // The backend admits, and does nothing about messages.
    let (sender, requests) = channel();
    let backend = respond(move |request| {
        let hook = request.json();
        let is_open = hook["hook"] == "open";
        // The receiver is gone when the test is over.
        drop(sender.send(hook));
        if is_open {
            admit.to_string()
        } else {
            "{}".to_owned()
        }
    });
    let [(at, port)] = ports_of(&config.text)[..] else {
        panic!("one backend: {}", config.text);
    };
    let mut text = config.text.clone();
    text.replace_range(at..at + port.to_string().len(), &backend.port().to_string());

    let gateway = GATEWAY.start_on(1, Some(&text));
    let mut session = client::open(gateway.address, "/wsrv?token=abc");
    let expect = |block: &Block| {
        let [written] = &values(&block.text)[..] else {
            panic!("{}: one request", block.place);
        };
        assert_eq!(shape(&next(&requests)), shape(written), "{}", block.place);
    };
    expect(open);
    let welcome = next_message(&mut session);
    assert_eq!(
        (&welcome["cmd"], &welcome["data"]),
        (&json!("welcome"), &json!("hi"))
    );
    let buy = r#"{"cmd":"buy","seqno":"17","data":{"item":3}}"#;
    session.send(buy.into()).expect("it is open");
    expect(message);
}

/// Returns the values of a JSON block.
fn values(text: &str) -> Vec<Value> {
    let values = Deserializer::from_str(text).into_iter();
    values
        .map(|value| value.expect("tested by another"))
        .collect()
}

/// Returns a request with fixed values in place of ids and of what depends on the client.
fn shape(request: &Value) -> Value {
    let mut request = request.clone();
    for id in ["/id", "/session/id"] {
        if let Some(id) = request.pointer_mut(id) {
            *id = json!("an id");
        }
    }
    for of_client in ["/request/headers", "/token"] {
        if let Some(value) = request.pointer_mut(of_client) {
            *value = json!("of the client");
        }
    }
    request
}

fn next(requests: &Receiver<Value>) -> Value {
    requests.recv_timeout(PATIENCE).expect("a request arrives")
}

fn next_message(session: &mut Client) -> Value {
    let bytes = session.read().expect("a message comes").into_data();
    serde_json::from_slice(&bytes).expect("it is JSON")
}
