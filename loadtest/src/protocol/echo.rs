//! An echo server: every message comes back to its sender.

use super::{Ear, Heard, Member, Options, Protocol, Purpose, Upgrade, Way};

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
    fn offers(&self, way: Way) -> bool {
        way == Way::Ask
    }

    fn upgrade(&self, _member: Member, _purpose: Purpose) -> Option<Upgrade> {
        Some(Upgrade {
            path: self.path.clone(),
            headers: Vec::new(),
        })
    }

    fn ask(&self, _member: Member, message: &str) -> Option<Vec<u8>> {
        Some(message.as_bytes().to_vec())
    }

    fn read(&self, _rest: &mut Vec<u8>, payload: &[u8], ear: Ear<'_>) {
        ear(Heard::Message(payload));
    }
}
