//! Completing an upload: wrong parts, absent neighbours, crashes, and several calls at once.

use std::time::Duration;

use prost::Message as _;
use reelmill_platform::database::sea_orm::{ConnectionTrait as _, Database, Statement};
use reelmill_proto::upload::{
    CompleteUploadSessionRequest, CompletedPart, GetUploadSessionRequest, ListVideosRequest, UploadSession,
    upload_session, video,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::world::{World, content, eventually, new_file, reason};

const MIB: usize = 1 << 20;

crate::on_both!(
    many_calls_make_one_video,
    transcoding_that_is_away_is_asked_later,
    a_claim_that_nobody_ended_is_taken_over,
    a_claim_for_parts_that_are_not_there_is_reopened,
    a_claim_that_a_successor_set_free_is_no_success,
);

async fn session(world: &World, name: &str) -> UploadSession {
    let request = GetUploadSessionRequest { name: name.to_owned() };
    let response = world.uploads("ada").get_upload_session(request).await.unwrap();
    response.into_inner().upload_session.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_the_parts_has_its_reason_and_can_be_mended() {
    let world = World::sqlite().await;
    let bytes = content(6 * MIB);
    let (opened, signed) = world.create("ada", bytes.len()).await;
    let name = opened.name.as_str();
    let first = world.put(&signed[0], &bytes[..5 * MIB]).await.unwrap();
    let complete = |parts: Vec<CompletedPart>| {
        let world = &world;
        async move { reason(world.complete("ada", name, &parts).await) }
    };
    let made_up = CompletedPart { part_number: 2, etag: "\"0123\"".to_owned() };
    assert_eq!(complete(vec![]).await, "PART_MISSING");
    assert_eq!(complete(vec![first.clone()]).await, "PART_MISSING");
    assert_eq!(complete(vec![first.clone(), made_up.clone()]).await, "PART_MISSING");
    let beyond = CompletedPart { part_number: 3, ..made_up.clone() };
    assert_eq!(complete(vec![first.clone(), beyond]).await, "FIELD_INVALID");

    // Less than was declared.
    let short = world.put(&signed[1], &bytes[5 * MIB..5 * MIB + 10]).await.unwrap();
    assert_eq!(complete(vec![first.clone(), short]).await, "SIZE_MISMATCH");
    let second = world.put(&signed[1], &bytes[5 * MIB..]).await.unwrap();
    assert_eq!(complete(vec![first.clone(), made_up]).await, "PART_ETAG_MISMATCH");

    assert_eq!(session(&world, name).await.state(), upload_session::State::Open);
    let video = world.complete("ada", name, &[first, second]).await.unwrap();
    assert_eq!(video.state(), video::State::Processing);
}

async fn many_calls_make_one_video(world: World) {
    let bytes = content(6 * MIB);
    let (opened, signed) = world.create("ada", bytes.len()).await;
    let parts = world.put_all(&opened, &signed, &bytes).await;
    let second = world.another_replica().await;
    let calls = (0..10).map(|i| {
        let mut uploads = if i % 2 == 0 { world.uploads("ada") } else { second.uploads("ada") };
        let request = CompleteUploadSessionRequest { name: opened.name.clone(), parts: parts.clone() };
        async move { uploads.complete_upload_session(request).await }
    });
    for answer in futures::future::join_all(calls).await {
        let video = answer.unwrap().into_inner().video.unwrap();
        assert_eq!((video.name.as_str(), video.state()), (opened.video.as_str(), video::State::Processing));
    }
    world.until_video("ada", &opened.video, |video| !video.job.is_empty()).await;
    assert_eq!(world.jobs.created().len(), 1);
}

async fn transcoding_that_is_away_is_asked_later(world: World) {
    world.jobs.set_away(true);
    let video = world.upload("ada").await;
    assert_eq!((video.state(), video.job.as_str()), (video::State::Processing, ""));
    world.jobs.set_away(false);
    let video = world.until_video("ada", &video.name, |video| !video.job.is_empty()).await;
    assert_eq!(world.jobs.created()[0].video, video.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_leaves_the_upload_open() {
    let world = World::sqlite().await;
    let (opened, signed) = world.create("ada", 1000).await;
    let parts = world.put_all(&opened, &signed, &content(1000)).await;

    world.set_store_away(true);
    let refused = world.complete("ada", &opened.name, &parts).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason::<()>(Err(refused.clone())).as_str()),
        (Code::Unavailable, "OBJECT_STORE_UNAVAILABLE")
    );
    assert!(refused.get_details_retry_info().is_some());
    let refused = world.uploads("ada").create_upload_session(new_file(10)).await;
    assert_eq!(reason(refused), "OBJECT_STORE_UNAVAILABLE");
    let videos = world.videos("ada").list_videos(ListVideosRequest::default()).await.unwrap().into_inner();
    assert_eq!(videos.videos.len(), 1, "an upload that was never opened shows");

    world.set_store_away(false);
    assert_eq!(session(&world, &opened.name).await.state(), upload_session::State::Open);
    assert!(world.complete("ada", &opened.name, &parts).await.is_ok());
}

/// What a process leaves that dies while it completes an upload.
async fn die_completing(world: &World, opened: &UploadSession, parts: &[CompletedPart]) {
    let claim = CompleteUploadSessionRequest { name: opened.name.clone(), parts: parts.to_vec() };
    let database = Database::connect(&world.database_url).await.unwrap();
    let statement =
        "UPDATE uploads SET state = 'COMPLETING', claimed_parts = $1, update_time = $2 WHERE id = $3";
    let id = opened.name.trim_start_matches("uploads/");
    let values = [claim.encode_to_vec().into(), world.clock.now_millis().into(), id.into()];
    let statement = Statement::from_sql_and_values(database.get_database_backend(), statement, values);
    assert_eq!(database.execute_raw(statement).await.unwrap().rows_affected(), 1);
}

async fn a_claim_that_nobody_ended_is_taken_over(world: World) {
    let bytes = content(6 * MIB);
    for joined in [false, true] {
        let (opened, signed) = world.create("ada", bytes.len()).await;
        let parts = world.put_all(&opened, &signed, &bytes).await;
        if joined {
            join_as_the_dead_did(&world).await;
        }
        die_completing(&world, &opened, &parts).await;
        world.clock.advance(Duration::from_secs(31));
        let processing = |video: &reelmill_proto::upload::Video| video.state() == video::State::Processing;
        let video = world.until_video("ada", &opened.video, processing).await;
        let again = world.complete("ada", &opened.name, &parts).await.unwrap();
        assert_eq!(again.name, video.name);
    }
}

/// Joins the parts of the one upload that the store has open.
async fn join_as_the_dead_did(world: &World) {
    let list = world.objects.client().list_multipart_uploads().bucket(world.objects.bucket());
    let upload = list.send().await.unwrap().uploads.unwrap().pop().unwrap();
    let (key, id) = (upload.key.unwrap(), upload.upload_id.unwrap());
    let parts = world.objects.list_parts(&key, &id).await.unwrap();
    let parts: Vec<_> = parts.into_iter().map(|part| (part.number, part.etag)).collect();
    world.objects.complete_multipart(&key, &id, &parts).await.unwrap();
}

async fn a_claim_for_parts_that_are_not_there_is_reopened(world: World) {
    let bytes = content(6 * MIB);
    let (opened, signed) = world.create("ada", bytes.len()).await;
    let first = world.put(&signed[0], &bytes[..5 * MIB]).await.unwrap();
    die_completing(&world, &opened, std::slice::from_ref(&first)).await;
    assert_eq!(session(&world, &opened.name).await.state(), upload_session::State::Completing);
    world.clock.advance(Duration::from_secs(31));
    let open = || async {
        (session(&world, &opened.name).await.state() == upload_session::State::Open).then_some(())
    };
    eventually("the upload takes parts again", open).await;
    let second = world.put(&signed[1], &bytes[5 * MIB..]).await.unwrap();
    assert!(world.complete("ada", &opened.name, &[first, second]).await.is_ok());
}

/// A slow call joins the parts while its successor, that took its claim over, gives up.
async fn a_claim_that_a_successor_set_free_is_no_success(world: World) {
    let (opened, signed) = world.create("ada", 1000).await;
    let parts = world.put_all(&opened, &signed, &content(1000)).await;
    world.hold_heads(true);
    let request = CompleteUploadSessionRequest { name: opened.name.clone(), parts: parts.clone() };
    let mut uploads = world.uploads("ada");
    let slow = tokio::spawn(async move { uploads.complete_upload_session(request).await });
    let joined = || async { (world.keys("sources/").await.len() == 1).then_some(()) };
    eventually("the parts are joined", joined).await;
    let database = Database::connect(&world.database_url).await.unwrap();
    database.execute_unprepared("UPDATE uploads SET state = 'OPEN', claimed_parts = NULL").await.unwrap();
    world.hold_heads(false);

    let refused = slow.await.unwrap().unwrap_err();
    assert!(refused.get_details_retry_info().is_some());
    assert_eq!(reason::<()>(Err(refused)), "UPLOAD_COMPLETING");
    let video = world.complete("ada", &opened.name, &parts).await.unwrap();
    assert_eq!(video.state(), video::State::Processing);
}
