//! Which outputs a task may record: those of its share of the plan, and no others.

use std::ops::Range;

use reelmill_media::plan::{Plan, WorkUnit};

/// No rendition has as many segments, nor a video as many sheets of thumbnails.
const MOST_SEGMENTS: i32 = 1_000_000;

/// What a recorded object is; the numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A rendition's initialisation segment.
    Init = 1,
    /// A media segment.
    Segment = 2,
    /// A whole rendition as one file.
    Progressive = 3,
    /// The poster.
    Poster = 4,
    /// A sheet of thumbnails.
    Thumbnails = 5,
}

/// What a task may record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Renditions and the places of their segments.
    segments: Vec<(String, Range<i32>)>,
    /// Text has no initialisation segment.
    inits: Vec<String>,
    progressive: Vec<String>,
    poster: bool,
    thumbnails: bool,
}

impl Claims {
    /// Of the task that makes a share.
    pub fn of_work_unit(plan: &Plan, work_unit: &WorkUnit) -> Self {
        let mut claims =
            Self { poster: work_unit.poster, thumbnails: work_unit.thumbnails, ..Self::default() };
        if let Some((video_plan, chunk)) = plan.video.as_ref().zip(work_unit.chunk) {
            let place = |chunk: usize| {
                video_plan.chunks.get(chunk).map_or(MOST_SEGMENTS, |chunk| {
                    i32::try_from(chunk.first_segment).unwrap_or(MOST_SEGMENTS)
                })
            };
            for rung in work_unit.rungs.iter().filter_map(|&rung| video_plan.rungs.get(rung)) {
                claims.segments.push((rung.id.clone(), place(chunk)..place(chunk + 1)));
                claims.inits.push(rung.id.clone());
            }
        }
        for audio in work_unit.audio.iter().filter_map(|&place| plan.audio.get(place)) {
            claims.segments.push((audio.id.clone(), 0..MOST_SEGMENTS));
            claims.inits.push(audio.id.clone());
        }
        // A worker that has it all makes the files at once.
        if plan.is_single() {
            claims.progressive.clone_from(&claims.inits);
        }
        for text in work_unit.subtitles.iter().filter_map(|&place| plan.subtitles.get(place)) {
            claims.segments.push((text.id.clone(), 0..MOST_SEGMENTS));
        }
        claims
    }

    /// Of the task that joins a rendition.
    pub fn of_package(rendition: &str) -> Self {
        Self { progressive: vec![rendition.to_owned()], ..Self::default() }
    }

    /// The renditions whose segments are made, and the places of those.
    pub fn segments(&self) -> &[(String, Range<i32>)] {
        &self.segments
    }

    /// Whether that object is among them.
    pub fn allow(&self, role: Role, rendition: &str, sequence: i32) -> bool {
        let named = |names: &[String]| sequence == 0 && names.iter().any(|name| name == rendition);
        match role {
            Role::Init => named(&self.inits),
            Role::Segment => {
                self.segments.iter().any(|(name, places)| name == rendition && places.contains(&sequence))
            }
            Role::Progressive => named(&self.progressive),
            Role::Poster => self.poster && rendition.is_empty() && sequence == 0,
            Role::Thumbnails => {
                self.thumbnails && rendition.is_empty() && (0..MOST_SEGMENTS).contains(&sequence)
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
        /// Whatever is to be recorded, exactly one task may record it; but any that makes a part of a rung may
        /// record its initialisation segment.
        #[test]
        fn each_output_is_one_tasks(seconds in 1.0f64..20_000.0, sequence in 0..6000i32) {
            let plan = sample::planned(1080, 30, seconds, 6);
            let claims: Vec<_> = plan.work_units.iter().map(|work_unit| Claims::of_work_unit(&plan, work_unit)).collect();
            let rungs = plan.video.iter().flat_map(|video_plan| &video_plan.rungs).map(|rung| rung.id.as_str());
            let renditions: Vec<_> = rungs.chain(plan.audio.iter().map(|audio| audio.id.as_str())).collect();
            let by = |role, id: &str, sequence| {
                claims.iter().filter(|claims| claims.allow(role, id, sequence)).count()
            };
            for id in renditions {
                prop_assert_eq!(by(Role::Segment, id, sequence), 1);
                prop_assert_eq!(by(Role::Segment, id, -1), 0);
                prop_assert!(by(Role::Init, id, 0) >= 1);
                prop_assert_eq!(by(Role::Progressive, id, 0), usize::from(plan.is_single()));
                prop_assert!(Claims::of_package(id).allow(Role::Progressive, id, 0));
                prop_assert!(!Claims::of_package(id).allow(Role::Segment, id, 0));
            }
            prop_assert_eq!(by(Role::Poster, "", 0), 1);
            prop_assert_eq!(by(Role::Segment, "x", sequence) + by(Role::Poster, "1080p", 0), 0);
        }
    }
}
