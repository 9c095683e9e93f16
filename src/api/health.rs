//! How the gateway is, for load balancers and people.

use super::{Api, ApiAnswer};
use crate::handler::{Handle, HandleError};
use serde_json::json;

impl Api {
    /// `ok`, `degraded` while the last question to a backend has failed, `stopping` with 503. Those
    /// who may use the API also hear how many sessions there are, and how each backend does.
    pub(crate) async fn health(&self, handle: &Handle, tells_all: bool) -> ApiAnswer {
        let sessions = match handle.sessions_count().await {
            Ok(counts) => counts.iter().sum::<usize>(),
            Err(HandleError::Stopped) => return Self::stopping(),
            // It serves all the same.
            Err(_) => 0,
        };
        let backends = self.backends.report();
        let is_degraded = backends.iter().any(|backend| backend["state"] == "down");
        let mut health = json!({
            "status": if is_degraded { "degraded" } else { "ok" },
            "version": env!("CARGO_PKG_VERSION"),
        });
        if tells_all {
            health["shards"] = handle.shards_count().into();
            health["sessions"] = sessions.into();
            health["backends"] = backends.into();
        }
        ApiAnswer::of(200, &health)
    }

    /// The gateway is going away.
    pub(crate) fn stopping() -> ApiAnswer {
        ApiAnswer::of(503, &json!({"status": "stopping"}))
    }

    /// Whether whoever sends these headers hears everything.
    pub(crate) fn tells_all(&self, headers: &hyper::HeaderMap) -> bool {
        self.is_served && self.admits(headers)
    }
}
