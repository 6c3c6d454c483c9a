//! An object as it is read: metadata and a stream of bytes.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use aws_sdk_s3::{
    error::BoxError,
    operation::get_object::GetObjectOutput,
    primitives::{ByteStream, SdkBody},
};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::ObjectsError;

/// An object, or the requested range of one.
#[derive(Debug)]
pub struct Object {
    /// The bytes.
    pub body: ObjectBody,
    /// Length of [`Self::body`], bytes.
    pub content_length: Option<i64>,
    /// Value of `Content-Range`. `Some` if the body is a range of the object.
    pub content_range: Option<String>,
    /// The ETag with its quotes.
    pub etag: Option<String>,
    /// Value of `Cache-Control` that the object was stored with.
    pub cache_control: Option<String>,
}

/// Stream of an object's bytes, read from the connection as they are polled.
#[derive(Debug)]
pub struct ObjectBody(SdkBody);

impl ObjectBody {
    /// Reads all bytes into memory.
    ///
    /// # Errors
    /// [`ObjectsError::Unavailable`] when the connection breaks.
    pub async fn collect(self) -> Result<Bytes, ObjectsError> {
        let collected = ByteStream::new(self.0).collect().await;
        collected.map(|bytes| bytes.into_bytes()).map_err(|error| ObjectsError::Unavailable {
            operation: "GetObject",
            message: crate::error_chain::one_line(&error),
        })
    }
}

impl Body for ObjectBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Body::poll_frame(Pin::new(&mut self.0), cx)
    }

    fn is_end_stream(&self) -> bool {
        Body::is_end_stream(&self.0)
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.0)
    }
}

impl From<GetObjectOutput> for Object {
    fn from(output: GetObjectOutput) -> Self {
        Self {
            body: ObjectBody(output.body.into_inner()),
            content_length: output.content_length,
            content_range: output.content_range,
            etag: output.e_tag,
            cache_control: output.cache_control,
        }
    }
}
