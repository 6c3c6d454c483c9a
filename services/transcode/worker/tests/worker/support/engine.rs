//! The engine under test in the strictest jail, and stub encoders that take the jail's position.

use super::clip::Clip;
use reelmill_jail::Mode;
use reelmill_worker::engine::{Admission, Engine, EngineLimits, Jail, Tools};
use std::ffi::OsString;
use std::path::Path;

/// The strictest jail, entered through the helper program.
pub fn jail() -> Jail {
    Jail { mode: Mode::Required, helper: vec![jail_helper()] }
}

/// Path of the program `reelmill-jail`, which cargo builds in the parent folder of the test binary.
pub fn jail_helper() -> OsString {
    let test = std::env::current_exe().expect("path of the test binary");
    let helper = test.parent().and_then(Path::parent).expect("target folder").join("reelmill-jail");
    assert!(helper.is_file(), "{} is missing: build the whole workspace", helper.display());
    helper.into_os_string()
}

/// A jail helper that runs shell commands instead of the encoder. The prober runs as usual.
pub fn stub_encoder(clip: &Clip, commands: &str) -> OsString {
    let program = clip.sibling("stub-encoder");
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' ffprobe '*) exec {} \"$@\";; esac\n{commands}\n",
        jail_helper().to_string_lossy()
    );
    std::fs::write(&program, script).expect("write");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    program.into_os_string()
}

/// A jail helper that sleeps instead of encoding.
pub fn sleeping_encoder(clip: &Clip) -> OsString {
    stub_encoder(clip, "exec sleep 600")
}

/// The ffmpeg under test: `REELMILL_TEST_FFMPEG`, or the one in `PATH`, which generates the clips in any case.
fn tested_ffmpeg() -> String {
    std::env::var("REELMILL_TEST_FFMPEG").unwrap_or_else(|_| "ffmpeg".to_owned())
}

/// An engine with the worker's default limits.
pub fn engine() -> Engine {
    // Fails if another test of this process has installed a provider, which is fine.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Engine {
        tools: Tools { ffmpeg: tested_ffmpeg(), ffprobe: "ffprobe".into(), jail: jail() },
        limits: EngineLimits::default(),
        http: reqwest::Client::new(),
        admission: Admission::default(),
    }
}
