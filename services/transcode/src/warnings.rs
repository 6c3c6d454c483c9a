//! Which warnings are added to those that a job already has.

use reelmill_proto::transcode::Warning;

use crate::db::WarningRow;

/// Reported warnings that the job does not have yet, each once.
pub(crate) fn not_yet_reported(existing: &[WarningRow], reported: &[Warning]) -> Vec<Warning> {
    let mut added: Vec<Warning> = Vec::new();
    for warning in reported {
        let exists = existing
            .iter()
            .any(|existing| existing.reason == warning.reason && existing.message == warning.message);
        if !exists && !added.contains(warning) {
            added.push(warning.clone());
        }
    }
    added
}

/// Warnings found by the final check whose reason no worker has reported: a worker's message is more specific.
pub(crate) fn not_yet_explained(existing: &[WarningRow], found: &[Warning]) -> Vec<Warning> {
    let is_explained = |warning: &&Warning| existing.iter().any(|existing| existing.reason == warning.reason);
    found.iter().filter(|warning| !is_explained(warning)).cloned().collect()
}
