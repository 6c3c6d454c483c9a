//! Parsed plans, cached for all calls that follow.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use reelmill_media::plan::{Plan, WorkUnit};

use crate::{
    db::{Db, Generation, JobTransaction, TaskRow},
    domain::{AllowedOutputs, TaskKind},
    error::TranscodeError,
};

/// Plans cached at once; the largest take some hundred kilobytes.
const MAX_CACHED_PLANS: usize = 64;

/// Plan of a job's generation.
pub(crate) struct JobPlan {
    pub(crate) plan: Plan,
    /// The plan as workers receive it.
    pub(crate) json: String,
    /// Work of each work unit in proportion to the whole job, 0 to 1.
    pub(crate) weights: Vec<f64>,
}

impl JobPlan {
    pub(crate) fn parse(json: String) -> Result<Self, TranscodeError> {
        let plan: Plan = serde_json::from_str(&json)?;
        let weights = plan.work_units.iter().map(|work_unit| plan.weight(work_unit)).collect();
        Ok(Self { plan, json, weights })
    }

    /// The work unit with this index.
    pub(crate) fn work_unit(&self, index: i32) -> Option<&WorkUnit> {
        self.plan.work_units.get(usize::try_from(index).ok()?)
    }

    /// The weight of the work unit with this index; 0 if there is none.
    pub(crate) fn weight(&self, index: i32) -> f64 {
        usize::try_from(index).ok().and_then(|index| self.weights.get(index)).copied().unwrap_or(0.0)
    }

    /// The outputs that a task may record.
    pub(crate) fn allowed_outputs(&self, task: &TaskRow) -> AllowedOutputs {
        match task.kind {
            TaskKind::Encode => {
                self.work_unit(task.task_index).map_or_else(AllowedOutputs::default, |work_unit| {
                    AllowedOutputs::of_work_unit(&self.plan, work_unit)
                })
            }
            TaskKind::Package => AllowedOutputs::of_package(&task.rendition_id),
            TaskKind::Prepare => AllowedOutputs::default(),
        }
    }

    /// Index of the audio track that is played unless the viewer chooses another.
    pub(crate) fn default_audio(&self) -> Option<usize> {
        let marked = self.plan.audio.iter().position(|audio| audio.default);
        marked.or((!self.plan.audio.is_empty()).then_some(0))
    }

    /// Index of the work unit that encodes an audio track.
    pub(crate) fn work_unit_of_audio(&self, audio: usize) -> Option<i32> {
        let index = self.plan.work_units.iter().position(|work_unit| work_unit.audio.contains(&audio))?;
        i32::try_from(index).ok()
    }
}

/// Cache of the plans in the database. A plan never changes within its generation.
pub(crate) struct Plans {
    db: Db,
    cached: Mutex<HashMap<Generation, Arc<JobPlan>>>,
}

impl Plans {
    pub(crate) fn new(db: Db) -> Self {
        Self { db, cached: Mutex::default() }
    }

    /// The plan of a generation; none before there is one.
    pub(crate) async fn get(&self, generation: &Generation) -> Result<Option<Arc<JobPlan>>, TranscodeError> {
        if let Some(plan) = self.cached().get(generation) {
            return Ok(Some(Arc::clone(plan)));
        }
        let json = self.db.plan(generation).await?;
        json.map(|json| self.insert(generation, json)).transpose()
    }

    /// The plan of a generation that has one.
    pub(crate) async fn require(&self, generation: &Generation) -> Result<Arc<JobPlan>, TranscodeError> {
        self.get(generation).await?.ok_or_else(|| TranscodeError::PlanMissing(generation.job.clone()))
    }

    /// The plan of a locked job's current generation, read within its transaction if it is not cached.
    pub(crate) async fn require_in(
        &self,
        transaction: &JobTransaction,
    ) -> Result<Arc<JobPlan>, TranscodeError> {
        let generation = Generation::of(&transaction.job);
        if let Some(plan) = self.cached().get(&generation) {
            return Ok(Arc::clone(plan));
        }
        let missing = || TranscodeError::PlanMissing(generation.job.clone());
        self.insert(&generation, transaction.plan().await?.ok_or_else(missing)?)
    }

    fn insert(&self, generation: &Generation, json: String) -> Result<Arc<JobPlan>, TranscodeError> {
        let plan = Arc::new(JobPlan::parse(json)?);
        let mut cached = self.cached();
        if cached.len() >= MAX_CACHED_PLANS {
            cached.clear();
        }
        cached.insert(generation.clone(), Arc::clone(&plan));
        Ok(plan)
    }

    fn cached(&self) -> MutexGuard<'_, HashMap<Generation, Arc<JobPlan>>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
