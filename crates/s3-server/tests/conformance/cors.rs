//! What a page on another origin may do.

use anyhow::{Context as _, Result, ensure};

use crate::store::{Store, in_a_minute};

pub async fn browsers_may_upload_and_read_etags(s: &Store) -> Result<()> {
    let origin = "https://video.example";
    let upload = s.create_upload("cors").await?;
    let part = s.client.upload_part().bucket(&s.bucket).key("cors").upload_id(&upload).part_number(1);
    let address = part.presigned(in_a_minute()?).await?;
    let preflight = s
        .http
        .request(reqwest::Method::OPTIONS, address.uri())
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "PUT")
        .header("Access-Control-Request-Headers", "content-type,x-amz-checksum-crc32c")
        .send()
        .await?;
    ensure!(preflight.status().is_success(), "{}", preflight.status());
    let allowed = |name: &str| -> Result<String> {
        let value = preflight.headers().get(name).with_context(|| format!("no {name}"))?;
        Ok(value.to_str()?.to_ascii_lowercase())
    };
    ensure!(["*", origin].contains(&allowed("access-control-allow-origin")?.as_str()));
    ensure!(allowed("access-control-allow-methods")?.contains("put"));
    let headers = allowed("access-control-allow-headers")?;
    ensure!(headers == "*" || headers.contains("x-amz-checksum-crc32c"), "{headers}");

    let put = s.http.put(address.uri()).header("Origin", origin).body("part").send().await?;
    ensure!(put.status() == 200, "{}", put.status());
    let exposed = put.headers().get("access-control-expose-headers").context("nothing exposed")?;
    let exposed = exposed.to_str()?.to_ascii_lowercase();
    ensure!(exposed == "*" || exposed.contains("etag"), "{exposed}");
    ensure!(put.headers().contains_key("etag"));
    Ok(())
}
