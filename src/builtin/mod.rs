//! Built-in behaviour that a config defines, for use without an embedding program.
//!
//! ```text
//!   [routes.commands]     --> actions.rs     handlers: echo, join, leave, publish, reply, hook
//!   [[routes.channels]]   --> rules.rs       validators of channels, and of their publishers
//!   tokens, jwt, hooks    --> admission.rs   admit, authenticate
//!   hooks                 --> hooks/         open, message, close
//! ```
//!
//! Everything is registered on each shard with the public functions of [`crate::handler`], before
//! an embedder's own setup. A handler in code replaces the config's handler of the same command.

mod actions;
mod admission;
mod rules;

use crate::auth::{JwtVerifier, KeyFiles};
use crate::config::{Action, Backend, Config, Create, HookKind, Route, Rule};
use crate::handler::{RouteSetup, Setup};
use crate::hooks::{self, Backends, HookClient};
use crate::runtime::wall_clock::unix_ms;
use admission::Admitter;
use rules::Authorizer;
use std::rc::Rc;
use std::sync::Arc;

/// A config and the content of the files that it names.
pub(crate) struct Builtin {
    config: Config,
    backends: Arc<Backends>,
    /// Verifiers of tokens, indexed by route.
    verifiers: Vec<Option<Arc<JwtVerifier>>>,
}

/// An error in the files that a config names.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuiltinError {
    /// A key file or secret cannot be used.
    #[error("route {path}: {problem}")]
    Keys { path: String, problem: String },
    /// A backend cannot be used.
    #[error(transparent)]
    Backends(#[from] hooks::BackendsError),
}

impl Builtin {
    /// Reads the files that a config names.
    ///
    /// # Errors
    ///
    /// A [`BuiltinError`] for the first route or backend that cannot be used.
    pub(crate) fn open(config: &Config) -> Result<Self, BuiltinError> {
        let verifier = |route: &Route| open_verifier(route, config);
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

    /// Reads the files of one route as [`Builtin::open`] does, without keeping them.
    ///
    /// # Errors
    ///
    /// [`BuiltinError::Keys`] if the route's file of keys cannot be used.
    pub(crate) fn check_route(route: &Route, config: &Config) -> Result<(), BuiltinError> {
        open_verifier(route, config).map(drop)
    }

    /// Reads the files of one backend as [`Builtin::open`] does, without keeping them.
    ///
    /// # Errors
    ///
    /// [`BuiltinError::Backends`] if no request can be sent to it.
    pub(crate) fn check_backend(backend: &Backend) -> Result<(), BuiltinError> {
        Backends::check(backend).map_err(BuiltinError::from)
    }

    /// Returns the backends of hooks.
    pub(crate) fn backends(&self) -> &Arc<Backends> {
        &self.backends
    }

    /// Returns the key files.
    pub(crate) fn key_files(&self) -> KeyFiles {
        let verifiers = self.verifiers.iter().flatten().cloned();
        KeyFiles::new(verifiers, || unix_ms() / 1000)
    }

    /// Registers everything on one shard.
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

/// Returns whether a config uses any built-in behaviour.
pub(crate) fn is_needed(config: &Config) -> bool {
    !config.routes.iter().all(|route| is_plain(config, route))
}

/// Returns whether a route uses no built-in behaviour.
fn is_plain(config: &Config, route: &Route) -> bool {
    route.commands.is_empty()
        && route.channels.is_empty()
        && route.hooks.is_none()
        && !admission::is_needed(config, route)
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
        let authorizer = Authorizer::new(&setting.allow, None, hooks);
        if let (Action::Hook, Some(hooks)) = (&setting.action, hooks) {
            let (authorizer, hooks) = (Rc::new(authorizer), Rc::clone(hooks));
            setup.handle_configured(command, move |cx| {
                let (authorizer, hooks) = (Rc::clone(&authorizer), Rc::clone(&hooks));
                async move {
                    authorizer.authorize_command(&cx).await?;
                    hooks.message(cx).await
                }
            });
        } else {
            let handler = actions::handler(command, &setting.action, authorizer);
            setup.handle_configured(command, handler);
        }
    }
}

fn set_up_channels(setup: &mut RouteSetup<'_>, route: &Route, hooks: Option<&Rc<HookClient>>) {
    for channel in &route.channels {
        let name = channel.name.as_str();
        let authorizer = |rule: &Rule| Rc::new(Authorizer::new(rule, Some(name), hooks));
        if channel.join == Rule::Anyone {
            setup.channel(name);
        } else if channel.join == Rule::Nobody {
            setup.channel_closed(name);
        } else {
            let authorizer = authorizer(&channel.join);
            setup.channel_with(name, move |joining| {
                let authorizer = Rc::clone(&authorizer);
                async move { authorizer.authorize_join(&joining).await }
            });
        }
        setup.slow_members(name, channel.slow);
        if channel.publish == Rule::Nobody {
            setup.no_publishers(name);
        } else if channel.publish != Rule::Anyone {
            let authorizer = authorizer(&channel.publish);
            setup.publishers(name, move |joining| {
                let authorizer = Rc::clone(&authorizer);
                async move { authorizer.authorize_publish(&joining).await }
            });
        }
    }
}

/// Registers the `open` and `close` hooks and the `message` hook, which handles commands without a
/// handler.
fn set_up_hooks(setup: &mut RouteSetup<'_>, hooks: &Rc<HookClient>) {
    if hooks.has_hook(HookKind::Open) {
        let hooks = Rc::clone(hooks);
        setup.on_open(move |session| {
            let hooks = Rc::clone(&hooks);
            async move { hooks.opened(session).await }
        });
    }
    if hooks.has_hook(HookKind::Message) {
        let hooks = Rc::clone(hooks);
        setup.fallback(move |cx| {
            let hooks = Rc::clone(&hooks);
            async move { hooks.message(cx).await }
        });
    }
    if hooks.has_hook(HookKind::Close) {
        let hooks = Rc::clone(hooks);
        setup.on_close(move |session| {
            let hooks = Rc::clone(&hooks);
            async move { hooks.closed(session).await }
        });
    }
}

/// Returns the channels that a config creates in advance, each with its route's index.
pub(crate) fn declared_channels(config: &Config) -> impl Iterator<Item = (usize, &str)> {
    let routes = config.routes.iter().enumerate();
    routes.flat_map(|(index, route)| {
        let channels = route.channels.iter();
        let in_advance = channels.filter(|channel| channel.creation() == Create::Advance);
        in_advance.map(move |channel| (index, channel.name.as_str()))
    })
}
/// Reads the keys of a route's JWTs; `None` if it has no jwt.
fn open_verifier(route: &Route, config: &Config) -> Result<Option<Arc<JwtVerifier>>, BuiltinError> {
    let Some(jwt) = &route.jwt else {
        return Ok(None);
    };
    match JwtVerifier::open(jwt, &config.limits) {
        Ok(verifier) => Ok(Some(Arc::new(verifier))),
        Err(error) => Err(BuiltinError::Keys {
            path: route.path.clone(),
            problem: error.to_string(),
        }),
    }
}
