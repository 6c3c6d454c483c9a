//! The auth role as its callers see it: served on a port of its own, on SQLite and on Postgres.

mod check;
mod refresh;
mod sessions;
mod sign_in;
mod sign_up;
mod system;

use system::System;

/// Each story is a test on SQLite and another on Postgres.
macro_rules! stories {
    ($($area:ident: $($story:ident),+ $(,)?;)+) => {
        mod on_sqlite {
            $(mod $area {
                $(#[tokio::test(flavor = "multi_thread")]
                async fn $story() {
                    let folder = tempfile::tempdir().unwrap();
                    let url = format!("sqlite://{}/auth.db", folder.path().display());
                    crate::$area::$story(crate::System::open(&url).await).await;
                })+
            })+
        }

        mod on_postgres {
            $(mod $area {
                $(#[tokio::test(flavor = "multi_thread")]
                async fn $story() {
                    let server = reelmill_testkit::shared::postgres().await;
                    let name = concat!(stringify!($area), "_", stringify!($story));
                    let url = server.create_database(name).await.unwrap();
                    crate::$area::$story(crate::System::open(&url).await).await;
                })+
            })+
        }
    };
}

stories! {
    sign_up:
        an_account_is_made_and_read,
        an_address_is_taken_in_any_case,
        of_many_at_once_one_wins,
        what_is_wrong_is_said_by_field;
    sign_in:
        a_wrong_password_and_an_unknown_address_look_alike,
        the_access_token_verifies_with_the_listed_key,
        a_key_keeps_its_age,
        an_outdated_hash_is_made_again,
        too_many_at_once_are_told_to_come_back;
    refresh:
        a_token_is_exchanged_for_the_next,
        a_replay_ends_the_family,
        two_tabs_may_race,
        of_many_at_once_one_wins,
        an_idle_session_expires,
        what_has_expired_is_removed,
        garbage_is_no_token,
        a_browser_keeps_it_in_a_cookie,
        a_hub_that_is_away_spends_no_token,
        a_replay_while_the_hub_is_away_is_told_later;
    sessions:
        they_are_listed_newest_first,
        signing_out_ends_one,
        of_others_nothing_is_learnt,
        signing_out_everywhere_ends_all,
        a_hub_that_is_away_is_told_on_repetition,
        a_sign_in_comes_first;
    check:
        a_flushed_hub_gets_back_what_it_lost,
        what_is_unknown_is_not_alive,
        it_is_for_roles_only;
}
