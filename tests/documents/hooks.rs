//! Tests of the requests and responses in docs/hooks.md with a gateway that has its config.

use super::blocks::{Block, Kind};
use super::shell::ports_of;
use super::{GATEWAY, PATIENCE};
use campanile_tests::backend::respond;
use campanile_tests::client::{self, Client};
use serde_json::{Deserializer, Value, json};
use std::sync::mpsc::{Receiver, channel};

#[test]
fn hooks_match_the_documented_requests_and_responses() {
    let blocks = super::of_kind(|kind| matches!(kind, Kind::Config | Kind::Json));
    let blocks: Vec<&Block> = blocks
        .iter()
        .filter(|it| it.document == "docs/hooks.md")
        .collect();
    let [config, open, answers, message] = &blocks[..] else {
        panic!("a config, a question, answers and another question, not {blocks:?}");
    };
    let admit = values(&answers.text).swap_remove(0);

    // The backend has no actions for messages.
    let (asked, questions) = channel();
    let backend = respond(move |request| {
        let question = request.json();
        let is_open = question["hook"] == "open";
        // The receiver is gone after the test's end.
        drop(asked.send(question));
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
            panic!("{}: one question", block.place);
        };
        assert_eq!(shape(&next(&questions)), shape(written), "{}", block.place);
    };
    expect(open);
    let welcome = read_message(&mut session);
    assert_eq!(
        (&welcome["cmd"], &welcome["data"]),
        (&json!("welcome"), &json!("hi"))
    );
    let ask = r#"{"cmd":"buy","seqno":"17","data":{"item":3}}"#;
    session.send(ask.into()).expect("it is open");
    expect(message);
}

/// Parses the values of a JSON block.
fn values(text: &str) -> Vec<Value> {
    let values = Deserializer::from_str(text).into_iter();
    values
        .map(|value| value.expect("tested by another"))
        .collect()
}

/// Returns a request with fixed values for members that vary or depend on the client.
fn shape(question: &Value) -> Value {
    let mut question = question.clone();
    for id in ["/id", "/session/id"] {
        if let Some(id) = question.pointer_mut(id) {
            *id = json!("an id");
        }
    }
    for of_client in ["/request/headers", "/token"] {
        if let Some(value) = question.pointer_mut(of_client) {
            *value = json!("of the client");
        }
    }
    question
}

fn next(questions: &Receiver<Value>) -> Value {
    questions.recv_timeout(PATIENCE).expect("a question comes")
}

fn read_message(session: &mut Client) -> Value {
    let bytes = session.read().expect("a message comes").into_data();
    serde_json::from_slice(&bytes).expect("it is JSON")
}
