//! S3's operations, each handed to the file it belongs to.

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use crate::error::StoreError;
use crate::store::Store;
use crate::{list, multipart, object, read};

/// The methods of the trait are all alike: call, convert the error, wrap the output.
macro_rules! operations {
    ($($method:ident($input:ty) -> $output:ty = $call:path;)*) => {
        #[async_trait::async_trait]
        impl S3 for Store {
            $(async fn $method(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                Ok(S3Response::new($call(self, request).await?))
            })*
        }
    };
}

operations! {
    create_bucket(CreateBucketInput) -> CreateBucketOutput = create_bucket;
    head_bucket(HeadBucketInput) -> HeadBucketOutput = head_bucket;
    put_object(PutObjectInput) -> PutObjectOutput = object::put;
    get_object(GetObjectInput) -> GetObjectOutput = read::get;
    head_object(HeadObjectInput) -> HeadObjectOutput = read::head;
    copy_object(CopyObjectInput) -> CopyObjectOutput = object::copy;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput = object::delete;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput = object::delete_many;
    list_objects(ListObjectsInput) -> ListObjectsOutput = list::objects_v1;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output = list::objects_v2;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput = multipart::create;
    upload_part(UploadPartInput) -> UploadPartOutput = multipart::upload_part;
    list_parts(ListPartsInput) -> ListPartsOutput = multipart::list_parts;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput = list::uploads;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput = multipart::complete;
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput = multipart::abort;
}

async fn create_bucket(
    store: &Store,
    request: S3Request<CreateBucketInput>,
) -> Result<CreateBucketOutput, StoreError> {
    let bucket = request.input.bucket;
    if !store.index().ensure_bucket(&bucket).await? {
        return Err(s3_error!(BucketAlreadyOwnedByYou, "The bucket exists and is yours.").into());
    }
    Ok(CreateBucketOutput { location: Some(format!("/{bucket}")) })
}

async fn head_bucket(
    store: &Store,
    request: S3Request<HeadBucketInput>,
) -> Result<HeadBucketOutput, StoreError> {
    store.index().require_bucket(&request.input.bucket).await?;
    Ok(HeadBucketOutput::default())
}
