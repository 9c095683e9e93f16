//! A gateway as a child process: found or built, started on its core, asked to stop at the end.
//!
//! It is known by its command line and by the URL that it prints, never by its code. What it prints
//! goes to a file, so that no pipe can fill and stall it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock;
use crate::cores::Cores;
use crate::failure::{Attempt as _, Failure, Outcome};
use crate::limits;
use crate::wire::{self, Target};

/// How a gateway is to be started.
#[derive(Clone, Debug)]
pub(crate) struct GatewayOptions {
    /// The executable, if it is not the `campanile` beside this program's own.
    pub(crate) executable: Option<PathBuf>,
    /// A configuration file to hand on.
    pub(crate) config: Option<PathBuf>,
    /// How many shards it runs.
    pub(crate) shards: u32,
    /// The port to listen on; 0 for a free one.
    pub(crate) port: u16,
}

/// A running gateway; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    log: PathBuf,
    target: Target,
}

impl Gateway {
    /// Starts a gateway on a free port of loopback, on the server's core, and waits until it
    /// listens.
    ///
    /// # Errors
    ///
    /// There is no executable and none could be built, or it ended or stayed silent; the message
    /// shows what it printed.
    pub(crate) fn start(options: &GatewayOptions, cores: &Cores) -> Outcome<Self> {
        let executable = match &options.executable {
            Some(path) => path.clone(),
            None => find_or_build(&CAMPANILE)?,
        };
        let stamp = clock::now_ns();
        let log = std::env::temp_dir().join(format!("loadtest-{}-{stamp}.log", std::process::id()));
        let file = File::create(&log).attempt(&format!("create {}", log.display()))?;
        let errors = file.try_clone().attempt("share the log")?;

        let own = std::env::current_exe().attempt("find this program's own executable")?;
        let mut command = Command::new(own);
        command.arg("tied").arg(&executable);
        let listen = format!("127.0.0.1:{}", options.port);
        command.args(["--listen", &listen, "--shards"]);
        command.arg(options.shards.to_string());
        if let Some(config) = &options.config {
            command.arg("--config").arg(config);
        }
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let what = format!("start {}", executable.display());
        let child = cores.start_on_server(&mut command, &what)?;

        let mut gateway = Self {
            child,
            log,
            target: Target::parse("ws://127.0.0.1:0/ws").expect("well formed"),
        };
        gateway.target = gateway.wait_until_listening()?;
        Ok(gateway)
    }

    /// Where it listens.
    pub(crate) const fn target(&self) -> &Target {
        &self.target
    }

    /// Where it listens, as a URL.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}{}", self.target.authority, self.target.path)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_listening(&mut self) -> Outcome<Target> {
        let deadline = clock::now_ns() + START_NS_MAX;
        while clock::now_ns() < deadline {
            let printed = fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(url) = wire::find_url(&printed) {
                return Target::parse(url);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let printed = printed.trim();
                return Err(Failure::new(format!(
                    "the gateway ended ({status}) before it listened; it printed:\n{printed}"
                )));
            }
            clock::pause(POLL);
        }
        let printed = fs::read_to_string(&self.log).unwrap_or_default();
        Err(Failure::new(format!(
            "the gateway printed no ws://HOST:PORT/ws within 10 s; it printed:\n{}",
            printed.trim()
        )))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        stop(&mut self.child);
        // Only a file in the temporary folder is left behind if this fails.
        let _removed = fs::remove_file(&self.log);
    }
}

/// Asks `child` to end, and ends it when it has not after two seconds. Nothing if it has ended.
pub(crate) fn stop(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return; // its process id may be another's by now
    }
    if let Ok(pid) = i32::try_from(child.id())
        && let Some(pid) = Pid::from_raw(pid)
        && kill_process(pid, Signal::TERM).is_ok()
    {
        for _ in 0..STOP_POLLS_COUNT {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            clock::pause(POLL);
        }
    }
    // Both fail only when the child has ended already, which is what is wanted.
    let _killed = child.kill();
    let _reaped = child.wait();
}

/// Becomes `program`, in this very process, which ends when the one that started it does.
///
/// So no gateway is left behind when a loadtest is killed.
///
/// # Errors
///
/// The program cannot be run; on success there is no return.
pub(crate) fn become_tied(program: &[OsString]) -> Outcome<()> {
    limits::end_with_parent()?;
    let [name, arguments @ ..] = program else {
        return Err(Failure::new("no program is named"));
    };
    let error = Command::new(name).args(arguments).exec();
    Err(error).attempt(&format!("run {}", name.display()))
}

pub(crate) fn find_or_build(program: &Program) -> Outcome<PathBuf> {
    let own = std::env::current_exe().attempt("find this program's own executable")?;
    let beside = own.with_file_name(program.path);
    let release = own
        .parent()
        .and_then(Path::parent)
        .map(|target| target.join("release").join(program.path));
    let candidates: Vec<PathBuf> = [Some(beside), release].into_iter().flatten().collect();
    if let Some(found) = candidates.iter().find(|path| path.is_file()) {
        return Ok(found.clone());
    }

    let status = Command::new("cargo")
        .args(["build", "--release", "-p", "campanile"])
        .args(program.build)
        .status()
        .attempt("run cargo to build the gateway")?;
    if !status.success() {
        return Err(Failure::new(format!(
            "building the gateway failed ({status})"
        )));
    }
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Failure::new(format!(
                "`{}` was built but is not beside {}; name it with --gateway PATH",
                program.path,
                own.display()
            ))
        })
}

/// A program of the gateway's.
#[derive(Debug)]
pub(crate) struct Program {
    /// Where it lies, beside this one.
    path: &'static str,
    /// What cargo is told to build it.
    build: &'static [&'static str],
}

/// The gateway itself.
pub(crate) const CAMPANILE: Program = Program {
    path: "campanile",
    build: &["--bin", "campanile"],
};

/// A program that embeds it and publishes what it is told at `/publish`.
pub(crate) const PUBLISHER: Program = Program {
    path: "examples/publisher",
    build: &["--example", "publisher"],
};

const START_NS_MAX: u64 = 10 * clock::SECOND_NS;
const POLL: Duration = Duration::from_millis(10);
const STOP_POLLS_COUNT: u32 = 200;
