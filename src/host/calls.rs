//! Requests of the shard to an embedder's code, and their results.
//!
//! Each function of an embedder's runs as a local task of the shard's runtime. Its result goes
//! through the shard's command queue, behind the commands that the function has issued.

use super::Host;
use crate::handler::{
    Admitted, CallChain, CloseRequest, Context, Guarded, Joining, Label, LocalFuture, Next, Pass,
    Registered, Session, SessionFn, SessionResponse, SessionState, ShardCommands, ValidateFn,
    Watch,
};
use crate::logging::limited;
use crate::runtime::panic::Panicked;
use crate::shard::{HostRequest, HostRequestKind, HostResponse, Location, OwnedCall};
use crate::vocabulary::content::{Cause, Correlation, Failure, Outcome, Reply};
use crate::vocabulary::id::{ConnectionId, SessionId};
use crate::vocabulary::metrics::RejectionKind;
use crate::ws::MessageType;
use bytes::Bytes;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};

impl Host {
    /// Handles the shard's requests to its host. The shard is not borrowed while they run.
    pub(super) fn handle_host_requests(&mut self) {
        while let Some(request) = self.shard.poll_host_request() {
            let HostRequest {
                session,
                route,
                kind,
            } = request;
            match kind {
                HostRequestKind::User {
                    token,
                    event,
                    correlation,
                } => self.authenticate_user(session, route, (token, event), correlation),
                HostRequestKind::Join { correlation } => {
                    let namespace = self.settings.routes[usize::from(route)].namespace;
                    self.authorize_join(session, namespace, correlation);
                }
                HostRequestKind::Publish {
                    publish,
                    correlation,
                } => {
                    let namespace = self.settings.routes[usize::from(route)].namespace;
                    self.authorize_publish(session, namespace, publish, correlation);
                }
                HostRequestKind::Call(request) => self.call(session, request),
            }
        }
        self.process_ended_sessions();
    }

    fn authenticate_user(
        &mut self,
        session: SessionId,
        route: u16,
        (token, event): (Box<str>, Box<str>),
        correlation: Correlation,
    ) {
        let registry = Rc::clone(&self.registry);
        let Some(function) = &registry.routes[usize::from(route)].authenticate else {
            let response = HostResponse::User {
                user: None,
                event,
                correlation,
            };
            self.shard.handle_host_response(session, &response);
            return;
        };
        let tasks = self.state_of(session).as_ref().map(Tasks::begin);
        let bytes = CALL_BYTES + token.len() + event.len() + correlation.bytes_count();
        self.begin_work(bytes);
        let (function, label) = (Rc::clone(&function.function), function.label);
        let future = Box::pin(async move { function(token).await });
        self.run(label, future, move |host, user| {
            let user = user.ok().flatten().map(String::into_boxed_str);
            host.end_work(bytes);
            let response = HostResponse::User {
                user,
                event,
                correlation,
            };
            host.finish(session, response);
            if let Some(tasks) = tasks {
                tasks.end(host);
            }
        });
    }

    /// Runs a validator for a session's join or publish, then `done` with its reply, or with `None`
    /// if it denies. A panic of the validator is a denial. `subject` is the channel, and the number
    /// of bytes that `done` keeps besides.
    pub(super) fn authorize(
        &mut self,
        state: &Rc<SessionState>,
        validator: Registered<ValidateFn>,
        (channel, kept_bytes): (Box<str>, usize),
        done: impl FnOnce(&mut Self, Option<Reply>) + 'static,
    ) {
        let bytes = CALL_BYTES + 2 * channel.len() + kept_bytes;
        let reply = Rc::default();
        let joining = Joining {
            channel,
            session: Some(Session::new(Rc::clone(state))),
            user: state.user.clone(),
            token: state.token.clone(),
            profile: state.profile.clone(),
            values: Rc::clone(&state.values),
            reply: Rc::clone(&reply),
        };
        let tasks = Tasks::begin(state);
        self.begin_work(bytes);
        let label = validator.label;
        let future: LocalFuture<bool> = Box::pin(async move {
            let result = (validator.function)(joining).await;
            if let Err(failure) = &result {
                tracing::debug!(
                    reason = failure.text(),
                    "a validator denied a join or publish"
                );
            }
            result.is_ok()
        });
        self.run(label, future, move |host, allowed| {
            host.end_work(bytes);
            let allowed = allowed.unwrap_or(false);
            done(host, allowed.then(|| reply.take()));
            tasks.end(host);
        });
    }

    fn call(&mut self, session: SessionId, request: OwnedCall) {
        let Some(state) = self.state_of(session) else {
            let correlation = request.correlation;
            let outcome = Outcome::NotHandled;
            self.shard.handle_host_response(
                session,
                &HostResponse::Call {
                    outcome,
                    correlation,
                },
            );
            return;
        };
        let tasks = Tasks::begin(&state);
        let echo = request.correlation.bytes_count();
        let bytes = echo + request.from.len() + request.data.as_ref().map_or(0, Bytes::len);
        // The part that the response repeats is stored twice.
        let work_bytes = CALL_BYTES + bytes + echo;
        state.calls_bytes.set(state.calls_bytes.get() + bytes);
        self.begin_work(work_bytes);
        let mut future = self.chain(state, request);
        let done = move |host: &mut Self, call_result: CallResult| {
            let of_session = &tasks.0.calls_bytes;
            of_session.set(of_session.get() - bytes);
            host.end_work(work_bytes);
            host.finish_call(session, call_result);
            tasks.end(host);
        };
        // Most handlers do not wait: poll once before paying for a task.
        let mut cx = std::task::Context::from_waker(Waker::noop());
        match future.as_mut().poll(&mut cx) {
            Poll::Pending => self.spawn(future, move |host, call_result| {
                done(host, call_result);
                host.resume_session(session);
            }),
            Poll::Ready(call_result) if self.handle.commands().has_commands(self.id) => {
                // Commands that its handlers issued run first.
                self.finish_behind(move |host| {
                    done(host, call_result);
                    host.resume_session(session);
                });
            }
            Poll::Ready(call_result) => done(self, call_result),
        }
    }

    /// Returns a call's outcome to its client, then closes the session if a handler asked for that.
    fn finish_call(&mut self, session: SessionId, call_result: CallResult) {
        let CallResult {
            outcome,
            correlation,
            close_request,
        } = call_result;
        let response = SessionResponse {
            greeting: None,
            response: HostResponse::Call {
                outcome,
                correlation,
            },
            close_request,
        };
        self.respond(session, response, Pass::First);
    }

    /// Applies a response, or passes it on to the shard of its session.
    pub(super) fn respond(&mut self, session: SessionId, response: SessionResponse, pass: Pass) {
        let Some(id) = self.shard.find_session(session) else {
            self.respond_elsewhere(session, response, pass);
            return;
        };
        let SessionResponse {
            greeting,
            response,
            close_request,
        } = response;
        if let HostResponse::Call {
            outcome: Outcome::Denied(denial),
            ..
        } = &response
            && self
                .state_of(session)
                .is_some_and(|state| !state.take_denial())
        {
            self.reject(session, RejectionKind::Command, denial.label());
        }
        if let Some((correlation, outcome)) = greeting {
            self.shard.enqueue_outcome(id, &correlation, &outcome);
        }
        self.shard.handle_host_response(session, &response);
        if let Some((code, reason)) = close_request {
            self.close(session, code, &reason);
        }
    }

    /// Passes a response on to the shard of its session.
    #[cold]
    fn respond_elsewhere(&mut self, session: SessionId, response: SessionResponse, pass: Pass) {
        if let Some(Location::There(to)) = self.shard.locate(session)
            && pass == Pass::First
        {
            let pass = Pass::by(self.id, session);
            let command = move |shard: &mut dyn ShardCommands| {
                shard.respond_here(session, response, pass);
            };
            self.pass_on(to, Box::new(command));
        }
    }

    /// Applies a response and resumes the session's input.
    pub(super) fn finish(&mut self, session: SessionId, response: HostResponse) {
        let response = SessionResponse {
            greeting: None,
            response,
            close_request: None,
        };
        self.respond(session, response, Pass::First);
        self.resume_session(session);
    }

    /// Runs `then` after the commands queued so far.
    fn finish_behind(&mut self, then: impl FnOnce(&mut Self) + 'static) {
        self.tasks_count += 1;
        self.done.borrow_mut().push_back(Box::new(then));
        let commands = self.handle.commands();
        commands.enqueue_unchecked(self.id, Box::new(|shard| shard.run_next_completion()));
    }

    /// Builds the future of a call: message observers, middleware, handler.
    fn chain(&self, state: Rc<SessionState>, request: OwnedCall) -> LocalFuture<CallResult> {
        let CallChain {
            chain,
            label,
            is_handled,
        } = self.registry.chain(&state, &request.correlation.command);
        let observers = self.registry.route_of(&state).on_message.clone();
        let watch = self.watch.clone();
        Box::pin(async move {
            let correlation = request.correlation.clone();
            let cx = Context::new(Session::new(state), request);
            let call = cx.clone();
            let next = Next::new(chain);
            let is_observed = !observers.is_empty();
            let work = Box::pin(async move {
                let mut last = None;
                for observer in observers {
                    last = (observer.function)(cx.clone()).await?.or(last);
                }
                next.run(cx).await.map(|reply| reply.or(last))
            });
            let outcome = match Guarded::new(work, label, &watch).await {
                Ok(Ok(Some(reply))) => Outcome::Replied(reply),
                Ok(Ok(None)) if is_handled || is_observed => Outcome::Silent,
                Ok(Ok(None)) => Outcome::NotHandled,
                Ok(Err(failure)) => match failure.cause() {
                    Cause::Denied(denial) => Outcome::Denied(denial),
                    Cause::Chosen | Cause::Error | Cause::Panic => Outcome::Failed(failure),
                },
                Err(_) => Outcome::Failed(Failure::panicked()),
            };
            if let Outcome::Failed(failure) = &outcome {
                let (handler, reason) = (watch.label(label), failure.text());
                let public_id = call.session_id();
                match failure.cause() {
                    Cause::Chosen => {
                        tracing::debug!(%handler, reason, %public_id, "a handler failed");
                    }
                    Cause::Error => {
                        limited!(INFO, "a handler failed", %handler, reason, %public_id);
                    }
                    Cause::Panic => limited!(WARN, "a handler panicked", %handler, %public_id),
                    Cause::Denied(_) => unreachable!("it is an outcome of its own"),
                }
            }
            CallResult {
                outcome,
                correlation,
                close_request: call.take_close_request(),
            }
        })
    }

    /// Creates the state of a session that has opened on a route with handlers.
    pub(super) fn begin_session(
        &mut self,
        id: ConnectionId,
        admitted: Admitted,
        session: SessionId,
    ) -> Rc<SessionState> {
        let route = self.shard.route_of(id).expect("it has just opened");
        let info = &self.handle.routes()[usize::from(route)];
        let number = info.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let admission = admitted.admission;
        let state = Rc::new(SessionState {
            session,
            public_id: self.shard.public_id(id).expect("it has just opened"),
            address: self.context.peer(id).map(Box::new),
            number,
            route: self.handle.route_at(usize::from(route)),
            user: admission.user,
            token: admitted.token,
            profile: admission.profile,
            values: admission.values,
            handler: admission.handler,
            tasks: Cell::new(0),
            calls_bytes: Cell::new(0),
            denials: Cell::new(0),
            ended: Cell::new(false),
        });
        if self.sessions.len() <= id.index() {
            self.sessions.resize_with(id.index() + 1, || None);
        }
        self.sessions[id.index()] = Some(Rc::clone(&state));
        state
    }

    /// Returns whether functions run before the first message of a session of this route.
    pub(super) fn opens(&self, route: u16) -> bool {
        let registry = &self.registry.routes[usize::from(route)];
        let dialect = self.settings.routes[usize::from(route)].dialect;
        let open_command = dialect.spec().open_command;
        !registry.on_open.is_empty()
            || open_command.is_some_and(|command| registry.handlers.contains_key(command))
    }

    /// Runs the functions that precede the first message of a session: those of `on_open`, then the
    /// dialect's opening command.
    pub(super) fn open_session(&mut self, state: &Rc<SessionState>) {
        let registry = Rc::clone(&self.registry);
        let route = registry.route_of(state);
        let session = state.session;
        let dialect = self.settings.routes[state.route.index()].dialect;
        let command = dialect.spec().open_command;
        let command = command.filter(|&command| route.handlers.contains_key(command));
        let opening = command.map(|command| {
            let request = OwnedCall {
                correlation: Correlation::of(command, MessageType::Text),
                from: "".into(),
                data: Some(state.public_id.to_string().into()),
            };
            self.chain(Rc::clone(state), request)
        });
        let tasks = Tasks::begin(state);
        let functions = route.on_open.clone();
        let (watch, state) = (self.watch.clone(), Rc::clone(state));
        let future = Box::pin(async move {
            run_each(functions, &state, &watch).await;
            match opening {
                Some(opening) => Some(opening.await),
                None => None,
            }
        });
        self.spawn(future, move |host, opened| {
            let (greeting, close_request) = match opened {
                Some(it) => (Some((it.correlation, it.outcome)), it.close_request),
                None => (None, None),
            };
            let response = SessionResponse {
                greeting,
                response: HostResponse::Opened,
                close_request,
            };
            host.respond(session, response, Pass::First);
            host.resume_session(session);
            tasks.end(host);
        });
    }

    /// Handles ended sessions: drops their states, and calls `on_close` when their tasks are done.
    pub(super) fn process_ended_sessions(&mut self) {
        self.pass_events(None);
        while let Some(session) = self.shard.poll_ended() {
            let id = self.shard.find_session(session);
            let slot = id.expect("its socket is not closed yet").index();
            let state = self.sessions.get_mut(slot).and_then(Option::take);
            let Some(state) = state else { continue };
            assert_eq!(state.session, session, "one at a time in a slot");
            state.ended.set(true);
            if state.tasks.get() == 0 {
                self.close_session(state);
            }
        }
    }

    /// Runs the embedder's `on_close` functions for a session.
    fn close_session(&mut self, state: Rc<SessionState>) {
        let functions = self.registry.route_of(&state).on_close.clone();
        let watch = self.watch.clone();
        let future = Box::pin(async move {
            run_each(functions, &state, &watch).await;
            watch.discard(Label::CLOSING, state); // its values may run an embedder's `Drop`
        });
        self.spawn(future, |_, ()| {});
    }

    /// Runs a future of an embedder's as a local task, then `done` with its output on the loop. The
    /// output is `Err` if the future panicked.
    pub(super) fn run<T: 'static>(
        &mut self,
        label: Label,
        future: LocalFuture<T>,
        done: impl FnOnce(&mut Self, Result<T, Panicked>) + 'static,
    ) {
        let guarded = Guarded::new(future, label, &self.watch);
        self.spawn(Box::pin(guarded), done);
    }

    /// Runs a future as [`Host::run`] does, without catching panics: the future guards an
    /// embedder's functions itself.
    fn spawn<T: 'static>(
        &mut self,
        future: LocalFuture<T>,
        done: impl FnOnce(&mut Self, T) + 'static,
    ) {
        let done_list = Rc::clone(&self.done);
        let (handle, shard) = (self.handle.clone(), self.id);
        self.tasks_ready = true;
        self.tasks_count += 1;
        drop(tokio::task::spawn_local(async move {
            let output = future.await;
            let then = Box::new(move |host: &mut Self| done(host, output));
            done_list.borrow_mut().push_back(then);
            // The result follows the commands that the future has issued.
            let commands = handle.commands();
            commands.enqueue_unchecked(shard, Box::new(|shard| shard.run_next_completion()));
        }));
    }

    /// Returns a session's state; `None` if it has ended or its route has no handlers.
    pub(super) fn state_of(&self, session: SessionId) -> Option<Rc<SessionState>> {
        let id = self.shard.find_session(session)?;
        let state = self.sessions.get(id.index())?.as_ref()?;
        (state.session == session).then(|| Rc::clone(state))
    }
}

/// Runs an embedder's functions about a session one after the other. A panic does not stop the
/// rest.
async fn run_each(functions: Vec<Registered<SessionFn>>, state: &Rc<SessionState>, watch: &Watch) {
    for function in functions {
        let session = Session::new(Rc::clone(state));
        let work = Box::pin(async move { (function.function)(session).await });
        match Guarded::new(work, function.label, watch).await {
            Ok(()) | Err(Panicked) => {} // the next one runs all the same
        }
    }
}

/// Bytes counted for a running call besides its message: its task and its chain. Values of the
/// embedder are not counted.
const CALL_BYTES: usize = 1024;

/// The result of a call.
struct CallResult {
    outcome: Outcome,
    correlation: Correlation,
    close_request: Option<CloseRequest>,
}

/// A running task of a session. `on_close` runs when a closed session has none.
struct Tasks(Rc<SessionState>);

impl Tasks {
    fn begin(state: &Rc<SessionState>) -> Self {
        state.tasks.set(state.tasks.get() + 1);
        Self(Rc::clone(state))
    }

    fn end(self, host: &mut Host) {
        let state = self.0;
        state.tasks.set(state.tasks.get() - 1);
        if state.ended.get() && state.tasks.get() == 0 {
            host.close_session(state);
        }
    }
}
