//! The helper's command line: built by the parent, parsed by the helper.

use std::{
    ffi::{OsStr, OsString},
    str::FromStr,
};

use crate::{
    confinement::{Confinement, Limits, Mode},
    error::JailError,
};

/// The helper's arguments for running `program` (a name on PATH or an absolute path) with `args` under
/// this confinement.
#[must_use]
pub fn arguments(confinement: &Confinement, program: &str, args: &[String]) -> Vec<OsString> {
    let limits = &confinement.limits;
    let mut line: Vec<OsString> = Vec::with_capacity(20 + args.len());
    let mut option = |name: &str, value: &OsStr| line.extend([name.into(), value.to_owned()]);
    option("--mode", confinement.mode.to_string().as_ref());
    option("--cpu-seconds", limits.cpu_seconds.to_string().as_ref());
    option("--memory-bytes", limits.memory_bytes.to_string().as_ref());
    option("--file-bytes", limits.file_bytes.to_string().as_ref());
    option("--open-files", limits.open_files.to_string().as_ref());
    option("--nice", confinement.nice.to_string().as_ref());
    for path in &confinement.read {
        option("--read", path.as_os_str());
    }
    if let Some(path) = &confinement.write {
        option("--write", path.as_os_str());
    }
    if let Some(port) = confinement.connect {
        option("--connect", port.to_string().as_ref());
    }
    line.extend(["--".into(), program.into()]);
    line.extend(args.iter().map(OsString::from));
    line
}

/// The helper's parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HelperCommand {
    pub confinement: Confinement,
    pub program: OsString,
    pub args: Vec<OsString>,
}

/// Parses what [`arguments`] builds. There are no defaults: a lost option must not widen the rights.
pub(crate) fn parse(mut args: impl Iterator<Item = OsString>) -> Result<HelperCommand, JailError> {
    let (mut mode, mut nice, mut write, mut connect) = (None, None, None, None);
    let (mut cpu, mut memory, mut file, mut open) = (None, None, None, None);
    let mut read = Vec::new();
    loop {
        let name = args.next().ok_or(JailError::NotGiven("the program"))?;
        if name == "--" {
            break;
        }
        let Some(value) = args.next() else { return Err(JailError::Argument(name)) };
        match name.to_str() {
            Some("--mode") => set(&mut mode, &name, &value)?,
            Some("--cpu-seconds") => set(&mut cpu, &name, &value)?,
            Some("--memory-bytes") => set(&mut memory, &name, &value)?,
            Some("--file-bytes") => set(&mut file, &name, &value)?,
            Some("--open-files") => set(&mut open, &name, &value)?,
            Some("--nice") => set(&mut nice, &name, &value)?,
            Some("--connect") => set(&mut connect, &name, &value)?,
            Some("--read") => read.push(value.into()),
            Some("--write") if write.is_none() => write = Some(value.into()),
            _ => return Err(JailError::Argument(name)),
        }
    }
    let limits = Limits {
        cpu_seconds: cpu.ok_or(JailError::NotGiven("--cpu-seconds"))?,
        memory_bytes: memory.ok_or(JailError::NotGiven("--memory-bytes"))?,
        file_bytes: file.ok_or(JailError::NotGiven("--file-bytes"))?,
        open_files: open.ok_or(JailError::NotGiven("--open-files"))?,
    };
    let mode: Mode = mode.ok_or(JailError::NotGiven("--mode"))?;
    let nice = nice.ok_or(JailError::NotGiven("--nice"))?;
    let program = args.next().ok_or(JailError::NotGiven("the program"))?;
    let confinement = Confinement { mode, read, write, connect, limits, nice };
    Ok(HelperCommand { confinement, program, args: args.collect() })
}

/// Parses the value of an option that may be given once.
fn set<T: FromStr>(slot: &mut Option<T>, name: &OsStr, value: &OsStr) -> Result<(), JailError> {
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    if slot.is_some() || parsed.is_none() {
        return Err(JailError::Argument(name.to_owned()));
    }
    *slot = parsed;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::{HelperCommand, arguments, parse};
    use crate::{
        confinement::{Confinement, Limits, Mode},
        error::JailError,
    };

    fn command() -> HelperCommand {
        let limits = Limits { cpu_seconds: 1, memory_bytes: 2, file_bytes: 3, open_files: 4 };
        let confinement = Confinement {
            mode: Mode::Partial,
            read: vec!["/one".into(), "--write".into()],
            write: Some("/two".into()),
            connect: Some(4711),
            limits,
            nice: 10,
        };
        HelperCommand { confinement, program: "ffmpeg".into(), args: vec!["--".into(), "--mode".into()] }
    }

    fn line() -> Vec<OsString> {
        arguments(&command().confinement, "ffmpeg", &["--".to_owned(), "--mode".to_owned()])
    }

    #[test]
    fn parse_built_arguments_returns_the_command() {
        assert_eq!(parse(line().into_iter()).expect("parsed"), command());
    }

    #[test]
    fn parse_arguments_without_optional_rights_returns_the_confinement() {
        let bare = Confinement { read: vec![], write: None, connect: None, ..command().confinement };
        let line = arguments(&bare, "ffmpeg", &[]);
        assert_eq!(parse(line.into_iter()).expect("parsed").confinement, bare);
    }

    #[test]
    fn parse_without_required_option_returns_error() {
        for option in ["--mode", "--cpu-seconds", "--memory-bytes", "--file-bytes", "--open-files", "--nice"]
        {
            let mut line = line();
            let index = line.iter().position(|argument| argument == option).expect("present");
            line.drain(index..index + 2);
            let error = parse(line.into_iter()).expect_err(option);
            assert!(matches!(error, JailError::NotGiven(name) if name == option), "{error}");
        }
    }

    #[test]
    fn parse_invalid_repeated_or_unknown_option_returns_error() {
        for option in [["--connect", "65536"], ["--mode", "some"], ["--write", "/again"], ["--bind", "80"]] {
            let line = option.iter().map(OsString::from).chain(line());
            let error = parse(line).expect_err(option[0]);
            assert!(matches!(error, JailError::Argument(_)), "{error}");
        }
    }

    #[test]
    fn parse_without_program_returns_error() {
        let end = line().iter().position(|argument| argument == "--").expect("present");
        assert!(matches!(parse(line().into_iter().take(end)), Err(JailError::NotGiven(_))));
        assert!(matches!(parse(line().into_iter().take(end + 1)), Err(JailError::NotGiven(_))));
    }
}
