//! Why a token is not believed.

/// Why a token is not believed. For our logs; the client hears its dialect's refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Rejected {
    /// It has more than `limits.token_bytes_max` bytes.
    #[error("the token is too long")]
    TooLong,
    /// It is not three parts of base64url, or its header or claims are not what they should be.
    #[error("the token is malformed")]
    Malformed,
    /// It wants us to understand something by `crit` (RFC 7515 4.1.11).
    #[error("the token has a crit header")]
    Critical,
    /// It is not of the algorithm that the key is for, or not signed at all.
    #[error("the token is not of the key's algorithm")]
    Algorithm,
    /// It names a key that there is not.
    #[error("the token's kid is of no key")]
    UnknownKey,
    /// It names no key where there are several.
    #[error("the token has no kid, and there are several keys")]
    NoKeyId,
    /// Somebody else signed it, or it was changed.
    #[error("the token's signature is wrong")]
    Signature,
    /// It has no `exp`, or times that are no numbers.
    #[error("the token's exp or nbf is missing or not a number")]
    Times,
    /// It was good until `exp`.
    #[error("the token has expired")]
    Expired,
    /// It will be good from `nbf` on.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It is not of the configured issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// It is not for the configured audience, or for one where none is configured.
    #[error("the token is for another audience")]
    Audience,
    /// The user's claim is missing, empty, or neither a string nor an integer.
    #[error("the token names no user")]
    NoUser,
    /// The user's name is longer than allowed.
    #[error("the token's user has too long a name")]
    LongUser,
}
