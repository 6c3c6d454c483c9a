//! RPC methods of WorkerService: each calls one verb of [`crate::tasks`].

use std::sync::Arc;

use reelmill_proto::transcode::{
    CompleteTaskRequest, CompleteTaskResponse, FailTaskRequest, FailTaskResponse, ListSegmentsRequest,
    ListSegmentsResponse, PlanJobRequest, PlanJobResponse, RecordOutputsRequest, RecordOutputsResponse,
    RegisterWorkerRequest, RegisterWorkerResponse, ReportProgressRequest, SignOutputsRequest,
    SignOutputsResponse, StartTaskRequest, StartTaskResponse, worker_service_server::WorkerService,
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    tasks::{
        JobPlanner, OutputRecorder, PresignedUrls, ReportResponses, ReportStreams, TaskCompleter, TaskFailer,
        TaskStarter, WorkMessages,
    },
    workers::Workers,
};

/// WorkerService.
pub(crate) struct WorkerRpc {
    pub(crate) workers: Workers,
    pub(crate) starter: TaskStarter,
    pub(crate) planner: JobPlanner,
    pub(crate) work: WorkMessages,
    pub(crate) urls: PresignedUrls,
    pub(crate) recorder: OutputRecorder,
    pub(crate) reports: Arc<ReportStreams>,
    pub(crate) completer: TaskCompleter,
    pub(crate) failer: Arc<TaskFailer>,
}

#[tonic::async_trait]
impl WorkerService for WorkerRpc {
    async fn register_worker(
        &self,
        request: Request<RegisterWorkerRequest>,
    ) -> Result<Response<RegisterWorkerResponse>, Status> {
        Ok(Response::new(self.workers.register(request.into_inner()).await?))
    }

    async fn start_task(
        &self,
        request: Request<StartTaskRequest>,
    ) -> Result<Response<StartTaskResponse>, Status> {
        match self.starter.start(request.get_ref()).await? {
            Some(leased) => Ok(Response::new(self.work.start_task_response(&leased).await?)),
            None => Ok(Response::new(StartTaskResponse::default())),
        }
    }

    async fn plan_job(&self, request: Request<PlanJobRequest>) -> Result<Response<PlanJobResponse>, Status> {
        let leased = self.planner.plan(request.get_ref()).await?;
        Ok(Response::new(PlanJobResponse { encode: Some(self.work.encode_task(&leased).await?) }))
    }

    async fn sign_outputs(
        &self,
        request: Request<SignOutputsRequest>,
    ) -> Result<Response<SignOutputsResponse>, Status> {
        Ok(Response::new(self.urls.sign_outputs(request.get_ref()).await?))
    }

    async fn record_outputs(
        &self,
        request: Request<RecordOutputsRequest>,
    ) -> Result<Response<RecordOutputsResponse>, Status> {
        self.recorder.record(request.get_ref()).await?;
        Ok(Response::new(RecordOutputsResponse {}))
    }

    async fn list_segments(
        &self,
        request: Request<ListSegmentsRequest>,
    ) -> Result<Response<ListSegmentsResponse>, Status> {
        Ok(Response::new(self.urls.list_segments(request.get_ref()).await?))
    }

    type ReportProgressStream = ReportResponses;

    async fn report_progress(
        &self,
        request: Request<Streaming<ReportProgressRequest>>,
    ) -> Result<Response<Self::ReportProgressStream>, Status> {
        Ok(Response::new(self.reports.open(request.into_inner())))
    }

    async fn complete_task(
        &self,
        request: Request<CompleteTaskRequest>,
    ) -> Result<Response<CompleteTaskResponse>, Status> {
        self.completer.complete(request.get_ref()).await?;
        Ok(Response::new(CompleteTaskResponse {}))
    }

    async fn fail_task(
        &self,
        request: Request<FailTaskRequest>,
    ) -> Result<Response<FailTaskResponse>, Status> {
        let will_retry = self.failer.fail(request.get_ref()).await?;
        Ok(Response::new(FailTaskResponse { will_retry }))
    }
}
