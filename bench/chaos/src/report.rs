//! The result of a run.

use serde_json::{Value, json};

/// What was counted. Each list names what is wrong; all must be empty.
#[derive(Debug, Default)]
pub struct Report {
    pub jobs: usize,
    pub ready: usize,
    /// Videos that FAILED, as in an undisturbed system.
    pub failed_own_fault: usize,
    /// Videos that are gone, or that FAILED although they are READY in an undisturbed system.
    pub lost: Vec<String>,
    /// Videos that exist twice or have several jobs.
    pub doubled: Vec<String>,
    /// READY videos whose outputs differ from those of an undisturbed system.
    pub wrong_bytes: Vec<String>,
    /// Chunks that were encoded again after they had been completed.
    pub re_encoded: Vec<String>,
    /// Objects and rows that nothing refers to.
    pub orphans: Vec<String>,
    /// Videos that did not end.
    pub stuck: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.wrong().iter().all(|(_, list)| list.is_empty())
    }

    /// The lists of what is wrong, and their names.
    pub fn wrong(&self) -> [(&'static str, &[String]); 6] {
        [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("wrong-bytes", &self.wrong_bytes),
            ("re-encoded-chunks", &self.re_encoded),
            ("orphans", &self.orphans),
            ("stuck", &self.stuck),
        ]
    }

    /// The last line of the output.
    pub fn line(&self) -> String {
        let mut line = format!(
            "chaos: jobs {} ready {} failed-own-fault {}",
            self.jobs, self.ready, self.failed_own_fault
        );
        for (name, list) in self.wrong() {
            line.push_str(&format!(" {name} {}", list.len()));
        }
        line
    }

    /// The same with all names.
    pub fn json(&self) -> Value {
        let mut json = json!({
            "jobs": self.jobs,
            "ready": self.ready,
            "failed-own-fault": self.failed_own_fault,
        });
        for (name, list) in self.wrong() {
            json[name] = list.len().into();
            json[format!("{name}-details")] = list.into();
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_counts_everything() {
        let mut report = Report { jobs: 3, ready: 2, ..Report::default() };
        assert_eq!(
            report.line(),
            "chaos: jobs 3 ready 2 failed-own-fault 0 lost 0 doubled 0 wrong-bytes 0 re-encoded-chunks 0 \
             orphans 0 stuck 0"
        );
        assert!(report.is_clean());
        report.stuck.push("videos/1".to_owned());
        assert!(report.line().ends_with("stuck 1") && !report.is_clean());
        assert_eq!(report.json()["stuck-details"][0], "videos/1");
    }
}
