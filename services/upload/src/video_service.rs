//! RPC methods of VideoService: authenticate, load, act, convert.

use std::{collections::HashMap, ops::RangeInclusive, time::Duration};

use reelmill_mesh::{Origin, paging::Page};
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
    caller::user_of,
    catalogue::Catalogue,
    domain::{outputs::is_playable, video_state::VideoState},
    error::UploadError,
    playback_urls::PlaybackUrls,
    video_messages::VideoMessages,
    watch::{WatchSources, WatchStream, watch_library, watch_video},
};

/// Allowed lifetime of playback URLs, seconds.
const PLAYBACK_TTL_SECONDS: RangeInclusive<f64> = 60.0..=7.0 * 24.0 * 3600.0;

/// Serves VideoService.
#[derive(Clone)]
pub(crate) struct VideoRpc {
    pub catalogue: Catalogue,
    pub messages: VideoMessages,
    pub playback: PlaybackUrls,
    pub watch_sources: WatchSources,
}

#[tonic::async_trait]
impl VideoService for VideoRpc {
    type WatchVideoStream = WatchStream<WatchVideoResponse>;
    type WatchVideosStream = WatchStream<WatchVideosResponse>;

    async fn get_video(
        &self,
        request: Request<GetVideoRequest>,
    ) -> Result<Response<GetVideoResponse>, Status> {
        let (owner, origin) = (user_of(&request)?, Origin::of(&request));
        let detail = self.catalogue.find(&owner, &request.get_ref().name).await?;
        let video = self.messages.video(&detail, origin.as_deref());
        Ok(Response::new(GetVideoResponse { video: Some(video) }))
    }

    async fn list_videos(
        &self,
        request: Request<ListVideosRequest>,
    ) -> Result<Response<ListVideosResponse>, Status> {
        let (owner, origin) = (user_of(&request)?, Origin::of(&request));
        let request = request.into_inner();
        let page =
            Page::parse("videos", request.page_size, &request.page_token).map_err(UploadError::from)?;
        let (details, next_page_token) = self.catalogue.list(&owner, &page).await?;
        let videos = details.iter().map(|detail| self.messages.video(detail, origin.as_deref())).collect();
        Ok(Response::new(ListVideosResponse { videos, next_page_token }))
    }

    async fn delete_video(
        &self,
        request: Request<DeleteVideoRequest>,
    ) -> Result<Response<DeleteVideoResponse>, Status> {
        let owner = user_of(&request)?;
        self.catalogue.delete(&owner, &request.get_ref().name).await?;
        Ok(Response::new(DeleteVideoResponse {}))
    }

    async fn watch_video(
        &self,
        request: Request<WatchVideoRequest>,
    ) -> Result<Response<Self::WatchVideoStream>, Status> {
        let (owner, origin) = (user_of(&request)?, Origin::of(&request));
        let request = request.into_inner();
        let id = self.catalogue.find(&owner, &request.name).await?.video.id;
        let stream = watch_video(self.watch_sources.clone(), id, request.revision, origin);
        Ok(Response::new(stream))
    }

    async fn watch_videos(
        &self,
        request: Request<WatchVideosRequest>,
    ) -> Result<Response<Self::WatchVideosStream>, Status> {
        let (owner, origin) = (user_of(&request)?, Origin::of(&request));
        let revision = request.get_ref().revision;
        Ok(Response::new(watch_library(self.watch_sources.clone(), owner, revision, origin)))
    }

    async fn create_playback(
        &self,
        request: Request<CreatePlaybackRequest>,
    ) -> Result<Response<CreatePlaybackResponse>, Status> {
        let (owner, origin) = (user_of(&request)?, Origin::of(&request));
        let request = request.into_inner();
        let ttl = request.ttl.as_ref().map(parse_ttl).transpose()?;
        let detail = self.catalogue.find(&owner, &request.name).await?;
        let video = &detail.video;
        if !is_playable(video.state, video.playable_time) {
            return Err(UploadError::VideoNotReady.into());
        }
        let grant = self.playback.grant(&video.id, ttl, origin.as_deref());
        let download_uris = match video.state {
            VideoState::Ready => grant.download_urls(&detail),
            _ => HashMap::new(),
        };
        Ok(Response::new(CreatePlaybackResponse {
            playback_uri: grant.url(video.master_playlist_key.as_deref()),
            poster_uri: grant.url(video.poster_key.as_deref()),
            download_uris,
            dash_uri: grant.url(video.dash_manifest_key.as_deref()),
            thumbnails_uri: grant.url(video.thumbnails_key.as_deref()),
            expire_time: Some(timestamp(grant.expire_time)),
        }))
    }
}

fn parse_ttl(ttl: &prost_types::Duration) -> Result<Duration, UploadError> {
    let seconds = seconds(ttl);
    if PLAYBACK_TTL_SECONDS.contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(UploadError::field("ttl", "must be 1 minute to 7 days"))
    }
}
