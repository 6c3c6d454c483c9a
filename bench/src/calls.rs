//! Unary calls through the gateway against the same calls straight to the service.

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
const ROUND: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;

/// What one round measured.
struct Round {
    calls_a_second: f64,
    p99_millis: f64,
}

/// A signed-in call, so that signature, session and rate limit are all checked. Rounds in turn, so that a
/// change of the machine's mood hits both.
pub async fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    let system = System::start().await?;
    let through = connect(&system.server).await?;
    let straight = connect(&system.role("auth")?).await?;
    let signed_in = sign_in(through.clone()).await?;
    let user = signed_in.user.as_ref().map_or("", |user| user.name.trim_start_matches("users/"));
    let session =
        signed_in.session.as_ref().map_or("", |session| session.name.trim_start_matches("sessions/"));
    let key = std::fs::read_to_string(system.path("data/secrets/mesh_key"))?;
    let as_gateway = vec![
        (headers::KEY, key.trim().parse()?),
        (headers::CALLER, format!("user {user} {session}").parse()?),
    ];
    let as_client = vec![("authorization", format!("Bearer {}", signed_in.access_token).parse()?)];
    let (mut direct, mut gateway) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        direct.push(round(straight.clone(), as_gateway.clone()).await?);
        gateway.push(round(through.clone(), as_client.clone()).await?);
    }
    let rate = |rounds: &[Round]| median(rounds.iter().map(|round| round.calls_a_second).collect());
    let p99 = |rounds: &[Round]| median(rounds.iter().map(|round| round.p99_millis).collect());
    figures.note("unary calls straight to the service", rate(&direct), "calls/s", None)?;
    figures.note("the same through the gateway", rate(&gateway), "calls/s", None)?;
    figures.note("throughput: gateway over straight", rate(&gateway) / rate(&direct), "x", None)?;
    figures.note("p99 straight to the service", p99(&direct), "ms", None)?;
    figures.note("p99 through the gateway", p99(&gateway), "ms", None)
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

/// Calls from a number of callers at once, each one call after the other, on one connection.
async fn round(
    channel: Channel,
    metadata: Vec<(&'static str, MetadataValue<Ascii>)>,
) -> anyhow::Result<Round> {
    let started = Instant::now();
    let callers = (0..CALLERS).map(|_| {
        let mut client = AuthServiceClient::new(channel.clone());
        let metadata = metadata.clone();
        tokio::spawn(async move {
            let mut took = Vec::new();
            while started.elapsed() < ROUND {
                let mut request = Request::new(GetUserRequest { name: "users/me".to_owned() });
                for (name, value) in &metadata {
                    request.metadata_mut().insert(*name, value.clone());
                }
                let begun = Instant::now();
                client.get_user(request).await?;
                took.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
            anyhow::Ok(took)
        })
    });
    let mut took = Vec::new();
    for caller in futures::future::join_all(callers).await {
        took.extend(caller??);
    }
    let seconds = started.elapsed().as_secs_f64();
    took.sort_by(f64::total_cmp);
    let p99 = took.get(took.len() * 99 / 100).copied().context("no call ended")?;
    Ok(Round { calls_a_second: took.len() as f64 / seconds, p99_millis: p99 })
}
