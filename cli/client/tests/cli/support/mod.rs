//! Fixture and helpers of the scenarios.

pub mod fake_server;
mod fixture;
mod helpers;
mod output;

pub use self::{
    fixture::ClientFixture,
    helpers::{bytes, read_json, unused_url, wait_until},
    output::{CommandOutput, wait_for_output},
};
