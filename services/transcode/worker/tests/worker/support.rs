//! What the engine's tests share: an engine in its jail, a store that serves files by ranged GET, clips made by ffmpeg
//! itself, and ways to look at what came out.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::get;
use reelmill_jail::Mode;
use reelmill_worker::engine::{Engine, EngineLimits, Jail, SourceAddress, Tools};
use std::ffi::OsString;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The strictest jail, entered through the crate's own helper.
pub fn jail() -> Jail {
    Jail { mode: Mode::Required, helper: vec![jail_helper()] }
}

/// The program `reelmill-jail`, which cargo builds beside the folder of this test.
pub fn jail_helper() -> OsString {
    let test = std::env::current_exe().expect("the test's own file");
    let helper = test.parent().and_then(Path::parent).expect("target folder").join("reelmill-jail");
    assert!(helper.is_file(), "{} is missing: build the whole workspace", helper.display());
    helper.into_os_string()
}

/// In the jail's place, what runs some shell commands instead of the encoder; the prober is itself.
pub fn instead(clip: &Clip, commands: &str) -> OsString {
    let program = clip.beside("instead");
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' ffprobe '*) exec {} \"$@\";; esac\n{commands}\n",
        jail_helper().to_string_lossy()
    );
    std::fs::write(&program, script).expect("write");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    program.into_os_string()
}

/// An encoder that only waits.
pub fn sleeper(clip: &Clip) -> OsString {
    instead(clip, "exec sleep 600")
}

/// An engine as the worker builds it.
pub fn engine() -> Engine {
    // Another test of this process may have installed it.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Engine {
        tools: Tools { ffmpeg: "ffmpeg".into(), ffprobe: "ffprobe".into(), jail: jail() },
        limits: EngineLimits::default(),
        http: reqwest::Client::new(),
    }
}

/// A store of the files that were added, by number.
#[derive(Clone, Default)]
pub struct Store {
    files: Arc<Mutex<Vec<PathBuf>>>,
    /// Bytes that were asked for.
    pub served: Arc<AtomicU64>,
    /// How many requests from now on are answered 503.
    pub failing: Arc<AtomicU64>,
    /// Bytes from here on are never answered.
    pub hanging_from: Arc<Mutex<Option<usize>>>,
    port: u16,
}

impl Store {
    /// Starts it on the loopback.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("port");
        let port = listener.local_addr().expect("address").port();
        let store = Self { port, ..Self::default() };
        let router = Router::new().route("/{file}", get(serve)).with_state(store.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        store
    }

    /// Serves `file`.
    pub fn add(&self, file: &Path) -> SourceAddress {
        let size_bytes = std::fs::metadata(file).expect("file").len();
        let mut files = self.files.lock().expect("lock");
        files.push(file.to_owned());
        SourceAddress { uri: format!("http://127.0.0.1:{}/{}", self.port, files.len() - 1), size_bytes }
    }
}

async fn serve(
    State(store): State<Store>,
    UrlPath(file): UrlPath<usize>,
    headers: HeaderMap,
) -> Response<Body> {
    let answer = |status, body| Response::builder().status(status).body(body).expect("response");
    let failing = store.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if failing.is_ok() {
        return answer(StatusCode::SERVICE_UNAVAILABLE, Body::empty());
    }
    let path = store.files.lock().expect("lock")[file].clone();
    // A source is read by ranges, a segment at once.
    let Some(range) = headers.get(header::RANGE) else {
        return answer(StatusCode::OK, std::fs::read(path).expect("file").into());
    };
    let range = range.to_str().expect("range").trim_start_matches("bytes=").to_owned();
    let (first, last) = range.split_once('-').expect("range");
    let (first, last): (usize, usize) = (first.parse().expect("first"), last.parse().expect("last"));
    if store.hanging_from.lock().expect("lock").is_some_and(|from| first >= from) {
        std::future::pending::<()>().await;
    }
    let mut part = vec![0; last + 1 - first];
    let file = std::fs::File::open(path).expect("file");
    file.read_exact_at(&mut part, first as u64).expect("range");
    store.served.fetch_add(part.len() as u64, Ordering::SeqCst);
    answer(StatusCode::PARTIAL_CONTENT, part.into())
}

/// A file that ffmpeg makes by blank-separated arguments, in a folder of its own.
pub struct Clip {
    folder: TempDir,
    /// The file.
    pub file: PathBuf,
}

impl Clip {
    /// Makes it.
    pub fn new(name: &str, args: &str) -> Self {
        let clip = Self::named(name);
        ffmpeg(args, &clip.file);
        clip
    }

    /// One whose file is still to be written.
    pub fn named(name: &str) -> Self {
        let folder = TempDir::new().expect("folder");
        let file = folder.path().join(name);
        Self { folder, file }
    }

    /// A place beside it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Runs ffmpeg with blank-separated arguments and a last one, the output.
pub fn ffmpeg(args: &str, output: &Path) {
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(args.split_whitespace())
        .arg(output)
        .status()
        .expect("ffmpeg");
    assert!(status.success(), "ffmpeg {args}");
}

/// What ffprobe says of a file, by blank-separated arguments.
pub fn ffprobe(args: &str, file: &Path) -> String {
    let output = Command::new("ffprobe")
        .args(["-v", "error"])
        .args(args.split_whitespace())
        .args(["-of", "csv=p=0"])
        .arg(file)
        .output()
        .expect("ffprobe");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ffprobe {args} {}: {errors}", file.display());
    let text = String::from_utf8(output.stdout).expect("text");
    // Side data leaves empty columns and lines.
    let lines = text.lines().map(|line| line.trim_end_matches(',')).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

/// Frames of the first video stream, by decoding it.
pub fn frames(file: &Path) -> u32 {
    let counted = ffprobe("-select_streams v:0 -count_frames -show_entries stream=nb_read_frames", file);
    counted.lines().next().and_then(|line| line.parse().ok()).expect("frames")
}

/// Playing time as the container says.
pub fn seconds(file: &Path) -> f64 {
    ffprobe("-show_entries format=duration", file).parse().expect("duration")
}

/// Holds a file's playing time against what it should be.
pub fn assert_seconds(file: &Path, expected: f64, within: f64) {
    let actual = seconds(file);
    assert!((actual - expected).abs() <= within, "{}: {actual} s, not {expected} s", file.display());
}

/// Decodes the first video stream to gray pictures of `width` x `height`, one byte a pixel.
pub fn gray_frames(file: &Path, width: u32, height: u32) -> Vec<u8> {
    let scaled = format!("format=gray,scale={width}:{height}:flags=area");
    decode(file, &format!("-map 0:v:0 -vf {scaled} -fps_mode passthrough -f rawvideo -"))
}

/// Decodes the first audio stream to mono samples, 48000 a second.
pub fn samples(file: &Path) -> Vec<i16> {
    let bytes = decode(file, "-map 0:a:0 -ac 1 -ar 48000 -f s16le -");
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// What ffmpeg writes to its standard output, without a complaint about what it decodes.
pub fn decode(file: &Path, args: &str) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(file)
        .args(args.split_whitespace())
        .output()
        .expect("ffmpeg");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("decoding"), "{}: {errors}", file.display());
    output.stdout
}

/// How many processes have their working folder in `folder` or below it.
pub fn processes_in(folder: &Path) -> usize {
    pids_in(folder).len()
}

/// Asks the processes in `folder` to end, as whoever stops a machine's programs does.
pub fn terminate_in(folder: &Path) {
    let pids = pids_in(folder);
    assert!(!pids.is_empty(), "nothing runs");
    let status = Command::new("kill").arg("-TERM").args(pids).status().expect("kill");
    assert!(status.success());
}

/// The processes that have their working folder in `folder` or below it.
pub fn pids_in(folder: &Path) -> Vec<String> {
    let folder = folder.canonicalize().expect("folder");
    let running = std::fs::read_dir("/proc").expect("proc").filter_map(Result::ok);
    running
        .filter(|process| {
            std::fs::read_link(process.path().join("cwd")).is_ok_and(|place| place.starts_with(&folder))
        })
        .map(|process| process.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Waits until `holds`, at most `limit`.
pub async fn wait_until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The folder of real media, or a loud note that the test is skipped.
pub fn real_media() -> Option<PathBuf> {
    let folder = std::env::var_os("REELMILL_MEDIA").map(PathBuf::from).filter(|folder| folder.is_dir());
    if folder.is_none() {
        #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
        {
            eprintln!("SKIPPED: REELMILL_MEDIA does not name the folder of real media");
        }
    }
    folder
}
