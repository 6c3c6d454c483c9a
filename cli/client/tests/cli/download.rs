//! `download`.

use reelmill_proto::transcode::{Rendition, rendition::Kind};

use crate::support::{ClientFixture, bytes, fake_server::Cut};

/// A client whose server has a file to download, and the content of that file.
async fn client_with_download() -> (ClientFixture, Vec<u8>) {
    let client = ClientFixture::signed_in().await;
    let content = bytes(400_000);
    client.server.state().file = content.clone();
    (client, content)
}

fn audio(id: &str) -> Rendition {
    Rendition {
        rendition_id: id.into(),
        kind: Kind::Audio.into(),
        // The height of an audio rendition must be ignored.
        height: 9000,
        ..Rendition::default()
    }
}

#[tokio::test]
async fn download_without_rendition_saves_the_tallest_rung() {
    let (client, content) = client_with_download().await;
    let rendition = client.run("download 1 -o out.mp4 --json").await.assert_exit_code(0).json();
    assert_eq!(rendition["renditionId"], "720p");
    assert_eq!(std::fs::read(client.path("out.mp4")).unwrap(), content);
    assert!(!client.path("out.mp4.part").exists());
}

#[tokio::test]
async fn download_broken_connection_is_resumed() {
    let (client, content) = client_with_download().await;
    let cut = Cut { bytes: 150_000, received_in: client.path("out.mp4.part") };
    client.server.state().cuts.push_back(cut);
    client.run("download 1 -o out.mp4 --json").await.assert_exit_code(0);
    assert_eq!(std::fs::read(client.path("out.mp4")).unwrap(), content);
    assert!(!client.path("out.mp4.part").exists());
    let resumed = format!("bytes={}-", 150_000 - 65_536);
    assert_eq!(client.server.state().ranges, ["bytes=0-".to_owned(), resumed]);
}

#[tokio::test]
async fn download_video_with_audio_renditions_saves_the_tallest_rung() {
    let (client, _) = client_with_download().await;
    client.server.state().audio_renditions = vec![audio("audio-0"), audio("audio-1")];
    let rendition = client.run("download 1 -o video.mp4 --json").await.assert_exit_code(0).json();
    assert_eq!(rendition["renditionId"], "720p");
}

#[tokio::test]
async fn download_audio_only_source_saves_the_first_audio_rendition() {
    let (client, content) = client_with_download().await;
    client.server.state().audio_renditions = vec![audio("audio-0"), audio("audio-1")];
    client.server.state().is_audio_only = true;
    let rendition = client.run("download 1 --json").await.assert_exit_code(0).json();
    assert_eq!((&rendition["renditionId"], &rendition["kind"]), (&"audio-0".into(), &"AUDIO".into()));
    assert_eq!(std::fs::read(client.path("1-audio-0.mp4")).unwrap(), content);
}

#[tokio::test]
async fn download_video_that_is_still_being_encoded_exits_with_4() {
    let client = ClientFixture::signed_in().await;
    client.server.state().is_encoding = true;
    for line in ["download 1 --json", "download 1 --rendition 720p --json"] {
        client.run(line).await.assert_exit_code(4).assert_only_error("VIDEO_NOT_READY");
    }
}

#[tokio::test]
async fn download_part_file_of_the_same_rendition_is_resumed() {
    let (client, content) = client_with_download().await;
    client.write_file("own.mp4.part", &content[..200_000]);
    client.run("download 1 --rendition 720p -o own.mp4").await.assert_exit_code(0);
    assert_eq!(std::fs::read(client.path("own.mp4")).unwrap(), content);
    assert_eq!(client.server.state().ranges, [format!("bytes={}-", 200_000 - 65_536)]);
}

#[tokio::test]
async fn download_part_file_with_other_content_is_replaced() {
    let (client, content) = client_with_download().await;
    for other in [vec![7; 200_000], vec![7; 900_000], vec![7; 10]] {
        client.write_file("other.mp4.part", &other);
        client.run("download 1 --rendition 720p -o other.mp4").await.assert_exit_code(0);
        assert_eq!(std::fs::read(client.path("other.mp4")).unwrap(), content);
    }
}

#[tokio::test]
async fn download_unknown_rendition_lists_the_available_ones() {
    let client = ClientFixture::signed_in().await;
    let output = client.run("download 1 --rendition 4320p -o x.mp4 --json").await.assert_exit_code(4);
    output.assert_only_error("RENDITION_NOT_FOUND");
    assert!(output.stderr.contains("720p, 360p"), "{output:?}");
}

#[tokio::test]
async fn download_output_is_a_folder_exits_with_2() {
    let client = ClientFixture::signed_in().await;
    client.run("download 1 -o .").await.assert_exit_code(2).assert_only_error("FILE_IS_FOLDER");
}
