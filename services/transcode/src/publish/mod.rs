//! Puts playlists as segments are recorded, and finishes jobs whose tasks are done.
//!
//! Playlists list recorded segments only, from the first on without gaps, so they only ever grow. One process at a
//! time puts a job's playlists, by a claim in the job's row: else an older text could follow a newer one.

mod board;
mod finish;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream, stream::FuturesUnordered};
use reelmill_media::playlists::{Presentation, TrackKind, hls};
use reelmill_proto::transcode::rendition::Kind;
use tokio::{sync::Notify, time::Instant};

use self::board::Board;
use crate::{
    convert::Detail,
    dispatch::Dispatch,
    domain::{JobState, Role},
    error::TranscodeError,
    outputs::{MASTER, folder},
    plans::Planned,
    store::{Generation, JobRow},
};

/// Jobs whose playlists are put at once.
const AT_ONCE: usize = 8;
/// Objects of one job that are put at once.
const PUTS_AT_ONCE: usize = 4;
/// How long one publication may take. Then the claim is kept, so that no other process puts a newer text before a
/// straggling request of this one arrives, and it is tried again.
const LONGEST_PUBLICATION: Duration = Duration::from_secs(10);
/// How long a claim keeps other processes out.
const CLAIM_MS: i64 = 30_000;
/// After a failure.
const RETRY: Duration = Duration::from_secs(2);
/// How often all running jobs are looked at, lest what a crash cut short stays so.
const LOOK_AROUND: Duration = Duration::from_secs(10);
/// The playlists of long videos are large: each so many segments make one more second between two of them.
const SEGMENTS_A_SECOND: f64 = 1000.0;

/// How long a cache may keep what does not grow any more.
const KEPT: &str = "public, max-age=3600";

const PLAYLIST: &str = "application/vnd.apple.mpegurl";

/// Which jobs have something new to be put.
pub(crate) struct Publisher {
    /// Name of this process in claims.
    id: String,
    due: Mutex<Due>,
    woken: Notify,
    boards: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Board>>>>>,
}

#[derive(Default)]
struct Due {
    /// When a job is to be published next.
    at: HashMap<String, Instant>,
    /// Since when a job may be published again.
    free: HashMap<String, Instant>,
    under_way: HashSet<String>,
}

impl Publisher {
    pub(crate) fn new() -> Self {
        Self {
            id: uuid::Uuid::new_v4().simple().to_string(),
            due: Mutex::default(),
            woken: Notify::new(),
            boards: Mutex::default(),
        }
    }

    /// Says that a job has something new.
    pub(crate) fn touch(&self, job: &str) {
        let mut due = self.due();
        let now = Instant::now();
        let at = due.free.get(job).map_or(now, |free| (*free).max(now));
        due.at.entry(job.to_owned()).and_modify(|known| *known = (*known).min(at)).or_insert(at);
        drop(due);
        self.woken.notify_one();
    }

    /// A job that is due and not under way.
    fn take(&self, now: Instant) -> Option<String> {
        let mut due = self.due();
        let ready = due.at.iter().filter(|(job, at)| **at <= now && !due.under_way.contains(*job));
        let job = ready.min_by_key(|(_, at)| **at).map(|(job, _)| job.clone())?;
        due.at.remove(&job);
        due.under_way.insert(job.clone());
        Some(job)
    }

    /// A job was published; not again before `pause` is over.
    fn done(&self, job: &str, pause: Option<Duration>) {
        let mut due = self.due();
        due.under_way.remove(job);
        due.free.remove(job);
        if let Some(pause) = pause {
            let free = Instant::now() + pause;
            due.free.insert(job.to_owned(), free);
            if let Some(at) = due.at.get_mut(job) {
                *at = (*at).max(free);
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        let due = self.due();
        due.at.iter().filter(|(job, _)| !due.under_way.contains(*job)).map(|(_, at)| *at).min()
    }

    fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn board(&self, job: &str) -> Arc<tokio::sync::Mutex<Option<Board>>> {
        let mut boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(boards.entry(job.to_owned()).or_default())
    }

    fn forget(&self, job: &str) {
        self.boards.lock().unwrap_or_else(PoisonError::into_inner).remove(job);
        self.due().free.remove(job);
    }
}

/// Publishes what is due, for ever.
pub(crate) async fn run(dispatch: &Dispatch) {
    tokio::join!(look_around(dispatch), publish_due(dispatch));
}

/// Beside the publications, never between them: one that nobody polls may hold the database that this waits for.
async fn look_around(dispatch: &Dispatch) {
    loop {
        touch_all(dispatch).await;
        tokio::time::sleep(LOOK_AROUND).await;
    }
}

async fn publish_due(dispatch: &Dispatch) {
    let publisher = &dispatch.publisher;
    let mut under_way = FuturesUnordered::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some(job) = publisher.take(Instant::now())
        {
            under_way.push(async move {
                let pause = published(dispatch, &job).await;
                publisher.done(&job, pause);
            });
        }
        let full = under_way.len() >= AT_ONCE;
        let next = publisher.next().filter(|_| !full);
        let due = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
            () = publisher.woken.notified() => {}
            () = due => {}
        }
    }
}

/// Publishes whatever there is, now.
pub(crate) async fn sweep(dispatch: &Dispatch) -> Result<(), TranscodeError> {
    for job in dispatch.store.jobs_under_way().await? {
        publish(dispatch, &job).await?;
    }
    Ok(())
}

async fn touch_all(dispatch: &Dispatch) {
    match dispatch.store.jobs_under_way().await {
        Ok(jobs) => jobs.iter().for_each(|job| dispatch.publisher.touch(job)),
        Err(error) => tracing::warn!(%error, "running jobs could not be looked up; it is repeated"),
    }
}

/// Publishes one job, and says how long it may then rest.
async fn published(dispatch: &Dispatch, job: &str) -> Option<Duration> {
    match publish(dispatch, job).await {
        Ok(pause) => pause,
        Err(error) => {
            tracing::warn!(job, %error, "playlists could not be put; it is repeated");
            dispatch.publisher.touch(job);
            Some(RETRY)
        }
    }
}

/// Puts what is new of a job. None when it has ended.
async fn publish(dispatch: &Dispatch, id: &str) -> Result<Option<Duration>, TranscodeError> {
    let Some(job) = running(dispatch, id).await? else {
        dispatch.publisher.forget(id);
        return Ok(None);
    };
    if !job.planned {
        return Ok(Some(dispatch.config.publish_interval));
    }
    let me = &dispatch.publisher.id;
    let now = dispatch.clock.now_millis();
    if !dispatch.store.claim_publication(id, me, now, now + CLAIM_MS).await? {
        dispatch.publisher.touch(id);
        return Ok(Some(dispatch.config.publish_interval));
    }
    let board = dispatch.publisher.board(id);
    let mut board = board.lock().await;
    let publication = tokio::time::timeout(LONGEST_PUBLICATION, put_new(dispatch, &job, &mut board));
    let done = publication.await.map_err(|_| TranscodeError::StoreSlow)?;
    dispatch.store.release_publication(id, me).await?;
    done.map(Some)
}

async fn running(dispatch: &Dispatch, id: &str) -> Result<Option<JobRow>, TranscodeError> {
    let job = dispatch.store.job(id).await?;
    Ok(job.filter(|job| job.state == JobState::Running as i32))
}

async fn put_new(
    dispatch: &Dispatch,
    job: &JobRow,
    known: &mut Option<Board>,
) -> Result<Duration, TranscodeError> {
    let generation = Generation::of(job);
    let planned = dispatch.planned(&generation).await?;
    // First how far the tasks are: what a finished task recorded is then surely seen.
    let stage = dispatch.store.stage(&generation).await?;
    let board = match known {
        Some(board) if board.generation == generation => board,
        _ => known.insert(Board::new(generation, &planned)),
    };
    board.refresh(&dispatch.store).await?;
    if stage.encoding == 0 {
        finish::settle(dispatch, job, &planned, board, stage).await?;
    } else {
        grow(dispatch, job, &planned, board).await?;
    }
    let pause = dispatch.config.publish_interval.as_secs_f64() + board.longest() as f64 / SEGMENTS_A_SECOND;
    Ok(Duration::from_secs_f64(pause))
}

/// Puts growing playlists, and tells watchers of what became playable.
async fn grow(
    dispatch: &Dispatch,
    job: &JobRow,
    planned: &Planned,
    board: &mut Board,
) -> Result<(), TranscodeError> {
    let presentation = board.presentation(false);
    let is_playable = is_playable(dispatch, planned, board).await?;
    put_playlists(dispatch, job, board, &presentation, is_playable).await?;
    let ready: Vec<_> = presentation
        .tracks
        .iter()
        .map(|track| (track.id.clone(), i64::try_from(track.segments.len()).unwrap_or(i64::MAX)))
        .collect();
    let poster = poster(dispatch, job, board).await?;
    let news = is_playable && (job.playable_at.is_none() || first_heard(job, &ready)?);
    let is_told = news || poster.is_some();
    if is_told || Detail::of(job)?.published(&ready) {
        let mut unit = dispatch.store.hold(&job.id).await?;
        if !unit.is_open() || unit.job.generation != job.generation {
            return Ok(());
        }
        let mut detail = Detail::of(&unit.job)?;
        detail.published(&ready);
        unit.job.detail = detail.stored();
        if is_playable {
            unit.job.playable_at.get_or_insert(dispatch.clock.now_millis());
            MASTER.clone_into(&mut unit.job.master_playlist);
        }
        if let Some(poster) = poster {
            unit.job.poster = poster;
        }
        if is_told {
            unit.job.recorded_prefix = folder(job);
            dispatch.commit(unit).await?;
        } else {
            unit.note().await?;
        }
    }
    dispatch.tracker.published(&job.id, &ready);
    Ok(())
}

/// Whether a rendition is in the playlists of which watchers were not told.
fn first_heard(job: &JobRow, ready: &[(String, i64)]) -> Result<bool, TranscodeError> {
    let mut detail = Detail::of(job)?;
    Ok(detail.renditions().iter().any(|rendition| {
        let told = rendition.progress.is_some_and(|progress| progress.segments_ready > 0);
        let counts = rendition.kind() == Kind::Video || rendition.kind() == Kind::Audio;
        counts && !told && ready.iter().any(|(id, _)| *id == rendition.rendition_id)
    }))
}

/// Whether somebody who starts now sees and hears something.
async fn is_playable(dispatch: &Dispatch, planned: &Planned, board: &Board) -> Result<bool, TranscodeError> {
    let listed = |wanted: fn(&TrackKind) -> bool| {
        board.tracks.iter().any(|track| track.is_listed() && wanted(&track.track.kind))
    };
    let is_seen = listed(|kind| matches!(kind, TrackKind::Video { .. }));
    let is_heard = listed(|kind| matches!(kind, TrackKind::Audio { .. }));
    if planned.plan.video.is_some() && !is_seen || planned.plan.video.is_none() && !is_heard {
        return Ok(false);
    }
    let Some(audio) = planned.default_audio() else { return Ok(true) };
    if board.listed(&planned.plan.audio[audio].id).is_some() {
        return Ok(true);
    }
    // Sound that could not be made is not waited for.
    let made = dispatch.store.made(&board.generation).await?;
    Ok(planned.work_unit_of_audio(audio).is_some_and(|work_unit| made.contains(&work_unit)))
}

/// The poster's address, when the job does not have it yet.
async fn poster(dispatch: &Dispatch, job: &JobRow, board: &Board) -> Result<Option<String>, TranscodeError> {
    if job.recorded_prefix == folder(job) && !job.poster.is_empty() {
        return Ok(None);
    }
    let recorded = dispatch.store.recorded(&board.generation, Role::Poster).await?;
    Ok(recorded.into_iter().next().map(|row| row.uri))
}

/// Puts the playlists that changed, the master after those it names. Before the video is playable there is none.
async fn put_playlists(
    dispatch: &Dispatch,
    job: &JobRow,
    board: &mut Board,
    presentation: &Presentation,
    with_master: bool,
) -> Result<(), TranscodeError> {
    let media = presentation.tracks.iter().flat_map(|track| {
        let iframes = hls::iframes(track).map(|text| (track.iframe_playlist(), text));
        std::iter::once((track.playlist(), hls::media(track))).chain(iframes)
    });
    let kept = presentation.complete.then_some(KEPT);
    put_changed(dispatch, job, board, media.collect(), PLAYLIST, kept).await?;
    if with_master {
        let master = vec![(MASTER.to_owned(), hls::master(presentation))];
        put_changed(dispatch, job, board, master, PLAYLIST, kept).await?;
    }
    Ok(())
}

async fn put_changed(
    dispatch: &Dispatch,
    job: &JobRow,
    board: &mut Board,
    texts: Vec<(String, String)>,
    content_type: &str,
    cache_control: Option<&str>,
) -> Result<(), TranscodeError> {
    let changed: Vec<_> =
        texts.into_iter().filter(|(name, text)| board.differs(name, text, cache_control)).collect();
    let folder = &folder(job);
    let mut puts = stream::iter(changed)
        .map(|(name, text)| async move {
            let bytes = Bytes::from(text.clone());
            let key = format!("{folder}{name}");
            let put = dispatch.objects.put_cached(&key, bytes, content_type, cache_control).await;
            put.map(|()| (name, text))
        })
        .buffer_unordered(PUTS_AT_ONCE);
    // Noted one by one: what is cut short goes on from there.
    while let Some((name, text)) = puts.try_next().await? {
        board.was_put(name, &text, cache_control);
    }
    Ok(())
}
