//! The confinement mechanisms of a kernel.

use std::fmt;

/// The confinement mechanisms of this kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Support {
    /// Files (Landlock ABI 1, Linux 5.13).
    pub files: bool,
    /// TCP ports (Landlock ABI 4, Linux 6.7).
    pub ports: bool,
    /// System calls (seccomp filters on x86-64 or AArch64).
    pub syscalls: bool,
}

impl Support {
    /// The mechanisms that are missing, as text, or `None`.
    pub(crate) fn missing(&self) -> Option<String> {
        let names = [
            (self.files, "files (Landlock, Linux 5.13)"),
            (self.ports, "TCP ports (Landlock ABI 4, Linux 6.7)"),
            (self.syscalls, "system calls (seccomp filters on x86-64 or AArch64)"),
        ];
        let missing: Vec<&str> =
            names.iter().filter(|(supported, _)| !supported).map(|(_, name)| *name).collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |supported: bool| if supported { "yes" } else { "no" };
        let (files, ports, syscalls) = (word(self.files), word(self.ports), word(self.syscalls));
        write!(f, "files: {files}, TCP ports: {ports}, system calls: {syscalls}")
    }
}
