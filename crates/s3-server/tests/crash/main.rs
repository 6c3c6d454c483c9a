//! The store in a process of its own: killed at random moments, and watched for its memory.

mod child;
mod load;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use child::Child;
use load::{Known, Load};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const ROUNDS: u64 = 15;

/// Concurrent puts and multipart uploads, SIGKILL at a random moment, a new start; fifteen times.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_leaves_objects_whole() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut random = StdRng::seed_from_u64(20_261_122);
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    let mut unfinished = 0;
    for round in 0..ROUNDS {
        let server = Child::start(dir.path()).await?;
        let client = server.client();
        check(&client, dir.path(), &mut known).await.with_context(|| format!("after {round} kills"))?;

        let load = Load::start(&client, &known, round);
        load.acknowledged(random.random_range(1..20)).await?;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..30))).await;
        server.kill().await?;
        known = load.stop().await?;
        unfinished += std::fs::read_dir(dir.path().join("tmp"))?.count();
    }
    let server = Child::start(dir.path()).await?;
    check(&server.client(), dir.path(), &mut known).await?;
    // Else the test tested nothing.
    ensure!(unfinished > 0, "no kill came in the middle of a write");
    ensure!(known.values().all(|k| k.durable > 0), "a key was never written: {known:?}");
    server.kill().await
}

/// Every object is whole, and of a version between the last that was acknowledged and the last that was
/// tried. The folder holds the blobs of objects and parts, and nothing else.
async fn check(client: &aws_sdk_s3::Client, dir: &Path, known: &mut BTreeMap<String, Known>) -> Result<()> {
    let mut blobs = 0;
    for (key, known) in known.iter_mut() {
        let got = match client.get_object().bucket(child::BUCKET).key(key).send().await {
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
            (known.durable..=known.tried).contains(&version),
            "{key} is of version {version}, but {} was acknowledged and {} tried",
            known.durable,
            known.tried
        );
        known.durable = version;
    }
    let uploads = client.list_multipart_uploads().bucket(child::BUCKET).send().await?;
    for upload in uploads.uploads() {
        let (key, id) = (upload.key().unwrap_or_default(), upload.upload_id().unwrap_or_default());
        let parts = client.list_parts().bucket(child::BUCKET).key(key).upload_id(id).send().await?;
        blobs += parts.parts().len();
    }
    let listed = client.list_objects_v2().bucket(child::BUCKET).send().await?;
    let there = known.values().filter(|k| k.durable > 0).count();
    ensure!(listed.contents().len() == there, "{} objects listed, not {there}", listed.contents().len());

    let files = |folder: &Path| -> Result<usize> { Ok(std::fs::read_dir(folder)?.count()) };
    ensure!(files(&dir.join("tmp"))? == 0, "tmp/ is not empty after a start");
    let mut found = 0;
    for shard in std::fs::read_dir(dir.join("blobs"))? {
        found += files(&shard?.path())?;
    }
    ensure!(found == blobs, "{found} files for {blobs} blobs");
    Ok(())
}

/// A body is streamed, never gathered: its size does not show in the server's memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_part_takes_little_memory() -> Result<()> {
    const SIZE: usize = 256 << 20;
    const MAY_GROW_BY: u64 = 32 << 20;
    let dir = tempfile::tempdir()?;
    let server = Child::start(dir.path()).await?;
    let client = server.client();
    let make = |key: &str| client.create_multipart_upload().bucket(child::BUCKET).key(key).send();
    let upload = make("large").await?.upload_id.context("no upload id")?;
    let put = |size: usize| {
        let part = client.upload_part().bucket(child::BUCKET).key("large").upload_id(&upload).part_number(1);
        load::send_zeros(part, size)
    };
    put(1 << 20).await?;
    let before = server.peak_memory()?;
    let etag = put(SIZE).await?;
    let done = load::complete(&client, "large", &upload, vec![etag]).await?;
    ensure!(done.ends_with("-1\""), "{done}");
    let mut body = client.get_object().bucket(child::BUCKET).key("large").send().await?.body;
    let mut read = 0;
    while let Some(data) = body.try_next().await? {
        read += data.len();
    }
    ensure!(read == SIZE);
    let grown = server.peak_memory()?.saturating_sub(before);
    ensure!(grown < MAY_GROW_BY, "grew by {} MiB", grown >> 20);
    server.kill().await
}

/// A second process on the folder, and a folder from the future.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_use_or_of_a_newer_version_is_refused() -> Result<()> {
    use reelmill_s3_server::{OpenError, open};
    let dir = tempfile::tempdir()?;
    let server = Child::start(dir.path()).await?;
    let second = open(child::config(dir.path())).await;
    ensure!(matches!(second, Err(OpenError::InUse(_))), "a second process was let in");
    server.kill().await?;
    drop(open(child::config(dir.path())).await?);

    let other = tempfile::tempdir()?;
    let newer = open_as_newer_format(other.path()).await;
    ensure!(matches!(newer, Err(OpenError::Newer { found: 99, known: 1 })), "a newer folder was opened");
    Ok(())
}

/// Opens a folder whose index says that it is of format 99.
async fn open_as_newer_format(dir: &Path) -> Result<(), reelmill_s3_server::OpenError> {
    use sea_orm::{ConnectionTrait as _, Database};
    let url = format!("sqlite://{}?mode=rwc", dir.join("index.db").display());
    let db = Database::connect(url).await?;
    db.execute_unprepared("PRAGMA user_version = 99").await?;
    db.close().await?;
    reelmill_s3_server::open(child::config(dir)).await.map(drop)
}
