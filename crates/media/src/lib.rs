//! Media rules as pure functions, without I/O: recognise a container by its first bytes, read a probe, choose the ladder
//! and plan the job, build the ffmpeg command lines, cut the encoder's output into segments, and write playlists.
//!
//! One video passes through the modules in this order: [`sniff`] → [`probe`] → [`plan`] (with [`ladder`]) → [`command`]
//! (with [`seek`] and [`clock`]) → [`fragments`] → [`playlists`].

pub mod avc;
mod boxes;
pub mod captions;
pub mod clock;
pub mod command;
pub mod failure;
pub mod flv;
pub mod fragments;
pub mod geometry;
pub mod ladder;
pub mod matroska;
pub mod plan;
pub mod playlists;
pub mod probe;
pub mod rate;
pub mod seek;
pub mod sniff;
pub mod structure;
pub mod subtitles;
pub mod tail;

pub use failure::{Failure, FailureCause, FailureKind};

/// Version of the output. Bump when the same plan yields different bytes, for example after a change of ffmpeg arguments.
///
/// It is part of a worker's encoder build, and a plan uses no feature that the probing worker's version lacks: 2 added a
/// start after zero, 3 repeating the last frame until the stated end, 4 determining that end in the worker that needs it,
/// 5 encoding audio in parts, 7 holding a picture by one segment that is repeated, 8 the same for chunks in which no frame is
/// displayed, and reading on after missing data in MPEG-TS.
pub const OUTPUT_VERSION: u32 = 9;
