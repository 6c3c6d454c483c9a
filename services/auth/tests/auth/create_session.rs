//! CreateSession, access tokens and ListSigningKeys.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::future::join_all;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use reelmill_auth::{AccessClaims, PasswordHashing, generate_signing_key, public_key};
use reelmill_platform::shared_state::SessionCache as _;
use reelmill_proto::{
    auth::{ListSigningKeysRequest, SigningKey},
    unix_millis,
};
use rstest::rstest;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    AuthServer, Backend, PASSWORD, alive, assert_error, session_id, sign_in_request, user_id,
};

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn create_session_with_wrong_password_or_unknown_email_returns_same_error(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    server.sign_up("ada@example.org").await;
    let attempt = async |email: &str, password: &str| {
        let response = server.anonymous().create_session(sign_in_request(email, password)).await;
        let status = assert_error(response, Code::Unauthenticated, "CREDENTIALS_WRONG");
        (status.message().to_owned(), status.details().to_vec())
    };
    let wrong = attempt("ada@example.org", "wrong horse").await;
    assert_eq!(wrong, attempt("bob@example.org", PASSWORD).await);
    assert_eq!(wrong, attempt("not an address \0", PASSWORD).await);
    assert_eq!(wrong, attempt("ada@example.org", "").await);
    assert_eq!(wrong, attempt("ada@example.org", &"x".repeat(100_000)).await);
    server.sign_in("ada@example.org").await;
}

async fn listed_key(server: &AuthServer) -> SigningKey {
    let listed = server.anonymous().list_signing_keys(ListSigningKeysRequest {}).await.unwrap();
    listed.into_inner().signing_keys.swap_remove(0)
}

fn verify(token: &str, key: &SigningKey) -> jsonwebtoken::errors::Result<AccessClaims> {
    let decoding = DecodingKey::from_ed_components(&URL_SAFE_NO_PAD.encode(&key.public_key))?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&["reelmill"]);
    // The server has a manual clock.
    validation.validate_exp = false;
    decode::<AccessClaims>(token, &decoding, &validation).map(|token| token.claims)
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn access_token_verifies_only_with_listed_key(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let ada = server.sign_up_and_in("ada@example.org").await;
    let key = listed_key(&server).await;
    assert_eq!(key.algorithm, "EdDSA");
    assert_eq!(key.public_key, public_key(&server.config.signing_key_pem).unwrap());
    let header = decode_header(&ada.access_token).unwrap();
    assert_eq!((header.alg, header.kid), (Algorithm::EdDSA, Some(key.kid.clone())));

    let claims = verify(&ada.access_token, &key).unwrap();
    let now = server.clock.now_millis() / 1000;
    assert_eq!((claims.sub, claims.sid.clone()), (user_id(&ada), session_id(&ada)));
    assert_eq!((claims.iat, claims.exp), (now, now + 15 * 60));
    assert_eq!(unix_millis(&ada.access_token_expire_time.unwrap()), claims.exp * 1000);
    assert_eq!(server.session_cache.get(&claims.sid).await.unwrap(), alive(&ada));

    let again = server.sign_in("ada@example.org").await;
    let others = verify(&again.access_token, &key).unwrap();
    assert!(others.jti != claims.jti && others.sid != claims.sid);

    let other_key = server.start_replica(|config| config.signing_key_pem = generate_signing_key()).await;
    assert!(verify(&ada.access_token, &listed_key(&other_key).await).is_err());
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn list_signing_keys_returns_first_use_of_each_key(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let first = listed_key(&server).await;
    assert_eq!(unix_millis(&first.create_time.unwrap()), server.clock.now_millis());
    server.clock.advance(Duration::from_secs(3600));
    assert_eq!(listed_key(&server.start_replica(|_| ()).await).await, first);
    let next = server.start_replica(|config| config.signing_key_pem = generate_signing_key()).await;
    let second = listed_key(&next).await;
    assert_ne!(second.kid, first.kid);
    assert_eq!(unix_millis(&second.create_time.unwrap()), server.clock.now_millis());
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn create_session_replaces_outdated_password_hash(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    server.sign_up("ada@example.org").await;
    let hash = async || server.query_text("SELECT password_hash FROM users").await;
    let first = hash().await;
    assert!(first.contains("m=64,t=1"), "{first}");
    let costlier = server.start_replica(|config| config.password_hashing.memory_kib = 128).await;
    assert_error(
        costlier.anonymous().create_session(sign_in_request("ada@example.org", "wrong horse")).await,
        Code::Unauthenticated,
        "CREDENTIALS_WRONG",
    );
    assert_eq!(hash().await, first, "a wrong password replaced the hash");
    costlier.sign_in("ada@example.org").await;
    let second = hash().await;
    assert!(second.contains("m=128,t=1"), "{second}");
    costlier.sign_in("ada@example.org").await;
    assert_eq!(hash().await, second);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn create_session_under_overload_is_rejected_with_retry_info(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let slow = PasswordHashing {
        memory_kib: 64 * 1024,
        iterations: 3,
        parallelism: 1,
        concurrency: 1,
        max_wait: Duration::ZERO,
    };
    let server = server.start_replica(|config| config.password_hashing = slow).await;
    let calls = (0..12).map(|_| {
        let mut client = server.anonymous();
        async move { client.create_session(sign_in_request("ada@example.org", PASSWORD)).await }
    });
    let responses = join_all(calls).await;
    let (tried, rejected): (Vec<_>, Vec<_>) = responses
        .into_iter()
        .partition(|response| response.as_ref().is_err_and(|status| status.code() == Code::Unauthenticated));
    assert!(!tried.is_empty() && !rejected.is_empty());
    for response in rejected {
        let status = assert_error(response, Code::ResourceExhausted, "OVERLOADED");
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    }
}
