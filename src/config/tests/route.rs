//! Texts of routes: every key reaches its route, and each dialect has its own keys.

use super::super::route::dialect_names;
use super::*;
use crate::dialect::edk::Edk;
use crate::dialect::projectforge::Projectforge;
use crate::dialect::wsrv::Wsrv;

fn read(text: &str) -> Result<Config, ConfigErrors> {
    Config::from_toml("f.toml", text, &Overrides::default())
}

/// Reads a file `f.toml` that has the errors `expected`.
#[track_caller]
fn check(text: &str, expected: &str) {
    let error = read(text).expect_err("invalid").to_string();
    assert_eq!(error, expected, "for {text:?}");
}

/// Reads a file with one route: a path, this dialect and, from line 4 on, these lines.
#[track_caller]
fn route(dialect: &str, lines: &str) -> Route {
    let text = format!("[[routes]]\npath = '/a'\ndialect = '{dialect}'\n{lines}");
    match read(&text) {
        Ok(mut config) => config.routes.remove(0),
        Err(error) => panic!("{error}, for {text:?}"),
    }
}

/// Like [`route`], but the file has an error in its fourth line or a later one.
#[track_caller]
fn expect_error(dialect: &str, lines: &str, expected: &str) {
    let text = format!("[[routes]]\npath = '/a'\ndialect = '{dialect}'\n{lines}");
    check(&text, &format!("f.toml:{expected}"));
}

const WS: &str = "[[routes]]\npath = '/ws'\ndialect = 'wserver'\n";
const ECHO: &str = "[[routes]]\npath = '/echo'\ndialect = 'echo'\n";

#[test]
fn a_route_needs_a_path_and_a_dialect() {
    check(
        "\n[[routes]]\npath = '/a'",
        "f.toml:2: routes[0].dialect: is required, allowed are \"edk\", \
         \"wsrv\", \"easyws\", \"projectforge\", \"wserver\", \"echo\"",
    );
    check(
        &format!("{ECHO}[[routes]]\ndialect = 'echo'"),
        "f.toml:4: routes[1].path: is required, such as \"/ws\"",
    );
}

#[test]
fn a_route_has_the_keys_of_its_dialect() {
    /// A line for each key that not every dialect has, and the dialects that have it.
    const LINES: &[(&str, &str)] = &[
        (
            "playground_path = '/p'",
            "edk wsrv easyws projectforge wserver",
        ),
        (
            "subprotocols = ['a']",
            "wsrv easyws projectforge wserver echo",
        ),
        ("tokens = {}", "edk wsrv easyws projectforge wserver"),
        ("token_from = ['bearer']", "wsrv projectforge"),
        ("anonymous = true", "wsrv projectforge"),
        (
            "jwt = { key_file = 'f' }",
            "edk wsrv easyws projectforge wserver",
        ),
        (
            "hooks = { backend = 'b' }",
            "edk wsrv easyws projectforge wserver",
        ),
        ("commands = {}", "edk wsrv easyws projectforge"),
        ("channels = []", "edk wsrv easyws projectforge wserver"),
        ("join_on_open = []", "edk wsrv easyws projectforge wserver"),
        ("push_path = '/p'", "wserver"),
        ("drop_path = '/p'", "wserver"),
        ("push_secret = 'x'", "wserver"),
        ("push_header = { name = 'a', value = 'b' }", "wserver"),
        ("trust_user_header = true", "edk"),
        ("kick_out_new_user_conn = true", "edk"),
        ("schema = 'builtin'", "edk"),
        ("descriptor_set = 'f'", "edk"),
        ("message = 'a.B'", "edk"),
        ("command_field = 'c'", "edk"),
        ("push_frame = 'text'", "wsrv"),
        ("from = 'user'", "projectforge"),
        ("lenient = true", "projectforge"),
        ("tap_path = '/t'", "projectforge"),
        ("tap_secret = 'x'", "projectforge"),
        ("registration_timeout_ms = 0", "wserver"),
        ("requests_in_flight_max = 1", "wsrv"),
    ];
    let all_have = ["path", "dialect", "name", "namespace", "origin"];
    let all_have = [&all_have[..], &["message_bytes_max", "outbox_bytes_max"]].concat();
    let all_have = [&all_have[..], &["ping_interval_ms", "idle_timeout_ms"]].concat();
    assert_eq!(Route::keys().len(), LINES.len() + all_have.len());

    for dialect in dialect_names() {
        let mut allowed = Route::keys().iter().map(|it| it.name).collect::<Vec<_>>();
        for (line, dialects) in LINES {
            let (key, _) = line.split_once(' ').expect("a key and a value");
            if !dialects.split(' ').any(|it| it == dialect) {
                allowed.retain(|it| *it != key);
            }
        }
        let allowed = allowed.join(", ");
        for (line, dialects) in LINES {
            let (key, _) = line.split_once(' ').expect("a key and a value");
            let expected = format!(
                "f.toml:4: routes[0].{key}: dialect \"{dialect}\" has no such \
                 key; allowed here: {allowed}"
            );
            // Where the key stands before the dialect, it is known all the same.
            for text in [
                format!("[[routes]]\ndialect = '{dialect}'\npath = '/e'\n{line}"),
                format!("[[routes]]\npath = '/e'\n\n{line}\ndialect = '{dialect}'"),
            ] {
                let error = read(&text).err().map(|error| error.to_string());
                let is_refused = error.as_ref() == Some(&expected);
                let is_allowed = dialects.split(' ').any(|it| it == dialect);
                assert_eq!(is_refused, !is_allowed, "{text}: {error:?}");
            }
        }
    }
}

#[test]
fn push_secret_and_push_header_exclude_each_other() {
    check(
        &format!(
            "{WS}push_secret = 'a'\npush_header = {{ name = 'a', value = 'b' }}\npush_path = '/p'"
        ),
        "f.toml:5: routes[0].push_header: cannot be combined with push_secret",
    );
    check(
        &format!("{WS}push_header = {{ name = 'a' }}"),
        "f.toml:4: routes[0].push_header.value: is required, such as \"...\"",
    );
    check(
        &format!("{WS}push_header = 'a'"),
        "f.toml:4: routes[0].push_header: must be a table such as { name = \"X-Api-Key\", \
         value = \"...\" }; found a string",
    );
}

#[test]
fn errors_of_tokens_and_secrets_do_not_show_them() {
    check(
        &format!("{WS}[routes.tokens]\nhush.hush = 'jack'"),
        "f.toml:5: routes[0].tokens: a token names its user, a string, and a token with a dot \
         is quoted; found a table",
    );
    check(
        &format!("{WS}[routes.tokens]\nhush = 'a'\nhush = 'b'"),
        "f.toml:6: not valid TOML: duplicate key",
    );
    check(
        &format!("{WS}tokens = 'hush'"),
        "f.toml:4: routes[0].tokens: must be a table of lines such as \"token\" = \"user\"; \
         found a string",
    );
    check(
        &format!("{WS}push_secret = ['hush']"),
        "f.toml:4: routes[0].push_secret: must be a string, { file = \"...\" } or { env = \
         \"...\" }; found an array",
    );
    let unquoted = format!("{WS}push_secret = hush\n");
    let result = Config::from_toml("f.toml", &unquoted, &Overrides::default());
    let error = result.expect_err("not TOML").to_string();
    assert!(
        error.starts_with("f.toml:4: push_secret: not valid TOML: "),
        "{error}"
    );
    assert!(!error.contains("hush"), "{error}");
}

#[test]
fn every_key_reaches_the_route() {
    let read = route(
        "edk",
        "name = 'n'\nnamespace = 'shared'\norigin = 'same'\nplayground_path = '/play'\n\
         tokens = { t = 'jack' }\ntrust_user_header = false\nkick_out_new_user_conn = true\n\
         schema = 'descriptor'\ndescriptor_set = 'ws.binpb'\nmessage = 'ws.Message'\n\
         command_field = 'type'",
    );
    let expected = Route {
        name: Some("n".to_owned()),
        namespace: Some("shared".to_owned()),
        origin: Some(Origin::Same),
        playground_path: Some("/play".to_owned()),
        tokens: Some([("t".to_owned(), "jack".to_owned())].into_iter().collect()),
        trust_user_header: Some(false),
        kick_out_new_user_conn: true,
        schema: Schema::Descriptor,
        descriptor_set: Some("ws.binpb".into()),
        message: Some("ws.Message".to_owned()),
        command_field: Some("type".to_owned()),
        ..Route::new("/a", &Edk)
    };
    assert_eq!(read, expected);

    let read = route("wsrv", "push_frame = 'text'\nrequests_in_flight_max = 7");
    let mut expected = Route::new("/a", &Wsrv);
    expected.push_frame = PushFrame::Text;
    expected.limits.requests_in_flight_max = 7;
    assert_eq!(read, expected);

    let read = route(
        "projectforge",
        "from = 'user'\nlenient = true\ntap_path = '/t'\ntap_secret = 's'",
    );
    let mut expected = Route::new("/a", &Projectforge);
    expected.from = Sender::User;
    expected.tap_path = Some("/t".to_owned());
    expected.tap_secret = Some(Secret::new("s"));
    expected.lenient = true;
    assert_eq!(read, expected);
}

#[test]
fn every_key_about_users_and_hooks_reaches_the_route() {
    let text = "[[backends]]\nname = 'app'\nurl = 'http://127.0.0.1/'\n\
        [[routes]]\npath = '/a'\ndialect = 'wsrv'\n\
        token_from = ['bearer', 'header:X-Token', 'cookie:session', 'query:token']\n\
        anonymous = true\njoin_on_open = ['global', 'user:{user}']\n\
        [routes.jwt]\nsecret = '0123456789abcdef0123456789abcdef'\nissuer = 'i'\n\
        audience = 'a'\nuser_claim = 'uid'\nleeway_s = 300\n\
        [routes.hooks]\nbackend = 'app'\non = ['open', 'message', 'close']\n\
        on_failure = 'close'";
    let config = read(text).expect("valid");
    let expected = Route {
        jwt: Some(Jwt {
            secret: Some(Secret::new("0123456789abcdef0123456789abcdef")),
            key_file: None,
            jwks_file: None,
            issuer: Some("i".to_owned()),
            audience: Some("a".to_owned()),
            any_audience: false,
            user_claim: "uid".to_owned(),
            leeway_s: 300,
        }),
        token_from: Some(vec![
            TokenSource::Bearer,
            TokenSource::Header("x-token".to_owned()),
            TokenSource::Cookie("session".to_owned()),
            TokenSource::Query("token".to_owned()),
        ]),
        anonymous: true,
        hooks: Some(Hooks {
            backend: "app".to_owned(),
            on: vec![HookKind::Open, HookKind::Message, HookKind::Close],
            on_failure: OnFailure::Close,
        }),
        join_on_open: vec!["global".to_owned(), "user:{user}".to_owned()],
        ..Route::new("/a", &Wsrv)
    };
    assert_eq!(config.routes, [expected]);
    assert_eq!(config.backends, [Backend::new("app", "http://127.0.0.1/")]);

    let keys = |line: &str| {
        let jwt = route("edk", line).jwt;
        jwt.map(|jwt| {
            let keys = jwt.keys().expect("it has one source");
            assert_eq!(jwt, Jwt::new(keys.clone()));
            keys
        })
    };
    let pem = JwtKeys::Pem("a.pem".into());
    assert_eq!(keys("jwt = { key_file = 'a.pem' }"), Some(pem));
    let jwks = JwtKeys::Jwks("a.json".into());
    assert_eq!(keys("jwt = { jwks_file = 'a.json' }"), Some(jwks));
}

#[test]
fn every_key_of_a_command_reaches_the_route() {
    let read = route(
        "wsrv",
        "tokens = { t = 'jack' }\n[routes.commands]\ne = 'echo'\nj = 'join'\n\
         l = { action = 'leave', channel = 'user:{user}', allow = 'identified' }\n\
         p = 'publish'\n\
         c = { action = 'publish', channel = 'room', event = 'chat', to = 'others' }\n\
         r = 'reply'\n'the text' = { action = 'reply', data = 'hi' }\n\
         b = { action = 'reply', bytes = 'aGk=', allow = { tokens = ['t'] } }",
    );
    let publish = |channel: Option<&str>, event: Option<&str>, to| Action::Publish {
        channel: channel.map(ToOwned::to_owned),
        event: event.map(ToOwned::to_owned),
        to,
    };
    let reply = |data| Action::Reply { data };
    let leave = Action::Leave {
        channel: Some("user:{user}".to_owned()),
    };
    let tokens = Rule::Tokens(vec![Secret::new("t")]);
    let expected = [
        ("e", Action::Echo, Rule::Anyone),
        ("j", Action::Join { channel: None }, Rule::Anyone),
        ("l", leave, Rule::Identified),
        ("p", publish(None, None, PublishTo::All), Rule::Anyone),
        (
            "c",
            publish(Some("room"), Some("chat"), PublishTo::Others),
            Rule::Anyone,
        ),
        ("r", reply(ReplyData::None), Rule::Anyone),
        (
            "the text",
            reply(ReplyData::Text("hi".to_owned())),
            Rule::Anyone,
        ),
        ("b", reply(ReplyData::Bytes(b"hi".into())), tokens),
    ];
    let setting =
        |(name, action, allow): (&str, _, _)| (name.to_owned(), CommandSetting { action, allow });
    assert_eq!(read.commands, expected.map(setting).into());
}

#[test]
fn every_key_of_a_channel_reaches_the_route() {
    let read = read(
        "[[backends]]\nname = 'app'\nurl = 'http://127.0.0.1/'\n\
         [[routes]]\npath = '/a'\ndialect = 'easyws'\n\
         hooks = { backend = 'app' }\njwt = { key_file = 'f' }\n\
         [[routes.channels]]\nname = 'news'\npublish = 'nobody'\n\
         [[routes.channels]]\nname = 'hall'\ncreate = 'first-join'\njoin = 'identified'\n\
         [[routes.channels]]\nname = 'user:{user}'\njoin = 'owner'\npublish = 'hook'\n\
         [[routes.channels]]\nname = '*'\ncreate = 'first-join'\nslow = 'drop_newest'\n\
         join = { tokens = ['a', 'b'] }\npublish = { claim = 'role', value = 'admin' }",
    );
    let channels = read.expect("valid").routes.remove(0).channels;
    let setting = |name: &str, create, join, publish| ChannelSetting {
        name: name.to_owned(),
        create,
        join,
        publish,
        slow: if name == "*" {
            SlowMembers::DropNewest
        } else {
            SlowMembers::Disconnect
        },
    };
    let tokens = Rule::Tokens(vec![Secret::new("a"), Secret::new("b")]);
    let claim = Rule::Claim {
        name: "role".to_owned(),
        value: "admin".to_owned(),
    };
    let expected = [
        setting("news", None, Rule::Anyone, Rule::Nobody),
        setting(
            "hall",
            Some(Create::FirstJoin),
            Rule::Identified,
            Rule::Anyone,
        ),
        setting("user:{user}", None, Rule::Owner, Rule::Hook),
        setting("*", Some(Create::FirstJoin), tokens, claim),
    ];
    assert_eq!(channels, expected);
}

#[test]
fn an_origin_is_a_keyword_or_a_list() {
    const ALLOWED: &str = "\"any\", \"same\" and lists such as [\"https://a.example\"]";
    let origin = |value: &str| route("echo", &format!("origin = {value}")).origin;
    assert_eq!(origin("'any'"), Some(Origin::Any));
    assert_eq!(origin("'same'"), Some(Origin::Same));
    let list = ["https://a.example", "http://b.example:8080"];
    let list = Origin::List(list.map(str::to_owned).into());
    assert_eq!(
        origin("['https://a.example', 'http://b.example:8080']"),
        Some(list)
    );

    let key = "4: routes[0].origin";
    expect_error(
        "echo",
        "origin = 'https://a.example'",
        &format!("{key}: \"https://a.example\" is unknown, allowed are {ALLOWED}"),
    );
    expect_error(
        "echo",
        "origin = true",
        &format!("{key}: must be one of {ALLOWED}; found a boolean"),
    );
    expect_error(
        "echo",
        "origin = [\n'https://a.example',\n1]",
        "6: routes[0].origin[1]: must be a string; found an integer",
    );
}

#[test]
fn a_schema_has_exactly_its_own_keys() {
    assert_eq!(route("edk", "").schema, Schema::Opaque);
    assert_eq!(route("edk", "schema = 'opaque'").schema, Schema::Opaque);
    assert_eq!(route("edk", "schema = 'builtin'").schema, Schema::Builtin);
    let file = "descriptor_set = 'f'\n";
    let least = route(
        "edk",
        &format!("{file}message = 'M'\nschema = 'descriptor'"),
    );
    assert_eq!(least.schema, Schema::Descriptor);
    assert_eq!(least.descriptor_set, Some("f".into()));
    assert_eq!(least.message.as_deref(), Some("M"));
    assert_eq!(least.command_field, None);

    expect_error(
        "edk",
        "schema = 'none'",
        "4: routes[0].schema: \"none\" is unknown, allowed are \"opaque\", \"builtin\", \
         \"descriptor\"",
    );
    expect_error(
        "edk",
        "message = 'M'\nschema = 'descriptor'",
        "1: routes[0].descriptor_set: is required by schema = \"descriptor\", a file as \
         `protoc` writes it",
    );
    expect_error(
        "edk",
        &format!("{file}schema = 'descriptor'"),
        "1: routes[0].message: is required by schema = \"descriptor\", such as \"ws.Message\"",
    );
    for key in ["descriptor_set", "message", "command_field"] {
        for schema in ["", "schema = 'opaque'\n", "schema = 'builtin'\n"] {
            let line = 4 + schema.lines().count();
            expect_error(
                "edk",
                &format!("{schema}{key} = 'a'"),
                &format!(
                    "{line}: routes[0].{key}: belongs to schema = \"descriptor\" and to no \
                     other schema"
                ),
            );
        }
    }
}

#[test]
fn keywords_of_a_route_are_checked() {
    expect_error(
        "wsrv",
        "push_frame = 'Text'",
        "4: routes[0].push_frame: \"Text\" is unknown, allowed are \"binary\", \"text\"",
    );
    expect_error(
        "projectforge",
        "from = 'me'",
        "4: routes[0].from: \"me\" is unknown, allowed are \"session\", \"user\"",
    );
    expect_error(
        "projectforge",
        "lenient = 'yes'",
        "4: routes[0].lenient: must be true or false; found a string",
    );
    expect_error(
        "edk",
        "trust_user_header = 'yes'",
        "4: routes[0].trust_user_header: must be true or false; found a string",
    );
}
