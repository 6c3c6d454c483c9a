//! Helpers: a gateway, the roles behind it, and clients.

mod echo_role;
mod fake_roles;
mod test_gateway;
mod token_signer;
mod web_client;

pub use echo_role::{ECHO, ECHO_LIMIT};
pub use fake_roles::error_with_details;
pub use test_gateway::{BUCKET, TestGateway, authorized, unused_address};
pub use token_signer::TokenSigner;
pub use web_client::{BINARY, TEXT, WebResponse, framed, framed_bytes};

pub const CREATE_SESSION: &str = "reelmill.auth.v1.AuthService/CreateSession";
pub const GET_VIDEO: &str = "reelmill.upload.v1.VideoService/GetVideo";
pub const WATCH_VIDEO: &str = "reelmill.upload.v1.VideoService/WatchVideo";
pub const WATCH_VIDEOS: &str = "reelmill.upload.v1.VideoService/WatchVideos";
