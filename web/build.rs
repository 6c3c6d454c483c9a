//! Generates the table of embedded files that `src/lib.rs` includes, from `dist/`, which `make web` builds. Without
//! `dist/` the table contains only `missing.html`, which says how to build the page.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let web = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let dist = web.join("dist");
    for watched in ["build.rs", "missing.html", "dist"] {
        println!("cargo:rerun-if-changed={}", web.join(watched).display());
    }
    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        collect(&dist, "", &mut files)?;
    } else {
        files.push(("/index.html".to_owned(), web.join("missing.html")));
    }
    // `get` uses binary search.
    files.sort();
    fs::write(out.join("assets.rs"), table(&files)?)
}

/// Adds every file below `folder` with its URL path.
fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}/{name}");
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &path, files)?;
        } else {
            files.push((path, entry.path()));
        }
    }
    Ok(())
}

/// The table as Rust source.
fn table(files: &[(String, PathBuf)]) -> io::Result<String> {
    let mut source = String::from("static ASSETS: &[Asset] = &[\n");
    for (path, file) in files {
        let etag = format!("\"{:016x}\"", fnv1a(&fs::read(file)?));
        writeln!(
            source,
            "    Asset {{ path: {path:?}, bytes: include_bytes!({file:?}), content_type: {:?}, etag: {etag:?} }},",
            content_type(path),
        )
        .map_err(io::Error::other)?;
    }
    source.push_str("];\n");
    Ok(source)
}

/// 64-bit FNV-1a. Enough for an entity tag, which only has to differ between two builds of a file.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
