//! The video service.

use std::{collections::HashMap, pin::Pin};

use futures::Stream;
use reelmill_proto::{
    transcode::Rendition,
    upload::{video_service_server::VideoService, *},
};
use tonic::{Code, Request, Status, async_trait};

use super::state::{FakeServer, RpcResult, error, not_implemented, ok};

type UpdateStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A READY video with two rungs.
pub fn ready_video(name: &str) -> Video {
    let rendition =
        |height: i32| Rendition { rendition_id: format!("{height}p"), height, ..Rendition::default() };
    Video {
        name: name.to_owned(),
        state: video::State::Ready.into(),
        renditions: vec![rendition(720), rendition(360)],
        playback_uri: "http://h/play/t/master.m3u8".to_owned(),
        revision: 9,
        playable: true,
        ..Video::default()
    }
}

#[async_trait]
impl VideoService for FakeServer {
    type WatchVideoStream = UpdateStream<WatchVideoResponse>;
    type WatchVideosStream = UpdateStream<WatchVideosResponse>;

    async fn get_video(&self, request: Request<GetVideoRequest>) -> RpcResult<GetVideoResponse> {
        self.authenticate(&request)?;
        let mut video = ready_video(&request.into_inner().name);
        let state = self.state();
        if state.is_audio_only {
            video.renditions.clear();
        }
        if state.is_encoding {
            video.state = video::State::Processing.into();
        }
        if state.is_encoding {
            video.job = "jobs/1".into();
        }
        if state.is_failed {
            video.job = "jobs/1".into();
            let has_retried = !state.retried.is_empty();
            video.state = if has_retried { video::State::Processing } else { video::State::Failed }.into();
        }
        video.renditions.splice(0..0, state.audio_renditions.clone());
        ok(GetVideoResponse { video: Some(video) })
    }

    async fn list_videos(&self, request: Request<ListVideosRequest>) -> RpcResult<ListVideosResponse> {
        self.authenticate(&request)?;
        let request = request.into_inner();
        let all = self.state().videos.clone();
        let start: usize = request.page_token.parse().unwrap_or(0);
        let next = start + 2;
        let next_page_token = if next < all.len() { next.to_string() } else { String::new() };
        let videos = all.into_iter().skip(start).take(2).collect();
        ok(ListVideosResponse { videos, next_page_token })
    }

    async fn delete_video(&self, request: Request<DeleteVideoRequest>) -> RpcResult<DeleteVideoResponse> {
        self.authenticate(&request)?;
        match request.into_inner().name.as_str() {
            "videos/existing" => ok(DeleteVideoResponse {}),
            _ => Err(error(Code::NotFound, "VIDEO_NOT_FOUND")),
        }
    }

    async fn watch_video(&self, request: Request<WatchVideoRequest>) -> RpcResult<Self::WatchVideoStream> {
        self.authenticate(&request)?;
        let request = request.into_inner();
        let mut state = self.state();
        state.watch_revisions.push(request.revision);
        let updates = state.watch_streams.pop_front().unwrap_or_else(|| vec![Ok(ready_video(&request.name))]);
        let updates = updates.into_iter().map(|update| match update {
            Ok(video) => Ok(WatchVideoResponse { video: Some(video) }),
            Err(code) => Err(error(code, "BROKEN_ON_PURPOSE")),
        });
        ok(Box::pin(futures::stream::iter(updates.collect::<Vec<_>>())))
    }

    async fn watch_videos(&self, _: Request<WatchVideosRequest>) -> RpcResult<Self::WatchVideosStream> {
        not_implemented()
    }

    async fn create_playback(
        &self,
        request: Request<CreatePlaybackRequest>,
    ) -> RpcResult<CreatePlaybackResponse> {
        self.authenticate(&request)?;
        let download_uri = |id: &str| (id.to_owned(), format!("{}/file/{id}", self.url()));
        let state = self.state();
        if state.is_encoding {
            return ok(CreatePlaybackResponse::default());
        }
        let rungs = if state.is_audio_only { &[][..] } else { &["720p", "360p"] };
        let audio = state.audio_renditions.iter().map(|rendition| rendition.rendition_id.as_str());
        let download_uris: HashMap<_, _> = rungs.iter().copied().chain(audio).map(download_uri).collect();
        ok(CreatePlaybackResponse { download_uris, ..CreatePlaybackResponse::default() })
    }
}
