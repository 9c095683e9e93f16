//! Campanile's dialect `wsrv`: JSON commands, each with a response under its sequence number.
//!
//! ```text
//!   > {"cmd":"join","seqno":"j","data":"room-0"}
//!   < {"cmd":"join","seqno":"j","status":0,"msg":"ok","data":..}
//!   > {"cmd":"publish","seqno":"p","data":{"channel":"room-0","data":"hi"}}
//!   < {"cmd":"publish","seqno":"Hph7bg5S","status":0,"msg":"ok","data":"hi"}   every member
//!   < {"cmd":"publish","seqno":"p","status":0,"msg":"ok","data":{}}            the publisher
//!   > {"cmd":"echo","seqno":"1","data":"hi"}
//!   < {"cmd":"echo","seqno":"1","status":0,"msg":"ok","data":"hi"}
//! ```

use super::campanile::Api;
use super::{
    Capability, Member, MessageSink, Opening, Options, Protocol, Purpose, ServerMessage, Upgrade,
};
use super::{channel, json};

/// The protocol `wsrv`.
#[derive(Debug)]
pub(super) struct Wsrv {
    path: String,
    api: Api,
}

impl Wsrv {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            path: options.path_or("/wsrv"),
            api: Api::new(options),
        }
    }
}

impl Protocol for Wsrv {
    fn offers(&self, capability: Capability) -> bool {
        match capability {
            Capability::Http
            | Capability::Client
            | Capability::Command
            | Capability::Membership => true,
        }
    }

    fn upgrade(&self, _member: Member, _purpose: Purpose) -> Option<Upgrade> {
        Some(Upgrade {
            path: self.path.clone(),
            headers: Vec::new(),
        })
    }

    fn opening(&self, member: Member, purpose: Purpose) -> Opening {
        match purpose {
            Purpose::Receive => Opening {
                has_greeting: false,
                message: self.join_message(member.group),
                is_confirmed: true,
            },
            Purpose::Command | Purpose::Churn => Opening::default(),
        }
    }

    /// The gateway closes sessions that send no message for 30 s. An empty message is enough.
    fn heartbeat(&self) -> Option<&'static [u8]> {
        Some(b"")
    }

    fn api(&self) -> Option<&Api> {
        Some(&self.api)
    }

    fn publish_message(&self, group: usize, message: &str) -> Option<Vec<u8>> {
        let channel = channel(group);
        let text = format!(
            r#"{{"cmd":"publish","seqno":"p","data":{{"channel":"{channel}","data":"{message}"}}}}"#
        );
        Some(text.into_bytes())
    }

    fn command_message(&self, _member: Member, message: &str) -> Option<Vec<u8>> {
        Some(format!(r#"{{"cmd":"echo","seqno":"1","data":"{message}"}}"#).into_bytes())
    }

    fn join_message(&self, group: usize) -> Option<Vec<u8>> {
        let channel = channel(group);
        Some(format!(r#"{{"cmd":"join","seqno":"j","data":"{channel}"}}"#).into_bytes())
    }

    fn leave_message(&self, group: usize) -> Option<Vec<u8>> {
        let channel = channel(group);
        Some(format!(r#"{{"cmd":"leave","seqno":"l","data":"{channel}"}}"#).into_bytes())
    }

    fn read(&self, _rest: &mut Vec<u8>, payload: &[u8], sink: MessageSink<'_>) {
        if let Some(message) = json::string_member(payload, b"data")
            && !CONFIRMATIONS.contains(&json::string_member(payload, b"seqno").unwrap_or_default())
        {
            return sink(ServerMessage::Message(message));
        }
        let is_ok = json::member(payload, b"status").is_some_and(|rest| rest.starts_with(b"0,"));
        match json::string_member(payload, b"seqno") {
            _ if !is_ok => sink(ServerMessage::Error(
                String::from_utf8_lossy(payload).into_owned(),
            )),
            Some(b"j") => sink(ServerMessage::Joined),
            Some(b"l") => sink(ServerMessage::Left),
            Some(b"p") => sink(ServerMessage::Accepted),
            _ => {}
        }
    }
}

/// The sequence numbers of commands whose responses are confirmations. Those of pushes are 8
/// characters long.
const CONFIRMATIONS: [&[u8]; 3] = [b"j", b"l", b"p"];

#[cfg(test)]
mod tests {
    use super::super::tests::decoded;
    use super::*;

    #[test]
    fn responses_and_pushes_are_distinguished() {
        let wsrv = Wsrv::new(&Options::default());
        let all = decoded(
            &wsrv,
            &[
                br#"{"cmd":"join","seqno":"j","status":0,"msg":"ok","data":"room-0"}"#,
                br#"{"cmd":"publish","seqno":"Hph7bg5S","status":0,"msg":"ok","data":"hi"}"#,
                br#"{"cmd":"publish","seqno":"p","status":0,"msg":"ok","data":{}}"#,
                br#"{"cmd":"echo","seqno":"1","status":0,"msg":"ok","data":"hi"}"#,
                br#"{"cmd":"leave","seqno":"l","status":0,"msg":"ok","data":{}}"#,
            ],
        );
        assert_eq!(
            all,
            ["Joined", "Message hi", "Accepted", "Message hi", "Left"]
        );
        let refused = decoded(
            &wsrv,
            &[br#"{"cmd":"join","seqno":"j","status":-1,"msg":"not implement","data":{}}"#],
        );
        assert!(refused[0].starts_with("Error("), "{refused:?}");
    }
}
