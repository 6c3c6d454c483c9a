//! Between rows and messages.

use prost::Message as _;
use reelmill_media::plan::Plan;
use reelmill_proto::{
    duration, timestamp,
    transcode::{
        Failure, Job, Progress, Rendition, SourceInfo, Warning, WatchJobsResponse,
        job::State,
        rendition::{Kind, State as RenditionState},
    },
};

use crate::{
    domain::{JobState, job_name},
    error::TranscodeError,
    store::JobRow,
};

/// The job as its callers see it.
pub(crate) fn job_message(row: &JobRow) -> Result<Job, TranscodeError> {
    let detail = Job::decode(row.detail.as_slice())?;
    let reached = detail.progress.unwrap_or_default();
    let state = JobState::from_stored(row.state).map_or(State::Unspecified, state_message);
    Ok(Job {
        name: job_name(&row.id),
        video: row.video.clone(),
        state: state.into(),
        create_time: Some(timestamp(row.created_at)),
        start_time: row.started_at.map(timestamp),
        end_time: row.ended_at.map(timestamp),
        progress: Some(Progress {
            percent: if state == State::Succeeded { 100.0 } else { reached.percent },
            ..reached
        }),
        renditions: detail.renditions,
        source: detail.source,
        failure: (!row.failure_reason.is_empty())
            .then(|| Failure { reason: row.failure_reason.clone(), message: row.failure_message.clone() }),
        revision: row.revision,
        playable_time: row.playable_at.map(timestamp),
        warnings: detail.warnings,
        options: detail.options,
    })
}

/// The job as the upload service sees it.
pub(crate) fn feed_message(row: &JobRow) -> Result<WatchJobsResponse, TranscodeError> {
    let key = |name: &str| {
        if name.is_empty() { String::new() } else { format!("{}{name}", row.recorded_prefix) }
    };
    let keys = WatchJobsResponse::decode(row.keys.as_deref().unwrap_or_default())?;
    Ok(WatchJobsResponse {
        job: Some(job_message(row)?),
        master_playlist_key: key(&row.master_playlist),
        poster_key: key(&row.poster),
        output_size_bytes: row.output_size_bytes,
        ..keys
    })
}

/// Seconds by which a file may be wrong about its length without being corrected.
const CLAIM_SLACK: f64 = 0.5;

/// What is stored of a job beside its columns.
#[derive(Clone, Debug)]
pub(crate) struct Detail(Job);

impl Detail {
    /// Of a job's row.
    pub(crate) fn of(row: &JobRow) -> Result<Self, TranscodeError> {
        Ok(Self(Job::decode(row.detail.as_slice())?))
    }

    /// Of a new job.
    pub(crate) fn new(options: Option<reelmill_proto::transcode::TranscodeOptions>) -> Self {
        Self(Job { options, ..Job::default() })
    }

    pub(crate) fn options(&self) -> Option<&reelmill_proto::transcode::TranscodeOptions> {
        self.0.options.as_ref()
    }

    pub(crate) fn set_source(&mut self, source: Option<SourceInfo>) {
        self.0.source = source;
    }

    pub(crate) fn renditions(&mut self) -> &mut Vec<Rendition> {
        &mut self.0.renditions
    }

    /// How far the job is at most, beside its renditions' own.
    pub(crate) fn progress(&mut self) -> &mut Progress {
        self.0.progress.get_or_insert_default()
    }

    /// Notes how many segments of renditions are published; says whether that is more than before.
    pub(crate) fn published(&mut self, ready: &[(String, i64)]) -> bool {
        let mut is_more = false;
        for rendition in &mut self.0.renditions {
            let reached = rendition.progress.get_or_insert_default();
            let segments = ready.iter().find(|(id, _)| *id == rendition.rendition_id);
            if let Some((_, segments)) = segments.filter(|(_, segments)| *segments > reached.segments_ready) {
                reached.segments_ready = *segments;
                is_more = true;
            }
        }
        let most =
            self.0.renditions.iter().filter_map(|one| one.progress).map(|one| one.segments_ready).max();
        self.progress().segments_ready = most.unwrap_or(0);
        is_more
    }

    /// Sets the renditions of a plan. Those of the plan before stay as far as they were; but their segments are gone.
    pub(crate) fn plan(&mut self, renditions: Vec<Rendition>) {
        let before = std::mem::replace(&mut self.0.renditions, renditions);
        for rendition in &mut self.0.renditions {
            let same = before.iter().find(|before| before.rendition_id == rendition.rendition_id);
            if let Some(reached) = same.and_then(|before| before.progress) {
                rendition.progress = Some(Progress { segments_ready: 0, ..reached });
            }
        }
    }

    /// Adds what is not there yet; says whether that was anything.
    pub(crate) fn warn(&mut self, warnings: &[Warning]) -> bool {
        let before = self.0.warnings.len();
        for warning in warnings {
            if !self.0.warnings.contains(warning) {
                self.0.warnings.push(warning.clone());
            }
        }
        self.0.warnings.len() > before
    }

    /// Adds what dispatch finds in the end, unless a worker has said as much, and more exactly.
    pub(crate) fn conclude(&mut self, warnings: &[Warning]) {
        let said: Vec<String> = self.0.warnings.iter().map(|warning| warning.reason.clone()).collect();
        let news = warnings.iter().filter(|warning| !said.contains(&warning.reason));
        self.0.warnings.extend(news.cloned());
    }

    /// Sets the playing time to what there is to play, in seconds, where the file said nothing or something else.
    pub(crate) fn measured(&mut self, seconds: f64) {
        let Some(source) = &mut self.0.source else { return };
        let claimed = source.duration.map(|length| length.seconds as f64 + f64::from(length.nanos) / 1e9);
        if claimed.is_none_or(|claimed| (claimed - seconds).abs() > CLAIM_SLACK)
            && let Ok(length) = std::time::Duration::try_from_secs_f64(seconds)
        {
            source.duration = Some(duration(length));
        }
    }

    /// As it is stored.
    pub(crate) fn stored(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }
}

/// The renditions of a plan, while they are made.
pub(crate) fn planned_renditions(plan: &Plan) -> Vec<Rendition> {
    let made = |id: &str, kind: Kind| Rendition {
        rendition_id: id.to_owned(),
        state: RenditionState::Encoding.into(),
        kind: kind.into(),
        progress: Some(Progress::default()),
        ..Rendition::default()
    };
    let pixels = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
    let mut renditions = Vec::new();
    for (video_plan, rung) in
        plan.video.iter().flat_map(|video_plan| video_plan.rungs.iter().map(move |r| (video_plan, r)))
    {
        renditions.push(Rendition {
            height: pixels(rung.size.height),
            width: pixels(rung.size.width),
            frame_rate: rung.rate(video_plan.rate).fps(),
            video_range: rung.range.as_str().to_owned(),
            ..made(&rung.id, Kind::Video)
        });
    }
    for audio in &plan.audio {
        renditions.push(Rendition {
            language: audio.language.clone(),
            channels: pixels(audio.channels),
            ..made(&audio.id, Kind::Audio)
        });
    }
    for text in &plan.subtitles {
        renditions.push(Rendition { language: text.language.clone(), ..made(&text.id, Kind::Subtitles) });
    }
    renditions
}

fn state_message(state: JobState) -> State {
    match state {
        JobState::Queued => State::Queued,
        JobState::Running => State::Running,
        JobState::Succeeded => State::Succeeded,
        JobState::Failed => State::Failed,
        JobState::Cancelled => State::Cancelled,
    }
}
