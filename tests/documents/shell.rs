//! Runs the commands of a document from top to bottom.
//!
//! All blocks of a document share a folder; each block has its own shell. A block that runs on (a
//! server, a client that waits) ends with the document, and its output is compared then. A block
//! that fails or prints something else is repeated for a while, because a server may not be ready
//! yet. A block that runs on has 3 s to print its first line before the next block begins. Every
//! port of the document is replaced by a free one.

use super::GATEWAY;
use super::blocks::{Block, Kind, root};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Runs the shell blocks of one document and repeats each for at most `patience`. The error names
/// the failed block and the difference.
pub(crate) fn run(document: &str, blocks: &[Block], patience: Duration) -> Result<(), String> {
    let mut reader = Reader::new(document, blocks, patience);
    for block in blocks {
        let (runs_on, script) = if let Kind::Commands { runs_on } = block.kind {
            (runs_on, Script::of_commands(&block.text))
        } else if let Kind::Console { runs_on } = block.kind {
            (runs_on, Script::of_console(&block.text))
        } else {
            continue;
        };
        if matches!(block.kind, Kind::Console { .. }) {
            reader.wait_for_servers(&block.text);
        }
        if runs_on {
            reader.start(&block.place, script);
        } else {
            reader
                .run(&script)
                .map_err(|error| format!("{}: {error}", block.place))?;
        }
    }
    reader.check_blocks_that_ran_on()
}

/// Commands and their documented output.
#[derive(Debug)]
pub(crate) struct Script {
    commands: Vec<String>,
    /// The documented output of each command; `None` if there is none.
    shown: Vec<Option<String>>,
}

impl Script {
    fn of_commands(text: &str) -> Self {
        Self {
            commands: vec![text.to_owned()],
            shown: vec![None],
        }
    }

    pub(crate) fn of_console(text: &str) -> Self {
        let (mut commands, mut shown) = (Vec::<String>::new(), Vec::<Option<String>>::new());
        for line in text.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                commands.push(command.to_owned());
                shown.push(Some(String::new()));
                continue;
            }
            let (command, output) = (commands.last_mut(), shown.last_mut());
            let (Some(command), Some(Some(output))) = (command, output) else {
                panic!("a console block begins with `$ `, not {line:?}");
            };
            if let (Some(more), "") = (line.strip_prefix("> "), output.as_str()) {
                command.push('\n');
                command.push_str(more);
            } else {
                output.push_str(line);
                output.push('\n');
            }
        }
        Self { commands, shown }
    }

    /// Returns the text for a shell, which prints a mark after each command.
    fn text(&self) -> String {
        let commands = self.commands.iter();
        let marked = commands.map(|command| format!("{command}\nprintf '{MARK}'\n"));
        format!("set -eu\n{}", marked.collect::<String>())
    }

    /// Returns `true` if the first documented line has been printed, or if there is none.
    fn has_begun(&self, printed: &str) -> bool {
        let shown = self.shown.first().and_then(Option::as_ref);
        let first = shown
            .and_then(|shown| shown.lines().next())
            .unwrap_or_default();
        let first = first.split("...").next().unwrap_or_default();
        printed.starts_with(first)
    }

    /// Compares the output with the documented one.
    fn check(&self, printed: &str) -> Result<(), String> {
        let mut printed = printed.split(MARK);
        for (command, shown) in self.commands.iter().zip(&self.shown) {
            let printed = printed.next().unwrap_or_default();
            if let Some(shown) = shown
                && !fits(shown, printed)
            {
                return Err(format!("{command}\nprints\n{printed}\nand not\n{shown}"));
            }
        }
        Ok(())
    }
}

/// Returns `true` if output matches documented output. There a line `...` matches any number of
/// lines, and `...` within a line any text. White space at the ends is ignored.
pub(crate) fn fits(shown: &str, printed: &str) -> bool {
    let lines = |text: &'_ str| -> Vec<String> { text.trim().lines().map(str::to_owned).collect() };
    lines_fit(&lines(shown), &lines(printed))
}

fn lines_fit(shown: &[String], printed: &[String]) -> bool {
    match (shown, printed) {
        ([], printed) => printed.is_empty(),
        ([any, shown @ ..], printed) if any == "..." => {
            (0..=printed.len()).any(|skipped| lines_fit(shown, &printed[skipped..]))
        }
        ([line, shown @ ..], [found, printed @ ..]) => {
            line_fits(line, found) && lines_fit(shown, printed)
        }
        (_, []) => false,
    }
}

fn line_fits(shown: &str, printed: &str) -> bool {
    let Some((first, shown)) = shown.split_once("...") else {
        return shown == printed;
    };
    let Some(mut rest) = printed.strip_prefix(first) else {
        return false;
    };
    let (pieces, last) = shown.rsplit_once("...").unwrap_or(("", shown));
    for piece in pieces.split("...") {
        let Some((_, behind)) = rest.split_once(piece) else {
            return false;
        };
        rest = behind;
    }
    rest.ends_with(last)
}

/// A reader that runs the blocks of a document.
struct Reader {
    folder: PathBuf,
    /// The ports of the document and their replacements.
    ports: BTreeMap<u16, u16>,
    running: Vec<RunningBlock>,
    /// Process groups that may contain background processes.
    groups: Vec<Child>,
    shells: usize,
    patience: Duration,
}

struct RunningBlock {
    place: String,
    script: Script,
    output: PathBuf,
}

impl Reader {
    fn new(document: &str, blocks: &[Block], patience: Duration) -> Self {
        let name = document.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let folder = Path::new(GATEWAY.folder).join(format!("documents-{name}"));
        drop(fs::remove_dir_all(&folder));
        let bin = folder.join("bin");
        fs::create_dir_all(&bin).expect("cargo made the folder");
        symlink(root().join("scripts"), folder.join("scripts")).expect("it is empty");
        let shim = root().join("tests/documents/cargo.sh");
        for program in ["cargo", "campanile"] {
            symlink(&shim, bin.join(program)).expect("it is empty");
        }
        let curl = Command::new("curl")
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        if curl.is_err() {
            let instead = root().join("tests/documents/curl.py");
            symlink(instead, bin.join("curl")).expect("it is empty");
        }

        // Keep all listeners until all ports are found, so that no two are equal.
        let held: Vec<(u16, TcpListener)> = blocks
            .iter()
            .flat_map(|block| ports_of(&block.text))
            .map(|(_, port)| port)
            .collect::<std::collections::BTreeSet<u16>>()
            .into_iter()
            .map(|port| (port, TcpListener::bind("127.0.0.1:0").expect("a free port")))
            .collect();
        let ports = held.iter().map(|(port, listener)| {
            let address = listener.local_addr().expect("bound");
            (*port, address.port())
        });
        Self {
            folder,
            ports: ports.collect(),
            running: Vec::new(),
            groups: Vec::new(),
            shells: 0,
            patience,
        }
    }

    /// Starts a shell in its own process group. Returns it and the path of its output.
    fn spawn(&mut self, script: &Script) -> (Child, PathBuf) {
        self.shells += 1;
        let file = |what: &str| self.folder.join(format!("shell-{}.{what}", self.shells));
        let (input, output) = (file("sh"), file("out"));
        let text = with_ports(&script.text(), &self.ports);
        fs::write(&input, text).expect("the folder is there");
        let examples = Path::new(GATEWAY.path).with_file_name("examples");
        let path = std::env::var("PATH").unwrap_or_default();
        let default = self.ports.get(&8080).or_else(|| self.ports.values().next());
        let print = File::create(&output).expect("the folder is there");
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=1", SHELL_SECONDS_MAX, "sh"])
            .arg(&input)
            .current_dir(&self.folder)
            .env("PATH", format!("{}/bin:{path}", self.folder.display()))
            .env("NODE_PATH", root().join("tests/js/node_modules"))
            .env("PROGRAM", GATEWAY.path)
            .env("EXAMPLES", examples)
            .env("LISTEN", format!("127.0.0.1:{}", default.unwrap_or(&0)))
            .env("NO_COLOR", "1")
            .env_remove("CAMPANILE_CONFIG")
            .stdin(Stdio::null())
            .stdout(print)
            .stderr(File::create(file("err")).expect("the folder is there"))
            .process_group(0);
        (
            command.spawn().expect("timeout is part of coreutils"),
            output,
        )
    }

    /// Waits until the servers of a block's URLs listen. A block that runs on is not repeated, so
    /// it must not start too early.
    fn wait_for_servers(&self, text: &str) {
        for (at, port) in ports_of(text) {
            let is_url = text[..at].ends_with("://127.0.0.1:");
            let listens = || TcpStream::connect(("127.0.0.1", self.ports[&port]));
            if is_url {
                // Without a server the block itself fails.
                drop(until_ok(self.patience, || {
                    listens().map(drop).map_err(|error| error.to_string())
                }));
            }
        }
    }

    fn start(&mut self, place: &str, script: Script) {
        let (child, output) = self.spawn(&script);
        self.groups.push(child);
        let it = RunningBlock {
            place: place.to_owned(),
            script,
            output,
        };
        // Some programs print only after input, so a timeout is no error.
        drop(until_ok(FIRST_LINE_WITHIN, || {
            let printed = self.printed(&it.output);
            if it.script.has_begun(&printed) {
                Ok(())
            } else {
                Err(String::new())
            }
        }));
        self.running.push(it);
    }

    /// Runs a block until its output matches.
    fn run(&mut self, script: &Script) -> Result<(), String> {
        until_ok(self.patience, || {
            let (child, output) = self.spawn(script);
            // The shell is not reaped before the end, so that the number of its process group is
            // not reused: the group may contain background processes.
            let id = WaitId::Pid(Pid::from_child(&child));
            let ended = waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let status = ended
                .expect("it is our child")
                .and_then(|it| it.exit_status());
            let printed = self.printed(&output);
            let errors = fs::read_to_string(output.with_extension("err"));
            self.groups.push(child);
            let errors = errors.unwrap_or_default();
            script
                .check(&printed)
                .map_err(|wrong| format!("{wrong}\n{errors}"))?;
            match status {
                Some(0) => Ok(()),
                _ => Err(format!("ends with {status:?}\n{printed}\n{errors}")),
            }
        })
    }

    /// Returns the output with the ports of the document.
    fn printed(&self, output: &Path) -> String {
        let printed = fs::read(output).unwrap_or_default();
        let back = self
            .ports
            .iter()
            .map(|(theirs, ours)| (*ours, *theirs))
            .collect();
        with_ports(&String::from_utf8_lossy(&printed), &back)
    }

    fn signal_groups(&self, signal: Signal) {
        for child in &self.groups {
            match kill_process_group(Pid::from_child(child), signal) {
                Ok(()) | Err(_) => {} // An error means that all have exited.
            }
        }
    }

    fn check_blocks_that_ran_on(self) -> Result<(), String> {
        for it in &self.running {
            until_ok(self.patience, || it.script.check(&self.printed(&it.output)))
                .map_err(|error| format!("{}: {error}", it.place))?;
        }
        Ok(())
    }
}

impl Drop for Reader {
    /// Stops all processes with SIGTERM, and after a while with SIGKILL.
    fn drop(&mut self) {
        self.signal_groups(Signal::TERM);
        let is_left = |child: &Child| {
            let id = WaitId::Pid(Pid::from_child(child));
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
            waitid(id, options).is_ok_and(|ended| ended.is_none())
        };
        let ended = until_ok(PATIENCE_AT_THE_END, || {
            if self.groups.iter().any(is_left) {
                Err(String::new())
            } else {
                Ok(())
            }
        });
        drop(ended);
        self.signal_groups(Signal::KILL);
        for child in &mut self.groups {
            child.wait().expect("it is our child");
        }
    }
}

/// Repeats a function until it succeeds or `patience` is over. Returns the last error.
#[expect(clippy::disallowed_methods, reason = "a test waits between attempts")]
pub(crate) fn until_ok(
    patience: Duration,
    mut attempt: impl FnMut() -> Result<(), String>,
) -> Result<(), String> {
    let began = Instant::now();
    loop {
        match attempt() {
            Err(_) if began.elapsed() < patience => thread::sleep(Duration::from_millis(50)),
            result => return result,
        }
    }
}

/// Returns the offsets and numbers of ports of loopback addresses in a text.
pub(crate) fn ports_of(text: &str) -> Vec<(usize, u16)> {
    let hosts = ["127.0.0.1:", "localhost:", "127.0.0.1\", "];
    let mut found: Vec<(usize, u16)> = hosts
        .iter()
        .flat_map(|host| text.match_indices(host).map(|(at, host)| at + host.len()))
        .filter_map(|at| {
            let digits = text[at..].split(|c: char| !c.is_ascii_digit()).next();
            Some((at, digits?.parse().ok()?))
        })
        .collect();
    found.sort_unstable();
    found
}

/// Returns a text with its ports replaced.
fn with_ports(text: &str, ports: &BTreeMap<u16, u16>) -> String {
    let (mut changed, mut end) = (String::new(), 0);
    for (at, port) in ports_of(text) {
        changed.push_str(&text[end..at]);
        end = at + port.to_string().len();
        changed.push_str(&ports.get(&port).unwrap_or(&port).to_string());
    }
    changed + &text[end..]
}

/// The mark between outputs, which no command prints.
const MARK: &str = "\u{1e}";
/// The timeout of the first line of a block that runs on.
const FIRST_LINE_WITHIN: Duration = Duration::from_secs(3);
/// The timeout after SIGTERM.
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(10);
/// The CPU limit of a shell, also of one that runs on.
const SHELL_SECONDS_MAX: &str = "300";
