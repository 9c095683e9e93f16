//! The connect timeout for backends, including TLS. Unlike reqwest's own, it accepts a connection
//! that was established while the process was paused. It does not depend on the connector's type.

use crate::runtime::deadline::within;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tower_layer::Layer;
use tower_service::Service;

/// A layer that adds a timeout to a connector.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectTimeout(pub(super) Duration);

/// A connector with a timeout.
#[derive(Clone, Debug)]
pub(super) struct TimedConnector<C> {
    connector: C,
    timeout: Duration,
}

type BoxError = Box<dyn Error + Send + Sync>;

impl<C> Layer<C> for ConnectTimeout {
    type Service = TimedConnector<C>;

    fn layer(&self, connector: C) -> Self::Service {
        TimedConnector {
            connector,
            timeout: self.0,
        }
    }
}

impl<C, Target> Service<Target> for TimedConnector<C>
where
    C: Service<Target, Error = BoxError>,
    C::Future: Send + 'static,
    C::Response: 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, target: Target) -> Self::Future {
        let connected = within(self.timeout, self.connector.call(target));
        Box::pin(async move {
            let timed_out = || Err("not connected within connect_timeout_ms".into());
            connected.await.unwrap_or_else(timed_out)
        })
    }
}
