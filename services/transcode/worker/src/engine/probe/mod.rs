//! Reads a source's properties and packet lists with ffprobe.

pub(crate) mod clock_continuity;
pub(crate) mod inspect;
pub(crate) mod prober;
pub(crate) mod seek;
pub(crate) mod structure;
pub(crate) mod tail;
