//! What a worker put, checked and made into rows.

use prost::Message as _;
use reelmill_proto::transcode::{Output, RecordOutputsRequest, ThumbnailSheet, output};

use crate::{
    dispatch::Dispatch,
    domain::{Claims, Role, output_key},
    error::TranscodeError,
    leases::{Leased, shown},
    outputs::attempt,
    store::{Generation, RecordedRow, TaskRow},
};

/// How many outputs one call may record.
const MAX_OUTPUTS: usize = 1000;
/// S3 takes no larger object.
const LARGEST: i64 = 5 << 40;
/// No sheet has more thumbnails, in all or in a row, nor such a wide one.
const LARGEST_SHEET: i32 = 10_000;

impl Dispatch {
    /// Records objects under a lease that holds. Watchers are not told: that is left to the publisher, since
    /// segments come several times a second.
    pub(crate) async fn record_outputs(&self, request: &RecordOutputsRequest) -> Result<(), TranscodeError> {
        if request.outputs.len() > MAX_OUTPUTS {
            return Err(TranscodeError::field("outputs", format!("must be at most {MAX_OUTPUTS}")));
        }
        let (task, lease) = shown(request.lease.as_ref())?;
        let rows = self.rows(&self.leased(&task, lease).await?, &request.outputs).await?;
        let (unit, _) = self.hold_leased(&task, lease).await?;
        unit.record(rows).await?;
        let job = unit.job.id.clone();
        unit.commit_tasks().await?;
        self.publisher.touch(&job);
        Ok(())
    }

    /// The rows of a task's outputs. Made before the job is held, since the plan may have to be read for it.
    pub(crate) async fn rows(
        &self,
        leased: &Leased,
        outputs: &[Output],
    ) -> Result<Vec<RecordedRow>, TranscodeError> {
        if outputs.is_empty() {
            return Ok(Vec::new());
        }
        if !leased.job.planned {
            return Err(TranscodeError::field("outputs", "the job has no plan yet"));
        }
        let planned = self.planned(&Generation::of(&leased.job)).await?;
        rows(&planned.claims(&leased.task), &leased.task, outputs)
    }
}

/// The rows of a task's outputs.
fn rows(claims: &Claims, task: &TaskRow, outputs: &[Output]) -> Result<Vec<RecordedRow>, TranscodeError> {
    let prefix = attempt(task, task.fencing_token);
    outputs
        .iter()
        .map(|made| {
            let wrong = |message: &str| TranscodeError::field("outputs", format!("{}: {message}", made.name));
            let (role, row) = row(task, &prefix, made).map_err(wrong)?;
            if !claims.allow(role, &row.rendition, row.sequence) {
                return Err(wrong("is not this task's to make"));
            }
            Ok(row)
        })
        .collect()
}

fn row(task: &TaskRow, prefix: &str, made: &Output) -> Result<(Role, RecordedRow), &'static str> {
    let uri = output_key(prefix, &made.name).ok_or("is no output's name")?;
    if !(0..=LARGEST).contains(&made.size_bytes) {
        return Err("is of no possible size");
    }
    let mut row = RecordedRow {
        job_id: task.job_id.clone(),
        generation: task.generation,
        rendition: made.rendition_id.clone(),
        role: 0,
        sequence: 0,
        task_id: task.id.clone(),
        uri,
        size_bytes: made.size_bytes,
        start: 0.0,
        seconds: 0.0,
        frames: 0,
        keyframe_bytes: 0,
        codec: String::new(),
        sheet: None,
    };
    let role = match made.role.as_ref().ok_or("has no role")? {
        output::Role::Init(init) => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
            if !(1..=64).contains(&init.codec.len()) || !init.codec.bytes().all(plain) {
                return Err("names no codec");
            }
            row.codec.clone_from(&init.codec);
            Role::Init
        }
        output::Role::Segment(segment) => {
            // Of a text whose source does not say how long it is, that is not known.
            let lasts = segment.seconds.is_finite() && segment.seconds >= 0.0;
            let starts = segment.start_seconds.is_finite() && segment.start_seconds >= 0.0;
            let keyframe = (0..=made.size_bytes).contains(&segment.keyframe_bytes);
            if !lasts || !starts || segment.frames < 0 || !keyframe {
                return Err("is no possible segment");
            }
            row.sequence = segment.sequence;
            (row.start, row.seconds) = (segment.start_seconds, segment.seconds);
            (row.frames, row.keyframe_bytes) = (segment.frames, segment.keyframe_bytes);
            Role::Segment
        }
        output::Role::Progressive(_) => Role::Progressive,
        output::Role::Poster(_) => Role::Poster,
        output::Role::Thumbnails(sheet) => {
            if !is_possible(sheet) {
                return Err("is no possible sheet of thumbnails");
            }
            row.sequence = sheet.sequence;
            row.start = sheet.start_seconds;
            row.sheet = Some(sheet.encode_to_vec());
            Role::Thumbnails
        }
    };
    row.role = role as i32;
    Ok((role, row))
}

fn is_possible(sheet: &ThumbnailSheet) -> bool {
    let numbers = [sheet.count, sheet.columns, sheet.width, sheet.height];
    let starts = sheet.start_seconds.is_finite() && sheet.start_seconds >= 0.0;
    let lasts = sheet.interval_seconds.is_finite() && sheet.interval_seconds > 0.0;
    starts && lasts && numbers.iter().all(|number| (1..=LARGEST_SHEET).contains(number))
}
