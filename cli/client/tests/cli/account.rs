//! Signing in and out, tokens, and what every command does with refusals.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use reelmill_proto::upload::Video;
use tonic::Code;

use crate::{
    Desk, ended,
    fake::{quota, refusal},
};

#[tokio::test]
async fn sign_up_signs_in_and_sign_out_forgets() {
    let desk = Desk::new().await;
    let ended = desk.run("--json sign-up --email a@b.c --password-file password").await.expect(0);
    assert_eq!(ended.json()["name"], "users/u");
    assert_eq!(ended.stderr, "");
    assert!(!ended.stdout.contains("access-"));
    let credentials = desk.path("profile/credentials.json");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(credentials), mode(desk.path("profile"))), (0o600, 0o700));
    desk.run("videos --json").await.expect(0);

    assert_eq!(desk.run("sign-out --json").await.expect(0).json(), serde_json::json!({}));
    assert_eq!(desk.credentials()["servers"], serde_json::json!({}));
    assert!(desk.fake.state().refresh.is_none());
    desk.run("videos").await.expect(4).told("NOT_SIGNED_IN");
    desk.run("sign-out").await.expect(0);
    desk.run("sign-in --email a@b.c --password-file password").await.expect(0);
    desk.run("videos").await.expect(0);
}

#[tokio::test]
async fn sign_out_forgets_a_session_that_is_over_already() {
    let desk = Desk::signed_in().await;
    desk.fake.state().access.clear();
    desk.fake.state().refresh = None;
    desk.run("sign-out").await.expect(0);
    assert_eq!(desk.credentials()["servers"], serde_json::json!({}));
}

#[tokio::test]
async fn signing_in_again_ends_the_former_session() {
    let desk = Desk::signed_in().await;
    desk.run("sign-in --email a@b.c --password-file password").await.expect(0);
    assert_eq!(desk.fake.state().access.iter().collect::<Vec<_>>(), ["access-2"]);
    desk.run("videos").await.expect(0);
}

#[tokio::test]
async fn exit_codes_tell_usage_absence_and_refusal_apart() {
    let desk = Desk::signed_in().await;
    desk.file("empty", b"");
    desk.file("wrong", b"wrong");
    desk.run("fly").await.expect(2);
    desk.run("sign-in").await.expect(2).told("NOT_INTERACTIVE");
    desk.run("sign-in --email a@b.c --password-file empty --json").await.expect(2).told("PASSWORD_EMPTY");
    desk.run("upload missing.mp4 --json").await.expect(2).told("FILE_NOT_FOUND");
    desk.run("sign-in --email a@b.c --password-file wrong --json").await.expect(4).told("CREDENTIALS_WRONG");
    desk.run("sign-up --email a@b.c --password-file password").await.expect(4).told("EMAIL_TAKEN");
    desk.run("delete nothing --json").await.expect(4).told("VIDEO_NOT_FOUND");
    assert_eq!(desk.run("delete there --json").await.expect(0).json(), serde_json::json!({}));
    desk.fake.state().refusals.push_back(refusal(Code::Internal, "INTERNAL"));
    desk.run("videos --json").await.expect(1).told("INTERNAL");
    let ended = ended(desk.start_at("not-an-address", "videos")).await;
    ended.expect(2).told("SERVER_ADDRESS_INVALID");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once() {
    let desk = Desk::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let line = "sign-in --email a@b.c --password-file password --json";
    let ended = ended(desk.start_at(&format!("http://{free}"), line)).await;
    assert!(ended.stderr.contains("refused"), "{ended:?}");
    ended.expect(3).told("SERVER_UNREACHABLE");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_also_to_who_is_not_signed_in() {
    let desk = Desk::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for line in ["videos --json", "jobs", "watch 1", "download 1", "delete 1 --yes", "upload password --json"]
    {
        let ended = ended(desk.start_at(&format!("http://{free}"), line)).await;
        assert!(ended.stderr.contains("refused"), "{line}: {ended:?}");
        ended.expect(3).told("SERVER_UNREACHABLE");
        desk.run(line).await.expect(4).told("NOT_SIGNED_IN");
    }
}

#[tokio::test]
async fn the_profile_may_be_named_by_the_environment() {
    let desk = Desk::new().await;
    let sign_up = |line: &str| {
        let mut command = desk.command(&desk.fake.url(), line);
        // Where the profile is without the variable: never the home folder of who runs the test.
        command.env("XDG_CONFIG_HOME", desk.path("default")).env("REELMILL_PROFILE_DIR", desk.path("named"));
        command.spawn().unwrap()
    };
    ended(sign_up("sign-up --email a@b.c --password-file password")).await.expect(0);
    assert!(desk.path("named/credentials.json").exists() && !desk.path("default").exists());
    // The option goes before the variable.
    ended(sign_up("videos --profile-dir other")).await.expect(4).told("NOT_SIGNED_IN");
    ended(sign_up("videos")).await.expect(0);
}

#[tokio::test]
async fn delete_tells_when_it_does_not_ask() {
    let help = Desk::new().await.run("delete --help").await.expect(0).stdout;
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("Without a terminal to ask on, or with --json, it does not ask"), "{help}");
}

#[tokio::test]
async fn many_processes_refresh_an_ending_token_once() {
    let desk = Desk::new().await;
    desk.fake.state().first_token_seconds = 10;
    desk.run("sign-up --email a@b.c --password-file password").await.expect(0);
    let processes: Vec<_> = (0..6).map(|_| desk.start("videos --json")).collect();
    for process in processes {
        ended(process).await.expect(0);
    }
    let state = desk.fake.state();
    assert_eq!((state.refreshes, state.replays), (1, 0));
}

#[tokio::test]
async fn a_token_that_the_server_refuses_is_refreshed_once() {
    let desk = Desk::signed_in().await;
    desk.fake.state().access.clear();
    desk.run("videos").await.expect(0);
    assert_eq!(desk.fake.state().refreshes, 1);
    // Now the session is over altogether: told, and forgotten.
    desk.fake.state().access.clear();
    desk.fake.state().refresh = None;
    desk.run("videos").await.expect(4).told("REFRESH_TOKEN_REPLAYED");
    desk.run("videos").await.expect(4).told("NOT_SIGNED_IN");
}

#[tokio::test]
async fn a_quota_is_waited_for() {
    let desk = Desk::signed_in().await;
    desk.fake.state().refusals.extend((0..2).map(|_| quota(Duration::from_millis(10))));
    desk.run("videos").await.expect(0);
    desk.fake.state().refusals.extend((0..50).map(|_| quota(Duration::from_millis(10))));
    desk.run("videos --json").await.expect(4).told("RATE_LIMITED");
}

#[tokio::test]
async fn lists_have_all_pages_and_titles_are_harmless() {
    let desk = Desk::signed_in().await;
    let title = |n: usize| format!("title {n} \x1b[31m映画\nnext");
    let video = |n| Video { name: format!("videos/{n}"), display_name: title(n), ..Video::default() };
    desk.fake.state().videos = (0..5).map(video).collect();
    let list = desk.run("videos --json").await.expect(0).json();
    assert_eq!(list["videos"].as_array().unwrap().len(), 5);
    assert_eq!(list["videos"][4]["name"], "videos/4");
    assert_eq!(list["nextPageToken"], "");
    let table = desk.run("videos").await.expect(0).stdout;
    assert!(table.lines().count() == 6 && !table.contains('\x1b') && table.contains("映画"), "{table}");
    assert_eq!(desk.run("jobs --json").await.expect(0).json()["jobs"][0]["state"], "RUNNING");
}
