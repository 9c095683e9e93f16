//! Hook responses: valid ones are read, all others are invalid as a whole.

use crate::dialect::{Dialect, easyws, edk, wsrv};
use crate::hooks::responses::{
    Actions, AdmittedResponse, HookLimits, JOINS_MAX, LEAVES_MAX, OpenResponse, PUSHES_MAX,
    PushTarget, read_allow, read_join, read_message, read_open, read_user,
};
use crate::vocabulary::content::{Data, Failure, OwnedData, Reply};
use crate::vocabulary::public_id::PublicId;
use campanile_tests::prng::Prng;
use std::fmt::Debug;

const BOUNDS: HookLimits = HookLimits {
    name_bytes_max: 16,
    values_bytes_max: 32,
    channels_max: 3,
    dialect: &wsrv::Wsrv,
};

const ID: &str = "6e4c0cf4-9a5e-4b0c-8a51-0a3a2c7e9d10";

fn admitted(json: &str) -> AdmittedResponse {
    match read_open(json.as_bytes(), &BOUNDS) {
        Ok(OpenResponse::Admit(admitted)) => *admitted,
        other => panic!("{json}: {other:?}"),
    }
}

fn rejected(json: &str) -> (u16, String) {
    match read_open(json.as_bytes(), &BOUNDS) {
        Ok(OpenResponse::Reject(rejection)) => (rejection.status, rejection.body.into_owned()),
        other => panic!("{json}: {other:?}"),
    }
}

fn actions(json: &str) -> Actions {
    read_message(json.as_bytes(), &BOUNDS).unwrap_or_else(|error| panic!("{json}: {error:?}"))
}

/// Expects an invalid response whose error text contains these words.
#[track_caller]
fn expect_invalid<T: Debug>(
    read: impl Fn(&[u8], &HookLimits) -> Result<T, crate::hooks::responses::InvalidResponse>,
    cases: &[(&str, &str)],
) {
    for (json, words) in cases {
        match read(json.as_bytes(), &BOUNDS) {
            Err(invalid) => {
                let text = invalid.into_text();
                assert!(text.contains(words), "{json}: {text}");
                assert!(text.len() <= 200, "{json}: {text}");
            }
            Ok(read) => panic!("{json}: {read:?}"),
        }
    }
}

#[test]
fn an_admission_is_read() {
    let bare = admitted(r#"{"admit": true}"#);
    assert_eq!((bare.user, bare.channels.len()), (None, 0));
    assert!(bare.values.is_none() && bare.message.is_none());
    let nulls = r#"{"admit":true,"user":null,"profile":null,"channels":null,"values":null,
                    "message":null,"status":null,"body":null}"#;
    assert_eq!(admitted(nulls).user, None);
    let json = r#"{"admit":true,"user":"ada","profile":{"name":"Ada","fields":{"a":"b"}},
                   "channels":["x","y"],"values":{"n" : 1e2},
                   "message":{"event":"hi","bytes":"aGk="}}"#;
    let all = admitted(json);
    assert_eq!(all.user.as_deref(), Some("ada"));
    assert_eq!(
        (&*all.profile.name, &*all.profile.fields["a"]),
        ("Ada", "b")
    );
    assert_eq!(all.channels, ["x".into(), "y".into()]);
    let values = all.values.expect("there are values");
    assert_eq!(values.json().get(), r#"{"n" : 1e2}"#, "kept to the letter");
    let message = all.message.expect("there is one");
    assert_eq!(
        (&*message.event, message.data.borrow()),
        ("hi", Data::Bytes(b"hi"))
    );
}

#[test]
fn a_rejection_has_a_status_and_a_body() {
    assert_eq!(rejected(r#"{"admit":false}"#), (403, String::new()));
    let json = r#"{"admit":false,"status":599,"body":"full\n"}"#;
    assert_eq!(rejected(json), (599, "full\n".to_owned()));
    assert_eq!(rejected(r#"{"admit":false,"status":400}"#).0, 400);
}

#[test]
fn an_admission_with_one_wrong_member_is_invalid() {
    expect_invalid(
        read_open,
        &[
            ("", "EOF"),
            ("null", "object"),
            ("[true,null,null,null,null,null,null,null]", "object"),
            ("{}", "admit"),
            (r#"{"admit":1}"#, "boolean"),
            (r#"{"admit":"true"}"#, "boolean"),
            (r#"{"admit":null}"#, "boolean"),
            (r#"{"admit":true} x"#, "trailing"),
            (r#"{"admit":true,"admit":true}"#, "duplicate"),
            (r#"{"admit":true,"Admit":true}"#, "unknown field"),
            (r#"{"admit":true,"user":7}"#, "string"),
            (r#"{"admit":true,"user":""}"#, "a user is empty"),
            (
                r#"{"admit":true,"user":"12345678901234567"}"#,
                "a user is too long",
            ),
            (r#"{"admit":true,"status":403}"#, "not admitted"),
            (r#"{"admit":true,"body":"x"}"#, "not admitted"),
            (r#"{"admit":true,"profile":"Ada"}"#, "object"),
            (r#"{"admit":true,"profile":["Ada",null]}"#, "object"),
            (r#"{"admit":true,"profile":{}}"#, "name"),
            (
                r#"{"admit":true,"profile":{"name":"12345678901234567"}}"#,
                "too long",
            ),
            (
                r#"{"admit":true,"profile":{"name":"a","fields":{"x":1}}}"#,
                "string",
            ),
            (
                r#"{"admit":true,"profile":{"name":"a","age":1}}"#,
                "unknown field",
            ),
            (r#"{"admit":true,"channels":"x"}"#, "sequence"),
            (r#"{"admit":true,"channels":[""]}"#, "a channel is empty"),
            (
                r#"{"admit":true,"channels":["12345678901234567"]}"#,
                "a channel is too long",
            ),
            (
                r#"{"admit":true,"channels":["a","b","c","d"]}"#,
                "may be on",
            ),
            (r#"{"admit":true,"values":[]}"#, "not an object"),
            (r#"{"admit":true,"values":"{}"}"#, "not an object"),
            (
                r#"{"admit":true,"values":{"a":"123456789012345678901234567"}}"#,
                "values_bytes_max",
            ),
            (r#"{"admit":true,"message":{"data":1,"bytes":""}}"#, "both"),
            (r#"{"admit":true,"message":{"bytes":"?"}}"#, "base64"),
            (r#"{"admit":true,"message":{"bytes":7}}"#, "string"),
            (
                r#"{"admit":true,"message":{"event":"12345678901234567"}}"#,
                "too long",
            ),
            (r#"{"admit":true,"message":{"text":"x"}}"#, "unknown field"),
        ],
    );
    let long = format!(r#"{{"admit":true,"{}":1}}"#, "x".repeat(10_000));
    expect_invalid(read_open, &[(&long, "unknown field")]);
    assert!(read_open(b"{\"admit\":true,\"user\":\"\xff\"}", &BOUNDS).is_err());
}

#[test]
fn a_rejection_with_one_wrong_member_is_invalid() {
    expect_invalid(
        read_open,
        &[
            (r#"{"admit":false,"status":200}"#, "400 to 599"),
            (r#"{"admit":false,"status":600}"#, "400 to 599"),
            (r#"{"admit":false,"status":-1}"#, "u16"),
            (r#"{"admit":false,"status":"403"}"#, "u16"),
            (r#"{"admit":false,"user":"ada"}"#, "not admitted"),
            (r#"{"admit":false,"channels":[]}"#, "not admitted"),
        ],
    );
}

#[test]
fn kept_values_and_profile_are_limited_together() {
    let json = |fill: usize| {
        let value = "x".repeat(fill);
        let profile = format!(r#"{{"name":"a","fields":{{"k":"{value}"}}}}"#);
        format!(r#"{{"admit":true,"values":{{"n":1}},"profile":{profile}}}"#)
    };
    admitted(&json(24)); // and seven of the values, and one of the name
    expect_invalid(read_open, &[(&json(25), "values_bytes_max")]);
}

#[test]
fn a_token_names_a_user_or_none() {
    let read = |json: &str| read_user(json.as_bytes(), &BOUNDS);
    assert_eq!(read(r#"{"user":"ada"}"#), Ok(Some("ada".to_owned())));
    assert_eq!(read(r#"{"user":null}"#), Ok(None));
    expect_invalid(
        read_user,
        &[
            ("{}", "user"),
            (r#"{"user":""}"#, "empty"),
            (r#"{"user":false}"#, "string"),
            (r#"{"user":"12345678901234567"}"#, "too long"),
            (r#"{"user":"ada","admit":true}"#, "unknown"),
        ],
    );
}

#[test]
fn only_true_allows() {
    assert_eq!(read_allow(br#"{"allow":true}"#), Ok(true));
    assert_eq!(read_allow(br#"{"allow":false}"#), Ok(false));
    let read = |json: &[u8], _: &HookLimits| read_allow(json);
    let invalid = [
        ("{}", "allow"),
        ("true", "object"),
        ("[true]", "object"),
        (r#"{"allow":1}"#, "boolean"),
        (r#"{"allow":true,"x":1}"#, "unknown"),
    ];
    expect_invalid(read, &invalid);
}

#[test]
fn a_join_may_have_a_reply_if_it_is_allowed() {
    let read = |json: &str| read_join(json.as_bytes(), &BOUNDS);
    let no_data = Ok(Some(Reply::default()));
    assert_eq!(read(r#"{"allow":true}"#), no_data);
    assert_eq!(read(r#"{"allow":true,"reply":null}"#), no_data);
    assert_eq!(read(r#"{"allow":false}"#), Ok(None));
    let reply = read(r#"{"allow":true,"reply":{"data":{"a": 1}}}"#);
    let data = reply.expect("valid").expect("allowed").data;
    assert_eq!(data, OwnedData::Json(r#"{"a": 1}"#.into()));
    let invalid = [
        ("{}", "allow"),
        (r#"{"allow":false,"reply":{}}"#, "allowed"),
        (r#"{"allow":true,"reply":[]}"#, "object"),
        (
            r#"{"allow":true,"reply":{"data":1,"bytes":"AA=="}}"#,
            "both",
        ),
        (r#"{"allow":true,"data":1}"#, "unknown"),
    ];
    expect_invalid(read_join, &invalid);
}

#[test]
fn all_actions_of_a_message_are_read() {
    let nothing = actions("{}");
    assert_eq!(nothing.response, Ok(None));
    assert!(nothing.joins.is_empty() && nothing.leaves.is_empty() && nothing.pushes.is_empty());
    assert!(nothing.values.is_none() && nothing.close.is_none());

    let json = format!(
        r#"{{"reply":{{"event":"e","data":{{"a": 1}}}},"join":["a"],"leave":["b"],"values":{{}},
            "push":[{{"channel":"c","event":"e","data":"t","except_sender":true}},
                    {{"user":"u","bytes":"AA=="}},{{"session":"{ID}","data":[1]}},
                    {{"everyone":true,"except_sender":false}}],
            "close":{{"code":4001,"reason":"bye"}}}}"#
    );
    let all = actions(&json);
    let reply = all.response.expect("a reply").expect("one");
    assert_eq!(
        reply,
        Reply::raw_json(r#"{"a": 1}"#)
            .expect("JSON")
            .with_event("e")
    );
    assert_eq!(
        (all.joins, all.leaves),
        (vec!["a".into()], vec!["b".into()])
    );
    assert_eq!(all.values.expect("values").json().get(), "{}");
    assert_eq!(all.close, Some((4001, "bye".into())));
    let pushes: Vec<_> = all
        .pushes
        .iter()
        .map(|push| {
            (
                &push.to,
                &*push.message.event,
                push.message.data.borrow(),
                push.except_sender,
            )
        })
        .collect();
    let id: PublicId = ID.parse().expect("a UUID");
    assert_eq!(
        pushes,
        [
            (&PushTarget::Channel("c".into()), "e", Data::Text("t"), true),
            (&PushTarget::User("u".into()), "", Data::Bytes(b"\0"), false),
            (&PushTarget::Session(id), "", Data::Json(b"[1]"), false),
            (&PushTarget::Everyone, "", Data::None, false),
        ]
    );

    let failed = actions(r#"{"failure":{"status":-7,"message":"no","data":{"a":1}}}"#);
    let failure = failed.response.expect_err("a failure");
    assert_eq!((failure.status(), failure.text()), (-7, "no"));
    assert_eq!(failure.data(), Data::Json(br#"{"a":1}"#));
    let plain = actions(r#"{"failure":{"status":9,"message":""},"close":{"code":1000}}"#);
    assert_eq!(plain.response, Err(Failure::new(9, "")));
    assert_eq!(plain.close, Some((1000, "".into())));
    assert_eq!(actions(r#"{"reply":{}}"#).response, Ok(Some(Reply::ok())));
    assert_eq!(
        actions(r#"{"reply":null,"failure":null}"#).response,
        Ok(None)
    );
}

#[test]
fn a_message_response_with_one_wrong_member_is_invalid() {
    let reason = "x".repeat(124);
    let reason = format!(r#"{{"close":{{"code":1000,"reason":"{reason}"}}}}"#);
    expect_invalid(
        read_message,
        &[
            ("[{}]", "object"),
            (r#"{"replies":{}}"#, "unknown field"),
            (
                r#"{"reply":{},"failure":{"status":1,"message":"x"}}"#,
                "both",
            ),
            (r#"{"reply":"hi"}"#, "object"),
            (r#"{"reply":{"data":1,"bytes":"AA=="}}"#, "both"),
            (r#"{"reply":{"event":"12345678901234567"}}"#, "too long"),
            (r#"{"failure":{"status":1}}"#, "message"),
            (r#"{"failure":{"message":"x"}}"#, "status"),
            (r#"{"failure":{"status":0,"message":"x"}}"#, "success"),
            (r#"{"failure":{"status":1.5,"message":"x"}}"#, "i64"),
            (
                r#"{"failure":{"status":9223372036854775808,"message":"x"}}"#,
                "i64",
            ),
            (
                r#"{"failure":{"status":1,"message":"x","bytes":""}}"#,
                "unknown field",
            ),
            (r#"{"push":{}}"#, "sequence"),
            (r#"{"push":[["a"]]}"#, "object"),
            (r#"{"close":[1000,"x"]}"#, "object"),
            (r#"{"push":[{}]}"#, "exactly one"),
            (r#"{"push":[{"data":1}]}"#, "exactly one"),
            (r#"{"push":[{"channel":"a","user":"b"}]}"#, "exactly one"),
            (r#"{"push":[{"everyone":false}]}"#, "exactly one"),
            (
                r#"{"push":[{"everyone":true,"channel":"a"}]}"#,
                "exactly one",
            ),
            (r#"{"push":[{"channel":""}]}"#, "empty"),
            (r#"{"push":[{"user":"12345678901234567"}]}"#, "too long"),
            (r#"{"push":[{"session":"7"}]}"#, "id"),
            (
                r#"{"push":[{"user":"a","except_sender":true}]}"#,
                "except_sender",
            ),
            (r#"{"push":[{"user":"a","except_sender":1}]}"#, "boolean"),
            (
                r#"{"push":[{"user":"a","event":"12345678901234567"}]}"#,
                "too long",
            ),
            (r#"{"push":[{"user":"a","bytes":"A"}]}"#, "base64"),
            (r#"{"push":[{"user":"a"},{"user":""}]}"#, "empty"),
            (r#"{"join":["a",""]}"#, "empty"),
            (r#"{"join":[1]}"#, "string"),
            (r#"{"leave":["12345678901234567"]}"#, "too long"),
            (r#"{"values":7}"#, "not an object"),
            (
                r#"{"values":{"a":"123456789012345678901234567"}}"#,
                "values_bytes_max",
            ),
            (r#"{"close":{}}"#, "code"),
            (r#"{"close":{"code":1005}}"#, "may not be sent"),
            (r#"{"close":{"code":999}}"#, "may not be sent"),
            (r#"{"close":{"code":70000}}"#, "u16"),
            (&reason, "may not be sent"),
            (r#"{"join":["a"],"close":{"code":1006}}"#, "may not be sent"),
        ],
    );
}

#[test]
fn events_must_be_valid_in_the_dialect() {
    let read = |dialect: &'static dyn Dialect, json: &str| {
        let limits = HookLimits { dialect, ..BOUNDS };
        read_message(json.as_bytes(), &limits).is_ok()
    };
    let unnamed = r#"{"push":[{"everyone":true,"data":"x"}]}"#;
    assert!(read(&edk::Edk, unnamed) && !read(&easyws::Easyws, unnamed));
    let colon = r#"{"reply":{"event":"a:b","data":"x"}}"#;
    assert!(read(&wsrv::Wsrv, colon) && !read(&easyws::Easyws, colon));
    assert!(
        read(&easyws::Easyws, r#"{"reply":{"data":"x"}}"#),
        "it is that of the request"
    );
}

#[test]
fn the_number_of_actions_is_limited() {
    let many = |member: &str, element: &str, count: usize| {
        let elements = vec![element; count].join(",");
        let json = format!(r#"{{"{member}":[{elements}]}}"#);
        read_message(json.as_bytes(), &BOUNDS).is_ok()
    };
    for (member, element, max) in [
        ("join", r#""a""#, JOINS_MAX),
        ("leave", r#""a""#, LEAVES_MAX),
        ("push", r#"{"user":"a"}"#, PUSHES_MAX),
    ] {
        assert!(many(member, element, max), "{member}");
        assert!(!many(member, element, max + 1), "{member}");
    }
}

#[test]
fn deep_responses_do_not_exhaust_the_stack() {
    let deep = "[".repeat(200_000);
    let closed = "]".repeat(200_000);
    let json = format!(r#"{{"reply":{{"data":{deep}{closed}}}}}"#);
    assert!(
        read_message(json.as_bytes(), &BOUNDS).is_ok(),
        "passed on unchanged"
    );
    assert!(read_message(deep.as_bytes(), &BOUNDS).is_err());
}

/// Any input is either read or invalid, and a response that is read is within its limits.
#[test]
fn reading_is_total() {
    let seeds: &[&[u8]] = &[
        br#"{"admit":true,"user":"ada","channels":["a"],"values":{},"message":{"data":1}}"#,
        br#"{"admit":false,"status":401,"body":"no"}"#,
        br#"{"user":"ada"}"#,
        br#"{"allow":true}"#,
        br#"{"reply":{"bytes":"AA=="},"join":["a"],"push":[{"user":"u","data":"\u0041"}]}"#,
        br#"{"failure":{"status":1,"message":"x"},"close":{"code":1000,"reason":"r"}}"#,
    ];
    let mut prng = Prng::from_seed(7);
    for _ in 0..20_000 {
        let mut bytes = prng.pick(seeds.iter()).expect("there are some").to_vec();
        for _ in 0..prng.range(0, 4) {
            let at = usize::try_from(prng.below(bytes.len() as u64)).expect("small");
            let byte = u8::try_from(prng.range(0, 255)).expect("a byte");
            match prng.range(0, 3) {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, *prng.pick(br#"{}[]":,\0e"#.iter()).expect("some")),
            }
        }
        if let Ok(OpenResponse::Admit(admitted)) = read_open(&bytes, &BOUNDS) {
            assert!(
                admitted
                    .channels
                    .iter()
                    .all(|name| !name.is_empty() && name.len() <= 16)
            );
            assert!(
                admitted
                    .user
                    .is_none_or(|user| !user.is_empty() && user.len() <= 16)
            );
            assert!(
                admitted
                    .values
                    .is_none_or(|it| it.json().get().starts_with('{'))
            );
        }
        if let Ok(actions) = read_message(&bytes, &BOUNDS) {
            assert!(
                actions
                    .joins
                    .iter()
                    .all(|name| !name.is_empty() && name.len() <= 16)
            );
            assert!(
                actions
                    .close
                    .is_none_or(|(code, _)| (1000..5000).contains(&code))
            );
        }
        drop((read_user(&bytes, &BOUNDS), read_allow(&bytes)));
        drop(read_join(&bytes, &BOUNDS));
    }
}
