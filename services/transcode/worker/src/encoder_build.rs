//! Name of the encoder build: identifies everything that the output bytes depend on. All tasks of a job are
//! encoded by workers of one build, so that their segments fit together.

use futures::future::join_all;
use reelmill_media::{OUTPUT_VERSION, command, plan::Codec};
use tokio::process::Command;

use crate::error::WorkerError;

/// Combines the version of this program's output, the version of ffmpeg, and a hash of the self-test's output for
/// each codec: ffmpeg's version alone does not identify shared libraries, nor what they do on this processor. A
/// release that changes no output byte keeps the name, so that its workers continue the jobs of the release before.
pub(crate) async fn name(ffmpeg: &str) -> Result<String, WorkerError> {
    let version = run(ffmpeg, &["-version".to_owned()]).await;
    let version = version.map_err(|cause| WorkerError::Encoder { program: ffmpeg.to_owned(), cause })?;
    let first = version.lines().next().unwrap_or_default();
    let first = first.split(" Copyright").next().unwrap_or(first);
    let self_tests = Codec::ALL.map(|codec| async move {
        // A missing encoder is a property of the build too.
        run(ffmpeg, &command::self_test(codec)).await.unwrap_or_default()
    });
    // FNV-1a: collisions between a handful of builds are unlikely, and nothing depends on secrecy.
    let outputs = std::iter::once(version.clone()).chain(join_all(self_tests).await);
    let hash = outputs.flat_map(String::into_bytes).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Ok(format!("output {OUTPUT_VERSION}, {first}, {hash:016x}"))
}

/// Standard output of ffmpeg. Not confined: it reads no user's file.
async fn run(ffmpeg: &str, args: &[String]) -> Result<String, String> {
    let output = Command::new(ffmpeg).args(args).output().await.map_err(|error| error.to_string())?;
    if !output.status.success() || output.stdout.is_empty() {
        return Err(format!("{} exited with {}", args.first().map_or("", String::as_str), output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::name;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn name_with_different_encoder_output_is_different() {
        let folder = tempfile::tempdir().expect("folder");
        let wrapped = |file: &str, script: &str| {
            let program = folder.path().join(file);
            std::fs::write(&program, format!("#!/bin/bash\n{script}\n")).expect("write");
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("mode");
            program.display().to_string()
        };
        let own = name("ffmpeg").await.expect("a name");
        assert!(own.starts_with("output ") && own.contains("ffmpeg version "), "{own}");
        assert_eq!(name(&wrapped("same", "exec ffmpeg \"$@\"")).await.expect("a name"), own);
        // Same version, different frames: as after a shared library was replaced.
        let other = wrapped("other", "exec ffmpeg \"${@/lanczos/bilinear}\"");
        assert_ne!(name(&other).await.expect("a name"), own);
        assert!(name(&wrapped("none", "exit 1")).await.is_err());
    }
}
