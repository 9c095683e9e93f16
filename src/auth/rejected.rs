//! Token errors.

/// The reason why a token is invalid, for logs. The client receives the rejection of its dialect.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum TokenError {
    /// The token has more than `limits.token_bytes_max` bytes.
    #[error("the token is too long")]
    TooLong,
    /// The token is not three parts of base64url, or its header or claims are not valid JSON.
    #[error("the token is malformed")]
    Malformed,
    /// The header has `crit`, which requires extensions (RFC 7515 4.1.11). None is supported.
    #[error("the token has a crit header")]
    Critical,
    /// The token's algorithm is not the key's, or the token is not signed.
    #[error("the token is not of the key's algorithm")]
    Algorithm,
    /// No key has the token's `kid`.
    #[error("no key has the token's kid")]
    UnknownKey,
    /// The token has no `kid`, and several keys are possible.
    #[error("the token has no kid, and there are several keys")]
    NoKeyId,
    /// The signature is not that of the key.
    #[error("the token's signature is wrong")]
    Signature,
    /// `exp` is missing, or `exp` or `nbf` is not a number.
    #[error("the token's exp or nbf is missing or not a number")]
    Times,
    /// `exp` is in the past.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` is not the configured issuer.
    #[error("the token is from another issuer")]
    Issuer,
    /// `aud` is not the configured audience, or is present although none is configured.
    #[error("the token is for another audience")]
    Audience,
    /// The user's claim is missing, empty, or neither a string nor an integer.
    #[error("the token names no user")]
    NoUser,
    /// The user has more than `limits.name_bytes_max` bytes.
    #[error("the token's user is too long")]
    LongUser,
}
