//! The program of the README, word for word, and what it does.

use campanile::config::Config;
use campanile::{Context, Failure, Gateway, Message, Reply};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::error::Error;
use std::time::Duration;

async fn join(cx: Context) -> Result<Reply, Failure> {
    let room: String = cx.bind()?;
    cx.join(room.clone()).await?;
    cx.publish_to_others(room, Message::json("joined", &cx.session().number())?);
    Ok(Reply::ok())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let listen = std::env::var("LISTEN").unwrap_or_else(|_| "localhost:8080".to_owned());
    let config = Config {
        listen: listen.parse()?,
        ..Config::default()
    };
    let gateway = Gateway::builder(config)
        .route("/wsrv")
        .handle("join", join)
        .start()?;
    let route = gateway.route("/wsrv").expect("the default config has it");
    route.broadcast(Message::text("news", "open")).wait()?;

    signals.forever().next();
    drop(gateway.stop(Duration::from_secs(5)));
    Ok(())
}

mod tests {
    use super::super::PATIENCE;
    use campanile_tests::client::{Client, open_on};
    use campanile_tests::net::free_address;
    use campanile_tests::process::{KillOnDrop, signal_child};
    use rustix::process::Signal;
    use std::collections::BTreeSet;
    use std::net::{SocketAddr, TcpStream};
    use std::process::{Command, Stdio};

    /// Runs the program; the next test starts this test in its own process.
    #[test]
    #[ignore = "only a part of the next test, which starts it"]
    fn within_this_process() {
        super::main().expect("it starts and stops");
    }

    #[test]
    fn the_program_of_the_readme_serves_until_it_is_stopped() {
        let programs = super::super::of_kind(|kind| *kind == super::super::Kind::Rust);
        let [program] = &programs[..] else {
            panic!("one program, not {programs:?}");
        };
        let here = include_str!("embedding.rs");
        assert!(
            here.contains(&program.text),
            "{}: not what is here",
            program.place
        );

        let mut command = Command::new(std::env::current_exe().expect("it runs"));
        command.args([
            "--ignored",
            "--exact",
            "embedding::tests::within_this_process",
        ]);
        let address = free_address();
        command.env("LISTEN", address.to_string());
        let child = command.stdout(Stdio::null()).spawn();
        let mut program = KillOnDrop(child.expect("it can be executed"));
        let served = super::super::shell::until_ok(PATIENCE, || join_twice(address));
        assert_eq!(served, Ok(()));
        signal_child(&program, Signal::TERM);
        let status = program.wait().expect("it is our child");
        assert!(status.success(), "{status}");
    }

    /// Joins a channel with two sessions. The first receives the second's join.
    fn join_twice(address: SocketAddr) -> Result<(), String> {
        let mut members = Vec::new();
        for _ in 0..2 {
            let socket = TcpStream::connect(address).map_err(|error| error.to_string())?;
            let mut member = open_on(socket, "/wsrv")?;
            let join = r#"{"cmd":"join","seqno":"1","data":"room"}"#;
            member.send(join.into()).expect("it is open");
            let ok = r#"{"cmd":"join","seqno":"1","status":0,"msg":"ok","data":{}}"#;
            assert_eq!(read_message(&mut member), ok);
            members.push(member);
        }
        let received = read_message(&mut members[0]);
        assert!(received.starts_with(r#"{"cmd":"joined","#), "{received}");
        Ok(())
    }

    /// Returns the next message, except the messages that the program publishes at its start.
    fn read_message(member: &mut Client) -> String {
        loop {
            let bytes = member.read().expect("a message comes").into_data();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if !text.starts_with(r#"{"cmd":"news","#) {
                return text;
            }
        }
    }

    #[test]
    fn its_dependencies_are_complete_and_have_our_versions() {
        let blocks = super::super::of_kind(|kind| *kind == super::super::Kind::Dependencies);
        let [block] = &blocks[..] else {
            panic!("one list, not {blocks:?}");
        };
        let dependencies = |text: &str| -> toml::Table {
            let manifest: toml::Table = text.parse().expect("TOML");
            manifest["dependencies"]
                .as_table()
                .expect("a table")
                .clone()
        };
        let theirs = dependencies(&block.text);
        let ours = dependencies(include_str!("../../Cargo.toml"));
        for (name, version) in &theirs {
            if name == "campanile" {
                assert!(version.get("path").is_some(), "it is on no registry");
            } else {
                assert_eq!(ours.get(name), Some(version), "{name}");
            }
        }
        let program = &super::super::of_kind(|kind| *kind == super::super::Kind::Rust)[0];
        let crates: BTreeSet<String> = program
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("use ")?.split("::").next())
            .filter(|name| *name != "std")
            .map(|name| name.replace('_', "-"))
            .collect();
        assert_eq!(crates, theirs.keys().cloned().collect());
    }
}
