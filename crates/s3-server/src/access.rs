//! Access control: every request must be signed with the configured key.

use http::header;
use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    s3_error,
};

/// Allows requests signed by Signature Version 4 only. s3s also accepts version 2, whose header form
/// never expires.
pub(crate) struct SigV4Only;

#[async_trait::async_trait]
impl S3Access for SigV4Only {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if context.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "A signature is required."));
        }
        let authorization = context.headers().get(header::AUTHORIZATION);
        let in_header = authorization.is_some_and(|v| v.as_bytes().starts_with(b"AWS4-HMAC-SHA256"));
        let in_query = context.uri().query().is_some_and(|q| q.contains("X-Amz-Signature="));
        // s3s tries version 2 first, and recognizes it by this parameter.
        let version_2 = context
            .uri()
            .query()
            .is_some_and(|q| q.split('&').any(|pair| pair.split('=').next() == Some("Signature")));
        if (in_header || in_query) && !version_2 {
            Ok(())
        } else {
            Err(s3_error!(InvalidRequest, "Please use AWS4-HMAC-SHA256 to sign."))
        }
    }
}
