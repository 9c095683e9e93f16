//! The Pusher protocol, version 7: subscriptions by message, publications by signed HTTP requests.
//!
//! ```text
//!   GET /app/KEY?protocol=7, Upgrade: websocket
//!   < {"event":"pusher:connection_established",..}
//!   > {"event":"pusher:subscribe","data":{"channel":"room-0"}}
//!   < {"event":"pusher_internal:subscription_succeeded",..}
//!   < {"event":"publish","channel":"room-0","data":"hi"}
//!
//!   POST /apps/ID/events?auth_key=..&auth_timestamp=..&auth_version=1.0&body_md5=..
//!        &auth_signature=<hex HMAC-SHA256 of "POST\n<path>\n<the query before it>">
//!   {"name":"publish","channels":["room-0"],"data":"hi"}
//! ```

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use sha2::Sha256;

use super::{
    App, Capability, Member, MessageSink, Opening, Options, Protocol, Purpose, ServerMessage,
    Upgrade,
};
use super::{channel, header_line, json, post};

/// The protocol `pusher`.
#[derive(Debug)]
pub(super) struct Pusher {
    app: App,
    path: String,
    publish_path: String,
    headers: String,
}

impl Pusher {
    pub(super) fn new(options: &Options) -> Self {
        let header = header_line(options.publish_header.as_deref());
        let app = &options.app;
        Self {
            app: app.clone(),
            path: options.path_or(&format!("/app/{}", app.key)),
            publish_path: options.publish_path_or(&format!("/apps/{}/events", app.id)),
            headers: format!("Content-Type: application/json\r\n{header}"),
        }
    }

    /// Returns path and query of a `POST` of `body`, signed with the Unix time `seconds`.
    fn signed_path(&self, body: &str, seconds: u64) -> String {
        let body_md5 = hex(&Md5::digest(body));
        let query = format!(
            "auth_key={}&auth_timestamp={seconds}&auth_version=1.0&body_md5={body_md5}",
            self.app.key
        );
        let mut mac = Hmac::<Sha256>::new_from_slice(self.app.secret.as_bytes())
            .expect("HMAC takes a key of any length");
        mac.update(format!("POST\n{}\n{query}", self.publish_path).as_bytes());
        let signature = hex(&mac.finalize().into_bytes());
        format!("{}?{query}&auth_signature={signature}", self.publish_path)
    }
}

impl Protocol for Pusher {
    fn offers(&self, capability: Capability) -> bool {
        match capability {
            Capability::Http => true,
            Capability::Client | Capability::Command | Capability::Membership => false,
        }
    }

    fn upgrade(&self, _member: Member, _purpose: Purpose) -> Option<Upgrade> {
        Some(Upgrade {
            path: format!("{}?protocol=7&client=loadtest&version=1.0", self.path),
            headers: Vec::new(),
        })
    }

    fn opening(&self, member: Member, _purpose: Purpose) -> Opening {
        let channel = channel(member.group);
        let subscribe =
            format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}"#);
        Opening {
            has_greeting: true,
            message: Some(subscribe.into_bytes()),
            is_confirmed: true,
        }
    }

    fn request(
        &self,
        authority: &str,
        group: usize,
        message: &str,
        seconds: u64,
    ) -> Option<Vec<u8>> {
        let channel = channel(group);
        let body = format!(r#"{{"name":"publish","channels":["{channel}"],"data":"{message}"}}"#);
        let path = self.signed_path(&body, seconds);
        Some(post(authority, &path, &self.headers, &body))
    }

    fn read(&self, _rest: &mut Vec<u8>, payload: &[u8], sink: MessageSink<'_>) {
        match json::string_member(payload, b"event") {
            Some(b"publish") => {
                if let Some(message) = json::string_member(payload, b"data") {
                    sink(ServerMessage::Message(message));
                }
            }
            Some(b"pusher:connection_established") => sink(ServerMessage::Greeting),
            Some(b"pusher_internal:subscription_succeeded") => sink(ServerMessage::Joined),
            Some(b"pusher:ping") => {
                sink(ServerMessage::Ping(br#"{"event":"pusher:pong","data":{}}"#));
            }
            Some(b"pusher:error" | b"pusher:subscription_error") => {
                sink(ServerMessage::Error(
                    String::from_utf8_lossy(payload).into_owned(),
                ));
            }
            _ => {}
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a String");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::decoded;
    use super::*;

    /// The example in Pusher's documentation of its HTTP API.
    #[test]
    fn a_request_is_signed_as_in_pushers_documentation() {
        let app = App {
            id: "3".to_owned(),
            key: "278d425bdf160c739803".to_owned(),
            secret: "7ad3773142a6692b25b8".to_owned(),
        };
        let pusher = Pusher::new(&Options {
            app,
            ..Options::default()
        });
        let body = r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
        assert_eq!(
            pusher.signed_path(body, 1_353_088_179),
            "/apps/3/events?auth_key=278d425bdf160c739803&auth_timestamp=1353088179\
             &auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f\
             &auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
        );
    }

    #[test]
    fn events_of_the_server_are_distinguished() {
        let pusher = Pusher::new(&Options::default());
        let all = decoded(
            &pusher,
            &[
                br#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\"}"}"#,
                br#"{"event":"pusher_internal:subscription_succeeded","channel":"room-0"}"#,
                br#"{"event":"publish","channel":"room-0","data":"hi"}"#,
                br#"{"channel":"room-0","data":"hi","event":"publish"}"#,
                br#"{"event":"pusher:ping","data":{}}"#,
            ],
        );
        let pong = r#"Ping {"event":"pusher:pong","data":{}}"#;
        assert_eq!(
            all,
            ["Greeting", "Joined", "Message hi", "Message hi", pong]
        );
    }
}
