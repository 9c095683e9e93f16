//! The default config, overrides, and texts that are read.

mod backends;
mod file;
mod route;
pub(super) mod trial;

use super::*;
use crate::dialect::echo::Echo;
use crate::dialect::wserver::Wserver;

fn read(text: &str, overrides: &Overrides) -> Result<Config, String> {
    Config::from_toml("campanile.toml", text, overrides).map_err(|error| error.to_string())
}

#[test]
fn the_default_config_is_valid_and_has_the_documented_routes() {
    let config = Config::default();
    assert_eq!(config.validate(), Ok(()));
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.shards, None);
    let paths: Vec<&str> = config.routes.iter().map(|it| it.path.as_str()).collect();
    let expected = ["/ws", "/edk", "/wsrv", "/easyws", "/projectforge", "/echo"];
    assert_eq!(paths, expected);
    let [ws, others @ .., echo] = &config.routes[..] else {
        panic!("two routes, not {:?}", config.routes);
    };
    for route in others {
        assert_eq!(route.name(), route.dialect.name());
        let plain = Route {
            playground_path: None,
            join_on_open: Vec::new(),
            commands: BTreeMap::new(),
            channels: Vec::new(),
            ..route.clone()
        };
        assert_eq!(plain, Route::new(route.path.clone(), route.dialect));
    }
    assert_eq!(ws.dialect.name(), "wserver");
    assert_eq!(ws.push_path.as_deref(), Some("/push"));
    assert_eq!(ws.drop_path.as_deref(), Some("/drop"));
    assert_eq!((&ws.tokens, ws.push_auth()), (&None, PushAuth::None));
    assert_eq!(ws.limits, RouteLimits::default());
    assert_eq!(*echo, Route::new("/echo", &Echo));
    assert_eq!(echo.limits.outbox_bytes_max, 32 << 20);
    assert_eq!(echo.limits.message_bytes_max, 16 << 20);
}

#[test]
fn the_default_config_has_a_chat_in_every_dialect_with_commands() {
    let routes = Config::default().routes;
    let [ws, edk, wsrv, easyws, projectforge, echo] = &routes[..] else {
        panic!("six routes, not {routes:?}");
    };
    for route in [wsrv, easyws, projectforge] {
        let commands = route.commands.iter();
        let actions = commands.map(|(name, it)| (name.as_str(), it.action.as_str()));
        let expected = [
            ("echo", "echo"),
            ("hello", "reply"),
            ("join", "join"),
            ("leave", "leave"),
            ("publish", "publish"),
        ];
        assert!(actions.eq(expected), "{:?}", route.dialect);
        let data = ReplyData::Text("world".to_owned());
        assert_eq!(route.commands["hello"].action, Action::Reply { data });
    }
    assert_eq!(easyws.channels, [ChannelSetting::new("room*")]);
    assert_eq!(edk.join_on_open, ["lobby"]);
    let to_the_lobby = Action::Publish {
        channel: Some("lobby".to_owned()),
        event: None,
        to: PublishTo::All,
    };
    assert_eq!(edk.commands[""], CommandSetting::new(to_the_lobby));
    for route in [ws, echo] {
        assert!(route.commands.is_empty() && route.join_on_open.is_empty());
    }
    for route in [ws, edk, wsrv, projectforge, echo] {
        assert!(route.channels.is_empty());
    }
}

#[test]
fn overrides_go_before_the_file_and_the_file_before_the_defaults() {
    const JSON: Log = Log {
        level: LogLevel::Info,
        form: LogForm::Json,
    };
    let text = "listen = '127.0.0.1:1'\nshards = 3\nlog = 'warn'\npin = false";
    let from_file = read(text, &Overrides::default()).expect("valid");
    assert_eq!(from_file.listen.to_string(), "127.0.0.1:1");
    assert_eq!(from_file.shards, NonZeroU8::new(3));
    assert_eq!(from_file.log.level, LogLevel::Warn);
    assert!(!from_file.pin && !from_file.insecure);

    let overrides = Overrides {
        listen: Some(([127, 0, 0, 1], 2).into()),
        shards: Some(Shards(None)),
        log: Some(JSON),
        insecure: true,
    };
    let overridden = read(text, &overrides).expect("valid");
    let expected = Config {
        listen: ([127, 0, 0, 1], 2).into(),
        shards: None,
        insecure: true,
        log: JSON,
        ..from_file
    };
    assert_eq!(overridden, expected);
}

#[test]
fn an_insecure_file_needs_no_flag_and_no_flag_makes_it_secure() {
    let text = "insecure = true\nlisten = '0.0.0.0:80'";
    let config = read(text, &Overrides::default()).expect("valid");
    assert!(config.insecure);
}

#[test]
fn routes_inherit_limits_wherever_these_stand_in_the_file() {
    let text = "
        [[routes]]
        path = '/a'
        dialect = 'wserver'
        idle_timeout_ms = 7_000
        [[routes]]
        path = '/b'
        dialect = 'echo'
        [limits]
        message_bytes_max = 0x10
        outbox_bytes_max = 4096
        [heartbeat]
        ping_interval_ms = 1_000
        idle_timeout_ms = 3_000";
    let config = read(text, &Overrides::default()).expect("valid");
    let inherited = RouteLimits {
        message_bytes_max: 16,
        outbox_bytes_max: 4_096,
        ping_interval_ms: 1_000,
        idle_timeout_ms: 7_000,
        ..RouteLimits::default()
    };
    assert_eq!(config.routes[0].limits, inherited);
    let echo = RouteLimits {
        outbox_bytes_max: 32 << 20,
        idle_timeout_ms: 3_000,
        ..inherited
    };
    assert_eq!(config.routes[1].limits, echo);
}

#[test]
fn the_default_routes_inherit_limits_too() {
    let config = read(
        "limits.message_bytes_max = 20_000_000",
        &Overrides::default(),
    );
    let routes = config.expect("valid").routes;
    assert_eq!(routes[0].limits.message_bytes_max, 20_000_000);
    assert_eq!(routes[5].limits.message_bytes_max, 20_000_000);
    assert_eq!(routes[5].limits.outbox_bytes_max, 40_000_000);
}

#[test]
fn an_unreadable_file_is_named_with_the_cause() {
    let missing = Path::new("/nowhere/campanile.toml");
    let error = Config::load(Some(missing), &Overrides::default()).expect_err("missing");
    assert_eq!(
        error.to_string(),
        "/nowhere/campanile.toml: cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn several_tokens_may_name_one_user() {
    let text = "
        [[routes]]
        path = '/ws'
        dialect = 'wserver'
        [routes.tokens]
        aaa = 'jack'
        'b.b' = 'jack'
        c = 'jill'";
    let config = read(text, &Overrides::default()).expect("valid");
    let tokens = config.routes[0].tokens.as_ref().expect("has tokens");
    assert_eq!(tokens.user("aaa"), Some("jack"));
    assert_eq!(tokens.user("b.b"), Some("jack"));
    assert_eq!(tokens.user("c"), Some("jill"));
    assert_eq!(tokens.user("jack"), None);
}

#[test]
fn secrets_and_tokens_are_not_shown() {
    let text = "
        [[routes]]
        path = '/a'
        push_path = '/b'
        dialect = 'wserver'
        push_secret = 'hush'
        tokens = { hush1 = 'jack' }
        [[routes]]
        path = '/c'
        push_path = '/d'
        dialect = 'wserver'
        push_header = { name = 'X-Key', value = 'hush' }
        [[routes]]
        path = '/e'
        dialect = 'projectforge'
        tap_path = '/tap'
        tap_secret = 'hush'
        jwt = { secret = 'hush hush hush hush hush hush hush' }
        commands = { a = { action = 'echo', allow = { tokens = ['hush'] } } }
        [[backends]]
        name = 'app'
        url = 'http://127.0.0.1/'
        secret = 'hush'
        [api]
        keys = ['hush']";
    let config = read(text, &Overrides::default()).expect("valid");
    let header = PushAuth::Header {
        name: "x-key".to_owned(),
        value: Secret::new("hush"),
    };
    assert_eq!(config.routes[1].push_auth(), header);
    assert!(!format!("{config:?}").contains("hush"));
}

#[test]
fn routes_share_a_namespace_exactly_when_they_name_the_same() {
    let route = |namespace: Option<&str>| Route {
        namespace: namespace.map(str::to_owned),
        ..Route::new("/a", &Wserver)
    };
    let names = [None, Some("a"), None, Some("b"), Some("a"), None];
    let config = Config {
        routes: names.map(route).into(),
        ..Config::default()
    };
    assert_eq!(config.namespaces(), [0, 1, 2, 3, 1, 4]);
    assert_eq!(Config::default().namespaces(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn the_user_header_is_trusted_on_loopback() {
    let mut config = Config::default();
    let trusts = |config: &Config| -> Vec<bool> {
        let routes = config.routes.iter();
        routes.map(|it| config.trusts_user_header(it)).collect()
    };
    let edk_only = [false, true, false, false, false, false];
    assert_eq!(trusts(&config), edk_only);
    config.listen = Listen::Everywhere(8080);
    assert_eq!(trusts(&config), [false; 6]);
    config.insecure = true;
    assert_eq!(trusts(&config), edk_only);
    config.routes[1].trust_user_header = Some(false);
    assert_eq!(trusts(&config), [false; 6]);
    config.routes[1].trust_user_header = Some(true);
    config.insecure = false;
    assert_eq!(trusts(&config), edk_only);
}

#[test]
fn keywords_are_read() {
    for &word in LogLevel::SPELLINGS {
        assert_eq!(LogLevel::from_str(word).map(LogLevel::as_str), Ok(word));
    }
    assert_eq!(Shards::from_str("auto"), Ok(Shards(None)));
    assert_eq!(Shards::from_str("255"), Ok(Shards(NonZeroU8::new(255))));
    assert!(Shards::from_str("256").is_err());
    assert!(Shards::from_str("0").is_err());
}
