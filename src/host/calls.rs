//! How questions reach an embedder's code, and how its answers come back.
//!
//! Every function of an embedder's runs as a local task of the shard's runtime; its answer is left
//! in the shard's queue of commands, behind whatever it asked for while it ran.

use super::Host;
use crate::handler::{
    Admitted, CallChain, Context, Farewell, Guarded, Joining, Label, LocalFuture, Next, Permission,
    Registered, Session, SessionFn, SessionState, ShardCommands as _, ValidateFn, Watch,
};
use crate::logging::limited;
use crate::runtime::panic::Panicked;
use crate::shard::{Answer, Ask, Question, Request};
use crate::vocabulary::content::{Cause, Correlation, Failure, Outcome};
use crate::vocabulary::id::{ConnectionId, SessionId};
use crate::vocabulary::metrics::Rejected;
use crate::ws::Kind;
use bytes::Bytes;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};

impl Host {
    /// Takes the shard's questions to whoever answers them. The shard is not borrowed meanwhile.
    pub(super) fn answer_questions(&mut self) {
        while let Some(question) = self.shard.poll_question() {
            let Question {
                session,
                route,
                ask,
            } = question;
            match ask {
                Ask::User { token, event } => self.ask_user(session, route, token, event),
                Ask::Join {
                    channel,
                    correlation,
                } => self.ask_to_join(session, route, channel, correlation),
                Ask::Call(request) => self.call(session, request),
            }
        }
        self.notice_ends();
    }

    fn ask_user(&mut self, session: SessionId, route: u16, token: Box<str>, event: Box<str>) {
        let program = Rc::clone(&self.program);
        let Some(function) = &program.routes[usize::from(route)].authenticate else {
            let answer = Answer::User { user: None, event };
            self.shard.handle_answer(session, &answer);
            return;
        };
        let tasks = self.state_of(session).as_ref().map(Tasks::begin);
        let bytes = CALL_BYTES + token.len() + event.len();
        self.begin_work(bytes);
        let (function, label) = (Rc::clone(&function.function), function.label);
        let future = Box::pin(async move { function(token).await });
        self.run(label, future, move |host, user| {
            let user = user.ok().flatten().map(String::into_boxed_str);
            host.end_work(bytes);
            host.answer(session, &Answer::User { user, event });
            if let Some(tasks) = tasks {
                tasks.end(host);
            }
        });
    }

    fn ask_to_join(
        &mut self,
        session: SessionId,
        route: u16,
        channel: Box<str>,
        correlation: Correlation,
    ) {
        let route = &self.settings.routes[usize::from(route)];
        let permission = self.program.may_join(&self.settings, route, &channel);
        let answer = move |allowed, channel| Answer::Join {
            allowed,
            channel,
            correlation,
        };
        match (permission, self.state_of(session)) {
            (Permission::Judged(validator), Some(state)) => {
                self.judge(&state, validator, channel, move |host, allowed, channel| {
                    host.answer(session, &answer(allowed, channel));
                });
            }
            _ => self.shard.handle_answer(session, &answer(false, channel)),
        }
    }

    /// Has a validator judge what a session's client wants of a channel.
    pub(super) fn judge(
        &mut self,
        state: &Rc<SessionState>,
        validator: Registered<ValidateFn>,
        channel: Box<str>,
        done: impl FnOnce(&mut Self, bool, Box<str>) + 'static,
    ) {
        let joining = Joining {
            channel: channel.clone(),
            session: Some(Session::new(Rc::clone(state))),
            user: state.user.clone(),
            token: state.token.clone(),
            profile: state.profile.clone(),
            values: Rc::clone(&state.values),
        };
        let tasks = Tasks::begin(state);
        let bytes = CALL_BYTES + 2 * channel.len();
        self.begin_work(bytes);
        let label = validator.label;
        let future: LocalFuture<bool> = Box::pin(async move {
            let verdict = (validator.function)(joining).await;
            if let Err(failure) = &verdict {
                tracing::debug!(reason = failure.text(), "a validator is against it");
            }
            verdict.is_ok()
        });
        self.run(label, future, move |host, allowed| {
            host.end_work(bytes);
            done(host, allowed.unwrap_or(false), channel);
            tasks.end(host);
        });
    }

    fn call(&mut self, session: SessionId, request: Request) {
        let Some(state) = self.state_of(session) else {
            let correlation = request.correlation;
            let outcome = Outcome::NotHandled;
            self.shard.handle_answer(
                session,
                &Answer::Call {
                    outcome,
                    correlation,
                },
            );
            return;
        };
        let tasks = Tasks::begin(&state);
        let Correlation {
            command,
            id,
            channel,
            ..
        } = &request.correlation;
        let echo = command.len() + id.len() + channel.len();
        let bytes = echo + request.from.len() + request.data.as_ref().map_or(0, Bytes::len);
        // What the answer must repeat is there twice.
        let work_bytes = CALL_BYTES + bytes + echo;
        state.calls_bytes.set(state.calls_bytes.get() + bytes);
        self.begin_work(work_bytes);
        let mut future = self.chain(state, request);
        let done = move |host: &mut Self, called: Called| {
            let of_session = &tasks.0.calls_bytes;
            of_session.set(of_session.get() - bytes);
            host.end_work(work_bytes);
            host.conclude(session, called);
            tasks.end(host);
        };
        // Most handlers have nothing to wait for: they are done at once, and cost no task.
        let mut cx = std::task::Context::from_waker(Waker::noop());
        match future.as_mut().poll(&mut cx) {
            Poll::Pending => self.spawn(future, move |host, called| {
                done(host, called);
                host.resume(session.connection());
            }),
            Poll::Ready(called) if self.handle.commands().has_some(self.id) => {
                // What its handlers have asked for is done first.
                self.finish_behind(move |host| {
                    done(host, called);
                    host.resume(session.connection());
                });
            }
            Poll::Ready(called) => done(self, called),
        }
    }

    /// Answers a call, and closes its session behind the answer if a handler wants that.
    fn conclude(&mut self, session: SessionId, called: Called) {
        let Called {
            outcome,
            correlation,
            farewell,
        } = called;
        if let (Outcome::Denied(denial), Some(state)) = (&outcome, self.state_of(session))
            && !state.take_denial()
        {
            self.reject(session, Rejected::Command, denial.label());
        }
        let answer = Answer::Call {
            outcome,
            correlation,
        };
        self.shard.handle_answer(session, &answer);
        self.close_behind(session, farewell);
    }

    /// Has something done behind the commands that have been left.
    fn finish_behind(&mut self, then: impl FnOnce(&mut Self) + 'static) {
        self.tasks_count += 1;
        self.done.borrow_mut().push_back(Box::new(then));
        let commands = self.handle.commands();
        commands.put_in_any_case(self.id, Box::new(|shard| shard.do_next()));
    }

    /// What a call goes through.
    fn chain(&self, state: Rc<SessionState>, request: Request) -> LocalFuture<Called> {
        let CallChain {
            chain,
            label,
            is_handled,
        } = self.program.chain(&state, &request.correlation.command);
        let observers = self.program.route_of(&state).on_message.clone();
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
            Called {
                outcome,
                correlation,
                farewell: call.take_farewell(),
            }
        })
    }

    /// A session has opened on a route with handlers: keeps what the embedder needs of it.
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

    /// Whether something is to be run before the first message of a session of this route.
    pub(super) fn opens(&self, route: u16) -> bool {
        let program = &self.program.routes[usize::from(route)];
        let dialect = self.settings.routes[usize::from(route)].dialect;
        let open_command = dialect.habits().open_command;
        !program.on_open.is_empty()
            || open_command.is_some_and(|command| program.handlers.contains_key(command))
    }

    /// Runs what is to be run before the first message of a session.
    pub(super) fn open_session(&mut self, state: &Rc<SessionState>) {
        let program = Rc::clone(&self.program);
        let route = program.route_of(state);
        let session = state.session;
        let dialect = self.settings.routes[state.route.index()].dialect;
        let command = dialect.habits().open_command;
        let command = command.filter(|&command| route.handlers.contains_key(command));
        let opening = command.map(|command| {
            let request = Request {
                correlation: Correlation::of(command, Kind::Text),
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
            let farewell = opened.and_then(|called| {
                let connection = session.connection();
                host.shard
                    .say(connection, &called.correlation, &called.outcome);
                called.farewell
            });
            host.shard.handle_answer(session, &Answer::Opened);
            host.close_behind(session, farewell);
            host.resume(session.connection());
            tasks.end(host);
        });
    }

    /// Sessions have ended: what is kept of them goes, and the embedder hears of it when the tasks
    /// that are at work for them are done.
    pub(super) fn notice_ends(&mut self) {
        self.log_reports();
        self.show_departures();
        while let Some(session) = self.shard.poll_ended() {
            let slot = session.connection().index();
            let state = self.sessions.get_mut(slot).and_then(Option::take);
            let Some(state) = state else { continue };
            assert_eq!(state.session, session, "one at a time in a slot");
            state.ended.set(true);
            if state.tasks.get() == 0 {
                self.close_session(state);
            }
        }
    }

    /// Tells the embedder that a session has ended.
    fn close_session(&mut self, state: Rc<SessionState>) {
        let functions = self.program.route_of(&state).on_close.clone();
        let watch = self.watch.clone();
        let future = Box::pin(async move {
            run_each(functions, &state, &watch).await;
            watch.discard(Label::CLOSING, state); // its values are an embedder's
        });
        self.spawn(future, |_, ()| {});
    }

    /// Runs a future of an embedder's as a local task, then `done` with its output on the loop.
    pub(super) fn run<T: 'static>(
        &mut self,
        label: Label,
        future: LocalFuture<T>,
        done: impl FnOnce(&mut Self, Result<T, Panicked>) + 'static,
    ) {
        let guarded = Guarded::new(future, label, &self.watch);
        self.spawn(Box::pin(guarded), done);
    }

    /// [`Host::run`] for a future that guards what is an embedder's in it.
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
            // What comes of it stays behind what it has asked for.
            let commands = handle.commands();
            commands.put_in_any_case(shard, Box::new(|shard| shard.do_next()));
        }));
    }

    pub(super) fn answer(&mut self, session: SessionId, answer: &Answer) {
        self.shard.handle_answer(session, answer);
        self.resume(session.connection());
    }

    /// Closes a session behind what it was answered, if a handler wants that: what it has said
    /// since is not looked at then.
    fn close_behind(&mut self, session: SessionId, farewell: Option<Farewell>) {
        if let Some((code, reason)) = farewell {
            self.close(session, code, &reason);
        }
    }

    pub(super) fn state_of(&self, session: SessionId) -> Option<Rc<SessionState>> {
        let state = self.sessions.get(session.connection().index())?.as_ref()?;
        (state.session == session).then(|| Rc::clone(state))
    }
}

/// Runs what an embedder wants to be told about a session, one after the other.
async fn run_each(functions: Vec<Registered<SessionFn>>, state: &Rc<SessionState>, watch: &Watch) {
    for function in functions {
        let session = Session::new(Rc::clone(state));
        let work = Box::pin(async move { (function.function)(session).await });
        match Guarded::new(work, function.label, watch).await {
            Ok(()) | Err(Panicked) => {} // the next one runs all the same
        }
    }
}

/// What a call takes that is at work, besides what its client said: its task and its chain, for
/// which the embedder's own values are not counted.
const CALL_BYTES: usize = 1024;

/// What has come of a call.
struct Called {
    outcome: Outcome,
    correlation: Correlation,
    farewell: Option<Farewell>,
}

/// One task at work for a session; the embedder hears of the session's end when there is none.
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
