//! The embedder of the simulated gateway: its handlers, validators and handles.
//!
//! Handlers and validators sometimes wait, and run as tasks at random times. They report to the
//! model over a queue: the ids of sessions, and handled marks.

use crate::scenario::{CHANNELS, LOSSY};
use campanile::Gateway;
use campanile::channel_rules::SlowMembers;
use campanile::config::Config;
use campanile::gateway::{Builder, Simulation};
use campanile::handler::{
    Context, Failure, Gathered, Handle, HandleError, Joining, Message, Page, PageLimits, Pending,
    Reply, RouteHandle, Session, SessionInfo, Setup,
};
use campanile::host::{Host, Seeds};
use campanile::id::ShardId;
use campanile::mailbox::Exchange;
use campanile::public_id::PublicId;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Poll, Waker};
use tokio::runtime::Runtime;
use tokio::task::{LocalEnterGuard, LocalSet};

/// A report of a task to the model.
#[derive(Debug)]
pub(crate) enum Report {
    /// The session of the client with this token has opened.
    Opened { token: String, id: PublicId },
    /// The mark of the client with this token, and everything before it, has been handled.
    Marked { token: String, mark: usize },
}

/// A page of sessions that is being read.
type SessionsPage = Pending<Page<SessionInfo, PublicId>>;

/// A publication of a handler to its own session.
pub(crate) type OwnPush = (usize, Pending<u64>);

/// The runtime of the tasks, and one handle per shard.
pub(crate) struct Embedder {
    // Must be dropped before the tasks.
    _within: LocalEnterGuard,
    tasks: LocalSet,
    runtime: Runtime,
    reports: Receiver<Report>,
    own_pushes: Receiver<OwnPush>,
    handles: Vec<Handle>,
    simulation: Simulation,
}

impl Embedder {
    /// Creates an embedder of a gateway with this config. Its tasks run on this thread.
    pub(crate) fn new(config: Config, has_channels: bool, exchange: &Arc<Exchange>) -> Self {
        let tasks = LocalSet::new();
        let within = tasks.enter();
        let (sender, reports) = channel();
        let (push_sender, own_pushes) = channel();
        let builder = Gateway::builder(config);
        let builder = if has_channels {
            set_up(builder, sender, push_sender)
        } else {
            builder
        };
        let simulation = Simulation::new(builder, exchange).expect("valid");
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        // Each handle publishes through the next shard.
        let handles = (0..exchange.shards()).map(|_| simulation.handle());
        Self {
            _within: within,
            tasks,
            runtime: runtime.expect("a runtime without drivers"),
            reports,
            own_pushes,
            handles: handles.collect(),
            simulation,
        }
    }

    pub(crate) fn host(&self, index: usize, seeds: Seeds) -> Host {
        let host = self.simulation.host(ShardId::new(index), seeds);
        host.expect("it can be set up")
    }

    /// Runs tasks for `turns` turns.
    pub(crate) fn run_tasks(&self, turns: u32) {
        self.runtime.block_on(self.tasks.run_until(async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        }));
    }

    pub(crate) fn poll_report(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    pub(crate) fn poll_own_push(&self) -> Option<OwnPush> {
        self.own_pushes.try_recv().ok()
    }

    /// Returns the route for all publications, through a shard.
    pub(crate) fn route(&self, shard: usize) -> RouteHandle {
        let route = self.handles[shard].route("/easyws");
        route.expect("it is in the config")
    }

    /// Returns the route with presence messages.
    pub(crate) fn room(&self) -> RouteHandle {
        let route = self.handles[0].route("/projectforge");
        route.expect("it is in the config")
    }

    /// Starts to read a short page of all sessions.
    pub(crate) fn sessions_page(&self, after: Option<PublicId>) -> SessionsPage {
        let limits = PageLimits {
            items_max: 3,
            bytes_max: usize::MAX,
        };
        self.handles[0].all_routes().sessions_page(after, limits)
    }

    /// Starts to list the sessions of `wserver`.
    pub(crate) fn sessions(&self) -> Gathered<SessionInfo> {
        let route = self.handles[0].route("/ws").expect("it is in the config");
        route.sessions()
    }
}

/// Polls a future once; `None` if it is pending.
pub(crate) fn poll<F: Future + Unpin>(pending: &mut F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(Waker::noop());
    match Pin::new(pending).poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Returns `true` if the validator allows a client with this token to join its channel.
pub(crate) fn may_listen(token: &str) -> bool {
    !token.ends_with(['3', '7'])
}

fn set_up(builder: Builder, reports: Sender<Report>, own_pushes: Sender<OwnPush>) -> Builder {
    builder.shard(move |setup: &mut Setup| {
        for path in ["/easyws", "/edk", "/edk-yields"] {
            let reports = reports.clone();
            setup.route(path).on_open(move |session: Session| {
                let (token, id) = (token_of(&session), session.id());
                report(&reports, Report::Opened { token, id });
                wait(id.bytes()[0] % 3)
            });
        }
        let reports = reports.clone();
        let own_pushes = own_pushes.clone();
        let mut easyws = setup.route("/easyws");
        easyws
            .handle("mark", move |cx: Context| {
                let mark = cx.text().expect("a number").parse().expect("a number");
                let token = token_of(cx.session());
                report(&reports, Report::Marked { token, mark });
                async move { Reply::text(mark.to_string()) }
            })
            .handle("say", move |cx: Context| say(cx, own_pushes.clone()))
            .channel(CHANNELS[0])
            .channel(LOSSY)
            .slow_members(LOSSY, SlowMembers::DropNewest)
            .channel_with(CHANNELS[2], |joining: Joining| async move {
                let token = joining.token.expect("the cookie");
                wait(token.as_bytes()[1] % 4).await;
                if may_listen(&token) {
                    Ok(())
                } else {
                    Err(Failure::error("not you"))
                }
            });
    })
}

/// Publishes for a client: at once, to the others, to itself, on drop, or without waiting.
async fn say(cx: Context, own_pushes: Sender<OwnPush>) -> Result<Option<Reply>, HandleError> {
    let words: Vec<&str> = cx.text().expect("words").split(' ').collect();
    let [id, channel, how, padding] = words[..] else {
        panic!("{words:?}");
    };
    let message = || Message::text("push", format!("{id} {padding}"));
    match how {
        "drop" => {
            let _later = PublishesOnDrop {
                message: message(),
                channel: channel.into(),
                cx: cx.clone(),
            };
            wait(2).await;
            Ok(None)
        }
        "others" => {
            drop(cx.publish_to_others(channel, message()));
            Ok(None)
        }
        "self" => {
            wait(2).await;
            let push = (id.parse().expect("a number"), cx.push(message()));
            own_pushes.send(push).expect("the world outlives its tasks");
            Ok(Some(Reply::text(id)))
        }
        "wait" => {
            cx.publish(channel, message()).await?;
            Ok(Some(Reply::text(id)))
        }
        _ => {
            drop(cx.publish(channel, message()));
            wait(1).await;
            Ok(None)
        }
    }
}

/// A value that publishes when it is dropped, as an embedder's destructor may.
struct PublishesOnDrop {
    message: Message,
    channel: Box<str>,
    cx: Context,
}

impl Drop for PublishesOnDrop {
    fn drop(&mut self) {
        let pending: Pending<u64> = self.cx.publish(self.channel.clone(), self.message.clone());
        drop(pending);
    }
}

async fn wait(turns: u8) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

fn token_of(session: &Session) -> String {
    session.token().expect("everybody shows one").to_owned()
}

fn report(reports: &Sender<Report>, report: Report) {
    reports.send(report).expect("the world outlives its tasks");
}

impl fmt::Debug for Embedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedder")
            .field("handles", &self.handles)
            .finish_non_exhaustive()
    }
}
