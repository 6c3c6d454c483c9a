//! Resident memory of `reelmill up` and of the client: idle, and during the upload of a 2 GiB file.

use std::{fs::File, time::Duration};

use anyhow::Context as _;
use tokio::time::{sleep, timeout};

use crate::{
    figures::{Figures, Goal},
    process,
    system::System,
};

const GIB: u64 = 1 << 30;
/// Parts that the client sends concurrently by default.
const PARALLEL_PARTS: f64 = 4.0;
const PART_MIB: f64 = 8.0;

pub(super) async fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    let system = System::start().await?;
    let pid = system.pid()?;
    system.client(&["videos", "--json"]).await?;
    sleep(Duration::from_secs(3)).await;
    let idle = process::resident_mib(pid)?;
    figures.record("resident, idle, all roles in one process", idle, "MiB", None)?;

    // Not a video: a worker rejects the file at its first bytes, so that only the upload is measured.
    let file = system.path("big.bin");
    File::create(&file)?.set_len(2 * GIB)?;
    let file = file.display().to_string();
    let mut upload = system.command(&["upload", "--json", &file]);
    let mut client = upload.stdout(std::process::Stdio::null()).spawn()?;
    let client_pid = client.id().context("the client ended")?;
    sleep(Duration::from_millis(20)).await;
    let client_idle = process::resident_mib(client_pid)?;
    let (mut server_peak, mut client_peak) = (idle, client_idle);
    let status = timeout(Duration::from_secs(600), async {
        loop {
            server_peak = server_peak.max(process::resident_mib(pid)?);
            client_peak = client_peak.max(process::resident_mib(client_pid).unwrap_or(0.0));
            tokio::select! {
                status = client.wait() => return anyhow::Ok(status?),
                () = sleep(Duration::from_millis(20)) => {}
            }
        }
    });
    anyhow::ensure!(status.await??.success(), "the upload failed");
    let buffers = PARALLEL_PARTS * PART_MIB;
    figures.record(
        "growth of the server while 2 GiB are uploaded",
        server_peak - idle,
        "MiB",
        Some(Goal::AtMost(buffers)),
    )?;
    figures.record(
        "growth of the client during the upload",
        client_peak - client_idle,
        "MiB",
        Some(Goal::AtMost(buffers)),
    )
}
