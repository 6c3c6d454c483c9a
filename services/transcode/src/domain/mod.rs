//! The rules of jobs, tasks and outputs: pure functions without I/O.

mod grace;
mod job;
mod names;
mod output;
#[cfg(test)]
pub(crate) mod sample;
mod scheduling;
mod task;
mod tracks;

pub(crate) use self::{
    grace::Grace,
    job::{JobEvent, JobState},
    names::{
        DASH_MANIFEST, HLS_MASTER_PLAYLIST, THUMBNAILS_INDEX, attempt_path, iframe_playlist_name, job_folder,
        job_id, job_name, media_playlist_name, new_task_id, output_key, path_generation, task_name,
        task_name_ids,
    },
    output::{AllowedOutputs, OutputKind},
    scheduling::{
        JobPriority, OwnerLimits, OwnerTasks, RecentJobs, TaskClass, VirtualTime, cost, cost_of_kind,
        work_units_to_create,
    },
    task::{
        Completion, FailureCounts, Lease, LeaseLost, RetryDecision, RetryPlacement, TaskKind, TaskRules,
        TaskState,
    },
    tracks::{TrackView, check_tracks},
};
