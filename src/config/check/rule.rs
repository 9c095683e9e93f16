//! Rules of access: that there is something to apply each of them to.

use super::super::error::Errors;
use super::super::{Limits, Rule};

/// What is known at the place where a rule stands.
#[derive(Clone, Copy)]
pub(super) struct RuleContext<'c> {
    /// Whether the channel's name has `{user}`.
    pub(super) names_user: bool,
    /// Whether clients can have claims, or the problem if they cannot.
    pub(super) claims: Result<(), &'static str>,
    /// Whether the route has hooks.
    pub(super) has_hooks: bool,
    pub(super) limits: &'c Limits,
}

/// Checks the rule under `key`.
pub(super) fn check(rule: &Rule, key: &str, context: RuleContext<'_>, errors: &mut Errors) {
    match rule {
        Rule::Owner if !context.names_user => {
            errors.error(key, "\"owner\" is for channels whose name has {user}");
        }
        Rule::Hook if !context.has_hooks => errors.error(key, NO_HOOKS),
        Rule::Tokens(tokens) => {
            let max = context.limits.token_bytes_max as usize;
            for (index, token) in tokens.iter().enumerate() {
                if !(1..=max).contains(&token.as_bytes().len()) {
                    let problem = format!("tokens have 1 to {max} bytes (limits.token_bytes_max)");
                    errors.error(&format!("{key}.tokens[{index}]"), problem);
                }
            }
        }
        Rule::Claim { .. } => {
            if let Err(problem) = context.claims {
                errors.error(&format!("{key}.claim"), problem);
            }
        }
        Rule::Anyone | Rule::Nobody | Rule::Identified | Rule::Owner | Rule::Hook => {}
    }
}

/// The problem of the word `hook` on a route without hooks.
pub(super) const NO_HOOKS: &str =
    "\"hook\" asks the backend of the route's hooks, and the route has none";

#[cfg(test)]
mod tests {
    use crate::config::tests::trial::{check, read};

    const WSRV: &str = "[[routes]]\npath = '/wsrv'\ndialect = 'wsrv'\n";
    const APP: &str = "[[backends]]\nname = 'app'\nurl = 'http://127.0.0.1/'\n";

    /// Reads a route whose channel `user:{user}` is joined by `rule`, on line 5.
    fn join(rule: &str) -> String {
        format!("{WSRV}[[routes.channels]]\nname = 'user:{{user}}'\njoin = {rule}\n")
    }

    #[test]
    fn a_rule_is_a_word_or_a_table() {
        const ALLOWED: &str = "\"anyone\", \"nobody\", \"identified\", \"owner\", \"hook\", \
            { tokens = [\"...\"] } and { claim = \"...\", value = \"...\" }";
        let key = "f.toml:6: routes[0].channels[0].join";
        check(
            &join("'me'"),
            &format!("{key}: is an unknown word, allowed are {ALLOWED}"),
        );
        check(
            &join("1"),
            &format!("{key}: must be one of {ALLOWED}; found an integer"),
        );
        check(
            &join("{ token = 'hush' }"),
            "f.toml:6: routes[0].channels[0].join.token: unknown key; did you mean \"tokens\"? \
             allowed here: tokens, \
             claim, value",
        );
        for part in [
            "{}",
            "{ claim = 'role' }",
            "{ value = 'a' }",
            "{ tokens = ['hush'], value = 'a' }",
        ] {
            let problem = "must have tokens, or a claim and its value";
            check(&join(part), &format!("{key}: {problem}"));
        }
        for word in ["anyone", "nobody", "identified", "owner"] {
            assert!(read(&join(&format!("'{word}'"))).is_ok(), "{word}");
        }
    }

    #[test]
    fn tokens_of_a_rule_are_bounded_and_never_shown() {
        let key = "f.toml:6: routes[0].channels[0].join.tokens";
        check(
            &join("{ tokens = 'hush' }"),
            &format!("{key}: must be a list such as [\"...\"]; found a string"),
        );
        check(
            &join("{ tokens = [['hush']] }"),
            &format!(
                "{key}[0]: must be a string, {{ file = \"...\" }} or {{ env = \"...\" }}; found \
                 an array"
            ),
        );
        let many = |count: usize| join(&format!("{{ tokens = [{}] }}", "'hush',".repeat(count)));
        for count in [0, 1_025] {
            check(
                &many(count),
                &format!("{key}: has {count} elements, allowed are 1 to 1024"),
            );
        }
        let config = read(&many(1_024)).expect("valid");
        assert!(!format!("{config:?}").contains("hush"));
        for length in [0, 8_193] {
            check(
                &join(&format!(
                    "{{ tokens = ['hush', '{}'] }}",
                    "h".repeat(length)
                )),
                &format!("{key}[1]: tokens have 1 to 8192 bytes (limits.token_bytes_max)"),
            );
        }
    }

    #[test]
    fn a_rule_needs_a_user_a_jwt_or_hooks_to_apply_to() {
        let key = "f.toml:6: routes[0].channels[0].join";
        check(
            &join("'owner'").replace("user:{user}", "room-*"),
            &format!("{key}: \"owner\" is for channels whose name has {{user}}"),
        );
        check(
            &join("'hook'"),
            &format!(
                "{key}: \"hook\" asks the backend of the route's hooks, and the route has none"
            ),
        );
        let claim = "{ claim = 'role', value = 'admin' }";
        check(
            &join(claim),
            &format!(
                "{key}.claim: a claim is one of a JWT, and no route of the namespace has a jwt"
            ),
        );
        let jwt = "jwt = { key_file = 'f' }\n";
        let other = format!("[[routes]]\npath = '/o'\ndialect = 'edk'\n{jwt}");
        assert!(
            read(&format!("{}{other}", join(claim))).is_err(),
            "a namespace of its own"
        );
        let shared = |text: String| text.replace("'\n[[routes.", "'\nnamespace = 'n'\n[[routes.");
        let other = format!("{other}namespace = 'n'");
        assert_eq!(read(&format!("{}{other}", shared(join(claim)))).err(), None);

        let join = |rule: &str| {
            let route = join(rule);
            format!("{route}[routes.jwt]\nkey_file = 'f'\n")
        };
        for (part, length, max) in [("claim", 257, 256), ("value", 1_025, 1_024)] {
            for length in [0, length] {
                let long = "a".repeat(length);
                let rule = match part {
                    "claim" => format!("{{ claim = '{long}', value = 'a' }}"),
                    _ => format!("{{ claim = 'a', value = '{long}' }}"),
                };
                check(
                    &join(&rule),
                    &format!("{key}.{part}: has {length} bytes, allowed are 1 to {max}"),
                );
            }
        }
    }

    #[test]
    fn a_rule_of_a_command_needs_the_jwt_or_hooks_of_its_route() {
        let allow = |rule: &str, more: &str| {
            let commands = format!("commands = {{ a = {{ action = 'echo', allow = {rule} }} }}");
            format!("{APP}{WSRV}{more}{commands}")
        };
        let key = "f.toml:7: routes[0].commands.a.allow";
        check(
            &allow("'owner'", ""),
            &format!("{key}: \"owner\" is for channels whose name has {{user}}"),
        );
        check(
            &allow("'hook'", ""),
            &format!(
                "{key}: \"hook\" asks the backend of the route's hooks, and the route has none"
            ),
        );
        let claim = "{ claim = 'role', value = 'admin' }";
        check(
            &allow(claim, ""),
            &format!("{key}.claim: a claim is one of a JWT, and the route has no jwt"),
        );
        assert_eq!(
            read(&allow(claim, "jwt = { key_file = 'f' }\n")).err(),
            None
        );
        assert_eq!(
            read(&allow("'hook'", "hooks = { backend = 'app' }\n")).err(),
            None
        );
    }
}
