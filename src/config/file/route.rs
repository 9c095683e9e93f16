//! From a `[[routes]]` table to a [`Route`].
//!
//! The dialect is looked for first, wherever it stands, since it decides which other keys there
//! are. What concerns more than one key of a route is left to `validate/`, but for keys that make
//! one value together: a schema, and what guards a push.

use std::str::FromStr;

use toml::de::DeTable;

use super::super::error::ConfigError;
use super::super::route::{ROUTE_KEYS, language, language_names};
use super::super::words::{quoted, quoted_list, unknown};
use super::super::{Config, Origin, PushAuth, Route, Schema, Tokens};
use super::HEADER_KEYS;
use super::reader::{Entry, Reader};
use crate::dialect::Dialect;
use crate::vocabulary::limits::RouteLimits;

const NEEDS: &str = "a route needs";

/// How schemas are spelled.
const SCHEMAS: &[&str] = &["opaque", "builtin", "descriptor"];

/// The keys that belong to a schema of the operator's own.
const DESCRIPTOR_KEYS: &[&str] = &["descriptor_set", "message", "command_field"];

impl Reader {
    pub(super) fn routes(
        &mut self,
        entry: &Entry<'_>,
        config: &Config,
    ) -> Result<Vec<Route>, ConfigError> {
        let wrong = "must be [[routes]] tables";
        let mut routes = Vec::new();
        for (entry, table) in self.tables(entry, wrong)? {
            routes.push(self.route(&entry, table, config)?);
        }
        Ok(routes)
    }

    fn route(
        &mut self,
        whole: &Entry<'_>,
        table: &DeTable<'_>,
        config: &Config,
    ) -> Result<Route, ConfigError> {
        let entries = self.entries(&whole.path, table);
        let Some(entry) = entries.iter().find(|entry| entry.key == "dialect") else {
            let allowed = quoted_list(&language_names());
            return Err(self.missing(whole, NEEDS, "dialect", &format!("allowed are {allowed}")));
        };
        let dialect = self.parsed(entry, language)?;
        let mut route = Route::new("", dialect);
        route.limits = RouteLimits::inherited(dialect, &config.limits, &config.heartbeat);

        for entry in &entries {
            self.is_of_route(entry, dialect)?;
            self.set(&mut route, entry)?;
        }
        route.schema = self.schema(&entries)?;
        if !entries.iter().any(|entry| entry.key == "path") {
            return Err(self.missing(whole, NEEDS, "path", "such as \"/ws\""));
        }
        Ok(route)
    }

    /// Sets what one key says. Those of a schema make one value together, later.
    fn set(&mut self, route: &mut Route, entry: &Entry<'_>) -> Result<(), ConfigError> {
        let string = |reader: &Self| reader.string(entry).map(ToOwned::to_owned);
        match entry.key {
            "path" => route.path = string(self)?,
            "dialect" | "schema" | "descriptor_set" | "message" | "command_field" => {}
            "name" => route.name = Some(string(self)?),
            "namespace" => route.namespace = Some(string(self)?),
            "origin" => route.origin = Some(self.origin(entry)?),
            "subprotocols" => {
                let wrong = "must be a list such as [\"v1.chat\"]";
                let subprotocols = self.strings(entry, wrong)?;
                route.subprotocols = subprotocols.into_iter().map(ToOwned::to_owned).collect();
            }
            "playground_path" => route.playground_path = Some(string(self)?),
            "tokens" => route.tokens = Some(self.tokens(entry)?),
            "token_from" => route.token_from = Some(self.token_from(entry)?),
            "anonymous" => route.anonymous = self.boolean(entry)?,
            "jwt" => route.jwt = Some(self.jwt(entry)?),
            "hooks" => route.hooks = Some(self.hooks(entry)?),
            "commands" => route.commands = self.commands(entry)?,
            "channels" => route.channels = self.channels(entry)?,
            "join_on_open" => {
                let channels = self.strings(entry, "must be a list such as [\"lobby\"]")?;
                route.join_on_open = channels.into_iter().map(ToOwned::to_owned).collect();
            }
            "push_path" => route.push_path = Some(string(self)?),
            "drop_path" => route.drop_path = Some(string(self)?),
            "push_secret" | "push_header" if route.push_auth != PushAuth::None => {
                let problem = "a route has a push_secret or a push_header, not both";
                return Err(self.places.complain(&entry.path, problem));
            }
            "push_secret" => {
                let secret = self.secret(entry)?;
                route.push_auth = PushAuth::Bearer { secret };
            }
            "push_header" => route.push_auth = self.push_header(entry)?,
            "trust_user_header" => route.trust_user_header = Some(self.boolean(entry)?),
            "kick_out_new_user_conn" => route.kick_out_new_user_conn = self.boolean(entry)?,
            "push_frame" => route.push_frame = self.parsed(entry, FromStr::from_str)?,
            "from" => route.from = self.parsed(entry, FromStr::from_str)?,
            "lenient" => route.lenient = self.boolean(entry)?,
            "tap_path" => route.tap_path = Some(string(self)?),
            "tap_secret" => route.tap_secret = Some(self.secret(entry)?),
            key => {
                let mut settings = RouteLimits::SETTINGS.iter();
                let setting = settings.find(|setting| setting.key == key);
                let setting = setting.expect("every other key of a route is a setting");
                route.limits.set(key, self.number(entry, setting)?);
            }
        }
        Ok(())
    }

    /// One of two words, or a list.
    fn origin(&mut self, entry: &Entry<'_>) -> Result<Origin, ConfigError> {
        const ALLOWED: &str = "\"any\", \"same\" and lists such as [\"https://a.example\"]";
        match entry.value.as_str() {
            Some("any") => return Ok(Origin::Any),
            Some("same") => return Ok(Origin::Same),
            Some(word) => {
                let problem = format!("{} is unknown, allowed are {ALLOWED}", quoted(word));
                return Err(self.places.complain(&entry.path, problem));
            }
            None => {}
        }
        let list = self.strings(entry, &format!("must be one of {ALLOWED}"))?;
        Ok(Origin::List(
            list.into_iter().map(ToOwned::to_owned).collect(),
        ))
    }

    /// What the keys of a schema say together.
    fn schema(&self, entries: &[Entry<'_>]) -> Result<Schema, ConfigError> {
        let find = |key: &str| entries.iter().find(|entry| entry.key == key);
        let plain = |schema| match DESCRIPTOR_KEYS.iter().find_map(|key| find(key)) {
            None => Ok(schema),
            Some(entry) => {
                let problem = "belongs to schema = \"descriptor\" and to no other schema";
                Err(self.places.complain(&entry.path, problem))
            }
        };
        let Some(schema) = find("schema") else {
            return plain(Schema::Opaque);
        };
        let needed = |key: &str, hint: &str| {
            let problem = format!("\"descriptor\" needs the key \"{key}\", {hint}");
            let missing = || self.places.complain(&schema.path, problem);
            self.string(find(key).ok_or_else(missing)?)
        };
        match self.string(schema)? {
            "opaque" => plain(Schema::Opaque),
            "builtin" => plain(Schema::Builtin),
            "descriptor" => {
                let command_field = find("command_field").map(|entry| self.string(entry));
                Ok(Schema::Descriptor {
                    file: needed("descriptor_set", "a file as `protoc` writes it")?.into(),
                    message: needed("message", "such as \"ws.Message\"")?.to_owned(),
                    command_field: command_field.transpose()?.map(ToOwned::to_owned),
                })
            }
            word => {
                let problem = unknown(word, SCHEMAS);
                Err(self.places.complain(&schema.path, problem))
            }
        }
    }

    fn push_header(&mut self, whole: &Entry<'_>) -> Result<PushAuth, ConfigError> {
        let (mut name, mut value) = (None, None);
        let wrong = "must be a table such as { name = \"X-Api-Key\", value = \"...\" }";
        for entry in self.table(whole, wrong)? {
            match entry.key {
                "name" => name = Some(self.string(&entry)?.to_ascii_lowercase()),
                "value" => value = Some(self.secret(&entry)?),
                _ => return Err(self.unknown(&entry, HEADER_KEYS)),
            }
        }
        match (name, value) {
            (Some(name), Some(value)) => Ok(PushAuth::Header { name, value }),
            _ => Err(self
                .places
                .complain(&whole.path, "must have both a name and a value")),
        }
    }

    /// Complaints about a token name its line and not the token.
    fn tokens(&mut self, whole: &Entry<'_>) -> Result<Tokens, ConfigError> {
        let wrong = "must be a table of lines such as \"token\" = \"user\"";
        let mut tokens = Vec::new();
        for mut entry in self.table(whole, wrong)? {
            entry.path.clone_from(&whole.path);
            let Some(user) = entry.value.as_str() else {
                self.places.note(&whole.path, entry.span.start);
                let wrong = "a token names its user, a string, and a token with a dot is quoted";
                return Err(self.wrong_type(&entry, wrong));
            };
            tokens.push((entry.key.to_owned(), user.to_owned()));
        }
        Ok(tokens.into_iter().collect())
    }

    /// Complains about a key that no route has, or none of this dialect.
    fn is_of_route(&self, entry: &Entry<'_>, dialect: &dyn Dialect) -> Result<(), ConfigError> {
        let known = ROUTE_KEYS.iter().find(|known| known.key == entry.key);
        if known.is_some_and(|known| known.is_for(dialect)) {
            return Ok(());
        }
        let allowed = ROUTE_KEYS.iter().filter(|known| known.is_for(dialect));
        let allowed: Vec<&str> = allowed.map(|known| known.key).collect();
        if known.is_none() {
            return Err(self.unknown(entry, &allowed));
        }
        let problem = format!(
            "a route of dialect \"{}\" has no such key; allowed here: {}",
            dialect.name(),
            allowed.join(", ")
        );
        Err(self.places.complain(&entry.path, problem))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{
        Action, Backend, ChannelSetting, CommandSetting, Create, HookKind, Hooks, Jwt, JwtKeys,
        OnFailure, Overrides, PublishTo, PushFrame, ReplyData, Rule, Secret, Sender, TokenSource,
    };
    use super::*;
    use crate::dialect::edk::Edk;
    use crate::dialect::projectforge::Projectforge;
    use crate::dialect::wsrv::Wsrv;

    fn read(text: &str) -> Result<Config, ConfigError> {
        Config::from_toml("f.toml", text, &Overrides::default())
    }

    /// Reads a file `f.toml` that is refused with `expected`.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = read(text).expect_err("refused").to_string();
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

    /// Like [`route`], but the file is refused at its fourth line or a later one.
    #[track_caller]
    fn refused(dialect: &str, lines: &str, expected: &str) {
        let text = format!("[[routes]]\npath = '/a'\ndialect = '{dialect}'\n{lines}");
        check(&text, &format!("f.toml:{expected}"));
    }

    const WS: &str = "[[routes]]\npath = '/ws'\ndialect = 'wserver'\n";
    const ECHO: &str = "[[routes]]\npath = '/echo'\ndialect = 'echo'\n";

    #[test]
    fn a_route_says_where_it_is_and_what_it_speaks() {
        check(
            "\n[[routes]]\npath = '/a'",
            "f.toml:2: routes[0]: a route needs the key \"dialect\", allowed are \"edk\", \
             \"wsrv\", \"easyws\", \"projectforge\", \"wserver\", \"echo\"",
        );
        check(
            &format!("{ECHO}[[routes]]\ndialect = 'echo'"),
            "f.toml:4: routes[1]: a route needs the key \"path\", such as \"/ws\"",
        );
    }

    #[test]
    fn a_route_has_the_keys_that_its_dialect_has_a_use_for() {
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
        assert_eq!(ROUTE_KEYS.len(), LINES.len() + all_have.len());

        for dialect in language_names() {
            let mut allowed = ROUTE_KEYS.iter().map(|it| it.key).collect::<Vec<_>>();
            for (line, dialects) in LINES {
                let (key, _) = line.split_once(' ').expect("a key and a value");
                if !dialects.split(' ').any(|it| it == dialect) {
                    allowed.retain(|it| *it != key);
                }
            }
            let allowed = allowed.join(", ");
            for (line, dialects) in LINES {
                let (key, _) = line.split_once(' ').expect("a key and a value");
                let complaint = format!(
                    "f.toml:4: routes[0].{key}: a route of dialect \"{dialect}\" has no such \
                     key; allowed here: {allowed}"
                );
                // Where the key stands before the dialect, it is known all the same.
                for text in [
                    format!("[[routes]]\ndialect = '{dialect}'\npath = '/e'\n{line}"),
                    format!("[[routes]]\npath = '/e'\n\n{line}\ndialect = '{dialect}'"),
                ] {
                    let error = read(&text).err().map(|error| error.to_string());
                    let is_refused = error.as_ref() == Some(&complaint);
                    let is_allowed = dialects.split(' ').any(|it| it == dialect);
                    assert_eq!(is_refused, !is_allowed, "{text}: {error:?}");
                }
            }
        }
    }

    #[test]
    fn a_push_is_guarded_in_one_way_and_completely() {
        check(
            &format!("{WS}push_secret = 'a'\npush_header = {{ name = 'a', value = 'b' }}"),
            "f.toml:5: routes[0].push_header: a route has a push_secret or a push_header, not both",
        );
        check(
            &format!("{WS}push_header = {{ name = 'a' }}"),
            "f.toml:4: routes[0].push_header: must have both a name and a value",
        );
        check(
            &format!("{WS}push_header = 'a'"),
            "f.toml:4: routes[0].push_header: must be a table such as { name = \"X-Api-Key\", \
             value = \"...\" }; found a string",
        );
    }

    #[test]
    fn complaints_about_tokens_and_secrets_do_not_show_them() {
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
            "f.toml:4: routes[0].push_secret: must be a string; found an array",
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
            schema: Schema::Descriptor {
                file: "ws.binpb".into(),
                message: "ws.Message".to_owned(),
                command_field: Some("type".to_owned()),
            },
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
                keys: JwtKeys::Secret(Secret::new("0123456789abcdef0123456789abcdef")),
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
                assert_eq!(jwt, Jwt::new(jwt.keys.clone()));
                jwt.keys
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
        let setting = |(name, action, allow): (&str, _, _)| {
            (name.to_owned(), CommandSetting { action, allow })
        };
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
             [[routes.channels]]\nname = '*'\ncreate = 'first-join'\n\
             join = { tokens = ['a', 'b'] }\npublish = { claim = 'role', value = 'admin' }",
        );
        let channels = read.expect("valid").routes.remove(0).channels;
        let setting = |name: &str, create, join, publish| ChannelSetting {
            name: name.to_owned(),
            create,
            join,
            publish,
        };
        let tokens = Rule::Tokens(vec![Secret::new("a"), Secret::new("b")]);
        let claim = Rule::Claim {
            name: "role".to_owned(),
            value: "admin".to_owned(),
        };
        let expected = [
            setting("news", Create::Advance, Rule::Anyone, Rule::Nobody),
            setting("hall", Create::FirstJoin, Rule::Identified, Rule::Anyone),
            setting("user:{user}", Create::FirstJoin, Rule::Owner, Rule::Hook),
            setting("*", Create::FirstJoin, tokens, claim),
        ];
        assert_eq!(channels, expected);
    }

    #[test]
    fn an_origin_is_a_word_or_a_list() {
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
        refused(
            "echo",
            "origin = 'https://a.example'",
            &format!("{key}: \"https://a.example\" is unknown, allowed are {ALLOWED}"),
        );
        refused(
            "echo",
            "origin = true",
            &format!("{key}: must be one of {ALLOWED}; found a boolean"),
        );
        refused(
            "echo",
            "origin = [\n'https://a.example',\n1]",
            "6: routes[0].origin[1]: must be a string; found an integer",
        );
    }

    #[test]
    fn a_schema_is_given_completely_and_without_what_it_has_no_use_for() {
        assert_eq!(route("edk", "").schema, Schema::Opaque);
        assert_eq!(route("edk", "schema = 'opaque'").schema, Schema::Opaque);
        assert_eq!(route("edk", "schema = 'builtin'").schema, Schema::Builtin);
        let file = "descriptor_set = 'f'\n";
        let least = route(
            "edk",
            &format!("{file}message = 'M'\nschema = 'descriptor'"),
        );
        let expected = Schema::Descriptor {
            file: "f".into(),
            message: "M".to_owned(),
            command_field: None,
        };
        assert_eq!(least.schema, expected);

        refused(
            "edk",
            "schema = 'none'",
            "4: routes[0].schema: \"none\" is unknown, allowed are \"opaque\", \"builtin\", \
             \"descriptor\"",
        );
        refused(
            "edk",
            "message = 'M'\nschema = 'descriptor'",
            "5: routes[0].schema: \"descriptor\" needs the key \"descriptor_set\", a file as \
             `protoc` writes it",
        );
        refused(
            "edk",
            &format!("{file}schema = 'descriptor'"),
            "5: routes[0].schema: \"descriptor\" needs the key \"message\", such as \"ws.Message\"",
        );
        for key in DESCRIPTOR_KEYS {
            for schema in ["", "schema = 'opaque'\n", "schema = 'builtin'\n"] {
                let line = 4 + schema.lines().count();
                refused(
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
    fn words_of_a_route_are_those_that_are_allowed() {
        refused(
            "wsrv",
            "push_frame = 'Text'",
            "4: routes[0].push_frame: \"Text\" is unknown, allowed are \"binary\", \"text\"",
        );
        refused(
            "projectforge",
            "from = 'me'",
            "4: routes[0].from: \"me\" is unknown, allowed are \"session\", \"user\"",
        );
        refused(
            "projectforge",
            "lenient = 'yes'",
            "4: routes[0].lenient: must be true or false; found a string",
        );
        refused(
            "edk",
            "trust_user_header = 'yes'",
            "4: routes[0].trust_user_header: must be true or false; found a string",
        );
    }
}
