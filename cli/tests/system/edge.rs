//! What clients on other platforms receive from the public port.

use std::{path::Path, time::Duration};

use serde::Deserialize;
use tokio::{process::Command, time::timeout};

use crate::support::deployment::Deployment;

#[derive(Debug, Deserialize)]
struct Answer {
    name: String,
    protocol: String,
    status: Option<u16>,
    grpc: Option<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn node_receives_every_refusal_of_a_call_with_a_large_body() {
    let deployment = Deployment::single_process().await;
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../web/test/refusals.mjs"));
    let object = format!("{}/reelmill/sources/a", deployment.server);
    let ran =
        Command::new("node").arg(script).args([&deployment.server, &object]).kill_on_drop(true).output();
    let output = timeout(Duration::from_secs(120), ran).await.expect("in time").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<Answer> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.len(), 140);
    for answer in answers {
        let expected = match answer.name.as_str() {
            "unknown method" => (Some(200), Some("12")),
            "object" => (Some(403), None),
            _ => (Some(200), Some("16")),
        };
        assert_eq!(
            (answer.status, answer.grpc.as_deref()),
            expected,
            "{} over {}",
            answer.name,
            answer.protocol
        );
    }
}
