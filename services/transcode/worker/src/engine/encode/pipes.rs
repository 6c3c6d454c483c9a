//! Readers of ffmpeg's pipes: one tokio task for each stream.

use std::collections::HashMap;

use reelmill_media::{command::Stream, fragments::Shift, plan::HeldPicture};
use tokio::{net::unix::pipe, task::JoinSet};

use crate::engine::{
    encode::request::EncodeRequest,
    output::{
        images::{SheetSpec, upload_poster, upload_thumbnails},
        subtitles::upload_subtitles,
        track_upload::{HeldSegment, TrackSpec, UploadedTrack, upload_track},
        upload_context::{UploadContext, UploadError},
    },
    progress::frame_log::read_frame_log,
};

/// What a reader has read.
pub(crate) enum Read {
    Rung(usize, UploadedTrack),
    Audio(usize, UploadedTrack),
    /// Subtitles of which text is missing.
    IncompleteSubtitles,
    /// Anything else.
    Other,
}

pub(crate) type PipeResult = Result<Read, UploadError>;

/// Starts the readers of one run of ffmpeg.
pub(crate) struct PipeReaders<'a> {
    pub request: &'a EncodeRequest<'a>,
    /// Number of segments that are recorded already, by rendition.
    pub recorded: &'a HashMap<String, u32>,
    /// Expected start of the tracks, seconds, if ffmpeg sought to it.
    pub expected_start: Option<f64>,
    pub uploads: &'a UploadContext,
}

impl PipeReaders<'_> {
    /// Starts the reader of one stream.
    pub(crate) fn spawn(&self, readers: &mut JoinSet<PipeResult>, stream: Stream, pipe: pipe::Receiver) {
        let (plan, uploads) = (self.request.plan, self.uploads.clone());
        match stream {
            Stream::Rung(index) => {
                let spec = self.rung_spec(index);
                readers.spawn(async move { Ok(Read::Rung(index, upload_track(pipe, spec, uploads).await?)) });
            }
            Stream::Audio(index) => {
                let spec = self.audio_spec(index);
                readers
                    .spawn(async move { Ok(Read::Audio(index, upload_track(pipe, spec, uploads).await?)) });
            }
            Stream::Subtitles(index) => {
                let id = plan.subtitles.get(index).map(|track| track.id.clone()).unwrap_or_default();
                let plan = plan.clone();
                readers.spawn(async move {
                    let is_incomplete = upload_subtitles(pipe, &id, &plan, &uploads).await?;
                    Ok(if is_incomplete { Read::IncompleteSubtitles } else { Read::Other })
                });
            }
            Stream::Poster => {
                readers.spawn(async move {
                    upload_poster(pipe, &uploads).await?;
                    Ok(Read::Other)
                });
            }
            Stream::Thumbnails => {
                let Some(spec) = SheetSpec::new(plan, &self.request.work_unit) else { return };
                readers.spawn(async move {
                    upload_thumbnails(pipe, spec, &uploads).await?;
                    Ok(Read::Other)
                });
            }
            Stream::Progress => {
                let progress = self.request.progress.clone();
                readers.spawn(async move {
                    let read = read_frame_log(pipe, progress, uploads.activity()).await;
                    read.map(|()| Read::Other).map_err(UploadError::Pipe)
                });
            }
        }
    }

    fn rung_spec(&self, index: usize) -> TrackSpec {
        let plan = self.request.plan;
        let rung = plan.video.as_ref().and_then(|video_plan| video_plan.rungs.get(index));
        let id = rung.map_or("", |rung| &rung.id);
        TrackSpec {
            first_segment: self.request.chunk().map_or(0, |chunk| chunk.first_segment),
            expected_start: self.expected_start,
            held: self.held_segment(index),
            shift: plan.rung_shift(index),
            ..self.track_spec(id)
        }
    }

    /// The segment of the chunk that stands in a rung several times.
    fn held_segment(&self, index: usize) -> Option<HeldSegment> {
        let video_plan = self.request.plan.video.as_ref()?;
        let HeldPicture { segment, times } = video_plan.held?;
        let rung = video_plan.rungs.get(index)?;
        Some(HeldSegment { segment, times, frames: video_plan.segment_frames / rung.frame_step.max(1) })
    }

    fn audio_spec(&self, index: usize) -> TrackSpec {
        let plan = self.request.plan;
        let id = plan.audio.get(index).map_or("", |audio| &audio.id);
        TrackSpec {
            first_segment: self.request.work_unit.audio_part.first_segment,
            max_segments: self.request.work_unit.audio_part.segments,
            expected_start: self.expected_start,
            audio_progress: Some(self.request.progress.clone()),
            // The same for all: any track may replace the default one if that cannot be decoded.
            shift: plan.audio_shift(),
            ..self.track_spec(id)
        }
    }

    fn track_spec(&self, rendition: &str) -> TrackSpec {
        // Progressive files are joined from the copies.
        let is_single = self.request.plan.is_single();
        let copy_path = is_single.then(|| self.request.scratch.join(format!("{rendition}.fragments")));
        TrackSpec {
            rendition: rendition.to_owned(),
            first_segment: 0,
            max_segments: None,
            held: None,
            recorded_segments: self.recorded.get(rendition).copied().unwrap_or(0),
            expected_start: None,
            shift: Shift::default(),
            audio_progress: None,
            copy_path,
            max_copy_bytes: self.request.limits.max_progressive_bytes,
        }
    }
}
