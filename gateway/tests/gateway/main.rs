//! A gateway in front of fake roles, called by real clients: gRPC, gRPC-web, plain HTTP.

mod authentication;
mod connections;
mod floods;
mod forwarding;
mod grpc_web;
mod limits;
mod malformed_requests;
mod pages;
mod playback;
mod probes;
mod rate_limits;
mod shared_state_unavailable;
mod streams;
mod support;
