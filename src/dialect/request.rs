//! The parts of intents that several of them share.

use crate::vocabulary::content::{Correlation, Data};
use crate::ws::MessageType;

/// The parts of a request that its response repeats, borrowed from the message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Request<'m> {
    /// Name of the command; empty if there is none.
    pub command: &'m str,
    /// The client's id of the request; empty if there is none.
    pub id: &'m str,
    /// The channel that the request is about; empty if it is about none.
    pub channel: &'m str,
    /// The type of the message.
    pub kind: MessageType,
}

/// A publication that a client requests. Its channel is that of the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Publish<'m> {
    /// The parts that the response repeats.
    pub request: Request<'m>,
    /// The event.
    pub event: &'m str,
    /// The body. Sessions of other dialects may receive it, so JSON must be one valid value in
    /// UTF-8, whatever the dialect accepts.
    pub data: Data<'m>,
    /// Whether the session itself does not receive the publication.
    pub to_others: bool,
}

impl Request<'_> {
    /// Copies the request.
    #[must_use]
    pub fn correlation(&self) -> Correlation {
        Correlation {
            command: self.command.into(),
            id: self.id.into(),
            channel: self.channel.into(),
            kind: self.kind,
        }
    }
}
