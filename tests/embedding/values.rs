//! What is kept with sessions: for how long, who sees it, and what its destructors may do.

use crate::client_messages::{wsrv_request, wsrv_response};
use crate::fixture::{
    Client, LastWords, Latch, Noted, all, builder, config, config_of, diary, done, get, id, stop,
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

/// Counts the calls of its session; may not leave its thread.
#[derive(Clone, Default)]
struct Calls(Rc<Cell<u32>>);

#[test]
fn values_are_a_sessions_own_and_live_exactly_as_long() {
    let (pen, diary) = diary();
    let closing = pen.clone();
    let gateway = builder(config_of(2, &Wsrv))
        .route("/x")
        .admit(async |_| Ok(Admission::new().value(Calls::default())))
        .handle("count", move |cx: Context| {
            let values = cx.session().values();
            let calls = values.get::<Calls>().expect("it was admitted with it").0;
            calls.set(calls.get() + 1);
            if calls.get() == 1 {
                let before = values.insert(Noted("dropped", pen.clone()));
                assert!(before.is_none(), "there is one of each type");
            }
            async move { Reply::json(&calls.get()) }
        })
        .on_close(move |session: Session| {
            let calls = session.values().get::<Calls>();
            let calls = calls.expect("it is kept until now").0.get();
            closing.note(format!("closed after {calls}"));
            let pen = closing.clone();
            async move {
                tokio::task::yield_now().await;
                pen.note(format!(
                    "still kept: {}",
                    session.values().remove::<Calls>().is_some()
                ));
            }
        })
        .start()
        .expect("it starts");
    let open = |shard| Client::open_on(gateway.local_addr(), shard, "/x", &[]);
    let count = |client: &mut Client, expected: u32| {
        client.say(&wsrv_request("count", "1", "{}"));
        let expected = wsrv_response("count", "1", 0, "ok", &expected.to_string());
        assert_eq!(client.hear(), expected);
    };
    let (mut first, mut second, mut third) = (open(0), open(0), open(1));
    for expected in 1..=3 {
        count(&mut first, expected);
    }
    count(&mut second, 1);
    count(&mut third, 1);
    first.leave();
    diary.expect(&["closed after 3", "still kept: true", "dropped"]);
    // Whoever gets its place begins anew.
    let mut fourth = open(0);
    count(&mut fourth, 1);
    count(&mut second, 2);
    for (client, calls) in [(second, 2), (third, 1), (fourth, 1)] {
        client.hang_up();
        let closed = format!("closed after {calls}");
        diary.expect(&[&closed, "still kept: true", "dropped"]);
    }
    stop(gateway);
    diary.expect_nothing();
}

#[test]
fn a_session_that_is_kept_after_its_end_stands_alone() {
    let (pen, diary) = diary();
    let gateway = builder(config_of(1, &Wsrv)).shard(move |setup| {
        let kept: Rc<Cell<Option<Session>>> = Rc::default();
        let keeping = Rc::clone(&kept);
        let (pen, dropping, closing) = (pen.clone(), pen.clone(), pen.clone());
        let mut route = setup.route("/x");
        route.handle("keep", move |cx: Context| {
            let values = cx.session().values();
            assert!(values.insert(Noted("dropped", pen.clone())).is_none());
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
    client.say(&wsrv_request("keep", "1", "{}"));
    assert_eq!(client.hear(), wsrv_response("keep", "1", 0, "ok", "{}"));
    client.leave();
    diary.expect(&["closed"]);
    let mut client = Client::open(gateway.local_addr(), "/x");
    client.say(&wsrv_request("look", "1", "{}"));
    let told = r#"[false,{"Err":"there is no such session"}]"#;
    assert_eq!(client.hear(), wsrv_response("look", "1", 0, "ok", told));
    diary.expect(&["dropped", "looked"]);
    drop(client);
    stop(gateway);
}

/// A gateway of two shards with a channel of which the command `join` makes a member.
fn with_channel(route: RouteBuilder) -> RouteBuilder {
    route.handle("join", async |cx: Context| {
        cx.join("room").await?;
        Ok::<_, Failure>(Reply::ok())
    })
}

/// Members of the channel, one on each shard.
fn members(gateway: &Gateway) -> [Client; 2] {
    [0, 1].map(|shard| {
        let mut client = Client::open_on(gateway.local_addr(), shard, "/x", &[]);
        client.say(&wsrv_request("join", "1", "{}"));
        assert_eq!(client.hear(), wsrv_response("join", "1", 0, "ok", "{}"));
        client
    })
}

/// Everybody hears what [`LastWords`] says, once, and nothing else.
#[track_caller]
fn expect_last_words(members: &mut [Client; 2]) {
    for member in members {
        let heard = member.hear();
        assert!(heard.starts_with(r#"{"cmd":"last","#), "{heard}");
        assert!(heard.ends_with(r#","data":"words"}"#), "{heard}");
        member.settle();
    }
}

fn last_words(route: &RouteHandle) -> LastWords {
    LastWords {
        route: route.clone(),
        channel: "room",
    }
}

/// A gateway on which much is kept that publishes when it is dropped.
fn with_last_words(gate: &Latch) -> Gateway {
    let gate = gate.clone();
    let route = builder(config_of(2, &Wsrv)).route("/x");
    let route = with_channel(route)
        .admit(async |upgrade| {
            let admission = Admission::new();
            Ok(match upgrade.query("with").as_deref() {
                Some("value") => admission.value(last_words(upgrade.route())),
                Some("shared") => admission.share(last_words(upgrade.route())),
                Some("handler") => {
                    let words = last_words(upgrade.route());
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
            values.share(last_words(cx.route()));
            values.unshare::<LastWords>();
            Reply::ok()
        })
        .handle("hold", move |cx: Context| {
            let (words, gate) = (last_words(cx.route()), gate.clone());
            async move {
                gate.pass().await;
                drop(words);
            }
        })
        .handle("panic", async |cx: Context| {
            let _words = last_words(cx.route());
            cx.data().expect("there is none, on purpose");
        })
        .start();
    route.expect("it starts")
}

#[test]
fn a_destructor_may_publish_whenever_it_runs() {
    let gate = Latch::new();
    let gateway = with_last_words(&gate);
    let address = gateway.local_addr();
    let mut members = members(&gateway);
    // Values that go with their session, which ends in one way or another,
    for with in ["value", "shared", "handler"] {
        let path = format!("/x?with={with}");
        Client::open_on(address, 0, &path, &[]).leave();
        expect_last_words(&mut members);
        Client::open_on(address, 1, &path, &[]).hang_up();
        expect_last_words(&mut members);
    }
    let client = Client::open_on(address, 0, "/x?with=value", &[]);
    let route = gateway.route("/x").expect("it is there");
    let sessions = all(route.sessions());
    let newest = sessions.iter().max_by_key(|session| session.number);
    let newest = newest.expect("there are three").id;
    assert_eq!(done(route.close(newest, 4000, "")), Ok(()));
    expect_last_words(&mut members);
    client.end();
    // with a session that never came to be,
    get(&mut connect(address), "/x?with=value");
    expect_last_words(&mut members);
    // with the value that replaces them, with a panic,
    let mut client = Client::open_on(address, 1, "/x", &[]);
    client.say(&wsrv_request("replace", "1", "{}"));
    assert_eq!(client.hear(), wsrv_response("replace", "1", 0, "ok", "{}"));
    expect_last_words(&mut members);
    client.say(r#"{"cmd":"panic"}"#);
    expect_last_words(&mut members);
    // and with a handler whose session is gone.
    client.say(&wsrv_request("hold", "1", "{}"));
    client.hang_up();
    gate.open();
    expect_last_words(&mut members);
    drop(members);
    stop(gateway);
}

/// The sample of `wsrv` (wire.md 8): whoever has registered a `uid` is told who else does.
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
    client.say(&wsrv_request("id", "1", "{}"));
    let heard = client.hear();
    let text = heard.rsplit('"').nth(1).expect("a string at its end");
    id(text)
}

#[test]
fn shared_values_are_seen_from_every_shard_and_those_who_share_can_be_pushed_to() {
    let gateway = sharing_uids();
    let open = |shard| Client::open_on(gateway.local_addr(), shard, "/wsrv", &[]);
    let mut clients = [open(0), open(1), open(2), open(0)];
    let ids = clients.each_mut().map(id_of);
    let route = gateway.route("/wsrv").expect("it is there");
    assert_eq!(uids(&route), []);
    for newcomer in 0..3 {
        let register = wsrv_request("register", "r", &format!(r#"{{"UID":{newcomer}}}"#));
        clients[newcomer].say(&register);
        for (uid, client) in clients.iter_mut().enumerate().take(newcomer + 1) {
            let heard = client.hear();
            assert!(heard.contains("have_user_register"), "{heard}");
            assert!(heard.ends_with(&format!(r#","data":{uid}}}"#)), "{heard}");
            if uid == newcomer {
                let response = wsrv_response("register", "r", 0, "ok", "{}");
                assert_eq!(client.hear(), response);
            }
        }
        let expected: Vec<(PublicId, u64)> = ids.iter().copied().zip(0..=newcomer as u64).collect();
        assert_eq!(uids(&route), expected);
    }
    // The one that does not share hears nothing.
    clients[3].settle();
    let other_route = gateway.route("/easyws").expect("it is there");
    assert_eq!(uids(&other_route), []);

    // The matches of a filter can be pushed to, from outside as well.
    let odd = all(route.shared::<Uid>()).into_iter();
    for (session, _) in odd.filter(|(_, uid)| uid.uid % 2 == 1) {
        let pushed = route.push_session(session, Message::text("odd", "you"));
        assert_eq!(done(pushed), Ok(1));
    }
    assert!(clients[1].hear().contains(r#""cmd":"odd""#));
    clients[0].settle();

    clients[0].say(&wsrv_request("forget", "f", "{}"));
    assert_eq!(
        clients[0].hear(),
        wsrv_response("forget", "f", 0, "ok", "{}")
    );
    assert_eq!(uids(&route), [(ids[1], 1), (ids[2], 2)]);
    clients.into_iter().for_each(Client::leave);
    assert_eq!(uids(&route), []);
    stop(gateway);
}

#[test]
fn ids_are_random_uuids_and_numbers_count_sessions_and_neither_comes_again() {
    let (pen, diary) = diary();
    let gateway = builder(config_of(3, &Wsrv)).route("/x");
    let gateway = gateway.on_open(move |session: Session| {
        pen.note(format!("{} {}", session.id(), session.number()));
        async {}
    });
    let gateway = gateway.start().expect("it starts");
    let (mut ids, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..10 {
        // Slots are used again from round to round.
        let opened: Vec<Client> = (0..30)
            .map(|_| Client::open(gateway.local_addr(), "/x"))
            .collect();
        for _ in &opened {
            let noted = diary.next();
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
    // No part of an id tells sessions apart in a way that a stranger could go on with.
    for digits in [0..8, 9..13, 15..18, 24..36] {
        let parts: BTreeSet<&str> = ids.iter().map(|id| &id[digits.clone()]).collect();
        assert!(parts.len() > 250, "{parts:?}");
    }
    stop(gateway);
}
