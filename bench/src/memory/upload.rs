//! Resident memory of the one process of the embedded mode: idle, and while a 2 GiB file goes up.

use std::{fs::File, time::Duration};

use anyhow::Context as _;
use tokio::time::{sleep, timeout};

use crate::{
    figures::{Figures, Goal},
    process,
    system::System,
};

const GIB: u64 = 1 << 30;
/// Parts under way at once, as the client has them unless told otherwise.
const PARALLEL: f64 = 4.0;
/// A part, MiB.
const PART: f64 = 8.0;

/// Measures that process and the client.
pub(super) async fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    let system = System::start().await?;
    let pid = system.pid()?;
    system.client(&["videos", "--json"]).await?;
    sleep(Duration::from_secs(3)).await;
    let idle = process::resident_mib(pid)?;
    figures.note("resident, idle, all roles in one process", idle, "MiB", None)?;

    // No video: the upload is measured, and a worker refuses such a file at its first bytes.
    let file = system.path("big.bin");
    File::create(&file)?.set_len(2 * GIB)?;
    let file = file.display().to_string();
    let mut upload = system.command(&["upload", "--json", &file]);
    let mut client = upload.stdout(std::process::Stdio::null()).spawn()?;
    let client_pid = client.id().context("the client ended")?;
    sleep(Duration::from_millis(20)).await;
    let client_idle = process::resident_mib(client_pid)?;
    let (mut server_peak, mut client_peak) = (idle, client_idle);
    let watched = timeout(Duration::from_secs(600), async {
        loop {
            server_peak = server_peak.max(process::resident_mib(pid)?);
            client_peak = client_peak.max(process::resident_mib(client_pid).unwrap_or(0.0));
            tokio::select! {
                ended = client.wait() => return anyhow::Ok(ended?),
                () = sleep(Duration::from_millis(20)) => {}
            }
        }
    });
    anyhow::ensure!(watched.await??.success(), "the upload failed");
    let buffers = PARALLEL * PART;
    figures.note(
        "growth of the server while 2 GiB are uploaded",
        server_peak - idle,
        "MiB",
        Some(Goal::AtMost(buffers)),
    )?;
    figures.note(
        "growth of the client meanwhile",
        client_peak - client_idle,
        "MiB",
        Some(Goal::AtMost(buffers)),
    )
}
