//! The playground: a page that connects to a route, sends, closes and shows what arrives.

use crate::dialect::Dialect;
use bytes::Bytes;

/// Returns the page for a route with this dialect at this path. The page loads nothing else.
pub(crate) fn page(dialect: &dyn Dialect, path: &str) -> Bytes {
    let begin = dialect.route_spec().playground;
    // Config paths cannot contain characters with a meaning in HTML or JavaScript, except `&`.
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
