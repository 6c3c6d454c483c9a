//! Applies the same random operations to the ledger and to the real database, and compares what they do.

mod columns;

use std::time::Duration;

use rstest::rstest;

use self::columns::{build_name, job_id, ledger_columns, owner_name, real_columns, real_id, worker_text};
use super::{Build, GiveUpCause, LeaseRequest as LedgerRequest, Ledger, Presented};
use crate::{
    db::{
        LeaseRequest, NewJob, TaskRow, new_task,
        test_db::{Backend, TestDb},
    },
    domain::{
        JobEvent, JobPriority, JobState, Lease, OwnerLimits, RetryDecision, RetryPlacement, TaskClass,
        TaskKind, TaskState,
    },
    simulation::{
        guards::Guards,
        job_spec::{FileFault, JobSpec},
        random::Random,
    },
};
use reelmill_proto::transcode::FailureCause;

const NOW: i64 = 1_700_000_000_000;
const OWNERS: u32 = 3;
const LEASE_TTL_MS: i64 = 15_000;
const MAX_FAILURES: i32 = 3;
/// Low limits, so that tasks wait.
const LIMITS: OwnerLimits = OwnerLimits { queued: 4, running: Some(9), started_jobs: 3 };

/// The ledger and the real database, with the same rows.
struct Pair {
    real: TestDb,
    ledger: Ledger,
    random: Random,
    jobs: u32,
    nonces: u64,
    /// Leases that were granted, also those that were lost since.
    leases: Vec<Presented>,
}

impl Pair {
    async fn open(backend: Backend, seed: u64) -> Self {
        Self {
            real: TestDb::open(backend, NOW).await,
            ledger: Ledger::new(Guards::default(), OWNERS),
            random: Random::new(seed),
            jobs: 0,
            nonces: 0,
            leases: Vec::new(),
        }
    }

    /// Applies one operation to both sides.
    async fn step(&mut self) {
        match self.random.below(20) {
            0..2 => self.create_job().await,
            2..6 => self.queue().await,
            6..11 => self.lease().await,
            11 => self.renew_or_shorten().await,
            12..14 => self.plan_or_complete().await,
            14 => self.complete().await,
            15 => self.fail().await,
            16 => self.expire().await,
            17 => self.end_delays().await,
            18 => self.prioritize().await,
            _ => self.cancel_rarely().await,
        }
        self.real.advance(Duration::from_millis(self.random.next() % 700));
        assert_eq!(self.real.db.next_task_time().await.unwrap(), self.ledger.next_task_time());
    }

    async fn create_job(&mut self) {
        let owner = self.random.below(OWNERS as usize) as u32;
        let priorities = [JobPriority::High, JobPriority::Normal, JobPriority::Low];
        let priority = priorities[self.random.below(3)];
        let number = self.ledger.create_job(JobSpec {
            owner,
            priority,
            create_time: 0,
            work_units: 1 + self.random.below(13) as u32,
            has_sound: self.random.chance(0.5),
            packages: 0,
            segment_cost: self.random.between(10, 3000),
            segment_ms: 0,
            fault: FileFault::None,
            cancel_time: None,
            retry_time: None,
        });
        self.jobs += 1;
        let id = job_id(number);
        let new = NewJob {
            request_id: id.clone(),
            video: String::new(),
            owner: owner_name(owner),
            source_key: String::new(),
            source_size_bytes: 0,
            output_prefix: String::new(),
            options: None,
            priority,
            now: self.real.now(),
            id,
        };
        self.real.db.create_job(new).await.unwrap();
    }

    async fn queue(&mut self) {
        let owner = self.random.below(OWNERS as usize) as u32;
        let real = self.real.db.queue_tasks(&owner_name(owner), LIMITS).await.unwrap();
        let ledger = self.ledger.queue_tasks(owner, LIMITS);
        let key = |class: TaskClass, build: String| (class == TaskClass::Bulk, build);
        let mut real: Vec<_> = real.into_iter().map(|task| key(task.class, task.required_build)).collect();
        let mut ledger: Vec<_> =
            ledger.into_iter().map(|(class, build)| key(class, build_name(build))).collect();
        real.sort();
        ledger.sort();
        assert_eq!(real, ledger);
        let mut waiting = Vec::new();
        while let Some(next) =
            self.real.db.next_waiting_owner(waiting.last().map_or("", String::as_str)).await.unwrap()
        {
            waiting.push(next);
        }
        let expected: Vec<String> = self.ledger.waiting_owners().into_iter().map(owner_name).collect();
        assert_eq!(waiting, expected);
    }

    async fn lease(&mut self) {
        let class = TaskClass::ALL[self.random.below(2)];
        let (worker, build) = (1 + self.random.next() % 4, 1 + self.random.below(2) as Build);
        self.nonces += 1;
        let (nonce, name, build_text) = (self.nonces.to_string(), worker_text(worker), build_name(build));
        let request = LeaseRequest {
            class,
            worker: &name,
            encoder_build: &build_text,
            nonce: &nonce,
            lease_ttl_ms: LEASE_TTL_MS,
        };
        let real = self.real.db.lease(request).await.unwrap();
        let request = LedgerRequest {
            class,
            worker,
            encoder_build: build,
            nonce: self.nonces,
            lease_ttl_ms: LEASE_TTL_MS,
        };
        let leased = self.ledger.lease(&request, self.real.now()).unwrap();
        assert_eq!(real.as_ref().map(|row| row.id.clone()), leased.map(real_id));
        let (Some(row), Some(id)) = (real, leased) else { return };
        assert_eq!(real_columns(&row), ledger_columns(self.ledger.task(id).unwrap()));
        assert_eq!(self.ledger.task_of_nonce(self.nonces).unwrap().id, id);
        self.leases.push(Presented { task: id, token: row.fencing_token });
        // A crash may have cut the second transaction off.
        if self.random.chance(0.9) {
            let mut transaction = self.real.db.lock_job(&row.job_id).await.unwrap();
            let advanced = transaction.advance(JobEvent::TaskStarted, self.real.now());
            assert_eq!(advanced, self.ledger.advance(id.job, JobEvent::TaskStarted));
            transaction.commit().await.unwrap();
        }
    }

    /// A lease, probably one of the last.
    fn any_lease(&mut self) -> Option<Presented> {
        let last = self.leases.len();
        let skipped = self.random.below(last.min(12));
        self.leases.get(last.checked_sub(1 + skipped)?).copied()
    }

    /// A lease whose task the rules would let through.
    fn valid_lease(&mut self) -> Option<Presented> {
        let lease = self.any_lease()?;
        self.ledger.checked_rules(lease).is_ok().then_some(lease)
    }

    async fn renew_or_shorten(&mut self) {
        let Some(lease) = self.any_lease() else { return };
        let (id, token) = (real_id(lease.task), Lease { fencing_token: lease.token });
        let now = self.real.now();
        if self.random.chance(0.6) {
            let real = self.real.db.renew(&id, token, LEASE_TTL_MS).await.unwrap();
            let renewed = self.ledger.renew(lease.task, lease.token, LEASE_TTL_MS, now);
            assert_eq!(real.map(|row| row.lease_expire_time), renewed);
        } else {
            let known = self.ledger.task(lease.task).map_or(0, |task| task.lease_expire_time);
            let known = if self.random.chance(0.8) { known } else { known - 1 };
            let real = self.real.db.shorten(&id, token, known, 4000).await.unwrap();
            assert_eq!(real, self.ledger.shorten(lease.task, lease.token, known, 4000, now));
        }
    }

    async fn plan_or_complete(&mut self) {
        let Some(lease) = self.valid_lease() else { return };
        let task = self.ledger.task(lease.task).unwrap();
        if task.kind != TaskKind::Prepare {
            return self.complete_lease(lease).await;
        }
        let (build, index) = (task.encoder_build, lease.task.job);
        let spec = self.ledger.job(index).unwrap().spec.clone();
        let mut transaction = self.real.db.lock_job(&job_id(index)).await.unwrap();
        let row = transaction.task(&real_id(lease.task)).await.unwrap().unwrap();
        transaction.insert_plan("{}".to_owned(), spec.work_units as usize).await.unwrap();
        let required_build = build_name(build);
        let first = TaskRow { kind: TaskKind::Encode, required_build: required_build.clone(), ..row };
        transaction.save_task(first).await.unwrap();
        let others = (1..spec.work_units).map(|unit_index| {
            let unit = spec.work_unit(unit_index);
            TaskRow {
                class: unit.class,
                stage: unit.stage,
                job_position: unit.position,
                cost: spec.cost(&unit),
                required_build: required_build.clone(),
                ..new_task(&transaction.job, TaskKind::Encode, unit_index as i32)
            }
        });
        transaction.add_tasks(others.collect()).await.unwrap();
        transaction.set_created_work_units(spec.work_units as i32).await.unwrap();
        transaction.advance(JobEvent::TaskStarted, self.real.now());
        transaction.commit().await.unwrap();
        self.ledger.plan(lease).unwrap();
    }

    async fn complete(&mut self) {
        if let Some(lease) = self.valid_lease() {
            self.complete_lease(lease).await;
        }
    }

    /// Records all segments of an ENCODE task and completes it.
    async fn complete_lease(&mut self, lease: Presented) {
        let task = self.ledger.task(lease.task).unwrap();
        if task.kind != TaskKind::Encode {
            return;
        }
        let segments = self.ledger.encode_grant(lease.task).unwrap().segments;
        self.ledger.record(lease, 0, segments, self.real.now()).unwrap();
        self.ledger.complete(lease, segments, self.real.now()).unwrap();
        let transaction = self.real.db.lock_job(&job_id(lease.task.job)).await.unwrap();
        let row = transaction.task(&real_id(lease.task)).await.unwrap().unwrap();
        let row = TaskRow { state: TaskState::Succeeded, attempt_failures: 0, ..row };
        transaction.save_task(row).await.unwrap();
        transaction.commit_tasks().await.unwrap();
    }

    async fn fail(&mut self) {
        let Some(lease) = self.valid_lease() else { return };
        let causes =
            [FailureCause::Dependency, FailureCause::Worker, FailureCause::File, FailureCause::Encoder];
        let cause = causes[self.random.below(causes.len())];
        let (rules, _) = self.ledger.checked_rules(lease).unwrap();
        let decision = rules.decide_failed(cause, MAX_FAILURES, self.random.unit());
        self.apply(lease, &decision).await;
    }

    /// Lets leases expire, and releases them.
    async fn expire(&mut self) {
        self.real.advance(Duration::from_millis(self.random.next() % 12_000));
        let now = self.real.now();
        let rows = self.real.db.expired_tasks(now, "").await.unwrap();
        let expired = self.ledger.expired_tasks(now);
        let expected: Vec<String> = expired.iter().copied().map(real_id).collect();
        assert_eq!(rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>(), expected);
        for id in expired {
            // The job of an earlier one may have failed.
            let rules = self.ledger.task(id).unwrap().rules();
            if rules.is_expired(now) {
                let lease = Presented { task: id, token: rules.fencing_token };
                self.apply(lease, &rules.decide_lost(MAX_FAILURES)).await;
            }
        }
    }

    /// Applies a decision: to the real database as `TaskFailer::apply`.
    async fn apply(&mut self, lease: Presented, decision: &RetryDecision) {
        let now = self.real.now();
        self.ledger.apply(lease, decision, GiveUpCause::Attempts, false, now);
        let mut transaction = self.real.db.lock_job(&job_id(lease.task.job)).await.unwrap();
        let row = transaction.task(&real_id(lease.task)).await.unwrap().unwrap();
        match *decision {
            RetryDecision::Retry { failures, delay_ms, excludes_worker } => {
                let RetryPlacement { state, ready_time, excluded_until } =
                    RetryPlacement::of(delay_ms, excludes_worker, now);
                let excluded_worker = if excludes_worker { row.worker.clone() } else { String::new() };
                let row = row.with_failures(failures);
                let row = TaskRow { state, ready_time, excluded_worker, excluded_until, ..row };
                transaction.save_task(row).await.unwrap();
                transaction.commit_tasks().await.unwrap();
            }
            RetryDecision::GiveUp => {
                assert!(transaction.advance(JobEvent::Failed, now));
                transaction.end_tasks(TaskState::Failed).await.unwrap();
                transaction.commit().await.unwrap();
            }
        }
    }

    async fn end_delays(&mut self) {
        let real = self.real.db.end_retry_delays().await.unwrap();
        let ended = self.ledger.end_retry_delays(self.real.now());
        assert_eq!(real, ended.into_iter().map(owner_name).collect::<Vec<_>>());
    }

    async fn prioritize(&mut self) {
        let job = self.random.below(self.jobs as usize) as u32;
        if self.jobs == 0 || self.ledger.job(job).unwrap().state.has_ended() {
            return;
        }
        let priority = [JobPriority::High, JobPriority::Low][self.random.below(2)];
        let mut transaction = self.real.db.lock_job(&job_id(job)).await.unwrap();
        transaction.set_priority(priority).await.unwrap();
        transaction.commit().await.unwrap();
        assert!(self.ledger.set_priority(job, priority));
        let owner = self.ledger.job(job).unwrap().spec.owner;
        self.real.db.unqueue_tasks(&owner_name(owner)).await.unwrap();
        self.ledger.unqueue_tasks(owner);
    }

    async fn cancel_rarely(&mut self) {
        let job = self.random.below(self.jobs as usize) as u32;
        if self.jobs == 0 || self.random.chance(0.7) {
            return;
        }
        let mut transaction = self.real.db.lock_job(&job_id(job)).await.unwrap();
        let is_cancelled = transaction.advance(JobEvent::CancelRequested, self.real.now());
        if is_cancelled {
            transaction.end_tasks(TaskState::Cancelled).await.unwrap();
            transaction.commit().await.unwrap();
        } else {
            drop(transaction);
        }
        assert_eq!(self.ledger.cancel(job), is_cancelled);
    }

    /// Compares all tasks and the states of all jobs.
    async fn compare(&self) {
        for job in 0..self.jobs {
            let known = self.ledger.job(job).unwrap();
            let row = self.real.db.job(&job_id(job)).await.unwrap().unwrap();
            assert_eq!(row.state, known.state, "job {job}");
            for task in known.tasks.values() {
                let row = self.real.db.task(&job_id(job), &real_id(task.id)).await.unwrap().unwrap();
                assert_eq!(real_columns(&row), ledger_columns(task), "{}", task.id);
            }
        }
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite, 12)]
#[case::postgres(Backend::Postgres, 2)]
#[tokio::test]
async fn ledger_does_what_the_database_does(#[case] backend: Backend, #[case] sequences: u64) {
    let (mut leases, mut ended) = (0, 0);
    for seed in 1..=sequences {
        let mut pair = Pair::open(backend, seed).await;
        for _ in 0..6 {
            for _ in 0..60 {
                pair.step().await;
            }
            pair.compare().await;
        }
        leases += pair.leases.len();
        let has_ended = |job: &u32| pair.ledger.job(*job).unwrap().state != JobState::Queued;
        ended += (0..pair.jobs).filter(has_ended).count();
    }
    assert!(leases > 40 && ended > 10, "{leases} leases, {ended} jobs that were started");
}
