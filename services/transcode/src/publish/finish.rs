//! What follows once every share of a plan is made: a verdict, the final playlists, files to download, the end.

use std::collections::HashMap;

use prost::Message as _;
use reelmill_media::{
    geometry::Size,
    playlists::{
        Bandwidth, TrackKind, dash,
        thumbnails::{self, Sheet},
    },
};
use reelmill_proto::transcode::{
    Progress, Rendition, ThumbnailSheet, Warning, WatchJobsResponse, rendition::State,
};

use super::{Board, KEPT, board::BoardTrack, put_changed, put_playlists};
use crate::{
    convert::Detail,
    dispatch::Dispatch,
    domain::{JobEvent, Role, TaskKind, verdict},
    error::TranscodeError,
    outputs::{MANIFEST, MASTER, THUMBNAILS, folder},
    plans::Planned,
    store::{Generation, JobRow, JobUnit, Stage, TaskRow, new_task},
};

/// After the first looks at new uploads, before the bulk of long videos.
const PACKAGE_PRIORITY: i32 = 1;

/// Ends a job whose shares are all made, or makes the tasks that are still missing.
pub(super) async fn settle(
    dispatch: &Dispatch,
    job: &JobRow,
    planned: &Planned,
    board: &mut Board,
    stage: Stage,
) -> Result<(), TranscodeError> {
    let warnings = match verdict(&planned.plan, &board.made()) {
        Ok(warnings) => warnings,
        Err(unusable) => {
            if let Some(unit) = hold(dispatch, job).await? {
                dispatch.fail_job(unit, unusable.reason.as_str_name(), &unusable.message).await?;
            }
            return Ok(());
        }
    };
    let sheets = sheets(dispatch, &board.generation).await?;
    put_final(dispatch, job, board, &sheets).await?;
    let files = files(dispatch, &board.generation).await?;
    let missing = if stage.packages == 0 { unpackaged(planned, board, &files) } else { Vec::new() };
    if !missing.is_empty() {
        return package(dispatch, job, planned, &missing, &warnings).await;
    }
    if stage.packaging > 0 {
        return Ok(());
    }
    let poster = dispatch.store.recorded(&board.generation, Role::Poster).await?.into_iter().next();
    let size = dispatch.store.recorded_size(&board.generation).await?;
    let Some(mut unit) = hold(dispatch, job).await? else { return Ok(()) };
    let now_open = unit.stage().await?;
    if now_open.encoding + now_open.packaging > 0 {
        return Ok(());
    }
    unit.job.output_size_bytes = size;
    unit.job.poster = poster.map(|row| row.uri).unwrap_or_default();
    keep_final(dispatch, &mut unit, planned, board, (&files, !sheets.is_empty()), &warnings)?;
    unit.advance(JobEvent::AllTasksSucceeded, dispatch.clock.now_millis());
    dispatch.commit(unit).await.map(drop)
}

/// The job, if it is still the one that was looked at.
async fn hold(dispatch: &Dispatch, job: &JobRow) -> Result<Option<JobUnit>, TranscodeError> {
    let unit = dispatch.store.hold(&job.id).await?;
    Ok((unit.is_open() && unit.job.generation == job.generation).then_some(unit))
}

/// Puts the playlists as they stay.
async fn put_final(
    dispatch: &Dispatch,
    job: &JobRow,
    board: &mut Board,
    sheets: &[Sheet],
) -> Result<(), TranscodeError> {
    let presentation = board.presentation(true);
    put_playlists(dispatch, job, board, &presentation, true).await?;
    let manifest = vec![(MANIFEST.to_owned(), dash::manifest(&presentation))];
    put_changed(dispatch, job, board, manifest, "application/dash+xml", Some(KEPT)).await?;
    if !sheets.is_empty() {
        let index = vec![(THUMBNAILS.to_owned(), thumbnails::webvtt(sheets))];
        put_changed(dispatch, job, board, index, "text/vtt", Some(KEPT)).await?;
    }
    Ok(())
}

/// The recorded sheets of thumbnails, in the order of their time.
async fn sheets(dispatch: &Dispatch, of: &Generation) -> Result<Vec<Sheet>, TranscodeError> {
    let mut sheets = Vec::new();
    for row in dispatch.store.recorded(of, Role::Thumbnails).await? {
        let sheet = ThumbnailSheet::decode(row.sheet.as_deref().unwrap_or_default())?;
        let number = |number: i32| u32::try_from(number).unwrap_or(0);
        sheets.push(Sheet {
            uri: row.uri,
            start: sheet.start_seconds,
            interval: sheet.interval_seconds,
            count: number(sheet.count),
            columns: number(sheet.columns),
            tile: Size { width: number(sheet.width), height: number(sheet.height) },
        });
    }
    sheets.sort_by(|a, b| a.start.total_cmp(&b.start));
    Ok(sheets)
}

/// Address and size of each progressive file, by rendition.
type Files = HashMap<String, (String, i64)>;

async fn files(dispatch: &Dispatch, of: &Generation) -> Result<Files, TranscodeError> {
    let rows = dispatch.store.recorded(of, Role::Progressive).await?;
    Ok(rows.into_iter().map(|row| (row.rendition, (row.uri, row.size_bytes))).collect())
}

/// The renditions that have no file yet: the rungs, or where sound is all there is the one to play first.
fn unpackaged(planned: &Planned, board: &Board, files: &Files) -> Vec<String> {
    let wanted: Vec<&str> = match &planned.plan.video {
        Some(video_plan) => video_plan.rungs.iter().map(|rung| rung.id.as_str()).collect(),
        None => sound(planned, board).map(|track| track.track.id.as_str()).into_iter().collect(),
    };
    let missing = |id: &&str| board.listed(id).is_some() && !files.contains_key(*id);
    wanted.into_iter().filter(missing).map(str::to_owned).collect()
}

/// The sound that is played unless the viewer chooses: the default, else the first there is.
fn sound<'a>(planned: &Planned, board: &'a Board) -> Option<&'a BoardTrack> {
    let default = planned.default_audio().and_then(|place| board.listed(&planned.plan.audio[place].id));
    let any = || {
        let is_sound = |track: &&BoardTrack| matches!(track.track.kind, TrackKind::Audio { .. });
        board.tracks.iter().filter(is_sound).find(|track| track.is_listed())
    };
    default.or_else(any)
}

/// Makes a PACKAGE task for each rendition, so that workers share them.
async fn package(
    dispatch: &Dispatch,
    job: &JobRow,
    planned: &Planned,
    renditions: &[String],
    warnings: &[Warning],
) -> Result<(), TranscodeError> {
    let Some(mut unit) = hold(dispatch, job).await? else { return Ok(()) };
    let stage = unit.stage().await?;
    if stage.encoding + stage.packages > 0 {
        return Ok(());
    }
    let now = dispatch.clock.now_millis();
    let first = i32::try_from(planned.plan.work_units.len()).unwrap_or(i32::MAX);
    let generation = Generation::of(&unit.job);
    let tasks = (0..).zip(renditions).map(|(place, rendition)| TaskRow {
        priority: PACKAGE_PRIORITY,
        rendition: rendition.clone(),
        send_due: now + i64::from(place),
        ..new_task(&generation, TaskKind::Package, first + place, now)
    });
    unit.add_tasks(tasks.collect()).await?;
    let mut detail = Detail::of(&unit.job)?;
    detail.conclude(warnings);
    unit.job.detail = detail.stored();
    played(dispatch, &mut unit);
    dispatch.commit(unit).await.map(drop)
}

/// Notes that the job can be played.
fn played(dispatch: &Dispatch, unit: &mut JobUnit) {
    unit.job.playable_at.get_or_insert(dispatch.clock.now_millis());
    unit.job.recorded_prefix = folder(&unit.job);
    MASTER.clone_into(&mut unit.job.master_playlist);
}

/// Notes what there is in the end.
fn keep_final(
    dispatch: &Dispatch,
    unit: &mut JobUnit,
    planned: &Planned,
    board: &Board,
    (files, has_thumbnails): (&Files, bool),
    warnings: &[Warning],
) -> Result<(), TranscodeError> {
    played(dispatch, unit);
    let folder = folder(&unit.job);
    let keys = WatchJobsResponse {
        dash_manifest_key: format!("{folder}{MANIFEST}"),
        thumbnails_key: if has_thumbnails { format!("{folder}{THUMBNAILS}") } else { String::new() },
        download_keys: files.iter().map(|(id, (uri, _))| (id.clone(), format!("{folder}{uri}"))).collect(),
        ..WatchJobsResponse::default()
    };
    unit.job.keys = Some(keys.encode_to_vec());
    let mut detail = Detail::of(&unit.job)?;
    detail.conclude(warnings);
    let heard = sound(planned, board);
    detail.renditions().retain(|rendition| board.listed(&rendition.rendition_id).is_some());
    for rendition in detail.renditions() {
        if let Some(track) = board.listed(&rendition.rendition_id) {
            let size = files.get(&rendition.rendition_id).map_or_else(|| bytes(track), |(_, size)| *size);
            measure(rendition, track, heard, size);
        }
    }
    let reached: Vec<_> = detail.renditions().iter().filter_map(|rendition| rendition.progress).collect();
    *detail.progress() = Progress {
        percent: 100.0,
        frames: reached.iter().map(|progress| progress.frames).max().unwrap_or(0),
        segments_ready: reached.iter().map(|progress| progress.segments_ready).max().unwrap_or(0),
        ..Progress::default()
    };
    let length = board.tracks.iter().filter(|track| track.is_listed()).map(seconds).fold(0.0, f64::max);
    detail.measured(length);
    unit.job.detail = detail.stored();
    Ok(())
}

/// Bytes of a track's segments.
fn bytes(track: &BoardTrack) -> i64 {
    let bytes = track.track.segments.iter().map(|segment| segment.bytes).sum::<u64>();
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// When a track of picture or sound ends.
fn seconds(track: &BoardTrack) -> f64 {
    let is_text = matches!(track.track.kind, TrackKind::Subtitles { .. });
    let last = track.track.segments.last().filter(|_| !is_text);
    last.map_or(0.0, |last| last.start + last.seconds)
}

/// What is measured of a rendition that is done.
fn measure(rendition: &mut Rendition, track: &BoardTrack, heard: Option<&BoardTrack>, file_size: i64) {
    let mut bandwidth = Bandwidth::of(&track.track.segments);
    let mut codecs = track.track.codec.clone();
    if let Some(heard) = heard.filter(|_| matches!(track.track.kind, TrackKind::Video { .. })) {
        bandwidth = bandwidth.with(Bandwidth::of(&heard.track.segments));
        codecs = format!("{codecs},{}", heard.track.codec);
    }
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    rendition.set_state(State::Ready);
    rendition.codecs = codecs;
    rendition.bandwidth_bps = number(bandwidth.peak);
    rendition.average_bandwidth_bps = number(bandwidth.average);
    rendition.size_bytes = file_size;
    rendition.progress = Some(Progress {
        percent: 100.0,
        frames: track.frames.iter().map(|frames| i64::from(*frames)).sum(),
        segments_ready: number(track.track.segments.len() as u64),
        ..Progress::default()
    });
}
