//! A page to try a route: connect, send, close, and see what comes.

use crate::dialect::Dialect;
use bytes::Bytes;

/// The page for a route of this language at this path. It works without anything from elsewhere.
pub(crate) fn page(dialect: &dyn Dialect, path: &str) -> Bytes {
    let begin = dialect.route_spec().playground;
    // A path of the config has no character that means anything in HTML or JavaScript but `&` and
    // the quote, which it cannot have.
    PAGE.replace("{{path}}", &path.replace('&', "&amp;"))
        .replace("{{dialect}}", dialect.name())
        .replace("{{first}}", &begin.message.replace('"', "&quot;"))
        .replace("{{subprotocol}}", begin.subprotocol)
        .replace("{{cookie}}", begin.cookie)
        .replace("{{query}}", begin.query)
        .replace("{{heartbeat_ms}}", &begin.heartbeat_ms.to_string())
        .into()
}

const PAGE: &str = include_str!("playground.html");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect;

    #[test]
    fn every_place_is_filled_in() {
        for dialect in dialect::of_routes() {
            let page = page(dialect, "/rooms/{room}&");
            let page = str::from_utf8(&page).expect("text");
            assert!(!page.contains("{{"), "{}", dialect.name());
            assert!(page.contains("/rooms/{room}&amp;"));
        }
    }
}
