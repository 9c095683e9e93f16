//! Campanile's dialect `projectforge`: JSON messages with a channel, which connecting joins.
//!
//! ```text
//!   GET /projectforge?ch=room-0      joins; the other members receive `online-update`
//!   > {"channel":"room-0","cmd":"publish","param":"hi"}
//!   < { "from": .., "channel": "room-0", "cmd": "publish", "param": "hi" }      every member
//!   > {"channel":"","cmd":"echo","param":"hi"}
//!   < { "cmd": "echo", "param": "hi" }
//! ```

use super::campanile::Api;
use super::{
    Capability, Member, MessageSink, Options, Protocol, Purpose, ServerMessage, Upgrade, channel,
    json,
};

/// The protocol `projectforge`.
#[derive(Debug)]
pub(super) struct Projectforge {
    path: String,
    api: Api,
}

impl Projectforge {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            path: options.path_or("/projectforge"),
            api: Api::new(options),
        }
    }
}

impl Protocol for Projectforge {
    fn offers(&self, capability: Capability) -> bool {
        match capability {
            Capability::Http | Capability::Client | Capability::Command => true,
            Capability::Membership => false, // Joins and leaves are not confirmed.
        }
    }

    fn upgrade(&self, member: Member, purpose: Purpose) -> Option<Upgrade> {
        let query = match purpose {
            Purpose::Receive => format!("?ch={}", channel(member.group)),
            // Without `ch` the gateway generates a channel for the session.
            Purpose::Command | Purpose::Churn => String::new(),
        };
        Some(Upgrade {
            path: format!("{}{query}", self.path),
            headers: Vec::new(),
        })
    }

    fn api(&self) -> Option<&Api> {
        Some(&self.api)
    }

    fn publish_message(&self, group: usize, message: &str) -> Option<Vec<u8>> {
        let channel = channel(group);
        let text = format!(r#"{{"channel":"{channel}","cmd":"publish","param":"{message}"}}"#);
        Some(text.into_bytes())
    }

    fn command_message(&self, _member: Member, message: &str) -> Option<Vec<u8>> {
        Some(format!(r#"{{"channel":"","cmd":"echo","param":"{message}"}}"#).into_bytes())
    }

    fn read(&self, _rest: &mut Vec<u8>, payload: &[u8], sink: MessageSink<'_>) {
        if let Some(message) = json::string_member(payload, b"param") {
            sink(ServerMessage::Message(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::decoded;
    use super::*;

    #[test]
    fn a_publication_is_found_in_its_indented_envelope() {
        let forge = Projectforge::new(&Options::default());
        let all = decoded(
            &forge,
            &[
                b"{\n  \"from\": \"a007345e-a2e3-49c7-8b10-d4317bad2ac5\",\n  \
                  \"channel\": \"room-0\",\n  \"cmd\": \"publish\",\n  \"param\": \"hi\"\n}",
                b"{\n  \"channel\": \"room-0\",\n  \"cmd\": \"online-update\",\n  \
                  \"param\": {\n    \
                  \"userID\": \"x\",\n    \"connected\": true\n  }\n}",
            ],
        );
        assert_eq!(all, ["Message hi"]);
    }
}
