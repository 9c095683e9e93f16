//! Carries out the calls of a request: those of a batch together, where neither needs the other.
//!
//! ```text
//!   two shards; the connection and session A are on the first, B is on the second
//!
//!   publish "x"   publish "y"   join A "x"   publish "x"   join B "x"   publish "x"
//!   |------------------- in one queue ------------------|
//!                                      when those are done |--------|
//!                                                   when B is on "x" |-----------|
//! ```
//!
//! A call is a command in the queue of one shard: that of the session that it is about, or else the
//! connection's own. Commands of one queue are done in order, and what a shard publishes reaches
//! each of the others in order, so calls of one queue go out without waiting. A call for another
//! queue waits for those before it that it could notice, or that could notice it. Each call sees
//! what those before it did, and results have the order of the calls.
//!
//! How many are under way at once is bounded by a part of what the gateway has room for, so that a
//! batch by itself is never told that there is too much to do.

use super::Bounds;
use super::calls::{Act, Asked, Call};
use super::problem::{Code, Problem, ProblemJson};
use super::response::ApiResponse;
use crate::handler::{Handle, HandleError, RouteHandle};
use crate::vocabulary::id::ShardId;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, ready};
use std::pin::Pin;

/// What has come of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Done {
    Delivered(u64),
    Joined(bool),
    Left(bool),
    Disconnected(u64),
}

impl Asked {
    /// Does what is asked, in order.
    pub(super) async fn run(self, handle: &Handle, bounds: &Bounds) -> ApiResponse {
        if self.is_batch {
            return response_of(&run_all(self.calls, handle, bounds).await);
        }
        let call = self.calls.into_iter().next().expect("it is one");
        match call.run(handle, bounds).await {
            Ok(done) => ApiResponse {
                is_open: true,
                ..ApiResponse::new(200, &done)
            },
            Err(problem) => problem.response(),
        }
    }
}

/// The answer to a batch.
fn response_of(results: &[Result<Done, Problem>]) -> ApiResponse {
    #[derive(Serialize)]
    struct Batch<'r> {
        results: Vec<ResultJson<'r>>,
    }

    #[derive(Serialize)]
    #[serde(untagged)]
    enum ResultJson<'r> {
        Done(Done),
        Failed { error: ProblemJson<'r> },
    }

    let spelled = results.iter().map(|result| match result {
        Ok(done) => ResultJson::Done(*done),
        Err(problem) => ResultJson::Failed {
            error: problem.json(),
        },
    });
    let batch = Batch {
        results: spelled.collect(),
    };
    let is_open = |result: &Result<Done, Problem>| match result {
        Ok(_) => true,
        Err(problem) => problem.code.is_open(),
    };
    ApiResponse {
        is_open: results.iter().any(is_open),
        ..ApiResponse::new(200, &batch)
    }
}

/// Runs calls; the results have their order.
async fn run_all(calls: Vec<Call>, handle: &Handle, bounds: &Bounds) -> Vec<Result<Done, Problem>> {
    // A session is of one route as long as it lives, so that can be looked at before all else.
    let mut checks = Pipeline::new(bounds.commands_at_once);
    for call in &calls {
        checks.make_room(&Effect::NONE).await;
        checks.push(Effect::NONE, call.check_route(handle, bounds));
    }

    let mut pipeline = Pipeline::new(bounds.calls_at_once);
    for (call, checked) in calls.into_iter().zip(checks.finish().await) {
        if let Err(problem) = checked {
            pipeline.push(Effect::NONE, Box::pin(ready(Err(problem))));
            continue;
        }
        let effect = Effect::of(&call.act, handle);
        pipeline.make_room(&effect).await;
        pipeline.push(effect, call.act.begin(handle, bounds));
    }
    pipeline.finish().await
}

/// A result that is on its way, whether or not anybody waits.
type UnderWay<T> = Pin<Box<dyn Future<Output = T>>>;

/// Calls under way, whose results are taken in order.
struct Pipeline<T> {
    under_way: VecDeque<(Effect, UnderWay<T>)>,
    /// How many of them are in the queue of each shard, for shards that have any.
    shards: BTreeMap<ShardId, usize>,
    results: Vec<T>,
    weight: usize,
    weight_max: usize,
}

impl<T> Pipeline<T> {
    fn new(weight_max: usize) -> Self {
        Self {
            under_way: VecDeque::new(),
            shards: BTreeMap::new(),
            results: Vec::new(),
            weight: 0,
            weight_max,
        }
    }

    /// Waits until a call may begin: until none is under way that it has to wait for, and there is
    /// room for it.
    async fn make_room(&mut self, effect: &Effect) {
        // Nearly always all are in one queue.
        if self.shards.keys().any(|shard| Some(*shard) != effect.shard) {
            let mut earlier = self.under_way.iter();
            let last = earlier.rposition(|(earlier, _)| effect.must_follow(earlier));
            for _ in 0..last.map_or(0, |last| last + 1) {
                self.take_oldest().await;
            }
        }
        while self.weight > 0 && self.weight + effect.weight > self.weight_max {
            self.take_oldest().await;
        }
    }

    fn push(&mut self, effect: Effect, result: UnderWay<T>) {
        self.weight += effect.weight;
        if let Some(shard) = effect.shard {
            *self.shards.entry(shard).or_default() += 1;
        }
        self.under_way.push_back((effect, result));
    }

    async fn take_oldest(&mut self) {
        if let Some((effect, result)) = self.under_way.pop_front() {
            self.weight -= effect.weight;
            if let Some(shard) = effect.shard {
                let count = self.shards.get_mut(&shard).expect("counted when it began");
                *count -= 1;
                if *count == 0 {
                    self.shards.remove(&shard);
                }
            }
            self.results.push(result.await);
        }
    }

    async fn finish(mut self) -> Vec<T> {
        while !self.under_way.is_empty() {
            self.take_oldest().await;
        }
        self.results
    }
}

/// Where a call goes, and what of it others could notice.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Effect {
    /// The shard whose queue it is in; `None` if it is in none.
    shard: Option<ShardId>,
    scope: Scope,
    /// How many totals or commands it has under way.
    weight: usize,
}

/// What a call has to do with.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Scope {
    /// One channel: who is on it, or hears it.
    Channel(Box<str>),
    /// What one session hears, and nothing else.
    Session,
    /// More than that.
    Anything,
}

impl Effect {
    /// That of a call that does nothing, or a question that nothing depends on.
    const NONE: Self = Self {
        shard: None,
        scope: Scope::Anything,
        weight: 1,
    };

    fn of(act: &Act, handle: &Handle) -> Self {
        let (shard, scope, weight) = match act {
            Act::Publish {
                routes, channel, ..
            } => {
                let scope = Scope::Channel(channel.as_str().into());
                (Some(handle.home()), scope, routes.namespaces_count())
            }
            Act::PushUser { routes, .. }
            | Act::Broadcast { routes, .. }
            | Act::DropUser { routes, .. } => {
                let weight = routes.namespaces_count();
                (Some(handle.home()), Scope::Anything, weight)
            }
            Act::PushSession { session, .. } => (handle.shard_of(*session), Scope::Session, 1),
            Act::Join { session, channel } | Act::Leave { session, channel } => {
                let scope = Scope::Channel(channel.as_str().into());
                (handle.shard_of(*session), scope, 1)
            }
            Act::Close { session, .. } => (handle.shard_of(*session), Scope::Anything, 1),
        };
        Self {
            shard,
            scope,
            weight,
        }
    }

    /// Whether a call with this effect may begin only when an earlier one is done.
    fn must_follow(&self, earlier: &Self) -> bool {
        let (Some(shard), Some(before)) = (self.shard, earlier.shard) else {
            return false;
        };
        if shard == before {
            return false;
        }
        match (&self.scope, &earlier.scope) {
            (Scope::Channel(one), Scope::Channel(other)) => one == other,
            // Sessions of two shards are two.
            (Scope::Session, Scope::Session) => false,
            (Scope::Channel(_) | Scope::Session | Scope::Anything, _) => true,
        }
    }
}

impl Act {
    /// Begins a call: what it does is in the queue of a shard when this returns.
    fn begin(self, handle: &Handle, bounds: &Bounds) -> UnderWay<Result<Done, Problem>> {
        match self {
            Self::Publish {
                routes,
                channel,
                message,
                except,
            } => {
                let pending = routes.publish_except(channel, message, &except);
                under_way(pending, bounds, Done::Delivered)
            }
            Self::PushUser {
                routes,
                user,
                message,
            } => {
                let event: Box<str> = message.borrow().event.into();
                let pending = routes.push_user_for_event(&user, &event, message);
                under_way(pending, bounds, Done::Delivered)
            }
            Self::PushSession { session, message } => {
                let pending = handle.push_session(session, message);
                under_way(pending, bounds, Done::Delivered)
            }
            Self::Broadcast {
                routes,
                message,
                except,
            } => {
                let pending = routes.broadcast_except(message, &except);
                under_way(pending, bounds, Done::Delivered)
            }
            Self::Join { session, channel } => {
                under_way(handle.join(session, channel), bounds, Done::Joined)
            }
            Self::Leave { session, channel } => {
                under_way(handle.leave(session, channel), bounds, Done::Left)
            }
            Self::Close {
                session,
                code,
                reason,
            } => {
                let pending = handle.close(session, code, reason);
                under_way(pending, bounds, |()| Done::Disconnected(1))
            }
            Self::DropUser {
                routes,
                user,
                event,
            } => {
                let pending = routes.drop_user(user, event.as_deref());
                under_way(pending, bounds, Done::Disconnected)
            }
        }
    }
}

impl Call {
    /// Runs a call that is no other's neighbour.
    async fn run(self, handle: &Handle, bounds: &Bounds) -> Result<Done, Problem> {
        self.check_route(handle, bounds).await?;
        self.act.begin(handle, bounds).await
    }

    /// Sees that the session is one of the route that is named, which it is as long as it lives.
    fn check_route(&self, handle: &Handle, bounds: &Bounds) -> UnderWay<Result<(), Problem>> {
        let session = match &self.act {
            Act::PushSession { session, .. }
            | Act::Join { session, .. }
            | Act::Leave { session, .. }
            | Act::Close { session, .. } => *session,
            Act::Publish { .. }
            | Act::PushUser { .. }
            | Act::Broadcast { .. }
            | Act::DropUser { .. } => return Box::pin(ready(Ok(()))),
        };
        let Some(path) = self.on.as_ref().map(RouteHandle::path) else {
            return Box::pin(ready(Ok(())));
        };
        let path = path.to_owned();
        let asked = bounded(handle.session(session), bounds);
        Box::pin(async move {
            match asked.await {
                Ok(info) if info.path == path => Ok(()),
                Ok(_) => Err(HandleError::NoSession.into()),
                // Nothing was done yet, whatever has become of this question.
                Err(problem) if problem.code == Code::TimedOut => Err(HandleError::Busy.into()),
                Err(problem) => Err(problem),
            }
        })
    }
}

fn under_way<T: 'static>(
    pending: impl Future<Output = Result<T, HandleError>> + 'static,
    bounds: &Bounds,
    done: impl FnOnce(T) -> Done + 'static,
) -> UnderWay<Result<Done, Problem>> {
    let result = bounded(pending, bounds);
    Box::pin(async move { result.await.map(done) })
}

/// Waits for a result, for as long as shards have to answer, which counts from now.
pub(super) fn bounded<T, F>(
    pending: F,
    bounds: &Bounds,
) -> impl Future<Output = Result<T, Problem>> + use<T, F>
where
    F: Future<Output = Result<T, HandleError>>,
{
    let timed = tokio::time::timeout(bounds.result_timeout, pending);
    async move {
        let result = timed.await.unwrap_or(Err(HandleError::TimedOut));
        result.map_err(Problem::from)
    }
}
