//! Tests of CORS: pages of other origins that use the server API.

use crate::GATEWAY;
use campanile_tests::http::{LOCAL, request};
use campanile_tests::peer::ask;

const LISTED: &str = "Origin: https://admin.example";
const METHOD: &str = "Access-Control-Request-Method: POST";
const HEADERS: &str = "Access-Control-Request-Headers: authorization, content-type";

#[test]
fn a_preflight_succeeds_for_listed_origins_only() {
    let config = "[api]\nkeys = ['k']\nallowed_origins = ['https://admin.example']";
    let process = GATEWAY.start(Some(config));
    let preflight = |origin: &str| {
        let headers = [LOCAL, origin, METHOD, HEADERS];
        ask(
            process.address,
            request("OPTIONS /api/v1/publish HTTP/1.1", &headers, ""),
        )
    };
    let granted = preflight(LISTED);
    assert_eq!(granted.status, 204);
    for (name, value) in [
        ("access-control-allow-origin", "https://admin.example"),
        ("access-control-allow-methods", "GET, POST"),
        (
            "access-control-allow-headers",
            "Authorization, Content-Type, Content-Encoding, Idempotency-Key, X-Api-Key",
        ),
        ("access-control-max-age", "7200"),
        ("vary", "Origin"),
    ] {
        assert_eq!(granted.header(name), Some(value), "{name}");
    }
    for other in ["Origin: http://admin.example", "Origin: null", "X: y"] {
        let refused = preflight(other);
        assert_eq!(refused.status, 401, "{other}");
        assert_eq!(
            refused.header("access-control-allow-origin"),
            None,
            "{other}"
        );
        assert_eq!(refused.header("vary"), Some("Origin"), "{other}");
    }
}

#[test]
fn a_listed_origin_can_read_responses_and_errors_others_cannot() {
    let config = "[api]\nkeys = ['k']\nallowed_origins = ['https://admin.example']";
    let process = GATEWAY.start(Some(config));
    let list = |headers: &[&str]| {
        let headers = [&[LOCAL], headers].concat();
        ask(
            process.address,
            request("GET /api/v1/sessions HTTP/1.1", &headers, ""),
        )
    };
    for (key, status) in [("X-Api-Key: k", 200), ("X-Api-Key: wrong", 401)] {
        let seen = list(&[LISTED, key]);
        assert_eq!(seen.status, status);
        let allowed = seen.header("access-control-allow-origin");
        assert_eq!(allowed, Some("https://admin.example"));
        let exposed = seen.header("access-control-expose-headers");
        assert_eq!(exposed, Some("Idempotent-Replayed, Retry-After"));
    }
    let other = list(&["Origin: https://evil.example", "X-Api-Key: k"]);
    assert_eq!(other.status, 200, "the key is what counts");
    assert_eq!(other.header("access-control-allow-origin"), None);
}

#[test]
fn without_a_list_no_preflight_succeeds() {
    let process = GATEWAY.start(Some("api.keys = ['k']"));
    let headers = [LOCAL, LISTED, METHOD];
    let preflight = request("OPTIONS /api/v1/publish HTTP/1.1", &headers, "");
    let refused = ask(process.address, preflight);
    assert_eq!((refused.status, refused.header("vary")), (401, None));
}
