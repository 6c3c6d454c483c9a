//! Objects: put, get, conditions.

use bytes::Bytes;
use reelmill_platform::objects::{ObjectsError, Present};
use rstest::rstest;

use super::{Backend, body};

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn put_get_and_delete_an_object(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let key = fixture.key("a b/ü+&=?#%20.mp4");
    assert_eq!(objects.head(&key).await.expect("a response"), None);
    objects.put(&key, Bytes::from_static(b"hello"), "video/mp4").await.expect("written");
    let head = objects.head(&key).await.expect("a response").expect("the object");
    assert_eq!((head.size, head.content_type.as_deref()), (5, Some("video/mp4")));
    assert_eq!(body(objects, &key, None).await, "hello");
    objects.put(&key, Bytes::from_static(b"again"), "video/mp4").await.expect("overwritten");
    assert_eq!(body(objects, &key, None).await, "again");
    objects.delete(&key).await.expect("deleted");
    objects.delete(&key).await.expect("deleted again");
    assert_eq!(objects.head(&key).await.expect("a response"), None);
    assert!(matches!(objects.get(&key, None, None).await, Err(ObjectsError::NotFound)));
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn put_if_replaces_the_expected_object_only(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let key = fixture.key("object");
    let put = async |text: &'static str, present: &Present| {
        objects.put_if(&key, Bytes::from_static(text.as_bytes()), "text/plain", None, present).await
    };
    let missing = Present::ETag("\"00000000000000000000000000000000\"".to_owned());
    assert_eq!(put("one", &missing).await.expect("a response"), None);
    let one = put("one", &Present::Nothing).await.expect("a response").expect("written");
    assert_eq!(objects.head(&key).await.expect("a response").expect("the object").etag, one);
    assert_eq!(put("two", &Present::Nothing).await.expect("a response"), None);
    let two = put("two", &Present::ETag(one.clone())).await.expect("a response").expect("written");
    assert_ne!(one, two);
    assert_eq!(put("three", &Present::ETag(one)).await.expect("a response"), None);
    assert_eq!(body(objects, &key, None).await, "two");
}

#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::seaweedfs(Backend::SeaweedFs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn get_supports_ranges_and_conditions(#[case] backend: Backend) {
    let fixture = backend.open().await;
    let objects = &fixture.objects;
    let key = fixture.key("object");
    objects.put(&key, Bytes::from_static(b"0123456789"), "text/plain").await.expect("written");
    assert_eq!(body(objects, &key, Some("bytes=2-4")).await, "234");
    assert_eq!(body(objects, &key, Some("bytes=-3")).await, "789");
    assert_eq!(body(objects, &key, Some("bytes=7-")).await, "789");
    let beyond = objects.get(&key, Some("bytes=10-"), None).await;
    assert!(matches!(beyond, Err(ObjectsError::RangeNotSatisfiable)), "{beyond:?}");
    let etag = objects.head(&key).await.expect("a response").expect("the object").etag;
    let same = objects.get(&key, None, Some(&etag)).await;
    assert!(matches!(same, Err(ObjectsError::NotModified)), "{same:?}");
    let part = objects.get(&key, Some("bytes=0-1"), Some("\"other\"")).await.expect("changed");
    assert_eq!(part.content_range.as_deref(), Some("bytes 0-1/10"));
}
