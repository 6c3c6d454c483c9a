use reelmill_platform::database;
use sea_orm::DatabaseConnection;

use super::migration::Migrator;
use crate::error::UploadError;

/// The upload database.
#[derive(Clone)]
pub(crate) struct Db {
    pub(super) connection: DatabaseConnection,
}

impl Db {
    /// Opens and migrates the database.
    pub(crate) async fn open(url: &str) -> Result<Self, UploadError> {
        Ok(Self { connection: database::connect::<Migrator>(url).await? })
    }
}
