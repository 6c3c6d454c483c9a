//! CreateUser and GetUser.

use futures::future::join_all;
use reelmill_proto::{
    auth::{CreateUserRequest, GetUserRequest},
    unix_millis,
};
use rstest::rstest;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{AuthServer, Backend, assert_error, sign_up_request};

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn create_user_returns_account_that_get_user_returns(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let request =
        CreateUserRequest { display_name: " Ada ".to_owned(), ..sign_up_request(" Ada@Example.org\n") };
    let created = server.anonymous().create_user(request).await.unwrap().into_inner().user.unwrap();
    assert_eq!((created.email.as_str(), created.display_name.as_str()), ("Ada@Example.org", "Ada"));
    assert_eq!(unix_millis(&created.create_time.unwrap()), server.clock.now_millis());

    let ada = server.sign_in("ADA@example.ORG").await;
    assert_eq!(ada.user.as_ref(), Some(&created));
    let eve = server.sign_up_and_in("eve@example.org").await;
    let get = async |name: &str| {
        let request = GetUserRequest { name: name.to_owned() };
        server.as_user(&ada).get_user(request).await.map(|response| response.into_inner().user.unwrap())
    };
    assert_eq!(get("users/me").await.unwrap(), created);
    assert_eq!(get(&created.name).await.unwrap(), created);
    let eve_name = eve.user.unwrap().name;
    for other in [eve_name.as_str(), "users/", "users/\0", "me", "", "sessions/me", "users/me/x"] {
        assert_error(get(other).await, Code::NotFound, "USER_NOT_FOUND");
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn create_user_with_taken_email_in_any_case_is_rejected(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    server.sign_up("ada@example.org").await;
    for again in ["ada@example.org", "aDa@eXample.oRG", "  ADA@EXAMPLE.ORG "] {
        assert_error(
            server.anonymous().create_user(sign_up_request(again)).await,
            Code::AlreadyExists,
            "EMAIL_TAKEN",
        );
    }
    server.sign_up("ada@example.com").await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn create_user_concurrently_with_one_email_creates_one_account(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let emails = (0..8).map(|n| if n % 2 == 0 { "ada@example.org" } else { "Ada@Example.Org" });
    let calls = emails.map(|email| {
        let mut client = server.anonymous();
        async move { client.create_user(sign_up_request(email)).await }
    });
    let (created, taken): (Vec<_>, Vec<_>) = join_all(calls).await.into_iter().partition(Result::is_ok);
    assert_eq!((created.len(), taken.len()), (1, 7));
    for response in taken {
        assert_error(response, Code::AlreadyExists, "EMAIL_TAKEN");
    }
    assert_eq!(server.query_text("SELECT CAST(count(*) AS text) FROM users").await, "1");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn create_user_with_invalid_field_names_the_field(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let valid = sign_up_request("ada@example.org");
    let weak = |password: String| CreateUserRequest { password, ..valid.clone() };
    let cases = [
        (sign_up_request(""), "EMAIL_INVALID", "email"),
        (sign_up_request("ada"), "EMAIL_INVALID", "email"),
        (sign_up_request("ada\0@example.org"), "EMAIL_INVALID", "email"),
        (sign_up_request(&format!("ada@{}", vec!["x".repeat(60); 5].join("."))), "EMAIL_INVALID", "email"),
        (weak(String::new()), "PASSWORD_TOO_WEAK", "password"),
        (weak("1234567".to_owned()), "PASSWORD_TOO_WEAK", "password"),
        (weak("ab".repeat(513)), "PASSWORD_TOO_WEAK", "password"),
        (weak("Ada@example.org".to_owned()), "PASSWORD_TOO_WEAK", "password"),
        (
            CreateUserRequest { display_name: "x".repeat(201), ..valid.clone() },
            "FIELD_INVALID",
            "display_name",
        ),
    ];
    for (request, reason, field) in cases {
        let status =
            assert_error(server.anonymous().create_user(request).await, Code::InvalidArgument, reason);
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, field);
    }
    server.anonymous().create_user(valid).await.unwrap();
}
