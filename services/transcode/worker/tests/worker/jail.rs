//! Isolation of the jail: a hostile file can reach neither the network nor other files.

use crate::support::{Clip, FileServer, Job, Run, engine, options, pids_in, transcode, wait_until};
use axum::Router;
use axum::extract::State;
use reelmill_media::{FailureCause, FailureKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A server and a video file that the jailed programs must not reach.
struct ForbiddenTargets {
    requests: Arc<AtomicU64>,
    address: String,
    file: PathBuf,
    _clip: Clip,
}

impl ForbiddenTargets {
    async fn new() -> Self {
        let requests = Arc::new(AtomicU64::new(0));
        let count = |State(requests): State<Arc<AtomicU64>>| async move {
            requests.fetch_add(1, Ordering::SeqCst);
        };
        let router = Router::new().fallback(count).with_state(Arc::clone(&requests));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("port");
        let address = format!("http://{}", listener.local_addr().expect("address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let clip = Clip::new(
            "forbidden.ts",
            "-f lavfi -i testsrc2=s=128x72:r=25:d=2 -c:v libx264 -preset ultrafast",
        );
        Self { requests, address, file: clip.file.clone(), _clip: clip }
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

fn failure_kind(run: Run, file: &Path) -> FailureKind {
    run.result.map(drop).expect_err(&format!("{} is no video", file.display())).kind
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_playlist_as_video_opens_no_target() {
    let forbidden = ForbiddenTargets::new().await;
    let folder = Clip::empty("any");
    let targets =
        [format!("{}/forbidden.ts", forbidden.address), format!("file://{}", forbidden.file.display())];
    for target in targets {
        // ffprobe would take these for DASH manifests. With its control character the second one is not plain text.
        let manifest = |lead: &str| {
            format!(
                "{lead}<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
                 profiles=\"urn:mpeg:dash:profile:isoff-on-demand:2011\" mediaPresentationDuration=\"PT2S\"><Period>\
                 <AdaptationSet mimeType=\"video/mp4\"><Representation id=\"1\" bandwidth=\"1000\"><BaseURL>{target}\
                 </BaseURL></Representation></AdaptationSet></Period></MPD>"
            )
        };
        let playlist = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n");
        let cases = [
            ("hls.mp4", playlist.clone()),
            ("tagged.mp4", format!("ID3\u{4}\0\0\0\0\0\u{a}0123456789{playlist}")),
            ("concat.mp4", format!("ffconcat version 1.0\nfile '{target}'\n")),
            ("dash.mp4", manifest("")),
            ("odd.mp4", manifest("<!-- \u{7f} -->")),
        ];
        for (name, text) in cases {
            let file = folder.sibling(name);
            std::fs::write(&file, text).expect("write");
            assert_eq!(failure_kind(transcode(&file).await, &file), FailureKind::FileNotVideo, "{name}");
            assert_eq!(forbidden.requests(), 0, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_video_with_external_media_opens_no_target() {
    // A QuickTime file may refer to media in other files; this one refers to the forbidden file.
    let forbidden = ForbiddenTargets::new().await;
    let clip = Clip::new("clip.mov", "-f lavfi -i testsrc2=s=128x72:r=25:d=2 -c:v libx264 -preset ultrafast");
    clip.patch(|bytes| {
        let at = bytes.windows(4).position(|kind| kind == b"url ").expect("data reference");
        // Clears the flag that the media are in the same file.
        bytes[at..at + 8].copy_from_slice(b"url \0\0\0\0");
    });
    let run = transcode(&clip.file).await;
    assert_eq!(forbidden.requests(), 0);
    if let Err(failure) = run.result {
        assert!(failure.kind.cause() == FailureCause::File, "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encode_runs_with_seccomp_and_without_privileges() {
    let clip =
        Clip::new("clip.mp4", "-f lavfi -i testsrc2=s=1280x720:r=30:d=20 -c:v libx264 -preset ultrafast");
    let server = FileServer::start().await;
    let job = Arc::new(Job::planned_with(&engine(), server.add(&clip.file), &options(&[])).await);
    let encoded = Arc::clone(&job);
    let running = tokio::spawn(async move { encoded.encode(0).await });
    wait_until(Duration::from_secs(60), "frames", || job.progress().frames > 0).await;
    let pids = pids_in(job.scratch.path());
    assert_eq!(pids.len(), 1, "one encoder, and no other process");
    let status = std::fs::read_to_string(format!("/proc/{}/status", pids[0])).expect("status");
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim_start_matches(':').trim().to_owned()
    };
    assert_eq!(value("Name"), "ffmpeg");
    // System calls are filtered, privileges cannot be gained, and there are no capabilities.
    assert_eq!((value("Seccomp").as_str(), value("NoNewPrivs").as_str()), ("2", "1"));
    assert_eq!(u64::from_str_radix(&value("CapEff"), 16), Ok(0));
    running.abort();
    assert!(running.await.expect_err("aborted").is_cancelled());
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_without_jail_helper_fails() {
    let clip = Clip::new("clip.mp4", "-f lavfi -i testsrc2=s=128x72:r=25:d=1 -c:v libx264 -preset ultrafast");
    let server = FileServer::start().await;
    let mut engine = engine();
    engine.tools.jail.helper = vec!["/nowhere/reelmill-jail".into()];
    let failure = Job::new(&engine, server.add(&clip.file), &options(&[])).await.err().expect("refused").0;
    assert_eq!(failure.kind, FailureKind::EncoderCrashed, "caused by the worker, not by the file");
}
