//! What a hostile file may reach: nothing. Canaries stand where it would like to go.

use crate::job::{Job, Run, options, transcode};
use crate::support::{Clip, Store, engine, ffmpeg, pids_in, wait_until};
use axum::Router;
use axum::extract::State;
use reelmill_media::FailureKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A server that nobody should ask, and a video that nobody should read.
struct Canary {
    asked: Arc<AtomicU64>,
    address: String,
    file: PathBuf,
    _clip: Clip,
}

impl Canary {
    async fn new() -> Self {
        let asked = Arc::new(AtomicU64::new(0));
        let count = |State(asked): State<Arc<AtomicU64>>| async move {
            asked.fetch_add(1, Ordering::SeqCst);
        };
        let router = Router::new().fallback(count).with_state(Arc::clone(&asked));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("port");
        let address = format!("http://{}", listener.local_addr().expect("address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let clip =
            Clip::new("canary.ts", "-f lavfi -i testsrc2=s=128x72:r=25:d=2 -c:v libx264 -preset ultrafast");
        Self { asked, address, file: clip.file.clone(), _clip: clip }
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

fn refusal(run: Run, file: &Path) -> FailureKind {
    run.result.map(drop).expect_err(&format!("{} is no video", file.display())).kind
}

#[tokio::test(flavor = "multi_thread")]
async fn playlists_that_call_themselves_videos_reach_nothing() {
    let canary = Canary::new().await;
    let folder = Clip::named("any");
    let targets = [format!("{}/canary.ts", canary.address), format!("file://{}", canary.file.display())];
    for target in targets {
        // To a prober these are DASH manifests. The second one's odd byte keeps it from being plain text.
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
            let file = folder.beside(name);
            std::fs::write(&file, text).expect("write");
            assert_eq!(refusal(transcode(&file).await, &file), FailureKind::FileNotVideo, "{name}");
            assert_eq!(canary.asked(), 0, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_that_refers_to_others_is_alone() {
    // A QuickTime file may keep its media elsewhere; this one's are said to be in the canary.
    let canary = Canary::new().await;
    let clip = Clip::new("clip.mov", "-f lavfi -i testsrc2=s=128x72:r=25:d=2 -c:v libx264 -preset ultrafast");
    let mut bytes = std::fs::read(&clip.file).expect("file");
    let at = bytes.windows(4).position(|kind| kind == b"url ").expect("data reference");
    // Not self-contained any more.
    bytes[at..at + 8].copy_from_slice(b"url \0\0\0\0");
    std::fs::write(&clip.file, bytes).expect("write");
    let run = transcode(&clip.file).await;
    assert_eq!(canary.asked(), 0);
    if let Err(failure) = run.result {
        assert!(!failure.kind.retryable(), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_decodes_is_confined() {
    let clip = Clip::named("clip.mp4");
    ffmpeg("-f lavfi -i testsrc2=s=1280x720:r=30:d=20 -c:v libx264 -preset ultrafast", &clip.file);
    let store = Store::start().await;
    let job = Job::new(&engine(), store.add(&clip.file), &options(&[])).await;
    let job = Arc::new(job.map_err(|(failure, _)| failure).expect("planned"));
    let working = Arc::clone(&job);
    let running = tokio::spawn(async move { working.encode(0).await });
    wait_until(Duration::from_secs(60), "frames", || job.progress().frames > 0).await;
    let pids = pids_in(job.scratch.path());
    assert_eq!(pids.len(), 1, "one encoder, and no other process");
    let status = std::fs::read_to_string(format!("/proc/{}/status", pids[0])).expect("status");
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim_start_matches(':').trim().to_owned()
    };
    assert_eq!(value("Name"), "ffmpeg");
    // Its system calls are filtered, it can never gain rights, and has none of root's.
    assert_eq!((value("Seccomp").as_str(), value("NoNewPrivs").as_str()), ("2", "1"));
    assert_eq!(u64::from_str_radix(&value("CapEff"), 16), Ok(0));
    running.abort();
    assert!(running.await.expect_err("aborted").is_cancelled());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_jail_nothing_runs() {
    let clip = Clip::new("clip.mp4", "-f lavfi -i testsrc2=s=128x72:r=25:d=1 -c:v libx264 -preset ultrafast");
    let store = Store::start().await;
    let mut engine = engine();
    engine.tools.jail.helper = vec!["/nowhere/reelmill-jail".into()];
    let failure = Job::new(&engine, store.add(&clip.file), &options(&[])).await.err().expect("refused").0;
    assert_eq!(failure.kind, FailureKind::EncoderCrashed, "the worker's fault, not the file's");
}
