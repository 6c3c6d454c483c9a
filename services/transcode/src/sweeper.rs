//! Repeats what a crash, a lost message or a lost worker cut short.

use reelmill_proto::Reason;
use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use crate::{
    convert::Detail,
    dispatch::Dispatch,
    domain::{JobState, TaskKind, TaskState, Verdict},
    error::TranscodeError,
    outputs::{MANIFEST, MASTER, THUMBNAILS, folder},
    publish,
    store::{Generation, JobRow, TaskRow},
};

/// The longest sleep: what other replicas queued is seen at least this soon.
const LONGEST: Duration = Duration::from_secs(5);
/// The shortest, so that a task that can't be sent does not spin.
const SHORTEST: Duration = Duration::from_millis(250);
/// Signed addresses of a lost attempt may be used for a while: the store is swept again then.
const SECOND_SWEEP_MS: i64 = 20 * 60_000;
/// Messages sent at once: a long video has more than a thousand tasks.
const SENDS_AT_ONCE: usize = 8;
/// Tasks looked up at once to be sent.
const SENDS_A_ROUND: u64 = 200;

/// Works until `shutdown`.
pub(crate) async fn run(dispatch: Arc<Dispatch>, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = watch_tasks(&dispatch) => {}
        () = clean_up(&dispatch) => {}
        () = publish::run(&dispatch) => {}
    }
}

async fn watch_tasks(dispatch: &Dispatch) {
    // Leases that ran out while this role, or its database, was away say nothing of their workers: those
    // get the time of one lease to come back.
    let mut mercy_until = dispatch.clock.now_millis() + dispatch.lease_ms();
    loop {
        let merciful = dispatch.clock.now_millis() < mercy_until;
        let sleep = match sweep_tasks(dispatch, merciful).await {
            Ok(sleep) => sleep,
            Err(error) => {
                tracing::warn!(%error, "the sweep failed; it is repeated");
                mercy_until = dispatch.clock.now_millis() + dispatch.lease_ms();
                LONGEST
            }
        };
        tokio::select! {
            () = dispatch.woken.notified() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// Apart from the tasks: a store that hangs must not keep them waiting.
async fn clean_up(dispatch: &Dispatch) {
    loop {
        if let Err(error) = sweep_store(dispatch).await {
            tracing::warn!(%error, "cleaning up failed; it is repeated");
        }
        tokio::select! {
            () = dispatch.ended.notified() => {}
            () = tokio::time::sleep(LONGEST) => {}
        }
    }
}

/// Does all that is due, once.
pub(crate) async fn sweep(dispatch: &Dispatch) -> Result<(), TranscodeError> {
    sweep_tasks(dispatch, false).await?;
    publish::sweep(dispatch).await?;
    // What a job's end left to be sent or removed.
    sweep_tasks(dispatch, false).await?;
    sweep_store(dispatch).await
}

/// Ends leases, sends tasks, and says how long there is nothing more to do.
async fn sweep_tasks(dispatch: &Dispatch, merciful: bool) -> Result<Duration, TranscodeError> {
    let now = dispatch.clock.now_millis();
    if !merciful {
        for task in dispatch.store.tasks_expired(now).await? {
            note(&task.job_id, expire(dispatch, &task, now).await);
        }
    }
    loop {
        let due = dispatch.store.tasks_to_send(now, SENDS_A_ROUND).await?;
        let is_last = (due.len() as u64) < SENDS_A_ROUND;
        // A queue that is away for one is away for all.
        let sent =
            stream::iter(due).map(async |task| dispatch.send(&task).await).buffer_unordered(SENDS_AT_ONCE);
        sent.try_collect::<()>().await?;
        if is_last {
            break;
        }
    }
    let due = dispatch.store.next_due().await?;
    let wait = due.map_or(LONGEST, |due| Duration::from_millis(u64::try_from(due - now).unwrap_or(0)));
    Ok(wait.clamp(SHORTEST, LONGEST))
}

async fn sweep_store(dispatch: &Dispatch) -> Result<(), TranscodeError> {
    let now = dispatch.clock.now_millis();
    for job in dispatch.store.jobs_to_clean(now).await? {
        note(&job.id, clean(dispatch, &job, now).await);
    }
    Ok(())
}

/// One job's trouble is no other's.
fn note(job: &str, done: Result<(), TranscodeError>) {
    if let Err(error) = done {
        tracing::warn!(job, %error, "a job could not be swept; it is repeated");
    }
}

/// Ends a lease that ran out: the task is queued again, or its job fails.
async fn expire(dispatch: &Dispatch, seen: &TaskRow, now: i64) -> Result<(), TranscodeError> {
    let unit = dispatch.store.hold(&seen.job_id).await?;
    let (mut row, task) = unit.task(&seen.id).await?;
    if task.state != TaskState::Running || task.lease_expires_at > now {
        return Ok(());
    }
    tracing::info!(job = row.job_id, worker = row.worker, failures = row.failures, "a worker was lost");
    match task.retry(dispatch.config.max_failures) {
        Verdict::GiveUp if row.kind == TaskKind::Package as i32 => dispatch.do_without(unit, row).await,
        Verdict::GiveUp => {
            let message = "the machines that worked at this video were lost again and again; \
                           the file may be more than they can bear";
            dispatch.fail_job(unit, Reason::WorkerLost.as_str_name(), message).await
        }
        Verdict::Retry { failures, delay_ms } => {
            row.state = TaskState::Queued as i32;
            row.failures = failures;
            row.ready_at = now + delay_ms;
            row.send_due = row.ready_at;
            row.sends = 0;
            unit.save_task(row).await?;
            unit.commit_tasks().await
        }
    }
}

/// Removes what an ended job left in the store and nobody plays.
async fn clean(dispatch: &Dispatch, job: &JobRow, now: i64) -> Result<(), TranscodeError> {
    let root = folder(job);
    if job.state != JobState::Succeeded as i32 {
        dispatch.objects.delete_prefix(&root).await?;
        dispatch.store.forget_recorded(&job.id).await?;
    } else if job.planned {
        let kept = kept(dispatch, job).await?;
        let is_kept = |key: &str| key.strip_prefix(&root).is_some_and(|name| kept.contains(name));
        dispatch.objects.delete_unless(&root, is_kept).await?;
    } else {
        // From version 0.1, where one attempt made it all.
        dispatch.objects.delete_unless(&root, |key| key.starts_with(&job.recorded_prefix)).await?;
    }
    let first_time = job.cleanup_due.is_some_and(|due| Some(due) == job.ended_at);
    dispatch.store.cleaned(job, first_time.then_some(now + SECOND_SWEEP_MS)).await
}

/// The names below a finished job's folder that are played: what is recorded, and the playlists that name it.
async fn kept(dispatch: &Dispatch, job: &JobRow) -> Result<HashSet<String>, TranscodeError> {
    let uris = dispatch.store.recorded_uris(&Generation::of(job)).await?;
    let mut kept: HashSet<String> = uris.into_iter().collect();
    kept.extend([MASTER, MANIFEST, THUMBNAILS].map(str::to_owned));
    for rendition in Detail::of(job)?.renditions() {
        let id = &rendition.rendition_id;
        kept.extend([format!("{id}.m3u8"), format!("{id}.iframes.m3u8")]);
    }
    Ok(kept)
}
