//! Tests of values stored in sessions: lifetime, visibility, and destructors.

use crate::client_messages::{wsrv_request, wsrv_response};
use crate::fixture::{
    Client, Latch, PublishOnDrop, RecordsDrop, all, builder, config, config_of, done, event_log,
    get, id, stop,
};
use campanile::dialect::wsrv::Wsrv;
use campanile::gateway::RouteBuilder;
use campanile::handler::Admission;
use campanile::public_id::PublicId;
use campanile::{Context, Failure, Gateway, Message, Reply, RouteHandle, Session};
use campanile_tests::net::connect;
use serde::Deserialize;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::ready;
use std::hint::black_box;
use std::rc::Rc;

/// The number of calls of a session. Not `Send`.
#[derive(Clone, Default)]
struct Calls(Rc<Cell<u32>>);

#[test]
fn values_live_as_long_as_their_session() {
    let (recorder, event_log) = event_log();
    let closing = recorder.clone();
    let gateway = builder(config_of(2, &Wsrv))
        .route("/x")
        .admit(async |_| Ok(Admission::new().value(Calls::default())))
        .handle("count", move |cx: Context| {
            let values = cx.session().values();
            let calls = values.get::<Calls>().expect("it was admitted with it").0;
            calls.set(calls.get() + 1);
            if calls.get() == 1 {
                let before = values.insert(RecordsDrop("dropped", recorder.clone()));
                assert!(before.is_none(), "there is one of each type");
            }
            async move { Reply::json(&calls.get()) }
        })
        .on_close(move |session: Session| {
            let calls = session.values().get::<Calls>();
            let calls = calls.expect("it is kept until now").0.get();
            closing.note(format!("closed after {calls}"));
            let recorder = closing.clone();
            async move {
                tokio::task::yield_now().await;
                recorder.note(format!(
                    "still kept: {}",
                    session.values().remove::<Calls>().is_some()
                ));
            }
        })
        .start()
        .expect("it starts");
    let open = |shard| Client::open_on(gateway.local_addr(), shard, "/x", &[]);
    let count = |client: &mut Client, expected: u32| {
        client.send(&wsrv_request("count", "1", "{}"));
        let expected = wsrv_response("count", "1", 0, "ok", &expected.to_string());
        assert_eq!(client.receive(), expected);
    };
    let (mut first, mut second, mut third) = (open(0), open(0), open(1));
    for expected in 1..=3 {
        count(&mut first, expected);
    }
    count(&mut second, 1);
    count(&mut third, 1);
    first.leave();
    event_log.expect(&["closed after 3", "still kept: true", "dropped"]);
    // The next session in the slot has no values.
    let mut fourth = open(0);
    count(&mut fourth, 1);
    count(&mut second, 2);
    for (client, calls) in [(second, 2), (third, 1), (fourth, 1)] {
        client.abort();
        let closed = format!("closed after {calls}");
        event_log.expect(&[&closed, "still kept: true", "dropped"]);
    }
    stop(gateway);
    event_log.expect_nothing();
}

#[test]
fn a_session_handle_is_usable_after_the_end() {
    let (recorder, event_log) = event_log();
    let gateway = builder(config_of(1, &Wsrv)).shard(move |setup| {
        let kept: Rc<Cell<Option<Session>>> = Rc::default();
        let keeping = Rc::clone(&kept);
        let (recorder, dropping, closing) = (recorder.clone(), recorder.clone(), recorder.clone());
        let mut route = setup.route("/x");
        route.handle("keep", move |cx: Context| {
            let values = cx.session().values();
            assert!(
                values
                    .insert(RecordsDrop("dropped", recorder.clone()))
                    .is_none()
            );
            keeping.set(Some(cx.session().clone()));
            async { Reply::ok() }
        });
        route.handle("look", move |_| {
            let session = kept.take().expect("it was kept");
            let is_open = session.is_open();
            assert_eq!(session.number(), 1);
            let pushed = session
                .route()
                .push_session(session.id(), Message::new("e"));
            let dropping = dropping.clone();
            async move {
                let pushed = pushed.await.map_err(|error| error.to_string());
                drop(session);
                dropping.note("looked");
                Reply::json(&(is_open, pushed))
            }
        });
        route.on_close(move |_| {
            closing.note("closed");
            async {}
        });
    });
    let gateway = gateway.start().expect("it starts");
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.send(&wsrv_request("keep", "1", "{}"));
    assert_eq!(client.receive(), wsrv_response("keep", "1", 0, "ok", "{}"));
    client.leave();
    event_log.expect(&["closed"]);
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.send(&wsrv_request("look", "1", "{}"));
    let expected = r#"[false,{"Err":"there is no such session"}]"#;
    assert_eq!(
        client.receive(),
        wsrv_response("look", "1", 0, "ok", expected)
    );
    event_log.expect(&["dropped", "looked"]);
    drop(client);
    stop(gateway);
}

/// Adds the command `join`, which joins a channel.
fn with_channel(route: RouteBuilder) -> RouteBuilder {
    route.handle("join", async |cx: Context| {
        cx.join("room").await?;
        Ok::<_, Failure>(Reply::ok())
    })
}

/// Opens a member of the channel on each shard.
fn members(gateway: &Gateway) -> [Client; 2] {
    [0, 1].map(|shard| {
        let mut client = Client::open_on(gateway.local_addr(), shard, "/x", &[]);
        client.send(&wsrv_request("join", "1", "{}"));
        assert_eq!(client.receive(), wsrv_response("join", "1", 0, "ok", "{}"));
        client
    })
}

/// Asserts that every member receives the message of one [`PublishOnDrop`] and no other.
#[track_caller]
fn expect_published_on_drop(members: &mut [Client; 2]) {
    for member in members {
        let received = member.receive();
        assert!(received.starts_with(r#"{"cmd":"last","#), "{received}");
        assert!(received.ends_with(r#","data":"words"}"#), "{received}");
        member.expect_no_message();
    }
}

fn publish_on_drop(route: &RouteHandle) -> PublishOnDrop {
    PublishOnDrop {
        route: route.clone(),
        channel: "room",
    }
}

/// Starts a gateway that stores values that publish on drop in several places.
fn with_publish_on_drop(latch: &Latch) -> Gateway {
    let latch = latch.clone();
    let route = builder(config_of(2, &Wsrv)).route("/x");
    let route = with_channel(route)
        .admit(async |upgrade| {
            let admission = Admission::new();
            Ok(match upgrade.query("with").as_deref() {
                Some("value") => admission.value(publish_on_drop(upgrade.route())),
                Some("shared") => admission.share(publish_on_drop(upgrade.route())),
                Some("handler") => {
                    let words = publish_on_drop(upgrade.route());
                    admission.handler(move |_| {
                        black_box(&words);
                        ready(())
                    })
                }
                _ => admission,
            })
        })
        .handle("replace", async |cx: Context| {
            let values = cx.session().values();
            values.share(publish_on_drop(cx.route()));
            values.unshare::<PublishOnDrop>();
            Reply::ok()
        })
        .handle("hold", move |cx: Context| {
            let (words, latch) = (publish_on_drop(cx.route()), latch.clone());
            async move {
                latch.pass().await;
                drop(words);
            }
        })
        .handle("panic", async |cx: Context| {
            let _words = publish_on_drop(cx.route());
            cx.data().expect("there is none, on purpose");
        })
        .start();
    route.expect("it starts")
}

#[test]
fn a_destructor_may_publish() {
    let latch = Latch::new();
    let gateway = with_publish_on_drop(&latch);
    let address = gateway.local_addr();
    let mut members = members(&gateway);
    // Values of a session that ends,
    for with in ["value", "shared", "handler"] {
        let path = format!("/x?with={with}");
        Client::open_on(address, 0, &path, &[]).leave();
        expect_published_on_drop(&mut members);
        Client::open_on(address, 1, &path, &[]).abort();
        expect_published_on_drop(&mut members);
    }
    let client = Client::open_on(address, 0, "/x?with=value", &[]);
    let route = gateway.route("/x").expect("it is there");
    let sessions = all(route.sessions());
    let newest = sessions.iter().max_by_key(|session| session.number);
    let newest = newest.expect("there are three").id;
    assert_eq!(done(route.close(newest, 4000, "")), Ok(()));
    expect_published_on_drop(&mut members);
    client.end();
    // of an upgrade that does not become a session,
    get(&mut connect(address), "/x?with=value");
    expect_published_on_drop(&mut members);
    // a value that another one replaces, and one that a panic drops,
    let mut client = Client::open_on(address, 1, "/x", &[]);
    client.send(&wsrv_request("replace", "1", "{}"));
    assert_eq!(
        client.receive(),
        wsrv_response("replace", "1", 0, "ok", "{}")
    );
    expect_published_on_drop(&mut members);
    client.send(r#"{"cmd":"panic"}"#);
    expect_published_on_drop(&mut members);
    // and of a handler whose session has ended.
    client.send(&wsrv_request("hold", "1", "{}"));
    client.abort();
    latch.open();
    expect_published_on_drop(&mut members);
    drop(members);
    stop(gateway);
}

/// The sample of `wsrv` (docs/dialects/README.md, "Documented samples"): a session that has
/// registered a `uid` is told of later ones.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
struct Uid {
    #[serde(rename = "UID")]
    uid: u64,
}

fn sharing_uids() -> Gateway {
    let register = async |cx: Context| {
        let uid: Uid = cx.bind()?;
        cx.session().values().share(uid);
        for (session, uid) in cx.route().shared::<Uid>().await? {
            let message = Message::json("have_user_register", &uid.uid)?;
            cx.route().push_session(session, message);
        }
        Ok::<_, Failure>(Reply::ok())
    };
    let forget = async |cx: Context| {
        cx.session().values().unshare::<Uid>();
        Reply::ok()
    };
    let gateway = builder(config(3)).route("/wsrv");
    let gateway = gateway
        .handle("register", register)
        .handle("forget", forget)
        .handle("id", async |cx: Context| {
            Reply::text(cx.session_id().to_string())
        })
        .start();
    gateway.expect("it starts")
}

fn uids(route: &RouteHandle) -> Vec<(PublicId, u64)> {
    let shared = all(route.shared::<Uid>()).into_iter();
    let mut shared: Vec<(PublicId, u64)> = shared.map(|(id, uid)| (id, uid.uid)).collect();
    shared.sort_by_key(|&(_, uid)| uid);
    shared
}

fn id_of(client: &mut Client) -> PublicId {
    client.send(&wsrv_request("id", "1", "{}"));
    let received = client.receive();
    let text = received.rsplit('"').nth(1).expect("a string at its end");
    id(text)
}

#[test]
fn shared_values_are_visible_on_every_shard_and_their_sessions_can_be_pushed_to() {
    let gateway = sharing_uids();
    let open = |shard| Client::open_on(gateway.local_addr(), shard, "/wsrv", &[]);
    let mut clients = [open(0), open(1), open(2), open(0)];
    let ids = clients.each_mut().map(id_of);
    let route = gateway.route("/wsrv").expect("it is there");
    assert_eq!(uids(&route), []);
    for newcomer in 0..3 {
        let register = wsrv_request("register", "r", &format!(r#"{{"UID":{newcomer}}}"#));
        clients[newcomer].send(&register);
        for (uid, client) in clients.iter_mut().enumerate().take(newcomer + 1) {
            let received = client.receive();
            assert!(received.contains("have_user_register"), "{received}");
            assert!(
                received.ends_with(&format!(r#","data":{uid}}}"#)),
                "{received}"
            );
            if uid == newcomer {
                let response = wsrv_response("register", "r", 0, "ok", "{}");
                assert_eq!(client.receive(), response);
            }
        }
        let expected: Vec<(PublicId, u64)> = ids.iter().copied().zip(0..=newcomer as u64).collect();
        assert_eq!(uids(&route), expected);
    }
    // The session without a shared value receives nothing.
    clients[3].expect_no_message();
    let other_route = gateway.route("/easyws").expect("it is there");
    assert_eq!(uids(&other_route), []);

    // Handles, too, can push to the sessions that a filter selects.
    let odd = all(route.shared::<Uid>()).into_iter();
    for (session, _) in odd.filter(|(_, uid)| uid.uid % 2 == 1) {
        let pushed = route.push_session(session, Message::text("odd", "you"));
        assert_eq!(done(pushed), Ok(1));
    }
    assert!(clients[1].receive().contains(r#""cmd":"odd""#));
    clients[0].expect_no_message();

    clients[0].send(&wsrv_request("forget", "f", "{}"));
    assert_eq!(
        clients[0].receive(),
        wsrv_response("forget", "f", 0, "ok", "{}")
    );
    assert_eq!(uids(&route), [(ids[1], 1), (ids[2], 2)]);
    clients.into_iter().for_each(Client::leave);
    assert_eq!(uids(&route), []);
    stop(gateway);
}

#[test]
fn ids_are_random_uuids_and_numbers_are_consecutive_without_reuse() {
    let (recorder, event_log) = event_log();
    let gateway = builder(config_of(3, &Wsrv)).route("/x");
    let gateway = gateway.on_open(move |session: Session| {
        recorder.note(format!("{} {}", session.id(), session.number()));
        async {}
    });
    let gateway = gateway.start().expect("it starts");
    let (mut ids, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..10 {
        // Slots are reused from round to round.
        let opened: Vec<Client> = (0..30)
            .map(|_| Client::open(gateway.local_addr(), "/x"))
            .collect();
        for _ in &opened {
            let noted = event_log.next();
            let (text, number) = noted.split_once(' ').expect("two words");
            assert_eq!(text.len(), 36);
            assert_eq!(id(text).to_string(), text);
            assert_eq!(&text[14..15], "4", "the version");
            assert!("89ab".contains(&text[19..20]), "the variant");
            assert!(ids.insert(text.to_owned()), "{text} comes again");
            let number: u64 = number.parse().expect("a number");
            assert!(numbers.insert(number), "{number} comes again");
        }
        opened.into_iter().for_each(Client::leave);
    }
    assert!(numbers.into_iter().eq(1..=300));
    // Every part of an id is random, so no id can be guessed from others.
    for digits in [0..8, 9..13, 15..18, 24..36] {
        let parts: BTreeSet<&str> = ids.iter().map(|id| &id[digits.clone()]).collect();
        assert!(parts.len() > 250, "{parts:?}");
    }
    stop(gateway);
}
