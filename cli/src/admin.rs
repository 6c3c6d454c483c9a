//! `reelmill admin`: commands for the operator. They call the transcode service directly, with the mesh key of the
//! configuration.

use std::{io::Write as _, path::Path, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use reelmill_client::{columns, format_table, format_time};
use reelmill_mesh::{Channel, MeshKey, reason_of};
use reelmill_proto::{
    to_json,
    transcode::{
        ClassLoad, DrainWorkerRequest, GetQueueRequest, GetQueueResponse, JobDetails, ListAllJobsRequest,
        ListAllJobsResponse, ListDeadLettersRequest, ListDeadLettersResponse, ListWorkersRequest,
        ListWorkersResponse, ReconcileRequest, ReconcileResponse, RedriveDeadLettersRequest,
        SetPausedRequest, Worker, admin_service_client::AdminServiceClient, job::State,
    },
    upload::{
        CompareStorageRequest, CompareStorageResponse, ReconcileJobsRequest, ReconcileJobsResponse,
        maintenance_service_client::MaintenanceServiceClient,
    },
};
use serde_json::Value;
use tonic::Status;

use crate::{
    addresses::admin_addresses,
    config::{Config, Secrets},
};

/// Jobs per call.
const PAGE_SIZE: i32 = 200;

/// Options of `reelmill admin`.
#[derive(Args)]
pub struct AdminOptions {
    #[command(subcommand)]
    pub command: AdminCommand,
}

/// Commands for the operator.
#[derive(Subcommand)]
pub enum AdminCommand {
    /// Shows what is waiting, running and held up
    Queue,
    /// Lists the workers and what they run
    Workers,
    /// Lists jobs of all users with their tasks
    Jobs {
        /// Also lists jobs that have ended
        #[arg(long)]
        all: bool,
    },
    /// Lists queue messages that were received too often
    DeadLetters,
    /// Moves the dead letters back to the queue
    Redrive,
    /// Stops leasing tasks; running tasks continue
    Pause,
    /// Leases tasks again
    Resume,
    /// Lets a worker finish its tasks and take no others
    Drain {
        /// Name of the worker, as `reelmill admin workers` lists it
        worker: String,
        /// Lets it take tasks again
        #[arg(long)]
        undo: bool,
    },
    /// Repeats now what the roles do by themselves to repair what a fault interrupted, and compares videos with the object
    /// store
    Reconcile {
        /// Deletes objects that belong to no video. After an older upload database was restored these are what was uploaded
        /// since
        #[arg(long)]
        delete_unknown: bool,
    },
}

/// Exit codes, the same as those of the client's commands.
const UNREACHABLE: u8 = 3;
const REFUSED: u8 = 4;

/// Runs a command; prints its result as a table, or as JSON if `json`. Returns the exit code.
pub async fn run(command: AdminCommand, config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let (address, upload_address) = admin_addresses(config);
    let client = AdminServiceClient::new(channel(config, &address)?);
    let maintenance = MaintenanceServiceClient::new(channel(config, &upload_address)?);
    // Only this command calls the upload service.
    let is_of_both = matches!(command, AdminCommand::Reconcile { .. });
    let output = match execute(command, client, maintenance).await {
        Ok(output) => output,
        Err(status) => {
            let reason = reason_of(&status);
            let shown = reason.clone().unwrap_or_else(|| format!("{:?}", status.code()));
            let message = status.message();
            let service = if is_of_both {
                format!("the transcode service at {address} or the upload service at {upload_address}")
            } else {
                format!("the transcode service at {address}")
            };
            writeln!(std::io::stderr(), "reelmill: {service}: {message} ({shown})")?;
            return Ok(ExitCode::from(if reason.is_some() { REFUSED } else { UNREACHABLE }));
        }
    };
    let text = if json { output.json } else { output.text };
    match writeln!(std::io::stdout(), "{text}") {
        // A reader such as `head` has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        printed => printed?,
    }
    Ok(ExitCode::SUCCESS)
}

fn channel(config: &Config, address: &str) -> anyhow::Result<Channel> {
    let secrets = Secrets::of(config, Path::new(&config.data.dir));
    let key = MeshKey::new(&secrets.stored_mesh_key()?).context("secrets.mesh_key")?;
    Channel::lazy(address, &key, "admin").with_context(|| format!("the address {address}"))
}

/// What a command prints.
struct Output {
    text: String,
    json: String,
}

impl Output {
    fn of<M: prost::Message>(name: &str, message: &M, text: String) -> Self {
        Self { text, json: to_json(&format!("reelmill.transcode.v1.{name}"), message) }
    }
}

async fn execute(
    command: AdminCommand,
    mut client: AdminServiceClient<Channel>,
    mut maintenance: MaintenanceServiceClient<Channel>,
) -> Result<Output, Status> {
    match command {
        AdminCommand::Queue => {
            let queue = client.get_queue(GetQueueRequest {}).await?.into_inner();
            Ok(Output::of("GetQueueResponse", &queue, queue_text(&queue)))
        }
        AdminCommand::Workers => {
            let response = client.list_workers(ListWorkersRequest {}).await?.into_inner();
            Ok(Output::of("ListWorkersResponse", &response, workers_text(&response)))
        }
        AdminCommand::Jobs { all } => {
            let response = jobs(&mut client, all).await?;
            Ok(Output::of("ListAllJobsResponse", &response, jobs_text(&response.jobs)))
        }
        AdminCommand::DeadLetters => {
            let response = client.list_dead_letters(ListDeadLettersRequest {}).await?.into_inner();
            Ok(Output::of("ListDeadLettersResponse", &response, dead_letters_text(&response)))
        }
        AdminCommand::Redrive => {
            let response = client.redrive_dead_letters(RedriveDeadLettersRequest {}).await?.into_inner();
            let text = format!("{} messages are back in the queue", response.moved_messages);
            Ok(Output::of("RedriveDeadLettersResponse", &response, text))
        }
        AdminCommand::Pause => set_paused(&mut client, true).await,
        AdminCommand::Resume => set_paused(&mut client, false).await,
        AdminCommand::Drain { worker, undo } => {
            let request = DrainWorkerRequest { name: worker.clone(), draining: !undo };
            let response = client.drain_worker(request).await?.into_inner();
            let text = if undo {
                format!("{worker} takes tasks again within seconds")
            } else {
                format!(
                    "{worker} takes no more tasks; `reelmill admin workers` lists those that it still runs"
                )
            };
            Ok(Output::of("DrainWorkerResponse", &response, text))
        }
        AdminCommand::Reconcile { delete_unknown } => {
            let response = client.reconcile(ReconcileRequest {}).await?.into_inner();
            let jobs = maintenance.reconcile_jobs(ReconcileJobsRequest {}).await?.into_inner();
            let storage = compare_storage(maintenance, delete_unknown).await?;
            let texts = [
                reconcile_text(&response),
                reconciled_jobs_text(&jobs),
                storage_text(&storage, delete_unknown),
            ];
            Ok(Output { text: texts.join("\n"), json: reconcile_json(&response, &jobs, &storage) })
        }
    }
}

/// Compares all pages.
async fn compare_storage(
    mut client: MaintenanceServiceClient<Channel>,
    delete_unknown: bool,
) -> Result<CompareStorageResponse, Status> {
    let mut all = CompareStorageResponse::default();
    loop {
        let request = CompareStorageRequest { page_token: all.next_page_token.clone(), delete_unknown };
        let page = client.compare_storage(request).await?.into_inner();
        all.compared_videos = all.compared_videos.saturating_add(page.compared_videos);
        all.unknown_prefixes.extend(page.unknown_prefixes);
        all.missing.extend(page.missing);
        all.next_page_token = page.next_page_token;
        if all.next_page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn set_paused(client: &mut AdminServiceClient<Channel>, paused: bool) -> Result<Output, Status> {
    let response = client.set_paused(SetPausedRequest { paused }).await?.into_inner();
    let text = if paused {
        "paused: no task is started until `reelmill admin resume`; running tasks continue"
    } else {
        "resumed"
    };
    Ok(Output::of("SetPausedResponse", &response, text.to_owned()))
}

async fn jobs(client: &mut AdminServiceClient<Channel>, all: bool) -> Result<ListAllJobsResponse, Status> {
    let states = if all {
        vec![State::Queued, State::Running, State::Succeeded, State::Failed, State::Cancelled]
    } else {
        Vec::new()
    };
    let mut listed = ListAllJobsResponse::default();
    let mut page_token = String::new();
    loop {
        let states = states.iter().map(|state| i32::from(*state)).collect();
        let request = ListAllJobsRequest { states, page_size: PAGE_SIZE, page_token };
        let page = client.list_all_jobs(request).await?.into_inner();
        listed.jobs.extend(page.jobs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(listed);
        }
    }
}

fn queue_text(queue: &GetQueueResponse) -> String {
    let class = |class: &ClassLoad| {
        vec![
            class.task_class().as_str_name().trim_start_matches("TASK_CLASS_").to_owned(),
            class.waiting_tasks.to_string(),
            class.queued_tasks.to_string(),
            class.running_tasks.to_string(),
        ]
    };
    let classes: Vec<_> = queue.classes.iter().map(class).collect();
    let mut lines = vec![
        format!("dispatcher: {}", if queue.paused { "paused" } else { "running" }),
        format!("jobs that wait for a dependency: {}", queue.waiting_jobs),
        format!(
            "queue messages: {} visible, {} hidden, {} dead letters",
            queue.visible_messages, queue.hidden_messages, queue.dead_letters
        ),
        String::new(),
        format_table(&["TASKS", "WAITING", "QUEUED", "RUNNING"], &classes, columns()),
    ];
    if !queue.owners.is_empty() {
        let owner = |load: &reelmill_proto::transcode::OwnerLoad| {
            vec![load.waiting_tasks.to_string(), load.running_tasks.to_string(), load.owner.clone()]
        };
        let owners: Vec<_> = queue.owners.iter().map(owner).collect();
        lines.push(String::new());
        lines.push(format_table(&["WAITING", "RUNNING", "OWNER"], &owners, columns()));
    }
    lines.join("\n")
}

fn workers_text(response: &ListWorkersResponse) -> String {
    if response.workers.is_empty() {
        return "no worker was seen within the last day".to_owned();
    }
    let row = |worker: &Worker| {
        let state = match (worker.gone, worker.draining) {
            (true, _) => "gone",
            (false, true) => "draining",
            (false, false) => "active",
        };
        vec![
            worker.name.clone(),
            state.to_owned(),
            format!("{}/{}", worker.tasks.len(), worker.bulk_slots + worker.express_slots),
            format_time(worker.last_seen_time.as_ref()),
            worker.version.clone(),
            worker.encoder_build.clone(),
        ]
    };
    let header = ["NAME", "STATE", "TASKS", "LAST SEEN (UTC)", "VERSION", "ENCODER BUILD"];
    format_table(&header, &response.workers.iter().map(row).collect::<Vec<_>>(), columns())
}

fn jobs_text(jobs: &[JobDetails]) -> String {
    if jobs.is_empty() {
        return "no jobs".to_owned();
    }
    let row = |details: &JobDetails| {
        let job = details.job.clone().unwrap_or_default();
        let tasks =
            [details.waiting_tasks, details.queued_tasks, details.running_tasks, details.succeeded_tasks];
        let note = match (&job.failure, &job.waiting) {
            (Some(failure), _) => failure.reason.clone(),
            (None, Some(waiting)) => {
                format!("waits: {} since {}", waiting.reason, format_time(waiting.since_time.as_ref()))
            }
            (None, None) => details.workers.join(" "),
        };
        vec![
            job.name.clone(),
            job.state().as_str_name().to_owned(),
            format!("{:.0}%", job.progress.unwrap_or_default().percent),
            tasks.map(|count| count.to_string()).join("/"),
            format_time(job.create_time.as_ref()),
            details.owner.clone(),
            note,
        ]
    };
    let header =
        ["NAME", "STATE", "DONE", "WAIT/QUEUE/RUN/END", "CREATED (UTC)", "OWNER", "WORKERS OR REASON"];
    format_table(&header, &jobs.iter().map(row).collect::<Vec<_>>(), columns())
}

fn dead_letters_text(response: &ListDeadLettersResponse) -> String {
    if response.dead_letters.is_empty() {
        return "no dead letters".to_owned();
    }
    let rows: Vec<_> = response
        .dead_letters
        .iter()
        .map(|letter| vec![letter.receive_count.to_string(), letter.body.clone()])
        .collect();
    format_table(&["RECEIVED", "ENCODER BUILD"], &rows, columns())
}

fn reconcile_text(response: &ReconcileResponse) -> String {
    format!(
        "owners with waiting tasks: {}, running jobs published: {}, wake-ups replaced: {}",
        response.owners, response.published_jobs, response.wake_ups
    )
}

fn storage_text(compared: &CompareStorageResponse, deleted: bool) -> String {
    let mut text = format!(
        "videos whose objects are missing: {}, folders that belong to no video: {}",
        compared.missing.len(),
        compared.unknown_prefixes.len()
    );
    for missing in &compared.missing {
        text.push_str(&format!("\n{}: there is nothing in {}", missing.video, missing.prefix));
    }
    for prefix in &compared.unknown_prefixes {
        let hint = if deleted { "deleted" } else { "belongs to no video; --delete-unknown deletes it" };
        text.push_str(&format!("\n{prefix}: {hint}"));
    }
    text
}

fn reconciled_jobs_text(response: &ReconcileJobsResponse) -> String {
    format!(
        "videos compared with their jobs: {}, with a missed change: {}, with a new job: {}",
        response.compared_videos, response.changed_videos, response.videos_without_job
    )
}

/// All responses as one JSON object: those of the upload service in `videos` and `storage`.
fn reconcile_json(
    response: &ReconcileResponse,
    jobs: &ReconcileJobsResponse,
    storage: &CompareStorageResponse,
) -> String {
    let parse = |json: String| serde_json::from_str::<Value>(&json).unwrap_or_default();
    let mut json = parse(to_json("reelmill.transcode.v1.ReconcileResponse", response));
    json["videos"] = parse(to_json("reelmill.upload.v1.ReconcileJobsResponse", jobs));
    json["storage"] = parse(to_json("reelmill.upload.v1.CompareStorageResponse", storage));
    json.to_string()
}
