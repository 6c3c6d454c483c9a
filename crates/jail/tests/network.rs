//! Whom a confined program can talk to.
#![cfg(target_os = "linux")]

mod common;

use common::{Task, encode, frames, said};
use reelmill_jail::Mode;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::thread;

const CONNECT: &str = "socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)";

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

/// Nobody has connected: the handshake is the kernel's, so a connection would be waiting.
fn assert_untouched(listener: &TcpListener) {
    listener.set_nonblocking(true).expect("set");
    let error = listener.accept().map(|(_, peer)| peer).expect_err("nobody came");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn one_port_can_be_reached_and_no_other() {
    let mut task = Task::new();
    let (door, open) = listener();
    let (canary, closed) = listener();
    task.confinement.connect = Some(open);
    assert_eq!(task.attempt(CONNECT, &[&open.to_string()]), "done");
    drop(door.accept().expect("someone came"));
    assert_eq!(task.attempt(CONNECT, &[&closed.to_string()]), "EACCES");
    // Sending opens a connection, too, past the check of `connect`.
    let fast_open = "socket.socket().sendto(b'x', socket.MSG_FASTOPEN, ('127.0.0.1', int(sys.argv[1])))";
    assert_eq!(task.attempt(fast_open, &[&closed.to_string()]), "EPERM");
    let mptcp = "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)";
    assert_eq!(task.attempt(mptcp, &[]), "EPERM");
    assert_untouched(&canary);
}

#[test]
fn without_a_port_there_are_no_sockets() {
    let task = Task::new();
    let (canary, port) = listener();
    assert_eq!(task.attempt(CONNECT, &[&port.to_string()]), "EPERM");
    assert_eq!(task.attempt("socket.socket()", &[]), "EPERM");
    assert_untouched(&canary);
}

#[test]
fn no_datagrams_and_no_sockets_of_other_kinds() {
    let mut task = Task::new();
    let udp = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let port = udp.local_addr().expect("bound").port();
    task.confinement.connect = Some(port);
    let send =
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', int(sys.argv[1])))";
    assert_eq!(task.attempt(send, &[&port.to_string()]), "EPERM");
    udp.set_nonblocking(true).expect("set");
    assert_eq!(udp.recv(&mut [0]).expect_err("nothing came").kind(), ErrorKind::WouldBlock);

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
    for kind in ["socket.AF_INET6", "socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, 6"] {
        assert_eq!(task.attempt(&format!("socket.socket({kind})"), &[]), "done", "{kind}");
    }
}

#[test]
fn unix_sockets_cannot_be_reached() {
    let mut task = Task::new();
    let path = task.scratch.join("socket");
    let server = UnixListener::bind(&path).expect("bound");
    server.set_nonblocking(true).expect("set");
    task.confinement.connect = Some(1);
    assert_eq!(task.attempt("socket.socket(socket.AF_UNIX).connect('socket')", &[]), "EPERM");
    assert_eq!(server.accept().expect_err("nobody came").kind(), ErrorKind::WouldBlock);
}

#[test]
fn nobody_can_be_listened_for() {
    let mut task = Task::new();
    task.confinement.connect = Some(1);
    assert_eq!(task.attempt("socket.socket().bind(('127.0.0.1', 0))", &[]), "EPERM");
    assert_eq!(task.attempt("socket.socket().listen()", &[]), "EPERM");
    assert_eq!(task.attempt("socket.socket().accept()", &[]), "EPERM");
}

/// Answers every request with the whole of `body`, until the listener's last connection is served.
fn serve(listener: TcpListener, body: Vec<u8>) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that seeks leaves while it is written to.
            let _gone = answer(stream, &body);
        }
    });
}

fn answer(mut stream: TcpStream, body: &[u8]) -> std::io::Result<()> {
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

#[test]
fn ffmpeg_reads_from_the_port_and_ffprobe_too() {
    let mut task = Task::new();
    let made = task.run("ffmpeg", &encode(&["-c:v", "libx264"], "10", "source.mkv"));
    assert!(made.status.success(), "{}", said(&made));
    let body = fs::read(task.scratch.join("source.mkv")).expect("made");
    let (door, open) = listener();
    let (canary, closed) = listener();
    serve(door, body);
    task.confinement.connect = Some(open);
    let source = format!("http://127.0.0.1:{open}/source");

    let copied = task.run(
        "ffmpeg",
        &["-nostdin", "-v", "error", "-rw_timeout", "5000000", "-i", &source, "-c:v", "libx264", "copy.mp4"],
    );
    assert!(copied.status.success(), "{}", said(&copied));
    assert_eq!(frames(&task.scratch.join("copy.mp4")), "10");
    let probed =
        task.run("ffprobe", &["-v", "error", "-of", "csv=p=0", "-show_entries", "stream=width", &source]);
    assert_eq!(String::from_utf8_lossy(&probed.stdout).trim(), "320", "{}", said(&probed));

    let elsewhere = format!("http://127.0.0.1:{closed}/source");
    let refused = task
        .run("ffmpeg", &["-nostdin", "-v", "error", "-rw_timeout", "5000000", "-i", &elsewhere, "other.mp4"]);
    assert!(said(&refused).contains("Permission denied"), "{}", said(&refused));
    assert_untouched(&canary);
}

/// A playlist that names a file and an inner address, given to an ffmpeg that trusts it wholly, as it
/// does outside of the jail.
#[test]
fn a_hostile_playlist_leads_nowhere() {
    let mut task = Task::new();
    let (canary, closed) = listener();
    let (_door, open) = listener();
    task.confinement.connect = Some(open);
    let outside = task.outside.path().join("private.ts");
    let made = task.run("ffmpeg", &encode(&["-c:v", "mpeg2video"], "10", "private.ts"));
    assert!(made.status.success(), "{}", said(&made));
    fs::rename(task.scratch.join("private.ts"), &outside).expect("moved");
    let inner = format!("http://127.0.0.1:{closed}/inner.ts");
    let outside = outside.display().to_string();
    let cases =
        [(Mode::Off, &outside, true), (Mode::Required, &outside, false), (Mode::Required, &inner, false)];
    for (mode, target, stolen) in cases {
        task.confinement.mode = mode;
        let playlist = format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n");
        fs::write(task.scratch.join("hostile.m3u8"), playlist).expect("written");
        let trusting = [
            "-nostdin",
            "-rw_timeout",
            "5000000",
            "-protocol_whitelist",
            "file,http,tcp",
            "-i",
            "hostile.m3u8",
            "-c",
            "copy",
            "-y",
        ];
        let output = task.run("ffmpeg", &[&trusting[..], &["stolen.ts"]].concat());
        assert_eq!(output.status.success(), stolen, "{mode} {target}: {}", said(&output));
        let loot = task.scratch.join("stolen.ts");
        assert_eq!(fs::read(&loot).is_ok_and(|bytes| !bytes.is_empty()), stolen, "{mode} {target}");
        let _none = fs::remove_file(loot);
    }
    assert_untouched(&canary);
}
