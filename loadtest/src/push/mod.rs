//! `loadtest push`: pushes on a schedule, judges every delivery, reports what it cost.
//!
//! One thread runs everything: the sessions (`sessions.rs`), the publishers (`publishers.rs`) and
//! the schedule (here). What they count is in one ledger; what it means is decided in `judge.rs`.

mod judge;
mod ledger;
pub(crate) mod message;
mod publishers;
mod report;
mod schedule;
mod sessions;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};

use self::ledger::{Ledger, Sizes};
use self::publishers::{Publisher, Push};
use self::report::{Costs, Report};
use self::schedule::Schedule;
use self::sessions::SharedLedger;
use crate::cli::PushArguments;
use crate::clock;
use crate::cores::Cores;
use crate::failure::{Attempt as _, Outcome};
use crate::gateway::{Gateway, GatewayOptions};
use crate::limits;
use crate::procfs;
use crate::progress::Progress;
use crate::wire::Target;

/// Runs the command; `true` when nothing was lost, duplicated, reordered or otherwise wrong.
///
/// # Errors
///
/// The gateway could not be started or reached, or a session could not be opened.
pub(crate) fn run(arguments: &PushArguments) -> Outcome<bool> {
    limits::make_room_for(arguments.clients + arguments.connections)?;
    let cores = Cores::find()?;
    let (target, gateway) = if let Some(url) = &arguments.target {
        (Target::parse(url)?, None)
    } else {
        let options = GatewayOptions {
            executable: arguments.gateway.gateway.clone(),
            config: arguments.gateway.config.clone(),
            shards: arguments.shards,
            port: 0,
        };
        let gateway = Gateway::start(&options, &cores)?;
        (gateway.target().clone(), Some(gateway))
    };
    let pid = gateway.as_ref().map(Gateway::pid).or(arguments.pid);
    let placing = gateway.as_ref().map(|_| cores.describe());

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .attempt("start the runtime")?;
    let report = LocalSet::new().block_on(&runtime, run_on(arguments, &target, pid))?;
    report.print(arguments, &target, placing.as_deref());
    Ok(report.is_clean())
}

async fn run_on(arguments: &PushArguments, target: &Target, pid: Option<u32>) -> Outcome<Report> {
    let sizes = Sizes {
        clients: arguments.clients,
        users: arguments.users.unwrap_or(arguments.clients),
        publishers: arguments.connections,
        message_bytes: arguments.bytes,
    };
    let ledger: SharedLedger = Rc::new(RefCell::new(Ledger::new(sizes)));
    let memory = || pid.map(procfs::anonymous_bytes).transpose();

    // Publishers first: what they cost the gateway is not the sessions' memory.
    let mut publishers = connect_publishers(arguments, target).await?;
    let memory_before = memory()?;
    let opening = clock::now_ns();
    sessions::open_all(
        target,
        &arguments.event,
        sizes.clients,
        sizes.users,
        &ledger,
    )
    .await?;
    let opening_ns = clock::now_ns() - opening;
    for user in 0..sizes.users {
        publishers[0].probe(user, sizes.sessions_of(user)).await?;
    }
    tokio::time::sleep(SETTLE).await;
    let memory_after = memory()?;

    let cpu_before = pid.map(procfs::cpu_ns).transpose()?;
    let own_before = procfs::cpu_ns(std::process::id())?;
    let started_ns = clock::now_ns();
    ledger.borrow_mut().started_ns = started_ns;
    let schedule = Schedule::new(arguments.rate, arguments.seconds);
    push_all(schedule, sizes, publishers, &ledger).await?;
    drain(&ledger).await;
    let running_ns = clock::now_ns() - started_ns;

    ledger.borrow_mut().finishing = true;
    let costs = Costs {
        opening_ns,
        running_ns,
        memory_before,
        memory_after,
        gateway_cpu_ns: pid
            .zip(cpu_before)
            .map(|(pid, before)| procfs::cpu_since_ns(pid, before))
            .transpose()?,
        own_cpu_ns: procfs::cpu_since_ns(std::process::id(), own_before)?,
    };
    Ok(Report::new(&ledger.borrow(), costs))
}

/// Connects the publishers and lets each push once, to nobody.
async fn connect_publishers(arguments: &PushArguments, target: &Target) -> Outcome<Vec<Publisher>> {
    let mut publishers = Vec::new();
    for _ in 0..arguments.connections {
        let mut publisher = Publisher::connect(target, &arguments.event).await?;
        publisher.probe(0, 0).await?;
        publishers.push(publisher);
    }
    Ok(publishers)
}

/// Hands every push to its publisher when it is due.
async fn push_all(
    schedule: Schedule,
    sizes: Sizes,
    publishers: Vec<Publisher>,
    ledger: &SharedLedger,
) -> Outcome<()> {
    let mut queues: Vec<UnboundedSender<Push>> = Vec::new();
    for publisher in publishers {
        let (sender, queue) = unbounded_channel();
        queues.push(sender);
        let ledger = Rc::clone(ledger);
        drop(spawn_local(publisher.serve(
            queue,
            sizes.message_bytes,
            ledger,
        )));
    }

    let started_ns = ledger.borrow().started_ns;
    let alarm = Alarm::new()?;
    let mut progress = Progress::new("pushes", schedule.total());
    for index in 0..schedule.total() {
        let due_ns = schedule.due_ns(index);
        if clock::now_ns() < started_ns + due_ns {
            alarm.wait_until(started_ns + due_ns).await?;
        }
        let publisher = index_in(index, sizes.publishers);
        let user = index_in(index, sizes.users);
        let sessions = sizes.sessions_of(user);
        let stamp = {
            let mut ledger = ledger.borrow_mut();
            ledger.owed += sessions;
            ledger.stamp(publisher, user, due_ns)
        };
        // A publisher's task ends only after its queue, so the queue is always there.
        queues[publisher]
            .send(Push { stamp, sessions })
            .attempt("hand a push to its publisher")?;
        progress.at(index + 1, clock::now_ns(), || {
            format!("{} delivered", ledger.borrow().delivered)
        });
        if index % YIELD_EVERY == 0 {
            tokio::task::yield_now().await; // a schedule far behind must not starve the sessions
        }
    }
    progress.finish();
    Ok(())
}

/// Waits until all is answered and delivered, or nothing has moved for three seconds.
async fn drain(ledger: &SharedLedger) {
    let mut last = (0, 0);
    let mut still = 0;
    loop {
        let (now, is_complete) = {
            let ledger = ledger.borrow();
            let is_complete = ledger.delivered >= ledger.owed && ledger.answered == ledger.pushed;
            ((ledger.delivered, ledger.answered), is_complete)
        };
        still = if now == last { still + 1 } else { 0 };
        last = now;
        // Also when all is there: a duplicate may be on its way.
        let still_max = if is_complete {
            COMPLETE_STILL_MAX
        } else {
            DRAIN_STILL_MAX
        };
        if still >= still_max {
            return;
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

fn index_in(index: u64, length: usize) -> usize {
    usize::try_from(index % crate::stats::count(length)).expect("below a usize")
}

/// Wakes at a moment to within the kernel's precision; tokio's timers count whole milliseconds.
struct Alarm(AsyncFd<std::os::fd::OwnedFd>);

impl Alarm {
    fn new() -> Outcome<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).attempt("make a timer")?;
        #[expect(
            deprecated,
            reason = "nobody else can close the timer's descriptor; what replaces this is unsafe"
        )]
        let watched = AsyncFd::with_interest(timer, Interest::READABLE).attempt("watch a timer")?;
        Ok(Self(watched))
    }

    async fn wait_until(&self, moment_ns: u64) -> Outcome<()> {
        let once = Itimerspec {
            it_interval: clock::timespec(0),
            it_value: clock::timespec(moment_ns),
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &once)
            .attempt("set the timer")?;
        loop {
            let mut ready = self.0.readable().await.attempt("wait for the timer")?;
            let read = ready.try_io(|timer| {
                let mut expirations = [0; 8];
                Ok(rustix::io::read(timer.get_ref(), &mut expirations)?)
            });
            if let Ok(read) = read {
                return read.map(|_| ()).attempt("read the timer");
            }
        }
    }
}

const SETTLE: Duration = Duration::from_secs(1);
const DRAIN_POLL: Duration = Duration::from_millis(20);
const DRAIN_STILL_MAX: u32 = 150;
const COMPLETE_STILL_MAX: u32 = 5;
const YIELD_EVERY: u64 = 64;
