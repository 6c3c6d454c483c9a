//! Plans as they are used: read once, kept for all calls that follow.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use reelmill_media::plan::{Plan, WorkUnit};

use crate::{
    domain::{Claims, TaskKind},
    error::TranscodeError,
    store::{Generation, Store, TaskRow},
};

/// Plans kept at once; the longest have some hundred kilobytes.
const KEPT: usize = 64;

/// A generation's plan.
pub(crate) struct Planned {
    pub plan: Plan,
    /// As workers get it.
    pub json: Vec<u8>,
    /// Of each share, what part of the whole work it is.
    pub weights: Vec<f64>,
}

impl Planned {
    pub(crate) fn read(json: Vec<u8>) -> Result<Self, TranscodeError> {
        let plan: Plan = serde_json::from_slice(&json)?;
        let weights = plan.work_units.iter().map(|work_unit| plan.weight(work_unit)).collect();
        Ok(Self { plan, json, weights })
    }

    /// The share with that place.
    pub(crate) fn work_unit(&self, ordinal: i32) -> Option<&WorkUnit> {
        self.plan.work_units.get(usize::try_from(ordinal).ok()?)
    }

    /// What a task may record.
    pub(crate) fn claims(&self, task: &TaskRow) -> Claims {
        match TaskKind::from_stored(task.kind) {
            Some(TaskKind::Encode) => self
                .work_unit(task.ordinal)
                .map_or_else(Claims::default, |work_unit| Claims::of_work_unit(&self.plan, work_unit)),
            Some(TaskKind::Package) => Claims::of_package(&task.rendition),
            Some(TaskKind::Prepare) | None => Claims::default(),
        }
    }

    /// The sound that is played unless the viewer chooses.
    pub(crate) fn default_audio(&self) -> Option<usize> {
        let marked = self.plan.audio.iter().position(|audio| audio.default);
        marked.or((!self.plan.audio.is_empty()).then_some(0))
    }

    /// The place of the share that makes that sound.
    pub(crate) fn work_unit_of_audio(&self, audio: usize) -> Option<i32> {
        let place = self.plan.work_units.iter().position(|work_unit| work_unit.audio.contains(&audio))?;
        i32::try_from(place).ok()
    }
}

/// The plans of this process.
pub(crate) struct Plans {
    store: Store,
    kept: Mutex<HashMap<Generation, Arc<Planned>>>,
}

impl Plans {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, kept: Mutex::default() }
    }

    /// A generation's plan; none before there is one.
    pub(crate) async fn of(&self, generation: &Generation) -> Result<Option<Arc<Planned>>, TranscodeError> {
        let kept = self.kept().get(generation).cloned();
        if kept.is_some() {
            return Ok(kept);
        }
        let Some(json) = self.store.plan(generation).await? else { return Ok(None) };
        let planned = Arc::new(Planned::read(json)?);
        let mut all = self.kept();
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(generation.clone(), Arc::clone(&planned));
        Ok(Some(planned))
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<Generation, Arc<Planned>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
