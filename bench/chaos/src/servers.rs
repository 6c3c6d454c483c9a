//! The servers that the roles use, each behind a proxy.

use std::net::SocketAddr;

use anyhow::Result;
use reelmill_platform::objects::{Objects, ObjectsConfig};
use reelmill_testkit::{Postgres, Redis, SeaweedFs, Sqs};

use crate::{gate::Gate, sqs_proxy::SqsProxy};

/// Name of the task queue.
pub const QUEUE: &str = "tasks";
/// The services with a database.
pub const DATABASES: [&str; 3] = ["auth", "upload", "transcode"];

/// Postgres, Redis, SQS and S3.
pub struct Servers {
    pub postgres: Postgres,
    pub redis: Redis,
    pub sqs: Sqs,
    pub objects: SeaweedFs,
    /// In front of the object store.
    pub objects_gate: Gate,
    /// In front of the queue.
    pub sqs_proxy: SqsProxy,
    database_urls: Vec<String>,
}

impl Servers {
    pub async fn start() -> Result<Self> {
        let (postgres, redis, sqs, objects) =
            tokio::try_join!(Postgres::start(), Redis::start(), Sqs::start(), SeaweedFs::start())?;
        let mut database_urls = Vec::new();
        for database in DATABASES {
            database_urls.push(postgres.create_database(database).await?);
        }
        let address: SocketAddr = objects.endpoint().trim_start_matches("http://").parse()?;
        let objects_gate = Gate::start(vec![address]).await?;
        let upstream = sqs.queue_url(QUEUE);
        let upstream = upstream.trim_start_matches("sqs+").trim_end_matches("/000000000000/tasks");
        let sqs_proxy = SqsProxy::start(upstream.to_owned()).await?;
        Ok(Self { postgres, redis, sqs, objects, objects_gate, sqs_proxy, database_urls })
    }

    /// The configuration that names them.
    pub fn variables(&self) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        let mut set = |key: &str, value: String| variables.push((format!("REELMILL_{key}"), value));
        for (database, url) in DATABASES.iter().zip(&self.database_urls) {
            set(&format!("{}__DATABASE_URL", database.to_uppercase()), url.clone());
        }
        set("SHARED_STATE__URL", self.redis.url());
        let queue = format!("sqs+http://127.0.0.1:{}/000000000000/{QUEUE}", self.sqs_proxy.port());
        set("QUEUE__URL", queue);
        set("QUEUE__ACCESS_KEY_ID", self.sqs.access_key_id().to_owned());
        set("QUEUE__SECRET_ACCESS_KEY", self.sqs.secret_access_key().to_owned());
        set("QUEUE__REGION", self.sqs.region().to_owned());
        set("OBJECTS__ENDPOINT", self.objects_gate.url());
        set("OBJECTS__PATH_STYLE", "true".to_owned());
        set("OBJECTS__REGION", self.objects.region().to_owned());
        set("OBJECTS__BUCKET", self.objects.bucket().to_owned());
        set("OBJECTS__ACCESS_KEY_ID", self.objects.access_key_id().to_owned());
        set("OBJECTS__SECRET_ACCESS_KEY", self.objects.secret_access_key().to_owned());
        variables
    }

    /// Keys of all objects, and of unfinished multipart uploads.
    pub async fn object_keys(&self) -> Result<Vec<String>> {
        let config = ObjectsConfig {
            endpoint: Some(self.objects.endpoint()),
            public_endpoint: None,
            region: self.objects.region().to_owned(),
            bucket: self.objects.bucket().to_owned(),
            access_key_id: Some(self.objects.access_key_id().to_owned()),
            secret_access_key: Some(self.objects.secret_access_key().to_owned()),
            path_style: true,
        };
        let objects = Objects::connect(&config).await?;
        let mut keys: Vec<String> = objects.list("").await?.into_iter().map(|(key, _)| key).collect();
        let unfinished = objects.list_multipart_uploads("").await?;
        keys.extend(unfinished.into_iter().map(|upload| format!("{} (unfinished)", upload.key)));
        Ok(keys)
    }
}
