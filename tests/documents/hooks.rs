//! What docs/hooks.md says of questions and answers, held against a gateway with its config.

use super::blocks::{Block, Kind};
use super::shell::{ports_of, until_ok};
use super::{PATIENCE, Running};
use serde_json::{Deserializer, Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

#[test]
fn hooks_ask_and_take_what_is_written() {
    let blocks = super::of_kind(|kind| matches!(kind, Kind::Config | Kind::Json));
    let blocks: Vec<&Block> = blocks
        .iter()
        .filter(|it| it.document == "docs/hooks.md")
        .collect();
    let [config, open, answers, message] = &blocks[..] else {
        panic!("a config, a question, answers and another question, not {blocks:?}");
    };
    let admit = values(&answers.text).swap_remove(0);

    let backend = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (asked, questions) = channel();
    let [(at, port)] = ports_of(&config.text)[..] else {
        panic!("one backend: {}", config.text);
    };
    let mut text = config.text.clone();
    let ours = backend.local_addr().expect("bound").port();
    text.replace_range(at..at + port.to_string().len(), &ours.to_string());
    let thread = thread::Builder::new().name("backend".to_owned());
    thread
        .spawn(move || serve(&backend, &admit, &asked))
        .expect("a thread");

    let (mut session, _gateway) = connect(&text);
    let expect = |block: &Block| {
        let [written] = &values(&block.text)[..] else {
            panic!("{}: one question", block.place);
        };
        assert_eq!(shape(&next(&questions)), shape(written), "{}", block.place);
    };
    expect(open);
    let welcome = hear(&mut session);
    assert_eq!(
        (&welcome["cmd"], &welcome["data"]),
        (&json!("welcome"), &json!("hi"))
    );
    let ask = r#"{"cmd":"buy","seqno":"17","data":{"item":3}}"#;
    session.send(ask.into()).expect("it is open");
    expect(message);
}

/// The values of a JSON block.
fn values(text: &str) -> Vec<Value> {
    let values = Deserializer::from_str(text).into_iter();
    values
        .map(|value| value.expect("tested by another"))
        .collect()
}

/// A question without what differs each time, or depends on the client.
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

type Session = tungstenite::WebSocket<TcpStream>;

/// A gateway with this config, and a session on it.
fn connect(config: &str) -> (Session, Running) {
    let held = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address: SocketAddr = held.local_addr().expect("bound");
    drop(held);
    let path = format!("{}/documents-hooks.toml", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&path, config).expect("cargo made the folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_campanile"));
    command.args([
        "--shards",
        "1",
        "--listen",
        &address.to_string(),
        "--config",
        &path,
    ]);
    let gateway = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let gateway = Running(gateway.expect("the program can be executed"));
    let mut session = None;
    let connected = until_ok(PATIENCE, || {
        let socket = TcpStream::connect(address).map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let url = format!("ws://{address}/wsrv?token=abc");
        let opened = tungstenite::client(url, socket).map_err(|error| error.to_string())?;
        session = Some(opened.0);
        Ok(())
    });
    assert_eq!(connected, Ok(()));
    (session.expect("just opened"), gateway)
}

fn hear(session: &mut Session) -> Value {
    let bytes = session.read().expect("a message comes").into_data();
    serde_json::from_slice(&bytes).expect("it is JSON")
}

/// A backend that admits everybody like this and has nothing to say to messages. A connection is
/// for one question.
fn serve(listener: &TcpListener, admit: &Value, asked: &Sender<Value>) {
    for socket in listener.incoming() {
        let mut socket = socket.expect("a connection");
        let mut reader = BufReader::new(socket.try_clone().expect("a descriptor"));
        let (mut line, mut body_bytes) = (String::new(), 0);
        while reader.read_line(&mut line).is_ok_and(|len| len > 2) {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                body_bytes = value.trim().parse().expect("a number");
            }
            line.clear();
        }
        let mut body = vec![0; body_bytes];
        reader.read_exact(&mut body).expect("a whole body");
        let question: Value = serde_json::from_slice(&body).expect("a question is JSON");
        let answer = if question["hook"] == "open" {
            admit.to_string()
        } else {
            "{}".to_owned()
        };
        let len = answer.len();
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n");
        socket
            .write_all((head + &answer).as_bytes())
            .expect("it is read");
        if asked.send(question).is_err() {
            return; // the test is over
        }
    }
}
