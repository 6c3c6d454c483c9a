//! Upload sessions: create, sign parts, resume, list, abort, expire.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reelmill_proto::upload::{
    AbortUploadSessionRequest, CompletedPart, CreateUploadSessionRequest, ListUploadSessionsRequest,
    ListVideosRequest, PartToSign, SignUploadPartsRequest, SignedPart, upload_session, video,
};
use rstest::rstest;
use tonic::Status;

use crate::support::{Backend, Deployment, MIB, content, eventually, new_file, reason};

async fn sign(deployment: &Deployment, name: &str, parts: &[(i32, &str)]) -> Result<Vec<SignedPart>, Status> {
    let part = |(part_number, crc32c): &(i32, &str)| PartToSign {
        part_number: *part_number,
        crc32c: (*crc32c).to_owned(),
    };
    let request = SignUploadPartsRequest { name: name.to_owned(), parts: parts.iter().map(part).collect() };
    Ok(deployment.uploads("ada").sign_upload_parts(request).await?.into_inner().signed_parts)
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn resumed_upload_stores_the_file_and_creates_its_job(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let bytes = content(12 * MIB + 7);
    let (session, signed) = deployment.create("ada", bytes.len()).await;
    assert_eq!((session.part_count, session.part_size_bytes), (3, 5 << 20));
    assert_eq!(session.state(), upload_session::State::Open);
    assert_eq!(signed.iter().map(|part| part.part_number).collect::<Vec<_>>(), [1, 2, 3]);
    let chunks: Vec<&[u8]> = bytes.chunks(5 * MIB).collect();

    let third = deployment.put(&signed[2], chunks[2]).await.unwrap();
    let first = deployment.put(&signed[0], chunks[0]).await.unwrap();
    // An incomplete part is refused.
    assert!(deployment.put(&signed[1], &chunks[1][..MIB]).await.is_err());

    let resumed = deployment.session("ada", &session.name).await;
    assert_eq!(resumed.parts.iter().map(|part| part.part_number).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(resumed.parts[0].etag, first.etag);
    let list = ListUploadSessionsRequest::default();
    let listed = deployment.uploads("ada").list_upload_sessions(list).await.unwrap().into_inner();
    assert_eq!(listed.upload_sessions[0].name, session.name);

    let crc = STANDARD.encode(crc32c::crc32c(chunks[1]).to_be_bytes());
    let signed = sign(&deployment, &session.name, &[(2, &crc)]).await.unwrap();
    assert!(deployment.put(&signed[0], chunks[0]).await.is_err(), "bytes with a wrong checksum were stored");
    let second = deployment.put(&signed[0], chunks[1]).await.unwrap();

    let unquoted = CompletedPart { etag: third.etag.trim_matches('"').to_owned(), ..third };
    let video = deployment.complete("ada", &session.name, &[unquoted, first, second]).await.unwrap();
    assert_eq!(video.state(), video::State::Processing);
    assert_eq!((video.name.as_str(), video.display_name.as_str()), (session.video.as_str(), "clip.mov"));
    assert!(video.job.starts_with("jobs/"));

    let requested = deployment.transcode.created().pop().unwrap();
    assert_eq!((requested.video.as_str(), requested.owner.as_str()), (video.name.as_str(), "users/ada"));
    assert_eq!(requested.source_size_bytes, video.size_bytes);
    assert!(!requested.source_key.contains("clip") && requested.output_prefix.ends_with('/'));
    assert!(deployment.read_object(&requested.source_key).await == bytes, "the stored file differs");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn completed_session_returns_its_video_again_and_rejects_abort_and_sign(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let (session, signed) = deployment.create("ada", 1000).await;
    let parts = deployment.put_all(&session, &signed, &content(1000)).await;
    let video = deployment.complete("ada", &session.name, &parts).await.unwrap();

    let again = deployment.complete("ada", &session.name, &[]).await.unwrap();
    assert_eq!(again.name, video.name);
    assert_eq!(deployment.transcode.created().len(), 1);
    let abort = AbortUploadSessionRequest { name: session.name.clone() };
    assert_eq!(reason(deployment.uploads("ada").abort_upload_session(abort).await), "UPLOAD_NOT_OPEN");
    assert_eq!(reason(sign(&deployment, &session.name, &[(1, "")]).await), "UPLOAD_NOT_OPEN");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn create_upload_session_with_repeated_request_id_returns_existing_session(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let request = CreateUploadSessionRequest { request_id: "once".to_owned(), ..new_file(1000) };
    let mut uploads = deployment.uploads("ada");
    let first = uploads.create_upload_session(request.clone()).await.unwrap().into_inner();
    let again = uploads.create_upload_session(request.clone()).await.unwrap().into_inner();
    assert_eq!(first.upload_session, again.upload_session);
    assert_eq!(again.signed_parts.len(), 1);

    let other_file = CreateUploadSessionRequest { size_bytes: 1001, ..request.clone() };
    assert_eq!(reason(uploads.create_upload_session(other_file).await), "FIELD_INVALID");
    let other_user = deployment.uploads("eve").create_upload_session(request).await.unwrap().into_inner();
    assert_ne!(other_user.upload_session, first.upload_session);
    assert_eq!(deployment.open_multipart_uploads().await, 2);
}

/// Aborts the only open multipart upload in the object store, as a lifecycle rule of a bucket does.
async fn drop_multipart_upload(deployment: &Deployment) {
    let objects = &deployment.object_store.objects;
    let upload = objects.list_multipart_uploads("").await.unwrap().pop().unwrap();
    objects.abort_multipart(&upload.key, &upload.upload_id).await.unwrap();
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn create_upload_session_repeated_after_multipart_upload_was_dropped_returns_usable_urls(
    #[case] backend: Backend,
) {
    let deployment = Deployment::start(backend).await;
    let bytes = content(5 * MIB + 7);
    let request = CreateUploadSessionRequest { request_id: "once".to_owned(), ..new_file(bytes.len()) };
    let mut uploads = deployment.uploads("ada");
    let first = uploads.create_upload_session(request.clone()).await.unwrap().into_inner();
    deployment.put(&first.signed_parts[1], &bytes[5 * MIB..]).await.unwrap();
    drop_multipart_upload(&deployment).await;

    let again = uploads.create_upload_session(request).await.unwrap().into_inner();
    let session = again.upload_session.unwrap();
    assert_eq!(session.name, first.upload_session.unwrap().name);
    assert!(session.parts.is_empty(), "parts of the dropped multipart upload are reported as received");
    assert_eq!(again.signed_parts.len(), 2);
    let parts = deployment.put_all(&session, &again.signed_parts, &bytes).await;
    let video = deployment.complete("ada", &session.name, &parts).await.unwrap();
    assert_eq!(video.state(), video::State::Processing);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn create_upload_session_concurrently_with_one_request_id_creates_one_session(
    #[case] backend: Backend,
) {
    let deployment = Deployment::start(backend).await;
    let request = CreateUploadSessionRequest { request_id: "raced".to_owned(), ..new_file(1000) };
    let calls = (0..8).map(|_| {
        let (mut uploads, request) = (deployment.uploads("ada"), request.clone());
        async move { uploads.create_upload_session(request).await.unwrap().into_inner() }
    });
    let sessions = futures::future::join_all(calls).await;
    let name = |i: usize| sessions[i].upload_session.as_ref().unwrap().name.clone();
    assert!((1..8).all(|i| name(i) == name(0)));
    assert_eq!(deployment.open_multipart_uploads().await, 1);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn abort_upload_session_deletes_parts_and_video(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let (session, signed) = deployment.create("ada", 1000).await;
    deployment.put_all(&session, &signed, &content(1000)).await;
    let abort = AbortUploadSessionRequest { name: session.name.clone() };
    for _ in 0..2 {
        deployment.uploads("ada").abort_upload_session(abort.clone()).await.unwrap();
    }
    assert_eq!(reason(deployment.video("ada", &session.video).await), "VIDEO_NOT_FOUND");
    assert_eq!(deployment.session("ada", &session.name).await.state(), upload_session::State::Aborted);
    let is_aborted = || async { (deployment.open_multipart_uploads().await == 0).then_some(()) };
    eventually("the multipart upload is aborted", is_aborted).await;
    assert!(deployment.put(&signed[0], b"late").await.is_err());
    assert_eq!(reason(deployment.complete("ada", &session.name, &[]).await), "UPLOAD_NOT_OPEN");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn expired_session_is_aborted_with_its_parts_and_video(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let (session, signed) = deployment.create("ada", 1000).await;
    deployment.put_all(&session, &signed, &content(1000)).await;
    deployment.clock.advance(Duration::from_secs(7 * 24 * 3600));
    let is_aborted = || async {
        let video_is_deleted = deployment.video("ada", &session.video).await.is_err();
        (deployment.open_multipart_uploads().await == 0 && video_is_deleted).then_some(())
    };
    eventually("the upload is aborted", is_aborted).await;
    let list = ListUploadSessionsRequest::default();
    let listed = deployment.uploads("ada").list_upload_sessions(list).await.unwrap().into_inner();
    assert!(listed.upload_sessions.is_empty());
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn list_upload_sessions_returns_pages_newest_first(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.insert(0, deployment.create("ada", 10).await.0.name);
    }
    deployment.create("eve", 10).await;
    let (mut uploads, mut listed, mut token) = (deployment.uploads("ada"), Vec::new(), String::new());
    loop {
        let page = ListUploadSessionsRequest { page_size: 2, page_token: token };
        let page = uploads.list_upload_sessions(page).await.unwrap().into_inner();
        assert!(page.upload_sessions.len() <= 2);
        listed.extend(page.upload_sessions.into_iter().map(|session| session.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, expected);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn list_videos_returns_pages(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    for _ in 0..5 {
        deployment.create("ada", 10).await;
    }
    deployment.create("eve", 10).await;
    let mut videos = deployment.videos("ada");
    let all = videos.list_videos(ListVideosRequest::default()).await.unwrap().into_inner();
    assert_eq!(all.videos.len(), 5);
    let page = ListVideosRequest { page_size: 4, page_token: String::new() };
    let page = videos.list_videos(page).await.unwrap().into_inner();
    let last = ListVideosRequest { page_size: 4, page_token: page.next_page_token };
    let last = videos.list_videos(last).await.unwrap().into_inner();
    assert_eq!((last.videos.len(), last.next_page_token.as_str()), (1, ""));
    assert_eq!(last.videos[0], all.videos[4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn create_upload_session_with_invalid_field_is_rejected() {
    let deployment = Deployment::start(Backend::Sqlite).await;
    let mut uploads = deployment.uploads("ada");
    let mut rejected = async |request| reason(uploads.create_upload_session(request).await);
    assert_eq!(rejected(new_file(0)).await, "FILE_EMPTY");
    let negative = CreateUploadSessionRequest { size_bytes: -1, ..new_file(1) };
    assert_eq!(rejected(negative).await, "FIELD_INVALID");
    let huge = CreateUploadSessionRequest { size_bytes: (5 << 40) + 1, ..new_file(1) };
    assert_eq!(rejected(huge).await, "FILE_TOO_LARGE");
    for file_name in ["", "folder/", "\u{7}"] {
        let unnamed = CreateUploadSessionRequest { file_name: file_name.to_owned(), ..new_file(1) };
        assert_eq!(rejected(unnamed).await, "FIELD_INVALID");
    }
    let long = CreateUploadSessionRequest { request_id: "x".repeat(65), ..new_file(1) };
    assert_eq!(rejected(long).await, "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn list_videos_with_invalid_page_is_rejected_and_large_page_is_reduced() {
    let deployment = Deployment::start(Backend::Sqlite).await;
    let list =
        |page_size, page_token: &str| ListVideosRequest { page_size, page_token: page_token.to_owned() };
    let mut videos = deployment.videos("ada");
    assert_eq!(reason(videos.list_videos(list(-1, "")).await), "FIELD_INVALID");
    assert_eq!(reason(videos.list_videos(list(1, "made-up")).await), "PAGE_TOKEN_INVALID");
    assert!(videos.list_videos(list(100_000, "")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_upload_parts_with_invalid_part_is_rejected() {
    let deployment = Deployment::start(Backend::Sqlite).await;
    let (session, _) = deployment.create("ada", 10).await;
    for number in [0, 2, -1, i32::MAX] {
        assert_eq!(reason(sign(&deployment, &session.name, &[(number, "")]).await), "PART_NUMBER_INVALID");
    }
    assert_eq!(reason(sign(&deployment, &session.name, &[(1, "not base64")]).await), "FIELD_INVALID");
    assert_eq!(reason(sign(&deployment, &session.name, &[]).await), "FIELD_INVALID");
}
