//! As whom a client is admitted, where the config finds that out with more than a table of tokens
//! in the place where its language has them.

use crate::auth::{Claims, JwtVerifier, default_sources, find_token};
use crate::config::{Config, HookKind, Route, TokenSource};
use crate::dialect::{Rejection, TokenPlace};
use crate::handler::{Admission, Upgrade};
use crate::hooks::HookClient;
use crate::runtime::wall_clock::unix_ms;
use crate::shard::settings::{Named, TokenRule};
use std::rc::Rc;
use std::sync::Arc;

/// Admits the clients of one route, on one shard.
pub(super) struct Admitter {
    identity: Identity,
    /// Where a token is looked for that the language has no place for.
    sources: Vec<TokenSource>,
    token_bytes_max: usize,
    anonymous: bool,
    /// The language has tokens in its messages, not in its upgrade requests.
    reads_messages: bool,
    rejection: Rejection,
    hooks: Option<Rc<HookClient>>,
}

/// How a token becomes a user.
enum Identity {
    /// It does not: a hook or a rule may look at it.
    None,
    Tokens(TokenRule),
    Jwt(Arc<JwtVerifier>),
}

/// The user that was found, and what its token claims.
type Identified = (Option<Box<str>>, Option<Claims>);

/// Whether the clients of a route are admitted here. Where the language has a place for tokens, the
/// gateway itself finds them, and looks into a table of them.
pub(super) fn is_wanted(config: &Config, route: &Route) -> bool {
    let has_use = route.tokens.is_some() || config.judges_tokens(route);
    let is_read_here = route.dialect.route_spec().token == TokenPlace::Sources;
    route.jwt.is_some() || (has_use && is_read_here)
}

impl Admitter {
    /// What a route's clients are admitted by; `None` if there is nothing to find out.
    pub(super) fn new(
        config: &Config,
        route: &Route,
        verifier: Option<&Arc<JwtVerifier>>,
        hooks: Option<Rc<HookClient>>,
        tokens: &TokenRule,
    ) -> Option<Self> {
        let asks = |hooks: &Rc<HookClient>| {
            hooks.asks(HookKind::Open) || hooks.asks(HookKind::Authenticate)
        };
        let hooks = hooks.filter(asks);
        if hooks.is_none() && !is_wanted(config, route) {
            return None;
        }
        let identity = match (&route.tokens, verifier) {
            (Some(_), _) => Identity::Tokens(tokens.clone()),
            (None, Some(verifier)) => Identity::Jwt(Arc::clone(verifier)),
            (None, None) => Identity::None,
        };
        let token = route.dialect.route_spec().token;
        let sources = match &route.token_from {
            Some(sources) => sources.clone(),
            None if token == TokenPlace::Sources => default_sources(),
            None => Vec::new(),
        };
        Some(Self {
            identity,
            sources,
            token_bytes_max: config.limits.token_bytes_max as usize,
            anonymous: route.anonymous,
            reads_messages: token == TokenPlace::Message,
            rejection: route.dialect.rejection(),
            hooks,
        })
    }

    /// Whether upgrade requests are judged; where tokens stand in messages, only a hook does that.
    pub(super) fn admits(&self) -> bool {
        self.asks(HookKind::Open) || !self.reads_messages
    }

    /// Whether tokens in messages are.
    pub(super) fn authenticates(&self) -> bool {
        self.reads_messages
            && match &self.identity {
                Identity::None => self.asks(HookKind::Authenticate),
                Identity::Jwt(_) => true,
                Identity::Tokens(_) => false, // the gateway looks into the table by itself
            }
    }

    fn asks(&self, kind: HookKind) -> bool {
        let hooks = self.hooks.as_ref();
        hooks.is_some_and(|hooks| hooks.asks(kind))
    }

    /// The user whom a token in a message names.
    pub(super) async fn authenticate(&self, token: &str) -> Option<String> {
        match &self.identity {
            Identity::None => self.hooks.as_ref()?.authenticate(token).await,
            Identity::Tokens(_) | Identity::Jwt(_) => {
                let (user, _) = self.user_of(token)?;
                Some(user.into())
            }
        }
    }

    /// Judges an upgrade request.
    ///
    /// # Errors
    ///
    /// How it is turned away.
    pub(super) async fn admit(&self, upgrade: Upgrade) -> Result<Admission, Rejection> {
        let token: Option<Box<str>> = match upgrade.token() {
            Some(token) => Some(token.into()),
            None => find_token(&self.sources, upgrade.head()),
        };
        if token
            .as_ref()
            .is_some_and(|it| it.len() > self.token_bytes_max)
        {
            return Err(self.rejection.clone());
        }
        let (user, claims) = self.identify(&upgrade, token.as_deref())?;
        let mut admission = match &self.hooks {
            Some(hooks) if hooks.asks(HookKind::Open) => {
                let json = claims.as_ref().map(Claims::as_json);
                let opened = hooks.open(&upgrade, token.as_deref(), user.as_deref(), json);
                opened.await?
            }
            _ => Admission {
                user,
                ..Admission::new()
            },
        };
        if let Some(claims) = claims {
            admission.kept_bytes += claims.heap_bytes();
            admission = admission.value(claims);
        }
        admission.token = token;
        Ok(admission)
    }

    /// Finds out who a client is, as far as the config knows.
    fn identify(&self, upgrade: &Upgrade, token: Option<&str>) -> Result<Identified, Rejection> {
        let claimed = upgrade.claimed_user();
        if matches!(self.identity, Identity::None) || self.reads_messages {
            let trusted = claimed.filter(|_| upgrade.trusts_claimed_user);
            return Ok((trusted.map(Into::into), None));
        }
        let Some(token) = token else {
            return if self.anonymous {
                Ok((None, None))
            } else {
                Err(self.rejection.clone())
            };
        };
        match self.user_of(token) {
            Some((user, claims)) if claimed.is_none_or(|claimed| *claimed == *user) => {
                Ok((Some(user), claims))
            }
            _ => Err(self.rejection.clone()),
        }
    }

    fn user_of(&self, token: &str) -> Option<(Box<str>, Option<Claims>)> {
        match &self.identity {
            Identity::None => None,
            Identity::Tokens(tokens) => match tokens.user_of(token) {
                Named::User(user) => Some((user.into(), None)),
                Named::Itself(_) | Named::Nobody | Named::AskHost => None,
            },
            Identity::Jwt(verifier) => match verifier.verify(token, unix_ms() / 1000) {
                Ok(verified) => Some((verified.user, Some(verified.claims))),
                Err(rejected) => {
                    // The upgrade's own line says whose it was.
                    tracing::debug!(reason = %rejected, "a token was rejected");
                    None
                }
            },
        }
    }
}
