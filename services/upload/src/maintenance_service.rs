//! RPC methods of MaintenanceService.

use reelmill_proto::upload::{
    CompareStorageRequest, CompareStorageResponse, MissingObjects, ReconcileJobsRequest,
    ReconcileJobsResponse, maintenance_service_server::MaintenanceService,
};
use tonic::{Request, Response, Status};

use crate::{
    domain::resource_name::video_name,
    error::UploadError,
    job_reconciler::JobReconciler,
    storage_comparison::{Position, StorageComparison},
};

/// Serves MaintenanceService.
#[derive(Clone)]
pub(crate) struct MaintenanceRpc {
    pub reconciler: JobReconciler,
    pub comparison: StorageComparison,
}

#[tonic::async_trait]
impl MaintenanceService for MaintenanceRpc {
    async fn reconcile_jobs(
        &self,
        _: Request<ReconcileJobsRequest>,
    ) -> Result<Response<ReconcileJobsResponse>, Status> {
        let found = self.reconciler.reconcile_all().await?;
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        Ok(Response::new(ReconcileJobsResponse {
            compared_videos: count(found.compared),
            changed_videos: count(found.changed),
            videos_without_job: count(found.without_job),
        }))
    }

    async fn compare_storage(
        &self,
        request: Request<CompareStorageRequest>,
    ) -> Result<Response<CompareStorageResponse>, Status> {
        let request = request.into_inner();
        let position = Position::parse(&request.page_token)
            .ok_or_else(|| UploadError::field("page_token", "is not from a response"))?;
        let differences = self.comparison.page(&position, request.delete_unknown).await?;
        let missing = differences.missing.into_iter();
        Ok(Response::new(CompareStorageResponse {
            compared_videos: i32::try_from(differences.compared).unwrap_or(i32::MAX),
            unknown_prefixes: differences.unknown,
            missing: missing
                .map(|(video, prefix)| MissingObjects { video: video_name(&video), prefix })
                .collect(),
            next_page_token: differences.next.map(|next| next.token()).unwrap_or_default(),
        }))
    }
}
