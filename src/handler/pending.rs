//! Results of operations that may not have finished.

use super::handle_error::HandleError;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// The result of an operation of one shard. The operation runs whether or not its result is
/// awaited: `.await` it, [`Pending::wait`] for it outside of async code, or drop it.
///
/// Each operation can fail with [`HandleError::Busy`] (its shard's command queue is full) or
/// [`HandleError::Stopped`] (the gateway ended first). An operation that changes something can also
/// fail with [`HandleError::Stopping`]. A publication or drop, which involves all shards, can also
/// fail with [`HandleError::TimedOut`].
#[derive(Debug)]
pub struct Pending<T>(
    pub(super) Result<oneshot::Receiver<Result<T, HandleError>>, Option<HandleError>>,
);

/// The collected results of an operation of every shard, in no particular order. See [`Pending`].
#[derive(Debug)]
pub struct Gathered<T> {
    pub(super) parts: Vec<Pending<Vec<T>>>,
    pub(super) all: Vec<T>,
}

impl<T> Pending<T> {
    pub(super) fn failed(error: HandleError) -> Self {
        Self(Err(Some(error)))
    }

    /// Blocks until the result is there.
    ///
    /// # Errors
    ///
    /// The error of the operation, see [`Pending`].
    ///
    /// # Panics
    ///
    /// If it is called in async code, such as a handler: `.await` it there.
    pub fn wait(self) -> Result<T, HandleError> {
        match self.0 {
            Ok(receiver) => receiver
                .blocking_recv()
                .unwrap_or(Err(HandleError::Stopped)),
            Err(error) => Err(error.expect("not polled to its end")),
        }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, HandleError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ok(receiver) => {
                let received = std::task::ready!(Pin::new(receiver).poll(cx));
                Poll::Ready(received.unwrap_or(Err(HandleError::Stopped)))
            }
            Err(error) => Poll::Ready(Err(error.take().expect("polled after its end"))),
        }
    }
}

impl<T> Gathered<T> {
    /// Blocks until all results are there.
    ///
    /// # Errors
    ///
    /// The first error of a shard, see [`Pending`].
    ///
    /// # Panics
    ///
    /// If it is called in async code, such as a handler: `.await` it there.
    pub fn wait(self) -> Result<Vec<T>, HandleError> {
        let mut all = Vec::new();
        for part in self.parts {
            all.extend(part.wait()?);
        }
        Ok(all)
    }
}

impl<T: Unpin> Future for Gathered<T> {
    type Output = Result<Vec<T>, HandleError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while let Some(part) = this.parts.last_mut() {
            let values = std::task::ready!(Pin::new(part).poll(cx))?;
            this.all.extend(values);
            this.parts.pop();
        }
        Poll::Ready(Ok(std::mem::take(&mut this.all)))
    }
}
