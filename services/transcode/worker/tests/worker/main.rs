//! The worker, tried with real ffmpeg: its engine alone, and the whole role against a dispatch, a
//! queue and a store of the tests' own.

mod cancel;
mod faults;
mod hostile;
mod real;
mod renditions;
mod role;
mod role_support;
mod support;
mod sync;
