//! What a config has the gateway do by itself, so that it is of use without any program.
//!
//! ```text
//!   [routes.commands]     --> actions.rs     handlers: echo, join, leave, publish, reply, hook
//!   [[routes.channels]]   --> rules.rs       validators of channels, and of their publishers
//!   tokens, jwt, hooks    --> admission.rs   admit, authenticate
//!   hooks                 --> hooks/         open, message, close
//! ```
//!
//! Everything here is set up on each shard as an embedder would, by the public functions of
//! [`crate::handler`], and before an embedder's own: a handler of code takes the place of a command
//! of the config.

mod actions;
mod admission;
mod rules;

use crate::auth::{JwtVerifier, KeyFiles};
use crate::config::{Action, Config, Create, HookKind, Route, Rule};
use crate::handler::{RouteSetup, Setup};
use crate::hooks::{self, Backends, HookClient};
use crate::runtime::wall_clock::unix_ms;
use admission::Admitter;
use rules::Judge;
use std::rc::Rc;
use std::sync::Arc;

/// What a config says, with what it leaves to files.
pub(crate) struct Builtin {
    config: Config,
    backends: Arc<Backends>,
    /// By route.
    verifiers: Vec<Option<Arc<JwtVerifier>>>,
}

/// Why what a config leaves to files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// A file of keys.
    #[error("route {path}: {problem}")]
    Keys { path: String, problem: String },
    #[error(transparent)]
    Backends(#[from] hooks::OpenError),
}

impl Builtin {
    /// Reads what a config leaves to files.
    ///
    /// # Errors
    ///
    /// What cannot be used.
    pub(crate) fn open(config: &Config) -> Result<Self, OpenError> {
        let verifier = |route: &Route| {
            let Some(jwt) = &route.jwt else {
                return Ok(None);
            };
            match JwtVerifier::open(jwt, &config.limits) {
                Ok(verifier) => Ok(Some(Arc::new(verifier))),
                Err(error) => Err(OpenError::Keys {
                    path: route.path.clone(),
                    problem: error.to_string(),
                }),
            }
        };
        Ok(Self {
            config: config.clone(),
            backends: Backends::open(config)?,
            verifiers: config
                .routes
                .iter()
                .map(verifier)
                .collect::<Result<_, _>>()?,
        })
    }

    /// The backends that hooks ask.
    pub(crate) fn backends(&self) -> &Arc<Backends> {
        &self.backends
    }

    /// The files that keys of tokens are in.
    pub(crate) fn key_files(&self) -> KeyFiles {
        let verifiers = self.verifiers.iter().flatten().cloned();
        KeyFiles::new(verifiers, || unix_ms() / 1000)
    }

    /// Sets up everything on one shard.
    pub(crate) fn set_up(&self, setup: &mut Setup) {
        let backends = match self.backends.on_shard(setup.shard_index()) {
            Ok(backends) => backends,
            Err(error) => {
                setup.record_error(error.to_string());
                return;
            }
        };
        for (route, verifier) in self.config.routes.iter().zip(&self.verifiers) {
            if !is_plain(&self.config, route) {
                let mut setup = setup.route(&route.path);
                let hooks =
                    HookClient::new(&backends, &self.config, route, setup.handle_of_route());
                set_up_commands(&mut setup, route, hooks.as_ref());
                set_up_channels(&mut setup, route, hooks.as_ref());
                if let Some(hooks) = &hooks {
                    set_up_hooks(&mut setup, hooks);
                }
                let admitter = Admitter::new(
                    &self.config,
                    route,
                    verifier.as_ref(),
                    hooks,
                    setup.handle_of_route().tokens(),
                );
                if let Some(admitter) = admitter {
                    set_up_admission(&mut setup, admitter);
                }
            }
        }
    }
}

/// Whether a config has the gateway do anything by itself.
pub(crate) fn is_wanted(config: &Config) -> bool {
    !config.routes.iter().all(|route| is_plain(config, route))
}

/// Whether nothing of a route is done here.
fn is_plain(config: &Config, route: &Route) -> bool {
    route.commands.is_empty()
        && route.channels.is_empty()
        && route.hooks.is_none()
        && !admission::is_wanted(config, route)
}

fn set_up_admission(setup: &mut RouteSetup<'_>, admitter: Admitter) {
    let admitter = Rc::new(admitter);
    if admitter.authenticates() {
        let admitter = Rc::clone(&admitter);
        setup.authenticate(move |token| {
            let admitter = Rc::clone(&admitter);
            async move { admitter.authenticate(&token).await }
        });
    }
    if admitter.admits() {
        setup.admit(move |upgrade| {
            let admitter = Rc::clone(&admitter);
            async move { admitter.admit(upgrade).await }
        });
    }
}

fn set_up_commands(setup: &mut RouteSetup<'_>, route: &Route, hooks: Option<&Rc<HookClient>>) {
    for (command, setting) in &route.commands {
        let judge = Judge::new(&setting.allow, None, hooks);
        if let (Action::Hook, Some(hooks)) = (&setting.action, hooks) {
            let (judge, hooks) = (Rc::new(judge), Rc::clone(hooks));
            setup.handle_configured(command, move |cx| {
                let (judge, hooks) = (Rc::clone(&judge), Rc::clone(&hooks));
                async move {
                    judge.judge_command(&cx).await?;
                    hooks.message(cx).await
                }
            });
        } else {
            let handler = actions::handler(command, &setting.action, judge);
            setup.handle_configured(command, handler);
        }
    }
}

fn set_up_channels(setup: &mut RouteSetup<'_>, route: &Route, hooks: Option<&Rc<HookClient>>) {
    for channel in &route.channels {
        let name = channel.name.as_str();
        let judge = |rule: &Rule| Rc::new(Judge::new(rule, Some(name), hooks));
        if channel.join == Rule::Anyone {
            setup.channel(name);
        } else if channel.join == Rule::Nobody {
            setup.channel_closed(name);
        } else {
            let judge = judge(&channel.join);
            setup.channel_with(name, move |joining| {
                let judge = Rc::clone(&judge);
                async move { judge.judge_join(&joining).await }
            });
        }
        if channel.publish == Rule::Nobody {
            setup.no_publishers(name);
        } else if channel.publish != Rule::Anyone {
            let judge = judge(&channel.publish);
            setup.publishers(name, move |joining| {
                let judge = Rc::clone(&judge);
                async move { judge.judge_publish(&joining).await }
            });
        }
    }
}

/// The hooks that are told, and the one that handles what no command does.
fn set_up_hooks(setup: &mut RouteSetup<'_>, hooks: &Rc<HookClient>) {
    if hooks.asks(HookKind::Open) {
        let hooks = Rc::clone(hooks);
        setup.on_open(move |session| {
            let hooks = Rc::clone(&hooks);
            async move { hooks.opened(session).await }
        });
    }
    if hooks.asks(HookKind::Message) {
        let hooks = Rc::clone(hooks);
        setup.fallback(move |cx| {
            let hooks = Rc::clone(&hooks);
            async move { hooks.message(cx).await }
        });
    }
    if hooks.asks(HookKind::Close) {
        let hooks = Rc::clone(hooks);
        setup.on_close(move |session| {
            let hooks = Rc::clone(&hooks);
            async move { hooks.closed(session).await }
        });
    }
}

/// The channels that a config declares in advance, by their routes' indices.
pub(crate) fn channels_in_advance(config: &Config) -> impl Iterator<Item = (usize, &str)> {
    let routes = config.routes.iter().enumerate();
    routes.flat_map(|(index, route)| {
        let channels = route.channels.iter();
        let in_advance = channels.filter(|channel| channel.create == Create::Advance);
        in_advance.map(move |channel| (index, channel.name.as_str()))
    })
}
