//! An echo server: every message comes back to its sender.

use super::{Capability, Member, MessageSink, Options, Protocol, Purpose, ServerMessage, Upgrade};

/// The protocol `echo`.
#[derive(Debug)]
pub(super) struct Echo {
    path: String,
}

impl Echo {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            path: options.path_or("/echo"),
        }
    }
}

impl Protocol for Echo {
    fn offers(&self, capability: Capability) -> bool {
        capability == Capability::Command
    }

    fn upgrade(&self, _member: Member, _purpose: Purpose) -> Option<Upgrade> {
        Some(Upgrade {
            path: self.path.clone(),
            headers: Vec::new(),
        })
    }

    fn command_message(&self, _member: Member, message: &str) -> Option<Vec<u8>> {
        Some(message.as_bytes().to_vec())
    }

    fn read(&self, _rest: &mut Vec<u8>, payload: &[u8], sink: MessageSink<'_>) {
        sink(ServerMessage::Message(payload));
    }
}
