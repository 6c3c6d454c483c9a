//! CompleteUploadSession: wrong parts, unavailable dependencies, crashes, concurrent calls.

use std::time::Duration;

use reelmill_platform::database::sea_orm::{ConnectionTrait as _, Statement, Value};
use reelmill_proto::upload::{
    CompleteUploadSessionRequest, CompletedPart, ListVideosRequest, UploadSession, upload_session, video,
};
use rstest::rstest;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{Backend, Deployment, MIB, content, eventually, new_file, reason};

/// Longer than a completion claim is respected.
const CLAIM_EXPIRY: Duration = Duration::from_secs(31);

#[tokio::test(flavor = "multi_thread")]
async fn complete_upload_session_with_wrong_parts_returns_reason_and_stays_open() {
    let deployment = Deployment::start(Backend::Sqlite).await;
    let bytes = content(6 * MIB);
    let (session, signed) = deployment.create("ada", bytes.len()).await;
    let name = session.name.as_str();
    let first = deployment.put(&signed[0], &bytes[..5 * MIB]).await.unwrap();
    let complete = |parts: Vec<CompletedPart>| {
        let deployment = &deployment;
        async move { reason(deployment.complete("ada", name, &parts).await) }
    };
    let unknown_etag = CompletedPart { part_number: 2, etag: "\"0123\"".to_owned() };
    assert_eq!(complete(vec![]).await, "PART_MISSING");
    assert_eq!(complete(vec![first.clone()]).await, "PART_MISSING");
    assert_eq!(complete(vec![first.clone(), unknown_etag.clone()]).await, "PART_MISSING");
    let unknown_part = CompletedPart { part_number: 3, ..unknown_etag.clone() };
    assert_eq!(complete(vec![first.clone(), unknown_part]).await, "FIELD_INVALID");

    // Smaller than declared: by another way than the URL, which is for the declared size.
    let short = deployment.put_part_directly(&bytes[5 * MIB..5 * MIB + 10], 2).await;
    assert_eq!(complete(vec![first.clone(), short]).await, "SIZE_MISMATCH");
    let second = deployment.put(&signed[1], &bytes[5 * MIB..]).await.unwrap();
    assert_eq!(complete(vec![first.clone(), unknown_etag]).await, "PART_ETAG_MISMATCH");

    assert_eq!(deployment.session("ada", name).await.state(), upload_session::State::Open);
    let video = deployment.complete("ada", name, &[first, second]).await.unwrap();
    assert_eq!(video.state(), video::State::Processing);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn complete_upload_session_concurrently_creates_one_job(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let bytes = content(6 * MIB);
    let (session, signed) = deployment.create("ada", bytes.len()).await;
    let parts = deployment.put_all(&session, &signed, &bytes).await;
    let replica = deployment.start_replica().await;
    let calls = (0..10).map(|i| {
        let mut uploads = if i % 2 == 0 { deployment.uploads("ada") } else { replica.uploads("ada") };
        let request = CompleteUploadSessionRequest { name: session.name.clone(), parts: parts.clone() };
        async move { uploads.complete_upload_session(request).await }
    });
    for response in futures::future::join_all(calls).await {
        let video = response.unwrap().into_inner().video.unwrap();
        assert_eq!((video.name.as_str(), video.state()), (session.video.as_str(), video::State::Processing));
    }
    deployment.wait_for_video("ada", &session.video, |video| !video.job.is_empty()).await;
    assert_eq!(deployment.transcode.created().len(), 1);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn complete_upload_session_without_transcode_creates_job_later(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    deployment.transcode.set_unavailable(true);
    let video = deployment.upload("ada").await;
    assert_eq!((video.state(), video.job.as_str()), (video::State::Processing, ""));
    deployment.transcode.set_unavailable(false);
    let video = deployment.wait_for_video("ada", &video.name, |video| !video.job.is_empty()).await;
    assert_eq!(deployment.transcode.created()[0].video, video.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn complete_upload_session_without_object_store_is_unavailable_and_stays_open() {
    let deployment = Deployment::start(Backend::Sqlite).await;
    let (session, signed) = deployment.create("ada", 1000).await;
    let parts = deployment.put_all(&session, &signed, &content(1000)).await;

    deployment.object_store.set_unavailable(true);
    let error = deployment.complete("ada", &session.name, &parts).await.unwrap_err();
    assert_eq!(
        (error.code(), reason::<()>(Err(error.clone())).as_str()),
        (Code::Unavailable, "OBJECT_STORE_UNAVAILABLE")
    );
    assert!(error.get_details_retry_info().is_some());

    deployment.object_store.set_unavailable(false);
    assert_eq!(deployment.session("ada", &session.name).await.state(), upload_session::State::Open);
    assert!(deployment.complete("ada", &session.name, &parts).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn create_upload_session_without_object_store_creates_no_video() {
    let deployment = Deployment::start(Backend::Sqlite).await;
    deployment.create("ada", 1000).await;
    deployment.object_store.set_unavailable(true);
    let response = deployment.uploads("ada").create_upload_session(new_file(10)).await;
    assert_eq!(reason(response), "OBJECT_STORE_UNAVAILABLE");
    let videos = deployment.videos("ada").list_videos(ListVideosRequest::default()).await.unwrap();
    assert_eq!(videos.into_inner().videos.len(), 1, "a discarded upload is listed");
}

/// Leaves the database as a process does that is killed while it completes an upload.
async fn abandon_completion(deployment: &Deployment, session: &UploadSession, parts: &[CompletedPart]) {
    let database = deployment.database().await;
    let execute = async |sql: &str, values: Vec<Value>| {
        let statement = Statement::from_sql_and_values(database.get_database_backend(), sql, values);
        assert_eq!(database.execute_raw(statement).await.unwrap().rows_affected(), 1);
    };
    let id = session.name.trim_start_matches("uploads/");
    let now = deployment.clock.now_millis();
    let claim = "UPDATE uploads SET state = 'COMPLETING', update_time = $1, complete_time = $1 WHERE id = $2";
    execute(claim, vec![now.into(), id.into()]).await;
    for part in parts {
        let insert = "INSERT INTO claimed_parts (upload_id, part_number, etag) VALUES ($1, $2, $3)";
        let etag = part.etag.trim_matches('"');
        execute(insert, vec![id.into(), part.part_number.into(), etag.into()]).await;
    }
}

/// Assembles the parts of the only open multipart upload.
async fn assemble_parts(deployment: &Deployment) {
    let objects = &deployment.object_store.objects;
    let upload = objects.list_multipart_uploads("").await.unwrap().pop().unwrap();
    let parts = objects.list_parts(&upload.key, &upload.upload_id).await.unwrap();
    let parts: Vec<_> = parts.into_iter().map(|part| (part.number, part.etag)).collect();
    objects.complete_multipart(&upload.key, &upload.upload_id, &parts).await.unwrap();
}

#[rstest]
#[case::sqlite_before_assembly(Backend::Sqlite, false)]
#[case::sqlite_after_assembly(Backend::Sqlite, true)]
#[case::postgres_before_assembly(Backend::Postgres, false)]
#[case::postgres_after_assembly(Backend::Postgres, true)]
#[tokio::test(flavor = "multi_thread")]
async fn abandoned_completion_is_resumed(#[case] backend: Backend, #[case] is_assembled: bool) {
    let deployment = Deployment::start(backend).await;
    let bytes = content(6 * MIB);
    let (session, signed) = deployment.create("ada", bytes.len()).await;
    let parts = deployment.put_all(&session, &signed, &bytes).await;
    if is_assembled {
        assemble_parts(&deployment).await;
    }
    abandon_completion(&deployment, &session, &parts).await;
    deployment.clock.advance(CLAIM_EXPIRY);
    let video = deployment
        .wait_for_video("ada", &session.video, |video| video.state() == video::State::Processing)
        .await;
    let again = deployment.complete("ada", &session.name, &parts).await.unwrap();
    assert_eq!(again.name, video.name);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn abandoned_completion_with_missing_part_is_reopened(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let bytes = content(6 * MIB);
    let (session, signed) = deployment.create("ada", bytes.len()).await;
    let first = deployment.put(&signed[0], &bytes[..5 * MIB]).await.unwrap();
    abandon_completion(&deployment, &session, std::slice::from_ref(&first)).await;
    assert_eq!(deployment.session("ada", &session.name).await.state(), upload_session::State::Completing);
    deployment.clock.advance(CLAIM_EXPIRY);
    let is_open = || async {
        let session = deployment.session("ada", &session.name).await;
        (session.state() == upload_session::State::Open).then_some(())
    };
    eventually("the upload is OPEN again", is_open).await;
    let second = deployment.put(&signed[1], &bytes[5 * MIB..]).await.unwrap();
    assert!(deployment.complete("ada", &session.name, &[first, second]).await.is_ok());
}

/// A slow call assembles the parts, while a call that took over its claim has reopened the upload.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn complete_upload_session_reopened_in_between_returns_upload_completing(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let (session, signed) = deployment.create("ada", 1000).await;
    let parts = deployment.put_all(&session, &signed, &content(1000)).await;
    deployment.object_store.block_heads(true);
    let request = CompleteUploadSessionRequest { name: session.name.clone(), parts: parts.clone() };
    let mut uploads = deployment.uploads("ada");
    let slow_call = tokio::spawn(async move { uploads.complete_upload_session(request).await });
    deployment.wait_for_source().await;
    let database = deployment.database().await;
    database.execute_unprepared("DELETE FROM claimed_parts").await.unwrap();
    database.execute_unprepared("UPDATE uploads SET state = 'OPEN', complete_time = NULL").await.unwrap();
    deployment.object_store.block_heads(false);

    let error = slow_call.await.unwrap().unwrap_err();
    assert!(error.get_details_retry_info().is_some());
    assert_eq!(reason::<()>(Err(error)), "UPLOAD_COMPLETING");
    let video = deployment.complete("ada", &session.name, &parts).await.unwrap();
    assert_eq!(video.state(), video::State::Processing);
}
