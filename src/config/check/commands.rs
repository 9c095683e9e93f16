//! Commands that the gateway handles: that clients can give them, and that their replies can be
//! encoded.

use super::super::error::Errors;
use super::super::keywords::{key_in, quoted};
use super::super::{Action, CommandSetting, Config, Limits, Route};
use super::channels;
use super::rule::{self, NO_HOOKS, RuleContext};
use crate::dialect::Dialect;

/// Checks the commands of a route.
pub(super) fn check(route: &Route, config: &Config, at: &str, errors: &mut Errors) {
    let limits = &config.limits;
    let context = RuleContext {
        names_user: false,
        claims: if route.jwt.is_some() || errors.is_wrong(&format!("{at}.jwt")) {
            Ok(())
        } else {
            Err("a claim is one of a JWT, and the route has no jwt")
        },
        has_hooks: route.hooks.is_some() || errors.is_wrong(&format!("{at}.hooks")),
        limits,
    };
    for (name, command) in &route.commands {
        let key = key_in(&format!("{at}.commands"), name);
        errors.check(&key, check_name(name, route.dialect, limits));
        check_action(name, command, (route, config), &key, errors);
        if command.action == Action::Hook && !context.has_hooks {
            errors.error(&format!("{key}.action"), NO_HOOKS);
        }
        rule::check(&command.allow, &format!("{key}.allow"), context, errors);
    }
}

/// A message without a command has the empty name, where the dialect has such messages.
fn check_name(name: &str, dialect: &dyn Dialect, limits: &Limits) -> Result<(), String> {
    check_length(name, limits)?;
    let checked = dialect.check_command(name);
    checked.map_err(|problem| format!("{} cannot be a command: {problem}", quoted(name)))
}

fn check_action(
    name: &str,
    command: &CommandSetting,
    (route, config): (&Route, &Config),
    key: &str,
    errors: &mut Errors,
) {
    match &command.action {
        Action::Join { channel } | Action::Leave { channel } | Action::Publish { channel, .. } => {
            if let Some(channel) = channel {
                let checked = channels::check_one(channel, &config.limits);
                errors.check(&format!("{key}.channel"), checked);
            }
        }
        Action::Echo | Action::Reply { .. } | Action::Hook => {}
    }
    if let Action::Publish { event, .. } = &command.action {
        let checked = check_event(name, event.as_ref(), route, config);
        errors.check(&format!("{key}.event"), checked);
    }
}

/// An event must be one that every dialect of the namespace can encode.
fn check_event(
    name: &str,
    event: Option<&String>,
    route: &Route,
    config: &Config,
) -> Result<(), String> {
    let published = event.map_or(name, String::as_str);
    check_length(published, &config.limits)?;
    // The empty command is published under an event that all other dialects can encode.
    let is_encoded = |other: &&Route| !published.is_empty() || other.path == route.path;
    let mut routes = config.routes_beside(route).filter(is_encoded);
    let checked = routes.try_for_each(|it| it.dialect.check_event(published));
    checked.map_err(|problem| {
        let published = quoted(published);
        let cure = match event {
            Some(_) => "",
            None => "; give the command an event of another name",
        };
        format!("{published} cannot be an event: {problem}{cure}")
    })
}

fn check_length(name: &str, limits: &Limits) -> Result<(), String> {
    let (bytes, max) = (name.len(), limits.name_bytes_max);
    if bytes <= max as usize {
        return Ok(());
    }
    Err(format!(
        "has {bytes} bytes, allowed are 0 to {max} (limits.name_bytes_max)"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::super::Config;
    use super::super::super::ReplyData;
    use super::*;
    use crate::config::tests::trial::{check, read};

    const WSRV: &str = "[[routes]]\npath = '/wsrv'\ndialect = 'wsrv'\n";
    const EASYWS: &str = "[[routes]]\npath = '/easyws'\ndialect = 'easyws'\n";
    const EDK: &str = "[[routes]]\npath = '/edk'\ndialect = 'edk'\n";

    #[track_caller]
    fn expect_error(command: &str, expected: &str) {
        check(
            &format!("{WSRV}[routes.commands]\n{command}"),
            &format!("f.toml:5: routes[0].commands{expected}"),
        );
    }

    #[test]
    fn a_command_has_the_keys_of_its_action() {
        const ACTIONS: &str = "\"echo\", \"join\", \"leave\", \"publish\", \"reply\", \"hook\"";
        expect_error(
            "a = 'jion'",
            &format!(".a: \"jion\" is unknown, allowed are {ACTIONS}"),
        );
        expect_error(
            "a = { action = 'jion' }",
            &format!(".a.action: \"jion\" is unknown, allowed are {ACTIONS}"),
        );
        expect_error(
            "a = 1",
            ".a: must be an action such as \"join\", or a table such as { action = \"reply\", data \
             = \"...\" }; found an integer",
        );
        expect_error(
            "a = { channel = 'b' }",
            ".a.action: is required, allowed are \"echo\", \"join\", \"leave\", \
             \"publish\", \"reply\", \"hook\"",
        );
        check(
            &format!("{WSRV}commands = 'join'"),
            "f.toml:4: routes[0].commands: must be a table of lines such as join = \"join\"; found \
             a string",
        );
        check(
            &format!("{WSRV}[routes.commands]\na = {{ action = 'join', room = 'b' }}"),
            "f.toml:5: routes[0].commands.a.room: unknown key; allowed here: action, channel, \
             allow",
        );
        let lines = [
            ("channel = 'c'", "join leave publish"),
            ("event = 'e'", "publish"),
            ("to = 'others'", "publish"),
            ("data = 1", "reply"),
            ("bytes = 'aGk='", "reply"),
            ("allow = 'nobody'", "echo join leave publish reply"),
        ];
        let allowed_for = [
            ("echo", "action, allow"),
            ("join", "action, channel, allow"),
            ("leave", "action, channel, allow"),
            ("publish", "action, channel, event, to, allow"),
            ("reply", "action, data, bytes, allow"),
        ];
        for (action, allowed) in allowed_for {
            for (line, actions) in lines {
                let (key, _) = line.split_once(' ').expect("a key and a value");
                let text =
                    format!("{WSRV}[routes.commands]\n\"a b\" = {{ {line}, action = '{action}' }}");
                let expected = format!(
                    "f.toml:5: routes[0].commands.\"a b\".{key}: action \"{action}\" has no \
                     such key; allowed here: {allowed}"
                );
                let is_allowed = actions.split(' ').any(|it| it == action);
                let error = (!is_allowed).then_some(expected);
                assert_eq!(read(&text).err(), error, "{text}");
            }
        }
    }

    #[test]
    fn a_command_has_a_name_that_clients_can_send() {
        check(
            &format!("{EASYWS}[routes.commands]\n\"a:b\" = 'echo'"),
            "f.toml:5: routes[0].commands.\"a:b\": \"a:b\" cannot be a command: command may not \
             contain a colon",
        );
        assert!(read(&format!("{WSRV}[routes.commands]\n\"a:b\" = 'echo'")).is_ok());
        assert!(read(&format!("{EDK}commands = {{ \"\" = 'echo' }}")).is_ok());
        let long = "a".repeat(1_025);
        let key = format!("{long}: has 1025 bytes, allowed are 0 to 1024 (limits.name_bytes_max)");
        expect_error(&format!("{long} = 'echo'"), &format!(".{key}"));
        let many = |count: usize| {
            let line = |index: usize| format!("a{index} = 'echo'\n");
            let lines: String = (0..count).map(line).collect();
            read(&format!("{WSRV}[routes.commands]\n{lines}")).map(drop)
        };
        assert_eq!(many(256), Ok(()));
        let error = "f.toml:4: routes[0].commands: has 257 elements, allowed are 0 to 256";
        assert_eq!(many(257), Err(error.to_owned()));
    }

    #[test]
    fn the_channel_of_a_command_is_no_pattern() {
        for action in ["join", "leave", "publish"] {
            let line =
                |channel: &str| format!("a = {{ action = '{action}', channel = '{channel}' }}");
            expect_error(
                &line("room-*"),
                ".a.channel: \"room-*\" is a pattern of many channels; allowed is one channel, \
                 with or without {user}",
            );
            expect_error(
                &line("{id}"),
                ".a.channel: \"{id}\" has a brace that is not that of \"{user}\"",
            );
            let good = line("user:{user}");
            assert!(
                read(&format!("{WSRV}[routes.commands]\n{good}")).is_ok(),
                "{good}"
            );
        }
    }

    #[test]
    fn an_event_of_a_command_is_valid_in_every_dialect_of_the_namespace() {
        let commands = |lines: &str| format!("{EASYWS}[routes.commands]\n{lines}");
        check(
            &commands("a = { action = 'publish', event = 'b:c' }"),
            "f.toml:5: routes[0].commands.a.event: \"b:c\" cannot be an event: command may not \
             contain a colon",
        );
        check(
            &commands("\"\" = 'publish'"),
            "f.toml:5: routes[0].commands.\"\".event: \"\" cannot be an event: command may not \
             be empty; \
             give the command an event of another name",
        );
        let beside = |command: &str| {
            let edk = format!("{EDK}namespace = 'n'\n[routes.commands]\n{command}\n");
            format!("{edk}{EASYWS}namespace = 'n'")
        };
        check(
            &beside("\"\" = { action = 'publish', event = 'b:c' }"),
            "f.toml:6: routes[0].commands.\"\".event: \"b:c\" cannot be an event: command may not \
             contain a colon",
        );
        assert!(read(&beside("\"\" = 'publish'")).is_ok());
        assert!(read(&commands("\"\" = { action = 'publish', event = 'say' }")).is_ok());
        let long = "a".repeat(1_025);
        expect_error(
            &format!("a = {{ action = 'publish', event = '{long}' }}"),
            ".a.event: has 1025 bytes, allowed are 0 to 1024 (limits.name_bytes_max)",
        );
        expect_error(
            "a = { action = 'publish', to = 'some' }",
            ".a.to: \"some\" is unknown, allowed are \"all\", \"others\"",
        );
    }

    #[test]
    fn a_hook_needs_the_hooks_of_its_route() {
        let problem = "\"hook\" asks the backend of the route's hooks, and the route has none";
        expect_error("a = 'hook'", &format!(".a.action: {problem}"));
        expect_error("a = { action = 'hook' }", &format!(".a.action: {problem}"));
    }

    #[test]
    fn a_constant_reply_is_text_json_or_bytes() {
        let json = |value: &str| {
            let text =
                format!("{WSRV}[routes.commands]\na = {{ action = 'reply', data = {value} }}");
            let mut config = read(&text)?;
            let command = config.routes[0].commands.remove("a").expect("it is there");
            let Action::Reply {
                data: ReplyData::Json(json),
            } = command.action
            else {
                panic!("not JSON: {command:?}");
            };
            Ok(json)
        };
        for (value, expected) in [
            ("true", "true"),
            ("-7", "-7"),
            ("1_000", "1000"),
            ("0xff", "255"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("+1.5", "1.5"),
            ("2e3", "2000.0"),
            ("[]", "[]"),
            ("[1, 'a\"', [true]]", r#"[1,"a\"",[true]]"#),
            ("{ z = 1, a = { b = 'c' } }", r#"{"z":1,"a":{"b":"c"}}"#),
            (
                "{ \"a\\u0001 b\" = \"\u{e9}\" }",
                "{\"a\\u0001 b\":\"\u{e9}\"}",
            ),
        ] {
            assert_eq!(json(value).as_deref(), Ok(expected), "{value}");
        }
        let not_json = |value: &str, expected: &str| {
            let expected = format!("f.toml:5: routes[0].commands.a.data{expected}");
            assert_eq!(json(value), Err(expected), "{value}");
        };
        not_json(
            "1979-05-27",
            ": must be a value that JSON has, such as a string; found a date or time",
        );
        not_json(
            "{ b = [1979-05-27] }",
            ".b[0]: must be a value that JSON has, such as a string; found a date or time",
        );
        not_json("nan", ": nan is no number in JSON");
        not_json("[-inf]", "[0]: -inf is no number in JSON");
        not_json(
            "9223372036854775808",
            ": 9223372036854775808 has more than 64 bits",
        );

        expect_error(
            "a = { action = 'reply', bytes = 'a' }",
            ".a.bytes: is not base64, such as \"aGk=\"",
        );
        expect_error(
            "a = { action = 'reply', data = '', bytes = '' }",
            ".a.bytes: cannot be combined with data",
        );
        let mut config = Config::default();
        let data = ReplyData::Json("{".to_owned());
        let broken = CommandSetting::new(Action::Reply { data });
        config.routes[2].commands.insert("a".to_owned(), broken);
        let error = config.validate().expect_err("no JSON");
        assert_eq!(error.to_string(), "routes[2].commands.a.data: is not JSON");
    }
}
