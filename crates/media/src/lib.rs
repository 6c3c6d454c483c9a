//! Pure rules of media, without I/O: what a file is by its first bytes, what a probe says, which
//! ladder a source gets, the ffmpeg command that encodes it, how its output stream is cut into
//! segments, and the playlists that describe them.
//!
//! One video reads downhill: [`sniff`] → [`probe`] → [`plan`] (with [`ladder`]) → [`command`] (with
//! [`seek`] and [`clock`]) → [`fragments`] → [`playlists`].

pub mod boxes;
pub mod clock;
pub mod command;
pub mod failure;
pub mod fragments;
pub mod geometry;
pub mod ladder;
pub mod plan;
pub mod playlists;
pub mod probe;
pub mod rate;
pub mod seek;
pub mod sniff;

pub use failure::{Failure, FailureKind};

/// Counts what this program itself changed in what it makes of the same plan, its arguments to ffmpeg included. Workers
/// that differ in it are of different builds; and no plan asks for what the worker that looked does not know yet. From 2
/// on tracks may begin after zero, from 3 on last pictures may be held, from 4 on the worker that needs their end looks
/// for it.
pub const OUTPUT_VERSION: u32 = 4;
