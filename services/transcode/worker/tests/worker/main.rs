//! Tests of the worker with real ffmpeg in its jail: the engine by itself, and the whole role against a fake dispatcher,
//! queue and object store.

mod audio;
mod av_sync;
mod cancel;
mod chunk_boundaries;
mod codecs;
mod determinism;
mod faults;
mod formats;
mod gaps;
mod hostile;
mod images;
mod jail;
mod lengths;
mod odd_files;
mod real_files;
mod renditions;
mod role;
mod subtitles;
mod support;
mod video;
