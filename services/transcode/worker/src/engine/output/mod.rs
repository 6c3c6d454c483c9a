//! Outputs: uploaded as they come out of the encoder's pipes, and recorded in order.

pub(crate) mod images;
pub(crate) mod local_copy;
pub(crate) mod record_batcher;
pub(crate) mod sink;
pub(crate) mod subtitles;
pub(crate) mod track_upload;
pub(crate) mod upload_context;
