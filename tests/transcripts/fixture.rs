//! The embedding program that transcripts about handlers are held against: on every route of a
//! config, the handlers of its dialect's file.
//!
//! A handler here does one thing that a client can see. What is kept is kept with a session, or
//! with the gateway: transcripts and worlds do not know of each other.

mod easyws;
mod edk;
mod projectforge;
mod wsrv;

use crate::script::Script;
use campanile::Gateway;
use campanile::config::Config;
use campanile::gateway::Builder;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What a transcript is held against.
pub(crate) fn builder_for(script: &Script, config: Config) -> Builder {
    if script.wants_handlers {
        builder(config)
    } else {
        Gateway::builder(config)
    }
}

/// A gateway with handlers on every route.
pub(crate) fn builder(config: Config) -> Builder {
    let routes = config.routes.iter();
    let routes: Vec<(String, &str)> = routes
        .map(|route| (route.path.clone(), route.dialect.name()))
        .collect();
    // Handlers of all shards that wait, each for a permit that another handler gives.
    let gate = Arc::new(Semaphore::new(0));
    Gateway::builder(config).shard(move |setup| {
        for (path, dialect) in &routes {
            let mut route = setup.route(path);
            match *dialect {
                "wsrv" => wsrv::set_up(&mut route, &gate),
                "easyws" => easyws::set_up(&mut route, &gate),
                "projectforge" => projectforge::set_up(&mut route),
                "edk" => edk::set_up(&mut route),
                _ => {}
            }
        }
    })
}
