//! Admission by the config, for routes that need more than a token table at the dialect's place for
//! tokens.

use crate::auth::{Claims, JwtVerifier, default_sources, find_token};
use crate::config::{Config, HookKind, Route, TokenSource};
use crate::dialect::{Rejection, TokenPlace};
use crate::handler::{Admission, Upgrade};
use crate::hooks::HookClient;
use crate::runtime::wall_clock::unix_ms;
use crate::shard::settings::{TokenLookup, TokenRule};
use std::rc::Rc;
use std::sync::Arc;

/// The admission of one route's clients on one shard.
pub(super) struct Admitter {
    identity: Identity,
    /// The places of tokens, if the dialect has none.
    sources: Vec<TokenSource>,
    token_bytes_max: usize,
    anonymous: bool,
    /// Whether the dialect's tokens are in messages, not in upgrade requests.
    reads_messages: bool,
    rejection: Rejection,
    hooks: Option<Rc<HookClient>>,
}

/// The way to map a token to a user.
enum Identity {
    /// No mapping. A hook or a rule may use the token.
    None,
    Tokens(TokenRule),
    Jwt(Arc<JwtVerifier>),
}

/// The user that was found and the claims of the token.
type Identified = (Option<Box<str>>, Option<Claims>);

/// Returns whether this module admits the clients of a route. If the dialect has a place for
/// tokens, the gateway itself reads them and looks them up in a token table.
pub(super) fn is_needed(config: &Config, route: &Route) -> bool {
    let has_use = route.tokens.is_some() || config.rules_check_tokens(route);
    let is_read_here = route.dialect.route_spec().token == TokenPlace::Sources;
    route.jwt.is_some() || (has_use && is_read_here)
}

impl Admitter {
    /// Creates the admission of a route; `None` if there is nothing to find out.
    pub(super) fn new(
        config: &Config,
        route: &Route,
        verifier: Option<&Arc<JwtVerifier>>,
        hooks: Option<Rc<HookClient>>,
        tokens: &TokenRule,
    ) -> Option<Self> {
        let has_hook = |hooks: &Rc<HookClient>| {
            hooks.has_hook(HookKind::Open) || hooks.has_hook(HookKind::Authenticate)
        };
        let hooks = hooks.filter(has_hook);
        if hooks.is_none() && !is_needed(config, route) {
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

    /// Returns whether upgrade requests need admission. If tokens are in messages, only a hook
    /// does.
    pub(super) fn admits(&self) -> bool {
        self.has_hook(HookKind::Open) || !self.reads_messages
    }

    /// Returns whether tokens in messages need authentication here.
    pub(super) fn authenticates(&self) -> bool {
        self.reads_messages
            && match &self.identity {
                Identity::None => self.has_hook(HookKind::Authenticate),
                Identity::Jwt(_) => true,
                Identity::Tokens(_) => false, // the shard looks the token up
            }
    }

    fn has_hook(&self, kind: HookKind) -> bool {
        let hooks = self.hooks.as_ref();
        hooks.is_some_and(|hooks| hooks.has_hook(kind))
    }

    /// Returns the user of a token in a message; `None` if the token is invalid.
    pub(super) async fn authenticate(&self, token: &str) -> Option<String> {
        match &self.identity {
            Identity::None => self.hooks.as_ref()?.authenticate(token).await,
            Identity::Tokens(_) | Identity::Jwt(_) => {
                let (user, _) = self.user_of(token)?;
                Some(user.into())
            }
        }
    }

    /// Admits an upgrade request.
    ///
    /// # Errors
    ///
    /// The [`Rejection`] to send.
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
            Some(hooks) if hooks.has_hook(HookKind::Open) => {
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

    /// Returns the user and claims that the config can find.
    ///
    /// # Errors
    ///
    /// The [`Rejection`] of a client with a missing or invalid token.
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
            Identity::Tokens(tokens) => match tokens.look_up(token) {
                TokenLookup::User(user) => Some((user.into(), None)),
                TokenLookup::Unverified(_) | TokenLookup::Invalid | TokenLookup::AskHost => None,
            },
            Identity::Jwt(verifier) => match verifier.verify(token, unix_ms() / 1000) {
                Ok(verified) => Some((verified.user, Some(verified.claims))),
                Err(rejected) => {
                    // The log line of the upgrade names the client.
                    tracing::debug!(reason = %rejected, "a token was rejected");
                    None
                }
            },
        }
    }
}
