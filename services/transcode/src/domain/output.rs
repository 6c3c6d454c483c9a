//! Which outputs a task may record: those of its work unit, and no others.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use reelmill_media::plan::{Plan, WorkUnit};
use sea_orm::{DeriveActiveEnum, EnumIter};

/// Upper bound of the segments of a rendition and of the thumbnail sheets of a video.
const MAX_SEQUENCE: i32 = 1_000_000;

/// Kind of a recorded output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum, prost::Enumeration)]
#[sea_orm(rs_type = "String", db_type = "Text")]
#[repr(i32)]
pub enum OutputKind {
    /// Init segment of a rendition.
    #[sea_orm(string_value = "INIT")]
    Init = 0,
    /// Media segment of a rendition.
    #[sea_orm(string_value = "SEGMENT")]
    Segment = 1,
    /// Rendition as a progressive MP4.
    #[sea_orm(string_value = "PROGRESSIVE")]
    Progressive = 2,
    /// Poster image of the video.
    #[sea_orm(string_value = "POSTER")]
    Poster = 3,
    /// Sheet of thumbnails of the video.
    #[sea_orm(string_value = "THUMBNAILS")]
    Thumbnails = 4,
}

/// The outputs that a task may record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AllowedOutputs {
    /// Rendition ids with the sequence numbers of their segments.
    segments: Vec<(String, Range<i32>)>,
    /// Rendition ids. Subtitles have no init segment.
    inits: Vec<String>,
    /// Rendition ids.
    progressive: Vec<String>,
    poster: bool,
    thumbnails: bool,
}

impl AllowedOutputs {
    /// Outputs of the ENCODE task of a work unit.
    pub(crate) fn of_work_unit(plan: &Plan, work_unit: &WorkUnit) -> Self {
        let mut allowed =
            Self { poster: work_unit.poster, thumbnails: work_unit.thumbnails, ..Self::default() };
        if let Some((video_plan, chunk)) = plan.video.as_ref().zip(work_unit.chunk) {
            let first_segment = |chunk: usize| {
                video_plan
                    .chunks
                    .get(chunk)
                    .map_or(MAX_SEQUENCE, |chunk| i32::try_from(chunk.first_segment).unwrap_or(MAX_SEQUENCE))
            };
            for rung in work_unit.rungs.iter().filter_map(|&rung| video_plan.rungs.get(rung)) {
                let sequences = first_segment(chunk)..first_segment(chunk + 1);
                allowed.segments.push((rung.id.clone(), sequences));
                allowed.inits.push(rung.id.clone());
            }
        }
        let part = work_unit.audio_part;
        let sequence = |segment: u32| i32::try_from(segment).unwrap_or(MAX_SEQUENCE);
        let end = part.segments.map_or(MAX_SEQUENCE, |segments| sequence(part.first_segment + segments));
        for audio in work_unit.audio.iter().filter_map(|&index| plan.audio.get(index)) {
            allowed.segments.push((audio.id.clone(), sequence(part.first_segment)..end));
            allowed.inits.push(audio.id.clone());
        }
        // The only task of a job also writes the progressive files: no PACKAGE tasks follow.
        if plan.is_single() {
            allowed.progressive.clone_from(&allowed.inits);
        }
        for subtitles in work_unit.subtitles.iter().filter_map(|&index| plan.subtitles.get(index)) {
            allowed.segments.push((subtitles.id.clone(), 0..MAX_SEQUENCE));
        }
        allowed
    }

    /// Outputs of the PACKAGE task of a rendition.
    pub(crate) fn of_package(rendition: &str) -> Self {
        Self { progressive: vec![rendition.to_owned()], ..Self::default() }
    }

    /// Number of recorded segments of each rendition, from the task's first one without gaps.
    pub(crate) fn recorded_counts(
        &self,
        recorded: impl IntoIterator<Item = (String, i32)>,
    ) -> HashMap<String, i32> {
        let mut sequences: HashMap<String, BTreeSet<i32>> = HashMap::new();
        for (rendition, sequence) in recorded {
            sequences.entry(rendition).or_default().insert(sequence);
        }
        let mut counts = HashMap::new();
        for (rendition, range) in &self.segments {
            let found = sequences.remove(rendition).unwrap_or_default();
            let count =
                found.into_iter().zip(range.clone()).take_while(|(found, next)| found == next).count();
            if count > 0 {
                counts.insert(rendition.clone(), i32::try_from(count).unwrap_or(i32::MAX));
            }
        }
        counts
    }

    /// Whether the task may record this output.
    pub(crate) fn contains(&self, kind: OutputKind, rendition: &str, sequence: i32) -> bool {
        let is_one_of = |ids: &[String]| sequence == 0 && ids.iter().any(|id| id == rendition);
        match kind {
            OutputKind::Init => is_one_of(&self.inits),
            OutputKind::Segment => {
                self.segments.iter().any(|(id, sequences)| id == rendition && sequences.contains(&sequence))
            }
            OutputKind::Progressive => is_one_of(&self.progressive),
            OutputKind::Poster => self.poster && rendition.is_empty() && sequence == 0,
            OutputKind::Thumbnails => {
                self.thumbnails && rendition.is_empty() && (0..MAX_SEQUENCE).contains(&sequence)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::sample;

    proptest! {
        /// Exactly one task may record each output, except init segments: each task of a rung may record its init
        /// segment.
        #[test]
        fn contains_holds_for_one_task_per_output(seconds in 1.0f64..20_000.0, sequence in 0..6000i32) {
            let plan = sample::planned(1080, 30, seconds, 6);
            let allowed: Vec<_> =
                plan.work_units.iter().map(|work_unit| AllowedOutputs::of_work_unit(&plan, work_unit)).collect();
            let rungs = plan.video.iter().flat_map(|video_plan| &video_plan.rungs).map(|rung| rung.id.as_str());
            let renditions: Vec<_> = rungs.chain(plan.audio.iter().map(|audio| audio.id.as_str())).collect();
            let tasks = |kind, id: &str, sequence| {
                allowed.iter().filter(|allowed| allowed.contains(kind, id, sequence)).count()
            };
            for id in renditions {
                prop_assert_eq!(tasks(OutputKind::Segment, id, sequence), 1);
                prop_assert_eq!(tasks(OutputKind::Segment, id, -1), 0);
                prop_assert!(tasks(OutputKind::Init, id, 0) >= 1);
                prop_assert_eq!(tasks(OutputKind::Progressive, id, 0), usize::from(plan.is_single()));
                prop_assert!(AllowedOutputs::of_package(id).contains(OutputKind::Progressive, id, 0));
                prop_assert!(!AllowedOutputs::of_package(id).contains(OutputKind::Segment, id, 0));
            }
            prop_assert_eq!(tasks(OutputKind::Poster, "", 0), 1);
            prop_assert_eq!(tasks(OutputKind::Segment, "x", sequence) + tasks(OutputKind::Poster, "1080p", 0), 0);
        }
    }
}
