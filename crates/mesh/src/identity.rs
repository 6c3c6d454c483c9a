//! The caller of an RPC, and how one role authenticates to another.

use std::fmt;

use http::HeaderMap;
use reelmill_proto::Reason;
use subtle::ConstantTimeEq as _;

use crate::{headers, status::RpcError};

/// On whose behalf a call is made. [`crate::server::serve`] adds it to the extensions of every request that it
/// authenticates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A client that is not signed in.
    Anonymous,
    /// A signed-in user.
    User(UserSession),
    /// Another role (a process, not a gRPC service), by its name.
    Service(String),
}

/// A signed-in user and the session of the access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSession {
    /// Id of the user, without `users/`.
    pub user: String,
    /// Id of the session, without `sessions/`.
    pub session: String,
}

/// Scheme and authority by which the client reached the gateway, without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(pub String);

/// Secret shared by all roles of one installation.
#[derive(Clone)]
pub struct MeshKey(String);

impl MeshKey {
    /// A key of printable ASCII characters, at least 16.
    pub fn new(secret: &str) -> Result<Self, BadMeshKey> {
        let printable = secret.bytes().all(|byte| byte.is_ascii_graphic());
        if printable && secret.len() >= 16 { Ok(Self(secret.to_owned())) } else { Err(BadMeshKey) }
    }

    /// The secret in plain text, for the header.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn matches(&self, headers: &HeaderMap) -> bool {
        headers.get(headers::KEY).is_some_and(|key| key.as_bytes().ct_eq(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for MeshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshKey(hidden)")
    }
}

/// A mesh key that is too short or not printable.
#[derive(Debug, thiserror::Error)]
#[error("the mesh key must be at least 16 printable ASCII characters")]
pub struct BadMeshKey;

impl Caller {
    /// The caller of a request to a handler behind [`crate::server::serve`].
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or(Self::Anonymous)
    }

    /// The signed-in user.
    ///
    /// # Errors
    /// UNAUTHENTICATED for every other caller.
    pub fn user(&self) -> Result<&UserSession, RpcError> {
        match self {
            Self::User(user) => Ok(user),
            _ => Err(RpcError::unauthenticated(Reason::SignInRequired, "sign in first")),
        }
    }

    /// Whether this caller may act on resources of `owner` (a user id without `users/`): the owner and other roles
    /// may.
    pub fn may_act_for(&self, owner: &str) -> bool {
        match self {
            Self::User(user) => user.user == owner,
            Self::Service(_) => true,
            Self::Anonymous => false,
        }
    }

    /// The value of [`headers::CALLER`].
    pub fn to_header(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::User(UserSession { user, session }) => format!("user {user} {session}"),
            Self::Service(name) => format!("service {name}"),
        }
    }

    fn from_header(value: &str) -> Option<Self> {
        let words: Vec<&str> = value.split(' ').collect();
        match words.as_slice() {
            ["anonymous"] => Some(Self::Anonymous),
            ["user", user, session] => {
                Some(Self::User(UserSession { user: (*user).to_owned(), session: (*session).to_owned() }))
            }
            ["service", name] => Some(Self::Service((*name).to_owned())),
            _ => None,
        }
    }
}

impl Origin {
    /// The origin of a request, if the gateway could determine it.
    pub fn of<T>(request: &tonic::Request<T>) -> Option<String> {
        request.extensions().get::<Self>().map(|origin| origin.0.clone())
    }
}

/// The caller and origin in a request's headers, which count only with the right mesh key.
pub(crate) fn authenticate(key: &MeshKey, headers: &HeaderMap) -> Result<(Caller, Option<Origin>), RpcError> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    if !key.matches(headers) {
        return Err(RpcError::unauthenticated(
            Reason::MeshKeyInvalid,
            "this port is for calls between Reelmill's own roles; call the gateway",
        ));
    }
    let caller = text(headers::CALLER)
        .and_then(Caller::from_header)
        .ok_or_else(|| RpcError::unauthenticated(Reason::MeshCallerInvalid, "the call names no caller"))?;
    Ok((caller, text(headers::ORIGIN).map(|origin| Origin(origin.to_owned()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_header_then_from_header_returns_the_same_caller() {
        let user = Caller::User(UserSession { user: "u1".to_owned(), session: "s1".to_owned() });
        for caller in [Caller::Anonymous, user, Caller::Service("upload".to_owned())] {
            assert_eq!(Caller::from_header(&caller.to_header()), Some(caller));
        }
        assert_eq!(Caller::from_header("user only-one"), None);
    }

    #[test]
    fn authenticate_without_the_right_key_is_rejected() {
        let key = MeshKey::new("0123456789abcdef").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(headers::CALLER, "service upload".parse().unwrap());
        assert!(authenticate(&key, &headers).is_err());
        headers.insert(headers::KEY, "0123456789abcdeg".parse().unwrap());
        assert!(authenticate(&key, &headers).is_err());
        headers.insert(headers::KEY, "0123456789abcdef".parse().unwrap());
        assert_eq!(authenticate(&key, &headers).unwrap().0, Caller::Service("upload".to_owned()));
    }

    #[test]
    fn mesh_key_that_is_too_short_is_rejected() {
        assert!(MeshKey::new("short").is_err());
    }
}
