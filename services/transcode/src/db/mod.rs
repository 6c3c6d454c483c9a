//! The database: jobs, tasks, plans and recorded outputs.

mod admin;
mod connection;
mod dispatch;
mod dispatch_sql;
pub(crate) mod entity;
mod index_ranges;
mod job_details;
mod job_transaction;
mod jobs;
pub(crate) mod migration;
mod queue_position;
mod recorded_outputs;
mod revisions;
mod stored_outputs;
mod tasks;
#[cfg(test)]
pub(crate) mod test_db;
mod workers;

pub(crate) use self::{
    connection::{Db, Generation},
    dispatch::{LeaseRequest, QueuedTask},
    entity::{JobRow, RenditionRow, TaskRow, WarningRow, WorkerRow},
    job_details::JobDetails,
    job_transaction::JobTransaction,
    jobs::{JobFilter, NewJob},
    recorded_outputs::ReadParts,
    revisions::ShardRevisions,
    stored_outputs::{RecordedOutput, RecordedSheet},
    tasks::{TaskCounts, new_task},
};

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{
        LeaseRequest, NewJob, QueuedTask,
        entity::{RenditionKind, RenditionState, job::Rungs},
        test_db::{Backend, TestDb},
    };
    use crate::domain::{
        JobEvent, JobPriority, JobState, Lease, OwnerLimits, TaskClass, TaskKind, TaskState,
    };

    const NOW: i64 = 1_700_000_000_000;
    const LIMITS: OwnerLimits = OwnerLimits { queued: 16, running: None, started_jobs: 16 };

    fn lease_request(nonce: &str) -> LeaseRequest<'_> {
        LeaseRequest {
            class: TaskClass::Express,
            worker: "w",
            encoder_build: "any build",
            nonce,
            lease_ttl_ms: 15_000,
        }
    }

    fn new_job(id: &str) -> NewJob {
        NewJob {
            id: id.to_owned(),
            video: format!("videos/{id}"),
            owner: "ann".to_owned(),
            request_id: id.to_owned(),
            source_key: "k".to_owned(),
            source_size_bytes: 9,
            output_prefix: "o/".to_owned(),
            options: None,
            priority: JobPriority::Normal,
            now: 1,
        }
    }

    #[rstest]
    #[case::sqlite(Backend::Sqlite)]
    #[case::postgres(Backend::Postgres)]
    #[tokio::test]
    async fn create_job_inserts_queued_job_with_prepare_task(#[case] backend: Backend) {
        let test = TestDb::open(backend, NOW).await;
        let created = test.db.create_job(new_job("a")).await.unwrap();
        assert_eq!(created.row.state, JobState::Queued);
        assert!(!created.row.planned && created.row.generation == 0 && created.row.playable_time.is_none());
        assert_eq!(test.db.lease(lease_request("n1")).await.unwrap(), None, "it waits to be queued");
        assert_eq!(test.db.next_waiting_owner("").await.unwrap().as_deref(), Some("ann"));
        let queued = test.db.queue_tasks("ann", LIMITS).await.unwrap();
        assert_eq!(queued, [QueuedTask { class: TaskClass::Express, required_build: String::new() }]);
        let task = test.db.lease(lease_request("n1")).await.unwrap().expect("a task");
        assert_eq!((task.id.as_str(), task.kind, task.fencing_token), ("ag0t0", TaskKind::Prepare, 1));
        assert_eq!((task.state, task.lease_expire_time), (TaskState::Running, NOW + 15_000));
        assert_eq!(test.db.lease(lease_request("n2")).await.unwrap(), None);
        assert_eq!(test.db.running_planned_jobs("").await.unwrap(), Vec::<String>::new());
        assert_eq!(test.db.job_details("a").await.unwrap(), Some(created));
    }

    #[rstest]
    #[case::sqlite(Backend::Sqlite)]
    #[case::postgres(Backend::Postgres)]
    #[tokio::test]
    async fn commit_stores_typed_columns_and_child_rows(#[case] backend: Backend) {
        let test = TestDb::open(backend, NOW).await;
        let created = test.db.create_job(new_job("a")).await.unwrap();
        let mut transaction = test.db.lock_job("a").await.unwrap();
        assert!(transaction.advance(JobEvent::TaskStarted, 5));
        transaction.job.option_rungs = Some(Rungs(vec![720, 480]));
        transaction.job.option_keep_hdr = Some(true);
        let rendition = super::RenditionRow {
            job_id: "a".to_owned(),
            rendition_id: "720p".to_owned(),
            position: 0,
            kind: RenditionKind::Video,
            state: RenditionState::Encoding,
            width: 1280,
            height: 720,
            frame_rate: 29.97,
            video_range: "SDR".to_owned(),
            language: String::new(),
            channels: 0,
            codecs: String::new(),
            bandwidth_bps: 0,
            average_bandwidth_bps: 0,
            size_bytes: 0,
            download_key: String::new(),
            progress_percent: 1.5,
            progress_frames: 3,
            progress_segments_ready: 1,
        };
        let top = super::RenditionRow { rendition_id: "1080p".to_owned(), position: 1, ..rendition.clone() };
        transaction.replace_renditions(vec![top.clone(), rendition.clone()]).await.unwrap();
        transaction.insert_plan("{}".to_owned(), 1).await.unwrap();
        let committed = transaction.commit().await.unwrap();
        assert_eq!((committed.row.state, committed.row.start_time), (JobState::Running, Some(5)));
        assert_eq!(committed.row.revision, 2);
        assert_eq!(committed.renditions, [rendition, top], "by position");
        assert_eq!(test.db.job_details("a").await.unwrap(), Some(committed));
        assert_eq!(test.db.running_planned_jobs("").await.unwrap(), ["a"]);
        let shard = created.row.shard;
        assert_eq!(test.db.jobs_changed_since(shard, 1, 10).await.unwrap().len(), 1);
    }

    #[rstest]
    #[case::sqlite(Backend::Sqlite)]
    #[case::postgres(Backend::Postgres)]
    #[tokio::test]
    async fn claim_publication_excludes_other_processes_until_release_or_expiry(#[case] backend: Backend) {
        let test = TestDb::open(backend, NOW).await;
        test.db.create_job(new_job("a")).await.unwrap();
        let claim = async |process: &str, now: i64| {
            test.db.claim_publication("a", process, now, now + 30).await.unwrap()
        };
        assert!(claim("one", 0).await && claim("one", 10).await);
        assert!(!claim("two", 39).await);
        assert!(claim("two", 40).await, "it expired");
        test.db.release_publication("a", "one", None).await.unwrap();
        assert!(!claim("one", 41).await, "another process's claim is not released");
        test.db.release_publication("a", "two", None).await.unwrap();
        assert!(claim("one", 41).await);
    }

    #[rstest]
    #[case::sqlite(Backend::Sqlite)]
    #[case::postgres(Backend::Postgres)]
    #[tokio::test]
    async fn renew_and_shorten_change_the_current_lease_only(#[case] backend: Backend) {
        let test = TestDb::open(backend, NOW).await;
        test.db.create_job(new_job("a")).await.unwrap();
        test.db.queue_tasks("ann", LIMITS).await.unwrap();
        let task = test.db.lease(lease_request("n1")).await.unwrap().unwrap();
        let current = Lease { fencing_token: 1 };
        let renewed = test.db.renew(&task.id, current, 20_000).await.unwrap().expect("renewed");
        assert_eq!(renewed.lease_expire_time, NOW + 20_000);
        assert_eq!(test.db.renew(&task.id, Lease { fencing_token: 0 }, 20_000).await.unwrap(), None);
        let shorten =
            async |lease, known, ttl_ms| test.db.shorten(&task.id, lease, known, ttl_ms).await.unwrap();
        assert!(!shorten(current, NOW + 15_000, 4000).await, "it was renewed since");
        assert!(!shorten(current, NOW + 20_000, 30_000).await, "it would not be shorter");
        assert!(!shorten(Lease { fencing_token: 0 }, NOW + 20_000, 4000).await);
        assert!(shorten(current, NOW + 20_000, 4000).await);
        assert_eq!(test.db.next_task_time().await.unwrap(), Some(NOW + 4000));
    }

    /// The statements that lease a task read one range of an index, however many tasks there are.
    #[rstest]
    #[case::sqlite(Backend::Sqlite)]
    #[case::postgres(Backend::Postgres)]
    #[tokio::test]
    async fn lease_reads_the_index_of_its_order(#[case] backend: Backend) {
        let test = TestDb::open(backend, NOW).await;
        test.db.create_job(new_job("a")).await.unwrap();
        test.db.multiply_tasks(20_000).await;
        let plan = test.db.explain_lease(lease_request("n1")).await;
        assert!(plan.contains("tasks_by_start"), "{plan}");
        for scan in ["Seq Scan on tasks", "Bitmap", "SCAN tasks", "Sort Key: tasks"] {
            assert!(!plan.contains(scan), "{scan}: {plan}");
        }
    }
}
