//! The command line: arguments, and the texts of the start and of `campanile check`.
//!
//! Makes a [`Config`] from arguments and the environment, and formats the lines that tell an
//! operator where to connect. Prints nothing and ends nothing: `main` does.

mod hints;
mod limits;

pub use self::limits::limits_line;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};

use crate::config::{
    self, Config, ConfigErrors, KeyLines, Listen, Log, Overrides, PushAuth, Route, Shards,
};
use crate::gateway::{self, Error, ShardCount};

/// A real-time push gateway for Linux on `io_uring`.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "campanile",
    version,
    about = "A real-time push gateway for Linux on io_uring",
    args_conflicts_with_subcommands = true,
    after_help = AFTER_HELP
)]
pub struct Cli {
    /// The subcommand; without one, the gateway serves.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags of serving.
    #[command(flatten)]
    pub serve: Serve,
}

/// A subcommand, which does something else than serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Check a config file, or the defaults, and list all its errors
    Check(Serve),
    /// Print the complete default config, with a comment on every key
    Config(Print),
}

/// The flags of `campanile config`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Print {
    /// Print a JSON Schema (draft 7) of the config instead, for editors
    #[arg(long)]
    pub schema: bool,
    /// Print the reference of all keys instead, in Markdown
    #[arg(long, conflicts_with = "schema")]
    pub markdown: bool,
}

/// The flags with which the gateway serves, and with which a config is checked.
#[derive(Args, Clone, Debug, Default)]
pub struct Serve {
    /// The config file, in TOML; without one, the defaults that `campanile config` prints
    #[arg(long, value_name = "FILE", env = "CAMPANILE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address and port for clients and publishers; localhost:PORT is reachable from this machine
    /// only, :PORT on all its addresses [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", env = "CAMPANILE_LISTEN", value_parser = Listen::from_str)]
    pub listen: Option<Listen>,
    /// Shards, each a thread: "auto" (one for each core) or 1 to 255 [default: auto]
    #[arg(long, value_name = "N", env = "CAMPANILE_SHARDS", value_parser = Shards::from_str)]
    pub shards: Option<Shards>,
    /// Level and form of the log: error, warn, info, debug, trace, json (info, as JSON lines), or
    /// both, such as debug,json [default: info]
    #[arg(long, value_name = "LEVEL|json", env = "CAMPANILE_LOG", value_parser = Log::from_str)]
    pub log: Option<Log>,
    /// Start even if pushes, taps, the server API or user names are unprotected on a non-loopback
    /// address
    #[arg(long)]
    pub insecure: bool,
}

const AFTER_HELP: &str = "\
A flag overrides the environment, the environment the config file, and the config file the \
defaults.

Without a config file, /ws (with /push and /drop), /edk, /wsrv, /easyws, /projectforge and /echo \
are served on 127.0.0.1:8080, with commands to chat by, and beside them the server API under \
/api/v1/ and /health.";

/// Returns the text that `campanile config` prints.
#[must_use]
pub fn print(flags: Print) -> String {
    match flags {
        Print { schema: true, .. } => config::json_schema(),
        Print { markdown: true, .. } => config::reference(),
        Print { .. } => config::default_text(),
    }
}

/// Returns the config to serve with, and the lines of its keys.
///
/// # Errors
///
/// All errors of the config.
pub fn load(serve: &Serve) -> Result<(Config, KeyLines), ConfigErrors> {
    let overrides = Overrides {
        listen: serve.listen,
        shards: serve.shards,
        log: serve.log,
        insecure: serve.insecure,
    };
    Config::load_with_lines(serve.config.as_deref(), &overrides)
}

/// Returns the message of an error of the gateway, with the file, line and key of the config that
/// it is about, if there is one.
#[must_use]
pub fn message(error: &Error, config: &Config, lines: &KeyLines) -> String {
    match error.config_key(config) {
        Some((key, problem)) => lines.error_at(&key, problem).to_string(),
        None => error.to_string(),
    }
}

/// Checks a config file, with the files that it names, or the defaults. Returns the line
/// `FILE: ok`, a line for each warning, and one with the most memory that it may take on this
/// machine.
///
/// # Errors
///
/// All errors of the config or, if it has none, of the files that it names, a line for each.
pub fn check(flags: &Serve) -> Result<String, String> {
    let file = flags.config.as_deref();
    let (config, lines) = load(flags).map_err(|errors| errors.to_string())?;
    let errors = gateway::check_files(&config);
    if !errors.is_empty() {
        let errors = errors.iter().map(|error| message(error, &config, &lines));
        return Err(errors.collect::<Vec<_>>().join("\n"));
    }
    let checked = file.map_or_else(|| "the defaults".into(), Path::to_string_lossy);
    let mut lines = vec![format!("{checked}: ok")];
    let warnings = config.warnings().into_iter();
    lines.extend(warnings.map(|warning| format!("warning: {warning}")));
    lines.push(format!("memory: {}", gateway::memory_bound(&config)));
    Ok(lines.join("\n"))
}

/// Returns the start-up text: where to connect, the paths that are served, messages to try.
///
/// `bound` has the addresses of the listeners, with the port that was found for port 0; URLs have
/// the first. The first URL is that of the first route with pushes over HTTP, if there is one. No
/// secret and no token is shown. The lines end with a newline.
///
/// # Panics
///
/// If there is no address.
#[must_use]
pub fn welcome(config: &Config, bound: &[SocketAddr], shards: impl Into<ShardCount>) -> String {
    let shards = in_words(shards.into());
    let near = match config.listen {
        // `[::]` accepts IPv4 too, and `::1` may be missing.
        Listen::Everywhere(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, bound[0].port())),
        Listen::Address(_) | Listen::Localhost(_) => reachable(bound[0]),
    };
    let bound: Vec<String> = bound.iter().map(SocketAddr::to_string).collect();
    let bound = bound.join(" and ");
    let (first, others) = first_pushed_to_first(&config.routes);

    let mut text = format!(
        "campanile {} is ready on {bound} with {shards}\n",
        env!("CARGO_PKG_VERSION")
    );
    let paths = config.routes.iter().map(|route| route.path.len());
    let width = format!("ws://{near}").len() + paths.max().unwrap_or(0).min(PATH_COLUMNS_MAX);
    let mut put = |what: &str, where_to: &str, hint: &str| {
        let line = format!("  {what:<12}  {where_to:<width$}  {hint}");
        writeln!(text, "{}", line.trim_end()).expect(INTO_A_STRING);
    };
    for route in first.into_iter().chain(others) {
        let url = format!("ws://{near}{}", route.path);
        let mut hints = hints::how_to_try(config, route).into_iter();
        let hint = hints.next().unwrap_or_default();
        put(route.dialect.name(), &url, &hint);
        hints.for_each(|hint| put("", "", &hint));
        for (what, scheme, path, hint) in hints::other_paths(config, route) {
            put(what, &format!("{scheme}://{near}{path}"), hint);
        }
    }
    if config.serves_api() {
        put("api", &format!("http://{near}/api/v1/"), hints::api(config));
    } else if config.api.enabled.is_none() {
        put("server API: off, no [api] keys", "", "");
    }
    if let Some(path) = &config.health_path {
        put("health", &format!("http://{near}{path}"), "");
    }
    for backend in &config.backends {
        put("backend", &backend.name, &asked_by(config, &backend.name));
    }

    put("memory", &gateway::memory_bound(config).to_string(), "");
    if let Some(route) = first
        && (config.serves_keyless() || route.push_auth() != PushAuth::None)
    {
        put_a_push_to_try(&mut text, route, near);
    }
    let open = what_is_open(config);
    if !open.is_empty() {
        let open = open.join(" and ");
        writeln!(
            text,
            "Warning: everyone who reaches this port, also through a proxy or a browser, may \
             {open} (--insecure)."
        )
        .expect(INTO_A_STRING);
    }
    text
}

/// Formats the number of shards, with the reason if they are fewer than the cores.
fn in_words(shards: ShardCount) -> String {
    let count = shards.count;
    let plural = if count == 1 { "" } else { "s" };
    let reason = shards
        .cores_beyond_quota
        .map(|cores| format!(" (the CPU quota of its cgroup is worth {count} of {cores} cores)"));
    format!("{count} shard{plural}{}", reason.unwrap_or_default())
}

/// Lists the routes whose hooks use a backend.
fn asked_by(config: &Config, backend: &str) -> String {
    let asks = |route: &&Route| {
        let hooks = route.hooks.as_ref();
        hooks.is_some_and(|hooks| hooks.backend == backend)
    };
    let routes = config.routes.iter().filter(asks);
    let paths: Vec<&str> = routes.map(|route| route.path.as_str()).collect();
    match &paths[..] {
        [] => "used by no route".to_owned(),
        paths => format!("used by {}", paths.join(", ")),
    }
}

/// Appends a command line that pushes to the first route.
fn put_a_push_to_try(text: &mut String, route: &Route, near: SocketAddr) {
    let Some(push_path) = &route.push_path else {
        return;
    };
    let user = if hints::shows_token(route) {
        "<its user>"
    } else {
        "jack"
    };
    let url = in_shell_quotes(format!("http://{near}{push_path}"));
    let header = match route.push_auth() {
        PushAuth::None => String::new(),
        PushAuth::Bearer { .. } => " -H 'Authorization: Bearer <push_secret>'".to_owned(),
        PushAuth::Header { name, .. } => {
            format!(" -H {}", in_shell_quotes(format!("{name}: <value>")))
        }
    };
    writeln!(
        text,
        "Push to the first, from another terminal:\n  curl -X POST {url}{header} \
         -d '{{\"userId\":\"{user}\",\"event\":\"topic1\",\"message\":\"Hello World\"}}'"
    )
    .expect(INTO_A_STRING);
}

/// Returns the first route whose dialect has pushes over HTTP, or else the first route, and all
/// others.
fn first_pushed_to_first(routes: &[Route]) -> (Option<&Route>, Vec<&Route>) {
    let is_pushed_to = |route: &Route| route.has("push_path");
    let first_index = routes.iter().position(is_pushed_to).unwrap_or(0);
    let others = routes.iter().enumerate();
    let others = others.filter(|(index, _)| *index != first_index);
    (
        routes.get(first_index),
        others.map(|(_, route)| route).collect(),
    )
}

/// Lists what unauthenticated clients may do because of `--insecure`.
fn what_is_open(config: &Config) -> Vec<&'static str> {
    if !config.insecure {
        return Vec::new();
    }
    let is_pushed_to = |it: &Route| it.push_path.is_some() || it.drop_path.is_some();
    let can_push = |it: &Route| is_pushed_to(it) && it.push_auth() == PushAuth::None;
    let can_watch = |it: &Route| it.tap_path.is_some() && it.tap_secret.is_none();
    let can_be_anyone = |it: &Route| {
        let is_meant = it.trust_user_header.is_some();
        config.trusts_user_header(it) && !it.authenticates() && !is_meant
    };
    let mut open = Vec::new();
    if config.routes.iter().any(can_push) {
        open.push("push");
    }
    if config.routes.iter().any(can_watch) {
        open.push("watch all traffic");
    }
    if config.serves_api() && config.api.keys.is_empty() {
        open.push("use the server API");
    }
    if config.routes.iter().any(can_be_anyone) {
        open.push("choose their user name");
    }
    open
}

/// Returns an address to connect to: loopback for one that stands for all addresses.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, bound.port())
}

/// Returns a word for a shell, in quotes if it needs them.
fn in_shell_quotes(word: String) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%+=:@,".contains(&byte);
    if word.bytes().all(is_plain) {
        word
    } else {
        // A quote ends the quoted part, stands by itself, and the next part begins.
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The longest path that the column of URLs is widened for.
const PATH_COLUMNS_MAX: usize = 24;

const INTO_A_STRING: &str = "writing to a String does not fail";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;
    use crate::config::{LogForm, LogLevel, Secret};
    use crate::dialect::echo::Echo;
    use crate::dialect::wserver::Wserver;

    fn parse(arguments: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(arguments.split_whitespace())
    }

    const NEAR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_reaches_the_config() {
        let cli = parse("campanile --listen 0.0.0.0:0 --shards 7 --log json --insecure");
        let (config, _) = load(&cli.expect("understood").serve).expect("valid");
        let expected = Config {
            listen: ([0, 0, 0, 0], 0).into(),
            shards: std::num::NonZeroU8::new(7),
            insecure: true,
            log: Log {
                level: LogLevel::Info,
                form: LogForm::Json,
            },
            ..Config::default()
        };
        assert_eq!(config, expected);

        let cli = parse("campanile").expect("understood");
        let (config, _) = load(&cli.serve).expect("valid");
        assert_eq!(config, Config::default());
    }

    #[test]
    fn every_flag_but_insecure_has_a_name_in_the_environment() {
        let command = Cli::command();
        let named = |id: &str| {
            let argument = command
                .get_arguments()
                .find(|argument| *argument.get_id() == id);
            argument
                .expect("has the flag")
                .get_env()
                .map(|name| name.display().to_string())
        };
        assert_eq!(named("config").as_deref(), Some("CAMPANILE_CONFIG"));
        assert_eq!(named("listen").as_deref(), Some("CAMPANILE_LISTEN"));
        assert_eq!(named("shards").as_deref(), Some("CAMPANILE_SHARDS"));
        assert_eq!(named("log").as_deref(), Some("CAMPANILE_LOG"));
        assert_eq!(named("insecure"), None);
    }

    #[test]
    fn subcommands_are_understood_and_take_no_serving_flags() {
        let cli = parse("campanile config").expect("understood");
        assert!(matches!(cli.command, Some(Command::Config(_))));

        let cli = parse("campanile check --config a.toml").expect("understood");
        let Some(Command::Check(check)) = cli.command else {
            panic!("not check: {cli:?}");
        };
        assert_eq!(check.config, Some(PathBuf::from("a.toml")));

        let error = parse("campanile --shards 2 config").expect_err("one or the other");
        assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn an_invalid_flag_is_named_with_the_allowed_values() {
        let bad = |arguments: &str| {
            let error = parse(arguments).expect_err("invalid").to_string();
            error.lines().next().expect("has a line").to_owned()
        };
        assert_eq!(
            bad("campanile --listen example.com:80"),
            "error: invalid value 'example.com:80' for '--listen <ADDR>': \"example.com:80\" is \
             not an address and port, such as \"127.0.0.1:8080\", \"[::1]:8080\", \
             \"localhost:8080\" or, for every address of this machine, \":8080\""
        );
        assert_eq!(
            bad("campanile --shards 256"),
            "error: invalid value '256' for '--shards <N>': \"256\" is not a number of shards, \
             allowed are \"auto\" and 1 to 255"
        );
        assert_eq!(
            bad("campanile --log loud"),
            "error: invalid value 'loud' for '--log <LEVEL|json>': \"loud\" is unknown, allowed \
             are \"error\", \"warn\", \"info\", \"debug\", \"trace\", \"json\", and both, such as \
             \"debug,json\""
        );
    }

    #[test]
    fn without_a_file_the_defaults_are_checked() {
        let cli = parse("campanile check").expect("understood");
        let Some(Command::Check(defaults)) = cli.command else {
            panic!("not check: {cli:?}");
        };
        let checked = check(&defaults).expect("they are valid");
        let (first, memory) = checked.split_once('\n').expect("two lines");
        assert_eq!(first, "the defaults: ok");
        assert!(memory.starts_with("memory: at most "), "{memory}");
    }

    #[test]
    fn checking_a_missing_file_says_so() {
        let missing = Serve {
            config: Some(PathBuf::from("/nowhere/a.toml")),
            ..Serve::default()
        };
        let error = check(&missing).expect_err("missing");
        assert!(
            error.starts_with("/nowhere/a.toml: cannot be read: "),
            "{error}"
        );
    }

    #[test]
    fn a_file_is_checked_for_the_flags_it_will_run_with() {
        let name = format!("campanile-check-{}.toml", std::process::id());
        let config = std::env::temp_dir().join(name);
        std::fs::write(&config, "listen = '0.0.0.0:80'").expect("the temporary folder is writable");
        let result = |insecure| {
            let config = Some(config.clone());
            check(&Serve {
                config,
                insecure,
                ..Serve::default()
            })
        };
        let (open, meant) = (result(false), result(true));
        std::fs::remove_file(&config).expect("it has just been written");

        let at_listen = format!("{}:1: listen: ", config.display());
        let is_at_listen = |errors: &String| errors.starts_with(&at_listen);
        assert!(open.as_ref().is_err_and(is_at_listen), "{open:?}");
        let meant = meant.expect("everyone may");
        let (ok, memory) = meant.split_once('\n').expect("two lines");
        assert_eq!(ok, format!("{}: ok", config.display()));
        assert!(memory.starts_with("memory: at most "), "{memory}");
    }

    #[test]
    fn a_file_is_checked_with_the_files_that_it_names() {
        let name = format!("campanile-check-files-{}.toml", std::process::id());
        let config = std::env::temp_dir().join(name);
        let route = |keys: &str| format!("[[routes]]\npath = '/a'\ndialect = 'edk'\n{keys}");
        let backend = "[[backends]]\nname = 'app'\nurl = 'https://127.0.0.1/'\nca_file = '/no/f'\n";
        let schema = "schema = 'descriptor'\ndescriptor_set = '/no/f'\nmessage = 'a.B'\n";
        for (text, what) in [
            (route("jwt = { key_file = '/no/f' }"), "4: routes[0].jwt: "),
            (route("jwt = { jwks_file = '/no/f' }"), "4: routes[0].jwt: "),
            (route(schema), "5: routes[0].descriptor_set: "),
            (
                format!("{backend}{}", route("")),
                "4: backends[0].ca_file: ",
            ),
        ] {
            let what = format!("{}:{what}", config.display());
            std::fs::write(&config, &text).expect("the temporary folder is writable");
            let checked = check(&Serve {
                config: Some(config.clone()),
                ..Serve::default()
            });
            let problem = checked.expect_err("no such file");
            assert!(problem.starts_with(&what), "{problem}");
            assert!(problem.contains("/no/f: "), "{problem}");
        }
        std::fs::remove_file(&config).expect("it has just been written");
    }

    /// [`super::welcome`] without the line about memory, which depends on the machine.
    fn welcome(config: &Config, bound: SocketAddr, shards: impl Into<ShardCount>) -> String {
        let text = super::welcome(config, &[bound], shards);
        let is_memory = |line: &&str| line.starts_with("  memory ");
        let line = text.lines().find(is_memory).expect("it has the line");
        assert!(
            line.contains("  at most ") && line.contains(" in the kernel ("),
            "{line}"
        );
        text.replace(&format!("{line}\n"), "")
    }

    #[test]
    fn the_start_up_text_has_urls_and_messages_to_try() {
        let config = Config::default();
        let text = welcome(&config, NEAR, 2);
        let version = env!("CARGO_PKG_VERSION");
        let curl = "curl -X POST http://127.0.0.1:8080/push \
                    -d '{\"userId\":\"jack\",\"event\":\"topic1\",\"message\":\"Hello World\"}'";
        let say = r#"{"cmd":"publish","data":{"channel":"room","data":"hi"}}"#;
        let alive = "send a message every 30 s, an empty one suffices";
        let easyws = "cookie auth=jack, send join: room, then publish: room hi";
        let forge = r#"send {"channel":"room","cmd":"publish","param":"hi"}"#;
        let expected = format!(
            r#"campanile {version} is ready on 127.0.0.1:8080 with 2 shards
  wserver       ws://127.0.0.1:8080/ws            send {{"token":"jack","event":"topic1"}}
    push        http://127.0.0.1:8080/push
    drop        http://127.0.0.1:8080/drop
    playground  http://127.0.0.1:8080/playground/ws
  edk           ws://127.0.0.1:8080/edk           x-user-id: jack, Sec-WebSocket-Protocol: token
                                                  any message goes to all
  wsrv          ws://127.0.0.1:8080/wsrv          send {{"cmd":"join","data":"room"}}, then
                                                  {say}
                                                  {alive}
    playground  http://127.0.0.1:8080/playground/wsrv
  easyws        ws://127.0.0.1:8080/easyws        {easyws}
    playground  http://127.0.0.1:8080/playground/easyws
  projectforge  ws://127.0.0.1:8080/projectforge  with ?ch=room, twice: the first sees a join
                                                  {forge}
    playground  http://127.0.0.1:8080/playground/projectforge
  echo          ws://127.0.0.1:8080/echo          what you send comes back
  api           http://127.0.0.1:8080/api/v1/     no key is needed from this machine
  health        http://127.0.0.1:8080/health
Push to the first, from another terminal:
  {curl}
"#
        );
        assert_eq!(text, expected);
        for line in text.lines() {
            let is_row = line.starts_with(' ') && !line.contains("curl");
            assert!(!is_row || line.len() <= 110, "{line}");
        }
    }

    #[test]
    fn the_start_up_text_has_both_addresses_of_localhost_and_one_in_urls() {
        let both = [NEAR, SocketAddr::from((Ipv6Addr::LOCALHOST, 8080))];
        let text = super::welcome(&Config::default(), &both, 1);
        let ready = " is ready on 127.0.0.1:8080 and [::1]:8080 with 1 shard\n";
        assert!(text.contains(ready), "{text}");
        assert_eq!(text.matches("[::1]").count(), 1, "{text}");
    }

    #[test]
    fn the_start_up_text_of_a_public_gateway_without_keys_has_no_server_api() {
        let says_so = |listen: &str, api: &str| {
            let text = format!(
                "listen = '{listen}'\n[api]\n{api}\n[[routes]]\npath = '/a'\ndialect = 'echo'"
            );
            let config = Config::from_toml("a.toml", &text, &Overrides::default()).expect("valid");
            let text = welcome(&config, NEAR, 1);
            let is_there = text.contains("/api/v1/");
            let is_off = text.contains("\n  server API: off, no [api] keys\n");
            (is_there, is_off)
        };
        assert_eq!(says_so(":80", ""), (false, true));
        assert_eq!(says_so("192.0.2.1:80", ""), (false, true));
        assert_eq!(says_so(":80", "keys = ['0123456789abcdef']"), (true, false));
        assert_eq!(says_so("localhost:80", ""), (true, false));
        // An operator who disabled it needs no line.
        assert_eq!(says_so(":80", "enabled = false"), (false, false));
    }

    #[test]
    fn the_first_url_is_that_of_the_first_wserver_route() {
        let config = Config {
            routes: vec![
                Route::new("/echo", &Echo),
                Route::new("/first", &Wserver),
                Route::new("/second", &Wserver),
            ],
            ..Config::default()
        };
        let bound = SocketAddr::from((Ipv6Addr::LOCALHOST, 9));
        let text = welcome(&config, bound, 1);
        let mut urls = text
            .split_whitespace()
            .filter(|word| word.starts_with("ws://"));
        assert_eq!(urls.next(), Some("ws://[::1]:9/first"));
        assert!(text.starts_with(&format!(
            "campanile {} is ready on [::1]:9 with 1 shard\n",
            env!("CARGO_PKG_VERSION")
        )));
        assert!(!text.contains("curl"), "nothing can be pushed to: {text}");
    }

    #[test]
    fn an_unspecified_address_is_replaced_by_loopback_in_urls() {
        let reached = |bound: &str| reachable(bound.parse().expect("an address")).to_string();
        assert_eq!(reached("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(reached("[::]:80"), "[::1]:80");
        assert_eq!(reached("10.1.2.3:80"), "10.1.2.3:80");
    }

    #[test]
    fn hints_have_placeholders_for_secrets_and_tokens() {
        let text = "
            [[routes]]
            path = '/ws'
            push_path = '/push;now'
            dialect = 'wserver'
            push_secret = 'hush'
            tokens = { hush1 = 'jill' }";
        let config = Config::from_toml("a.toml", text, &Overrides::default()).expect("valid");
        let text = welcome(&config, NEAR, 2);
        assert!(!text.contains("hush"), "{text}");
        assert!(
            text.contains("{\"token\":\"<token>\",\"event\":\"topic1\"}\n"),
            "{text}"
        );
        let curl = "curl -X POST 'http://127.0.0.1:8080/push;now' \
                    -H 'Authorization: Bearer <push_secret>' -d '{\"userId\":\"<its user>\",";
        assert!(text.contains(curl), "{text}");
    }

    #[test]
    fn a_hint_has_no_user_where_a_token_names_it() {
        let text = "
            [[routes]]
            path = '/edk'
            dialect = 'edk'
            tokens = { hush1 = 'jill' }
            [[routes]]
            path = '/easyws'
            dialect = 'easyws'
            tokens = { hush2 = 'jill' }
            playground_path = '/play'
            [[routes]]
            path = '/a/{very}/long/{path}/to/{connect}/to'
            dialect = 'projectforge'
            tap_path = '/tap'
            tap_secret = 'hush3'";
        let config = Config::from_toml("a.toml", text, &Overrides::default()).expect("valid");
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "campanile {version} is ready on 127.0.0.1:80 with 1 shard
  edk           ws://127.0.0.1:80/edk                      Sec-WebSocket-Protocol: <token>
  easyws        ws://127.0.0.1:80/easyws                   cookie auth=<token>, send hello: world
    playground  http://127.0.0.1:80/play
  projectforge  ws://127.0.0.1:80/a/{{very}}/long/{{path}}/to/{{connect}}/to  \
             with ?ch=room, twice: the first sees a join
    tap         ws://127.0.0.1:80/tap
  api           http://127.0.0.1:80/api/v1/                no key is needed from this machine
  health        http://127.0.0.1:80/health
"
        );
        let bound = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        assert_eq!(welcome(&config, bound, 1), expected);
    }

    #[test]
    fn the_start_up_text_has_the_routes_of_each_backend_and_the_api() {
        let text = "
            health_path = '/up'
            [api]
            keys = ['hush']
            [[backends]]
            name = 'app'
            url = 'http://127.0.0.1:9000/hush'
            secret = 'hush'
            [[backends]]
            name = 'other'
            url = 'http://127.0.0.1:9001/hush'
            [[routes]]
            path = '/a'
            dialect = 'echo'
            [[routes]]
            path = '/b'
            dialect = 'easyws'
            hooks = { backend = 'app', on = ['open'] }
            [[routes]]
            path = '/c'
            dialect = 'wsrv'
            hooks = { backend = 'app', on = ['close'] }";
        let config = Config::from_toml("a.toml", text, &Overrides::default()).expect("valid");
        let rows = |config: &Config| -> Vec<String> {
            let bound = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
            let text = welcome(config, bound, 1);
            assert!(!text.contains("hush"), "{text}");
            let is_hint = |line: &str| line.contains("ws://") || line.starts_with("      ");
            let rows = text.lines().filter(|line| !is_hint(line));
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            rows.skip(1).map(words).collect()
        };
        let backends = [
            "backend app used by /b, /c",
            "backend other used by no route",
        ];
        let all = [
            "api http://127.0.0.1:80/api/v1/ Authorization: Bearer <key>",
            "health http://127.0.0.1:80/up",
        ];
        assert_eq!(rows(&config), [all, backends].concat());
        let mut silent = config;
        silent.api.enabled = Some(false);
        silent.health_path = None;
        assert_eq!(rows(&silent), backends);
    }

    #[test]
    fn an_unprotected_gateway_warns_and_a_protected_one_does_not() {
        let mut config = Config {
            listen: Listen::Everywhere(80),
            insecure: true,
            ..Config::default()
        };
        config.routes[4].tap_path = Some("/tap".to_owned());
        let warning = |config: &Config| {
            let text = welcome(config, NEAR, 1);
            let (_, open) = text.split_once("also through a proxy or a browser, may ")?;
            Some(open.trim_end_matches(" (--insecure).\n").to_owned())
        };
        let secret = || Secret::new("hush");
        let all = "push and watch all traffic and use the server API and choose their user name";
        assert_eq!(warning(&config).as_deref(), Some(all));
        config.api.keys = vec![secret()];
        let three = "push and watch all traffic and choose their user name";
        assert_eq!(warning(&config).as_deref(), Some(three));
        config.listen = Listen::Localhost(80);
        assert_eq!(
            warning(&config).as_deref(),
            Some(three),
            "a proxy may stand there"
        );
        config.insecure = false;
        assert_eq!(warning(&config), None);
        config.insecure = true;
        config.listen = Listen::Everywhere(80);
        config.routes[0].push_secret = Some(secret());
        let two = "watch all traffic and choose their user name";
        assert_eq!(warning(&config).as_deref(), Some(two));
        config.routes[4].tap_secret = Some(secret());
        assert_eq!(warning(&config).as_deref(), Some("choose their user name"));
        config.routes[1].trust_user_header = Some(true);
        assert_eq!(warning(&config), None);
        config.api.keys.clear();
        assert_eq!(warning(&config).as_deref(), Some("use the server API"));
        config.api.enabled = Some(false);
        assert_eq!(warning(&config), None);
    }

    #[test]
    fn hints_mark_paths_that_serve_no_request() {
        let mut config = Config::default();
        config.api.open = false;
        config.routes[4].tap_path = Some("/tap".to_owned());
        let text = welcome(&config, NEAR, 1);
        for closed in ["push_secret", "tap_secret", "[api] keys"] {
            assert!(text.contains(&format!("closed: no {closed}")), "{text}");
        }
        assert!(!text.contains("curl"), "{text}");
        let secret = Secret::new("hush");
        config.routes[0].push_secret = Some(secret);
        assert!(welcome(&config, NEAR, 1).contains("curl"));
    }

    #[test]
    fn a_word_for_the_shell_is_quoted_when_it_must_be() {
        assert_eq!(in_shell_quotes("http://a/b?c".to_owned()), "'http://a/b?c'");
        assert_eq!(in_shell_quotes("it's".to_owned()), "'it'\\''s'");
        assert_eq!(in_shell_quotes("/a-b_c.d~e%20".to_owned()), "/a-b_c.d~e%20");
    }

    #[test]
    fn the_first_line_has_the_reason_for_fewer_shards_than_cores() {
        let config = Config::default();
        let first = |shards: ShardCount| {
            let text = welcome(&config, NEAR, shards);
            text.lines().next().expect("has a line").to_owned()
        };
        let limited = ShardCount {
            count: 2,
            cores_beyond_quota: Some(64),
        };
        let expected = " with 2 shards (the CPU quota of its cgroup is worth 2 of 64 cores)";
        assert!(first(limited).ends_with(expected), "{}", first(limited));
        assert!(first(2.into()).ends_with(" with 2 shards"));
    }
}
