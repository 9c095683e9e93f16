//! Hints for a route in the start-up text: first messages to try, in lines that fit behind its URL.
//!
//! `Dialect::first_steps` formats the messages; this module finds commands and channels in the
//! config that all clients may use. No secret and no token is shown; `<token>` stands for one that
//! the operator knows.

use crate::config::{
    Action, ChannelSetting, Config, HookKind, PublishTo, PushAuth, Route, Rule, TokenSource,
};
use crate::dialect::{RouteFacts, TokenPlace};
use crate::vocabulary::channel_pattern::ChannelPattern;

/// Returns the lines that tell how to try a route.
pub(super) fn how_to_try(config: &Config, route: &Route) -> Vec<String> {
    let shows_token = shows_token(route);
    let is_named = config.trusts_user_header(route);
    let token_shown = token_note(route);
    route.dialect.first_steps(&RouteFacts {
        token: if shows_token { "<token>" } else { "jack" },
        needs_token: shows_token || !is_named,
        token_shown: token_shown.as_deref(),
        join: command(route, |it| matches!(it, Action::Join { channel: None })),
        publish: command(route, |it| {
            matches!(it, Action::Publish { channel: None, .. })
        }),
        room: room(config, route),
        command: first_command(route),
        goes_to: message_audience(route),
        idle_timeout_ms: route.limits.idle_timeout_ms,
    })
}

/// Returns the other paths of a route: the kind, scheme and path of each, and a note.
pub(super) fn other_paths<'c>(
    config: &Config,
    route: &'c Route,
) -> impl Iterator<Item = (&'static str, &'static str, &'c str, &'static str)> {
    let is_open = config.serves_keyless();
    let closed = move |is_guarded: bool, hint| {
        if is_open || is_guarded { "" } else { hint }
    };
    let is_push_guarded = route.push_auth() != PushAuth::None || route.push_authorized_by_code;
    let push = closed(is_push_guarded, "closed: no push_secret");
    let tap = closed(route.tap_secret.is_some(), "closed: no tap_secret");
    let all = [
        ("  push", "http", route.push_path.as_deref(), push),
        ("  drop", "http", route.drop_path.as_deref(), push),
        ("  tap", "ws", route.tap_path.as_deref(), tap),
        ("  playground", "http", route.playground_path.as_deref(), ""),
    ];
    let all = all.into_iter();
    all.filter_map(|(what, scheme, path, hint)| Some((what, scheme, path?, hint)))
}

/// Returns the note on the credentials of the server API.
pub(super) fn api(config: &Config) -> &'static str {
    match config.api.keys[..] {
        [] if config.insecure => "no key is needed",
        [] if !config.serves_keyless() => "closed: no [api] keys",
        [] => "no key is needed from this machine",
        _ => "Authorization: Bearer <key>",
    }
}

/// Whether a client's user comes from a token that only the operator knows.
pub(super) fn shows_token(route: &Route) -> bool {
    let asks = |kind| route.hooks.as_ref().is_some_and(|hooks| hooks.asks(kind));
    match route.dialect.route_spec().token {
        // Most authentication is of upgrades, which have no token here.
        TokenPlace::Message => {
            route.tokens.is_some() || route.jwt.is_some() || asks(HookKind::Authenticate)
        }
        TokenPlace::None | TokenPlace::Subprotocol | TokenPlace::Cookie | TokenPlace::Sources => {
            route.authenticates()
        }
    }
}

/// Returns the members that receive a message without a command, on a channel that sessions join
/// when they open.
fn message_audience(route: &Route) -> Option<&'static str> {
    match &route.commands.get("")?.action {
        Action::Publish {
            channel: Some(channel),
            to,
            ..
        } if route.join_on_open.contains(channel) => Some(match to {
            PublishTo::All => "all",
            PublishTo::Others => "all others",
        }),
        Action::Echo
        | Action::Join { .. }
        | Action::Leave { .. }
        | Action::Publish { .. }
        | Action::Reply { .. }
        | Action::Hook => None,
    }
}

/// Returns how to send the token; `None` if none is required.
fn token_note(route: &Route) -> Option<String> {
    if !shows_token(route) || route.anonymous {
        return None;
    }
    let first = route.token_from.as_ref().and_then(|it| it.first());
    Some(match first.unwrap_or(&TokenSource::Bearer) {
        TokenSource::Bearer => "Authorization: Bearer <token>".to_owned(),
        TokenSource::Header(name) => format!("{name}: <token>"),
        TokenSource::Cookie(name) => format!("cookie {name}=<token>"),
        TokenSource::Query(name) => format!("with ?{name}=<token>"),
    })
}

/// Returns a command that all clients may give, with an action that `does` accepts.
fn command(route: &Route, does: impl Fn(&Action) -> bool) -> Option<&str> {
    let mut commands = route.commands.iter();
    let found = commands.find(|(name, command)| {
        is_plain(name) && command.allow == Rule::Anyone && does(&command.action)
    });
    found.map(|(name, _)| name.as_str())
}

/// Returns the command to try on a route without a chat.
fn first_command(route: &Route) -> &str {
    if route.commands.contains_key("hello") {
        return "hello";
    }
    command(route, |_| true).unwrap_or("hello")
}

/// Returns a channel that all clients may join and publish to.
fn room<'c>(config: &'c Config, route: &Route) -> Option<&'c str> {
    let shares = |other: &&Route| {
        let is_same = other.namespace.is_some() && other.namespace == route.namespace;
        is_same || std::ptr::eq(*other, route)
    };
    let channels = || {
        config
            .routes
            .iter()
            .filter(shares)
            .flat_map(|it| &it.channels)
    };
    let fits = |channel: &ChannelSetting| {
        ChannelPattern::parse(&channel.name).is_ok_and(|it| it.match_name(ROOM).is_some())
    };
    let open = |channel: &'c ChannelSetting| {
        let is_open = channel.join == Rule::Anyone && channel.publish == Rule::Anyone;
        match is_open {
            true if is_plain(&channel.name) => Some(channel.name.as_str()),
            true if fits(channel) => Some(ROOM),
            _ => None,
        }
    };
    let undeclared = || {
        let is_free = !route.dialect.spec().declared_channels && !channels().any(fits);
        is_free.then_some(ROOM)
    };
    channels().find_map(open).or_else(undeclared)
}

/// Whether every dialect encodes the word as it is.
fn is_plain(word: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=WORD_COLUMNS_MAX).contains(&word.len()) && word.bytes().all(is_part)
}

const ROOM: &str = "room";
/// The longest word of a hint; others are left out.
const WORD_COLUMNS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    /// The hints for the first route of this config.
    fn hints(text: &str) -> Vec<String> {
        let config = Config::from_toml("f.toml", text, &Overrides::default());
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        how_to_try(&config, &config.routes[0])
    }

    fn route(dialect: &str, lines: &str) -> String {
        let backend = "[[backends]]\nname = 'app'\nurl = 'http://127.0.0.1/'\n";
        format!("{backend}[[routes]]\npath = '/a'\ndialect = '{dialect}'\n{lines}\n")
    }

    const ALIVE: &str = "send a message every 30 s, an empty one suffices";
    const CHAT: &str = "commands = { enter = 'join', say = 'publish', a = 'echo' }\n";

    #[test]
    fn hints_have_the_names_of_the_configs_commands() {
        let say = r#"{"cmd":"say","data":{"channel":"room","data":"hi"}}"#;
        assert_eq!(
            hints(&route("wsrv", CHAT)),
            [r#"send {"cmd":"enter","data":"room"}, then"#, say, ALIVE]
        );
        assert_eq!(
            hints(&route("projectforge", CHAT)),
            [
                "with ?ch=room, twice: the first sees a join",
                r#"send {"channel":"room","cmd":"say","param":"hi"}"#
            ]
        );
        // Commands that not all clients may give, and words that are not plain, are left out.
        let nobody = "{ action = 'join', allow = 'nobody' }";
        let elsewhere = "{ action = 'join', channel = 'a' }";
        for (name, join, first) in [
            ("join", nobody, "publish"),
            ("join", elsewhere, "join"),
            ("'j\"'", "'join'", "publish"),
        ] {
            let commands = format!("commands = {{ {name} = {join}, publish = 'publish' }}");
            let hint = format!(r#"send {{"cmd":"{first}","seqno":"1"}}"#);
            let expected = [hint.as_str(), ALIVE];
            assert_eq!(hints(&route("wsrv", &commands)), expected, "{commands}");
        }
        let none = r#"send {"cmd":"hello","seqno":"1"}"#;
        assert_eq!(hints(&route("wsrv", "")), [none, ALIVE]);
    }

    #[test]
    fn the_hint_of_wsrv_has_the_heartbeat_interval() {
        let last = |lines: &str| hints(&route("wsrv", lines)).pop().expect("it has hints");
        let ms = "send a message every 1500 ms, an empty one suffices";
        assert_eq!(last("idle_timeout_ms = 1500"), ms);
    }

    #[test]
    fn the_hint_has_a_channel_that_all_clients_may_use() {
        let easyws = |channels: &str| {
            let hints = hints(&route("easyws", &format!("{CHAT}channels = [{channels}]")));
            hints.concat()
        };
        let chat =
            |room: &str| format!("cookie auth=jack, send enter: {room}, then say: {room} hi");
        assert_eq!(easyws("{ name = '*' }"), chat("room"));
        assert_eq!(easyws("{ name = 'r*' }"), chat("room"));
        assert_eq!(easyws("{ name = 'hall' }"), chat("hall"));
        let no_chat = "cookie auth=jack, send a: world";
        for none in ["", "{ name = 'x*' }", "{ name = '*', publish = 'nobody' }"] {
            assert_eq!(easyws(none), no_chat, "{none}");
        }
        // Elsewhere a channel need not be declared, but if it is, its rule counts.
        let wsrv = |channels: &str| {
            let hints = hints(&route("wsrv", &format!("{CHAT}channels = [{channels}]")));
            hints.concat().contains("\"room\"")
        };
        assert!(wsrv(""));
        assert!(wsrv("{ name = 'x*', join = 'nobody' }"));
        assert!(!wsrv("{ name = 'r*', join = 'nobody' }"));
    }

    #[test]
    fn the_hint_has_the_place_of_the_token() {
        let jwt = "jwt = { key_file = 'f' }\n";
        let first = |dialect: &str, lines: &str| {
            let mut lines = hints(&route(dialect, lines));
            lines.remove(0)
        };
        assert_eq!(first("wsrv", jwt), "Authorization: Bearer <token>");
        for (source, expected) in [
            ("bearer", "Authorization: Bearer <token>"),
            ("header:X-Token", "x-token: <token>"),
            ("cookie:session", "cookie session=<token>"),
            ("query:token", "with ?token=<token>"),
        ] {
            let lines = format!("{jwt}token_from = ['{source}', 'query:b']");
            assert_eq!(first("projectforge", &lines), expected);
        }
        let anonymous = format!("{jwt}anonymous = true");
        assert!(first("wsrv", &anonymous).starts_with("send "));
        let open = "hooks = { backend = 'app', on = ['open'] }";
        assert!(first("easyws", open).starts_with("cookie auth=<token>, "));
        assert_eq!(first("edk", open), "Sec-WebSocket-Protocol: <token>");
        let registration = |token: &str| format!(r#"send {{"token":"{token}","event":"topic1"}}"#);
        assert_eq!(first("wserver", jwt), registration("<token>"));
        assert_eq!(first("wserver", open), registration("jack"));
        let authenticate = open.replace("open", "authenticate");
        assert_eq!(first("wserver", &authenticate), registration("<token>"));
    }

    #[test]
    fn the_hint_of_edk_names_the_receivers_of_a_message() {
        let edk = |to: &str, open: &str| {
            let publish = format!("{{ action = 'publish', channel = 'lobby', to = '{to}' }}");
            let lines = format!("join_on_open = ['{open}']\ncommands = {{ '' = {publish} }}");
            hints(&route("edk", &lines)).split_off(1)
        };
        assert_eq!(edk("all", "lobby"), ["any message goes to all"]);
        assert_eq!(edk("others", "lobby"), ["any message goes to all others"]);
        assert!(edk("all", "hall").is_empty());
    }
}
