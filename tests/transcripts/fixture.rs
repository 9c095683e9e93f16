//! Gateways for transcripts. If a transcript needs handlers, each route gets those of its dialect,
//! from the dialect's file in `fixture/`.
//!
//! Each handler has one effect that a client can see. Handlers store state only in the session or
//! the gateway, so runs do not affect each other.

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

/// Returns the builder of the gateway for a transcript.
pub(crate) fn builder_for(script: &Script, config: Config) -> Builder {
    if script.wants_handlers {
        builder(config)
    } else {
        Gateway::builder(config)
    }
}

/// Returns the builder of a gateway with handlers on every route.
pub(crate) fn builder(config: Config) -> Builder {
    let routes = config.routes.iter();
    let routes: Vec<(String, &str)> = routes
        .map(|route| (route.path.clone(), route.dialect.name()))
        .collect();
    // Shared by all shards: some handlers wait for a permit, others add one.
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
