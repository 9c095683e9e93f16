//! Campanile's dialect `easyws`: messages of the form `command: data`, the user in a cookie.
//!
//! ```text
//!   > join: room-0                no response
//!   > publish: room-0 hi
//!   < publish: hi                 every member
//!   > echo: hi
//!   < echo: hi
//! ```

use super::campanile::Api;
use super::{
    Capability, Member, MessageSink, Opening, Options, Protocol, Purpose, ServerMessage, Upgrade,
    channel,
};

/// The protocol `easyws`.
#[derive(Debug)]
pub(super) struct Easyws {
    path: String,
    api: Api,
}

impl Easyws {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            path: options.path_or("/easyws"),
            api: Api::new(options),
        }
    }
}

impl Protocol for Easyws {
    fn offers(&self, capability: Capability) -> bool {
        match capability {
            Capability::Http | Capability::Client | Capability::Command => true,
            Capability::Membership => false, // Joins and leaves are not confirmed.
        }
    }

    fn upgrade(&self, member: Member, _purpose: Purpose) -> Option<Upgrade> {
        Some(Upgrade {
            path: self.path.clone(),
            headers: vec![("Cookie", format!("auth=user-{}", member.session))],
        })
    }

    fn opening(&self, member: Member, purpose: Purpose) -> Opening {
        let message = match purpose {
            Purpose::Receive => Some(format!("join: {}", channel(member.group)).into_bytes()),
            Purpose::Command | Purpose::Churn => None,
        };
        Opening {
            has_greeting: false,
            message,
            is_confirmed: false,
        }
    }

    fn api(&self) -> Option<&Api> {
        Some(&self.api)
    }

    fn publish_message(&self, group: usize, message: &str) -> Option<Vec<u8>> {
        Some(format!("publish: {} {message}", channel(group)).into_bytes())
    }

    fn command_message(&self, _member: Member, message: &str) -> Option<Vec<u8>> {
        Some(format!("echo: {message}").into_bytes())
    }

    fn read(&self, _rest: &mut Vec<u8>, payload: &[u8], sink: MessageSink<'_>) {
        for command in [&b"publish: "[..], b"echo: "] {
            if let Some(message) = payload.strip_prefix(command) {
                return sink(ServerMessage::Message(message));
            }
        }
        if let Some(refusal) = payload.strip_prefix(b"websocket: ") {
            sink(ServerMessage::Error(
                String::from_utf8_lossy(refusal).into_owned(),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::decoded;
    use super::*;

    #[test]
    fn publications_replies_and_errors_are_distinguished() {
        let easyws = Easyws::new(&Options::default());
        let all = decoded(
            &easyws,
            &[
                b"publish: hi",
                b"echo: ho",
                b"welcome: x",
                b"websocket: not authorized",
            ],
        );
        assert_eq!(
            all,
            ["Message hi", "Message ho", "Error(\"not authorized\")"]
        );
    }
}
