//! The gateway against real roles' far ends, by real clients: gRPC, gRPC-web, plain HTTP.

mod calls;
mod far_end;
mod garbage;
mod limits;
mod pages;
mod playback;
mod shared_state_unavailable;
mod sign_in;
mod streams;
mod system;
mod tokens;
mod wait;
mod web_calls;
mod web_client;
