//! Servers never outlive the test that started them.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reelmill_testkit::Redis;

const PATIENCE: Duration = Duration::from_secs(20);
const REPORT: &str = "REELMILL_TESTKIT_REPORT";

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("redis://").parse().expect("an address")
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let server = Redis::start().await.expect("Redis starts");
    let address = address(&server.url());
    assert!(TcpStream::connect(address).is_ok());
    drop(server);
    assert!(TcpStream::connect(address).is_err());
}

#[tokio::test]
async fn a_stopped_server_starts_again_on_its_port() {
    let server = Redis::start().await.expect("Redis starts");
    let address = address(&server.url());
    server.stop().await.expect("stopped");
    assert!(TcpStream::connect(address).is_err());
    server.restart().await.expect("restarted");
    assert!(server.command("PING").await.expect("an answer").starts_with("+PONG"));
}

#[test]
fn the_servers_of_a_killed_test_process_end_too_and_leave_no_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let report = folder.path().join("url");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "starts_a_server_and_waits_to_be_killed", "--ignored"])
        .env(REPORT, &report)
        .env("TMPDIR", folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("this program again");
    until("the server's address", || report.exists());
    let address = address(&std::fs::read_to_string(&report).expect("an address"));
    assert!(TcpStream::connect(address).is_ok());
    assert!(has_server_folder(folder.path()));

    child.kill().expect("killed");
    child.wait().expect("gone");
    until("the server's end", || TcpStream::connect(address).is_err());
    until("its folder's end", || !has_server_folder(folder.path()));
}

fn has_server_folder(folder: &Path) -> bool {
    let mut names = folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").file_name());
    names.any(|name| name.to_string_lossy().starts_with("reelmill-redis-"))
}

/// The process that the test above kills.
#[tokio::test]
#[ignore = "never ends by itself: another test starts and kills it"]
async fn starts_a_server_and_waits_to_be_killed() {
    let Some(report) = std::env::var_os(REPORT) else { return };
    let server = Redis::start().await.expect("Redis starts");
    let written = Path::new(&report).with_extension("written");
    std::fs::write(&written, server.url()).expect("written");
    std::fs::rename(written, report).expect("renamed");
    std::future::pending::<()>().await;
}
