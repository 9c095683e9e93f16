//! Tests of requests that need no handler: joins, leaves, publications and tokens as intents of a
//! dialect, and its greeting.
//!
//! The dialect is in `words.rs`. The rules of a channel apply to intents as to the config's
//! commands: [`rules`] runs both and compares.

mod rules;
mod words;

use campanile::config::{Config, Overrides};
use campanile::handler::{Admission, Joining, RouteSetup};
use campanile::public_id::PublicId;
use campanile::{Builder, Failure, Gateway, Message, Reply, dialect};
use campanile_tests::client::{self, Client, read_text};
use campanile_tests::wait_for;
use campanile_tests::{PATIENCE, client::closing};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Once};
use std::time::Duration;
use tokio::sync::Semaphore;
use tungstenite::Message as Frame;

/// Returns a builder of a gateway with the lines of `text`, on one shard unless they say otherwise.
fn builder(text: &str) -> Builder {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| dialect::add(&words::Words));
    let text = format!("listen = '127.0.0.1:0'\npin = false\n{text}");
    let config = Config::from_toml("f.toml", &text, &Overrides::default());
    Gateway::builder(config.expect("valid"))
}

/// A route without handlers.
const BARE: &str = "shards = 1\n[[routes]]\npath = '/x'\ndialect = 'words'\n";

/// Opens a session and returns its id from the greeting.
#[track_caller]
fn open(address: SocketAddr, path: &str) -> (Client, PublicId) {
    let mut client = client::open(address, path);
    let greeting = read_text(&mut client);
    let mut words = greeting.split(' ');
    assert_eq!(words.next(), Some("hello"), "{greeting}");
    let id = words.next().expect("an id").parse().expect("a UUID");
    (client, id)
}

#[track_caller]
fn send(client: &mut Client, lines: &[&str]) {
    for line in lines {
        client.write(Frame::text(*line)).expect("there is room");
    }
    client.flush().expect("the gateway reads");
}

/// Sends a message and returns the next one, which is its outcome.
#[track_caller]
fn ask(client: &mut Client, line: &str) -> String {
    send(client, &[line]);
    read_text(client)
}

/// Joins a channel without a reply.
#[track_caller]
fn join(client: &mut Client, channel: &str) {
    let joined = ask(client, &format!("join 0 {channel}"));
    assert_eq!(joined, format!("joined 0 {channel} "));
}

/// Stops a gateway without waiting for its clients' close frames.
fn stop(gateway: Gateway) {
    drop(gateway.stop(Duration::ZERO));
}

/// A validator that waits until the test lets it decide.
#[derive(Clone)]
struct Gate {
    begun: std::sync::mpsc::Sender<()>,
    decisions: Arc<Semaphore>,
}

impl Gate {
    fn new() -> (Self, Receiver<()>) {
        let (begun, has_begun) = channel();
        let decisions = Arc::new(Semaphore::new(0));
        (Self { begun, decisions }, has_begun)
    }

    async fn pass(&self) {
        self.begun.send(()).expect("the test waits for it");
        let permit = self.decisions.acquire().await;
        permit.expect("never closed").forget();
    }

    fn open(&self) {
        self.decisions.add_permits(1);
    }
}

/// Returns the setup of a route with a validator of joins or publications that waits.
fn gated(
    gate: &Gate,
    declare: impl Fn(&mut RouteSetup<'_>, Gate) + Send + Sync + 'static,
) -> Builder {
    let gate = gate.clone();
    builder(BARE).shard(move |setup| declare(&mut setup.route("/x"), gate.clone()))
}

fn publishers(route: &mut RouteSetup<'_>, gate: Gate) {
    route.publishers("slow", move |joining: Joining| {
        let gate = gate.clone();
        joining.set_reply(Reply::text("of no use"));
        async move {
            gate.pass().await;
            Ok(())
        }
    });
}

fn joiners(route: &mut RouteSetup<'_>, gate: Gate) {
    route.channel_with("slow", move |joining: Joining| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            joining.set_reply(Reply::text("welcome"));
            Ok(())
        }
    });
}

#[test]
fn a_client_joins_publishes_and_leaves_without_any_handler() {
    let gateway = builder(BARE).start().expect("it starts");
    let address = gateway.local_addr();
    let ((mut ann, id), (mut bob, _)) = (open(address, "/x"), open(address, "/x"));
    join(&mut ann, "room");
    assert_eq!(
        ask(&mut ann, "join 2 room"),
        "denied 2 already on the channel"
    );
    join(&mut bob, "room");
    // The publisher's own copy precedes the outcome.
    assert_eq!(
        ask(&mut ann, "publish 3 room chat a b"),
        format!("event chat {id} a b")
    );
    assert_eq!(read_text(&mut ann), "published 3 room");
    assert_eq!(ask(&mut ann, "tell 4 room chat c"), "published 4 room");
    assert_eq!(read_text(&mut bob), format!("event chat {id} a b"));
    assert_eq!(read_text(&mut bob), format!("event chat {id} c"));

    assert_eq!(ask(&mut ann, "leave 5 room"), "left 5 room");
    assert_eq!(ask(&mut ann, "leave 6 room"), "denied 6 not on the channel");
    assert_eq!(
        ask(&mut ann, "tell 7 room chat d"),
        "denied 7 not on the channel"
    );
    assert_eq!(
        ask(&mut ann, "tell 8  chat d"),
        "denied 8 no channel is named"
    );
    assert_eq!(ask(&mut ann, "tell 9 room bad d"), "failed 9 bad event");
    assert_eq!(ask(&mut ann, "call 10 join room"), "unknown 10 ");
    client::expect_no_message(&mut bob);
    drop((ann, bob));
    let counters = gateway.stop(PATIENCE);
    assert_eq!(counters.rejections.values().sum::<u64>(), 4);
}

#[test]
fn shards_share_what_clients_publish() {
    let gateway = builder(&BARE.replace("shards = 1", "shards = 2"));
    let gateway = gateway.start().expect("it starts");
    let mut clients: Vec<Client> = (0..8).map(|_| open(gateway.local_addr(), "/x").0).collect();
    for client in &mut clients {
        join(client, "room");
    }
    send(&mut clients[0], &["tell 1 room chat hi"]);
    for client in &mut clients[1..] {
        assert!(read_text(client).ends_with(" hi"));
    }
    assert_eq!(read_text(&mut clients[0]), "published 1 room");
    stop(gateway);
}

#[test]
fn a_session_is_greeted_before_anything_else() {
    let on_open = "join_on_open = ['lobby']\nidle_timeout_ms = 12345\n";
    let gateway = builder(&format!("{BARE}{on_open}"))
        .route("/x")
        .admit(async |upgrade: campanile::handler::Upgrade| {
            let user = upgrade.query("user");
            Ok(user.map_or_else(Admission::new, |user| Admission::new().user(user)))
        })
        .on_open(async |session: campanile::Session| {
            let route = session.route();
            let own = route.push_session(session.id(), Message::text("own", "1"));
            own.await.expect("it is open");
            let all = route.publish("lobby", Message::text("all", "2"));
            all.await.expect("it runs");
        })
        .handle("open", async |_: campanile::Context| Reply::text("opened"))
        .start()
        .expect("it starts");
    let route = gateway.route("/x").expect("it is there");
    for user in ["jack", "-"] {
        let path = if user == "-" { "/x" } else { "/x?user=jack" };
        let mut client = client::open(gateway.local_addr(), path);
        let sessions = route.sessions().wait().expect("it runs");
        let id = sessions[0].id;
        let expected = [
            format!("hello {id} {user} 12345"),
            "event own  1".to_owned(),
            "event all  2".to_owned(),
            "reply  opened".to_owned(),
        ];
        for line in expected {
            assert_eq!(read_text(&mut client), line);
        }
        let info = gateway.handle().session(id).wait().expect("it is open");
        assert_eq!(info.statistics.messages_sent, 4, "the greeting counts");
        drop(client);
        wait_for("its end", || {
            route.sessions().wait().expect("it runs").is_empty()
        });
    }
    stop(gateway);
}

#[test]
fn a_join_waits_for_its_validator_and_is_answered_with_its_reply() {
    let (gate, begun) = Gate::new();
    let gateway = gated(&gate, joiners).start().expect("it starts");
    let (mut client, _) = open(gateway.local_addr(), "/x");
    send(
        &mut client,
        &["join 1 slow", "tell 2 slow chat x", "leave 3 slow"],
    );
    begun.recv_timeout(PATIENCE).expect("it is asked");
    gate.open();
    for expected in ["joined 1 slow welcome", "published 2 slow", "left 3 slow"] {
        assert_eq!(read_text(&mut client), expected);
    }
    stop(gateway);
}

#[test]
fn a_publication_waits_for_its_validator_and_later_messages_wait_too() {
    let (gate, begun) = Gate::new();
    let gateway = gated(&gate, publishers).start().expect("it starts");
    let address = gateway.local_addr();
    let ((mut ann, id), (mut bob, _)) = (open(address, "/x"), open(address, "/x"));
    for client in [&mut ann, &mut bob] {
        join(client, "slow");
        join(client, "room");
    }
    send(
        &mut ann,
        &[
            "publish 1 slow chat x",
            "tell 2 room chat y",
            "leave 3 slow",
        ],
    );
    begun.recv_timeout(PATIENCE).expect("it is asked");
    client::expect_no_message(&mut bob);
    gate.open();
    let first = format!("event chat {id} x");
    for expected in [
        &first,
        "published 1 slow",
        "published 2 room",
        "left 3 slow",
    ] {
        assert_eq!(read_text(&mut ann), expected);
    }
    assert_eq!(read_text(&mut bob), first);
    assert_eq!(read_text(&mut bob), format!("event chat {id} y"));
    stop(gateway);
}

#[test]
fn a_session_that_leaves_while_its_publication_waits_is_denied() {
    let (gate, begun) = Gate::new();
    let gateway = gated(&gate, publishers).start().expect("it starts");
    let address = gateway.local_addr();
    let ((mut ann, id), (mut bob, _)) = (open(address, "/x"), open(address, "/x"));
    join(&mut ann, "slow");
    join(&mut bob, "slow");
    send(&mut ann, &["publish 1 slow chat x"]);
    begun.recv_timeout(PATIENCE).expect("it is asked");
    assert_eq!(gateway.handle().leave(id, "slow").wait(), Ok(true));
    gate.open();
    assert_eq!(read_text(&mut ann), "denied 1 not on the channel");
    client::expect_no_message(&mut bob);
    stop(gateway);
}

#[test]
fn what_waits_for_a_validator_is_gone_with_its_session() {
    let declare = |route: &mut RouteSetup<'_>, gate: Gate| {
        publishers(route, gate.clone());
        joiners(route, gate);
    };
    let (gate, begun) = Gate::new();
    let gateway = gated(&gate, declare).start().expect("it starts");
    let route = gateway.route("/x").expect("it is there");
    let (mut bob, bobs) = open(gateway.local_addr(), "/x");
    assert_eq!(route.join(bobs, "slow").wait(), Ok(true));
    for request in ["join 1 slow", "publish 1 slow chat x"] {
        let (mut ann, id) = open(gateway.local_addr(), "/x");
        if request.starts_with("publish") {
            assert_eq!(route.join(id, "slow").wait(), Ok(true));
        }
        send(&mut ann, &[request]);
        begun.recv_timeout(PATIENCE).expect("it is asked");
        route.close(id, 4000, "over").wait().expect("it is open");
        assert_eq!(closing(&mut ann), (4000, "over".to_owned()));
        gate.open();
        drop(ann);
        wait_for("its end", || {
            route.sessions().wait().expect("it runs").len() == 1
        });
        assert_eq!(route.members("slow").wait().expect("it runs").len(), 1);
        client::expect_no_message(&mut bob);
    }
    stop(gateway);
}

#[test]
fn a_client_is_told_whether_its_token_is_valid() {
    let gateway = builder(BARE).start().expect("it starts");
    let route = gateway.route("/x").expect("it is there");
    let (mut client, id) = open(gateway.local_addr(), "/x");
    for request in ["1 jack news", "2 jack news", "3 jill news"] {
        let number = &request[..1];
        let answer = ask(&mut client, &format!("iam {request}"));
        assert_eq!(answer, format!("you {number} {id}"));
    }
    assert_eq!(
        route.push_user("jill", Message::text("news", "x")).wait(),
        Ok(1)
    );
    assert_eq!(read_text(&mut client), "event news  x");
    let long = format!("iam 4 {} e", "x".repeat(10_000));
    assert_eq!(ask(&mut client, &long), "denied 4 invalid token");
    assert_eq!(ask(&mut client, "iam 5  e"), "denied 5 invalid token");
    stop(gateway);
}

#[test]
fn a_token_waits_for_the_function_that_verifies_it() {
    let (gate, begun) = Gate::new();
    let function = gate.clone();
    let gateway = builder(BARE)
        .route("/x")
        .authenticate(move |token| {
            let gate = function.clone();
            async move {
                gate.pass().await;
                (&*token == "secret").then(|| "jack".to_owned())
            }
        })
        .start()
        .expect("it starts");
    let (mut client, id) = open(gateway.local_addr(), "/x");
    send(
        &mut client,
        &["iam 1 secret e", "iam 2 wrong e", "join 3 room"],
    );
    begun.recv_timeout(PATIENCE).expect("it is asked");
    gate.open();
    let expected = format!("you 1 {id}");
    assert_eq!(read_text(&mut client), expected);
    gate.open();
    for expected in ["denied 2 invalid token", "joined 3 room "] {
        assert_eq!(read_text(&mut client), expected);
    }
    stop(gateway);
}

#[test]
fn limits_are_outcomes_that_the_dialect_words() {
    let limits = "[limits]\nchannels_per_session_max = 1\nusers_per_session_max = 1\n\
                  names_bytes_per_session_max = 4096\nname_bytes_max = 128\n\
                  token_bytes_max = 1024\n";
    let gateway = builder(&format!("{BARE}{limits}"))
        .start()
        .expect("it starts");
    let (mut client, id) = open(gateway.local_addr(), "/x");
    join(&mut client, "a");
    assert_eq!(ask(&mut client, "join 1 b"), "denied 1 too many channels");
    assert_eq!(ask(&mut client, "iam 2 jack e"), format!("you 2 {id}"));
    assert_eq!(ask(&mut client, "iam 3 jill e"), "denied 3 too many users");
    let name = "x".repeat(129);
    let answer = ask(&mut client, &format!("join 4 {name}"));
    assert_eq!(answer, "denied 4 channel does not exist");
    let answer = ask(&mut client, &format!("tell 5 {name} e x"));
    assert_eq!(answer, "denied 5 no channel is named");
    assert_eq!(
        ask(&mut client, &format!("leave 6 {name}")),
        "denied 6 not on the channel"
    );
    stop(gateway);

    let limits = limits.replace("_session_max = 1\n", "_session_max = 100\n");
    let gateway = builder(&format!("{BARE}{limits}"))
        .start()
        .expect("it starts");
    for word in ["join", "iam"] {
        let (mut client, _) = open(gateway.local_addr(), "/x");
        let mut ask = |number| {
            let name = format!("{number}{}", "x".repeat(100));
            let line = match word {
                "join" => format!("join 1 {name}"),
                _ => format!("iam 1 {name} e"),
            };
            ask(&mut client, &line)
        };
        let denied = (100..200).map(&mut ask).find(|it| it.starts_with("denied"));
        assert_eq!(denied.as_deref(), Some("denied 1 too many names"));
        // The dialect has told the client, so the session stays open.
        assert_eq!(ask(300), "denied 1 too many names");
    }
    stop(gateway);
}

#[test]
fn a_handler_gets_the_reply_of_the_validator() {
    let gateway = builder(BARE)
        .route("/x")
        .channel_with("room", async |joining: Joining| {
            joining.set_reply(Reply::text(format!("welcome to {}", joining.channel)));
            Ok(())
        })
        .handle("enter", async |cx: campanile::Context| {
            let reply = cx.join_as_client("room").await?;
            Ok::<_, Failure>(reply)
        })
        .start()
        .expect("it starts");
    let (mut client, _) = open(gateway.local_addr(), "/x");
    assert_eq!(
        ask(&mut client, "call 1 enter x"),
        "reply 1 welcome to room"
    );
    assert_eq!(
        ask(&mut client, "join 2 room"),
        "denied 2 already on the channel"
    );
    stop(gateway);
}
