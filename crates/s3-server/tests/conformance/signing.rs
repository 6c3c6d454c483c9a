//! Who is let in.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::store::{Store, refusal, send};

pub async fn a_presigned_get_needs_no_key(s: &Store) -> Result<()> {
    s.put("signed/one", b"content").await?;
    let address = s.presign_get("signed/one", Duration::from_secs(60)).await?;
    let got = send(&s.http, &address, Vec::new()).await?;
    ensure!(got.status() == 200, "{}", got.status());
    ensure!(got.bytes().await? == "content");
    Ok(())
}

pub async fn presigned_addresses_expire(s: &Store) -> Result<()> {
    s.put("signed/short", b"content").await?;
    let config = aws_sdk_s3::presigning::PresigningConfig::builder()
        .start_time(std::time::SystemTime::now() - Duration::from_secs(120))
        .expires_in(Duration::from_secs(60))
        .build()?;
    let address = s.client.get_object().bucket(&s.bucket).key("signed/short").presigned(config).await?;
    let got = send(&s.http, &address, Vec::new()).await?;
    ensure!(got.status() == 403, "{}", got.status());
    Ok(())
}

pub async fn wrong_signatures_are_refused(s: &Store) -> Result<()> {
    s.put("signed/two", b"content").await?;
    let address = s.presign_get("signed/two", Duration::from_secs(60)).await?.uri().to_owned();
    let at = address.find("X-Amz-Signature=").context("no signature")? + "X-Amz-Signature=".len();
    let mut forged = address.clone();
    forged.replace_range(at..=at, if &address[at..=at] == "0" { "1" } else { "0" });
    for (what, address) in [
        ("another signature", forged),
        ("another key", address.replace("signed/two", "signed/one")),
        ("a longer life", address.replace("X-Amz-Expires=60", "X-Amz-Expires=6000")),
        ("none", format!("{}/{}/signed/two", s.endpoint, s.bucket)),
    ] {
        let got = s.http.get(address).send().await?;
        ensure!(got.status() == 403, "{what}: {}", got.status());
    }
    let put = s.http.put(format!("{}/{}/signed/two", s.endpoint, s.bucket)).body("stolen").send().await?;
    ensure!(put.status() == 403, "an unsigned PUT: {}", put.status());

    let config = s.client.config().to_builder();
    let wrong = aws_credential_types::Credentials::new("test-key", "wrong", None, None, "test");
    let stranger = aws_sdk_s3::Client::from_conf(config.credentials_provider(wrong).build());
    let code = refusal(stranger.get_object().bucket(&s.bucket).key("signed/two").send().await)?;
    ensure!(["SignatureDoesNotMatch", "InvalidAccessKeyId"].contains(&code.as_str()), "{code}");
    ensure!(s.get("signed/two").await? == b"content");
    Ok(())
}
