//! The floor: the cost of the kernel alone for the same bytes, a baseline for the gateway's cost.
//!
//! `ring.rs` is the floor of throughput, a bare `io_uring` loop; `epoll.rs` is the floor of
//! latency. Both run in their own processes, so that their CPU time can be measured.

mod arguments;
pub(crate) mod epoll;
pub(crate) mod ring;

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

pub(crate) use self::arguments::{FloorArguments, FloorServerArguments};
use crate::cores::Cores;
use crate::failure::{Attempt as _, Failure, Outcome};
use crate::protocol::Name;
use crate::report::{Report, Table};
use crate::rounds::{self, Reader, ReaderOptions};
use crate::stats::{duration, median};
use crate::wire::Target;
use crate::{gateway, limits};

/// Runs the command: a row per second, then the median. Returns `false` if a message was wrong.
///
/// # Errors
///
/// The floor cannot be started, or its client process exits.
pub(crate) fn run(arguments: &FloorArguments) -> Outcome<bool> {
    let FloorArguments {
        clients,
        frames,
        bytes,
        seconds,
        ..
    } = *arguments;
    let cores = Cores::find()?;
    cores.pin_to_client()?;
    let mut report = Report::new("floor: the cost of the kernel alone");
    report.row("cores", cores.describe());

    let shape = Shape {
        clients,
        frames,
        publishers: frames,
        bytes,
    };
    let (_floor, mut reader) = start_with_reader(shape, &cores)?;
    let (mut costs, mut own) = (Vec::new(), Vec::new());
    let mut rows = Vec::new();
    for _ in 0..seconds {
        let round = reader.batches(frames, 1.0)?;
        costs.push(round.server_ns_each());
        own.push(round.client_ns_each());
        rows.push(vec![
            round.deliveries.to_string(),
            duration(round.server_ns_each()),
            duration(round.client_ns_each()),
            duration(round.p50_ns),
            duration(round.p99_ns),
        ]);
    }
    let heads = [
        "deliveries",
        "server CPU each",
        "client CPU each",
        "p50",
        "p99",
    ];
    report.table(Table {
        title: format!("to {clients} sockets, {frames} at a time, {bytes} bytes, a second each"),
        heads: heads.map(str::to_owned).to_vec(),
        rows,
    });
    let (cost, own) = (median(&costs), median(&own));
    report.row(
        "floor",
        format!("median {} of server CPU per delivery", duration(cost)),
    );
    let ceiling = 1e9 / own;
    let words = format!(
        "{} per delivery: at most {ceiling:.0} a second",
        duration(own)
    );
    report.row("client's limit", words);
    report.figure("server_cpu_ns_per_delivery", cost);
    report.figure("own_cpu_ns_per_delivery", own);
    let errors = reader.check()?.delivery_errors;
    if !errors.is_clean() {
        report.record_error(format!("delivery errors of the floor: {errors:?}"));
    }
    report.deliver(&arguments.destination)
}

/// The sizes of a floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Number of receiving sockets.
    pub(crate) clients: usize,
    /// Frames per send.
    pub(crate) frames: usize,
    /// Number of publishing connections, which share the frames equally.
    pub(crate) publishers: usize,
    /// Payload of a frame in bytes.
    pub(crate) bytes: usize,
}

/// Starts a floor and its client process, and waits until they are connected.
///
/// # Errors
///
/// One of them cannot be started.
pub(crate) fn start_with_reader(shape: Shape, cores: &Cores) -> Outcome<(Floor, Reader)> {
    let floor = Floor::start_ring(shape, cores)?;
    let reader = Reader::start(&ReaderOptions {
        clients: shape.clients,
        bytes: shape.bytes,
        publishers: shape.publishers,
        pipeline: shape.frames / shape.publishers,
        ..rounds::plain_options(&floor.url, floor.pid(), Name::Floor)
    })?;
    Ok((floor, reader))
}

/// A floor's process. Dropping it stops the process.
#[derive(Debug)]
pub(crate) struct Floor {
    child: Child,
    url: String,
}

impl Floor {
    /// Starts the `io_uring` loop that sends batches of frames to all sockets.
    ///
    /// # Errors
    ///
    /// The process cannot be started or exits; its standard error has the reason.
    pub(crate) fn start_ring(shape: Shape, cores: &Cores) -> Outcome<Self> {
        let sizes = [
            ("--clients", shape.clients),
            ("--frames", shape.frames),
            ("--publishers", shape.publishers),
            ("--bytes", shape.bytes),
        ];
        let sizes = sizes.map(|(name, size)| format!("{name}={size}"));
        let sizes = sizes.iter().map(String::as_str);
        let arguments: Vec<&str> = std::iter::once("floor-server").chain(sizes).collect();
        Self::start(&arguments, cores)
    }

    /// Starts the epoll loop that sends one frame per request.
    ///
    /// # Errors
    ///
    /// The process cannot be started or exits; its standard error has the reason.
    pub(crate) fn start_epoll(cores: &Cores) -> Outcome<Self> {
        Self::start(&["epoll-server"], cores)
    }

    /// Returns the floor's address.
    ///
    /// # Errors
    ///
    /// The process did not print a URL.
    pub(crate) fn target(&self) -> Outcome<Target> {
        Target::parse(&self.url)
    }

    /// Returns the process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn start(arguments: &[&str], cores: &Cores) -> Outcome<Self> {
        let own = std::env::current_exe().attempt("find this program's own executable")?;
        let mut command = Command::new(own);
        command.args(arguments).stdout(Stdio::piped());
        let mut child = cores.start_on_server(&mut command, "start the floor")?;
        let mut url = String::new();
        let printed = child.stdout.take().expect("it is piped");
        let read = BufReader::new(printed).read_line(&mut url);
        let floor = Self {
            child,
            url: url.trim_end().to_owned(),
        };
        match read.attempt("read from the floor")? {
            0 => Err(Failure::new("the floor exited before it listened")),
            _ => Ok(floor),
        }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        gateway::stop(&mut self.child);
    }
}

/// Listens on a free port of loopback and prints the URL for the parent. The backlog holds 4,096
/// connections.
fn listen() -> Outcome<(TcpListener, Target)> {
    limits::kill_with_parent()?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).attempt("listen on loopback")?;
    rustix::net::listen(&listener, BACKLOG).attempt("listen on loopback")?;
    let address = listener.local_addr().attempt("get the port")?;
    let url = format!("ws://{address}/ws");
    println!("{url}");
    Ok((listener, Target::parse(&url)?))
}

const BACKLOG: i32 = 4096;
