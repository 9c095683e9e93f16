//! Protection of a gateway that others than this machine can reach.
//!
//! No gateway is to be opened to the network by mistake. These rules look at whether a request must
//! show a secret, not at the strength of the secret.

use super::super::error::Errors;
use super::super::{Config, PushAuth, Route};

/// Checks that nothing is unprotected against the network, unless the operator says so.
pub(super) fn check(config: &Config, errors: &mut Errors) {
    let deciding = ["insecure", "listen", "api.open", "api.enabled", "api.keys"];
    if deciding.iter().any(|key| errors.is_wrong(key)) {
        return;
    }
    if config.insecure && !config.api.open {
        let problem = "is false, which no request without a key passes, and insecure = true (or \
            --insecure) lets all of them pass";
        errors.error_of(&["api.open", "insecure"], problem);
    }
    // With `api.open = false`, nothing is served without a key.
    let must_be_guarded = !config.insecure && !config.is_loopback() && config.api.open;
    let api = must_be_guarded.then(|| api_is_open(config)).flatten();
    if let Some(problem) = api {
        errors.push_under_one(&["listen", "api.enabled"], problem);
    }
    for (index, route) in config.routes.iter().enumerate() {
        let at = format!("routes[{index}]");
        // An error of the route may be about a secret.
        if errors.is_wrong(&at) {
            continue;
        }
        let open =
            must_be_guarded.then(|| [push_is_open(config, route), tap_is_open(config, route)]);
        for problem in open.into_iter().flatten().flatten() {
            errors.push_under_one(&["listen", &at], problem);
        }
        if let Some(problem) = users_are_unknown(config, route) {
            let key = format!("{at}.trust_user_header");
            let keys: &[&str] = match route.trust_user_header {
                Some(_) => &[&key, &at],
                None => &["listen", &at],
            };
            errors.push_under_one(keys, problem);
        }
    }
}

fn api_is_open(config: &Config) -> Option<String> {
    let is_open = config.serves_api() && config.api.keys.is_empty();
    is_open.then(|| {
        format!(
            "{} is not a loopback address, and the server API is open to everyone who reaches it; \
             give it keys, or start with --insecure",
            config.listen
        )
    })
}

fn push_is_open(config: &Config, route: &Route) -> Option<String> {
    let path = route.push_path.as_ref().or(route.drop_path.as_ref())?;
    (route.push_auth() == PushAuth::None && !route.push_authorized_by_code).then(|| {
        format!(
            "{} is not a loopback address, and {path} is open to everyone who reaches it; give its \
             route a push_secret or a push_header, or start with --insecure",
            config.listen
        )
    })
}

fn tap_is_open(config: &Config, route: &Route) -> Option<String> {
    let path = route.tap_path.as_ref()?;
    route.tap_secret.is_none().then(|| {
        format!(
            "{} is not a loopback address, and at {path} everyone who reaches it can watch all \
             traffic; give its route a tap_secret, or start with --insecure",
            config.listen
        )
    })
}

/// The sessions of some dialects must have a user: something must name it.
fn users_are_unknown(config: &Config, route: &Route) -> Option<String> {
    let is_named = config.trusts_user_header(route)
        || route.authenticates()
        || !route.dialect.route_spec().exclusive_users;
    if is_named {
        return None;
    }
    let path = &route.path;
    Some(match route.trust_user_header {
        Some(_) => format!(
            "nothing names the user of a client of {path}: the header x-user-id is not believed; \
             give \
             its route tokens, a jwt or hooks on \"open\", or trust_user_header = true, or, in a \
             program that embeds the gateway, a function that authenticates \
             (authenticated_by_code)"
        ),
        // No client can connect there, of which the operator is warned.
        None if !config.api.open => return None,
        None => format!(
            "{} is not a loopback address, so the header x-user-id is not believed, and nothing \
             else names the user of a client of {path}; give its route tokens, a jwt or hooks on \
             \"open\", or trust_user_header = true if whatever stands in front of the gateway sets \
             that header itself, or, in a program that embeds the gateway, a function that \
             authenticates (authenticated_by_code), or start with --insecure",
            config.listen
        ),
    })
}

#[cfg(test)]
mod tests {
    use crate::config::tests::trial::{check, read};

    use super::super::super::Overrides;
    use super::*;

    const WS: &str = "[[routes]]\npath = '/ws'\ndialect = 'wserver'\n";
    const EDK: &str = "[[routes]]\npath = '/edk'\ndialect = 'edk'\n";
    const APP: &str = "[[backends]]\nname = 'app'\nurl = 'http://127.0.0.1/'\n";
    const FORGE: &str = "[[routes]]\npath = '/forge'\ndialect = 'projectforge'\n";

    #[test]
    fn an_unprotected_push_on_a_public_address_is_an_error() {
        let open = |path: &str| {
            format!(
                "0.0.0.0:80 is not a loopback address, and {path} is open to everyone who reaches \
                 it; give its route a push_secret or a push_header, or start with --insecure"
            )
        };
        let listen = "\nlisten = '0.0.0.0:80'\n";
        let all = read(listen).expect_err("the default routes are open");
        let parts = [&*open("/push"), "user of a client of /edk"];
        assert!(parts.iter().all(|part| all.contains(part)), "{all}");
        assert_eq!(all.matches("f.toml:2: listen: ").count(), 2, "{all}");
        check(
            &format!("{listen}{WS}drop_path = '/d'"),
            &format!("f.toml:2: listen: {}", open("/d")),
        );
        // One guarded route does not guard another.
        let guarded = format!("{WS}push_path = '/p'\npush_secret = 'a'\n");
        let second =
            "[[routes]]\npath = '/ws2'\ndialect = 'wserver'\npush_path = '/p2'\n".to_owned();
        check(
            &format!("{listen}{guarded}{second}"),
            &format!("f.toml:2: listen: {}", open("/p2")),
        );
        assert!(read(&format!("{listen}{guarded}")).is_ok());
        assert!(read(&format!("{listen}{WS}")).is_ok(), "nothing to push to");
        assert!(read(&format!("insecure = true{listen}")).is_ok());

        // Where a flag says where to listen, the line to change is the route's.
        let overrides = Overrides {
            listen: Some(([0, 0, 0, 0], 80).into()),
            ..Overrides::default()
        };
        let text = format!("listen = '127.0.0.1:80'\n{WS}push_path = '/p'");
        let error = Config::from_toml("f.toml", &text, &overrides).expect_err("open");
        assert_eq!(
            error.to_string(),
            format!("f.toml:2: routes[0]: {}", open("/p"))
        );
        let errors = Config::load(None, &overrides)
            .expect_err("open")
            .to_string();
        let expected = format!("listen: {}\nlisten: ", open("/push"));
        assert!(errors.starts_with(&expected), "{errors}");
        let insecure = Overrides {
            insecure: true,
            ..overrides
        };
        assert!(Config::load(None, &insecure).is_ok());
    }

    #[test]
    fn with_api_open_false_no_secret_is_required() {
        let closed = "\nlisten = '0.0.0.0:80'\napi.open = false\napi.enabled = true\n";
        let tap = format!("{FORGE}tap_path = '/tap'\n");
        for text in [
            closed.to_owned(),
            format!("{closed}{WS}push_path = '/p'\n{tap}"),
        ] {
            assert!(read(&text).is_ok(), "{text}");
        }
        let problem = "is false, which no request without a key passes, and insecure = true (or \
            --insecure) lets all of them pass";
        let both = "api.open = false\ninsecure = true\n";
        check(both, &format!("f.toml:1: api.open: {problem}"));
        let insecure = Overrides {
            insecure: true,
            ..Overrides::default()
        };
        let error = Config::from_toml("f.toml", "[api]\nopen = false", &insecure);
        let error = error.expect_err("a contradiction").to_string();
        assert_eq!(error, format!("f.toml:2: api.open: {problem}"));
    }

    #[test]
    fn pushes_that_code_authorizes_are_protected() {
        let mut config = read(&format!("{WS}push_path = '/p'\ndrop_path = '/d'")).expect("valid");
        config.listen = ([0, 0, 0, 0], 80).into();
        let errors = config.validate().expect_err("open");
        let error = errors.iter().next().expect("it has one");
        assert_eq!(error.key.as_deref(), Some("listen"));
        config.routes[0].push_authorized_by_code = true;
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn an_unprotected_tap_on_a_public_address_is_an_error() {
        let listen = "\nlisten = '0.0.0.0:80'\n";
        let tap = format!("{FORGE}tap_path = '/tap'\n");
        check(
            &format!("{listen}{tap}"),
            "f.toml:2: listen: 0.0.0.0:80 is not a loopback address, and at /tap everyone who \
             reaches it can watch all traffic; give its route a tap_secret, or start with \
             --insecure",
        );
        assert!(read(&tap).is_ok(), "only this machine can watch");
        assert!(read(&format!("{listen}{tap}tap_secret = 'a'")).is_ok());
        assert!(read(&format!("insecure = true{listen}{tap}")).is_ok());
        assert!(read(&format!("{listen}{FORGE}")).is_ok());
    }

    #[test]
    fn an_unprotected_server_api_on_a_public_address_is_an_error() {
        let listen = "\nlisten = '0.0.0.0:80'\n";
        let problem = "0.0.0.0:80 is not a loopback address, and the server API is open to \
            everyone who reaches it; give it keys, or start with --insecure";
        let enabled = "[api]\nenabled = true\n";
        check(
            &format!("{listen}{enabled}{FORGE}"),
            &format!("f.toml:2: listen: {problem}"),
        );
        let overrides = Overrides {
            listen: Some(([0, 0, 0, 0], 80).into()),
            ..Overrides::default()
        };
        let error = Config::from_toml("f.toml", &format!("{enabled}{FORGE}"), &overrides);
        let error = error.expect_err("open").to_string();
        assert_eq!(error, format!("f.toml:2: api.enabled: {problem}"));

        let serves = |text: &str| read(text).map(|config| config.serves_api());
        assert_eq!(serves(&format!("{enabled}{FORGE}")), Ok(true));
        assert_eq!(serves(FORGE), Ok(true), "only this machine can use it");
        assert_eq!(
            serves(&format!("{listen}{FORGE}")),
            Ok(false),
            "it is not the default"
        );
        let keys = format!("{listen}[api]\nkeys = ['a']\n{FORGE}");
        assert_eq!(serves(&keys), Ok(true));
        let meant = format!("insecure = true{listen}{enabled}{FORGE}");
        assert_eq!(serves(&meant), Ok(true));
        let off = format!("[api]\nenabled = false\nkeys = ['a']\n{FORGE}");
        assert_eq!(serves(&off), Ok(false));
    }

    #[test]
    fn a_client_of_edk_has_a_source_of_its_user() {
        const CURES: &str = "give its route tokens, a jwt or hooks on \"open\", or \
            trust_user_header = true";
        const IN_CODE: &str = "or, in a program that embeds the gateway, a function that \
            authenticates (authenticated_by_code)";
        let listen = "\nlisten = '0.0.0.0:80'\n";
        check(
            &format!("{listen}{EDK}"),
            &format!(
                "f.toml:2: listen: 0.0.0.0:80 is not a loopback address, so the header x-user-id \
                 is not believed, and nothing else names the user of a client of /edk; {CURES} if \
                 whatever stands in front of the gateway sets that header itself, {IN_CODE}, or \
                 start with --insecure"
            ),
        );
        for text in [
            EDK.to_owned(),
            format!("{listen}{EDK}trust_user_header = true"),
            format!("{listen}{EDK}tokens = {{ a = 'jack' }}"),
            format!("insecure = true{listen}{EDK}"),
            format!("{EDK}trust_user_header = false\ntokens = {{ a = 'jack' }}"),
            format!("{listen}{EDK}jwt = {{ key_file = 'f' }}"),
            format!("{listen}{EDK}hooks = {{ backend = 'app', on = ['open'] }}\n{APP}"),
        ] {
            assert!(read(&text).is_ok(), "{text}");
        }

        let told = format!("{listen}{EDK}hooks = {{ backend = 'app', on = ['close'] }}\n{APP}");
        assert!(read(&told).is_err(), "a backend that is not asked");

        // Said on purpose, it holds everywhere.
        let distrusted = format!("{EDK}trust_user_header = false\n");
        let problem = format!(
            "routes[0].trust_user_header: nothing names the user of a client of /edk: the header \
             x-user-id is not believed; {CURES}, {IN_CODE}"
        );
        check(&distrusted, &format!("f.toml:4: {problem}"));
        let text = format!("insecure = true{listen}{distrusted}");
        check(&text, &format!("f.toml:6: {problem}"));

        let mut config = read(EDK).expect("valid");
        config.listen = ([0, 0, 0, 0], 80).into();
        let errors = config.validate().expect_err("no user is named");
        let error = errors.iter().next().expect("it has one");
        assert_eq!(error.key.as_deref(), Some("listen"));
        config.routes[0].authenticated_by_code = true;
        assert_eq!(config.validate(), Ok(()));
        config.routes[0].trust_user_header = Some(false);
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn loopback_is_loopback_in_every_spelling() {
        for ip in ["127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(read(&format!("listen = '{ip}:80'")).is_ok(), "{ip}");
        }
        for ip in ["10.0.0.1", "[::]", "[2001:db8::1]", "[::ffff:10.0.0.1]"] {
            assert!(read(&format!("listen = '{ip}:80'")).is_err(), "{ip}");
        }
    }
}
