//! The order in which tasks are started: classes, fair shares of owners, priorities.
//!
//! A queued task has a virtual start time; workers lease the least one of their class. The virtual start times of an owner
//! are as far apart as their tasks cost, and those of every owner begin at the virtual time of the class, which is that of
//! the tasks that are started now (start-time fair queueing). So each owner with queued tasks is served at the same rate,
//! however many tasks another one has.
//!
//! Only a few tasks of an owner are queued at a time. The others wait in the order of their job's priority and age, so that
//! a priority can be changed as long as they wait.

use std::ops::Range;

use reelmill_media::plan::{Plan, WorkUnit};
use reelmill_proto::transcode::{TaskClass as TaskClassMessage, job::Priority};
use sea_orm::{DeriveActiveEnum, EnumIter};

use super::task::TaskKind;

/// Cost of a task that probes a source, in the unit of [`cost`].
pub(crate) const PREPARE_COST: i64 = 2000;
/// Cost of a task that joins segments into a file.
pub(crate) const PACKAGE_COST: i64 = 500;
/// Pixels per second times seconds, for a cost of 1: about a millisecond of a CPU.
const WORK_PER_COST: f64 = 2000.0;

/// Most unfinished ENCODE tasks of a job: it can keep as many slots busy.
const MAX_UNFINISHED_TASKS: i32 = 128;
/// More are created when this many are left.
const MIN_UNFINISHED_TASKS: i32 = 96;

/// Class of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum TaskClass {
    /// Makes a video playable.
    #[sea_orm(string_value = "EXPRESS")]
    Express,
    /// Everything else.
    #[sea_orm(string_value = "BULK")]
    Bulk,
}

impl TaskClass {
    /// Both classes.
    pub(crate) const ALL: [Self; 2] = [Self::Express, Self::Bulk];

    /// The class of a work unit's task.
    pub(crate) fn of(plan: &Plan, unit: &WorkUnit) -> Self {
        if plan.is_express(unit) { Self::Express } else { Self::Bulk }
    }

    /// The classes of the tasks that a slot of this class runs, the preferred one first.
    pub(crate) fn of_slot(slot: TaskClassMessage) -> Option<&'static [Self]> {
        match slot {
            TaskClassMessage::Unspecified => None,
            TaskClassMessage::Express => Some(&[Self::Express]),
            TaskClassMessage::Bulk => Some(&[Self::Bulk, Self::Express]),
        }
    }
}

/// Priority of a job among those of its owner. Stored as a rank: the lowest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "i32", db_type = "Integer")]
pub(crate) enum JobPriority {
    /// Before the owner's other jobs.
    #[sea_orm(num_value = 0)]
    High,
    /// The default.
    #[sea_orm(num_value = 1)]
    Normal,
    /// After the owner's other jobs.
    #[sea_orm(num_value = 2)]
    Low,
}

impl From<JobPriority> for Priority {
    fn from(priority: JobPriority) -> Self {
        match priority {
            JobPriority::High => Self::High,
            JobPriority::Normal => Self::Normal,
            JobPriority::Low => Self::Low,
        }
    }
}

impl JobPriority {
    /// The priority of a request; none if it is unspecified.
    pub(crate) fn requested(priority: Priority) -> Option<Self> {
        match priority {
            Priority::Unspecified => None,
            Priority::High => Some(Self::High),
            Priority::Normal => Some(Self::Normal),
            Priority::Low => Some(Self::Low),
        }
    }
}

/// What is known of the last jobs, to estimate when the next ones start and end.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct RecentJobs {
    /// Milliseconds from the start of a job to that of the next one.
    pub(crate) start_interval_ms: Option<f64>,
    /// Milliseconds from the start of a job to its end, for each byte of its source.
    pub(crate) ms_per_byte: Option<f64>,
}

impl RecentJobs {
    /// Estimated start and end of a job at a position in the queue, from 1.
    pub(crate) fn estimate(&self, position: i64, source_bytes: i64, now: i64) -> (Option<i64>, Option<i64>) {
        #[allow(clippy::cast_possible_truncation)]
        let after = |time: i64, ms: f64| time.saturating_add(ms as i64);
        let start = self.start_interval_ms.map(|interval| after(now, interval * position as f64));
        let end = start.zip(self.ms_per_byte).map(|(start, ms)| after(start, ms * source_bytes as f64));
        (start, end)
    }
}

/// Cost of a work unit: what it takes from its owner's share.
pub(crate) fn cost(plan: &Plan, unit: &WorkUnit) -> i64 {
    #[allow(clippy::cast_possible_truncation)]
    let cost = (plan.work(unit) / WORK_PER_COST) as i64;
    cost.max(1)
}

/// Limits of an owner's tasks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnerLimits {
    /// Queued tasks of a class.
    pub(crate) queued: i64,
    /// Running and queued tasks of both classes; none for no limit.
    pub(crate) running: Option<i64>,
    /// Jobs that were started and have not ended.
    pub(crate) started_jobs: i64,
}

/// What an owner has at present.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OwnerTasks {
    /// Queued tasks of the class in question.
    pub(crate) queued: i64,
    /// Running and queued tasks of both classes.
    pub(crate) active: i64,
    /// Jobs that were started and have not ended, and queued tasks that start one.
    pub(crate) started_jobs: i64,
}

impl OwnerLimits {
    /// Whether so few tasks of a class are queued that others are queued, too: many at once, because each time is a
    /// transaction.
    pub(crate) fn has_few_queued(&self, queued: i64) -> bool {
        queued <= self.queued / 2
    }

    /// Number of waiting tasks of a class that may be queued.
    pub(crate) fn tasks_to_queue(&self, owner: OwnerTasks) -> i64 {
        let by_limit = self.running.map_or(i64::MAX, |limit| limit - owner.active);
        (self.queued - owner.queued).min(by_limit).max(0)
    }

    /// Number of jobs that may be started, of at most `tasks` tasks.
    pub(crate) fn jobs_to_start(&self, owner: OwnerTasks, tasks: i64) -> i64 {
        (self.started_jobs - owner.started_jobs).min(tasks).max(0)
    }
}

/// The virtual time of a class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct VirtualTime {
    /// Greatest virtual start time of a running task.
    pub(crate) running: Option<i64>,
    /// Least virtual start time of a queued task.
    pub(crate) queued: Option<i64>,
    /// Greatest virtual finish time of any owner.
    pub(crate) finish: Option<i64>,
}

impl VirtualTime {
    /// The virtual start time of the next task of an owner whose last one finishes at `owner_finish`.
    pub(crate) fn next_start(&self, owner_finish: i64) -> i64 {
        let now = self.running.max(self.queued).or(self.finish).unwrap_or(0);
        now.max(owner_finish)
    }
}

/// The work units of a job that get a task next: of the first `created` ones every one has or had a task, and
/// `unfinished` of these tasks have not ended.
pub(crate) fn work_units_to_create(created: i32, work_units: i32, unfinished: i32) -> Range<i32> {
    if unfinished > MIN_UNFINISHED_TASKS {
        return created..created;
    }
    created..created.saturating_add(MAX_UNFINISHED_TASKS - unfinished).min(work_units).max(created)
}

/// Cost of a task that is not an ENCODE task.
pub(crate) fn cost_of_kind(kind: TaskKind) -> i64 {
    match kind {
        TaskKind::Package => PACKAGE_COST,
        TaskKind::Prepare | TaskKind::Encode => PREPARE_COST,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap, VecDeque};

    use proptest::prelude::*;

    use super::{OwnerLimits, OwnerTasks, RecentJobs, VirtualTime};

    const LIMITS: OwnerLimits = OwnerLimits { queued: 16, running: None, started_jobs: 16 };

    /// One class of tasks, with the rules of this module and without a database.
    #[derive(Default)]
    struct Model {
        /// Costs of the waiting tasks, by owner.
        waiting: HashMap<usize, VecDeque<i64>>,
        /// Virtual start time, number, cost and owner of queued tasks.
        queued: BTreeSet<(i64, usize, i64, usize)>,
        /// End, virtual start time and owner of running tasks.
        running: Vec<(i64, i64, usize)>,
        finish: HashMap<usize, i64>,
        tasks: usize,
    }

    impl Model {
        fn add(&mut self, owner: usize, costs: impl IntoIterator<Item = i64>) {
            self.waiting.entry(owner).or_default().extend(costs);
            self.queue(owner);
        }

        fn queue(&mut self, owner: usize) {
            let queued = self.queued.iter().filter(|task| task.3 == owner).count() as i64;
            if !LIMITS.has_few_queued(queued) {
                return;
            }
            let count = LIMITS.tasks_to_queue(OwnerTasks { queued, ..OwnerTasks::default() });
            for _ in 0..count {
                let time = VirtualTime {
                    running: self.running.iter().map(|task| task.1).max(),
                    queued: self.queued.first().map(|task| task.0),
                    finish: self.finish.values().copied().max(),
                };
                let Some(cost) = self.waiting.get_mut(&owner).and_then(VecDeque::pop_front) else { return };
                let start = time.next_start(self.finish.get(&owner).copied().unwrap_or(0));
                self.finish.insert(owner, start + cost);
                self.queued.insert((start, self.tasks, cost, owner));
                self.tasks += 1;
            }
        }

        /// Starts the next task at `now`; returns its owner and cost.
        fn start(&mut self, now: i64) -> Option<(usize, i64)> {
            let (start, _, cost, owner) = self.queued.pop_first()?;
            self.running.push((now + cost, start, owner));
            self.queue(owner);
            Some((owner, cost))
        }

        /// Ends the running task that ends first; returns when.
        fn end_first(&mut self) -> Option<i64> {
            let first = (0..self.running.len()).min_by_key(|&task| self.running[task].0)?;
            Some(self.running.remove(first).0)
        }
    }

    #[test]
    fn owner_with_one_task_is_next_behind_ten_thousand_of_another() {
        let mut model = Model::default();
        model.add(0, std::iter::repeat_n(1000, 10_000));
        let mut now = 0;
        for _ in 0..50 {
            model.start(now);
            now = model.end_first().unwrap();
        }
        model.start(now);
        model.add(1, [1000]);
        let owners = [model.start(now).unwrap().0, model.start(now).unwrap().0];
        assert!(owners.contains(&1), "{owners:?}");
    }

    #[test]
    fn owner_is_not_served_less_for_what_it_used_before_others_came() {
        let mut model = Model::default();
        model.add(0, std::iter::repeat_n(10, 1000));
        let mut now = 0;
        for _ in 0..500 {
            model.start(now);
            now = model.end_first().unwrap();
        }
        model.add(1, std::iter::repeat_n(10, 1000));
        let mut served = [0, 0];
        for _ in 0..100 {
            served[model.start(now).unwrap().0] += 1;
            now = model.end_first().unwrap();
        }
        assert!(served[0] >= 40 && served[1] >= 40, "{served:?}");
    }

    proptest! {
        /// Owners who always have queued tasks get equal shares, up to a few tasks, whatever the tasks cost.
        #[test]
        fn owners_with_waiting_tasks_get_equal_shares(
            owners in 2_usize..6,
            slots in 1_usize..5,
            costs in prop::collection::vec(1_i64..200, 1..20),
        ) {
            let mut model = Model::default();
            for owner in 0..owners {
                // The first owner has the longest backlog.
                let tasks = if owner == 0 { 20_000 } else { 4000 };
                let costs = (0..tasks).map(|task: usize| costs[(task * (owner + 1)) % costs.len()]);
                model.add(owner, costs);
            }
            let mut served = vec![0_i64; owners];
            let mut now = 0;
            for _ in 0..1500 {
                while model.running.len() < slots {
                    let (owner, cost) = model.start(now).unwrap();
                    served[owner] += cost;
                }
                now = model.end_first().unwrap();
            }
            let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
            let allowed = 200 * (slots as i64 + 2);
            prop_assert!(most - least <= allowed, "{:?}", served);
        }
    }

    #[test]
    fn estimate_is_in_proportion_to_position_and_size() {
        let recent = RecentJobs { start_interval_ms: Some(500.0), ms_per_byte: Some(0.01) };
        assert_eq!(recent.estimate(4, 100_000, 10_000), (Some(12_000), Some(13_000)));
        let idle = RecentJobs { start_interval_ms: None, ..recent };
        assert_eq!(idle.estimate(4, 100_000, 10_000), (None, None));
    }

    #[test]
    fn tasks_to_queue_keeps_the_limits() {
        let limits = OwnerLimits { queued: 4, running: Some(6), started_jobs: 2 };
        let owner = |queued, active, started_jobs| OwnerTasks { queued, active, started_jobs };
        assert_eq!(limits.tasks_to_queue(owner(1, 1, 0)), 3);
        assert_eq!(limits.tasks_to_queue(owner(1, 5, 0)), 1);
        assert_eq!(limits.tasks_to_queue(owner(0, 9, 0)), 0);
        assert_eq!(limits.jobs_to_start(owner(0, 0, 1), 3), 1);
        assert_eq!(limits.jobs_to_start(owner(0, 0, 5), 3), 0);
        assert_eq!(limits.jobs_to_start(owner(0, 0, 0), 1), 1);
    }
}
