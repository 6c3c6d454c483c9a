//! Resources of other users do not exist for the caller.

use reelmill_proto::upload::{
    AbortUploadSessionRequest, CompleteUploadSessionRequest, CreatePlaybackRequest, DeleteVideoRequest,
    GetUploadSessionRequest, ListVideosRequest, PartToSign, SignUploadPartsRequest, WatchVideoRequest,
};

use crate::support::{Backend, Deployment, content, reason};

#[tokio::test(flavor = "multi_thread")]
async fn upload_methods_on_other_users_or_unknown_upload_return_not_found() {
    const NOT_FOUND: &str = "UPLOAD_NOT_FOUND";
    let deployment = Deployment::start(Backend::Sqlite).await;
    let (session, signed) = deployment.create("ada", 1000).await;
    let parts = deployment.put_all(&session, &signed, &content(1000)).await;
    let mut uploads = deployment.uploads("eve");
    for name in [session.name.as_str(), "uploads/0000", "", "uploads/../x"] {
        let name = name.to_owned();
        let request = GetUploadSessionRequest { name: name.clone() };
        assert_eq!(reason(uploads.get_upload_session(request).await), NOT_FOUND);
        let one = vec![PartToSign { part_number: 1, crc32c: String::new() }];
        let request = SignUploadPartsRequest { name: name.clone(), parts: one };
        assert_eq!(reason(uploads.sign_upload_parts(request).await), NOT_FOUND);
        let request = CompleteUploadSessionRequest { name: name.clone(), parts: parts.clone() };
        assert_eq!(reason(uploads.complete_upload_session(request).await), NOT_FOUND);
        let request = AbortUploadSessionRequest { name };
        assert_eq!(reason(uploads.abort_upload_session(request).await), NOT_FOUND);
    }
    assert!(deployment.complete("ada", &session.name, &parts).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn video_methods_on_other_users_video_return_not_found() {
    const NOT_FOUND: &str = "VIDEO_NOT_FOUND";
    let deployment = Deployment::start(Backend::Sqlite).await;
    let (session, _) = deployment.create("ada", 1000).await;
    let (mut videos, name) = (deployment.videos("eve"), session.video);
    assert_eq!(reason(deployment.video("eve", &name).await), NOT_FOUND);
    let request = WatchVideoRequest { name: name.clone(), revision: 0 };
    assert_eq!(reason(videos.watch_video(request).await), NOT_FOUND);
    assert_eq!(reason(videos.delete_video(DeleteVideoRequest { name: name.clone() }).await), NOT_FOUND);
    assert_eq!(reason(videos.create_playback(CreatePlaybackRequest { name, ttl: None }).await), NOT_FOUND);
    let listed = videos.list_videos(ListVideosRequest::default()).await.unwrap().into_inner();
    assert!(listed.videos.is_empty());
}
