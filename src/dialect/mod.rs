//! The languages clients speak inside WebSocket messages.
//!
//! A dialect is a pair of pure translations: a message into the [`Intent`]s it expresses, and a
//! [`Publication`] back into a message. It sees bytes and nothing else. What the gateway remembers
//! about a client lives in the session, so adding a language adds one file here, one line to
//! [`ALL`] and one directory of transcripts, and cannot break any other language.

pub mod echo;
pub mod json;
pub mod wserver;

use crate::close::End;
use crate::shard::publication::Publication;
use crate::ws::Kind;
use smallvec::SmallVec;
use std::fmt;

/// Every dialect this build speaks.
pub const ALL: &[&dyn Dialect] = &[&wserver::Wserver, &echo::Echo];

/// A wire dialect.
///
/// Implementations hold no state and must be total: for any bytes whatever, [`decode`] returns
/// intents or a [`Refusal`] and does not panic. `tests/dialects.rs` holds every member of [`ALL`]
/// to that.
///
/// [`decode`]: Dialect::decode
pub trait Dialect: fmt::Debug + Sync {
    /// The name used in the config, logs and transcripts: lower case, no spaces.
    fn name(&self) -> &'static str;

    /// Reads what one client message asks for, in order.
    ///
    /// The payload is handed over mutable because a dialect may decode in place. When a message is
    /// refused, whatever it had already pushed is discarded with it.
    fn decode<'m>(
        &self,
        kind: Kind,
        payload: &'m mut [u8],
        scratch: &'m mut json::Scratch,
        intents: &mut Intents<'m>,
    ) -> Result<(), Refusal>;

    /// What becomes of a session whose message was refused.
    fn object(&self, refusal: Refusal) -> Then;

    /// Words a publication the way every subscriber of this dialect receives it, appending it to
    /// `message`, and says which type of frame it goes in.
    ///
    /// Called once per publication and shard, never once per subscriber.
    fn encode(&self, publication: &Publication<'_>, message: &mut Vec<u8>) -> Kind;
}

/// What one message asks for; nearly always one thing.
pub type Intents<'m> = SmallVec<[Intent<'m>; 1]>;

/// Something a client asks of the gateway, whatever words it used.
///
/// The set is closed on purpose: a shard matches on it without a wildcard, so a new intent cannot
/// be added without deciding what it means everywhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Intent<'m> {
    /// Speak for the user whom `token` names, and receive what is pushed to that user for `event`.
    Identify {
        /// What the client shows to prove who it is.
        token: &'m str,
        /// What it wants to hear.
        event: &'m str,
    },
    /// Send this back to the sender, as it is.
    Reply {
        /// The type of frame it goes in.
        kind: Kind,
        /// What it says.
        payload: &'m [u8],
    },
}

/// Why a message was turned down. The client's doing, and never fatal to a shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// A text message is not UTF-8, and this language looks.
    InvalidText,
    /// The message is not in this language.
    Malformed,
}

/// What becomes of a session whose message was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Then {
    /// It ends for this reason.
    Leave(End),
    /// It goes on as if nothing had been said.
    Stay,
}

/// The dialect of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Dialect> {
    ALL.iter().copied().find(|dialect| dialect.name() == name)
}
