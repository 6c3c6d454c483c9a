//! The helper's command line, written and read back.

use crate::{Confinement, JailError, Limits, Mode};
use std::ffi::{OsStr, OsString};
use std::str::FromStr;

/// What to hand to the helper so that `program`, a name on PATH or an absolute path, runs with `args`
/// under this confinement.
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

/// A command line, understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub confinement: Confinement,
    pub program: OsString,
    pub args: Vec<OsString>,
}

/// The inverse of [`arguments`]. Strict, and without defaults: an option that is lost would be a hole.
pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Order, JailError> {
    let mut args = args;
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
    Ok(Order { confinement, program, args: args.collect() })
}

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
    use super::{Order, arguments, parse};
    use crate::{Confinement, JailError, Limits, Mode};
    use std::ffi::OsString;

    fn order() -> Order {
        let limits = Limits { cpu_seconds: 1, memory_bytes: 2, file_bytes: 3, open_files: 4 };
        let confinement = Confinement {
            mode: Mode::Partial,
            read: vec!["/one".into(), "--write".into()],
            write: Some("/two".into()),
            connect: Some(4711),
            limits,
            nice: 10,
        };
        Order { confinement, program: "ffmpeg".into(), args: vec!["--".into(), "--mode".into()] }
    }

    fn line() -> Vec<OsString> {
        arguments(&order().confinement, "ffmpeg", &["--".to_owned(), "--mode".to_owned()])
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(parse(line().into_iter()).expect("understood"), order());
        let bare = Confinement { read: vec![], write: None, connect: None, ..order().confinement };
        let bare_line = arguments(&bare, "ffmpeg", &[]);
        assert_eq!(parse(bare_line.into_iter()).expect("understood").confinement, bare);
    }

    #[test]
    fn whatever_is_left_out_or_bent_is_refused() {
        for lost in ["--mode", "--cpu-seconds", "--memory-bytes", "--file-bytes", "--open-files", "--nice"] {
            let mut line = line();
            let at = line.iter().position(|argument| argument == lost).expect("there");
            line.drain(at..at + 2);
            let error = parse(line.into_iter()).expect_err(lost);
            assert!(matches!(error, JailError::NotGiven(name) if name == lost), "{error}");
        }
        for bent in [["--connect", "65536"], ["--mode", "some"], ["--write", "/again"], ["--bind", "80"]] {
            let line = bent.iter().map(OsString::from).chain(line());
            let error = parse(line).expect_err(bent[0]);
            assert!(matches!(error, JailError::Argument(_)), "{error}");
        }
        let end = line().iter().position(|argument| argument == "--").expect("there");
        assert!(matches!(parse(line().into_iter().take(end)), Err(JailError::NotGiven(_))));
        assert!(matches!(parse(line().into_iter().take(end + 1)), Err(JailError::NotGiven(_))));
    }
}
