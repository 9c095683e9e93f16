//! Random messages of the gateway: publications and outcomes of every kind.

use crate::Prng;
use crate::client_messages::{json, noise, random_json_text, text, uuid};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use campanile::content::{
    Content, Correlation, Data, Denial, Failure, Outcome, OwnedData, Reply, SessionFacts,
};
use campanile::id::{ConnectionId, SessionId, ShardId};
use campanile::public_id::PublicId;
use campanile::publication::{Audience, OwnedAudience, Publication, PublicationId};
use campanile::ws::MessageType;
use serde_json::Value;

/// A random publication that owns its contents.
#[derive(Clone, Debug)]
pub(crate) struct RandomPublication {
    pub(crate) event: String,
    pub(crate) data: OwnedData,
    pub(crate) from: String,
    pub(crate) channel: String,
    pub(crate) correlation: String,
    pub(crate) status: i64,
    pub(crate) status_text: String,
    pub(crate) audience: OwnedAudience,
    pub(crate) nonce: u64,
}

impl RandomPublication {
    pub(crate) fn generate(prng: &mut Prng) -> Self {
        Self {
            event: text(prng),
            data: payload(prng),
            from: if prng.chance(1, 2) {
                uuid(prng)
            } else {
                text(prng)
            },
            channel: text(prng),
            correlation: text(prng),
            status: status(prng),
            status_text: text(prng),
            audience: audience(prng),
            nonce: prng.below(u64::MAX),
        }
    }

    pub(crate) fn publication(&self) -> Publication<'_> {
        Publication {
            id: PublicationId {
                origin: ShardId::new(0),
                sequence: 7,
            },
            position: None,
            audience: self.audience.borrow(),
            content: Content {
                event: &self.event,
                data: self.data.borrow(),
                from: &self.from,
                channel: self.channel.as_str().into(),
                correlation: &self.correlation,
                status: self.status,
                status_text: &self.status_text,
            },
            nonce: self.nonce,
        }
    }

    /// Returns the channel in the encoded message: the one that the publication names, or else its
    /// audience.
    pub(crate) fn encoded_channel(&self) -> String {
        match self.audience.borrow() {
            Audience::Channel { name, .. } if self.channel.is_empty() => {
                String::from_utf8_lossy(name).into_owned()
            }
            Audience::Channel { .. }
            | Audience::User { .. }
            | Audience::Session(_)
            | Audience::Everyone { .. } => self.channel.clone(),
        }
    }
}

/// Generates the correlation that a reply must repeat.
pub(crate) fn correlation(prng: &mut Prng) -> Correlation {
    Correlation {
        command: text(prng).into(),
        id: text(prng).into(),
        channel: text(prng).into(),
        kind: *prng
            .pick([MessageType::Text, MessageType::Binary].iter())
            .expect("two"),
    }
}

/// Generates an outcome, except a panic, which only the dialects' unit tests can construct.
pub(crate) fn outcome(prng: &mut Prng) -> Outcome {
    match prng.range(0, 13) {
        10 => Outcome::Left,
        11 => Outcome::Published,
        12 => Outcome::Identified(SessionFacts {
            id: PublicId::from_bytes([7; 16]),
            idle_timeout_ms: 0,
        }),
        0 => Outcome::Joined(reply(prng)),
        1..=4 => Outcome::Denied(*prng.pick(Denial::ALL.iter()).expect("there are some")),
        5 => Outcome::NotHandled,
        6 => Outcome::Silent,
        7 | 8 => Outcome::Replied(reply(prng)),
        _ => {
            let failure = if prng.chance(1, 2) {
                Failure::new(status(prng), text(prng))
            } else {
                Failure::error(text(prng))
            };
            Outcome::Failed(if prng.chance(1, 2) {
                failure.with_data(&json(prng, 2)).expect("it is JSON")
            } else {
                failure
            })
        }
    }
}

fn reply(prng: &mut Prng) -> Reply {
    let reply = match payload(prng) {
        OwnedData::None => Reply::ok(),
        OwnedData::Json(json) => Reply::raw_json(json).expect("it is JSON"),
        OwnedData::Text(text) => Reply::text(text),
        OwnedData::Bytes(bytes) => Reply::bytes(bytes),
    };
    if prng.chance(1, 3) {
        reply.with_event(text(prng))
    } else {
        reply
    }
}

/// Generates message data of any kind.
pub(crate) fn payload(prng: &mut Prng) -> OwnedData {
    match prng.range(0, 4) {
        0 => OwnedData::None,
        1 => OwnedData::Text(text(prng).into()),
        2 => OwnedData::Bytes(noise(prng, 40).into()),
        _ => {
            let value = json(prng, 4);
            OwnedData::Json(random_json_text(prng, &value).into())
        }
    }
}

/// Converts message data to JSON as dialects with JSON messages do.
pub(crate) fn as_json(data: Data<'_>) -> Value {
    match data {
        Data::None => Value::Null,
        Data::Json(json) => serde_json::from_slice(json).expect("it was written as JSON"),
        Data::Text(text) => text.into(),
        Data::Bytes(bytes) => STANDARD.encode(bytes).into(),
    }
}

fn status(prng: &mut Prng) -> i64 {
    let any = prng.below(u64::MAX).cast_signed();
    *prng
        .pick([0, 0, -1, 1, i64::MIN, any].iter())
        .expect("some")
}

fn audience(prng: &mut Prng) -> OwnedAudience {
    let name: Box<[u8]> = if prng.chance(1, 4) {
        noise(prng, 9).into()
    } else {
        text(prng).into_bytes().into()
    };
    match prng.range(0, 3) {
        0 => OwnedAudience::User {
            namespace: 3,
            name,
            event: prng.chance(1, 2).then(|| noise(prng, 9).into()),
        },
        1 => OwnedAudience::Channel {
            namespace: 3,
            name,
            except: Box::default(),
        },
        2 => OwnedAudience::Session(SessionId::new(ShardId::new(0), ConnectionId::new(4, 1))),
        _ => OwnedAudience::Everyone {
            namespace: 3,
            except: Box::default(),
        },
    }
}
