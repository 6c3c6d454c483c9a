//! Upload sessions, from the first call to the last part.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reelmill_proto::upload::{
    AbortUploadSessionRequest, CompleteUploadSessionRequest, CompletedPart, CreatePlaybackRequest,
    CreateUploadSessionRequest, DeleteVideoRequest, GetUploadSessionRequest, ListUploadSessionsRequest,
    ListVideosRequest, PartToSign, SignUploadPartsRequest, SignedPart, WatchVideoRequest, upload_session,
    video,
};

use crate::world::{World, content, eventually, new_file, reason};

const MIB: usize = 1 << 20;

crate::on_both!(
    a_file_goes_up_in_parts_and_is_resumed,
    one_request_id_is_one_session,
    an_abort_leaves_nothing,
    an_expired_upload_leaves_nothing,
    sessions_and_videos_come_in_pages,
);

fn get(name: &str) -> GetUploadSessionRequest {
    GetUploadSessionRequest { name: name.to_owned() }
}

async fn sign(world: &World, name: &str, parts: &[(i32, &str)]) -> Result<Vec<SignedPart>, tonic::Status> {
    let part = |(part_number, crc32c): &(i32, &str)| PartToSign {
        part_number: *part_number,
        crc32c: (*crc32c).to_owned(),
    };
    let request = SignUploadPartsRequest { name: name.to_owned(), parts: parts.iter().map(part).collect() };
    Ok(world.uploads("ada").sign_upload_parts(request).await?.into_inner().signed_parts)
}

async fn a_file_goes_up_in_parts_and_is_resumed(world: World) {
    let bytes = content(12 * MIB + 7);
    let (session, signed) = world.create("ada", bytes.len()).await;
    assert_eq!((session.part_count, session.part_size_bytes), (3, 5 << 20));
    assert_eq!(session.state(), upload_session::State::Open);
    assert_eq!(signed.iter().map(|part| part.part_number).collect::<Vec<_>>(), [1, 2, 3]);
    let chunks: Vec<&[u8]> = bytes.chunks(5 * MIB).collect();

    let third = world.put(&signed[2], chunks[2]).await.unwrap();
    let first = world.put(&signed[0], chunks[0]).await.unwrap();
    // Half a part does not count.
    world.put(&signed[1], &chunks[1][..MIB]).await.unwrap();

    let seen = world.uploads("ada").get_upload_session(get(&session.name)).await.unwrap().into_inner();
    let seen = seen.upload_session.unwrap();
    assert_eq!(seen.parts.iter().map(|part| part.part_number).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(seen.parts[0].etag, first.etag);
    let listed = ListUploadSessionsRequest::default();
    let listed = world.uploads("ada").list_upload_sessions(listed).await.unwrap().into_inner();
    assert_eq!(listed.upload_sessions[0].name, session.name);

    let crc = STANDARD.encode(crc32c::crc32c(chunks[1]).to_be_bytes());
    let signed = sign(&world, &session.name, &[(2, &crc)]).await.unwrap();
    assert!(world.put(&signed[0], chunks[0]).await.is_err(), "bytes of another checksum got in");
    let second = world.put(&signed[0], chunks[1]).await.unwrap();

    let unquoted = CompletedPart { etag: third.etag.trim_matches('"').to_owned(), ..third };
    let video = world.complete("ada", &session.name, &[unquoted, first.clone(), second]).await.unwrap();
    assert_eq!(video.state(), video::State::Processing);
    assert_eq!((video.name.as_str(), video.display_name.as_str()), (session.video.as_str(), "clip.mov"));
    assert!(video.job.starts_with("jobs/"));

    let asked = world.jobs.created().pop().unwrap();
    assert_eq!((asked.video.as_str(), asked.owner.as_str()), (video.name.as_str(), "users/ada"));
    assert_eq!(asked.source_size_bytes, video.size_bytes);
    assert!(!asked.source_key.contains("clip") && asked.output_prefix.ends_with('/'));
    let stored = world.objects.get(&asked.source_key, None, None).await.unwrap();
    assert!(stored.body.collect().await.unwrap().to_vec() == bytes, "the stored file is another");

    let again = world.complete("ada", &session.name, &[first]).await.unwrap();
    assert_eq!(again.name, video.name);
    assert_eq!(world.jobs.created().len(), 1);
    let abort = AbortUploadSessionRequest { name: session.name.clone() };
    assert_eq!(reason(world.uploads("ada").abort_upload_session(abort).await), "UPLOAD_NOT_OPEN");
    assert_eq!(reason(sign(&world, &session.name, &[(1, "")]).await), "UPLOAD_NOT_OPEN");
}

async fn one_request_id_is_one_session(world: World) {
    let request = CreateUploadSessionRequest { request_id: "once".to_owned(), ..new_file(1000) };
    let mut uploads = world.uploads("ada");
    let first = uploads.create_upload_session(request.clone()).await.unwrap().into_inner();
    let again = uploads.create_upload_session(request.clone()).await.unwrap().into_inner();
    assert_eq!(first.upload_session, again.upload_session);
    assert_eq!(again.signed_parts.len(), 1);

    let other = CreateUploadSessionRequest { size_bytes: 1001, ..request.clone() };
    assert_eq!(reason(uploads.create_upload_session(other).await), "FIELD_INVALID");
    let theirs = world.uploads("eve").create_upload_session(request.clone()).await.unwrap().into_inner();
    assert_ne!(theirs.upload_session, first.upload_session);

    let fresh = CreateUploadSessionRequest { request_id: "raced".to_owned(), ..request };
    let racing = (0..8).map(|_| {
        let (mut uploads, fresh) = (world.uploads("ada"), fresh.clone());
        async move { uploads.create_upload_session(fresh).await.unwrap().into_inner() }
    });
    let sessions = futures::future::join_all(racing).await;
    let name = |i: usize| sessions[i].upload_session.as_ref().unwrap().name.clone();
    assert!((1..8).all(|i| name(i) == name(0)));
    assert_eq!(world.open_multiparts().await, 3);
}

async fn an_abort_leaves_nothing(world: World) {
    let (session, signed) = world.create("ada", 1000).await;
    world.put_all(&session, &signed, &content(1000)).await;
    let abort = AbortUploadSessionRequest { name: session.name.clone() };
    for _ in 0..2 {
        world.uploads("ada").abort_upload_session(abort.clone()).await.unwrap();
    }
    assert_eq!(reason(world.video("ada", &session.video).await), "VIDEO_NOT_FOUND");
    let seen = world.uploads("ada").get_upload_session(get(&session.name)).await.unwrap().into_inner();
    assert_eq!(seen.upload_session.unwrap().state(), upload_session::State::Aborted);
    let gone = || async { (world.open_multiparts().await == 0).then_some(()) };
    eventually("the parts are removed", gone).await;
    assert!(world.put(&signed[0], b"late").await.is_err());
    assert_eq!(reason(world.complete("ada", &session.name, &[]).await), "UPLOAD_NOT_OPEN");
}

async fn an_expired_upload_leaves_nothing(world: World) {
    let (session, signed) = world.create("ada", 1000).await;
    world.put_all(&session, &signed, &content(1000)).await;
    world.clock.advance(std::time::Duration::from_secs(7 * 24 * 3600));
    let gone = || async {
        (world.open_multiparts().await == 0 && world.video("ada", &session.video).await.is_err())
            .then_some(())
    };
    eventually("the upload is given up", gone).await;
    let listed = ListUploadSessionsRequest::default();
    let listed = world.uploads("ada").list_upload_sessions(listed).await.unwrap().into_inner();
    assert!(listed.upload_sessions.is_empty());
}

async fn sessions_and_videos_come_in_pages(world: World) {
    let mut names = Vec::new();
    for _ in 0..5 {
        names.insert(0, world.create("ada", 10).await.0.name);
    }
    world.create("eve", 10).await;
    let (mut uploads, mut seen, mut token) = (world.uploads("ada"), Vec::new(), String::new());
    loop {
        let page = ListUploadSessionsRequest { page_size: 2, page_token: token };
        let page = uploads.list_upload_sessions(page).await.unwrap().into_inner();
        assert!(page.upload_sessions.len() <= 2);
        seen.extend(page.upload_sessions.into_iter().map(|session| session.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, names);

    let mut videos = world.videos("ada");
    let all = videos.list_videos(ListVideosRequest::default()).await.unwrap().into_inner();
    assert_eq!(all.videos.len(), 5);
    let page = ListVideosRequest { page_size: 4, page_token: String::new() };
    let page = videos.list_videos(page).await.unwrap().into_inner();
    let rest = ListVideosRequest { page_size: 4, page_token: page.next_page_token };
    let rest = videos.list_videos(rest).await.unwrap().into_inner();
    assert_eq!((rest.videos.len(), rest.next_page_token.as_str()), (1, ""));
    assert_eq!(rest.videos[0], all.videos[4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_file_is_refused() {
    let world = World::sqlite().await;
    let mut uploads = world.uploads("ada");
    let mut refused = async |request| reason(uploads.create_upload_session(request).await);
    assert_eq!(refused(new_file(0)).await, "FILE_EMPTY");
    assert_eq!(refused(CreateUploadSessionRequest { size_bytes: -1, ..new_file(1) }).await, "FIELD_INVALID");
    let huge = CreateUploadSessionRequest { size_bytes: (5 << 40) + 1, ..new_file(1) };
    assert_eq!(refused(huge).await, "FILE_TOO_LARGE");
    for file_name in ["", "folder/", "\u{7}"] {
        let unnamed = CreateUploadSessionRequest { file_name: file_name.to_owned(), ..new_file(1) };
        assert_eq!(refused(unnamed).await, "FIELD_INVALID");
    }
    let long = CreateUploadSessionRequest { request_id: "x".repeat(65), ..new_file(1) };
    assert_eq!(refused(long).await, "FIELD_INVALID");

    let list =
        |page_size, page_token: &str| ListVideosRequest { page_size, page_token: page_token.to_owned() };
    let mut videos = world.videos("ada");
    assert_eq!(reason(videos.list_videos(list(-1, "")).await), "FIELD_INVALID");
    assert_eq!(reason(videos.list_videos(list(1, "made-up")).await), "PAGE_TOKEN_INVALID");
    assert!(videos.list_videos(list(100_000, "")).await.is_ok());

    let (session, _) = world.create("ada", 10).await;
    for number in [0, 2, -1, i32::MAX] {
        assert_eq!(reason(sign(&world, &session.name, &[(number, "")]).await), "PART_NUMBER_INVALID");
    }
    assert_eq!(reason(sign(&world, &session.name, &[(1, "not base64")]).await), "FIELD_INVALID");
    assert_eq!(reason(sign(&world, &session.name, &[]).await), "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_anothers_does_not_exist() {
    let world = World::sqlite().await;
    let (session, signed) = world.create("ada", 1000).await;
    let parts = world.put_all(&session, &signed, &content(1000)).await;
    let made_up = "uploads/0000";
    for name in [session.name.as_str(), made_up, "", "uploads/../x"] {
        let name = name.to_owned();
        let (mut uploads, not_found) = (world.uploads("eve"), "UPLOAD_NOT_FOUND");
        let request = GetUploadSessionRequest { name: name.clone() };
        assert_eq!(reason(uploads.get_upload_session(request).await), not_found);
        let one = vec![PartToSign { part_number: 1, crc32c: String::new() }];
        let request = SignUploadPartsRequest { name: name.clone(), parts: one };
        assert_eq!(reason(uploads.sign_upload_parts(request).await), not_found);
        let request = CompleteUploadSessionRequest { name: name.clone(), parts: parts.clone() };
        assert_eq!(reason(uploads.complete_upload_session(request).await), not_found);
        let request = AbortUploadSessionRequest { name };
        assert_eq!(reason(uploads.abort_upload_session(request).await), not_found);
    }
    let (mut videos, not_found, name) = (world.videos("eve"), "VIDEO_NOT_FOUND", session.video.clone());
    assert_eq!(reason(world.video("eve", &name).await), not_found);
    let request = WatchVideoRequest { name: name.clone(), revision: 0 };
    assert_eq!(reason(videos.watch_video(request).await), not_found);
    assert_eq!(reason(videos.delete_video(DeleteVideoRequest { name: name.clone() }).await), not_found);
    assert_eq!(reason(videos.create_playback(CreatePlaybackRequest { name, ttl: None }).await), not_found);
    let none = videos.list_videos(ListVideosRequest::default()).await.unwrap().into_inner();
    assert!(none.videos.is_empty());
    assert!(world.complete("ada", &session.name, &parts).await.is_ok());
}
