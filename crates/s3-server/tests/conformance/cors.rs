//! Requests from web pages of another origin.

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use rstest::rstest;

use crate::support::{Backend, TestStore, for_a_minute};

const ORIGIN: &str = "https://video.example";

/// A presigned URL for uploading a part.
async fn presign_part(store: &TestStore, key: &str) -> Result<String> {
    let upload = store.create_upload(key).await?;
    let part = store.client.upload_part().bucket(&store.bucket).key(key).upload_id(&upload).part_number(1);
    Ok(part.presigned(for_a_minute()?).await?.uri().to_owned())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn preflight_of_part_upload_is_allowed(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let preflight = store
        .http
        .request(Method::OPTIONS, presign_part(&store, "cors/preflight").await?)
        .header("Origin", ORIGIN)
        .header("Access-Control-Request-Method", "PUT")
        .header("Access-Control-Request-Headers", "content-type,x-amz-checksum-crc32c")
        .send()
        .await?;
    ensure!(preflight.status().is_success(), "{}", preflight.status());
    let allowed = |name: &str| -> Result<String> {
        let value = preflight.headers().get(name).with_context(|| format!("no {name}"))?;
        Ok(value.to_str()?.to_ascii_lowercase())
    };
    ensure!(["*", ORIGIN].contains(&allowed("access-control-allow-origin")?.as_str()));
    ensure!(allowed("access-control-allow-methods")?.contains("put"));
    let headers = allowed("access-control-allow-headers")?;
    ensure!(headers == "*" || headers.contains("x-amz-checksum-crc32c"), "{headers}");
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn put_part_from_other_origin_exposes_etag(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let url = presign_part(&store, "cors/put").await?;
    let put = store.http.put(url).header("Origin", ORIGIN).body("part").send().await?;
    ensure!(put.status() == 200, "{}", put.status());
    let exposed = put.headers().get("access-control-expose-headers").context("nothing exposed")?;
    let exposed = exposed.to_str()?.to_ascii_lowercase();
    ensure!(exposed == "*" || exposed.contains("etag"), "{exposed}");
    ensure!(put.headers().contains_key("etag"));
    Ok(())
}
