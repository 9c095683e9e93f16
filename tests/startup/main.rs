//! Tests of the start of the executable, of its error lines, and of panics.
//!
//! Some tests need limits of an ordinary user. Run as root, they switch to an unprivileged user,
//! a different one per test, because locked memory is counted per user.

mod ports;

use campanile::config::{Config, Overrides};
use campanile::gateway::Fault;
use campanile::gateway::Gateway;
use campanile_tests::client::{expect_no_message, open, open_as, read_text, register};
use campanile_tests::http::post;
use campanile_tests::peer::{Peer, push_body, sent_to};
use campanile_tests::process::{Executable, KillOnDrop, Process, collect, full_pipe};
use campanile_tests::{PATIENCE, executable};
use rustix::process::Signal;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;

/// The executable under test.
const GATEWAY: Executable = executable!();

#[test]
fn help_names_every_flag_and_command() {
    let done = run(campanile(&["--help"]));
    assert_eq!((done.status.code(), done.errors.as_str()), (Some(0), ""));
    for word in [
        "--config",
        "--listen",
        "--shards",
        "--log",
        "--insecure",
        "check",
        "config",
    ] {
        assert!(done.output.contains(word), "{word}: {}", done.output);
    }
    let version = run(campanile(&["--version"]));
    let expected = format!("campanile {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((version.status.code(), version.output), (Some(0), expected));
}

#[test]
fn the_printed_config_is_valid() {
    let done = run(campanile(&["config"]));
    assert_eq!((done.status.code(), done.errors.as_str()), (Some(0), ""));
    assert_eq!(
        done.output.trim_end(),
        campanile::config::default_text().trim_end()
    );

    let path = GATEWAY.config_file(&done.output);
    let path = path.to_str().expect("a plain path");
    let checked = run(campanile(&["check", "--config", path]));
    let mut lines = checked.output.lines();
    assert_eq!(lines.next(), Some(format!("{path}: ok").as_str()));
    assert!(
        lines
            .next()
            .is_some_and(|it| it.starts_with("memory: at most "))
    );
    assert_eq!(lines.next(), None);
    assert_eq!(
        (checked.status.code(), checked.errors.as_str()),
        (Some(0), "")
    );
    assert_serves(&GATEWAY.start(Some(&done.output)));
}

#[test]
fn the_start_up_text_has_the_limits_of_the_process() {
    let config =
        GATEWAY.config_file("[limits]\nsessions_max = 64\n[http]\nhttp_connections_max = 8");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 320; exec \"$0\" \"$@\"", PROGRAM]);
    command.args(["--listen", "127.0.0.1:0", "--config"]);
    command.arg(config).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the program can be executed");
    let output = BufReader::new(child.stdout.take().expect("piped above"));
    let mut lines = output.lines().map_while(Result::ok);
    let limits = lines.find(|line| line.starts_with("Limits: "));
    child.kill().expect("it serves");
    child.wait().expect("it is our child");
    let expected = "Limits: 64 sessions (sessions_max), 8 HTTP connections on each shard \
                    (http_connections_max), 320 open files.";
    assert_eq!(limits.as_deref(), Some(expected));
}

#[test]
fn an_invalid_config_is_one_line_for_check_and_for_serving() {
    let unknown = "2: ring.bogus: unknown key; allowed here: submission_entries, \
        completion_entries, buffer_count, buffer_bytes, entries_min";
    let small = "2: limits.outbox_bytes_max: 12 is too small, allowed are 4096 to 1073741824";
    let wsrv = "[[routes]]\npath = '/a'\ndialect = 'wsrv'\n";
    let backend = "4: routes[0].hooks.backend: \"app\" is unknown, there are no [[backends]]";
    let secret = "4: routes[0].jwt.secret: has 4 bytes, allowed are 32 to 4096";
    let channel = "7: routes[0].channels[1].name: \"a\" is taken by routes[0].channels[0].name";
    for (text, complaint) in [
        ("[ring]\nbogus = 1", unknown),
        ("[limits]\noutbox_bytes_max = 12", small),
        (
            &format!("{wsrv}hooks = {{ backend = 'app', on = ['open'] }}"),
            backend,
        ),
        (&format!("{wsrv}jwt = {{ secret = 'hush' }}"), secret),
        (
            &format!("{wsrv}{}", "[[routes.channels]]\nname = 'a'\n".repeat(2)),
            channel,
        ),
    ] {
        let path = GATEWAY.config_file(text);
        let path = path.to_str().expect("a plain path");
        let line = format!("{path}:{complaint}");
        assert_start_error(campanile(&["check", "--config", path]), &line);
        assert_start_error(campanile(&["--config", path]), &line);
    }
    assert_start_error(
        campanile(&["check", "--config", "/nowhere.toml"]),
        "/nowhere.toml: cannot be read: No such file or directory (os error 2)",
    );
}

#[test]
fn without_a_file_the_defaults_are_checked() {
    let mut command = campanile(&["check"]);
    command.env_remove("CAMPANILE_CONFIG");
    let checked = run(command);
    let defaults = "the defaults: ok\nmemory: at most ";
    assert!(checked.output.starts_with(defaults), "{}", checked.output);
    let quiet = (checked.status.code(), checked.errors.as_str());
    assert_eq!(quiet, (Some(0), ""));
}

#[test]
fn an_unknown_flag_has_another_exit_status_than_a_failure() {
    let done = run(campanile(&["--bogus"]));
    assert_eq!(done.status.code(), Some(2));
    let first = done.errors.lines().next();
    assert_eq!(first, Some("error: unexpected argument '--bogus' found"));
    let done = run(campanile(&["--shards", "0"]));
    assert_eq!(done.status.code(), Some(2));
    let first = done.errors.lines().next();
    let expected = "error: invalid value '0' for '--shards <N>': \"0\" is not a number of shards, \
        allowed are \"auto\" and 1 to 255";
    assert_eq!(first, Some(expected));
}

#[test]
fn unauthenticated_pushes_need_a_loopback_address() {
    assert_start_error(
        campanile(&["--listen", "0.0.0.0:0"]),
        "listen: 0.0.0.0:0 is not a loopback address, and /push is open to everyone who reaches \
         it; give its route a push_secret or a push_header, or start with --insecure\n\
         campanile: listen: 0.0.0.0:0 is not a loopback address, so the header x-user-id is not \
         believed, and nothing else names the user of a client of /edk; give its route tokens, a \
         jwt or hooks on \"open\", or trust_user_header = true if whatever stands in front of the \
         gateway sets that header itself, or, in a program that embeds the gateway, a function \
         that authenticates (authenticated_by_code), or start with --insecure",
    );
}

#[test]
fn an_unauthenticated_server_api_needs_a_loopback_address() {
    let text = "listen = '0.0.0.0:0'\n[api]\nenabled = true\n\
        [[routes]]\npath = '/a'\ndialect = 'echo'";
    let path = GATEWAY.config_file(text);
    let path = path.to_str().expect("a plain path");
    assert_start_error(
        campanile(&["check", "--config", path]),
        &format!(
            "{path}:1: listen: 0.0.0.0:0 is not a loopback address, and the server API is open to \
             everyone who reaches it; give it keys, or start with --insecure"
        ),
    );
    let checked = run(campanile(&["check", "--insecure", "--config", path]));
    let ok = format!("{path}: ok\nmemory: at most ");
    assert!(checked.output.starts_with(&ok), "{}", checked.output);
}

#[test]
fn too_few_open_files_are_an_error() {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -n 256; exec \"$0\" --listen 127.0.0.1:0",
        PROGRAM,
    ]);
    assert_start_error(
        command,
        "too few open files: 256 are allowed and 257 are needed; raise the limit (`ulimit -Hn`, \
         LimitNOFILE= in systemd), or lower limits.sessions_max",
    );
}

#[test]
fn the_default_lockable_memory_is_enough_for_full_rings() {
    let user = User::new(65_501);
    let process = Process::start(user.command(8 << 20, &["--shards", "4"]));
    assert_serves(&process);
    let ended = process.stop();
    assert_eq!(ended.status.code(), Some(0));
    assert!(!ended.log.contains("smaller rings"), "{}", ended.log);
}

#[test]
fn with_little_lockable_memory_rings_are_halved_with_a_warning() {
    let user = User::new(65_502);
    let process = Process::start(user.command(1 << 20, &["--shards", "4"]));
    assert_serves(&process);
    let ended = process.stop();
    assert_eq!(ended.status.code(), Some(0));
    let warning = "little lockable memory; using smaller rings than configured (raise `ulimit -l`, \
        LimitMEMLOCK= in systemd)";
    assert!(ended.log.contains(warning), "{}", ended.log);
}

/// 64 KiB, the limit of old systems, is enough for one shard with 256 ring entries, not for four.
#[test]
fn too_little_lockable_memory_is_an_error_with_remedies_that_work() {
    let user = User::new(65_503);
    let line = "too little lockable memory for the rings: raise it (`ulimit -l`, LimitMEMLOCK= in \
        systemd), or run fewer shards with --shards, or lower ring.entries_min and \
        ring.submission_entries";
    assert_start_error(user.command(64 << 10, &["--shards", "4"]), line);

    let process = Process::start(user.command(64 << 10, &["--shards", "1"]));
    assert_serves(&process);
    assert_eq!(process.stop().status.code(), Some(0));

    let config = user.config("[ring]\nentries_min = 64");
    let config = config.to_str().expect("a plain path");
    let arguments = ["--shards", "2", "--config", config];
    assert_start_error(user.command(64 << 10, &arguments[..2]), line);
    let process = Process::start(user.command(64 << 10, &arguments));
    assert_serves(&process);
    assert_eq!(process.stop().status.code(), Some(0));
}

#[test]
fn a_filter_that_blocks_io_uring_is_named_in_the_error() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/refuse_io_uring.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(PROGRAM);
    command.args(["--listen", "127.0.0.1:0"]);
    assert_start_error(
        command,
        "io_uring is blocked (Operation not permitted (os error 1)): a seccomp filter denies it, \
         as the default profiles of Docker and containerd do; run with a profile that allows \
         io_uring_setup, io_uring_enter and io_uring_register",
    );
}

#[test]
fn an_interrupt_stops_it_as_well() {
    let mut command = GATEWAY.command(None);
    command.args(["--log", "json"]);
    let process = Process::start(command);
    assert_serves(&process);
    process.signal(Signal::INT);
    let ended = process.wait();
    assert_eq!(ended.status.code(), Some(0));
    for line in ended.log.lines() {
        assert!(line.starts_with("{\"timestamp\":"), "{line}");
        assert!(line.ends_with('}'), "{line}");
    }
    assert!(
        ended.log.contains(r#""message":"stopped""#),
        "{}",
        ended.log
    );
}

/// docs/design/io.md 2: a runtime that catches a panic must not leave a gateway with a dead part.
#[test]
fn a_panic_of_the_gateway_ends_the_process() {
    for (place, name) in [("loop", "Loop"), ("http", "Http"), ("task", "Task")] {
        let done = run(myself(place));
        let sigabrt = Signal::ABORT.as_raw();
        assert_eq!(
            done.status.signal(),
            Some(sigabrt),
            "{place}: {}",
            done.errors
        );
        assert!(
            done.errors.contains(&format!("provoked in {name}")),
            "{}",
            done.errors
        );
    }
}

/// The process must not hang if the panic message cannot be written.
#[test]
fn a_panic_ends_the_process_even_if_its_message_cannot_be_written() {
    for is_gone in [false, true] {
        for place in ["loop", "http", "task"] {
            let (reader, stderr) = full_pipe();
            let reader = (!is_gone).then_some(reader);
            let mut command = myself(place);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(stderr);
            let child = command.spawn().expect("the program can be executed");
            drop(command); // It holds the other end of the pipe.
            let status = KillOnDrop(child).wait_for_end();
            assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{place}");
            drop(reader);
        }
    }
}

#[test]
fn a_panic_of_an_embedders_function_affects_no_other_session() {
    let done = run(myself("embedder"));
    assert!(done.status.success(), "{}\n{}", done.output, done.errors);
    assert!(
        done.errors.contains("a token on purpose"),
        "{}",
        done.errors
    );
    assert!(done.errors.contains("a push on purpose"), "{}", done.errors);
}

/// The gateway that the tests above run in its own process, where every panic ends the process.
#[test]
#[ignore = "only a part of other tests, which name a place in the environment"]
fn a_gateway_within_this_process() {
    let place = std::env::var(PLACE).expect("set by the tests that run this one");
    campanile::abort_on_panic();
    let text = "listen = '127.0.0.1:0'\nshards = 2";
    let config = Config::from_toml("test", text, &Overrides::default()).expect("valid");
    let builder = Gateway::builder(config);
    let fault = match place.as_str() {
        "loop" => Fault::Loop,
        "http" => Fault::Http,
        "task" => Fault::Task,
        "embedder" => return panicking_functions(builder),
        other => panic!("no such place: {other}"),
    };
    let gateway = builder.provoke_panic(fault).start().expect("it starts");
    // One of the places panics at a request. The response does not matter.
    let mut peer = TcpStream::connect(gateway.local_addr()).expect("it listens");
    drop(peer.write_all(post("/push", "", "").as_bytes()));
    let (_sender, nothing) = channel::<()>();
    let waited = nothing.recv_timeout(PATIENCE);
    println!("still here: {waited:?}");
}

fn panicking_functions(builder: campanile::Builder) {
    let builder = builder.authenticate_token(|token| match token {
        "bad" => panic!("a token on purpose"),
        token => Some(token.to_uppercase()),
    });
    let builder = builder.authorize_push(|request| match request.header("X-Mode") {
        Some(b"panic") => panic!("a push on purpose"),
        mode => mode != Some(b"no"),
    });
    let gateway = builder.start().expect("it starts");
    let address = gateway.local_addr();
    let mut jack = open_as(address, "jack", "e");
    let mut jill = open(address, "/ws");
    register(&mut jill, "bad", "e");
    register(&mut jill, "jill", "e");

    let mut peer = Peer::connect(address);
    assert_eq!(peer.push("bad", "e", "m"), sent_to(0));
    assert_eq!(peer.push("BAD", "e", "m"), sent_to(0));
    for (mode, status, answer) in [("panic", 500, "internal error"), ("no", 401, "")] {
        let headers = format!("X-Mode: {mode}\r\n");
        let mut peer = Peer::connect(address);
        let answered = peer.post("/push", &headers, &push_body("JACK", "e", "m"));
        assert_eq!((answered.status, answered.body.as_str()), (status, answer));
    }
    assert_eq!(peer.push("JACK", "e", "for jack"), sent_to(1));
    assert_eq!(peer.push("JILL", "e", "for jill"), sent_to(1));
    assert_eq!(read_text(&mut jack), "for jack");
    assert_eq!(read_text(&mut jill), "for jill");
    expect_no_message(&mut jack);
    expect_no_message(&mut jill);
    drop((jack, jill));
    let counters = gateway.stop(PATIENCE);
    assert_eq!(counters.sessions_opened, 2);
    assert_eq!(counters.deliveries, 2);
}

/// The result of a program that has exited.
struct Done {
    status: ExitStatus,
    output: String,
    errors: String,
}

/// Runs a program until it exits, and kills it at the timeout.
#[track_caller]
fn run(mut command: Command) -> Done {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be executed");
    let errors = collect(child.stderr.take().expect("piped above"));
    let output = collect(child.stdout.take().expect("piped above"));
    let Ok(errors) = errors.recv_timeout(PATIENCE) else {
        drop(child.kill());
        panic!("does not end: {}", output.recv().unwrap_or_default());
    };
    let status = child.wait().expect("it is our child");
    let output = output.recv_timeout(PATIENCE);
    let output = output.expect("it has ended, and its output with it");
    Done {
        status,
        output,
        errors,
    }
}

/// Asserts that a start fails and prints only this line.
#[track_caller]
fn assert_start_error(command: Command, line: &str) {
    let done = run(command);
    assert_eq!(done.errors, format!("campanile: {line}\n"));
    assert_eq!((done.status.code(), done.output.as_str()), (Some(1), ""));
}

/// Asserts that a session can register and receive a push.
#[track_caller]
fn assert_serves(process: &Process) {
    let mut client = open_as(process.address, "jack", "e");
    let mut peer = Peer::connect(process.address);
    assert_eq!(peer.push("jack", "e", "hello"), sent_to(1));
    assert_eq!(read_text(&mut client), "hello");
}

fn campanile(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments);
    command
}

/// Returns a command that runs one test of this executable with a place to panic in.
fn myself(place: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("it runs"));
    command.args([
        "--ignored",
        "--exact",
        "--nocapture",
        "a_gateway_within_this_process",
    ]);
    command.env(PLACE, place);
    command
}

/// An unprivileged user with a folder. Dropping it removes the folder.
struct User {
    uid: u32,
    folder: PathBuf,
}

impl User {
    fn new(uid: u32) -> Self {
        let name = format!("campanile-test-{}-{uid}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder for temporary files");
        Self { uid, folder }
    }

    /// Returns a command that runs the gateway as this user on a free port, with `lockable_bytes`
    /// of lockable memory.
    fn command(&self, lockable_bytes: u32, arguments: &[&str]) -> Command {
        self.command_on("127.0.0.1:0", lockable_bytes, arguments)
    }

    /// Like [`User::command`], on a given address. The shell copies the program to the user's
    /// folder.
    fn command_on(&self, listen: &str, lockable_bytes: u32, arguments: &[&str]) -> Command {
        let become_user = if rustix::process::getuid().is_root() {
            let uid = self.uid;
            format!("setpriv --reuid {uid} --regid {uid} --clear-groups")
        } else {
            String::new()
        };
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!(
            "cp \"$0\" ./campanile && chmod 755 . ./campanile && exec {become_user} \
             prlimit --memlock={lockable_bytes}:{lockable_bytes} \
             ./campanile --listen {listen} \"$@\""
        ));
        command.current_dir(&self.folder);
        command.arg(PROGRAM).args(arguments);
        command
    }

    /// Writes a config file that this user can read.
    fn config(&self, text: &str) -> PathBuf {
        let path = self.folder.join("campanile.toml");
        std::fs::write(&path, text).expect("the folder is there");
        path
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // If it fails, the folder remains in the temporary folder.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

const PROGRAM: &str = GATEWAY.path;
/// The environment variable with the place to panic in.
const PLACE: &str = "CAMPANILE_TEST_PLACE";
