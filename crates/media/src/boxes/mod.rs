//! The few boxes of the ISO base media file format (ISO/IEC 14496-12, -14, -15) that segments and playlists need.
//! Every length is untrusted and checked.

mod codecs;
mod fragment;
mod reader;
mod shift;

pub(crate) use codecs::codec;
pub(crate) use fragment::{FragmentFacts, fragment_facts};
pub(crate) use reader::{header, timescale};
pub use shift::Shift;
pub(crate) use shift::{delayed, shifted};
