//! A scenario: what a seed stands for. Machines, videos and faults are drawn from the seed's random numbers.

use super::{
    event_queue::Millis,
    fairness::Bounds,
    fault_plan::{self, FaultPlan},
    faults::Fault,
    job_spec::{FileFault, JobSpec},
    ledger::Build,
    network::MessageFaults,
    options::Size,
    random::Random,
};
use crate::domain::JobPriority;

/// Every seed that is divisible by this one is of full size.
const FULL_SIZE_SEEDS: u64 = 1000;
/// Every seed that is divisible by this one is large.
const LARGE_SEEDS: u64 = 50;
/// Of every this many seeds one is about fairness.
const FAIRNESS_SEEDS: u64 = 10;
/// Videos of the owner that another one is behind.
const BACKLOG_JOBS: usize = 10_000;
/// Time for everything to end after the last fault, beside the work itself.
const RECOVERY_MS: Millis = 600_000;

/// What is simulated.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) seed: u64,
    pub(super) replicas: usize,
    /// Encoder build of each worker.
    pub(super) workers: Vec<Build>,
    pub(super) express_slots: usize,
    pub(super) bulk_slots: usize,
    pub(super) owners: u32,
    pub(super) jobs: Vec<JobSpec>,
    pub(super) faults: Vec<(Millis, Fault)>,
    pub(super) messages: MessageFaults,
    /// Probability that a replica crashes after a commit.
    pub(super) crash_probability: f64,
    /// Probability that an encoder crashes on a task.
    pub(super) encoder_crash_probability: f64,
    pub(super) priority_changes: Vec<(Millis, u32)>,
    /// When all faults have ended.
    pub(super) fault_end: Millis,
    /// When everything must have ended.
    pub(super) limit: Millis,
    pub(super) fairness: Option<Bounds>,
}

/// Numbers of a scenario's machines and videos.
struct Extent {
    workers: usize,
    tasks: u32,
    owners: u32,
}

impl Scenario {
    /// The scenario of a seed.
    pub(super) fn new(seed: u64, size: Option<Size>, random: &mut Random) -> Self {
        let drawn_size = match seed {
            seed if seed % FULL_SIZE_SEEDS == 0 => Size::Full,
            seed if seed % LARGE_SEEDS == 0 => Size::Large,
            _ => Size::Small,
        };
        let is_fairness = size.is_none() && drawn_size == Size::Small && seed % FAIRNESS_SEEDS == 7;
        if is_fairness {
            return Self::about_fairness(seed, random);
        }
        let mut number = |first: i64, last: i64| usize::try_from(random.between(first, last)).unwrap_or(1);
        let extent = match size.unwrap_or(drawn_size) {
            Size::Small => Extent {
                workers: number(3, 24),
                tasks: u32::try_from(number(60, 400)).unwrap_or(60),
                owners: u32::try_from(number(1, 6)).unwrap_or(1),
            },
            Size::Large => Extent {
                workers: number(60, 200),
                tasks: u32::try_from(number(3000, 10_000)).unwrap_or(3000),
                owners: u32::try_from(number(5, 60)).unwrap_or(5),
            },
            Size::Full => Extent { workers: 1000, tasks: 100_000, owners: 300 },
        };
        Self::mixed(seed, &extent, random)
    }

    /// Videos of all kinds, and faults.
    fn mixed(seed: u64, extent: &Extent, random: &mut Random) -> Self {
        let replicas = 1 + random.below(3);
        let builds = if random.chance(0.25) { 2 } else { 1 };
        let workers: Vec<Build> = (0..extent.workers).map(|worker| 1 + (worker % builds) as Build).collect();
        let jobs = draw_jobs(extent, random);
        let begin_end = jobs.iter().map(|job| job.create_time).max().unwrap_or(0);
        let (express_slots, bulk_slots) = (1 + random.below(2), 1 + random.below(4));
        let fault_end = begin_end + random.between(60_000, 180_000);
        let plan = FaultPlan::draw(workers.len(), replicas, fault_end, random);
        let FaultPlan { faults, messages, crash_probability, encoder_crash_probability } = plan;
        let fault_end = fault_plan::end(&faults, fault_end);
        let job_numbers = u32::try_from(jobs.len()).unwrap_or(1);
        let priority_changes = (0..random.below(6))
            .map(|_| (random.between(1000, fault_end), random.below(job_numbers as usize) as u32))
            .collect();
        let slots = i64::try_from(workers.len() * (express_slots + bulk_slots)).unwrap_or(1);
        let limit = fault_end + RECOVERY_MS + work_limit(&jobs, slots, extent.owners);
        Self {
            seed,
            replicas,
            workers,
            express_slots,
            bulk_slots,
            owners: extent.owners,
            jobs,
            faults,
            messages,
            crash_probability,
            encoder_crash_probability,
            priority_changes,
            fault_end,
            limit,
            fairness: None,
        }
    }

    /// An owner with one video behind 10,000 of others, on healthy workers: without faults, or with mild ones. The others are
    /// one owner of long videos, whose chunks occupy the BULK slots, or several of videos of one segment, which occupy the
    /// EXPRESS slots.
    fn about_fairness(seed: u64, random: &mut Random) -> Self {
        let workers = 2 + random.below(6);
        let (express_slots, bulk_slots) = (1 + random.below(2), 1 + random.below(3));
        let segment_ms = random.between(300, 2000);
        let spec = |owner: u32, create_time: Millis, work_units: u32| JobSpec {
            owner,
            priority: JobPriority::Normal,
            create_time,
            work_units,
            has_sound: true,
            packages: 2,
            segment_cost: segment_ms,
            segment_ms,
            fault: FileFault::None,
            cancel_time: None,
            retry_time: None,
        };
        let has_short_videos = random.chance(0.5);
        let other_owners = if has_short_videos { 2 + random.below(4) as u32 } else { 1 };
        let mut jobs: Vec<JobSpec> = (0..BACKLOG_JOBS)
            .map(|job| {
                let owner = job as u32 % other_owners;
                let long = 3 + random.below(6) as u32;
                match has_short_videos {
                    true => JobSpec { packages: 0, has_sound: false, ..spec(owner, 0, 1) },
                    false => spec(owner, 0, long),
                }
            })
            .collect();
        let create_time = random.between(20_000, 90_000);
        jobs.push(spec(other_owners, create_time, 30 + random.below(60) as u32));
        let has_faults = random.chance(0.5);
        let messages = if has_faults {
            MessageFaults { loss: 0.005, duplicate: 0.01, late: 0.02, end: Millis::MAX }
        } else {
            MessageFaults::default()
        };
        let bounds = Bounds {
            owner: other_owners,
            other_owners: i64::from(other_owners),
            express_slots: i64::try_from(workers * express_slots).unwrap_or(1),
            slots: i64::try_from(workers * (express_slots + bulk_slots)).unwrap_or(1),
            segment_ms,
            has_faults,
        };
        Self {
            seed,
            replicas: 1 + random.below(3),
            workers: vec![1; workers],
            express_slots,
            bulk_slots,
            owners: other_owners + 1,
            jobs,
            faults: Vec::new(),
            messages,
            crash_probability: 0.0,
            encoder_crash_probability: 0.0,
            priority_changes: Vec::new(),
            fault_end: 0,
            limit: create_time + 3_600_000,
            fairness: Some(bounds),
        }
    }
}

fn draw_jobs(extent: &Extent, random: &mut Random) -> Vec<JobSpec> {
    let (mut jobs, mut tasks) = (Vec::new(), 0);
    let busy_owner = random.below(extent.owners as usize) as u32;
    let arrival_ms = random.between(1000, 90_000);
    while tasks < extent.tasks {
        let work_units = match random.below(100) {
            0..15 => 1,
            15..80 => 2 + random.below(7) as u32,
            80..99 => 8 + random.below(24) as u32,
            _ => 40 + random.below(160) as u32,
        };
        let owner = if random.chance(0.4) { busy_owner } else { random.below(extent.owners as usize) as u32 };
        let fault = match random.below(100) {
            0..4 => FileFault::Probe,
            4..7 => FileFault::WorkUnit(random.below(work_units as usize) as u32),
            7 => FileFault::Crashes(random.below(work_units as usize) as u32),
            _ => FileFault::None,
        };
        let priority = match random.below(10) {
            0 => JobPriority::High,
            1 => JobPriority::Low,
            _ => JobPriority::Normal,
        };
        let create_time = random.between(0, arrival_ms);
        let cancel_time = random.chance(0.03).then(|| create_time + random.between(0, 60_000));
        let retry_time = random.chance(0.03).then(|| create_time + random.between(20_000, 120_000));
        let job = JobSpec {
            owner,
            priority,
            create_time,
            work_units,
            has_sound: random.chance(0.7),
            packages: random.below(3) as u32,
            segment_cost: random.between(200, 4000),
            segment_ms: random.between(200, 2500),
            fault,
            cancel_time,
            retry_time,
        };
        tasks += job.tasks();
        jobs.push(job);
    }
    jobs.sort_by_key(|job| job.create_time);
    jobs
}

/// Generous time for the work of all videos: on all slots, and of each owner within the limit of started jobs.
fn work_limit(jobs: &[JobSpec], slots: i64, owners: u32) -> Millis {
    let all: i64 = jobs.iter().map(JobSpec::work_ms).sum();
    let of_owner = |owner: u32| -> i64 {
        jobs.iter().filter(|job| job.owner == owner).map(|job| job.work_ms() + 60_000).sum()
    };
    let busiest = (0..owners).map(of_owner).max().unwrap_or(0);
    4 * (all / slots) + 4 * (busiest / 16)
}
