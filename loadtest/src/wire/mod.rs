//! The parts that all protocols share: addresses of servers, HTTP, WebSocket frames.
//!
//! They are written from the specifications and share no code with the gateway.

pub(crate) mod frames;
pub(crate) mod http;

use std::net::{SocketAddr, ToSocketAddrs as _};

use crate::failure::{Attempt as _, Failure, Outcome};

/// The URL of a server's WebSocket endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// `host:port`, as in the `Host` header.
    pub(crate) authority: String,
    /// The path of upgrades, with its leading slash.
    pub(crate) path: String,
}

impl Target {
    /// Parses `ws://HOST:PORT/PATH`. The default path is `/ws`.
    ///
    /// # Errors
    ///
    /// The text has another form.
    pub(crate) fn parse(url: &str) -> Outcome<Self> {
        let wrong = || Failure::new(format!("`{url}` is not of the form ws://HOST:PORT/ws"));
        let rest = url.strip_prefix("ws://").ok_or_else(wrong)?;
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/ws"),
        };
        let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        Ok(Self {
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }

    /// Resolves the address to connect to.
    ///
    /// # Errors
    ///
    /// The host name does not resolve.
    pub(crate) fn address(&self) -> Outcome<SocketAddr> {
        let what = format!("look up {}", self.authority);
        self.authority
            .to_socket_addrs()
            .attempt(&what)?
            .next()
            .ok_or_else(|| Failure::new(format!("{what}: no address")))
    }
}

/// An upgrade request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Upgrade {
    /// Path and query.
    pub(crate) path: String,
    /// Headers of the protocol, besides those of RFC 6455.
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// Encodes an upgrade request.
pub(crate) fn upgrade_request(target: &Target, upgrade: &Upgrade) -> Vec<u8> {
    let lines = upgrade.headers.iter();
    let lines = lines.map(|(name, value)| [name, ": ", value.as_str(), "\r\n"].concat());
    let headers: String = lines.collect();
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {SAMPLE_KEY}\r\n{headers}\r\n",
        upgrade.path, target.authority
    )
    .into_bytes()
}

/// Returns the first `ws://` URL with the path `/ws` in the output of a starting gateway; `None` if
/// its line is not complete yet.
pub(crate) fn find_url(text: &str) -> Option<&str> {
    let start = text.find("ws://")?;
    let url = &text[start..];
    let is_url = |c: char| c.is_ascii_alphanumeric() || ":/.-_[]".contains(c);
    let end = url.find(|c| !is_url(c))?; // Without an end the line is incomplete.
    let url = url[..end].trim_end_matches(['.', ':']);
    url.ends_with("/ws").then_some(url)
}

/// Returns a gateway's response to a push that reached `clients` sessions. A floor sends the same,
/// so that it sends as many bytes.
pub(crate) fn push_response(clients: usize) -> Vec<u8> {
    let body = format!("message sent to {clients} clients");
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Parses the number of clients in the body of a push response; `None` if the body is different.
pub(crate) fn clients_reached(body: &[u8]) -> Option<u64> {
    let text = str::from_utf8(body).ok()?;
    text.strip_prefix("message sent to ")?
        .strip_suffix(" clients")?
        .parse()
        .ok()
}

/// The message size of the figures, in bytes.
pub(crate) const MESSAGE_BYTES: usize = 128;
/// The `Sec-WebSocket-Key` of the example in RFC 6455, so that no digest must be computed.
pub(crate) const SAMPLE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The `Sec-WebSocket-Accept` for [`SAMPLE_KEY`].
pub(crate) const SAMPLE_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_names_host_port_and_path() {
        let target = Target::parse("ws://127.0.0.1:9001/ws").expect("well formed");
        assert_eq!(
            (target.authority.as_str(), target.path.as_str()),
            ("127.0.0.1:9001", "/ws")
        );
        let default = Target::parse("ws://localhost:80").expect("well formed");
        assert_eq!(default.path, "/ws");
        for wrong in ["http://a:1/ws", "ws://a/ws", "ws://:1/ws", "ws://a:x/ws"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_listening_url_is_found_once_its_line_is_whole() {
        let text = "campanile 0.1\nlistening on ws://127.0.0.1:4041/ws (1 shard)\n";
        assert_eq!(find_url(text), Some("ws://127.0.0.1:4041/ws"));
        assert_eq!(
            find_url("on ws://127.0.0.1:4041/ws.\n"),
            Some("ws://127.0.0.1:4041/ws")
        );
        assert_eq!(find_url("on ws://127.0.0.1:40"), None);
        assert_eq!(find_url("nothing yet\n"), None);
    }

    #[test]
    fn only_the_exact_push_response_has_a_count() {
        assert_eq!(clients_reached(b"message sent to 0 clients"), Some(0));
        assert_eq!(clients_reached(b"message sent to 1000 clients"), Some(1000));
        assert_eq!(clients_reached(b"message sent to 1 client"), None);
        assert_eq!(clients_reached(b"request data illegal"), None);
    }
}
