//! The call chain: middleware, then the handlers of the command.

use super::context::Context;
use super::response::{IntoResponse, Response};
use super::task::{Label, LocalFuture};
use crate::vocabulary::content::Reply;
use smallvec::SmallVec;
use std::fmt;
use std::future::Future;
use std::rc::Rc;

/// A type-erased handler.
pub(crate) type HandlerFn = dyn Fn(Context) -> LocalFuture<Response>;

/// Type-erased middleware.
pub(crate) type MiddlewareFn = dyn Fn(Context, Next) -> LocalFuture<Response>;

/// A registered function and the label that the watchdog shows for it.
pub(crate) struct Registered<F: ?Sized> {
    pub(crate) function: Rc<F>,
    pub(crate) label: Label,
}

impl<F: ?Sized> Clone for Registered<F> {
    fn clone(&self) -> Self {
        Self {
            function: Rc::clone(&self.function),
            label: self.label,
        }
    }
}

/// The middleware and handlers of one call.
pub(crate) struct Chain {
    pub(crate) middleware: Rc<[Registered<MiddlewareFn>]>,
    pub(crate) handlers: SmallVec<[Registered<HandlerFn>; 1]>,
}

/// The rest of the call chain, as passed to a middleware.
#[derive(Clone)]
pub struct Next {
    chain: Rc<Chain>,
    at: usize,
}

impl Next {
    pub(crate) fn new(chain: Chain) -> Self {
        Self {
            chain: Rc::new(chain),
            at: 0,
        }
    }

    /// Runs the rest of the chain and returns its response.
    ///
    /// The handlers of the command run in order. The last reply is the response; the first failure
    /// ends the chain. Middleware that does not call `run` ends the call with its own response.
    ///
    /// # Errors
    ///
    /// The [`Failure`](super::Failure) of a middleware or handler.
    pub async fn run(self, cx: Context) -> Response {
        if let Some(middleware) = self.chain.middleware.get(self.at) {
            let function = Rc::clone(&middleware.function);
            let next = Self {
                chain: self.chain,
                at: self.at + 1,
            };
            return function(cx, next).await;
        }
        let mut last: Option<Reply> = None;
        for handler in &self.chain.handlers {
            let reply = (handler.function)(cx.clone()).await?;
            last = reply.or(last);
        }
        Ok(last)
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.chain.middleware.len() - self.at;
        write!(f, "Next({left} middleware before the handlers)")
    }
}

pub(crate) fn erase_handler<F, Fut>(handler: F) -> Rc<HandlerFn>
where
    F: Fn(Context) -> Fut + 'static,
    Fut: Future<Output: IntoResponse> + 'static,
{
    Rc::new(move |cx| {
        let future = handler(cx);
        Box::pin(async move { future.await.into_response() })
    })
}

pub(crate) fn erase_middleware<F, Fut>(middleware: F) -> Rc<MiddlewareFn>
where
    F: Fn(Context, Next) -> Fut + 'static,
    Fut: Future<Output: IntoResponse> + 'static,
{
    Rc::new(move |cx, next| {
        let future = middleware(cx, next);
        Box::pin(async move { future.await.into_response() })
    })
}
