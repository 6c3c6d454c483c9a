//! Validates outputs that a worker has uploaded, and converts them for the database.

use reelmill_proto::transcode::{InitSegment, MediaSegment, Output, ThumbnailSheet, output};

use super::lease::LockedTask;
use crate::{
    db::{RecordedOutput, RecordedSheet, TaskRow},
    domain::{AllowedOutputs, OutputKind, attempt_path, output_key},
    error::TranscodeError,
    plans::Plans,
};

/// Largest object of S3, bytes.
const MAX_OBJECT_BYTES: i64 = 5 << 40;
/// Longest codec string, bytes.
const MAX_CODEC_LEN: usize = 64;
/// Most thumbnails of a sheet, in all and in a row, and most pixels of a side of one.
const MAX_SHEET_NUMBER: i32 = 10_000;

/// The outputs of a task, to be recorded.
///
/// # Errors
/// An output is invalid, or not one that the task may record.
pub(super) async fn recorded_outputs(
    plans: &Plans,
    locked: &LockedTask,
    outputs: &[Output],
) -> Result<Vec<RecordedOutput>, TranscodeError> {
    if outputs.is_empty() {
        return Ok(Vec::new());
    }
    if !locked.transaction.job.planned {
        return Err(TranscodeError::field("outputs", "the job has no plan yet"));
    }
    let plan = plans.require_in(&locked.transaction).await?;
    let allowed = plan.allowed_outputs(&locked.task);
    outputs.iter().map(|output| checked_output(&allowed, &locked.task, output)).collect()
}

fn checked_output(
    allowed: &AllowedOutputs,
    task: &TaskRow,
    output: &Output,
) -> Result<RecordedOutput, TranscodeError> {
    let invalid = |message: &str| TranscodeError::field("outputs", format!("{}: {message}", output.name));
    let recorded = recorded_output(task, output).map_err(invalid)?;
    if !allowed.contains(recorded.kind(), &recorded.rendition_id, recorded.sequence) {
        return Err(invalid("does not belong to this task"));
    }
    Ok(recorded)
}

fn recorded_output(task: &TaskRow, output: &Output) -> Result<RecordedOutput, &'static str> {
    let prefix = attempt_path(task.generation, task.task_index, task.fencing_token);
    let uri = output_key(&prefix, &output.name).ok_or("is not a valid name")?;
    if !(0..=MAX_OBJECT_BYTES).contains(&output.size_bytes) {
        return Err("has an invalid size");
    }
    let recorded = |kind: OutputKind| RecordedOutput {
        rendition_id: output.rendition_id.clone(),
        kind: kind.into(),
        uri,
        size_bytes: output.size_bytes,
        ..RecordedOutput::default()
    };
    match output.kind.as_ref().ok_or("has no kind")? {
        output::Kind::Init(init) if !has_valid_codec(init) => Err("has an invalid codec string"),
        output::Kind::Init(init) => {
            Ok(RecordedOutput { codec: init.codec.clone(), ..recorded(OutputKind::Init) })
        }
        output::Kind::Segment(segment) if !is_valid_segment(segment, output.size_bytes) => {
            Err("is not a valid segment")
        }
        output::Kind::Segment(segment) => Ok(RecordedOutput {
            sequence: segment.sequence,
            start_seconds: segment.start_seconds,
            duration_seconds: segment.seconds,
            frames: segment.frames,
            keyframe_bytes: segment.keyframe_bytes,
            ..recorded(OutputKind::Segment)
        }),
        output::Kind::Progressive(_) => Ok(recorded(OutputKind::Progressive)),
        output::Kind::Poster(_) => Ok(recorded(OutputKind::Poster)),
        output::Kind::Thumbnails(sheet) if !is_valid_sheet(sheet) => {
            Err("is not a valid sheet of thumbnails")
        }
        output::Kind::Thumbnails(sheet) => Ok(RecordedOutput {
            sequence: sheet.sequence,
            start_seconds: sheet.start_seconds,
            sheet: Some(recorded_sheet(sheet)),
            ..recorded(OutputKind::Thumbnails)
        }),
    }
}

fn recorded_sheet(sheet: &ThumbnailSheet) -> RecordedSheet {
    let number = |number: i32| u32::try_from(number).unwrap_or(0);
    RecordedSheet {
        interval_seconds: sheet.interval_seconds,
        count: number(sheet.count),
        columns: number(sheet.columns),
        width: number(sheet.width),
        height: number(sheet.height),
    }
}

fn has_valid_codec(init: &InitSegment) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
    (1..=MAX_CODEC_LEN).contains(&init.codec.len()) && init.codec.bytes().all(is_allowed)
}

fn is_valid_segment(segment: &MediaSegment, size_bytes: i64) -> bool {
    // The duration of subtitles is 0 when their source does not state one.
    let is_time = |seconds: f64| seconds.is_finite() && seconds >= 0.0;
    is_time(segment.seconds)
        && is_time(segment.start_seconds)
        && segment.frames >= 0
        && (0..=size_bytes).contains(&segment.keyframe_bytes)
}

fn is_valid_sheet(sheet: &ThumbnailSheet) -> bool {
    let numbers = [sheet.count, sheet.columns, sheet.width, sheet.height];
    let has_start = sheet.start_seconds.is_finite() && sheet.start_seconds >= 0.0;
    let has_interval = sheet.interval_seconds.is_finite() && sheet.interval_seconds > 0.0;
    has_start && has_interval && numbers.iter().all(|number| (1..=MAX_SHEET_NUMBER).contains(number))
}
