//! Servers are stopped with the test that started them.

use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use reelmill_testkit::Redis;

const TIMEOUT: Duration = Duration::from_secs(20);
/// Environment variable with the file to which the child process writes the server's URL.
const URL_FILE_VARIABLE: &str = "REELMILL_TESTKIT_URL_FILE";

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("redis://").parse().expect("an address")
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not after {TIMEOUT:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn drop_stops_the_server() {
    let server = Redis::start().await.expect("Redis starts");
    let address = address(&server.url());
    assert!(TcpStream::connect(address).is_ok());
    drop(server);
    assert!(TcpStream::connect(address).is_err());
}

#[tokio::test]
async fn restart_after_stop_uses_the_same_port() {
    let server = Redis::start().await.expect("Redis starts");
    let address = address(&server.url());
    server.stop().await.expect("stopped");
    assert!(TcpStream::connect(address).is_err());
    server.restart().await.expect("restarted");
    assert!(server.command("PING").await.expect("an answer").starts_with("+PONG"));
}

#[test]
fn kill_of_test_process_stops_its_servers_and_removes_their_folders() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url_file = folder.path().join("url");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child_process_with_server", "--ignored"])
        .env(URL_FILE_VARIABLE, &url_file)
        .env("TMPDIR", folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("started");
    wait_until("the server's URL is written", || url_file.exists());
    let address = address(&std::fs::read_to_string(&url_file).expect("an address"));
    assert!(TcpStream::connect(address).is_ok());
    assert!(has_server_folder(folder.path()));

    child.kill().expect("killed");
    child.wait().expect("exited");
    wait_until("the server is stopped", || TcpStream::connect(address).is_err());
    wait_until("its folder is removed", || !has_server_folder(folder.path()));
}

fn has_server_folder(folder: &Path) -> bool {
    let mut names = folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").file_name());
    names.any(|name| name.to_string_lossy().starts_with("reelmill-redis-"))
}

/// The process that the test above kills.
#[tokio::test]
#[ignore = "not a test: another test starts and kills it"]
async fn child_process_with_server() {
    let Some(url_file) = std::env::var_os(URL_FILE_VARIABLE) else { return };
    let server = Redis::start().await.expect("Redis starts");
    let written = Path::new(&url_file).with_extension("written");
    std::fs::write(&written, server.url()).expect("written");
    std::fs::rename(written, url_file).expect("renamed");
    std::future::pending::<()>().await;
}
