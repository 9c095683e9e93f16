//! How a route finds out who a client is: its tokens, where they are taken from, and its JWTs.

use super::super::{DialectName, Jwt, JwtKeys, Limits, Route, TokenSource};
use super::texts::{Complaint, SECRET_BYTES_MAX, check_length, complain, is_token_byte};

/// Checks what a route says about its clients' tokens.
pub(super) fn check(route: &Route, limits: &Limits) -> Result<(), Complaint> {
    check_tokens(route, limits).map_err(|problem| ("tokens".to_owned(), problem))?;
    check_jwt(route)?;
    check_sources(route)?;
    if route.anonymous && !route.authenticates() {
        let problem = format!("lets everyone in as nobody anyway: {NOTHING_ASKS}");
        return complain("anonymous", problem);
    }
    Ok(())
}

/// A user's name that no session could have, and a token that no client could show, would be a
/// silent dead end.
fn check_tokens(route: &Route, limits: &Limits) -> Result<(), String> {
    let Some(tokens) = &route.tokens else {
        return Ok(());
    };
    let max = limits.name_bytes_max as usize;
    let is_bad = |name: &str| name.is_empty() || name.len() > max;
    if tokens
        .iter()
        .any(|(token, user)| is_bad(token) || is_bad(user))
    {
        return Err(format!(
            "tokens and users have 1 to {max} bytes (limits.name_bytes_max)"
        ));
    }
    let (is_allowed, rule): TokenBytes = match route.dialect {
        DialectName::Edk => (
            is_token_byte,
            "tokens are sent as a subprotocol, and have letters, digits and !#$%&'*+-.^_`|~ only",
        ),
        DialectName::Easyws => (is_cookie_byte, IN_A_COOKIE),
        DialectName::Wsrv | DialectName::Projectforge => tokens_of_sources(route),
        DialectName::Wserver | DialectName::Echo => (|_| true, ""),
    };
    let mut bytes = tokens.iter().flat_map(|(token, _)| token.bytes());
    if bytes.all(is_allowed) {
        Ok(())
    } else {
        Err(rule.to_owned())
    }
}

/// Which bytes a token may have, and what is said of others.
type TokenBytes = (fn(u8) -> bool, &'static str);

/// Where several places are looked at, one of them has to take it.
fn tokens_of_sources(route: &Route) -> TokenBytes {
    let Some(sources) = &route.token_from else {
        // A query takes everything.
        return (|_| true, "");
    };
    let has = |wanted: fn(&TokenSource) -> bool| sources.iter().any(wanted);
    if has(|it| matches!(it, TokenSource::Query(_))) {
        (|_| true, "")
    } else if has(|it| matches!(it, TokenSource::Bearer | TokenSource::Header(_))) {
        (
            |byte| byte.is_ascii_graphic(),
            "tokens are sent in a header, and have visible ASCII characters only",
        )
    } else {
        (is_cookie_byte, IN_A_COOKIE)
    }
}

fn is_cookie_byte(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) && !b"\";\\".contains(&byte)
}

const IN_A_COOKIE: &str = "tokens are sent in a cookie, and have printable ASCII characters only, \
    without quotes, semicolons and backslashes";

fn check_jwt(route: &Route) -> Result<(), Complaint> {
    let Some(jwt) = &route.jwt else {
        return Ok(());
    };
    if route.tokens.is_some() {
        return complain("jwt", "a route has tokens or a jwt, not both");
    }
    let Jwt {
        keys,
        issuer,
        audience,
        user_claim,
        leeway_s: _,
    } = jwt;
    match keys {
        JwtKeys::Secret(secret) => {
            let bytes = secret.as_bytes().len();
            if !(JWT_SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes) {
                let problem = format!(
                    "has {bytes} bytes, allowed are {JWT_SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}"
                );
                return complain("jwt.secret", problem);
            }
        }
        JwtKeys::Pem(file) if file.as_os_str().is_empty() => {
            return complain("jwt.key_file", "is empty, and a file is wanted");
        }
        JwtKeys::Jwks(file) if file.as_os_str().is_empty() => {
            return complain("jwt.jwks_file", "is empty, and a file is wanted");
        }
        JwtKeys::Pem(_) | JwtKeys::Jwks(_) => {}
    }
    for (key, value) in [("jwt.issuer", issuer), ("jwt.audience", audience)] {
        if let Some(value) = value {
            check_length(key, value, CLAIM_VALUE_BYTES_MAX)?;
        }
    }
    check_length("jwt.user_claim", user_claim, CLAIM_NAME_BYTES_MAX)
}

fn check_sources(route: &Route) -> Result<(), Complaint> {
    let Some(sources) = &route.token_from else {
        return Ok(());
    };
    let count = sources.len();
    if !(1..=TOKEN_SOURCES_MAX).contains(&count) {
        let problem = format!("lists {count} places, allowed are 1 to {TOKEN_SOURCES_MAX}");
        return complain("token_from", problem);
    }
    for (index, source) in sources.iter().enumerate() {
        // One made in code is held to what one in a file can be.
        let read: Result<TokenSource, String> = source.to_string().parse();
        match read {
            Ok(read) if read == *source => {}
            Ok(_) => {
                let problem = "the name of a header must be in lower case";
                return complain(&format!("token_from[{index}]"), problem);
            }
            Err(problem) => return complain(&format!("token_from[{index}]"), problem),
        }
    }
    if route.authenticates() {
        return Ok(());
    }
    complain("token_from", format!("is of no use: {NOTHING_ASKS}"))
}

const NOTHING_ASKS: &str = "nothing asks for a token; give the route tokens, a jwt, or hooks on \
    \"open\"";
/// RFC 7518 (3.2): a key of HS256 is at least as long as its hash.
const JWT_SECRET_BYTES_MIN: usize = 32;
const TOKEN_SOURCES_MAX: usize = 8;
pub(super) const CLAIM_NAME_BYTES_MAX: usize = 256;
pub(super) const CLAIM_VALUE_BYTES_MAX: usize = 1_024;
