//! Signatures and presigned URLs.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use aws_credential_types::Credentials;
use aws_sdk_s3::{Client, presigning::PresigningConfig};
use rstest::rstest;

use crate::support::{Backend, error_code, send};

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_presigned_url_without_credentials_succeeds(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    store.put("signed/one", b"content").await?;
    let presigned = store.presign_get("signed/one").await?;
    let got = send(&store.http, &presigned, Vec::new()).await?;
    ensure!(got.status() == 200, "{}", got.status());
    ensure!(got.bytes().await? == "content");
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_expired_presigned_url_is_rejected(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    store.put("signed/short", b"content").await?;
    let config = PresigningConfig::builder()
        .start_time(SystemTime::now() - Duration::from_secs(120))
        .expires_in(Duration::from_secs(60))
        .build()?;
    let get = store.client.get_object().bucket(&store.bucket).key("signed/short");
    let got = send(&store.http, &get.presigned(config).await?, Vec::new()).await?;
    ensure!(got.status() == 403, "{}", got.status());
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_altered_presigned_url_is_rejected(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    store.put("signed/two", b"content").await?;
    let url = store.presign_get("signed/two").await?.uri().to_owned();
    let digit = url.find("X-Amz-Signature=").context("no signature")? + "X-Amz-Signature=".len();
    let mut forged = url.clone();
    forged.replace_range(digit..=digit, if &url[digit..=digit] == "0" { "1" } else { "0" });
    for (change, url) in [
        ("another signature", forged),
        ("another key", url.replace("signed/two", "signed/one")),
        ("a later expiry", url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000")),
    ] {
        let got = store.http.get(url).send().await?;
        ensure!(got.status() == 403, "{change}: {}", got.status());
    }
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn unsigned_get_or_put_is_rejected(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    store.put("signed/unsigned", b"content").await?;
    let url = format!("{}/{}/signed/unsigned", store.endpoint, store.bucket);
    let got = store.http.get(&url).send().await?;
    ensure!(got.status() == 403, "GET: {}", got.status());
    let put = store.http.put(&url).body("stolen").send().await?;
    ensure!(put.status() == 403, "PUT: {}", put.status());
    ensure!(store.get("signed/unsigned").await? == b"content");
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn get_with_wrong_credentials_is_rejected(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    store.put("signed/three", b"content").await?;
    let config = store.client.config().to_builder();
    let wrong = Credentials::new("test-key", "wrong", None, None, "test");
    let client = Client::from_conf(config.credentials_provider(wrong).build());
    let code = error_code(client.get_object().bucket(&store.bucket).key("signed/three").send().await)?;
    ensure!(["SignatureDoesNotMatch", "InvalidAccessKeyId"].contains(&code.as_str()), "{code}");
    Ok(())
}
