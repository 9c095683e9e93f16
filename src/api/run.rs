//! Execution of calls. The calls of a batch run concurrently if they are independent.
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
//! A call is a command in the queue of one shard: its session's shard, or else the connection's.
//! Commands of one queue run in order, and a shard's publications reach each other shard in order.
//! So calls for the same queue need not wait for each other. A call for another queue waits for
//! earlier calls whose effects it could observe, or that could observe its own. So each call
//! observes all earlier calls. The results have the order of the calls.
//!
//! The number of calls in flight is limited to a share of the gateway's limits, so that a batch
//! alone never fails as too busy.

use super::RequestLimits;
use super::calls::{ApiCall, CallAction, CallRequest};
use super::problem::{Code, Problem, ProblemJson};
use super::response::ApiResponse;
use crate::handler::{Handle, HandleError, RouteHandle};
use crate::vocabulary::id::ShardId;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, ready};
use std::pin::Pin;

/// The result of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallOutcome {
    Delivered(u64),
    Joined(bool),
    Left(bool),
    Disconnected(u64),
}

impl CallRequest {
    /// Runs the calls in order.
    pub(super) async fn run(self, handle: &Handle, limits: &RequestLimits) -> ApiResponse {
        if self.is_batch {
            return response_of(&run_all(self.calls, handle, limits).await);
        }
        let call = self.calls.into_iter().next().expect("it is one");
        match call.run(handle, limits).await {
            Ok(done) => ApiResponse {
                may_be_processed: true,
                ..ApiResponse::new(200, &done)
            },
            Err(problem) => problem.response(),
        }
    }
}

/// Returns the response to a batch.
fn response_of(results: &[Result<CallOutcome, Problem>]) -> ApiResponse {
    #[derive(Serialize)]
    struct CallBatch<'r> {
        results: Vec<ResultJson<'r>>,
    }

    #[derive(Serialize)]
    #[serde(untagged)]
    enum ResultJson<'r> {
        Outcome(CallOutcome),
        Failed { error: ProblemJson<'r> },
    }

    let results_json = results.iter().map(|result| match result {
        Ok(done) => ResultJson::Outcome(*done),
        Err(problem) => ResultJson::Failed {
            error: problem.json(),
        },
    });
    let batch = CallBatch {
        results: results_json.collect(),
    };
    let may_be_processed = |result: &Result<CallOutcome, Problem>| match result {
        Ok(_) => true,
        Err(problem) => problem.code.may_be_processed(),
    };
    ApiResponse {
        may_be_processed: results.iter().any(may_be_processed),
        ..ApiResponse::new(200, &batch)
    }
}

/// Runs calls and returns their results in the same order.
async fn run_all(
    calls: Vec<ApiCall>,
    handle: &Handle,
    limits: &RequestLimits,
) -> Vec<Result<CallOutcome, Problem>> {
    // A session's route never changes, so check the routes before any call runs.
    let mut checks = Pipeline::new(limits.commands_at_once);
    for call in &calls {
        checks.make_room(&Effect::NONE).await;
        checks.push(Effect::NONE, call.check_route(handle, limits));
    }

    let mut pipeline = Pipeline::new(limits.calls_at_once);
    for (call, checked) in calls.into_iter().zip(checks.finish().await) {
        if let Err(problem) = checked {
            pipeline.push(Effect::NONE, Box::pin(ready(Err(problem))));
            continue;
        }
        let effect = Effect::of(&call.action, handle);
        pipeline.make_room(&effect).await;
        pipeline.push(effect, call.action.begin(handle, limits));
    }
    pipeline.finish().await
}

/// A future result. The operation runs whether or not it is awaited.
type InFlight<T> = Pin<Box<dyn Future<Output = T>>>;

/// Calls in flight, whose results are taken in order.
struct Pipeline<T> {
    in_flight: VecDeque<(Effect, InFlight<T>)>,
    /// The number of calls in the queue of each shard, for shards that have any.
    shards: BTreeMap<ShardId, usize>,
    results: Vec<T>,
    weight: usize,
    weight_max: usize,
}

impl<T> Pipeline<T> {
    fn new(weight_max: usize) -> Self {
        Self {
            in_flight: VecDeque::new(),
            shards: BTreeMap::new(),
            results: Vec::new(),
            weight: 0,
            weight_max,
        }
    }

    /// Waits until a call may begin: no call in flight must precede it, and the limit has room.
    async fn make_room(&mut self, effect: &Effect) {
        // The common case: all calls are in one queue.
        if self.shards.keys().any(|shard| Some(*shard) != effect.shard) {
            let mut earlier = self.in_flight.iter();
            let last = earlier.rposition(|(earlier, _)| effect.must_follow(earlier));
            for _ in 0..last.map_or(0, |last| last + 1) {
                self.take_oldest().await;
            }
        }
        while self.weight > 0 && self.weight + effect.weight > self.weight_max {
            self.take_oldest().await;
        }
    }

    fn push(&mut self, effect: Effect, result: InFlight<T>) {
        self.weight += effect.weight;
        if let Some(shard) = effect.shard {
            *self.shards.entry(shard).or_default() += 1;
        }
        self.in_flight.push_back((effect, result));
    }

    async fn take_oldest(&mut self) {
        if let Some((effect, result)) = self.in_flight.pop_front() {
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
        while !self.in_flight.is_empty() {
            self.take_oldest().await;
        }
        self.results
    }
}

/// The queue of a call and its observable effects.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Effect {
    /// The shard of the queue; `None` if the call uses no queue.
    shard: Option<ShardId>,
    scope: Scope,
    /// The number of count requests or commands in flight for the call.
    weight: usize,
}

/// The state that a call reads or changes.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Scope {
    /// One channel: its members and publications.
    Channel(Box<str>),
    /// The messages of one session only.
    Session,
    /// Any other state.
    Anything,
}

impl Effect {
    /// The effect of a call that changes nothing and that no call depends on.
    const NONE: Self = Self {
        shard: None,
        scope: Scope::Anything,
        weight: 1,
    };

    fn of(action: &CallAction, handle: &Handle) -> Self {
        let (shard, scope, weight) = match action {
            CallAction::Publish {
                routes, channel, ..
            } => {
                let scope = Scope::Channel(channel.as_str().into());
                (Some(handle.home()), scope, routes.namespaces_count())
            }
            CallAction::PushUser { routes, .. }
            | CallAction::Broadcast { routes, .. }
            | CallAction::DropUser { routes, .. } => {
                let weight = routes.namespaces_count();
                (Some(handle.home()), Scope::Anything, weight)
            }
            CallAction::PushSession { session, .. } => {
                (handle.shard_of(*session), Scope::Session, 1)
            }
            CallAction::Join { session, channel } | CallAction::Leave { session, channel } => {
                let scope = Scope::Channel(channel.as_str().into());
                (handle.shard_of(*session), scope, 1)
            }
            CallAction::Close { session, .. } => (handle.shard_of(*session), Scope::Anything, 1),
        };
        Self {
            shard,
            scope,
            weight,
        }
    }

    /// Returns whether a call with this effect must wait for an earlier one.
    fn must_follow(&self, earlier: &Self) -> bool {
        let (Some(shard), Some(before)) = (self.shard, earlier.shard) else {
            return false;
        };
        if shard == before {
            return false;
        }
        match (&self.scope, &earlier.scope) {
            (Scope::Channel(one), Scope::Channel(other)) => one == other,
            // Sessions on two shards are different sessions.
            (Scope::Session, Scope::Session) => false,
            (Scope::Channel(_) | Scope::Session | Scope::Anything, _) => true,
        }
    }
}

impl CallAction {
    /// Starts a call. Its command is in a shard's queue when this returns.
    fn begin(
        self,
        handle: &Handle,
        limits: &RequestLimits,
    ) -> InFlight<Result<CallOutcome, Problem>> {
        match self {
            Self::Publish {
                routes,
                channel,
                message,
                except,
            } => {
                let pending = routes.publish_except(channel, message, &except);
                in_flight(pending, limits, CallOutcome::Delivered)
            }
            Self::PushUser {
                routes,
                user,
                message,
            } => {
                let event: Box<str> = message.borrow().event.into();
                let pending = routes.push_user_for_event(&user, &event, message);
                in_flight(pending, limits, CallOutcome::Delivered)
            }
            Self::PushSession { session, message } => {
                let pending = handle.push_session(session, message);
                in_flight(pending, limits, CallOutcome::Delivered)
            }
            Self::Broadcast {
                routes,
                message,
                except,
            } => {
                let pending = routes.broadcast_except(message, &except);
                in_flight(pending, limits, CallOutcome::Delivered)
            }
            Self::Join { session, channel } => {
                in_flight(handle.join(session, channel), limits, CallOutcome::Joined)
            }
            Self::Leave { session, channel } => {
                in_flight(handle.leave(session, channel), limits, CallOutcome::Left)
            }
            Self::Close {
                session,
                code,
                reason,
            } => {
                let pending = handle.close(session, code, reason);
                in_flight(pending, limits, |()| CallOutcome::Disconnected(1))
            }
            Self::DropUser {
                routes,
                user,
                event,
            } => {
                let pending = routes.drop_user(user, event.as_deref());
                in_flight(pending, limits, CallOutcome::Disconnected)
            }
        }
    }
}

impl ApiCall {
    /// Runs a single call.
    ///
    /// # Errors
    ///
    /// The [`Problem`] of the call.
    async fn run(self, handle: &Handle, limits: &RequestLimits) -> Result<CallOutcome, Problem> {
        self.check_route(handle, limits).await?;
        self.action.begin(handle, limits).await
    }

    /// Checks that the call's session is of the route that the call names.
    fn check_route(
        &self,
        handle: &Handle,
        limits: &RequestLimits,
    ) -> InFlight<Result<(), Problem>> {
        let session = match &self.action {
            CallAction::PushSession { session, .. }
            | CallAction::Join { session, .. }
            | CallAction::Leave { session, .. }
            | CallAction::Close { session, .. } => *session,
            CallAction::Publish { .. }
            | CallAction::PushUser { .. }
            | CallAction::Broadcast { .. }
            | CallAction::DropUser { .. } => return Box::pin(ready(Ok(()))),
        };
        let Some(path) = self.on.as_ref().map(RouteHandle::path) else {
            return Box::pin(ready(Ok(())));
        };
        let path = path.to_owned();
        let request = with_timeout(handle.session(session), limits);
        Box::pin(async move {
            match request.await {
                Ok(info) if info.path == path => Ok(()),
                Ok(_) => Err(HandleError::NoSession.into()),
                // The check itself changes nothing, so the caller may retry.
                Err(problem) if problem.code == Code::TimedOut => Err(HandleError::Busy.into()),
                Err(problem) => Err(problem),
            }
        })
    }
}

fn in_flight<T: 'static>(
    pending: impl Future<Output = Result<T, HandleError>> + 'static,
    limits: &RequestLimits,
    done: impl FnOnce(T) -> CallOutcome + 'static,
) -> InFlight<Result<CallOutcome, Problem>> {
    let result = with_timeout(pending, limits);
    Box::pin(async move { result.await.map(done) })
}

/// Limits the wait for a result to the time within which shards must respond, from now on.
///
/// # Errors
///
/// The [`Problem`] of the operation, or [`Code::TimedOut`].
pub(super) fn with_timeout<T, F>(
    pending: F,
    limits: &RequestLimits,
) -> impl Future<Output = Result<T, Problem>> + use<T, F>
where
    F: Future<Output = Result<T, HandleError>>,
{
    let timed = tokio::time::timeout(limits.result_timeout, pending);
    async move {
        let result = timed.await.unwrap_or(Err(HandleError::TimedOut));
        result.map_err(Problem::from)
    }
}
