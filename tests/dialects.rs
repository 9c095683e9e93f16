//! Every dialect is total: whatever bytes a client sends, decoding ends with intents or a refusal.
//!
//! Bytes are drawn from a seed: noise, and register messages with a few bytes changed, cut or
//! doubled, so that every branch of a decoder is reached from nearly valid input.

use campanile::content::{Content, Data};
use campanile::dialect::json::Scratch;
use campanile::dialect::{ALL, Dialect, Intent, Intents, Options, Refusal};
use campanile::id::ShardId;
use campanile::shard::publication::{Audience, Publication, PublicationId};
use campanile::ws::Kind;

#[path = "../src/testing.rs"]
#[expect(dead_code, reason = "this test rolls fewer kinds of dice than others")]
mod testing;

use testing::Prng;

#[test]
fn any_bytes_are_decoded_or_refused() {
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..20_000 {
        let mut prng = Prng::from_seed(seed);
        let message = if prng.chance(1, 3) {
            noise(&mut prng)
        } else {
            nearly_valid(&mut prng)
        };
        for dialect in ALL {
            for kind in [Kind::Text, Kind::Binary] {
                match decode(*dialect, kind, &message) {
                    Ok(()) => accepted += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(
        accepted > 10_000 && refused > 10_000,
        "{accepted} accepted, {refused} refused"
    );
}

fn decode(dialect: &dyn Dialect, kind: Kind, message: &[u8]) -> Result<(), Refusal> {
    let (mut payload, mut scratch) = (message.to_vec(), Scratch::new());
    let mut intents = Intents::new();
    let options = Options::default();
    dialect.decode(kind, &mut payload, &options, &mut scratch, &mut intents)?;
    for intent in &intents {
        match intent {
            Intent::Identify { event, .. } => assert!(!event.is_empty(), "nobody listens to that"),
            Intent::Reply { payload, .. } => assert_eq!(*payload, message, "it is the message"),
            Intent::Heartbeat | Intent::Join { .. } | Intent::Call(_) => {}
        }
    }
    Ok(())
}

#[test]
fn any_payload_can_be_worded_behind_what_is_there_already() {
    for seed in 0..200 {
        let payload = noise(&mut Prng::from_seed(seed));
        let publication = Publication {
            id: PublicationId {
                origin: ShardId::new(0),
                sequence: seed,
            },
            position: None,
            audience: Audience::User {
                namespace: 0,
                name: b"jack",
                event: Some(b"news"),
            },
            content: Content {
                event: "news",
                data: Data::Bytes(&payload),
                ..Content::default()
            },
            nonce: seed,
        };
        for dialect in ALL {
            let mut message = b"before".to_vec();
            dialect.encode(&publication, &Options::default(), &mut message);
            assert!(message.starts_with(b"before"), "{}", dialect.name());
        }
    }
}

fn noise(prng: &mut Prng) -> Vec<u8> {
    (0..prng.range(0, 60)).map(|_| byte(prng)).collect()
}

fn nearly_valid(prng: &mut Prng) -> Vec<u8> {
    let mut message = br#" {"token":"a\u00e9","x":[1,{"y":null}],"Event":"n"} x"#.to_vec();
    for _ in 0..prng.range(0, 3) {
        let at = prng.range(0, u32::try_from(message.len() - 1).expect("small")) as usize;
        match prng.range(0, 3) {
            0 => message[at] = byte(prng),
            1 => message.truncate(at + 1),
            2 => message.extend_from_within(at..),
            _ => drop(message.drain(..at)),
        }
    }
    message
}

fn byte(prng: &mut Prng) -> u8 {
    u8::try_from(prng.range(0, 255)).expect("a byte")
}
