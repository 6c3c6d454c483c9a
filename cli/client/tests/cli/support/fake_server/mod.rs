//! A small server that implements as much of the API as the client calls, and fails on demand.

mod auth;
mod object_store;
mod state;
mod transcode;
mod upload;
mod video;

use reelmill_proto::{
    auth::auth_service_server::AuthServiceServer,
    transcode::transcode_service_server::TranscodeServiceServer,
    upload::{upload_service_server::UploadServiceServer, video_service_server::VideoServiceServer},
};
use tonic::service::Routes;

pub use self::{
    state::{Cut, FakeServer, PutFault, error, rate_limited},
    video::ready_video,
};

impl FakeServer {
    /// Starts a server on a free port.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self::new(listener.local_addr().unwrap());
        let grpc = Routes::new(AuthServiceServer::new(server.clone()))
            .add_service(UploadServiceServer::new(server.clone()))
            .add_service(VideoServiceServer::new(server.clone()))
            .add_service(TranscodeServiceServer::new(server.clone()))
            .into_axum_router();
        let router = object_store::routes(server.clone()).merge(grpc);
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }
}
