//! Tests of random upgrade requests: each is admitted or rejected, with values from the request.

use crate::client_messages;
use crate::schema::all_options;
use campanile::dialect::{ALL, Credentials, Dialect, InitialChannel, Rejection, UpgradeRequest};
use campanile_tests::prng::Prng;

#[test]
fn any_request_is_admitted_or_rejected() {
    let all_options = all_options();
    let (mut admitted, mut rejected) = (0, 0);
    for seed in 0..10_000 {
        let mut prng = Prng::from_seed(seed);
        let headers = headers(&mut prng);
        let headers: Vec<(&str, &[u8])> = headers
            .iter()
            .map(|(name, value)| (*name, &value[..]))
            .collect();
        let query = prng.chance(3, 4).then(|| query(&mut prng));
        let request = UpgradeRequest {
            query: query.as_deref(),
            headers: &headers,
        };
        let options = prng.pick(all_options.iter()).expect("some");
        for dialect in ALL {
            match dialect.admit(&request, options) {
                Ok(credentials) => {
                    check_credentials(*dialect, &request, &credentials);
                    admitted += 1;
                }
                Err(Rejection { status, body }) => {
                    assert!((400..=599).contains(&status) && !body.is_empty());
                    let may_reject = ["edk", "easyws"].contains(&dialect.name());
                    assert!(may_reject, "{} rejected the upgrade", dialect.name());
                    rejected += 1;
                }
            }
        }
    }
    assert!(
        admitted > 10_000 && rejected > 5_000,
        "{admitted}, {rejected}"
    );
}

#[track_caller]
fn check_credentials(
    dialect: &dyn Dialect,
    request: &UpgradeRequest<'_>,
    credentials: &Credentials<'_>,
) {
    let Credentials {
        token,
        user,
        subprotocol,
        channel,
        format,
    } = credentials;
    assert!(*format < dialect.formats());
    if let Some(agreed) = subprotocol {
        assert!(
            is_offered(request, agreed.as_bytes()),
            "{agreed} was not offered"
        );
    }
    match dialect.name() {
        "edk" => {
            assert!(
                token.is_some() && token == subprotocol,
                "the token is agreed on"
            );
            assert!(user.is_none_or(|user| !user.is_empty()));
            assert_eq!(*channel, InitialChannel::None);
        }
        "easyws" => {
            let token = token.as_deref().expect("a cookie");
            assert!(
                token.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
                "{token:?}"
            );
            let subprotocol = subprotocol.as_deref();
            assert!(subprotocol.is_none_or(|agreed| agreed == "cmd.fossores.de"));
            assert_eq!((*user, channel), (None, &InitialChannel::None));
        }
        "projectforge" => {
            let rest = Credentials {
                channel: InitialChannel::None,
                ..credentials.clone()
            };
            assert_eq!(rest, Credentials::default());
            check_channel(request.query.unwrap_or_default(), channel);
        }
        _ => assert_eq!(
            *credentials,
            Credentials::default(),
            "no credentials are requested"
        ),
    }
}

/// Compares the channel with a third-party parser, if all escapes are valid and there is no
/// semicolon.
#[track_caller]
fn check_channel(query: &str, channel: &InitialChannel<'_>) {
    assert_ne!(*channel, InitialChannel::None);
    if let InitialChannel::Named(name) = channel {
        assert!(!name.is_empty());
    }
    let is_escape = |after: &str| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if query.contains(';') || !query.split('%').skip(1).all(is_escape) {
        return;
    }
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let wanted = pairs.find(|(key, _)| key == "ch").map(|(_, value)| value);
    let wanted = wanted.filter(|value| !value.is_empty());
    let expected = wanted.map_or(InitialChannel::Generated, InitialChannel::Named);
    assert_eq!(*channel, expected, "{query}");
}

fn is_offered(request: &UpgradeRequest<'_>, subprotocol: &[u8]) -> bool {
    let lines = request.header("Sec-WebSocket-Protocol");
    lines
        .flat_map(|line| line.split(|&byte| byte == b','))
        .any(|offered| offered.trim_ascii() == subprotocol)
}

fn headers(prng: &mut Prng) -> Vec<(&'static str, Vec<u8>)> {
    const LINES: &[(&str, &[u8])] = &[
        ("Cookie", b"a=b; auth=valid"),
        ("cookie", b"auth=\"a b\"; auth=y"),
        ("COOKIE", b"auth"),
        ("Cookie", b"auth=a\\b; Auth=c"),
        ("Sec-WebSocket-Protocol", b"eyJhbGciOi.e30.sig"),
        ("sec-websocket-protocol", b"a, cmd.fossores.de,,b"),
        ("Sec-WebSocket-Protocol", b" , \t"),
        ("X-User-Id", b" 42 "),
        ("x-user-id", b"j\xc3\xa9r\xc3\xb4me"),
        ("x-user-id", b""),
        ("Origin", b"http://a.example"),
        ("", b"auth=x"),
    ];
    (0..prng.range(0, 5))
        .map(|_| {
            let &(name, value) = prng.pick(LINES.iter()).expect("some");
            let mut value = value.to_vec();
            if prng.chance(1, 3) {
                let at = usize::try_from(prng.below(value.len() as u64 + 1)).expect("an index");
                value.splice(at..at, client_messages::noise(prng, 6));
            }
            (name, value)
        })
        .collect()
}

fn query(prng: &mut Prng) -> String {
    const PIECES: &[&str] = &[
        "ch=",
        "ch",
        "CH=",
        "c%68=",
        "room",
        "a+b",
        "%",
        "%4",
        "%41",
        "%ff",
        "%e2%82%ac",
        "+",
        "&",
        "&",
        ";",
        "=",
        "\u{e9}",
        "%00",
        "%%",
        "x=1",
    ];
    let pieces = (0..prng.range(0, 8)).map(|_| *prng.pick(PIECES.iter()).expect("some"));
    pieces.collect()
}
