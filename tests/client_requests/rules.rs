//! The rules of channels, as they apply to intents and to the config's commands.

use crate::{builder, open, send};
use campanile::Failure;
use campanile::Reply;
use campanile::handler::{Admission, Joining, Upgrade};
use campanile::metrics::RejectionKind;
use campanile_tests::PATIENCE;
use campanile_tests::backend::respond;
use campanile_tests::client::{Client, read_text};
use std::collections::BTreeMap;

const CHANNELS: &[&str] = &[
    "undeclared",
    "open",
    "closed",
    "known",
    "user:ann",
    "token",
    "hook",
    "code",
];

/// One request in both forms: as an intent and as a call.
const REQUESTS: &[[&str; 2]] = &[
    ["join 1 {}", "call 1 join {}"],
    ["publish 1 {} publish x", "call 1 publish {} x"],
    ["tell 1 {} tell x", "call 1 tell {} x"],
    ["leave 1 {}", "call 1 leave {}"],
];

/// The outcome of every request, and the numbers of denied joins and publications.
type Run = (Vec<String>, [BTreeMap<&'static str, u64>; 2]);

#[test]
fn rules_validators_and_hooks_apply_to_intents_as_to_calls() {
    let [intents, calls] = [0, 1].map(run);
    assert_eq!(intents.0, calls.0);
    assert_eq!(intents.1, calls.1);
    let lines = intents.0;
    for expected in [
        "ann joins hook: ok for ann",
        "ann joins code: ok welcome",
        "bob joins code: denied not authorized",
        "- joins known: denied not authorized",
        "bob publishes closed: denied not authorized",
        "bob publishes token: event publish - x; ok",
        "ann publishes token: denied not authorized",
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "{expected}: {lines:#?}"
        );
    }
}

/// Sends every request of every user about every channel, in the form with this index.
fn run(form: usize) -> Run {
    let backend = respond(|request| {
        let body = String::from_utf8_lossy(&request.body);
        let is_join = body.contains(r#""hook":"join""#);
        match body.contains(r#""user":"ann""#) {
            true if is_join => r#"{"allow":true,"reply":{"data":"for ann"}}"#.to_owned(),
            allow => format!(r#"{{"allow":{allow}}}"#),
        }
    });
    let text = CONFIG.replace("{backend}", &backend.to_string());
    let gateway = builder(&text)
        .shard(|setup| {
            let mut route = setup.route("/x");
            route.admit(async |upgrade: Upgrade| {
                Ok(match upgrade.query("user") {
                    Some(user) => Admission::new().token(format!("of-{user}")).user(user),
                    None => Admission::new(),
                })
            });
            route.channel_with("code", async |joining: Joining| {
                joining.set_reply(Reply::text("welcome"));
                only_ann(&joining)
            });
            route.publishers("code", async |joining: Joining| only_ann(&joining));
        })
        .start()
        .expect("it starts");
    let route = gateway.route("/x").expect("it is there");
    let mut lines = Vec::new();
    for channel in CHANNELS {
        for user in ["ann", "bob", "-"] {
            let path = match user {
                "-" => "/x".to_owned(),
                user => format!("/x?user={user}"),
            };
            for (what, request) in ["joins", "publishes", "tells", "leaves"]
                .iter()
                .zip(REQUESTS)
            {
                for is_member in [false, true] {
                    let (mut client, id) = open(gateway.local_addr(), &path);
                    if is_member {
                        assert_eq!(route.join(id, *channel).wait(), Ok(true));
                    }
                    send(&mut client, &[&request[form].replace("{}", channel)]);
                    let outcome = outcome(&mut client, &id.to_string());
                    let outcome = outcome.replace(channel, "");
                    let outcome: Vec<&str> = outcome.split_whitespace().collect();
                    let outcome = outcome.join(" ");
                    lines.push(format!("{user} {what} {channel}: {outcome}"));
                }
            }
        }
    }
    let counters = gateway.stop(PATIENCE);
    let kinds = [RejectionKind::Join, RejectionKind::Publish];
    (lines, kinds.map(|kind| counters.rejections_of(kind)))
}

fn only_ann(joining: &Joining) -> Result<(), Failure> {
    let is_ann = joining.user.as_deref() == Some("ann");
    is_ann.then_some(()).ok_or_else(|| Failure::error("no"))
}

/// Reads all messages up to the outcome, with its word and id replaced.
fn outcome(client: &mut Client, id: &str) -> String {
    let mut lines = String::new();
    loop {
        let line = read_text(client);
        if line.starts_with("event ") {
            lines += &line.replace(id, "-");
            lines += "; ";
            continue;
        }
        let (word, rest) = line.split_once(" 1 ").expect("an outcome");
        let word = match word {
            "joined" | "published" | "left" | "reply" => "ok",
            other => other,
        };
        return format!("{lines}{word} {rest}");
    }
}

const CONFIG: &str = "\
    shards = 1\n\
    [[backends]]\n\
    name = 'b'\n\
    url = 'http://{backend}/'\n\
    [[routes]]\n\
    path = '/x'\n\
    dialect = 'words'\n\
    tokens = { of-ann = 'ann', of-bob = 'bob' }\n\
    hooks = { backend = 'b', on = [] }\n\
    [routes.commands]\n\
    join = 'join'\n\
    leave = 'leave'\n\
    publish = 'publish'\n\
    tell = { action = 'publish', to = 'others' }\n\
    [[routes.channels]]\n\
    name = 'open'\n\
    [[routes.channels]]\n\
    name = 'closed'\n\
    join = 'nobody'\n\
    publish = 'nobody'\n\
    [[routes.channels]]\n\
    name = 'known'\n\
    join = 'identified'\n\
    publish = 'identified'\n\
    [[routes.channels]]\n\
    name = 'user:{user}'\n\
    join = 'owner'\n\
    publish = 'owner'\n\
    [[routes.channels]]\n\
    name = 'token'\n\
    join = { tokens = ['of-ann'] }\n\
    publish = { tokens = ['of-bob'] }\n\
    [[routes.channels]]\n\
    name = 'hook'\n\
    join = 'hook'\n\
    publish = 'hook'\n";
