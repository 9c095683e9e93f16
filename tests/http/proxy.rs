//! Tests behind real proxies on the same host: Debian's nginx, Caddy and `HAProxy`.
//!
//! All requests through a proxy come from loopback. If a proxy is not installed, its tests pass;
//! scripts/test.sh installs them.

use crate::{GATEWAY, PUSH};
use campanile_tests::client::{Client, open_as, read_text};
use campanile_tests::http::{LOCAL, request, upgrade};
use campanile_tests::net::free_address;
use campanile_tests::peer::{Peer, ask};
use campanile_tests::process::{KillOnDrop, Process};
use campanile_tests::wait_for;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tungstenite::Message;

/// A running proxy on its own port. Dropping it kills the process.
struct Proxy {
    address: SocketAddr,
    _child: KillOnDrop,
}

impl Proxy {
    /// Starts nginx with these lines in its `http` block; `LISTEN` is replaced by its address.
    /// `None` if nginx is not installed.
    fn nginx(test: &str, http: &str) -> Option<Self> {
        let (address, folder) = (free_address(), folder(test));
        let at = |name: &str| folder.join(name).display().to_string();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {};\n", at(name)))
            .concat();
        let http = http.replace("LISTEN", &address.to_string());
        let text = format!(
            "daemon off;\nmaster_process off;\npid {};\nerror_log {} warn;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}{http}}}\n",
            at("pid"),
            at("error.log"),
        );
        std::fs::write(folder.join("conf"), text).expect("the folder is there");
        let mut command = Command::new("nginx");
        command.args(["-c", &at("conf"), "-e", &at("error.log")]);
        Self::start(command, address)
    }

    /// Starts Caddy with this Caddyfile, without the admin API. `None` if it is not installed.
    fn caddy(test: &str, text: &str) -> Option<Self> {
        let (address, folder) = (free_address(), folder(test));
        let file = folder.join("Caddyfile");
        let text = text.replace("LISTEN", &format!("http://{address}"));
        std::fs::write(&file, format!("{{\nadmin off\n}}\n{text}")).expect("the folder is there");
        let mut command = Command::new("caddy");
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(file);
        // Caddy stores its state in these folders.
        command
            .env("XDG_DATA_HOME", &folder)
            .env("XDG_CONFIG_HOME", &folder);
        Self::start(command, address)
    }

    /// Starts `HAProxy` with this configuration. `None` if it is not installed.
    fn haproxy(test: &str, text: &str) -> Option<Self> {
        let (address, folder) = (free_address(), folder(test));
        let file = folder.join("haproxy.cfg");
        let text = text.replace("LISTEN", &address.to_string());
        std::fs::write(&file, text).expect("the folder is there");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file);
        Self::start(command, address)
    }

    #[expect(clippy::print_stdout, reason = "a skipped test is reported")]
    fn start(mut command: Command, address: SocketAddr) -> Option<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match quiet.spawn() {
            Ok(child) => {
                let mut child = KillOnDrop(child);
                wait_for("it listens", || {
                    let ended = child.try_wait().expect("it is our child");
                    assert!(ended.is_none(), "{program} has ended: {ended:?}");
                    TcpStream::connect(address).is_ok()
                });
                Some(Self {
                    address,
                    _child: child,
                })
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                println!("{program} is not installed: nothing was tried behind it");
                None
            }
        }
    }
}

/// Creates a folder for the files of a proxy.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(GATEWAY.folder).join(format!("proxy-{test}"));
    std::fs::create_dir_all(&folder).expect("cargo made its parent");
    folder
}

/// A bare `proxy_pass`: HTTP/1.0, no header about the client's connection, the proxy's own Host.
#[test]
fn behind_a_bare_proxy_pass_every_path_needs_a_key() {
    let process = GATEWAY.start(None);
    let bare = format!(
        "server {{ listen LISTEN; location / {{ proxy_pass http://{}; }} }}\n",
        process.address
    );
    let Some(proxy) = Proxy::nginx("bare", &bare) else {
        return;
    };
    for (start, body) in [
        ("POST /push HTTP/1.1", PUSH),
        ("POST /drop HTTP/1.1", r#"{"userId":"jack"}"#),
        ("POST /api/v1/broadcast HTTP/1.1", r#"{"data":1}"#),
        ("GET /api/v1/sessions HTTP/1.1", ""),
    ] {
        let seen = ask(proxy.address, request(start, &[LOCAL], body));
        assert_eq!(seen.status, 403, "{start}: {seen:?}");
    }
    let health = ask(proxy.address, request("GET /health HTTP/1.1", &[LOCAL], ""));
    assert_eq!(health.status, 200);
    assert!(!health.body.contains("sessions_max"), "{}", health.body);
}

/// nginx without `proxy_http_version 1.1` sends upgrades over HTTP/1.0.
#[test]
fn behind_a_proxy_with_http_10_upgrades_succeed() {
    let process = GATEWAY.start(None);
    let old = format!(
        "server {{ listen LISTEN; location / {{ proxy_pass http://{};\n\
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }} }}\n",
        process.address
    );
    let Some(proxy) = Proxy::nginx("http-10", &old) else {
        return;
    };
    let mut client = open_as(proxy.address, "jack", "e");
    expect_push(&process, &mut client, "X-Nothing: more");
    // The user header is not trusted through a proxy.
    let as_jack = [LOCAL, "x-user-id: jack", "Sec-WebSocket-Protocol: t"];
    let edk = upgrade("GET /edk HTTP/1.1", &as_jack);
    assert_eq!(ask(proxy.address, edk).status, 401);
}

/// Starts a gateway with the config of docs/behind-a-proxy.md.
fn documented_gateway() -> Process {
    GATEWAY.start(Some(&block("toml")))
}

/// Returns a proxy's block of docs/behind-a-proxy.md with this gateway's address and `LISTEN`.
fn documented(language: &str, own_address: &str, process: &Process) -> String {
    let block = block(language);
    assert!(block.contains(own_address), "{block}");
    let block = block.replace("127.0.0.1:8080", &process.address.to_string());
    block.replace(own_address, "LISTEN")
}

#[test]
fn behind_the_documented_nginx_clients_connect_and_nothing_else_is_exposed() {
    let process = documented_gateway();
    let http = documented("nginx", "listen 80;", &process).replace("LISTEN", "listen LISTEN;");
    let proxy = Proxy::nginx("documented-nginx", &http);
    proxy.inspect(|proxy| clients_connect_and_nothing_else_is_exposed(&process, proxy));
}

#[test]
fn behind_the_documented_caddy_clients_connect_and_nothing_else_is_exposed() {
    let process = documented_gateway();
    let text = documented("caddyfile", "http://localhost:8081", &process);
    let proxy = Proxy::caddy("documented-caddy", &text);
    proxy.inspect(|proxy| clients_connect_and_nothing_else_is_exposed(&process, proxy));
}

#[test]
fn behind_the_documented_haproxy_clients_connect_and_nothing_else_is_exposed() {
    let process = documented_gateway();
    let text = documented("haproxy", "127.0.0.1:8082", &process);
    let proxy = Proxy::haproxy("documented-haproxy", &text);
    proxy.inspect(|proxy| clients_connect_and_nothing_else_is_exposed(&process, proxy));
}

fn clients_connect_and_nothing_else_is_exposed(process: &Process, proxy: &Proxy) {
    let mut client = open_as(proxy.address, "jack", "e");
    expect_push(
        process,
        &mut client,
        "Authorization: Bearer push-secret-of-16-or-more",
    );
    for path in [
        "/push",
        "/drop",
        "/api/v1/broadcast",
        "/%61pi/v1/broadcast",
        "/p%75sh",
    ] {
        let host = format!("Host: {}", proxy.address);
        let post = request(&format!("POST {path} HTTP/1.1"), &[&host], PUSH);
        let seen = ask(proxy.address, post);
        assert_eq!(seen.status, 404, "{path}: {seen:?}");
    }
    // Also not by a direct request.
    let direct = ask(
        process.address,
        request("POST /push HTTP/1.1", &[LOCAL], PUSH),
    );
    assert_eq!(direct.status, 401);
    // Pages have the origin of the proxy.
    let host = format!("Host: {}", proxy.address);
    let origin = format!("Origin: http://{}", proxy.address);
    let chat = upgrade("GET /chat HTTP/1.1", &[&host, &origin, "Cookie: auth=a"]);
    assert_eq!(ask(proxy.address, chat).status, 101);
    let other = upgrade(
        "GET /chat HTTP/1.1",
        &[&host, "Origin: http://a", "Cookie: auth=a"],
    );
    let refused = ask(proxy.address, other);
    assert_eq!(
        (refused.status, refused.header("campanile-refused")),
        (403, Some("origin"))
    );
}

/// Asserts that a local push reaches a client.
#[track_caller]
fn expect_push(process: &Process, client: &mut Client, header: &str) {
    let mut raw = Peer::connect(process.address);
    raw.send(request("POST /push HTTP/1.1", &[LOCAL, header], PUSH));
    assert_eq!(raw.response().body, "message sent to 1 clients");
    assert_eq!(read_text(client), "m");
    client.send(Message::text("")).expect("the proxy reads on");
}

/// Returns the block of docs/behind-a-proxy.md in a language.
fn block(language: &str) -> String {
    let document = include_str!("../../docs/behind-a-proxy.md");
    let (_, rest) = document
        .split_once(&format!("```{language}\n"))
        .expect("it has one");
    rest.split("```").next().expect("it ends").to_owned()
}
