//! Who a call is made for, and how one role proves to another that it may say so.

use std::fmt;

use http::HeaderMap;
use reelmill_proto::Reason;
use subtle::ConstantTimeEq as _;

use crate::{RpcError, headers};

/// On whose behalf a call is made. Found in the extensions of every request that
/// [`crate::server::serve`] lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody who signed in.
    Anonymous,
    /// A person or program that signed in.
    User(UserSession),
    /// One of Reelmill's own roles, by its name.
    Service(String),
}

/// A signed-in user and the session they came by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSession {
    /// Bare id of the user, without `users/`.
    pub user: String,
    /// Bare id of the session, without `sessions/`.
    pub session: String,
}

/// Scheme and authority that the client came by, without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(pub String);

/// The secret that all roles of one system share.
#[derive(Clone)]
pub struct MeshKey(String);

impl MeshKey {
    /// Takes the secret: printable ASCII, at least 16 characters.
    pub fn new(secret: &str) -> Result<Self, BadMeshKey> {
        let printable = secret.bytes().all(|byte| byte.is_ascii_graphic());
        if printable && secret.len() >= 16 { Ok(Self(secret.to_owned())) } else { Err(BadMeshKey) }
    }

    /// The secret, for the header.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn opens(&self, headers: &HeaderMap) -> bool {
        headers.get(headers::KEY).is_some_and(|shown| shown.as_bytes().ct_eq(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for MeshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshKey(hidden)")
    }
}

/// A mesh secret that is too short or not printable.
#[derive(Debug, thiserror::Error)]
#[error("the mesh key must be at least 16 printable ASCII characters")]
pub struct BadMeshKey;

impl Caller {
    /// The caller of a request that came through [`crate::server::serve`].
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or(Self::Anonymous)
    }

    /// The user, or UNAUTHENTICATED.
    pub fn user(&self) -> Result<&UserSession, RpcError> {
        match self {
            Self::User(user) => Ok(user),
            _ => Err(RpcError::unauthenticated(Reason::SignInRequired, "sign in first")),
        }
    }

    /// Whether this caller may act on what belongs to `owner` (a bare user id): the owner may, and
    /// Reelmill's own roles may.
    pub fn may_act_for(&self, owner: &str) -> bool {
        match self {
            Self::User(user) => user.user == owner,
            Self::Service(_) => true,
            Self::Anonymous => false,
        }
    }

    /// The form of [`headers::CALLER`].
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
    /// The origin of a request, where the gateway knew it.
    pub fn of<T>(request: &tonic::Request<T>) -> Option<String> {
        request.extensions().get::<Self>().map(|origin| origin.0.clone())
    }
}

/// Believes a request's headers if it shows the mesh key.
pub(crate) fn admit(key: &MeshKey, headers: &HeaderMap) -> Result<(Caller, Option<Origin>), RpcError> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    if !key.opens(headers) {
        return Err(RpcError::unauthenticated(
            Reason::MeshKeyInvalid,
            "this port is for Reelmill's own roles",
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
    fn callers_survive_the_header() {
        let user = Caller::User(UserSession { user: "u1".to_owned(), session: "s1".to_owned() });
        for caller in [Caller::Anonymous, user, Caller::Service("upload".to_owned())] {
            assert_eq!(Caller::from_header(&caller.to_header()), Some(caller));
        }
        assert_eq!(Caller::from_header("user only-one"), None);
    }

    #[test]
    fn only_the_key_opens() {
        let key = MeshKey::new("0123456789abcdef").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(headers::CALLER, "service upload".parse().unwrap());
        assert!(admit(&key, &headers).is_err());
        headers.insert(headers::KEY, "0123456789abcdeg".parse().unwrap());
        assert!(admit(&key, &headers).is_err());
        headers.insert(headers::KEY, "0123456789abcdef".parse().unwrap());
        assert_eq!(admit(&key, &headers).unwrap().0, Caller::Service("upload".to_owned()));
        assert!(MeshKey::new("short").is_err());
    }
}
