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
use super::{Ear, Heard, Member, Opening, Options, Protocol, Purpose, Upgrade, Way, channel};

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
    fn offers(&self, way: Way) -> bool {
        match way {
            Way::Http | Way::Client | Way::Ask => true,
            Way::Wander => false, // Joins and leaves are not confirmed.
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
            Purpose::Ask | Purpose::Wander => None,
        };
        Opening {
            greeted: false,
            message,
            answered: false,
        }
    }

    fn api(&self) -> Option<&Api> {
        Some(&self.api)
    }

    fn say(&self, group: usize, message: &str) -> Option<Vec<u8>> {
        Some(format!("publish: {} {message}", channel(group)).into_bytes())
    }

    fn ask(&self, _member: Member, message: &str) -> Option<Vec<u8>> {
        Some(format!("echo: {message}").into_bytes())
    }

    fn read(&self, _rest: &mut Vec<u8>, payload: &[u8], ear: Ear<'_>) {
        for command in [&b"publish: "[..], b"echo: "] {
            if let Some(message) = payload.strip_prefix(command) {
                return ear(Heard::Message(message));
            }
        }
        if let Some(refusal) = payload.strip_prefix(b"websocket: ") {
            ear(Heard::Refused(
                String::from_utf8_lossy(refusal).into_owned(),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::heard;
    use super::*;

    #[test]
    fn publications_replies_and_errors_are_distinguished() {
        let easyws = Easyws::new(&Options::default());
        let all = heard(
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
            ["Message hi", "Message ho", "Refused(\"not authorized\")"]
        );
    }
}
