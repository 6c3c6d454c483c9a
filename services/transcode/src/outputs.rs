//! Where outputs lie in the object store, and what of them is garbage.

use crate::store::JobRow;

/// What one attempt at a task writes below.
pub(crate) fn attempt_prefix(job: &JobRow, fencing_token: i64) -> String {
    format!("{}{}/{fencing_token}/", job.output_prefix, job.id)
}

/// The prefixes of an ended job that hold nothing recorded.
pub(crate) fn garbage(job: &JobRow, highest_token: i64) -> Vec<String> {
    if job.recorded_prefix.is_empty() {
        return vec![format!("{}{}/", job.output_prefix, job.id)];
    }
    (1..=highest_token)
        .map(|token| attempt_prefix(job, token))
        .filter(|prefix| *prefix != job.recorded_prefix)
        .collect()
}
