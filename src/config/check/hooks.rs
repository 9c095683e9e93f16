//! Checks of a route's hooks: the backend exists, and the dialect has the events.

use super::super::error::Errors;
use super::super::keywords::{quoted, quoted_list, unknown};
use super::super::{Action, Config, HookKind, Route, Rule};
use crate::dialect::{self, Dialect, TokenPlace};

/// Checks a route's hooks.
pub(super) fn check(route: &Route, config: &Config, at: &str, errors: &mut Errors) {
    let Some(hooks) = &route.hooks else {
        return;
    };
    if config.backend(&hooks.backend).is_none() {
        let names = config.backends.iter().map(|it| it.name.as_str());
        let problem = match &names.collect::<Vec<_>>()[..] {
            [] => {
                let name = quoted(&hooks.backend);
                format!("{name} is unknown, there are no [[backends]]")
            }
            names => unknown(&hooks.backend, names),
        };
        // If the name of a backend could not be read, it may be this one.
        let names = (0..config.backends.len()).map(|it| format!("backends[{it}].name"));
        let mut causes: Vec<String> = names.collect();
        if causes.is_empty() {
            causes.push("backends".to_owned());
        }
        errors.error_unless(&causes, &format!("{at}.hooks.backend"), problem);
    }
    for (index, kind) in hooks.on.iter().enumerate() {
        errors.check(&format!("{at}.hooks.on[{index}]"), check_kind(*kind, route));
    }
    if hooks.on.is_empty() && !has_hook_rule_or_command(route) {
        let others = ["channels", "commands", "hooks"].map(|key| format!("{at}.{key}"));
        errors.error_unless(&others, &format!("{at}.hooks.on"), no_requests());
    }
}

fn check_kind(kind: HookKind, route: &Route) -> Result<(), String> {
    match kind {
        HookKind::Message if !route.has("commands") => {
            let dialect = quoted(route.dialect.name());
            Err(format!(
                "\"message\" is for dialects with commands, and {dialect} has none"
            ))
        }
        HookKind::Authenticate if route.dialect.route_spec().token != TokenPlace::Message => {
            let has_token = |it: &&dyn Dialect| it.route_spec().token == TokenPlace::Message;
            let names = dialect::of_routes().filter(has_token).map(Dialect::name);
            let names = quoted_list(&names.collect::<Vec<_>>());
            Err(format!(
                "\"authenticate\" is for {names}, where messages have a token; elsewhere \
                 \"open\" authenticates clients"
            ))
        }
        HookKind::Authenticate if route.tokens.is_some() || route.jwt.is_some() => {
            let problem = "\"authenticate\" cannot be combined with tokens or a jwt, which \
                authenticate themselves";
            Err(problem.to_owned())
        }
        HookKind::Open | HookKind::Authenticate | HookKind::Message | HookKind::Close => Ok(()),
    }
}

/// Returns whether a rule or a command sends requests to the backend.
fn has_hook_rule_or_command(route: &Route) -> bool {
    let mut channels = route.channels.iter();
    let mut commands = route.commands.values();
    channels.any(|it| it.join == Rule::Hook || it.publish == Rule::Hook)
        || commands.any(|it| it.action == Action::Hook || it.allow == Rule::Hook)
}

fn no_requests() -> String {
    let allowed = quoted_list(HookKind::SPELLINGS);
    format!(
        "the backend gets no requests: no rule and no command has the word \"hook\", and on is \
         empty; allowed are {allowed}"
    )
}

#[cfg(test)]
mod tests {
    use crate::config::tests::trial::{check, read};

    const WS: &str = "[[routes]]\npath = '/ws'\ndialect = 'wserver'\n";
    const WSRV: &str = "[[routes]]\npath = '/wsrv'\ndialect = 'wsrv'\n";
    const APP: &str = "[[backends]]\nname = 'app'\nurl = 'http://127.0.0.1/'\n";

    #[test]
    fn the_backend_of_hooks_must_exist() {
        let hooks = "hooks = { backend = 'app', on = ['open'] }";
        check(
            &format!("{WS}{hooks}"),
            "f.toml:4: routes[0].hooks.backend: \"app\" is unknown, there are no [[backends]]",
        );
        let others = APP.replace("app", "web") + &APP.replace("app", "api");
        check(
            &format!("{others}{WS}{hooks}"),
            "f.toml:10: routes[0].hooks.backend: \"app\" is unknown, allowed are \"web\", \"api\"",
        );
        assert!(read(&format!("{others}{APP}{WS}{hooks}")).is_ok());
        assert!(read(&format!("{WS}{hooks}\n{APP}")).is_ok(), "in any order");
        check(
            &format!("{APP}{WS}hooks = {{ on = ['open'] }}"),
            "f.toml:7: routes[0].hooks.backend: is required, such as \"app\"",
        );
        check(
            &format!("{APP}{WS}hooks = 'app'"),
            "f.toml:7: routes[0].hooks: must be a table such as { backend = \"app\", on = \
             [\"open\", \"close\"] }; found a string",
        );
        check(
            &format!("{APP}{WS}hooks = {{ backend = 'app', of = [] }}"),
            "f.toml:7: routes[0].hooks.of: unknown key; did you mean \"on_failure\"? allowed \
             here: backend, on, on_failure",
        );
    }

    #[test]
    fn the_events_of_hooks_must_fit_the_dialect() {
        let hooks = |route: &str, on: &str| {
            format!("{APP}{route}hooks = {{ backend = 'app', on = [{on}] }}")
        };
        let key = "f.toml:7: routes[0].hooks.on";
        check(
            &hooks(WS, "'open', 'join'"),
            &format!(
                "{key}[1]: \"join\" is unknown, allowed are \"open\", \"authenticate\", \
                 \"message\", \"close\""
            ),
        );
        check(
            &format!("{APP}{WS}hooks = {{ backend = 'app', on = 'open' }}"),
            &format!("{key}: must be a list such as [\"open\", \"close\"]; found a string"),
        );
        check(
            &hooks(WS, "'open', 'message'"),
            &format!(
                "{key}[1]: \"message\" is for dialects with commands, and \"wserver\" has none"
            ),
        );
        check(
            &hooks(WSRV, "'authenticate'"),
            &format!(
                "{key}[0]: \"authenticate\" is for \"wserver\", where messages have a token; \
                 elsewhere \"open\" authenticates clients"
            ),
        );
        for known in ["tokens = { a = 'b' }", "jwt = { key_file = 'f' }"] {
            check(
                &format!("{}\n{known}", hooks(WS, "'authenticate'")),
                &format!(
                    "{key}[0]: \"authenticate\" cannot be combined with tokens or a jwt, which \
                     authenticate themselves"
                ),
            );
        }
        assert!(read(&hooks(WS, "'open', 'authenticate', 'close'")).is_ok());
        assert!(read(&hooks(WSRV, "'open', 'message', 'close'")).is_ok());
        check(
            &format!("{APP}{WSRV}hooks = {{ backend = 'app', on = [], on_failure = 'retry' }}"),
            "f.toml:7: routes[0].hooks.on_failure: \"retry\" is unknown, allowed are \"fail\", \
             \"close\"",
        );
    }

    #[test]
    fn hooks_without_events_need_a_rule_or_command_with_hook() {
        let route = format!("{APP}{WSRV}hooks = {{ backend = 'app', on = [] }}\n");
        let problem = "the backend gets no requests: no rule and no command has the word \"hook\", \
            and on is empty; allowed are \"open\", \"authenticate\", \"message\", \"close\"";
        check(&route, &format!("f.toml:7: routes[0].hooks.on: {problem}"));
        let absent = route.replace(", on = []", "");
        check(&absent, &format!("f.toml:7: routes[0].hooks.on: {problem}"));
        for asks in [
            "commands = { a = 'hook' }",
            "commands = { a = { action = 'echo', allow = 'hook' } }",
            "channels = [{ name = 'a', join = 'hook' }]",
            "channels = [{ name = 'a', publish = 'hook' }]",
        ] {
            assert!(read(&format!("{route}{asks}")).is_ok(), "{asks}");
            assert!(read(&format!("{absent}{asks}")).is_ok(), "{asks}");
        }
        let silent = "commands = { a = 'echo' }\nchannels = [{ name = 'a' }]";
        assert!(read(&format!("{route}{silent}")).is_err());
    }
}
