//! Unary calls through the gateway, compared with the same calls directly to the service.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use reelmill_mesh::headers;
use reelmill_proto::auth::{
    CreateSessionRequest, CreateSessionResponse, GetUserRequest, auth_service_client::AuthServiceClient,
};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::{
    figures::{Figures, median},
    system::{self, System},
};

const CALLERS: usize = 16;
const ROUNDS: usize = 3;
const ROUND_DURATION: Duration = Duration::from_secs(3);

/// Result of one round.
struct Round {
    calls_per_second: f64,
    p99_millis: f64,
}

/// Uses a call with an access token, so that the gateway checks signature, session and rate limit. Rounds alternate, so
/// that a change of the machine's speed affects both sides.
pub async fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    let system = System::start().await?;
    let gateway_channel = connect(&system.server).await?;
    let service_channel = connect(&system.role_address("auth")?).await?;
    let signed_in = sign_in(gateway_channel.clone()).await?;
    let user = signed_in.user.as_ref().map_or("", |user| user.name.trim_start_matches("users/"));
    let session =
        signed_in.session.as_ref().map_or("", |session| session.name.trim_start_matches("sessions/"));
    let key = std::fs::read_to_string(system.path("data/secrets/mesh_key"))?;
    let as_gateway = vec![
        (headers::KEY, key.trim().parse()?),
        (headers::CALLER, format!("user {user} {session}").parse()?),
    ];
    let as_client = vec![("authorization", format!("Bearer {}", signed_in.access_token).parse()?)];
    let (mut service, mut gateway) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        service.push(round(service_channel.clone(), as_gateway.clone()).await?);
        gateway.push(round(gateway_channel.clone(), as_client.clone()).await?);
    }
    let rate = |rounds: &[Round]| median(rounds.iter().map(|round| round.calls_per_second).collect());
    let p99 = |rounds: &[Round]| median(rounds.iter().map(|round| round.p99_millis).collect());
    figures.record("unary calls straight to the service", rate(&service), "calls/s", None)?;
    figures.record("the same through the gateway", rate(&gateway), "calls/s", None)?;
    figures.record("throughput: gateway over straight", rate(&gateway) / rate(&service), "x", None)?;
    figures.record("p99 straight to the service", p99(&service), "ms", None)?;
    figures.record("p99 through the gateway", p99(&gateway), "ms", None)
}

async fn connect(address: &str) -> anyhow::Result<Channel> {
    Ok(Endpoint::from_shared(address.to_owned())?.tcp_nodelay(true).connect().await?)
}

async fn sign_in(channel: Channel) -> anyhow::Result<CreateSessionResponse> {
    let request = CreateSessionRequest {
        email: system::EMAIL.to_owned(),
        password: system::PASSWORD.to_owned(),
        ..CreateSessionRequest::default()
    };
    Ok(AuthServiceClient::new(channel).create_session(request).await?.into_inner())
}

/// Concurrent callers on one connection, each with one call at a time.
async fn round(
    channel: Channel,
    metadata: Vec<(&'static str, MetadataValue<Ascii>)>,
) -> anyhow::Result<Round> {
    let started = Instant::now();
    let callers = (0..CALLERS).map(|_| {
        let mut client = AuthServiceClient::new(channel.clone());
        let metadata = metadata.clone();
        tokio::spawn(async move {
            let mut latencies_ms = Vec::new();
            while started.elapsed() < ROUND_DURATION {
                let mut request = Request::new(GetUserRequest { name: "users/me".to_owned() });
                for (name, value) in &metadata {
                    request.metadata_mut().insert(*name, value.clone());
                }
                let call_started = Instant::now();
                client.get_user(request).await?;
                latencies_ms.push(call_started.elapsed().as_secs_f64() * 1000.0);
            }
            anyhow::Ok(latencies_ms)
        })
    });
    let mut latencies_ms = Vec::new();
    for caller in futures::future::join_all(callers).await {
        latencies_ms.extend(caller??);
    }
    let seconds = started.elapsed().as_secs_f64();
    latencies_ms.sort_by(f64::total_cmp);
    let p99 = latencies_ms.get(latencies_ms.len() * 99 / 100).copied().context("no call completed")?;
    Ok(Round { calls_per_second: latencies_ms.len() as f64 / seconds, p99_millis: p99 })
}
