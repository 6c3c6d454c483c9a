//! The operator's commands, and the queue as its users see it, on both deployments.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;

use crate::support::{
    cli_user::CliUser,
    deployment::{Deployment, admin},
    media::clip,
};

/// How long the system may take to start a task that was not started because no queue message says that there is one.
const LOST_MESSAGE_LIMIT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn operator_in_a_single_process() {
    run_operator(Deployment::single_process().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_distributed() {
    run_operator(Deployment::distributed().await).await;
}

async fn run_operator(deployment: Deployment) {
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let bob = CliUser::sign_up(&deployment, "bob").await;
    let file = clip(deployment.folder.path(), "clip.mp4", "320x180", 4).await;
    let worker = registered_worker(&deployment).await;

    admin(&deployment, &["pause"]).await;
    let mut videos = Vec::new();
    for user in [&ann, &ann, &ann, &bob] {
        let upload = ["upload", "--json", &file.display().to_string()];
        videos.push(user.run(&upload).await.expect_exit(0).json()["name"].as_str().unwrap().to_owned());
    }
    check_queue(&deployment, &ann, &videos).await;

    admin(&deployment, &["resume"]).await;
    watch_all(&ann, &videos[..3]).await;
    watch_all(&bob, &videos[3..]).await;
    let queue = admin(&deployment, &["queue"]).await;
    assert_eq!((&queue["paused"], &queue["deadLetters"]), (&false.into(), &"0".into()), "{queue}");
    assert_eq!(admin(&deployment, &["jobs"]).await["jobs"], Value::Array(Vec::new()));
    assert_eq!(admin(&deployment, &["jobs", "--all"]).await["jobs"].as_array().unwrap().len(), 4);

    check_drain(&deployment, &ann, &worker, file).await;
    let moved = admin(&deployment, &["redrive"]).await;
    assert_eq!(moved["movedMessages"], 0);
    assert_eq!(admin(&deployment, &["dead-letters"]).await["deadLetters"], Value::Array(Vec::new()));
    admin(&deployment, &["reconcile"]).await;
    deployment.stop().await;
}

/// Name of the worker, once it is registered.
async fn registered_worker(deployment: &Deployment) -> String {
    let registered = async {
        loop {
            let workers = admin(deployment, &["workers"]).await;
            if let Some(name) = workers["workers"][0]["name"].as_str() {
                return name.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), registered).await.expect("the worker registers")
}

/// What operator and user see of three jobs of a user and one of another, none of which was started.
async fn check_queue(deployment: &Deployment, ann: &CliUser, videos: &[String]) {
    let queue = admin(deployment, &["queue"]).await;
    assert_eq!(queue["paused"], true, "{queue}");
    assert_eq!(queue["classes"][0]["queuedTasks"], "4", "{queue}");
    assert_eq!(queue["owners"].as_array().unwrap().len(), 2, "{queue}");
    let open = admin(deployment, &["jobs"]).await;
    assert_eq!(open["jobs"].as_array().unwrap().len(), 4, "{open}");

    let positions = async || -> Vec<i64> {
        let list = ann.run(&["jobs", "--state", "queued", "--oldest-first", "--json"]).await.expect_exit(0);
        let jobs = list.json()["jobs"].as_array().unwrap().clone();
        jobs.iter().map(|job| job["queuePosition"].as_i64().unwrap()).collect()
    };
    let before = positions().await;
    assert!(before.len() == 3 && before.is_sorted() && before[0] >= 1 && before[2] <= 4, "{before:?}");
    let job = ann.run(&["priority", &videos[2], "high", "--json"]).await.expect_exit(0).json();
    assert_eq!(job["priority"], "HIGH");
    let after = positions().await;
    assert!(after[2] < after[0], "{after:?}");
}

async fn watch_all(user: &CliUser, videos: &[String]) {
    for name in videos {
        let video = user.run(&["watch", name, "--until", "ready", "--json"]).await.expect_exit(0).json();
        assert_eq!(video["state"], "READY", "{video}");
    }
}

/// A draining worker starts nothing; afterwards it starts what waits without a message of the queue.
async fn check_drain(deployment: &Deployment, ann: &CliUser, worker: &str, file: PathBuf) {
    admin(deployment, &["drain", worker]).await;
    let upload = ["upload", "--json", &file.display().to_string()];
    let video = ann.run(&upload).await.expect_exit(0).json();
    let jobs = admin(deployment, &["jobs"]).await;
    assert_eq!(jobs["jobs"][0]["queuedTasks"], 1, "{jobs}");
    let workers = admin(deployment, &["workers"]).await;
    assert_eq!(workers["workers"][0]["draining"], true, "{workers}");
    admin(deployment, &["drain", worker, "--undo"]).await;
    // The worker learns it by its next registration, at most ten seconds later.
    let limit = LOST_MESSAGE_LIMIT + Duration::from_secs(20);
    let name = video["name"].as_str().unwrap();
    let watched = tokio::time::timeout(limit, watch_all(ann, &[name.to_owned()])).await;
    watched.unwrap_or_else(|_| panic!("not in time:\n{}", deployment.logs()));
}
