//! The worker, tried with real ffmpeg in its jail: its engine alone, and the whole role against a dispatch, a queue and
//! a store of the tests' own.

mod board;
mod cancel;
mod codecs;
mod exact;
mod faults;
mod formats;
mod hostile;
mod identity;
mod jail;
mod job;
mod numbered;
mod pictures;
mod real;
mod reference;
mod renditions;
mod role;
mod role_dispatch;
mod role_support;
mod stills;
mod support;
mod sync;
mod tracks;
