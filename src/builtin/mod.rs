//! What a config has the gateway do by itself, so that it is of use without any program.
//!
//! ```text
//!   [routes.commands]     --> actions.rs     handlers: echo, join, leave, publish, reply, hook
//!   [[routes.channels]]   --> rules.rs       validators of channels, and of their publishers
//!   tokens, jwt, hooks    --> admission.rs   admit, authenticate, open, message, close
//! ```
//!
//! Everything here is set up on each shard as an embedder would, by the public functions of
//! [`crate::handler`], and before an embedder's own: a handler of code takes the place of a command
//! of the config.

mod actions;
mod rules;

use crate::config::{Config, Create, Route, Rule};
use crate::handler::{RouteSetup, Setup};
use rules::Judge;
use std::rc::Rc;

/// Sets up what a config says, on one shard.
pub(crate) fn set_up(setup: &mut Setup, config: &Config) {
    for route in &config.routes {
        if !is_plain(route) {
            set_up_route(&mut setup.route(&route.path), route);
        }
    }
}

/// Whether a config has the gateway do anything by itself.
pub(crate) fn is_wanted(config: &Config) -> bool {
    !config.routes.iter().all(is_plain)
}

/// Whether nothing of a route is done here.
fn is_plain(route: &Route) -> bool {
    route.commands.is_empty() && route.channels.is_empty()
}

fn set_up_route(setup: &mut RouteSetup<'_>, route: &Route) {
    for (command, setting) in &route.commands {
        let judge = Judge::new(&setting.allow, None);
        let handler = actions::handler(command, &setting.action, judge);
        setup.handle_configured(command, handler);
    }
    for channel in &route.channels {
        let name = channel.name.as_str();
        let judge = |rule: &Rule| Rc::new(Judge::new(rule, Some(name)));
        if channel.join == Rule::Anyone {
            setup.channel(name);
        } else if channel.join == Rule::Nobody {
            setup.channel_closed(name);
        } else {
            let judge = judge(&channel.join);
            setup.channel_with(name, move |joining| {
                let judge = Rc::clone(&judge);
                async move { judge.judge_joining(&joining).await }
            });
        }
        if channel.publish == Rule::Nobody {
            setup.no_publishers(name);
        } else if channel.publish != Rule::Anyone {
            let judge = judge(&channel.publish);
            setup.publishers(name, move |joining| {
                let judge = Rc::clone(&judge);
                async move { judge.judge_joining(&joining).await }
            });
        }
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
