//! The address that a gateway listens on: the key `listen`, and the flag `--listen`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use super::key::Shape;
use super::keywords::{quoted, text_values};

/// The address that clients and publishers connect to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Listen {
    /// An IP address and a port. Port 0 lets the kernel choose one.
    Address(SocketAddr),
    /// `localhost:PORT`: 127.0.0.1 and, where there is one, `::1`.
    Localhost(u16),
    /// `:PORT`: every address of this machine, which is `[::]` or, where there is no IPv6,
    /// `0.0.0.0`.
    Everywhere(u16),
}

impl Listen {
    /// Whether only this machine can connect to it.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        match self {
            // An IPv4-mapped IPv6 address counts as IPv4.
            Self::Address(address) => address.ip().to_canonical().is_loopback(),
            Self::Localhost(_) => true,
            Self::Everywhere(_) => false,
        }
    }
}

text_values! { Listen: Shape::Forms(&["ADDRESS:PORT", "localhost:PORT", ":PORT"]); }

impl Default for Listen {
    fn default() -> Self {
        Self::from((Ipv4Addr::LOCALHOST, 8080))
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Listen {
    fn from(address: (I, u16)) -> Self {
        Self::Address(address.into())
    }
}

impl FromStr for Listen {
    type Err = String;

    /// Reads an address. Names other than `localhost` are not resolved: their addresses may change.
    fn from_str(text: &str) -> Result<Self, String> {
        let named = text.split_once(':').and_then(|(name, port)| {
            // A sign would be read as part of a number.
            let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|_| is_port)?;
            match name {
                "" => Some(Self::Everywhere(port)),
                name if name.eq_ignore_ascii_case(LOCALHOST) => Some(Self::Localhost(port)),
                _ => None,
            }
        });
        let address = || text.parse().ok().map(Self::Address);
        named.or_else(address).ok_or_else(|| {
            let text = quoted(text);
            format!(
                "{text} is not an address and port, such as \"127.0.0.1:8080\", \"[::1]:8080\", \
                 \"localhost:8080\" or, for every address of this machine, \":8080\""
            )
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Localhost(port) => write!(f, "{LOCALHOST}:{port}"),
            Self::Everywhere(port) => write!(f, ":{port}"),
        }
    }
}

const LOCALHOST: &str = "localhost";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_spelled_with_numbers_as_localhost_or_as_a_port_alone() {
        for (text, spelled, is_loopback) in [
            ("127.0.0.1:8080", "127.0.0.1:8080", true),
            ("127.9.0.1:0", "127.9.0.1:0", true),
            ("[::1]:80", "[::1]:80", true),
            ("[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:80", true),
            ("localhost:8080", "localhost:8080", true),
            ("LocalHost:0", "localhost:0", true),
            (":8080", ":8080", false),
            (":0", ":0", false),
            ("0.0.0.0:80", "0.0.0.0:80", false),
            ("[::]:80", "[::]:80", false),
            ("192.0.2.1:80", "192.0.2.1:80", false),
        ] {
            let listen: Listen = text.parse().unwrap_or_else(|error| panic!("{error}"));
            let found = (listen.to_string(), listen.is_loopback());
            assert_eq!(found, (spelled.to_owned(), is_loopback), "{text}");
        }
    }

    #[test]
    fn an_invalid_address_is_an_error_with_the_four_forms() {
        for text in [
            "",
            "8080",
            ":",
            ":65536",
            ":+80",
            ":80 ",
            "localhost",
            "localhost:",
            "localhost:+80",
            "example.com:80",
            "*:80",
            "::1:80",
            "127.0.0.1",
            "http://127.0.0.1:80",
        ] {
            let error = text.parse::<Listen>().expect_err(text);
            let expected = format!(
                "{text:?} is not an address and port, such as \"127.0.0.1:8080\", \
                 \"[::1]:8080\", \"localhost:8080\" or, for every address of this machine, \
                 \":8080\""
            );
            assert_eq!(error, expected);
        }
    }
}
