//! A worker that encodes nothing: it uploads small objects and records them as a real one would.

use std::collections::HashMap;

use bytes::Bytes;
use reelmill_media::{
    plan::{Plan, WorkUnit},
    probe::Source,
};
use reelmill_proto::transcode::{
    CompleteTaskRequest, EncodeTask, InitSegment, Lease, MediaSegment, Output, PlanJobRequest, Poster,
    ProgressiveFile, RecordOutputsRequest, SourceInfo, SourceProgram, SourceTrack, StartTaskResponse,
    ThumbnailSheet, output::Kind, start_task_response::Work,
};
use serde_json::json;
use tonic::Status;

use super::TestSystem;

/// Content of each object.
const BODY: &[u8] = b"a segment";

/// A leased ENCODE task.
pub struct LeasedEncodeTask {
    pub lease: Lease,
    pub prefix: String,
    pub plan: Plan,
    pub work_unit: WorkUnit,
    pub recorded: HashMap<String, i32>,
}

/// A source that is encoded into two rungs at 25 frames per second, with audio if `audio`: 16 seconds are 4 segments of
/// 100 frames. From 34 seconds it is cut into chunks of 1, 2, 4 and 8 segments.
pub fn source(seconds: f64, audio: bool) -> Source {
    let length = seconds.to_string();
    let video = json!({
        "index": 0, "codec_type": "video", "codec_name": "h264", "width": 640, "height": 360,
        "r_frame_rate": "25/1", "avg_frame_rate": "25/1", "pix_fmt": "yuv420p", "duration": length,
    });
    let audio_stream = json!({
        "index": 1, "codec_type": "audio", "codec_name": "aac", "channels": 2, "sample_rate": "48000",
        "tags": { "language": "eng" }, "duration": length,
    });
    let streams: Vec<_> = std::iter::once(video).chain(audio.then_some(audio_stream)).collect();
    let probed = json!({ "streams": streams, "format": { "format_name": "mov", "duration": length } });
    reelmill_media::probe::parse(probed.to_string().as_bytes(), None).unwrap()
}

/// The request of a worker that has probed a source.
pub fn plan_request(lease: &Lease, source: &Source) -> PlanJobRequest {
    PlanJobRequest {
        lease: Some(lease.clone()),
        source: serde_json::to_vec(source).unwrap(),
        source_info: Some(SourceInfo {
            width: 640,
            height: 360,
            tracks: vec![SourceTrack { index: 1, used: true, ..SourceTrack::default() }],
            programs: vec![SourceProgram { number: 12, used: true, ..SourceProgram::default() }],
            ..SourceInfo::default()
        }),
    }
}

impl LeasedEncodeTask {
    fn new(lease: Lease, prefix: String, task: &EncodeTask) -> Self {
        Self {
            lease,
            prefix,
            plan: serde_json::from_slice(&task.plan).unwrap(),
            work_unit: serde_json::from_slice(&task.work_unit).unwrap(),
            recorded: task.recorded.clone(),
        }
    }

    /// The ENCODE task of a response.
    pub fn from_response(started: StartTaskResponse) -> Self {
        let Some(Work::Encode(task)) = &started.work else {
            panic!("not an ENCODE task: {:?}", started.work)
        };
        Self::new(started.lease.clone().unwrap(), started.output_prefix.clone(), task)
    }

    /// Sequence numbers of this work unit's segments, in a video of `total` segments.
    pub fn segment_range(&self, total: i32) -> std::ops::Range<i32> {
        let Some((video_plan, chunk)) = self.plan.video.as_ref().zip(self.work_unit.chunk) else {
            let part = self.work_unit.audio_part;
            let end = part.segments.map_or(total, |segments| (part.first_segment + segments) as i32);
            return (part.first_segment as i32).min(total)..end.min(total);
        };
        let first =
            |chunk: usize| video_plan.chunks.get(chunk).map_or(total, |chunk| chunk.first_segment as i32);
        first(chunk).min(total)..first(chunk + 1).min(total)
    }

    /// Ids of the renditions that it encodes.
    pub fn renditions(&self) -> Vec<String> {
        let rungs =
            self.work_unit.rungs.iter().map(|&rung| &self.plan.video.as_ref().unwrap().rungs[rung].id);
        rungs.chain(self.work_unit.audio.iter().map(|&audio| &self.plan.audio[audio].id)).cloned().collect()
    }
}

pub fn init(rendition: &str) -> Output {
    let codec = if rendition.starts_with("audio") { "mp4a.40.2" } else { "avc1.64001e" };
    output(rendition, "init.mp4", Kind::Init(InitSegment { codec: codec.to_owned() }))
}

pub fn segment(rendition: &str, sequence: i32) -> Output {
    let segment = MediaSegment {
        sequence,
        start_seconds: f64::from(sequence) * 4.0,
        seconds: 4.0,
        frames: 100,
        keyframe_bytes: 3,
    };
    output(rendition, &format!("seg_{sequence}.m4s"), Kind::Segment(segment))
}

pub fn progressive(rendition: &str) -> Output {
    output(rendition, "video.mp4", Kind::Progressive(ProgressiveFile {}))
}

pub fn poster() -> Output {
    Output { rendition_id: String::new(), ..output("images", "poster.jpg", Kind::Poster(Poster {})) }
}

pub fn sheet(sequence: i32) -> Output {
    let sheet = ThumbnailSheet {
        sequence,
        start_seconds: f64::from(sequence) * 4.0,
        interval_seconds: 2.0,
        count: 2,
        columns: 5,
        width: 160,
        height: 90,
    };
    let sheet = output("images", &format!("sprite_{sequence}.jpg"), Kind::Thumbnails(sheet));
    Output { rendition_id: String::new(), ..sheet }
}

fn output(rendition: &str, name: &str, kind: Kind) -> Output {
    Output {
        name: format!("{rendition}/{name}"),
        size_bytes: BODY.len() as i64,
        rendition_id: rendition.to_owned(),
        kind: Some(kind),
    }
}

impl TestSystem {
    /// Starts the most urgent task, which must be an ENCODE task.
    pub async fn start_encode_task(&self) -> LeasedEncodeTask {
        LeasedEncodeTask::from_response(self.start_task().await)
    }

    /// Starts the next EXPRESS task, which must be an ENCODE task.
    pub async fn start_express_encode_task(&self) -> LeasedEncodeTask {
        LeasedEncodeTask::from_response(self.start_express_task().await)
    }

    /// Creates and plans a job; its first ENCODE task is leased.
    pub async fn create_planned_job(&self, request_id: &str, source: &Source) -> LeasedEncodeTask {
        self.create_job("ann", request_id).await;
        let started = self.start_next_task().await;
        self.plan_job(&started, source).await
    }

    /// Plans a job whose PREPARE task was started.
    pub async fn plan_job(&self, started: &StartTaskResponse, source: &Source) -> LeasedEncodeTask {
        assert!(matches!(started.work, Some(Work::Prepare(_))), "{:?}", started.work);
        let lease = started.lease.clone().unwrap();
        let response =
            self.worker_client().plan_job(plan_request(&lease, source)).await.unwrap().into_inner();
        LeasedEncodeTask::new(lease, started.output_prefix.clone(), &response.encode.unwrap())
    }

    /// Uploads objects below an attempt's prefix.
    pub async fn upload(&self, prefix: &str, outputs: &[Output]) {
        for output in outputs {
            let key = format!("{prefix}{}", output.name);
            self.objects.put(&key, Bytes::from_static(BODY), "video/mp4").await.unwrap();
        }
    }

    /// Uploads and records outputs.
    pub async fn record(&self, task: &LeasedEncodeTask, outputs: Vec<Output>) {
        self.try_record(task, outputs).await.unwrap();
    }

    pub async fn try_record(&self, task: &LeasedEncodeTask, outputs: Vec<Output>) -> Result<(), Status> {
        self.upload(&task.prefix, &outputs).await;
        let request = RecordOutputsRequest { lease: Some(task.lease.clone()), outputs };
        self.worker_client().record_outputs(request).await.map(drop)
    }

    /// Records all outputs of a task, of a video of `total` segments, and completes it.
    pub async fn encode_and_complete(&self, task: &LeasedEncodeTask, total: i32) {
        self.encode(task, total).await;
        self.complete(&task.lease).await;
    }

    /// Records all outputs of a task, of a video of `total` segments.
    pub async fn encode(&self, task: &LeasedEncodeTask, total: i32) {
        for batch in outputs_of(task, total).chunks(1000) {
            self.record(task, batch.to_vec()).await;
        }
    }

    /// Completes a task whose outputs are recorded.
    pub async fn complete(&self, lease: &Lease) {
        self.worker_client().complete_task(complete_request(lease)).await.unwrap();
    }

    /// Completes all remaining ENCODE tasks of a video of `total` segments.
    pub async fn encode_remaining(&self, total: i32) {
        while let Some(started) = self.try_start_task().await {
            self.encode_and_complete(&LeasedEncodeTask::from_response(started), total).await;
        }
    }

    /// Completes all PACKAGE tasks; returns the ids of their renditions, sorted.
    pub async fn run_package_tasks(&self) -> Vec<String> {
        let mut packaged = Vec::new();
        while let Some(started) = self.try_start_task().await {
            let Some(Work::Package(task)) = started.work else { panic!("{:?}", started.work) };
            let [rendition] = &task.rendition_ids[..] else { panic!("{:?}", task.rendition_ids) };
            let file = progressive(rendition);
            self.upload(&started.output_prefix, std::slice::from_ref(&file)).await;
            let request =
                CompleteTaskRequest { outputs: vec![file], ..complete_request(&started.lease.unwrap()) };
            self.worker_client().complete_task(request).await.unwrap();
            packaged.push(rendition.clone());
        }
        packaged.sort();
        packaged
    }

    /// Completes the single task of a short job, and the job.
    pub async fn complete_single_task_job(&self, started: &StartTaskResponse) {
        let task = self.plan_job(started, &source(16.0, true)).await;
        let files = ["360p", "240p"].map(progressive).to_vec();
        self.record(&task, files).await;
        self.encode_and_complete(&task, 4).await;
        self.transcode.sweep().await.unwrap();
    }

    /// A text file in a job's folder; none if there is none.
    pub async fn read_text(&self, request_id: &str, job: &str, name: &str) -> Option<String> {
        let key = format!("{}{name}", job_folder(request_id, job));
        let object = self.objects.get(&key, None, None).await.ok()?;
        let bytes = object.body.collect().await.unwrap();
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// All keys in a job's folder, relative to it.
    pub async fn list_keys(&self, request_id: &str, job: &str) -> Vec<String> {
        let folder = job_folder(request_id, job);
        let found = self.objects.list(&folder).await.unwrap();
        found.into_iter().map(|(key, _)| key[folder.len()..].to_owned()).collect()
    }
}

/// Key prefix of a job's outputs.
pub fn job_folder(request_id: &str, job: &str) -> String {
    format!("outputs/{request_id}/{}/", job.trim_start_matches("jobs/"))
}

/// The request of a worker that has completed a task.
pub fn complete_request(lease: &Lease) -> CompleteTaskRequest {
    CompleteTaskRequest { lease: Some(lease.clone()), ..CompleteTaskRequest::default() }
}

/// The URIs that a playlist lists.
pub fn listed_uris(playlist: &str) -> Vec<&str> {
    playlist.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Name of the job of a lease.
pub fn job_name(lease: &Lease) -> String {
    lease.task.split("/tasks/").next().unwrap().to_owned()
}

/// All outputs of a task, of a video of `total` segments.
pub fn outputs_of(task: &LeasedEncodeTask, total: i32) -> Vec<Output> {
    let mut outputs = Vec::new();
    for rendition in task.renditions() {
        outputs.push(init(&rendition));
        outputs.extend(task.segment_range(total).map(|sequence| segment(&rendition, sequence)));
    }
    if task.work_unit.poster {
        outputs.push(poster());
    }
    if task.work_unit.thumbnails && !task.segment_range(total).is_empty() {
        outputs.push(sheet(task.segment_range(total).start));
    }
    outputs
}
