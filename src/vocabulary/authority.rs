//! The authority of a URL or of a `Host` header: host and port (RFC 3986 3.2).
//!
//! Names are not resolved. User information is invalid: neither an origin nor a `Host` has it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host, compared case-insensitively in ASCII, and an optional port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Authority<'a> {
    /// A name, an IPv4 address, or an IPv6 address in brackets. Not empty.
    host: &'a [u8],
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Parses `host`, `host:` or `host:port`. Returns `None` for anything else.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        let mut host_end = match text.first()? {
            b'[' => text.iter().position(|&byte| byte == b']')?,
            _ => 0,
        };
        while host_end < text.len() && text[host_end] != b':' {
            host_end += 1;
        }
        let (host, rest) = text.split_at(host_end);
        let is_part = |byte: &u8| IS_OF_HOST[usize::from(*byte)];
        if host.is_empty() || !host.iter().all(is_part) {
            return None;
        }
        let port = match rest {
            [] | [b':'] => None,
            [_, digits @ ..] => Some(digits.iter().try_fold(0_u16, |port, &digit| {
                let digit = (digit as char).to_digit(10)?;
                port.checked_mul(10)?
                    .checked_add(u16::try_from(digit).ok()?)
            })?),
        };
        Some(Self { host, port })
    }

    /// Parses the authority of `scheme://authority/..`, and returns it with the scheme's default
    /// port. Returns `None` for a text without an authority, such as the `null` of a sandboxed
    /// page.
    pub(crate) fn of_origin(origin: &'a [u8]) -> Option<(Self, Option<u16>)> {
        let slashes = origin.windows(2).position(|pair| pair == b"//")?;
        let (scheme, rest) = (&origin[..slashes], &origin[slashes + 2..]);
        let scheme = scheme.strip_suffix(b":").unwrap_or(scheme);
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        if !scheme.iter().all(is_part) {
            return None;
        }
        let implied = [("http", 80), ("https", 443), ("ws", 80), ("wss", 443)];
        let mut implied = implied.iter();
        let implied = implied.find(|(name, _)| scheme.eq_ignore_ascii_case(name.as_bytes()));
        let end = rest.iter().position(|byte| b"/?#".contains(byte));
        let authority = Self::parse(&rest[..end.unwrap_or(rest.len())])?;
        Some((authority, implied.map(|&(_, port)| port)))
    }

    /// Returns whether host and port are the same. A missing port counts as `implied`.
    pub(crate) fn is_same(self, other: Self, implied: Option<u16>) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.or(implied) == other.port.or(implied)
    }

    /// Returns whether the host can only be this machine: `localhost` and names that end in
    /// `.localhost` (RFC 6761 6.3), 127.0.0.0/8, `::1`, and IPv4-mapped loopback addresses.
    pub(crate) fn is_loopback(self) -> bool {
        let Ok(host) = str::from_utf8(self.host) else {
            return false;
        };
        if host.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let inner = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        if let Some(inner) = inner {
            let address = inner.parse::<Ipv6Addr>().map(IpAddr::from);
            return address.is_ok_and(|address| address.to_canonical().is_loopback());
        }
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            return address.is_loopback();
        }
        let suffix_at = host.len().checked_sub(LOCALHOST.len());
        suffix_at.is_some_and(|at| {
            let (before, suffix) = self.host.split_at(at);
            suffix.eq_ignore_ascii_case(LOCALHOST)
                && (before.is_empty() || (before.len() > 1 && before.ends_with(b".")))
        })
    }
}

/// By byte: whether a host may contain it. A table, since every request has a `Host`.
const IS_OF_HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        table[byte as usize] = !matches!(
            byte,
            b'@' | b'/'
                | b'?'
                | b'#'
                | b','
                | b'"'
                | b'<'
                | b'>'
                | b'\\'
                | b'^'
                | b'`'
                | b'{'
                | b'|'
                | b'}'
        );
        byte += 1;
    }
    table
};

const LOCALHOST: &[u8] = b"localhost";

#[cfg(test)]
mod tests {
    use super::*;

    fn is_loopback(text: &str) -> bool {
        Authority::parse(text.as_bytes()).is_some_and(Authority::is_loopback)
    }

    #[test]
    fn only_loopback_addresses_and_localhost_names_are_loopback() {
        let ours = "localhost LOCALHOST:8080 a.localhost a.b.localhost:1 127.0.0.1 127.9.9.9:80 \
            [::1] [::1]:65535 [::ffff:127.0.0.1] [::ffff:7f00:1]:80 localhost:";
        for text in ours.split_whitespace() {
            assert!(is_loopback(text), "{text}");
        }
        let others = "localhost.example notlocalhost .localhost localhost. 128.0.0.1 0.0.0.0 127.1 \
            127.0.0.1.nip.io 0x7f.0.0.1 ::1 [::] [::2] [::ffff:10.0.0.1] [::1 a@localhost \
            localhost:80:80 localhost:http localhost:65536 127.0.0.1/ [127.0.0.1] localhost,a";
        for text in others.split_whitespace() {
            assert!(!is_loopback(text), "{text}");
        }
        assert!(!is_loopback(""));
        assert!(!is_loopback("local host"));
    }

    #[test]
    fn a_port_that_is_not_written_is_the_one_that_is_implied() {
        let is_same = |one: &str, other: &str, implied| {
            let parse = |text| Authority::parse(str::as_bytes(text)).expect("well formed");
            parse(one).is_same(parse(other), implied)
        };
        assert!(is_same("a:80", "A", Some(80)));
        assert!(is_same("a", "a:80", Some(80)));
        assert!(is_same("a", "a", None));
        assert!(is_same("[::1]:443", "[::1]", Some(443)));
        assert!(!is_same("a:443", "a", Some(80)));
        assert!(!is_same("a:80", "a", None));
        assert!(!is_same("a", "b", Some(80)));
    }
}
