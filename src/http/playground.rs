//! A page to try a route: connect, send, close, and see what comes.

use crate::config::DialectName;
use bytes::Bytes;

/// The page for a route of this language at this path. It works without anything from elsewhere.
pub(crate) fn page(dialect: DialectName, path: &str) -> Bytes {
    let (first, subprotocol, cookie, query) = match dialect {
        DialectName::Wserver => (r#"{"token":"jack","event":"topic1"}"#, "", "", ""),
        DialectName::Wsrv => (r#"{"cmd":"join","seqno":"1","data":"room"}"#, "", "", ""),
        DialectName::Easyws => ("listen: room", "cmd.fossores.de", "auth", ""),
        DialectName::Projectforge => (
            r#"{"channel":"room","cmd":"publish","param":"hi"}"#,
            "",
            "",
            "?ch=room",
        ),
        DialectName::Edk | DialectName::Echo => ("hello", "", "", ""),
    };
    // A path of the config has no character that means anything in HTML or JavaScript but `&` and
    // the quote, which it cannot have.
    PAGE.replace("{{path}}", &path.replace('&', "&amp;"))
        .replace("{{dialect}}", dialect.as_str())
        .replace("{{first}}", &first.replace('"', "&quot;"))
        .replace("{{subprotocol}}", subprotocol)
        .replace("{{cookie}}", cookie)
        .replace("{{query}}", query)
        .into()
}

const PAGE: &str = include_str!("playground.html");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_filled_in() {
        for dialect in DialectName::ALL {
            let page = page(*dialect, "/rooms/{room}&");
            let page = str::from_utf8(&page).expect("text");
            assert!(!page.contains("{{"), "{}", dialect.as_str());
            assert!(page.contains("/rooms/{room}&amp;"));
        }
    }
}
