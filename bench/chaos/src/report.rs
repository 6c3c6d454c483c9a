//! The result of a run.

use serde_json::{Value, json};

/// What a run found, as it is printed and written.
pub struct Outcome {
    pub is_clean: bool,
    /// For the JSON file.
    pub result: Value,
    /// What is wrong, one line each.
    pub details: Vec<String>,
    /// The last lines of the output.
    pub summary: String,
}

/// What was counted. Each list names what is wrong; all must be empty.
#[derive(Debug, Default)]
pub struct Report {
    /// Planned faults.
    pub faults: usize,
    /// Those of them that were injected.
    pub injected: usize,
    pub jobs: usize,
    /// Videos that are READY, as in an undisturbed system, whatever their bytes are.
    pub ready: usize,
    /// Videos that FAILED, as in an undisturbed system.
    pub failed_own_fault: usize,
    /// Videos that are gone, or that FAILED although they are READY in an undisturbed system.
    pub lost: Vec<String>,
    /// Videos that exist twice or have several jobs.
    pub doubled: Vec<String>,
    /// READY videos whose outputs differ from those of an undisturbed system, or lack objects.
    pub wrong_bytes: Vec<String>,
    /// Chunks that were encoded again after they had been completed.
    pub re_encoded: Vec<String>,
    /// Objects and rows that nothing refers to.
    pub orphans: Vec<String>,
    /// Videos that did not end, and uploads that the client could not finish.
    pub stuck: Vec<String>,
}

impl Report {
    pub fn outcome(&self) -> Outcome {
        let details = self
            .wrong()
            .into_iter()
            .flat_map(|(name, list)| list.iter().map(move |detail| format!("{name}: {detail}")));
        Outcome {
            is_clean: self.is_clean(),
            result: self.json(),
            details: details.collect(),
            summary: format!("chaos: injected {} of {} faults\n{}", self.injected, self.faults, self.line()),
        }
    }

    /// Whether nothing is wrong.
    fn is_clean(&self) -> bool {
        self.wrong().iter().all(|(_, list)| list.is_empty())
    }

    /// The lists of what is wrong, and their names.
    fn wrong(&self) -> [(&'static str, &[String]); 6] {
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
    fn line(&self) -> String {
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
    fn json(&self) -> Value {
        let mut json = json!({
            "faults": self.faults,
            "injected": self.injected,
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
        let outcome = report.outcome();
        assert_eq!(outcome.details, ["stuck: videos/1"]);
        assert!(
            !outcome.is_clean && outcome.summary.starts_with("chaos: injected 0 of 0 faults\nchaos: jobs 3 ")
        );
    }
}
