//! Making an account.

use futures::future::join_all;
use reelmill_proto::{
    auth::{CreateUserRequest, GetUserRequest},
    unix_millis,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::system::{System, refused, sign_up};

pub async fn an_account_is_made_and_read(system: System) {
    let request = CreateUserRequest { display_name: " Ada ".to_owned(), ..sign_up(" Ada@Example.org\n") };
    let made = system.anyone().create_user(request).await.unwrap().into_inner().user.unwrap();
    assert_eq!((made.email.as_str(), made.display_name.as_str()), ("Ada@Example.org", "Ada"));
    assert_eq!(unix_millis(&made.create_time.unwrap()), system.clock.now_millis());

    let ada = system.sign_in("ADA@example.ORG").await;
    assert_eq!(ada.user.as_ref(), Some(&made));
    let eve = system.newcomer("eve@example.org").await;
    let get = async |name: &str| {
        let request = GetUserRequest { name: name.to_owned() };
        system.as_user(&ada).get_user(request).await.map(|answer| answer.into_inner().user.unwrap())
    };
    assert_eq!(get("users/me").await.unwrap(), made);
    assert_eq!(get(&made.name).await.unwrap(), made);
    let of_eve = eve.user.unwrap().name;
    for other in [of_eve.as_str(), "users/", "users/\0", "me", "", "sessions/me", "users/me/x"] {
        refused(get(other).await, Code::NotFound, "USER_NOT_FOUND");
    }
}

pub async fn an_address_is_taken_in_any_case(system: System) {
    system.sign_up("ada@example.org").await;
    for again in ["ada@example.org", "aDa@eXample.oRG", "  ADA@EXAMPLE.ORG "] {
        refused(system.anyone().create_user(sign_up(again)).await, Code::AlreadyExists, "EMAIL_TAKEN");
    }
    system.sign_up("ada@example.com").await;
}

pub async fn of_many_at_once_one_wins(system: System) {
    let emails = (0..8).map(|n| if n % 2 == 0 { "ada@example.org" } else { "Ada@Example.Org" });
    let calls = emails.map(|email| {
        let mut client = system.anyone();
        async move { client.create_user(sign_up(email)).await }
    });
    let (made, taken): (Vec<_>, Vec<_>) = join_all(calls).await.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), taken.len()), (1, 7));
    for answer in taken {
        refused(answer, Code::AlreadyExists, "EMAIL_TAKEN");
    }
    assert_eq!(system.query("SELECT CAST(count(*) AS text) FROM users").await, "1");
}

pub async fn what_is_wrong_is_said_by_field(system: System) {
    let good = sign_up("ada@example.org");
    let weak = |password: String| CreateUserRequest { password, ..good.clone() };
    let cases = [
        (sign_up(""), "EMAIL_INVALID", "email"),
        (sign_up("ada"), "EMAIL_INVALID", "email"),
        (sign_up("ada\0@example.org"), "EMAIL_INVALID", "email"),
        (sign_up(&format!("ada@{}", vec!["x".repeat(60); 5].join("."))), "EMAIL_INVALID", "email"),
        (weak(String::new()), "PASSWORD_TOO_WEAK", "password"),
        (weak("1234567".to_owned()), "PASSWORD_TOO_WEAK", "password"),
        (weak("ab".repeat(513)), "PASSWORD_TOO_WEAK", "password"),
        (weak("Ada@example.org".to_owned()), "PASSWORD_TOO_WEAK", "password"),
        (
            CreateUserRequest { display_name: "x".repeat(201), ..good.clone() },
            "FIELD_INVALID",
            "display_name",
        ),
    ];
    for (request, reason, field) in cases {
        let status = refused(system.anyone().create_user(request).await, Code::InvalidArgument, reason);
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, field);
    }
    system.anyone().create_user(good).await.unwrap();
}
