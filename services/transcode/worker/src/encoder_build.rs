//! The name of everything that the output's bytes depend on. A worker with another one is kept from a job's tasks.

use crate::error::WorkerError;
use futures::future::join_all;
use reelmill_media::{OUTPUT_VERSION, command, plan::Codec};
use tokio::process::Command;

/// Names this program, ffmpeg, and what ffmpeg's encoders make of a second of test pictures: `-version` names neither the
/// libraries it was not built with nor what they do on this processor.
pub(crate) async fn name(ffmpeg: &str) -> Result<String, WorkerError> {
    let version = run(ffmpeg, &["-version".to_owned()]).await;
    let version = version.map_err(|cause| WorkerError::Encoder { program: ffmpeg.to_owned(), cause })?;
    let first = version.lines().next().unwrap_or_default();
    let first = first.split(" Copyright").next().unwrap_or(first);
    let trials = Codec::ALL.map(|codec| async move {
        // An encoder that is not there is a fact of the build too.
        run(ffmpeg, &command::self_test(codec)).await.unwrap_or_default()
    });
    // FNV-1a tells builds apart well enough.
    let said = std::iter::once(version.clone()).chain(join_all(trials).await);
    let hash = said.flat_map(String::into_bytes).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Ok(format!("reelmill {}/{OUTPUT_VERSION}, {first}, {hash:016x}", env!("CARGO_PKG_VERSION")))
}

/// What it says; the input is our own.
async fn run(ffmpeg: &str, args: &[String]) -> Result<String, String> {
    let output = Command::new(ffmpeg).args(args).output().await.map_err(|error| error.to_string())?;
    if !output.status.success() || output.stdout.is_empty() {
        return Err(format!("{} ended with {}", args.first().map_or("", String::as_str), output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::name;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn encoders_that_make_other_bytes_are_another_build() {
        let folder = tempfile::tempdir().expect("folder");
        let wrapped = |file: &str, script: &str| {
            let program = folder.path().join(file);
            std::fs::write(&program, format!("#!/bin/bash\n{script}\n")).expect("write");
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("mode");
            program.display().to_string()
        };
        let own = name("ffmpeg").await.expect("a name");
        assert!(own.starts_with("reelmill ") && own.contains("ffmpeg version "), "{own}");
        assert_eq!(name(&wrapped("same", "exec ffmpeg \"$@\"")).await.expect("a name"), own);
        // As when a library was replaced: the same version, other pictures.
        let other = wrapped("other", "exec ffmpeg \"${@/lanczos/bilinear}\"");
        assert_ne!(name(&other).await.expect("a name"), own);
        assert!(name(&wrapped("none", "exit 1")).await.is_err());
    }
}
