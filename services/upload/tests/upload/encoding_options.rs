//! Encoding options of an upload.

use std::time::Duration;

use reelmill_proto::{
    duration,
    transcode::{
        TranscodeOptions,
        transcode_options::{Preset, Profile},
    },
    upload::CreateUploadSessionRequest,
};
use rstest::rstest;

use crate::support::{Backend, Deployment, new_file, reason};

fn options() -> TranscodeOptions {
    TranscodeOptions {
        profile: Profile::Av1.into(),
        preset: Preset::Small.into(),
        rungs: vec![720, 480],
        keep_hdr: true,
        poster_time: Some(duration(Duration::from_millis(2500))),
        source_program: 12,
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn options_of_upload_are_returned_and_passed_to_the_job(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload_with("ada", Some(options())).await;
    assert_eq!(uploaded.options, Some(options()));
    assert_eq!(deployment.transcode.created().pop().unwrap().options, Some(options()));

    let without = deployment.upload("ada").await;
    assert_eq!((without.options, deployment.transcode.created().pop().unwrap().options), (None, None));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn options_of_upload_are_passed_to_a_job_created_later(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    deployment.transcode.set_unavailable(true);
    let uploaded = deployment.upload_with("ada", Some(options())).await;
    assert_eq!(uploaded.job, "");
    deployment.transcode.set_unavailable(false);
    deployment.wait_for_video("ada", &uploaded.name, |video| !video.job.is_empty()).await;
    let requested = deployment.transcode.created().pop().unwrap();
    assert_eq!((requested.video.as_str(), requested.options), (uploaded.name.as_str(), Some(options())));
}

#[tokio::test(flavor = "multi_thread")]
async fn create_upload_session_with_invalid_or_different_options_is_rejected() {
    let deployment = Deployment::start(Backend::Sqlite).await;
    let mut uploads = deployment.uploads("ada");
    let request = |options: TranscodeOptions| CreateUploadSessionRequest {
        options: Some(options),
        request_id: "once".to_owned(),
        ..new_file(10)
    };
    let negative = prost_types::Duration { seconds: -1, nanos: 0 };
    for invalid in [
        TranscodeOptions { rungs: vec![720, 63], ..options() },
        TranscodeOptions { rungs: vec![480; 17], ..options() },
        TranscodeOptions { poster_time: Some(negative), ..options() },
        TranscodeOptions { profile: 77, ..options() },
    ] {
        assert_eq!(reason(uploads.create_upload_session(request(invalid)).await), "FIELD_INVALID");
    }
    uploads.create_upload_session(request(options())).await.unwrap();
    uploads.create_upload_session(request(options())).await.unwrap();
    let different = TranscodeOptions { rungs: vec![720], ..options() };
    assert_eq!(reason(uploads.create_upload_session(request(different)).await), "FIELD_INVALID");
}
