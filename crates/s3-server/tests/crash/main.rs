//! The object store in a separate process: killed at random times, and measured for its memory.

mod support;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_s3::Client;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use reelmill_s3_server::{ObjectServer, OpenError, open};
use sea_orm::{ConnectionTrait as _, Database};

use crate::support::{
    load::{self, Versions, WriteLoad},
    server::{BUCKET, ServerProcess, config},
};

const ROUNDS: u64 = 15;

/// Fifteen rounds of concurrent writes, SIGKILL at a random time, and a restart.
#[tokio::test(flavor = "multi_thread")]
async fn restart_after_kill_finds_every_object_complete() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut random = StdRng::seed_from_u64(20_261_122);
    let mut known: BTreeMap<String, Versions> = BTreeMap::new();
    let mut unfinished = 0;
    for round in 0..ROUNDS {
        let server = ServerProcess::start(dir.path()).await?;
        let client = server.client();
        check(&client, dir.path(), &mut known).await.with_context(|| format!("after {round} kills"))?;

        let load = WriteLoad::start(&client, &known, round);
        load.wait_for_acknowledged(random.random_range(1..20)).await?;
        // Not a wait for a condition: varies the time of the kill.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..30))).await;
        server.kill().await?;
        known = load.stop().await?;
        unfinished += fs::read_dir(dir.path().join("tmp"))?.count();
    }
    let server = ServerProcess::start(dir.path()).await?;
    check(&server.client(), dir.path(), &mut known).await?;
    // Otherwise the test has tested nothing.
    ensure!(unfinished > 0, "no kill interrupted a write");
    ensure!(known.values().all(|versions| versions.acknowledged > 0), "a key was never written: {known:?}");
    server.kill().await
}

/// Checks that every object is complete, in a version between the last acknowledged and the last sent
/// one, and that the folder contains the blobs of objects and parts and nothing else.
async fn check(client: &Client, dir: &Path, known: &mut BTreeMap<String, Versions>) -> Result<()> {
    let mut blobs = 0;
    for (key, versions) in known.iter_mut() {
        let got = match client.get_object().bucket(BUCKET).key(key).send().await {
            Ok(got) => Some(got),
            Err(e) if e.as_service_error().is_some_and(|e| e.is_no_such_key()) => None,
            Err(e) => return Err(e.into()),
        };
        let version = match got {
            None => 0,
            Some(got) => {
                let etag = got.e_tag().unwrap_or_default().trim_matches('"').to_owned();
                blobs += etag.split_once('-').map_or(Ok(1), |(_, parts)| parts.parse::<usize>())?;
                load::version_of(key, &got.body.collect().await?.to_vec())?
            }
        };
        ensure!(
            (versions.acknowledged..=versions.sent).contains(&version),
            "{key} has version {version}, but {} was acknowledged and {} sent",
            versions.acknowledged,
            versions.sent
        );
        versions.acknowledged = version;
    }
    let uploads = client.list_multipart_uploads().bucket(BUCKET).send().await?;
    for upload in uploads.uploads() {
        let (key, id) = (upload.key().unwrap_or_default(), upload.upload_id().unwrap_or_default());
        let parts = client.list_parts().bucket(BUCKET).key(key).upload_id(id).send().await?;
        blobs += parts.parts().len();
    }
    let listed = client.list_objects_v2().bucket(BUCKET).send().await?;
    let expected = known.values().filter(|versions| versions.acknowledged > 0).count();
    ensure!(
        listed.contents().len() == expected,
        "{} objects listed, not {expected}",
        listed.contents().len()
    );

    let files = |folder: &Path| -> Result<usize> { Ok(fs::read_dir(folder)?.count()) };
    ensure!(files(&dir.join("tmp"))? == 0, "tmp/ is not empty after the start");
    let mut found = 0;
    for shard in fs::read_dir(dir.join("blobs"))? {
        found += files(&shard?.path())?;
    }
    ensure!(found == blobs, "{found} files for {blobs} blobs");
    Ok(())
}

/// Bodies are streamed, so their size does not affect the server's memory.
#[tokio::test(flavor = "multi_thread")]
async fn upload_and_get_of_large_part_take_little_memory() -> Result<()> {
    const SIZE_BYTES: usize = 256 << 20;
    const MAX_GROWTH_BYTES: u64 = 32 << 20;
    let dir = tempfile::tempdir()?;
    let server = ServerProcess::start(dir.path()).await?;
    let client = server.client();
    let create = |key: &str| client.create_multipart_upload().bucket(BUCKET).key(key).send();
    let upload = create("large").await?.upload_id.context("no upload id")?;
    let put = |size: usize| {
        let part = client.upload_part().bucket(BUCKET).key("large").upload_id(&upload).part_number(1);
        load::send_zeros(part, size)
    };
    put(1 << 20).await?;
    let before = server.peak_memory()?;
    let etag = put(SIZE_BYTES).await?;
    let done = load::complete(&client, "large", &upload, vec![etag]).await?;
    ensure!(done.ends_with("-1\""), "{done}");
    let mut body = client.get_object().bucket(BUCKET).key("large").send().await?.body;
    let mut read = 0;
    while let Some(data) = body.try_next().await? {
        read += data.len();
    }
    ensure!(read == SIZE_BYTES);
    let grown = server.peak_memory()?.saturating_sub(before);
    ensure!(grown < MAX_GROWTH_BYTES, "grew by {} MiB", grown >> 20);
    server.kill().await
}

#[tokio::test(flavor = "multi_thread")]
async fn open_folder_in_use_by_another_process_returns_error() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = ServerProcess::start(dir.path()).await?;
    let second = open(config(dir.path())).await;
    ensure!(matches!(second, Err(OpenError::InUse(_))), "a second process opened the folder");
    server.kill().await?;
    drop(open(config(dir.path())).await?);
    Ok(())
}

/// Opens a folder whose index has this format.
async fn open_format(format: i64) -> Result<Result<ObjectServer, OpenError>> {
    let dir = tempfile::tempdir()?;
    let url = format!("sqlite://{}?mode=rwc", dir.path().join("index.db").display());
    let db = Database::connect(url).await?;
    db.execute_unprepared(&format!("PRAGMA user_version = {format}")).await?;
    db.close().await?;
    Ok(open(config(dir.path())).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn open_folder_of_newer_format_returns_error() -> Result<()> {
    let newer = open_format(99).await?;
    ensure!(
        matches!(newer, Err(OpenError::NewerFormat { found: 99, supported: 2 })),
        "a newer format was opened"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn open_folder_of_older_format_returns_error() -> Result<()> {
    let older = open_format(1).await?;
    ensure!(
        matches!(older, Err(OpenError::OlderFormat { found: 1, supported: 2 })),
        "an older format was opened"
    );
    Ok(())
}
