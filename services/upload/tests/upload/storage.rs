//! CompareStorage: differences between videos and objects.

use bytes::Bytes;
use reelmill_proto::upload::{CompareStorageRequest, CompareStorageResponse, video::State};
use rstest::rstest;

use crate::support::{Backend, Deployment, output_key, reason, set_succeeded};

/// Compares all pages.
async fn compare(deployment: &Deployment, delete_unknown: bool) -> CompareStorageResponse {
    let mut all = CompareStorageResponse::default();
    loop {
        let request = CompareStorageRequest { page_token: all.next_page_token.clone(), delete_unknown };
        let page = deployment.maintenance().compare_storage(request).await.unwrap().into_inner();
        all.compared_videos += page.compared_videos;
        all.unknown_prefixes.extend(page.unknown_prefixes);
        all.missing.extend(page.missing);
        all.next_page_token = page.next_page_token;
        if all.next_page_token.is_empty() {
            return all;
        }
    }
}

async fn put(deployment: &Deployment, key: &str) {
    let bytes = Bytes::from_static(b"x");
    deployment.object_store.objects.put(key, bytes, "text/plain").await.unwrap();
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn compare_storage_names_missing_and_unknown_objects(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let (ready, processing) = (deployment.upload("ada").await, deployment.upload("ada").await);
    deployment.transcode.change(&ready.name, set_succeeded);
    deployment.wait_for_video("ada", &ready.name, |video| video.state() == State::Ready).await;
    put(&deployment, &output_key(&ready.name, "a1", "master.m3u8")).await;
    let same = compare(&deployment, false).await;
    // Each video twice: its outputs and its source.
    assert_eq!((same.compared_videos, same.unknown_prefixes.len(), same.missing.len()), (4, 0, 0));

    for key in ["outputs/0000/a1/0.m4s", "sources/zzzz/upload"] {
        put(&deployment, key).await;
    }
    let objects = &deployment.object_store.objects;
    objects.delete_prefix(&ready.name.replace("videos/", "outputs/")).await.unwrap();
    objects.delete_prefix(&processing.name.replace("videos/", "sources/")).await.unwrap();
    let different = compare(&deployment, false).await;
    assert_eq!(different.unknown_prefixes, ["outputs/0000/", "sources/zzzz/"]);
    let missing: Vec<(&str, &str)> =
        different.missing.iter().map(|missing| (missing.video.as_str(), missing.prefix.as_str())).collect();
    let prefix = |video: &str, folder: &str| format!("{}/", video.replace("videos/", folder));
    let expected = [
        (&ready.name, prefix(&ready.name, "outputs/")),
        (&processing.name, prefix(&processing.name, "sources/")),
    ];
    assert_eq!(missing, expected.each_ref().map(|(video, prefix)| (video.as_str(), prefix.as_str())));
    assert_eq!(deployment.keys("outputs/").await, ["outputs/0000/a1/0.m4s"], "nothing is deleted unasked");

    assert_eq!(compare(&deployment, true).await.unknown_prefixes.len(), 2);
    assert!(deployment.keys("outputs/").await.is_empty());
    assert_eq!(deployment.keys("sources/").await.len(), 1, "the source of the READY video stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn compare_storage_with_other_token_is_refused() {
    let deployment = Deployment::start(Backend::Sqlite).await;
    for page_token in ["x", "other/0000"] {
        let request = CompareStorageRequest { page_token: page_token.to_owned(), delete_unknown: true };
        assert_eq!(reason(deployment.maintenance().compare_storage(request).await), "FIELD_INVALID");
    }
}
