//! The short way to set up routes: on the builder, with functions that every shard gets a copy of.

use crate::dialect::Rejection;
use crate::gateway::{Builder, Error, Gateway};
use crate::handler::{
    Admission, Context, IntoResponse, Joining, Next, RequestHead, RouteSetup, Session, Upgrade,
};
use crate::vocabulary::content::Failure;
use std::future::Future;

/// Sets up one route on every shard. Whatever is given is cloned for each; what must be made on its
/// shard's thread is set up by [`Builder::shard`].
#[derive(Debug)]
#[must_use = "a gateway serves once it is started"]
pub struct RouteBuilder {
    builder: Builder,
    path: String,
}

impl RouteBuilder {
    pub(crate) fn new(builder: Builder, path: &str) -> Self {
        Self {
            builder,
            path: path.to_owned(),
        }
    }

    /// See [`RouteSetup::handle`].
    pub fn handle<F, Fut>(self, command: &str, handler: F) -> Self
    where
        F: Fn(Context) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output: IntoResponse> + 'static,
    {
        let command = command.to_owned();
        self.add(move |route| {
            route.handle(&command, handler.clone());
        })
    }

    /// See [`RouteSetup::fallback`].
    pub fn fallback<F, Fut>(self, handler: F) -> Self
    where
        F: Fn(Context) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output: IntoResponse> + 'static,
    {
        self.add(move |route| {
            route.fallback(handler.clone());
        })
    }

    /// See [`RouteSetup::middleware`].
    pub fn middleware<F, Fut>(self, middleware: F) -> Self
    where
        F: Fn(Context, Next) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output: IntoResponse> + 'static,
    {
        self.add(move |route| {
            route.middleware(middleware.clone());
        })
    }

    /// See [`RouteSetup::on_message`].
    pub fn on_message<F, Fut>(self, handler: F) -> Self
    where
        F: Fn(Context) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output: IntoResponse> + 'static,
    {
        self.add(move |route| {
            route.on_message(handler.clone());
        })
    }

    /// See [`RouteSetup::on_open`].
    pub fn on_open<F, Fut>(self, function: F) -> Self
    where
        F: Fn(Session) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        self.add(move |route| {
            route.on_open(function.clone());
        })
    }

    /// See [`RouteSetup::on_close`].
    pub fn on_close<F, Fut>(self, function: F) -> Self
    where
        F: Fn(Session) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        self.add(move |route| {
            route.on_close(function.clone());
        })
    }

    /// See [`RouteSetup::admit`].
    pub fn admit<F, Fut>(self, function: F) -> Self
    where
        F: Fn(Upgrade) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Admission, Rejection>> + 'static,
    {
        self.add(move |route| {
            route.admit(function.clone());
        })
    }

    /// See [`RouteSetup::authenticate`].
    pub fn authenticate<F, Fut>(self, function: F) -> Self
    where
        F: Fn(Box<str>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Option<String>> + 'static,
    {
        self.add(move |route| {
            route.authenticate(function.clone());
        })
    }

    /// See [`RouteSetup::authorize_push`].
    pub fn authorize_push(
        mut self,
        rule: impl Fn(&RequestHead<'_>) -> bool + Clone + Send + Sync + 'static,
    ) -> Self {
        self.builder.authorizes_pushes_of(&self.path);
        self.add(move |route| {
            route.authorize_push(rule.clone());
        })
    }

    /// See [`RouteSetup::origin`].
    pub fn origin(
        self,
        rule: impl Fn(&RequestHead<'_>) -> bool + Clone + Send + Sync + 'static,
    ) -> Self {
        self.add(move |route| {
            route.origin(rule.clone());
        })
    }

    /// See [`RouteSetup::matcher`].
    pub fn matcher(
        self,
        rule: impl Fn(&RequestHead<'_>) -> bool + Clone + Send + Sync + 'static,
    ) -> Self {
        self.add(move |route| {
            route.matcher(rule.clone());
        })
    }

    /// See [`RouteSetup::channel`].
    pub fn channel(self, name: &str) -> Self {
        let name = name.to_owned();
        self.add(move |route| {
            route.channel(&name);
        })
    }

    /// See [`RouteSetup::channel_with`].
    pub fn channel_with<F, Fut>(self, name: &str, validator: F) -> Self
    where
        F: Fn(Joining) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + 'static,
    {
        let name = name.to_owned();
        self.add(move |route| {
            route.channel_with(&name, validator.clone());
        })
    }

    /// See [`RouteSetup::channel_closed`].
    pub fn channel_closed(self, name: &str) -> Self {
        let name = name.to_owned();
        self.add(move |route| {
            route.channel_closed(&name);
        })
    }

    /// See [`RouteSetup::publishers`].
    pub fn publishers<F, Fut>(self, name: &str, validator: F) -> Self
    where
        F: Fn(Joining) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + 'static,
    {
        let name = name.to_owned();
        self.add(move |route| {
            route.publishers(&name, validator.clone());
        })
    }

    /// See [`RouteSetup::no_publishers`].
    pub fn no_publishers(self, name: &str) -> Self {
        let name = name.to_owned();
        self.add(move |route| {
            route.no_publishers(&name);
        })
    }

    /// Goes on with another route.
    pub fn route(self, path: &str) -> Self {
        Self::new(self.builder, path)
    }

    /// Goes on with what is not a route's.
    pub fn done(self) -> Builder {
        self.builder
    }

    /// See [`Builder::start`].
    ///
    /// # Errors
    ///
    /// Those of [`Builder::start`].
    pub fn start(self) -> Result<Gateway, Error> {
        self.builder.start()
    }

    fn add(self, set_up: impl Fn(&mut RouteSetup<'_>) + Send + Sync + 'static) -> Self {
        let Self { builder, path } = self;
        let at = path.clone();
        let builder = builder.shard(move |setup| set_up(&mut setup.route(&at)));
        Self { builder, path }
    }
}
