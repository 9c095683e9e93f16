//! The channels of a namespace and their rules, and names of channels wherever they stand.

use std::collections::BTreeMap;

use super::super::error::Errors;
use super::super::keywords::quoted;
use super::super::{ChannelSetting, Config, Create, Limits, Route};
use super::rule::{self, RuleContext};
use crate::vocabulary::channel_pattern::ChannelPattern;

/// The channels of a namespace that were seen so far.
#[derive(Default)]
struct Declared<'c> {
    has_jwt: bool,
    /// The key of each name or pattern.
    keys: BTreeMap<&'c str, String>,
}

/// Checks the channels of all routes.
pub(super) fn check(config: &Config, errors: &mut Errors) {
    let namespaces = config.namespaces();
    let mut declared: BTreeMap<u16, Declared<'_>> = BTreeMap::new();
    for ((index, route), namespace) in config.routes.iter().enumerate().zip(&namespaces) {
        let has_jwt = route.jwt.is_some() || errors.is_wrong(&format!("routes[{index}].jwt"));
        declared.entry(*namespace).or_default().has_jwt |= has_jwt;
    }

    for ((index, route), namespace) in config.routes.iter().enumerate().zip(&namespaces) {
        let declared = declared.entry(*namespace).or_default();
        let context = RuleContext {
            names_user: false,
            claims: if declared.has_jwt {
                Ok(())
            } else {
                Err("a claim is one of a JWT, and no route of the namespace has a jwt")
            },
            has_hooks: route.hooks.is_some() || errors.is_wrong(&format!("routes[{index}].hooks")),
            limits: &config.limits,
        };
        let all = format!("routes[{index}].channels");
        for (channel, channel_index) in route.channels.iter().zip(0_usize..) {
            let at = format!("{all}[{channel_index}]");
            let key = format!("{at}.name");
            check_channel(channel, &at, context, errors);
            if let Some(other) = declared.keys.insert(&channel.name, key.clone()) {
                let name = quoted(&channel.name);
                errors.error(&key, format!("{name} is taken by {other}"));
            }
        }
        let count = declared.keys.len();
        if count > CHANNELS_MAX {
            let problem = format!(
                "with these, the namespace has {count} channels, allowed are 0 to {CHANNELS_MAX}"
            );
            errors.error(&all, problem);
        }
    }
}

fn check_channel(
    channel: &ChannelSetting,
    at: &str,
    context: RuleContext<'_>,
    errors: &mut Errors,
) {
    let pattern = match parse(&channel.name, context.limits) {
        Ok(pattern) => pattern,
        Err(problem) => return errors.error(&format!("{at}.name"), problem),
    };
    if channel.create == Some(Create::Advance) && pattern.name().is_none() {
        let problem = format!(
            "\"advance\" is for a name, and {} is a pattern; allowed is \"first-join\"",
            quoted(&channel.name)
        );
        errors.error(&format!("{at}.create"), problem);
    }
    let context = RuleContext {
        names_user: pattern.names_user(),
        ..context
    };
    rule::check(&channel.join, &format!("{at}.join"), context, errors);
    rule::check(&channel.publish, &format!("{at}.publish"), context, errors);
}

/// Checks the channels that a session joins when it opens.
pub(super) fn check_join_on_open(route: &Route, limits: &Limits, at: &str, errors: &mut Errors) {
    let (count, max) = (route.join_on_open.len(), limits.channels_per_session_max);
    let at = format!("{at}.join_on_open");
    if count > max as usize {
        let problem = format!(
            "lists {count} channels, allowed are 0 to {max} (limits.channels_per_session_max)"
        );
        errors.error(&at, problem);
    }
    for (index, channel) in route.join_on_open.iter().enumerate() {
        errors.check(&format!("{at}[{index}]"), check_one(channel, limits));
    }
}

/// Checks the name of one channel, with or without the name of a user in it.
pub(super) fn check_one(text: &str, limits: &Limits) -> Result<(), String> {
    let pattern = parse(text, limits)?;
    if pattern.name().is_some() || pattern.names_user() {
        return Ok(());
    }
    let text = quoted(text);
    Err(format!(
        "{text} is a pattern of many channels; allowed is one channel, with or without {{user}}"
    ))
}

fn parse(text: &str, limits: &Limits) -> Result<ChannelPattern, String> {
    let (bytes, max) = (text.len(), limits.name_bytes_max);
    if bytes > max as usize {
        return Err(format!(
            "has {bytes} bytes, allowed are 1 to {max} (limits.name_bytes_max)"
        ));
    }
    ChannelPattern::parse(text).map_err(|problem| format!("{} {problem}", quoted(text)))
}

/// With more, the search for the pattern that matches would take too long.
const CHANNELS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use crate::config::SlowMembers;
    use crate::config::tests::trial::{check, read};

    use super::*;

    const WSRV: &str = "[[routes]]\npath = '/wsrv'\ndialect = 'wsrv'\n";
    const EASYWS: &str = "[[routes]]\npath = '/easyws'\ndialect = 'easyws'\n";

    fn channel(name: &str, more: &str) -> String {
        format!("{WSRV}[[routes.channels]]\nname = '{name}'\n{more}")
    }

    #[test]
    fn a_channel_has_a_name_or_a_pattern() {
        let key = "f.toml:5: routes[0].channels[0].name";
        for (bad, problem) in [
            ("", "\"\" is empty"),
            ("a*b*", "\"a*b*\" has more than one \"*\" or \"{user}\""),
            (
                "{id}",
                "\"{id}\" has a brace that is not that of \"{user}\"",
            ),
        ] {
            check(&channel(bad, ""), &format!("{key}: {problem}"));
        }
        let long = "a".repeat(1_025);
        check(
            &channel(&long, ""),
            &format!("{key}: has 1025 bytes, allowed are 1 to 1024 (limits.name_bytes_max)"),
        );
        assert!(read(&channel(&long[1..], "")).is_ok());
        check(
            &format!("{WSRV}[[routes.channels]]\njoin = 'anyone'"),
            "f.toml:4: routes[0].channels[0].name: is required, such as \"room-*\"",
        );
        check(
            &channel("a", "role = 'anyone'"),
            "f.toml:6: routes[0].channels[0].role: unknown key; allowed here: name, create, \
             join, publish, slow",
        );
        check(
            &format!("{WSRV}channels = 'a'"),
            "f.toml:4: routes[0].channels: must be [[routes.channels]] tables; found a string",
        );
    }

    #[test]
    fn only_a_name_exists_in_advance() {
        let key = "f.toml:6: routes[0].channels[0].create";
        check(
            &channel("room-*", "create = 'advance'"),
            &format!(
                "{key}: \"advance\" is for a name, and \"room-*\" is a pattern; allowed is \
                 \"first-join\""
            ),
        );
        check(
            &channel("room", "create = 'later'"),
            &format!("{key}: \"later\" is unknown, allowed are \"advance\", \"first-join\""),
        );
        assert!(read(&channel("room", "create = 'advance'")).is_ok());
        assert!(read(&channel("room-*", "create = 'first-join'")).is_ok());
    }

    #[test]
    fn slow_members_are_closed_or_miss_the_newest() {
        check(
            &channel("room", "slow = 'drop_oldest'"),
            "f.toml:6: routes[0].channels[0].slow: \"drop_oldest\" is unknown, allowed are \
             \"disconnect\", \"drop_newest\"",
        );
        check(
            &channel("room", "slow = true"),
            "f.toml:6: routes[0].channels[0].slow: must be a string; found a boolean",
        );
        for slow in SlowMembers::SPELLINGS {
            let config = read(&channel("room", &format!("slow = '{slow}'"))).expect("valid");
            assert_eq!(config.routes[0].channels[0].slow.as_str(), *slow);
        }
    }

    #[test]
    fn a_namespace_declares_a_channel_once() {
        let shared = |route: &str, names: &[&str]| {
            let channel = |name: &&str| format!("[[routes.channels]]\nname = '{name}'\n");
            let channels: String = names.iter().map(channel).collect();
            format!("{route}namespace = 'n'\n{channels}")
        };
        check(
            &shared(WSRV, &["a", "b", "a"]),
            "f.toml:10: routes[0].channels[2].name: \"a\" is taken by routes[0].channels[0].name",
        );
        let wsrv = shared(WSRV, &["a", "room-*"]);
        check(
            &format!("{wsrv}{}", shared(EASYWS, &["room-*"])),
            "f.toml:14: routes[1].channels[0].name: \"room-*\" is taken by \
             routes[0].channels[1].name",
        );
        assert!(read(&format!("{wsrv}{}", shared(EASYWS, &["room-1"]))).is_ok());
        // So every channel of a namespace has one class.
        let drops = format!("{}slow = 'drop_newest'\n", shared(EASYWS, &["room-*"]));
        check(
            &format!("{wsrv}{drops}"),
            "f.toml:14: routes[1].channels[0].name: \"room-*\" is taken by \
             routes[0].channels[1].name",
        );
        let elsewhere = shared(EASYWS, &["room-*"]).replace("'n'", "'m'");
        assert!(read(&format!("{wsrv}{elsewhere}")).is_ok());
    }

    #[test]
    fn the_channels_of_a_namespace_are_limited() {
        let named = |letter: char| (0..512).map(move |index| format!("{letter}{index}"));
        let mut config =
            read(&format!("{WSRV}namespace = 'n'\n{EASYWS}namespace = 'n'")).expect("valid");
        config.routes[0].channels = named('a').map(ChannelSetting::new).collect();
        config.routes[1].channels = named('b').map(ChannelSetting::new).collect();
        assert_eq!(config.validate(), Ok(()));
        config.routes[1].channels.push(ChannelSetting::new("*"));
        let error = config.validate().expect_err("one too many");
        assert_eq!(
            error.to_string(),
            "routes[1].channels: with these, the namespace has 1025 channels, allowed are 0 to 1024"
        );
    }

    #[test]
    fn join_on_open_lists_single_channels_within_the_limit() {
        let open = |channels: &str| format!("{WSRV}join_on_open = [{channels}]");
        check(
            &open("'a', 'room-*'"),
            "f.toml:4: routes[0].join_on_open[1]: \"room-*\" is a pattern of many channels; \
             allowed is one channel, with or without {user}",
        );
        check(
            &open("'a', ''"),
            "f.toml:4: routes[0].join_on_open[1]: \"\" is empty",
        );
        check(
            &format!(
                "limits.channels_per_session_max = 2\n{}",
                open("'a', 'b', 'c'")
            ),
            "f.toml:5: routes[0].join_on_open: lists 3 channels, allowed are 0 to 2 \
             (limits.channels_per_session_max)",
        );
        check(
            &format!("{WSRV}join_on_open = 'a'"),
            "f.toml:4: routes[0].join_on_open: must be a list such as [\"global\", \
             \"user:{user}\"]; found a string",
        );
        check(
            &open("1"),
            "f.toml:4: routes[0].join_on_open[0]: must be a string; found an integer",
        );
        assert!(read(&open(&"'a',".repeat(128))).is_ok());
        assert!(read(&open("'global', 'user:{user}'")).is_ok());
    }
}
