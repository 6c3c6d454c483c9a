//! Creation and CORS configuration of the bucket.

use aws_sdk_s3::{
    error::ProvideErrorMetadata,
    types::{BucketLocationConstraint, CorsConfiguration, CorsRule, CreateBucketConfiguration},
};

use super::{Objects, ObjectsError};

impl Objects {
    /// Creates the bucket if it does not exist, and allows browsers to use presigned URLs (CORS) if the object store has
    /// such a setting and it is not set.
    pub async fn ensure_bucket(&self) -> Result<(), ObjectsError> {
        let response = self.client().head_bucket().bucket(self.bucket()).send().await;
        match response.map_err(|error| ObjectsError::from_sdk("HeadBucket", error)) {
            Ok(_) => {}
            Err(ObjectsError::NotFound) => self.create_bucket().await?,
            Err(error) => return Err(error),
        }
        self.set_cors().await;
        Ok(())
    }

    async fn create_bucket(&self) -> Result<(), ObjectsError> {
        let mut create = self.client().create_bucket().bucket(self.bucket());
        // us-east-1 is AWS's default and must not be named.
        if self.inner.aws && self.inner.region != "us-east-1" {
            let location = BucketLocationConstraint::from(self.inner.region.as_str());
            let location = CreateBucketConfiguration::builder().location_constraint(location).build();
            create = create.create_bucket_configuration(location);
        }
        match create.send().await {
            Ok(_) => Ok(()),
            // Another replica has created it.
            Err(error) if error.code() == Some("BucketAlreadyOwnedByYou") => Ok(()),
            Err(error) => Err(ObjectsError::from_sdk("CreateBucket", error)),
        }
    }

    /// Best effort: some object stores accept all origins without such a setting, others configure it elsewhere.
    async fn set_cors(&self) {
        match self.client().get_bucket_cors().bucket(self.bucket()).send().await {
            Err(error) if error.code() == Some("NoSuchCORSConfiguration") => {}
            _ => return,
        }
        let rule = CorsRule::builder()
            .set_allowed_methods(Some(["GET", "HEAD", "PUT"].map(str::to_owned).to_vec()))
            .allowed_origins("*")
            .allowed_headers("*")
            .expose_headers("ETag")
            .max_age_seconds(3600);
        let configuration = rule
            .build()
            .and_then(|rule| CorsConfiguration::builder().cors_rules(rule).build())
            .map_err(|error| error.to_string());
        let result = match configuration {
            Ok(configuration) => {
                let put = self.client().put_bucket_cors().bucket(self.bucket());
                let response = put.cors_configuration(configuration).send().await;
                response.map(drop).map_err(|error| ObjectsError::from_sdk("PutBucketCors", error).to_string())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::warn!(
                bucket = self.bucket(),
                error,
                "cannot configure CORS; uploads from browsers may fail"
            );
        }
    }
}
