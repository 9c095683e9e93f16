//! The gateway as a child process: finding or building the executable, starting and stopping.
//!
//! The interface is the command line and the printed URL. The output goes to a file, so that a full
//! pipe cannot block the gateway.

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

/// The options to start a gateway with.
#[derive(Clone, Debug)]
pub(crate) struct GatewayOptions {
    /// The executable; `None` for `campanile` beside this program's executable.
    pub(crate) executable: Option<PathBuf>,
    /// The configuration file.
    pub(crate) config: Option<PathBuf>,
    /// The number of shards.
    pub(crate) shards: u32,
    /// The port to listen on; 0 for a free one.
    pub(crate) port: u16,
}

/// A running gateway. Dropping it stops the process and removes its log.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    log: PathBuf,
    target: Target,
}

impl Gateway {
    /// Starts a gateway on loopback, on the server's core, and waits until it listens.
    ///
    /// # Errors
    ///
    /// The executable is missing and cannot be built, the process exits, or it prints no URL within
    /// 10 s. The message has the gateway's output.
    pub(crate) fn start(options: &GatewayOptions, cores: &Cores) -> Outcome<Self> {
        let executable = match &options.executable {
            Some(path) => path.clone(),
            None => find_or_build(&CAMPANILE)?,
        };
        let stamp = clock::now_ns();
        let log = std::env::temp_dir().join(format!("loadtest-{}-{stamp}.log", std::process::id()));
        let file = File::create(&log).attempt(&format!("create {}", log.display()))?;
        let errors = file.try_clone().attempt("duplicate the log's descriptor")?;

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

    /// Returns the gateway's address.
    pub(crate) const fn target(&self) -> &Target {
        &self.target
    }

    /// Returns the gateway's URL.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}{}", self.target.authority, self.target.path)
    }

    /// Returns the process id.
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
                    "the gateway exited ({status}) before it listened; it printed:\n{printed}"
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
        // If it fails, only a file in the temporary folder remains.
        let _removed = fs::remove_file(&self.log);
    }
}

/// Stops `child` with SIGTERM, and with SIGKILL after 2 s. Does nothing if it has exited.
pub(crate) fn stop(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return; // The kernel may have reused its process id.
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
    // Both fail only if the child has exited already.
    let _killed = child.kill();
    let _reaped = child.wait();
}

/// Replaces this process with `program` (`execve`), which is killed when the parent exits.
///
/// No gateway keeps running when the load test is killed.
///
/// # Errors
///
/// The program cannot be executed. On success the function does not return.
pub(crate) fn exec_tied(program: &[OsString]) -> Outcome<()> {
    limits::kill_with_parent()?;
    let [name, arguments @ ..] = program else {
        return Err(Failure::new("tied needs a program"));
    };
    let error = Command::new(name).args(arguments).exec();
    Err(error).attempt(&format!("run {}", name.display()))
}

/// Returns the path of an executable of the gateway. Builds it in release mode if it is missing.
///
/// # Errors
///
/// The build fails, or its executable is not found.
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
                "`{}` was built but is not beside {}; set its path with --gateway PATH",
                program.path,
                own.display()
            ))
        })
}

/// An executable of the gateway's package.
#[derive(Debug)]
pub(crate) struct Program {
    /// The path, relative to the folder of this executable.
    path: &'static str,
    /// The arguments of `cargo build`.
    build: &'static [&'static str],
}

/// The gateway.
pub(crate) const CAMPANILE: Program = Program {
    path: "campanile",
    build: &["--bin", "campanile"],
};

/// The example that embeds the gateway and publishes the bodies of requests to `/publish`.
pub(crate) const PUBLISHER: Program = Program {
    path: "examples/publisher",
    build: &["--example", "publisher"],
};

const START_NS_MAX: u64 = 10 * clock::SECOND_NS;
const POLL: Duration = Duration::from_millis(10);
const STOP_POLLS_COUNT: u32 = 200;
