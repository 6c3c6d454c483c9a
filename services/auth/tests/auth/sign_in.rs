//! Signing in, and what the access token says.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::future::join_all;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use reelmill_auth::{PasswordHashing, generate_signing_key, public_key, token::AccessClaims};
use reelmill_proto::{
    auth::{ListSigningKeysRequest, SigningKey},
    unix_millis,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::system::{PASSWORD, System, alive, credentials, refused, session_id, user_id};
use reelmill_platform::shared_state::SessionCache as _;

pub async fn a_wrong_password_and_an_unknown_address_look_alike(system: System) {
    system.sign_up("ada@example.org").await;
    let try_in = async |email: &str, password: &str| {
        let answer = system.anyone().create_session(credentials(email, password)).await;
        let status = refused(answer, Code::Unauthenticated, "CREDENTIALS_WRONG");
        (status.message().to_owned(), status.details().to_vec())
    };
    let wrong = try_in("ada@example.org", "wrong horse").await;
    assert_eq!(wrong, try_in("bob@example.org", PASSWORD).await);
    assert_eq!(wrong, try_in("not an address \0", PASSWORD).await);
    assert_eq!(wrong, try_in("ada@example.org", "").await);
    assert_eq!(wrong, try_in("ada@example.org", &"x".repeat(100_000)).await);
    system.sign_in("ada@example.org").await;
}

async fn listed_key(system: &System) -> SigningKey {
    let listed = system.anyone().list_signing_keys(ListSigningKeysRequest {}).await.unwrap();
    listed.into_inner().signing_keys.swap_remove(0)
}

fn verify(token: &str, key: &SigningKey) -> jsonwebtoken::errors::Result<AccessClaims> {
    let decoding = DecodingKey::from_ed_components(&URL_SAFE_NO_PAD.encode(&key.public_key))?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&["reelmill"]);
    // The story's clock is not the machine's.
    validation.validate_exp = false;
    decode::<AccessClaims>(token, &decoding, &validation).map(|token| token.claims)
}

pub async fn the_access_token_verifies_with_the_listed_key(system: System) {
    let ada = system.newcomer("ada@example.org").await;
    let key = listed_key(&system).await;
    assert_eq!(key.algorithm, "EdDSA");
    assert_eq!(key.public_key, public_key(&system.config.signing_key_pem).unwrap());
    let header = decode_header(&ada.access_token).unwrap();
    assert_eq!((header.alg, header.kid), (Algorithm::EdDSA, Some(key.kid.clone())));

    let claims = verify(&ada.access_token, &key).unwrap();
    let now = system.clock.now_millis() / 1000;
    assert_eq!((claims.sub, claims.sid.clone()), (user_id(&ada), session_id(&ada)));
    assert_eq!((claims.iat, claims.exp), (now, now + 15 * 60));
    assert_eq!(unix_millis(&ada.access_token_expire_time.unwrap()), claims.exp * 1000);
    assert_eq!(system.session_cache.get(&claims.sid).await.unwrap(), alive(&ada));

    let again = system.sign_in("ada@example.org").await;
    let others = verify(&again.access_token, &key).unwrap();
    assert!(others.jti != claims.jti && others.sid != claims.sid);

    let stranger = system.replica(|config| config.signing_key_pem = generate_signing_key()).await;
    assert!(verify(&ada.access_token, &listed_key(&stranger).await).is_err());
}

pub async fn a_key_keeps_its_age(system: System) {
    let first = listed_key(&system).await;
    assert_eq!(unix_millis(&first.create_time.unwrap()), system.clock.now_millis());
    system.clock.advance(Duration::from_secs(3600));
    assert_eq!(listed_key(&system.replica(|_| ()).await).await, first);
    let next = system.replica(|config| config.signing_key_pem = generate_signing_key()).await;
    let second = listed_key(&next).await;
    assert_ne!(second.kid, first.kid);
    assert_eq!(unix_millis(&second.create_time.unwrap()), system.clock.now_millis());
}

pub async fn an_outdated_hash_is_made_again(system: System) {
    system.sign_up("ada@example.org").await;
    let hash = async || system.query("SELECT password_hash FROM users").await;
    let first = hash().await;
    assert!(first.contains("m=64,t=1"), "{first}");
    let dearer = system.replica(|config| config.password_hashing.memory_kib = 128).await;
    refused(
        dearer.anyone().create_session(credentials("ada@example.org", "wrong horse")).await,
        Code::Unauthenticated,
        "CREDENTIALS_WRONG",
    );
    assert_eq!(hash().await, first, "a wrong password replaces nothing");
    dearer.sign_in("ada@example.org").await;
    let second = hash().await;
    assert!(second.contains("m=128,t=1"), "{second}");
    dearer.sign_in("ada@example.org").await;
    assert_eq!(hash().await, second);
}

pub async fn too_many_at_once_are_told_to_come_back(system: System) {
    let slow = PasswordHashing {
        memory_kib: 64 * 1024,
        iterations: 3,
        parallelism: 1,
        concurrency: 1,
        longest_wait: Duration::ZERO,
    };
    let system = system.replica(|config| config.password_hashing = slow).await;
    let calls = (0..12).map(|_| {
        let mut client = system.anyone();
        async move { client.create_session(credentials("ada@example.org", PASSWORD)).await }
    });
    let answers = join_all(calls).await;
    let (tried, turned_away): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|answer| answer.as_ref().is_err_and(|status| status.code() == Code::Unauthenticated));
    assert!(!tried.is_empty() && !turned_away.is_empty());
    for answer in turned_away {
        let status = refused(answer, Code::ResourceExhausted, "OVERLOADED");
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    }
}
