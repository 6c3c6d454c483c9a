//! Mapping between API messages and columns.

use reelmill_proto::{
    encode_source_contents, source_contents, timestamp,
    transcode::{Failure, Rendition, SourceInfo, Waiting, Warning},
};

use super::entity::{
    video_renditions, video_warnings,
    videos::{self, Rungs},
};
use crate::domain::encoding_options::{EncodingOptions, duration_of_nanos, nanos_of_duration};

impl videos::Model {
    /// Requested encoding options.
    pub(crate) fn encoding_options(&self) -> EncodingOptions {
        EncodingOptions {
            profile: self.profile,
            preset: self.preset,
            rungs: self.rungs.0.clone(),
            keep_hdr: self.keep_hdr,
            poster_time_nanos: self.poster_time_nanos,
            source_program: self.source_program,
        }
    }

    /// Sets the requested encoding options.
    pub(crate) fn set_encoding_options(&mut self, options: EncodingOptions) {
        self.profile = options.profile;
        self.preset = options.preset;
        self.rungs = Rungs(options.rungs);
        self.keep_hdr = options.keep_hdr;
        self.poster_time_nanos = options.poster_time_nanos;
        self.source_program = options.source_program;
    }

    /// The probed source. `None` until it is probed.
    pub(crate) fn source(&self) -> Option<SourceInfo> {
        let contents = self.source_contents.as_deref().map(source_contents).unwrap_or_default();
        Some(SourceInfo {
            container: self.source_container.clone()?,
            video_codec: self.source_video_codec.clone()?,
            audio_codec: self.source_audio_codec.clone()?,
            width: self.source_width?,
            height: self.source_height?,
            rotation_degrees: self.source_rotation_degrees?,
            frame_rate: self.source_frame_rate?,
            duration: self.source_duration_nanos.map(duration_of_nanos),
            pixel_format: self.source_pixel_format.clone()?,
            video_range: self.source_video_range.clone()?,
            interlaced: self.source_interlaced?,
            audio_tracks: self.source_audio_tracks?,
            subtitle_tracks: self.source_subtitle_tracks?,
            tracks: contents.tracks,
            programs: contents.programs,
        })
    }

    /// Sets the probed source.
    pub(super) fn set_source(&mut self, source: Option<&SourceInfo>) {
        self.source_container = source.map(|source| source.container.clone());
        self.source_video_codec = source.map(|source| source.video_codec.clone());
        self.source_audio_codec = source.map(|source| source.audio_codec.clone());
        self.source_width = source.map(|source| source.width);
        self.source_height = source.map(|source| source.height);
        self.source_rotation_degrees = source.map(|source| source.rotation_degrees);
        self.source_frame_rate = source.map(|source| source.frame_rate);
        self.source_duration_nanos = source.and_then(|source| nanos_of_duration(&source.duration?));
        self.source_pixel_format = source.map(|source| source.pixel_format.clone());
        self.source_video_range = source.map(|source| source.video_range.clone());
        self.source_interlaced = source.map(|source| source.interlaced);
        self.source_audio_tracks = source.map(|source| source.audio_tracks);
        self.source_subtitle_tracks = source.map(|source| source.subtitle_tracks);
        self.source_contents = source.map(encode_source_contents);
    }

    /// What the job waits for.
    pub(crate) fn waiting(&self) -> Option<Waiting> {
        Some(Waiting {
            reason: self.waiting_reason.clone()?,
            message: self.waiting_message.clone().unwrap_or_default(),
            since_time: self.waiting_since.map(timestamp),
        })
    }

    /// Why the video failed.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let (reason, message) = (self.failure_reason.clone()?, self.failure_message.clone()?);
        Some(Failure { reason, message })
    }
}

impl video_renditions::Model {
    /// The row of a rendition message, whose progress is not stored.
    pub(super) fn new(
        video_id: &str,
        rendition_index: i32,
        rendition: &Rendition,
        download_key: Option<String>,
    ) -> Self {
        Self {
            video_id: video_id.to_owned(),
            rendition_index,
            rendition_id: rendition.rendition_id.clone(),
            kind: rendition.kind().into(),
            state: rendition.state().into(),
            width: rendition.width,
            height: rendition.height,
            frame_rate: rendition.frame_rate,
            codecs: rendition.codecs.clone(),
            bandwidth_bps: rendition.bandwidth_bps,
            average_bandwidth_bps: rendition.average_bandwidth_bps,
            size_bytes: rendition.size_bytes,
            language: rendition.language.clone(),
            channels: rendition.channels,
            video_range: rendition.video_range.clone(),
            download_key,
        }
    }

    /// The rendition as a message, without progress.
    pub(crate) fn to_message(&self) -> Rendition {
        let mut rendition = Rendition {
            rendition_id: self.rendition_id.clone(),
            width: self.width,
            height: self.height,
            frame_rate: self.frame_rate,
            codecs: self.codecs.clone(),
            bandwidth_bps: self.bandwidth_bps,
            average_bandwidth_bps: self.average_bandwidth_bps,
            size_bytes: self.size_bytes,
            language: self.language.clone(),
            channels: self.channels,
            video_range: self.video_range.clone(),
            ..Rendition::default()
        };
        rendition.set_kind(self.kind.into());
        rendition.set_state(self.state.into());
        rendition
    }
}

impl video_warnings::Model {
    /// The row of a warning message.
    pub(super) fn new(video_id: &str, warning_index: i32, warning: &Warning) -> Self {
        Self {
            video_id: video_id.to_owned(),
            warning_index,
            reason: warning.reason.clone(),
            message: warning.message.clone(),
        }
    }

    /// The warning as a message.
    pub(crate) fn to_message(&self) -> Warning {
        Warning { reason: self.reason.clone(), message: self.message.clone() }
    }
}
