//! Tests of a new dialect that is implemented only in this file.
//!
//! It is added to the registry of dialects at run time. Then it is used like the others, over real
//! sockets: config, description, upgrade, messages and pushes. It has several formats.
//!
//! ```text
//! client                        gateway                     pusher
//!   | echo hi                      |                           |
//!   |----------------------------->|                           |
//!   |                      echo hi |                           |
//!   |<-----------------------------|   POST /plain/push        |
//!   |                              |   jack news hello         |
//!   |                   news hello |<--------------------------|
//!   |<-----------------------------|                           |
//! ```

mod formats;
mod lines;

use crate::formats::{put, read_command};
use campanile::codec::json::Scratch;
use campanile::config::{self, Config, Origin, Overrides, Route};
use campanile::content::{Correlation, Outcome};
use campanile::dialect::{
    self, Call, Credentials, DecodeError, DefaultRoute, Dialect, DropRequest, Framing, Intent,
    Intents, Options, Playground, PushRequest, Rejection, ReplyAction, RouteFacts, RouteSpec,
    TokenPlace, UpgradeRequest,
};
use campanile::limits::{Limits, RouteLimits};
use campanile::publication::Publication;
use campanile::ws::MessageType;
use campanile::{Gateway, Message, cli};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Once;
use std::time::Duration;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message as Frame, WebSocket};

/// A dialect with messages of the form `command data`, and other formats of the same.
#[derive(Debug)]
struct Plain;

impl Dialect for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn route_spec(&self) -> RouteSpec {
        RouteSpec {
            summary: "a command, a space, and anything",
            keys: "playground_path tokens token_from commands push_path drop_path",
            token: TokenPlace::Sources,
            same_origin: true,
            playground: Playground::with_message("echo hi"),
            default_route: Some(DefaultRoute {
                name: "plain",
                has_playground: true,
                keys: &[("push_path", "\"/plain/push\"")],
                has_chat: true,
                ..DefaultRoute::default()
            }),
            ..RouteSpec::default()
        }
    }

    fn default_limits(&self, route: &mut RouteLimits, _: &Limits) {
        route.idle_timeout_ms = 12_345;
    }

    fn formats(&self) -> u8 {
        formats::COUNT
    }

    fn framing(&self, format: u8) -> Framing {
        formats::framing(format)
    }

    fn admit<'r>(
        &self,
        request: &UpgradeRequest<'r>,
        _: &Options,
    ) -> Result<Credentials<'r>, Rejection> {
        Ok(formats::choose(request))
    }

    fn first_steps(&self, facts: &RouteFacts<'_>) -> Vec<String> {
        vec![format!("send {} hi", facts.command)]
    }

    fn decode<'m>(
        &self,
        kind: MessageType,
        payload: &'m mut [u8],
        options: &Options,
        _: &'m mut Scratch,
        intents: &mut Intents<'m>,
    ) -> Result<(), DecodeError> {
        let (command, data) = read_command(options.format, kind, payload)?;
        intents.push(Intent::Call(Call {
            command,
            id: "",
            channel: "",
            from: "",
            data: Some(data.as_bytes()),
            kind,
        }));
        Ok(())
    }

    fn encode_outcome(
        &self,
        correlation: &Correlation,
        outcome: &Outcome,
        options: &Options,
        message: &mut Vec<u8>,
    ) -> ReplyAction {
        let Outcome::Replied(reply) = outcome else {
            return ReplyAction::Skip;
        };
        let data = reply.data();
        let kind = put(options.format, &correlation.command, data.bytes(), message);
        ReplyAction::Send(kind)
    }

    fn encode_publication(
        &self,
        publication: &Publication<'_>,
        options: &Options,
        message: &mut Vec<u8>,
    ) -> MessageType {
        let content = &publication.content;
        formats::count(content);
        put(options.format, content.event, content.data.bytes(), message)
    }

    fn read_push<'b>(&self, body: &'b [u8], _: &'b mut Scratch) -> Option<PushRequest<'b>> {
        let (user, rest) = str::from_utf8(body).ok()?.split_once(' ')?;
        let (event, message) = rest.split_once(' ')?;
        Some(PushRequest {
            user,
            event,
            message,
        })
    }

    fn read_drop(&self, body: &mut [u8]) -> Result<DropRequest, String> {
        let user = str::from_utf8(body).map_err(|error| error.to_string())?;
        Ok(DropRequest {
            user: user.to_owned(),
            event: None,
        })
    }
}

/// Adds the dialect once, before the registry is used.
fn add() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| dialect::add(&Plain));
}

fn read(text: &str) -> Result<Config, String> {
    add();
    let config = Config::from_toml("f.toml", text, &Overrides::default());
    config.map_err(|error| error.to_string())
}

const ROUTE: &str = "\
    listen = '127.0.0.1:0'\n\
    shards = 2\n\
    pin = false\n\
    [[routes]]\n\
    path = '/plain'\n\
    dialect = 'plain'\n\
    playground_path = '/play'\n\
    push_path = '/push'\n\
    drop_path = '/drop'\n\
    tokens = { secret = 'jack' }\n\
    commands = { echo = 'echo' }\n";

#[test]
fn a_new_dialect_is_configured_by_its_name() {
    let config = read(ROUTE).expect("valid");
    let route = &config.routes[0];
    assert_eq!(route.dialect.name(), "plain");
    assert_eq!(*route.origin(), Origin::Same);
    assert_eq!(route.limits.idle_timeout_ms, 12_345);
    assert_eq!(
        read(&format!("{ROUTE}lenient = true")),
        Err(
            "f.toml:12: routes[0].lenient: dialect \"plain\" has no such key; allowed \
             here: path, dialect, name, namespace, origin, playground_path, push_path, drop_path, \
             tokens, token_from, commands, message_bytes_max, outbox_bytes_max, \
             ping_interval_ms, idle_timeout_ms"
                .to_owned()
        )
    );
    let unknown = read(&ROUTE.replace("'plain'", "'fancy'")).expect_err("unknown");
    assert!(unknown.ends_with("\"echo\", \"plain\""), "{unknown}");
}

#[test]
fn the_default_config_has_a_route_of_the_new_dialect() {
    add();
    let routes = Config::default().routes;
    let route = routes.iter().find(|it| it.dialect.name() == "plain");
    let route = route.expect("it has a default route");
    let own = Route {
        playground_path: Some("/playground/plain".to_owned()),
        push_path: Some("/plain/push".to_owned()),
        commands: route.commands.clone(),
        ..Route::new("/plain", &Plain)
    };
    assert_eq!(*route, own);
    assert!(route.commands.contains_key("publish"));
    let text = config::default_text();
    assert!(text.contains("#   \"plain\"         a command, a space, and anything\n"));
    assert_eq!(read(&text), Ok(Config::default()));
}

#[test]
fn sessions_of_a_new_dialect_send_and_receive() {
    let config = read(ROUTE).expect("valid");
    let near = SocketAddr::from(([127, 0, 0, 1], 9));
    let welcome = cli::welcome(&config, &[near], 2);
    assert!(welcome.contains("send echo hi\n"), "{welcome}");

    let gateway = Gateway::builder(config).start().expect("it starts");
    let address = gateway.local_addr();
    let page = ask(address, "GET", "/play", "");
    assert!(page.contains(">echo hi</textarea>"), "{page}");
    assert!(upgrade(address, "/plain?token=wrong", "").is_err());
    let foreign = upgrade(address, "/plain?token=secret", "http://a.example");
    assert!(foreign.is_err(), "it takes pages of its own origin");

    let mut client = upgrade(address, "/plain?token=secret", "").expect("it is let in");
    client.send(Frame::text("mumble")).expect("it reads");
    client.send(Frame::text("echo hi there")).expect("it reads");
    assert_eq!(
        client.read().expect("an answer"),
        Frame::text("echo hi there")
    );

    let pushed = ask(address, "POST", "/push", "jack news hello all");
    assert!(pushed.ends_with("message sent to 1 clients"), "{pushed}");
    assert_eq!(
        client.read().expect("a push"),
        Frame::text("news hello all")
    );
    let illegal = ask(address, "POST", "/push", "jack");
    assert!(illegal.starts_with("HTTP/1.1 400 "), "{illegal}");

    let route = gateway.route("/plain").expect("it is there");
    let count = route.push_user("jack", Message::text("more", "from here"));
    assert_eq!(count.wait(), Ok(1));
    assert_eq!(
        client.read().expect("a push"),
        Frame::text("more from here")
    );

    let dropped = ask(address, "POST", "/drop", "jack");
    assert!(dropped.ends_with("dropped 1 connections"), "{dropped}");
    while client.read().is_ok() {}
    drop(client);
    assert_eq!(gateway.stop(PATIENCE).sessions_opened, 1);
}

/// The timeout of every wait.
const PATIENCE: Duration = Duration::from_secs(20);

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    socket
}

/// Opens a session with an `Origin` header, unless `origin` is empty. `Err` if it is rejected.
fn upgrade(address: SocketAddr, path: &str, origin: &str) -> Result<WebSocket<TcpStream>, String> {
    let request = format!("ws://{address}{path}").into_client_request();
    let mut request = request.expect("a URL");
    if !origin.is_empty() {
        let origin = origin.parse().expect("a header");
        request.headers_mut().insert("Origin", origin);
    }
    let opened = tungstenite::client(request, connect(address));
    opened
        .map(|(client, _)| client)
        .map_err(|error| error.to_string())
}

/// Sends a request and returns the whole response.
fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let mut socket = connect(address);
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it answers");
    answer
}
