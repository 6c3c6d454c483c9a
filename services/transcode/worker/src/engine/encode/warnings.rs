//! Warnings for the uploader: the video can be played, but not everything is as in the source.

use reelmill_media::{Failure, FailureKind, probe::Source};

/// `tracks` could not be decoded.
pub(crate) fn track_skipped(tracks: &str) -> Failure {
    let message = format!("The {tracks} could not be decoded and was left out.");
    Failure::new(FailureKind::TrackSkipped, message)
}

/// Some text of a subtitle track was left out or cannot be read.
pub(crate) fn subtitles_incomplete() -> Failure {
    Failure::new(
        FailureKind::SubtitlesIncomplete,
        "Some lines of a subtitle track were left out or cannot be read. Save it as UTF-8 with valid times, and upload the \
         video again.",
    )
}

/// The file, which states no duration, ends within a packet.
pub(crate) fn cut_off() -> Failure {
    Failure::new(FailureKind::FileTruncated, "The end of the file is missing: what is there plays.")
}

/// Nothing is recorded between two times, seconds.
pub(crate) fn time_gap(from: f64, to: f64) -> Failure {
    let clock = |seconds: f64| {
        let all = seconds.max(0.0) as u64;
        format!("{}:{:02}:{:02}", all / 3600, all / 60 % 60, all % 60)
    };
    let message = format!(
        "Nothing is recorded from {} to {}: the last picture is shown there.",
        clock(from),
        clock(to)
    );
    Failure::new(FailureKind::TimeGap, message)
}

/// Many frames were damaged.
pub(crate) fn partly_damaged() -> Failure {
    Failure::new(
        FailureKind::PartlyDamaged,
        "Parts of the file are damaged. The video may freeze or look broken there.",
    )
}

/// Properties of an intact source that cannot be served as expected.
pub(crate) fn about_source(source: &Source) -> Vec<Failure> {
    let mut warnings = Vec::new();
    let skipped = match source.skipped {
        0 => None,
        1 => Some("An audio or subtitle track was left out".to_owned()),
        more => Some(format!("{more} audio or subtitle tracks were left out")),
    };
    if let Some(skipped) = skipped {
        let rule =
            "at most eight of each kind are kept, if they can be decoded, and only text-based subtitles";
        warnings.push(Failure::new(FailureKind::TrackSkipped, format!("{skipped}: {rule}.")));
    }
    let programs = match source.other_programs {
        0 => None,
        1 => Some("Another programme of the recording was".to_owned()),
        more => Some(format!("{more} other programmes of the recording were")),
    };
    if let Some(programs) = programs {
        warnings.push(Failure::new(FailureKind::TrackSkipped, format!("{programs} left out. `source.programs` lists them, and the option `source_program` chooses one.")));
    }
    if source.has_another_recording {
        warnings.push(Failure::new(
            FailureKind::RecordingSkipped,
            "The file has a second recording after the first one, which was left out. Split the file, and upload both.",
        ));
    }
    if source.has_clock_gap {
        warnings.push(Failure::new(
            FailureKind::TimeGap,
            "The clock of the file jumps ahead by more than two minutes: what follows is shown without a pause.",
        ));
    }
    if source.video.is_some() && source.has_captions {
        warnings.push(Failure::new(
            FailureKind::TrackSkipped,
            "The captions inside the picture (CEA-608 or CEA-708) were left out. To keep them, add them as a subtitle track.",
        ));
    }
    if source.video.as_ref().is_some_and(|video| video.needs_dolby_vision) {
        warnings.push(Failure::new(
            FailureKind::ColoursWrong,
            "The colours of this kind of Dolby Vision can't be converted and look wrong. Export the video as \
             HDR10, HLG or SDR.",
        ));
    }
    warnings
}
