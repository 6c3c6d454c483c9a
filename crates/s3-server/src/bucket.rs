//! CreateBucket and HeadBucket.

use s3s::{
    S3Request,
    dto::{CreateBucketInput, CreateBucketOutput, HeadBucketInput, HeadBucketOutput},
    s3_error,
};

use crate::{error::Result, object_store::ObjectStore};

pub(crate) async fn create(
    store: &ObjectStore,
    request: S3Request<CreateBucketInput>,
) -> Result<CreateBucketOutput> {
    let bucket = request.input.bucket;
    if !store.index().ensure_bucket(&bucket).await? {
        return Err(s3_error!(BucketAlreadyOwnedByYou, "The bucket exists and is yours.").into());
    }
    Ok(CreateBucketOutput { location: Some(format!("/{bucket}")) })
}

pub(crate) async fn head(
    store: &ObjectStore,
    request: S3Request<HeadBucketInput>,
) -> Result<HeadBucketOutput> {
    store.index().require_bucket(&request.input.bucket).await?;
    Ok(HeadBucketOutput::default())
}
