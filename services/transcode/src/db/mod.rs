//! The database: jobs, tasks, plans and recorded outputs.

mod connection;
pub(crate) mod entity;
mod job_details;
mod job_transaction;
mod jobs;
pub(crate) mod migration;
mod outputs;
mod tasks;

pub(crate) use self::{
    connection::{Db, Generation},
    entity::{JobRow, OutputRow, RenditionRow, TaskRow, WarningRow},
    job_details::JobDetails,
    job_transaction::JobTransaction,
    jobs::NewJob,
    tasks::{TaskCounts, new_task},
};

#[cfg(test)]
mod tests {
    use reelmill_platform::database::connect;
    use reelmill_testkit::Postgres;
    use rstest::rstest;

    use super::{
        Db, Generation, NewJob,
        entity::{RenditionKind, RenditionState, job::Rungs},
        migration::Migrator,
    };
    use crate::domain::{JobEvent, JobState, TaskKind};

    /// A migrated database that lasts as long as the value.
    struct TestDb {
        db: Db,
        _postgres: Option<Postgres>,
    }

    #[derive(Clone, Copy)]
    enum Backend {
        Sqlite,
        Postgres,
    }

    impl TestDb {
        async fn open(backend: Backend) -> Self {
            let (url, postgres) = match backend {
                Backend::Sqlite => ("sqlite::memory:".to_owned(), None),
                Backend::Postgres => {
                    let postgres = Postgres::start().await.unwrap();
                    (postgres.create_database("transcode").await.unwrap(), Some(postgres))
                }
            };
            Self { db: Db::new(connect::<Migrator>(&url).await.unwrap()), _postgres: postgres }
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
            now: 1,
        }
    }

    #[rstest]
    #[case::sqlite(Backend::Sqlite)]
    #[case::postgres(Backend::Postgres)]
    #[tokio::test]
    async fn create_job_inserts_queued_job_with_prepare_task(#[case] backend: Backend) {
        let test = TestDb::open(backend).await;
        let created = test.db.create_job(new_job("a")).await.unwrap();
        assert_eq!(created.row.state, JobState::Queued);
        assert!(!created.row.planned && created.row.generation == 0 && created.row.playable_time.is_none());
        let [task] = &test.db.startable_tasks(10, "w", "any").await.unwrap()[..] else { panic!("one task") };
        assert_eq!((task.id.as_str(), task.kind), ("ag0t0", TaskKind::Prepare));
        let generation = Generation::of(&created.row);
        assert_eq!(test.db.outputs_size(&generation).await.unwrap(), 0);
        assert_eq!(test.db.running_planned_jobs().await.unwrap(), Vec::<String>::new());
        assert_eq!(test.db.job_details("a").await.unwrap(), Some(created));
    }

    #[rstest]
    #[case::sqlite(Backend::Sqlite)]
    #[case::postgres(Backend::Postgres)]
    #[tokio::test]
    async fn commit_stores_typed_columns_and_child_rows(#[case] backend: Backend) {
        let test = TestDb::open(backend).await;
        test.db.create_job(new_job("a")).await.unwrap();
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
        transaction.insert_plan("{}".to_owned()).await.unwrap();
        let committed = transaction.commit().await.unwrap();
        assert_eq!((committed.row.state, committed.row.start_time), (JobState::Running, Some(5)));
        assert_eq!(committed.row.revision, 2);
        assert_eq!(committed.renditions, [rendition, top], "by position");
        assert_eq!(test.db.job_details("a").await.unwrap(), Some(committed));
        assert_eq!(test.db.running_planned_jobs().await.unwrap(), ["a"]);
        assert_eq!(test.db.jobs_changed_since(1, 10).await.unwrap().len(), 1);
    }

    #[rstest]
    #[case::sqlite(Backend::Sqlite)]
    #[case::postgres(Backend::Postgres)]
    #[tokio::test]
    async fn claim_publication_excludes_other_processes_until_release_or_expiry(#[case] backend: Backend) {
        let test = TestDb::open(backend).await;
        test.db.create_job(new_job("a")).await.unwrap();
        let claim = async |process: &str, now: i64| {
            test.db.claim_publication("a", process, now, now + 30).await.unwrap()
        };
        assert!(claim("one", 0).await && claim("one", 10).await);
        assert!(!claim("two", 39).await);
        assert!(claim("two", 40).await, "it expired");
        test.db.release_publication("a", "one").await.unwrap();
        assert!(!claim("one", 41).await, "another process's claim is not released");
        test.db.release_publication("a", "two").await.unwrap();
        assert!(claim("one", 41).await);
    }
}
