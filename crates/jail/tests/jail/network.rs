//! Network access of a confined program.

use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixListener,
    thread,
};

use reelmill_jail::Mode;

use crate::support::{Task, encode, frame_count, stderr};

const CONNECT: &str = "socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)";

/// A listener on a free port.
fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

/// Asserts that no client connected. The kernel completes handshakes, so a connection would be pending.
fn assert_no_connection(listener: &TcpListener) {
    listener.set_nonblocking(true).expect("set");
    let error = listener.accept().map(|(_, peer)| peer).expect_err("no connection");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn connect_to_allowed_port_succeeds() {
    let mut task = Task::new();
    let (server, port) = listener();
    task.confinement.connect = Some(port);
    assert_eq!(task.attempt(CONNECT, &[&port.to_string()]), "done");
    drop(server.accept().expect("a connection"));
}

#[test]
fn connect_to_other_port_is_denied() {
    let mut task = Task::new();
    let (_server, allowed) = listener();
    let (other, denied) = listener();
    task.confinement.connect = Some(allowed);
    assert_eq!(task.attempt(CONNECT, &[&denied.to_string()]), "EACCES");
    // TCP Fast Open connects by sending, which Landlock's check of `connect` misses.
    let fast_open = "socket.socket().sendto(b'x', socket.MSG_FASTOPEN, ('127.0.0.1', int(sys.argv[1])))";
    assert_eq!(task.attempt(fast_open, &[&denied.to_string()]), "EPERM");
    let mptcp = "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)";
    assert_eq!(task.attempt(mptcp, &[]), "EPERM");
    assert_no_connection(&other);
}

#[test]
fn socket_without_allowed_port_is_denied() {
    let task = Task::new();
    let (server, port) = listener();
    assert_eq!(task.attempt(CONNECT, &[&port.to_string()]), "EPERM");
    assert_eq!(task.attempt("socket.socket()", &[]), "EPERM");
    assert_no_connection(&server);
}

#[test]
fn datagram_is_denied() {
    let mut task = Task::new();
    let udp = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let port = udp.local_addr().expect("bound").port();
    task.confinement.connect = Some(port);
    let send =
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', int(sys.argv[1])))";
    assert_eq!(task.attempt(send, &[&port.to_string()]), "EPERM");
    udp.set_nonblocking(true).expect("set");
    assert_eq!(udp.recv(&mut [0]).expect_err("no datagram").kind(), ErrorKind::WouldBlock);
}

#[test]
fn socket_other_than_tcp_is_denied() {
    let mut task = Task::new();
    task.confinement.connect = Some(1);
    let kinds = [
        "socket.AF_INET6, socket.SOCK_DGRAM",
        "socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK",
        "socket.AF_INET, socket.SOCK_RAW, 1",
        "socket.AF_INET, socket.SOCK_SEQPACKET",
        "socket.AF_UNIX, socket.SOCK_STREAM",
        "socket.AF_NETLINK, socket.SOCK_RAW",
        "socket.AF_PACKET, socket.SOCK_RAW",
        "socket.AF_VSOCK, socket.SOCK_STREAM",
        "socket.AF_ALG, socket.SOCK_SEQPACKET",
    ];
    for kind in kinds {
        assert_eq!(task.attempt(&format!("socket.socket({kind})"), &[]), "EPERM", "{kind}");
    }
    assert_eq!(task.attempt("socket.socketpair()", &[]), "EPERM");
}

#[test]
fn tcp_socket_of_either_ip_version_is_allowed() {
    let mut task = Task::new();
    task.confinement.connect = Some(1);
    for kind in ["socket.AF_INET6", "socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, 6"] {
        assert_eq!(task.attempt(&format!("socket.socket({kind})"), &[]), "done", "{kind}");
    }
}

#[test]
fn unix_socket_is_denied() {
    let mut task = Task::new();
    let path = task.scratch.join("socket");
    let server = UnixListener::bind(&path).expect("bound");
    server.set_nonblocking(true).expect("set");
    task.confinement.connect = Some(1);
    assert_eq!(task.attempt("socket.socket(socket.AF_UNIX).connect('socket')", &[]), "EPERM");
    assert_eq!(server.accept().expect_err("no connection").kind(), ErrorKind::WouldBlock);
}

#[test]
fn listening_is_denied() {
    let mut task = Task::new();
    task.confinement.connect = Some(1);
    assert_eq!(task.attempt("socket.socket().bind(('127.0.0.1', 0))", &[]), "EPERM");
    assert_eq!(task.attempt("socket.socket().listen()", &[]), "EPERM");
    assert_eq!(task.attempt("socket.socket().accept()", &[]), "EPERM");
}

/// Serves `body` to every HTTP request, on a thread that lasts as long as the test process.
fn serve(listener: TcpListener, body: Vec<u8>) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that seeks closes the connection during the response.
            let _ = respond(stream, &body);
        }
    });
}

fn respond(mut stream: TcpStream, body: &[u8]) -> io::Result<()> {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        request.extend_from_slice(&chunk[..count]);
    }
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)
}

/// Serves a ten-frame video, and allows the task to connect to the server. Returns the video's URL.
fn serve_video(task: &mut Task) -> String {
    let encoded = task.run("ffmpeg", &encode(&["-c:v", "libx264"], "10", "source.mkv"));
    assert!(encoded.status.success(), "{}", stderr(&encoded));
    let body = fs::read(task.scratch.join("source.mkv")).expect("encoded");
    let (server, port) = listener();
    serve(server, body);
    task.confinement.connect = Some(port);
    format!("http://127.0.0.1:{port}/source")
}

#[test]
fn ffmpeg_transcodes_from_allowed_port() {
    let mut task = Task::new();
    let source = serve_video(&mut task);
    let transcoded = task.run(
        "ffmpeg",
        &["-nostdin", "-v", "error", "-rw_timeout", "5000000", "-i", &source, "-c:v", "libx264", "copy.mp4"],
    );
    assert!(transcoded.status.success(), "{}", stderr(&transcoded));
    assert_eq!(frame_count(&task.scratch.join("copy.mp4")), "10");
}

#[test]
fn ffprobe_reads_from_allowed_port() {
    let mut task = Task::new();
    let source = serve_video(&mut task);
    let probed =
        task.run("ffprobe", &["-v", "error", "-of", "csv=p=0", "-show_entries", "stream=width", &source]);
    assert_eq!(String::from_utf8_lossy(&probed.stdout).trim(), "320", "{}", stderr(&probed));
}

#[test]
fn ffmpeg_with_input_from_other_port_fails() {
    let mut task = Task::new();
    let (_server, allowed) = listener();
    let (other, denied) = listener();
    task.confinement.connect = Some(allowed);
    let source = format!("http://127.0.0.1:{denied}/source");
    let output = task
        .run("ffmpeg", &["-nostdin", "-v", "error", "-rw_timeout", "5000000", "-i", &source, "other.mp4"]);
    assert!(stderr(&output).contains("Permission denied"), "{}", stderr(&output));
    assert_no_connection(&other);
}

/// A playlist that refers to a private file and to an internal URL, opened by an ffmpeg that allows both
/// protocols. Mode off shows that the attack works unconfined.
#[test]
fn hostile_playlist_cannot_read_private_files_or_other_ports() {
    let mut task = Task::new();
    let (other, denied) = listener();
    let (_server, allowed) = listener();
    task.confinement.connect = Some(allowed);
    let private = task.outside.path().join("private.ts");
    let encoded = task.run("ffmpeg", &encode(&["-c:v", "mpeg2video"], "10", "private.ts"));
    assert!(encoded.status.success(), "{}", stderr(&encoded));
    fs::rename(task.scratch.join("private.ts"), &private).expect("moved");
    let private = private.display().to_string();
    let internal = format!("http://127.0.0.1:{denied}/internal.ts");
    let cases =
        [(Mode::Off, &private, true), (Mode::Required, &private, false), (Mode::Required, &internal, false)];
    for (mode, target, readable) in cases {
        task.confinement.mode = mode;
        let playlist = format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n");
        fs::write(task.scratch.join("hostile.m3u8"), playlist).expect("written");
        let protocols = ["-rw_timeout", "5000000", "-protocol_whitelist", "file,http,tcp"];
        let copy = ["-i", "hostile.m3u8", "-c", "copy", "-y", "stolen.ts"];
        let output = task.run("ffmpeg", &[&["-nostdin"], &protocols[..], &copy[..]].concat());
        assert_eq!(output.status.success(), readable, "{mode} {target}: {}", stderr(&output));
        let stolen = task.scratch.join("stolen.ts");
        assert_eq!(fs::read(&stolen).is_ok_and(|bytes| !bytes.is_empty()), readable, "{mode} {target}");
        // It may not exist.
        let _ = fs::remove_file(stolen);
    }
    assert_no_connection(&other);
}
