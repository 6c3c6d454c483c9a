//! The S3 operations, each implemented in the module of its resource.

use s3s::{S3, S3Request, S3Response, S3Result, dto::*};

use crate::{attributes, bucket, list, multipart, object_store::ObjectStore, read, write};

/// Implements the trait's methods, which all call a function, convert its error and wrap its output.
macro_rules! operations {
    ($($method:ident($input:ty) -> $output:ty = $call:path;)*) => {
        #[async_trait::async_trait]
        impl S3 for ObjectStore {
            $(async fn $method(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                Ok(S3Response::new($call(self, request).await?))
            })*
        }
    };
}

operations! {
    create_bucket(CreateBucketInput) -> CreateBucketOutput = bucket::create;
    head_bucket(HeadBucketInput) -> HeadBucketOutput = bucket::head;
    put_object(PutObjectInput) -> PutObjectOutput = write::put;
    get_object(GetObjectInput) -> GetObjectOutput = read::get;
    head_object(HeadObjectInput) -> HeadObjectOutput = read::head;
    get_object_attributes(GetObjectAttributesInput) -> GetObjectAttributesOutput = attributes::get;
    copy_object(CopyObjectInput) -> CopyObjectOutput = write::copy;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput = write::delete;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput = write::delete_many;
    list_objects(ListObjectsInput) -> ListObjectsOutput = list::objects_v1;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output = list::objects_v2;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput = multipart::create;
    upload_part(UploadPartInput) -> UploadPartOutput = multipart::upload_part;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput = multipart::upload_part_copy;
    list_parts(ListPartsInput) -> ListPartsOutput = list::parts;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput = list::uploads;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput = multipart::complete;
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput = multipart::abort;
}
