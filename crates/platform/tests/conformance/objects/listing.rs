//! Listings, and what deletes by prefix.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use reelmill_platform::objects::ObjectsError;
use rstest::rstest;

use super::{Backend, MORE_THAN_A_PAGE};

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_and_delete_prefix_cover_all_pages(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let keys: Vec<String> = (0..MORE_THAN_A_PAGE).map(|n| fixture.key(&format!("many/{n:05}"))).collect();
    stream::iter(&keys)
        .map(|key| objects.put(key, Bytes::from_static(b"x"), "text/plain"))
        .buffer_unordered(16)
        .try_collect::<Vec<()>>()
        .await
        .expect("written");
    let spared = fixture.key("many-others");
    objects.put(&spared, Bytes::from_static(b"xyz"), "text/plain").await.expect("written");
    let listed = objects.list(&fixture.key("many/")).await.expect("listed");
    assert_eq!(listed, keys.iter().map(|key| (key.clone(), 1)).collect::<Vec<_>>());
    let deleted = objects.delete_prefix(&fixture.key("many/")).await.expect("deleted");
    assert_eq!(deleted, MORE_THAN_A_PAGE as u64);
    assert_eq!(objects.list(&fixture.prefix).await.expect("listed"), [(spared, 3)]);
    assert_eq!(objects.delete_prefix(&fixture.key("many/")).await.expect("nothing left"), 0);
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_are_the_names_after_a_name(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    for name in ["a1/1", "a1/2/3", "b1/1", "b2/1", "c1/1", "file"] {
        objects
            .put(&fixture.key(&format!("all/{name}")), Bytes::from_static(b"x"), "text/plain")
            .await
            .expect("written");
    }
    let prefix = fixture.key("all/");
    let folders =
        async |after: &str, limit: usize| objects.folders(&prefix, after, limit).await.expect("listed");
    assert_eq!(folders("", 10).await, ["a1", "b1", "b2", "c1"]);
    assert_eq!(folders("a1", 2).await, ["b1", "b2"]);
    assert_eq!(folders("b1", 10).await, ["b2", "c1"]);
    assert!(folders("c1", 10).await.is_empty());
    assert!(objects.find_under(&fixture.key("all/b1/")).await.expect("listed").is_some());
    assert_eq!(objects.find_under(&fixture.key("all/d1/")).await.expect("listed"), None);
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_prefix_of_an_empty_prefix_is_an_error(#[case] backend: Backend) {
    let fixture = backend.open().await;
    assert!(matches!(fixture.objects.delete_prefix("").await, Err(ObjectsError::Config(_))));
}
