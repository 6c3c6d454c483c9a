//! Jobs as their owners and the upload role see them.

use std::time::Duration;

use reelmill_proto::transcode::{
    CancelJobRequest, GetJobRequest, ListJobsRequest, WatchJobRequest, WatchJobsRequest, job::State,
};
use tokio::time::timeout;

use crate::{
    fake::complete,
    world::{World, reason},
};

const SOON: Duration = Duration::from_secs(5);

async fn one_request_makes_one_job(world: World) {
    let first = world.job("ann", "v1").await;
    let again = world.job("ann", "v1").await;
    assert_eq!(first.name, again.name);
    world.transcode.sweep().await.unwrap();
    assert!(world.message(SOON).await.is_some());
    assert!(world.message(Duration::from_millis(100)).await.is_none(), "one task, one message");
}

async fn others_jobs_are_not_there(world: World) {
    let job = world.job("ann", "v1").await;
    let get = |name: &str| GetJobRequest { name: name.to_owned() };
    assert!(world.user("ann").get_job(get(&job.name)).await.is_ok());
    assert_eq!(reason(world.user("bob").get_job(get(&job.name)).await), "JOB_NOT_FOUND");
    let cancel = CancelJobRequest { name: job.name.clone() };
    assert_eq!(reason(world.user("bob").cancel_job(cancel).await), "JOB_NOT_FOUND");
    let watch = WatchJobRequest { name: job.name.clone(), revision: 0 };
    assert_eq!(reason(world.user("bob").watch_job(watch).await), "JOB_NOT_FOUND");
    for bad in ["", "jobs/", "jobs/../x", "videos/1", "jobs/unknown"] {
        assert_eq!(reason(world.user("ann").get_job(get(bad)).await), "JOB_NOT_FOUND", "{bad}");
    }
    let listed = world.user("bob").list_jobs(ListJobsRequest::default()).await.unwrap().into_inner();
    assert!(listed.jobs.is_empty());
    // Users can't see everybody's feed, nor make jobs, whatever the gateway does.
    let feed = world.user("ann").watch_jobs(WatchJobsRequest { revision: 0 }).await;
    assert_eq!(reason(feed), "METHOD_UNKNOWN");
}

async fn lists_are_paged(world: World) {
    for number in 0..5 {
        world.job("ann", &format!("v{number}")).await;
    }
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListJobsRequest { page_size: 2, page_token };
        let page = world.user("ann").list_jobs(request).await.unwrap().into_inner();
        assert!(page.jobs.len() <= 2);
        names.extend(page.jobs.into_iter().map(|job| job.video));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["videos/v4", "videos/v3", "videos/v2", "videos/v1", "videos/v0"]);
    let bad = ListJobsRequest { page_token: "%%%".to_owned(), page_size: 0 };
    assert_eq!(reason(world.user("ann").list_jobs(bad).await), "PAGE_TOKEN_INVALID");
}

async fn a_watch_tells_the_whole_story_and_ends(world: World) {
    let job = world.job("ann", "v1").await;
    let watch = WatchJobRequest { name: job.name.clone(), revision: 0 };
    let mut changes = world.user("ann").watch_job(watch).await.unwrap().into_inner();
    let mut states = Vec::new();
    let first = timeout(SOON, changes.message()).await.unwrap().unwrap().unwrap().job.unwrap();
    states.push(first.state());
    let started = world.start().await;
    world.make_single(&started).await;
    let mut revision = first.revision;
    while let Some(change) = timeout(SOON, changes.message()).await.unwrap().unwrap() {
        let job = change.job.unwrap();
        assert!(job.revision >= revision);
        revision = job.revision;
        states.push(job.state());
    }
    states.dedup();
    assert_eq!(states, [State::Queued, State::Running, State::Succeeded]);
    // Coming back with the last revision, there is nothing more to tell.
    let again = WatchJobRequest { name: job.name, revision };
    let mut changes = world.user("ann").watch_job(again).await.unwrap().into_inner();
    assert!(timeout(SOON, changes.message()).await.unwrap().unwrap().is_none());
}

async fn the_feed_resumes_where_it_was(world: World) {
    let first = world.job("ann", "v1").await;
    let second = world.job("bob", "v2").await;
    let mut feed = world.jobs().watch_jobs(WatchJobsRequest { revision: 0 }).await.unwrap().into_inner();
    for expected in [&first, &second] {
        let told = timeout(SOON, feed.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(told.job.unwrap().name, expected.name);
    }
    let since = WatchJobsRequest { revision: first.revision };
    let mut resumed = world.jobs().watch_jobs(since).await.unwrap().into_inner();
    let told = timeout(SOON, resumed.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(told.job.unwrap().name, second.name);
}

async fn cancelling_stops_the_worker_and_the_job(world: World) {
    let job = world.job("ann", "v1").await;
    let started = world.start().await;
    let lease = started.lease.unwrap();
    let mut answers = crate::tasks::report(&world, &lease).await;
    let first = timeout(SOON, answers.message()).await.unwrap().unwrap().unwrap();
    assert!(!first.cancel);
    let cancelled = world.user("ann").cancel_job(CancelJobRequest { name: job.name.clone() }).await.unwrap();
    assert_eq!(cancelled.into_inner().job.unwrap().state(), State::Cancelled);
    let told = timeout(SOON, answers.message()).await.unwrap().unwrap().unwrap();
    assert!(told.cancel);
    assert_eq!(reason(world.worker().complete_task(complete(&lease)).await), "LEASE_LOST");
    let again = world.user("ann").cancel_job(CancelJobRequest { name: job.name }).await.unwrap();
    assert_eq!(again.into_inner().job.unwrap().state(), State::Cancelled);
}

macro_rules! on_every_database {
    ($($story:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $story() { super::$story(crate::world::World::on_sqlite().await).await; })*
        }
        mod postgres {
            $(#[tokio::test] async fn $story() { super::$story(crate::world::World::on_postgres().await).await; })*
        }
    };
}
pub(crate) use on_every_database;

on_every_database!(
    one_request_makes_one_job,
    others_jobs_are_not_there,
    lists_are_paged,
    a_watch_tells_the_whole_story_and_ends,
    the_feed_resumes_where_it_was,
    cancelling_stops_the_worker_and_the_job,
);
