//! Route setup on the builder, with functions that are cloned for each shard.

use crate::dialect::Rejection;
use crate::gateway::{Builder, Error, Gateway};
use crate::handler::{
    Admission, Context, IntoResponse, Joining, Next, RequestHead, RouteSetup, Session, Upgrade,
};
use crate::vocabulary::channel_rules::SlowMembers;
use crate::vocabulary::content::Failure;
use std::future::Future;

/// A setup of one route on all shards. Each function is cloned per shard; use [`Builder::shard`]
/// for values that must be created on the shard's thread.
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

    /// See [`RouteSetup::channel_closed`].
    pub fn channel_closed(self, name: &str) -> Self {
        let name = name.to_owned();
        self.add(move |route| {
            route.channel_closed(&name);
        })
    }

    /// See [`RouteSetup::no_publishers`].
    pub fn no_publishers(self, name: &str) -> Self {
        let name = name.to_owned();
        self.add(move |route| {
            route.no_publishers(&name);
        })
    }

    /// See [`RouteSetup::slow_members`].
    pub fn slow_members(self, name: &str, slow: SlowMembers) -> Self {
        let name = name.to_owned();
        self.add(move |route| {
            route.slow_members(&name, slow);
        })
    }

    /// Continues with another route.
    pub fn route(self, path: &str) -> Self {
        Self::new(self.builder, path)
    }

    /// Returns the gateway's builder.
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

/// Defines methods that pass a clone of an async function to the setup of each shard.
macro_rules! async_functions {
    ($($name:ident($($key:ident)?): ($($given:ty),*) -> [$($output:tt)*];)*) => {
        impl RouteBuilder {
            $(
                #[doc = concat!("See [`RouteSetup::", stringify!($name), "`].")]
                pub fn $name<F, Fut>(self, $($key: &str,)? function: F) -> Self
                where
                    F: Fn($($given),*) -> Fut + Clone + Send + Sync + 'static,
                    Fut: Future<$($output)*> + 'static,
                {
                    $(let $key = $key.to_owned();)?
                    self.add(move |route| {
                        route.$name($(&$key,)? function.clone());
                    })
                }
            )*
        }
    };
}

async_functions! {
    handle(command): (Context) -> [Output: IntoResponse];
    fallback(): (Context) -> [Output: IntoResponse];
    middleware(): (Context, Next) -> [Output: IntoResponse];
    on_message(): (Context) -> [Output: IntoResponse];
    on_open(): (Session) -> [Output = ()];
    on_close(): (Session) -> [Output = ()];
    admit(): (Upgrade) -> [Output = Result<Admission, Rejection>];
    authenticate(): (Box<str>) -> [Output = Option<String>];
    channel_with(name): (Joining) -> [Output = Result<(), Failure>];
    publishers(name): (Joining) -> [Output = Result<(), Failure>];
}
