//! The echo dialect: every message comes back as it is.
//!
//! ```text
//! client                                   gateway
//!   |  text "hello"                            |   Reply { Text, "hello" }
//!   |----------------------------------------->|
//!   |                            text "hello"  |
//!   |<-----------------------------------------|
//!   |  text FF FE                              |   InvalidText: closed with 1007
//!   |----------------------------------------->|
//! ```
//!
//! It is what conformance and round-trip tests speak to, and the one language here that checks
//! text for UTF-8 (RFC 6455 8.1): the originals never did. The shard looks at messages that have
//! not come whole (`shard/unfinished.rs`).

use super::{
    DecodeError, DefaultRoute, Dialect, DialectSpec, Intent, Intents, OnInvalid, Options,
    RouteFacts, RouteSpec,
};
use crate::codec::json::Scratch;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::limits::{Limits, OUTBOX_BYTES_CEILING, RouteLimits};
use crate::vocabulary::publication::Publication;
use crate::ws::MessageType;

/// The dialect itself; it has no state.
#[derive(Debug)]
pub struct Echo;

impl Dialect for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn spec(&self) -> DialectSpec {
        DialectSpec {
            checks_text: true,
            ..DialectSpec::default()
        }
    }

    fn route_spec(&self) -> RouteSpec {
        RouteSpec {
            summary: "every message comes back as it is",
            keys: "subprotocols",
            default_route: Some(DefaultRoute {
                name: "echo",
                ..DefaultRoute::default()
            }),
            ..RouteSpec::default()
        }
    }

    /// A session is owed what it says, so two of the longest messages are let in, as long as that
    /// is within the range of the setting.
    fn default_limits(&self, route: &mut RouteLimits, limits: &Limits) {
        let two_messages = limits.message_bytes_max.saturating_mul(2);
        route.outbox_bytes_max = two_messages
            .min(OUTBOX_BYTES_CEILING)
            .max(limits.outbox_bytes_max)
            .max(OUTBOX_BYTES_MAX);
    }

    fn first_steps(&self, _: &RouteFacts<'_>) -> Vec<String> {
        vec!["what you send comes back".to_owned()]
    }

    fn decode<'m>(
        &self,
        kind: MessageType,
        payload: &'m mut [u8],
        _: &Options,
        _: &'m mut Scratch,
        intents: &mut Intents<'m>,
    ) -> Result<(), DecodeError> {
        if kind == MessageType::Text && str::from_utf8(payload).is_err() {
            return Err(DecodeError::InvalidText);
        }
        intents.push(Intent::Reply { kind, payload });
        Ok(())
    }

    fn on_invalid(&self, refusal: DecodeError) -> OnInvalid {
        match refusal {
            DecodeError::InvalidText => OnInvalid::Close(CloseCause::InvalidText),
            DecodeError::Malformed => OnInvalid::Ignore,
        }
    }

    fn encode_publication(
        &self,
        publication: &Publication<'_>,
        _: &Options,
        message: &mut Vec<u8>,
    ) -> MessageType {
        message.extend_from_slice(publication.content.data.bytes());
        MessageType::Binary
    }
}

/// What its sessions may be owed at least unless the route says otherwise, in bytes.
const OUTBOX_BYTES_MAX: u32 = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_in_its_own_type() {
        for kind in [MessageType::Text, MessageType::Binary] {
            let (mut payload, mut scratch) = (*b"hi", Scratch::new());
            let mut intents = Intents::new();
            assert_eq!(
                Echo.decode(
                    kind,
                    &mut payload,
                    &Options::default(),
                    &mut scratch,
                    &mut intents
                ),
                Ok(())
            );
            assert_eq!(
                intents[..],
                [Intent::Reply {
                    kind,
                    payload: b"hi"
                }]
            );
        }
    }

    #[test]
    fn only_text_has_to_be_text() {
        let decode = |kind| {
            let (mut payload, mut scratch) = ([0xff, 0xfe], Scratch::new());
            Echo.decode(
                kind,
                &mut payload,
                &Options::default(),
                &mut scratch,
                &mut Intents::new(),
            )
        };
        assert_eq!(decode(MessageType::Binary), Ok(()));
        assert_eq!(decode(MessageType::Text), Err(DecodeError::InvalidText));
        assert_eq!(
            Echo.on_invalid(DecodeError::InvalidText),
            OnInvalid::Close(CloseCause::InvalidText)
        );
    }
}
