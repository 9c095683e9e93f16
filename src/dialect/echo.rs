//! The `echo` dialect: each message is sent back unchanged.
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
//! Conformance and round-trip tests use it. It is the only dialect here that checks text for UTF-8
//! (RFC 6455 8.1); the originals do not. `shard/partial_messages.rs` checks partial messages.

use super::{
    DecodeError, DefaultRoute, Dialect, DialectSpec, Intent, Intents, OnInvalid, Options,
    RouteFacts, RouteSpec,
};
use crate::codec::json::Scratch;
use crate::vocabulary::close::CloseCause;
use crate::vocabulary::limits::{Limits, OUTBOX_BYTES_CEILING, RouteLimits};
use crate::vocabulary::publication::Publication;
use crate::ws::MessageType;

/// The `echo` dialect.
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

    /// Raises the outbox limit to two messages of maximum size, as far as its range allows, since
    /// each message is sent back.
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

    fn on_invalid(&self, error: DecodeError) -> OnInvalid {
        match error {
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

/// Least default of the outbox limit, in bytes.
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
