//! The types of the configuration. `default.toml` describes each key.

use std::path::PathBuf;

use reelmill_media::plan::{Codec, Preset};
use serde::{Deserialize, Serialize};

/// The whole configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // default.toml says what each key is
pub struct Config {
    pub data: Data,
    pub log: Log,
    pub secrets: SecretSources,
    pub gateway: Gateway,
    pub auth: Service,
    pub upload: Upload,
    pub transcode: Transcode,
    pub worker: Worker,
    pub objects: Objects,
    pub queue: Queue,
    pub shared_state: SharedState,
}

/// `[data]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Data {
    pub dir: PathBuf,
}

/// `[log]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Log {
    pub filter: String,
    pub format: LogFormat,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LogFormat {
    Text,
    Json,
}

/// `[secrets]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct SecretSources {
    pub mesh_key: String,
    pub mesh_key_file: String,
    pub playback_key: String,
    pub playback_key_file: String,
    pub signing_key_file: String,
}

/// `[gateway]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Gateway {
    pub listen: String,
    pub public_url: String,
    pub allowed_origins: Vec<String>,
    pub trusted_proxies: Vec<String>,
    pub proxy_header: String,
    pub user_units_per_second: f64,
    pub user_burst: u32,
    pub anonymous_units_per_second: f64,
    pub anonymous_burst: u32,
    pub calls_per_user: usize,
    pub calls_per_address: usize,
    pub request_body_bytes: usize,
    pub connections: usize,
    pub connections_per_address: usize,
}

/// `[auth]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Service {
    pub listen: String,
    pub address: String,
    pub database_url: String,
}

/// `[transcode]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Transcode {
    pub listen: String,
    pub address: String,
    pub database_url: String,
    pub profile: Codec,
    pub preset: Preset,
    pub encoder_threads: u32,
    pub max_started_jobs_per_owner: u32,
    pub max_running_tasks_per_owner: u32,
    pub replan_after_seconds: u64,
}

/// `[upload]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Upload {
    pub listen: String,
    pub address: String,
    pub database_url: String,
    pub part_size_bytes: i64,
    pub failed_source_retention_days: u32,
}

/// `[worker]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Worker {
    pub name: String,
    pub slots: usize,
    pub express_slots: usize,
    pub jail: String,
    pub scratch_dir: String,
    pub ffmpeg: String,
    pub ffprobe: String,
    pub drain_seconds: u64,
}

/// `[objects]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Objects {
    pub endpoint: String,
    pub public_endpoint: String,
    pub region: String,
    pub bucket: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    pub path_style: bool,
}

/// `[queue]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Queue {
    pub url: String,
    pub dead_letter_url: String,
    pub max_receives: u32,
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: String,
}

/// `[shared_state]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct SharedState {
    pub url: String,
}

impl Config {
    /// The effective configuration as TOML, with secrets hidden.
    pub fn printable(&self) -> anyhow::Result<String> {
        let mut printed = self.clone();
        for secret in [
            &mut printed.secrets.mesh_key,
            &mut printed.secrets.playback_key,
            &mut printed.objects.secret_access_key,
            &mut printed.queue.secret_access_key,
        ] {
            hide(secret);
        }
        for url in [
            &mut printed.auth.database_url,
            &mut printed.upload.database_url,
            &mut printed.transcode.database_url,
            &mut printed.queue.url,
            &mut printed.shared_state.url,
        ] {
            *url = without_password(url);
        }
        Ok(toml::to_string(&printed)?)
    }
}

fn hide(secret: &mut String) {
    if !secret.is_empty() {
        "(hidden)".clone_into(secret);
    }
}

/// A URL with its password hidden: what is between the first `:` of the user part and the last `@` of the authority,
/// and the value of a `password` parameter.
pub fn without_password(url: &str) -> String {
    let mut shown = url.to_owned();
    if let Some(value) = url.find("password=").map(|at| at + "password=".len()) {
        let end = url[value..].find('&').map_or(url.len(), |at| value + at);
        shown.replace_range(value..end, "(hidden)");
    }
    let Some(start) = url.find("://").map(|at| at + 3) else { return shown };
    let authority_end = url[start..].find('/').map_or(url.len(), |at| start + at);
    let Some(at) = url[start..authority_end].rfind('@').map(|at| start + at) else { return shown };
    if let Some(colon) = url[start..at].find(':').map(|colon| start + colon) {
        shown.replace_range(colon + 1..at, "(hidden)");
    }
    shown
}

/// `text`, or `None` if it is empty.
pub fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_password_hides_every_form_of_password() {
        let hidden = without_password;
        assert_eq!(hidden("postgres://u:p@ss@h:5432/db"), "postgres://u:(hidden)@h:5432/db");
        assert_eq!(
            hidden("postgres://h/db?user=u&password=p&x=y"),
            "postgres://h/db?user=u&password=(hidden)&x=y"
        );
        assert_eq!(hidden("redis://h:6379/0"), "redis://h:6379/0");
        assert_eq!(hidden("redis://:secret@h/0"), "redis://:(hidden)@h/0");
        assert_eq!(hidden("sqlite:///a/b@c:d.db"), "sqlite:///a/b@c:d.db");
    }
}
