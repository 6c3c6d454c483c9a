//! The configuration: compiled-in defaults, overridden by a file, then `REELMILL_*` variables, then flags.

mod secrets;
mod sections;

use std::path::Path;

use anyhow::{Context as _, bail};
use figment::{
    Figment,
    providers::{Env, Format as _, Serialized, Toml},
};

pub use secrets::Secrets;
pub use sections::{Config, LogFormat, non_empty, without_password};

/// The commented default configuration.
pub const DEFAULTS: &str = include_str!("default.toml");

/// `REELMILL_*` variables that are not configuration keys.
const OTHER_VARIABLES: [&str; 5] = ["SERVER", "PROFILE_DIR", "MEDIA", "TOOLS", "CONFIG"];

/// Values from flags, by dotted key.
pub type Flags = Vec<(&'static str, String)>;

/// Loads the effective configuration.
pub fn load(file: Option<&Path>, flags: Flags) -> anyhow::Result<Config> {
    let mut figment = Figment::from(Toml::string(DEFAULTS));
    if let Some(file) = file {
        if !file.is_file() {
            bail!("{}: no such configuration file", file.display());
        }
        figment = figment.merge(Toml::file_exact(file));
    }
    reject_unknown_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
    figment = figment.merge(Env::prefixed("REELMILL_").filter(|key| key.as_str().contains("__")).split("__"));
    for (key, value) in flags {
        figment = figment.merge(Serialized::default(key, value));
    }
    figment.extract().map_err(|error| anyhow::anyhow!("configuration: {error}")).context("not started")
}

fn reject_unknown_variables(names: impl Iterator<Item = String>) -> anyhow::Result<()> {
    for name in names {
        let Some(key) = name.strip_prefix("REELMILL_") else { continue };
        if !key.contains("__") && !OTHER_VARIABLES.contains(&key) {
            bail!("{name}: unknown variable (a key is named like REELMILL_GATEWAY__LISTEN)");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_merges_all_sources_and_rejects_unknown_keys() {
        let config = load(None, Vec::new()).unwrap();
        assert_eq!(config.gateway.listen, "127.0.0.1:8080");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("reelmill.toml");
        std::fs::write(&file, "[gateway]\nlisten = \"127.0.0.1:9\"\n").unwrap();
        let flags = vec![("data.dir", "/elsewhere".to_owned())];
        let config = load(Some(&file), flags).unwrap();
        assert_eq!(
            (config.gateway.listen.as_str(), config.data.dir.to_str()),
            ("127.0.0.1:9", Some("/elsewhere"))
        );
        std::fs::write(&file, "[gateway]\nlissten = \"x\"\n").unwrap();
        let error = format!("{:#}", load(Some(&file), Vec::new()).unwrap_err());
        assert!(error.contains("lissten"), "{error}");
        assert!(load(Some(&folder.path().join("missing.toml")), Vec::new()).is_err());
    }

    #[test]
    fn reject_unknown_variables_finds_a_misspelt_one() {
        let names = |name: &str| reject_unknown_variables([name.to_owned()].into_iter());
        assert!(names("REELMILL_LISTEN").is_err());
        assert!(names("REELMILL_SERVER").is_ok());
        assert!(names("REELMILL_GATEWAY__LISTEN").is_ok());
        assert!(names("PATH").is_ok());
    }
}
