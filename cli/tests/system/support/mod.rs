//! Fixtures: a deployment, users of the client, generated media, and the playlists of a video.

pub mod cli_user;
pub mod deployment;
pub mod media;
pub mod playlists;
