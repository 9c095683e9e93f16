//! Campanile's server API: publishing to a channel by HTTP, for all dialects.
//!
//! ```text
//!   POST /api/v1/publish   {"channel":"room-0","event":"publish","data":"hi"}
//!   200                    {"delivered":3}
//! ```

use super::{Options, PublishResult, channel, header_line, json, post};

/// The path and headers of a gateway's server API.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    path: String,
    headers: String,
}

impl Api {
    pub(super) fn new(options: &Options) -> Self {
        let header = header_line(options.publish_header.as_deref());
        Self {
            path: options.publish_path_or("/api/v1/publish"),
            headers: format!("Content-Type: application/json\r\n{header}"),
        }
    }

    /// Returns the request that publishes `message` to the channel of `group`.
    pub(super) fn request(&self, authority: &str, group: usize, message: &str) -> Vec<u8> {
        self.request_of(
            authority,
            &channel(group),
            &format!(r#""data":"{message}""#),
        )
    }

    /// Returns the request that publishes `content`, a JSON member, to `channel`.
    pub(super) fn request_of(&self, authority: &str, channel: &str, content: &str) -> Vec<u8> {
        let body = format!(r#"{{"channel":"{channel}","event":"publish",{content}}}"#);
        post(authority, &self.path, &self.headers, &body)
    }
}

/// Parses a response of the API.
pub(super) fn parse_response(status: u16, body: &[u8]) -> PublishResult {
    if status == 200
        && let Some(digits) = json::member(body, b"delivered")
        && let Some(end) = digits.iter().position(|byte| !byte.is_ascii_digit())
        && let Some(count) = str::from_utf8(&digits[..end])
            .ok()
            .and_then(|n| n.parse().ok())
    {
        PublishResult::Reached(count)
    } else {
        PublishResult::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_is_one_json_object() {
        let request = Api::new(&Options::default()).request("h:1", 7, "hi");
        let text = String::from_utf8(request).expect("ASCII");
        assert!(
            text.starts_with("POST /api/v1/publish HTTP/1.1\r\nHost: h:1\r\n"),
            "{text}"
        );
        assert!(
            text.ends_with(
                "\r\n\r\n{\"channel\":\"room-7\",\"event\":\"publish\",\"data\":\"hi\"}"
            ),
            "{text}"
        );
    }

    #[test]
    fn only_200_with_a_count_is_a_success() {
        assert_eq!(
            parse_response(200, br#"{"delivered":12}"#),
            PublishResult::Reached(12)
        );
        assert_eq!(
            parse_response(200, br#"{"delivered":"x"}"#),
            PublishResult::Failed
        );
        assert_eq!(
            parse_response(400, br#"{"delivered":12}"#),
            PublishResult::Failed
        );
    }
}
