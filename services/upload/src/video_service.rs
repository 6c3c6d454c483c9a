//! `VideoService`: each method checks, calls, converts.

use std::{collections::HashMap, sync::Arc, time::Duration};

use reelmill_mesh::Origin;
use reelmill_proto::{
    seconds, timestamp,
    upload::{
        CreatePlaybackRequest, CreatePlaybackResponse, DeleteVideoRequest, DeleteVideoResponse,
        GetVideoRequest, GetVideoResponse, ListVideosRequest, ListVideosResponse, WatchVideoRequest,
        WatchVideoResponse, WatchVideosRequest, WatchVideosResponse, video_service_server::VideoService,
    },
};
use tonic::{Request, Response, Status};

use crate::{
    UploadError,
    core::Core,
    domain::{
        names::{self, Cursor},
        outputs::is_playable,
        video::State,
    },
    upload_service::owner_of,
    watch,
};

/// Bounds of a playback address's life, seconds.
const PLAYBACK_TTL: std::ops::RangeInclusive<f64> = 60.0..=7.0 * 24.0 * 3600.0;

pub(crate) struct Videos(pub Arc<Core>);

#[tonic::async_trait]
impl VideoService for Videos {
    type WatchVideoStream = watch::Stream<WatchVideoResponse>;
    type WatchVideosStream = watch::Stream<WatchVideosResponse>;

    async fn get_video(
        &self,
        request: Request<GetVideoRequest>,
    ) -> Result<Response<GetVideoResponse>, Status> {
        let (owner, origin) = (owner_of(&request)?, Origin::of(&request));
        let row = self.0.video_of(&owner, &request.get_ref().name).await?;
        let video = self.0.video_message(&row, origin.as_deref())?;
        Ok(Response::new(GetVideoResponse { video: Some(video) }))
    }

    async fn list_videos(
        &self,
        request: Request<ListVideosRequest>,
    ) -> Result<Response<ListVideosResponse>, Status> {
        let (owner, origin) = (owner_of(&request)?, Origin::of(&request));
        let asked = request.get_ref();
        let size = names::page_size(asked.page_size)?;
        let after = Cursor::from_token(&asked.page_token)?;
        let mut rows =
            self.0.store.videos(&owner, after.as_ref(), size + 1).await.map_err(UploadError::from)?;
        let next_page_token = names::end_page(&mut rows, size, |row| Cursor {
            create_time: row.create_time,
            id: row.id.clone(),
        });
        let videos: Result<_, _> =
            rows.iter().map(|row| self.0.video_message(row, origin.as_deref())).collect();
        Ok(Response::new(ListVideosResponse { videos: videos?, next_page_token }))
    }

    async fn delete_video(
        &self,
        request: Request<DeleteVideoRequest>,
    ) -> Result<Response<DeleteVideoResponse>, Status> {
        let owner = owner_of(&request)?;
        let row = self.0.video_or_tombstone(&owner, &request.get_ref().name).await?;
        if self.0.store.delete_video(&row.id, self.0.now()).await.map_err(UploadError::from)? {
            self.0.announce(&owner, &row.id).await;
            self.0.unfinished.notify_one();
        }
        Ok(Response::new(DeleteVideoResponse {}))
    }

    async fn watch_video(
        &self,
        request: Request<WatchVideoRequest>,
    ) -> Result<Response<Self::WatchVideoStream>, Status> {
        let (owner, origin) = (owner_of(&request)?, Origin::of(&request));
        let row = self.0.video_of(&owner, &request.get_ref().name).await?;
        let revision = request.get_ref().revision;
        Ok(Response::new(watch::video(Arc::clone(&self.0), row.id, revision, origin)))
    }

    async fn watch_videos(
        &self,
        request: Request<WatchVideosRequest>,
    ) -> Result<Response<Self::WatchVideosStream>, Status> {
        let (owner, origin) = (owner_of(&request)?, Origin::of(&request));
        let revision = request.get_ref().revision;
        Ok(Response::new(watch::library(Arc::clone(&self.0), owner, revision, origin)))
    }

    async fn create_playback(
        &self,
        request: Request<CreatePlaybackRequest>,
    ) -> Result<Response<CreatePlaybackResponse>, Status> {
        let (owner, origin) = (owner_of(&request)?, Origin::of(&request));
        let asked = request.get_ref();
        let ttl = self.playback_ttl(asked.ttl.as_ref())?;
        let row = self.0.video_of(&owner, &asked.name).await?;
        if !is_playable(row.state, row.playable_time) {
            return Err(UploadError::VideoNotReady.into());
        }
        let pass = self.0.pass(&row.id, ttl, origin.as_deref());
        let address = |key: &Option<String>| pass.address(&row.id, key.as_deref());
        let download_uris = if row.state == State::Ready { pass.downloads(&row)? } else { HashMap::new() };
        Ok(Response::new(CreatePlaybackResponse {
            playback_uri: address(&row.master_playlist_key),
            poster_uri: address(&row.poster_key),
            download_uris,
            dash_uri: address(&row.dash_manifest_key),
            thumbnails_uri: address(&row.thumbnails_key),
            expire_time: Some(timestamp(pass.expire_time)),
        }))
    }
}

impl Videos {
    fn playback_ttl(&self, asked: Option<&prost_types::Duration>) -> Result<Duration, UploadError> {
        let Some(asked) = asked else { return Ok(self.0.config.playback_ttl) };
        let length = seconds(asked);
        if PLAYBACK_TTL.contains(&length) {
            Ok(Duration::from_secs_f64(length))
        } else {
            Err(UploadError::field("ttl", "must be 1 minute to 7 days"))
        }
    }
}
