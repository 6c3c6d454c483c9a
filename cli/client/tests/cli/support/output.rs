//! What a finished command printed.

use std::time::Duration;

use tokio::process::Child;

const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Exit code and output of a finished command.
#[derive(Debug)]
pub struct CommandOutput {
    code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl CommandOutput {
    #[track_caller]
    pub fn assert_exit_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Parses stdout, which must be a single JSON value.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that the only output is one line on stderr with this reason.
    #[track_caller]
    pub fn assert_only_error(&self, reason: &str) {
        assert_eq!(self.stdout, "", "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(
            self.stderr.starts_with("error: ") && self.stderr.contains(&format!("({reason})")),
            "{self:?}"
        );
    }
}

/// Waits for a command to end.
pub async fn wait_for_output(child: Child) -> CommandOutput {
    let output = tokio::time::timeout(COMMAND_TIMEOUT, child.wait_with_output());
    let output = output.await.expect("the command ends").unwrap();
    CommandOutput {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
