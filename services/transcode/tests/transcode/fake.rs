//! A worker that encodes nothing: it puts small objects, and says what a real one would say of its own.

use std::collections::HashMap;

use bytes::Bytes;
use reelmill_media::{
    plan::{Plan, WorkUnit},
    probe::Source,
};
use reelmill_proto::transcode::{
    CompleteTaskRequest, EncodeTask, InitSegment, Lease, MediaSegment, Output, PlanJobRequest, Poster,
    ProgressiveFile, RecordOutputsRequest, SourceInfo, StartTaskResponse, ThumbnailSheet, output::Role,
    start_task_response::Work,
};
use serde_json::json;
use tonic::Status;

use crate::world::{World, start};

/// Bytes of each object.
const BODY: &[u8] = b"a segment";

/// A leased ENCODE task.
pub struct Encoding {
    pub lease: Lease,
    pub prefix: String,
    pub plan: Plan,
    pub work_unit: WorkUnit,
    pub recorded: HashMap<String, i32>,
}

/// A picture of two rungs at 25 frames a second, with sound where `audio`: 4 segments of 100 frames in 16 seconds.
/// From 34 seconds on it is cut: into chunks of 1, 2, 4 and 8 segments.
pub fn source(seconds: f64, audio: bool) -> Source {
    let length = seconds.to_string();
    let video = json!({
        "index": 0, "codec_type": "video", "codec_name": "h264", "width": 640, "height": 360,
        "r_frame_rate": "25/1", "avg_frame_rate": "25/1", "pix_fmt": "yuv420p", "duration": length,
    });
    let sound = json!({
        "index": 1, "codec_type": "audio", "codec_name": "aac", "channels": 2, "sample_rate": "48000",
        "tags": { "language": "eng" }, "duration": length,
    });
    let streams: Vec<_> = std::iter::once(video).chain(audio.then_some(sound)).collect();
    let probed = json!({ "streams": streams, "format": { "format_name": "mov", "duration": length } });
    reelmill_media::probe::parse(probed.to_string().as_bytes()).unwrap()
}

/// What a worker asks that has probed a source.
pub fn plan_request(lease: &Lease, source: &Source) -> PlanJobRequest {
    PlanJobRequest {
        lease: Some(lease.clone()),
        source: serde_json::to_vec(source).unwrap(),
        source_info: Some(SourceInfo { width: 640, height: 360, ..SourceInfo::default() }),
    }
}

impl Encoding {
    fn of(lease: Lease, prefix: String, task: &EncodeTask) -> Self {
        Self {
            lease,
            prefix,
            plan: serde_json::from_slice(&task.plan).unwrap(),
            work_unit: serde_json::from_slice(&task.share).unwrap(),
            recorded: task.recorded.clone(),
        }
    }

    /// What a started task is.
    pub fn started(started: StartTaskResponse) -> Self {
        let Some(Work::Encode(task)) = &started.work else { panic!("no encoding: {:?}", started.work) };
        Self::of(started.lease.clone().unwrap(), started.output_prefix.clone(), task)
    }

    /// The places of this share's segments in its rungs, for a video of so many segments in all.
    pub fn places(&self, all: i32) -> std::ops::Range<i32> {
        let Some((video_plan, chunk)) = self.plan.video.as_ref().zip(self.work_unit.chunk) else {
            return 0..all;
        };
        let first =
            |chunk: usize| video_plan.chunks.get(chunk).map_or(all, |chunk| chunk.first_segment as i32);
        first(chunk).min(all)..first(chunk + 1).min(all)
    }

    /// Ids of the renditions it makes.
    pub fn renditions(&self) -> Vec<String> {
        let rungs =
            self.work_unit.rungs.iter().map(|&rung| &self.plan.video.as_ref().unwrap().rungs[rung].id);
        rungs.chain(self.work_unit.audio.iter().map(|&audio| &self.plan.audio[audio].id)).cloned().collect()
    }
}

pub fn init(rendition: &str) -> Output {
    let codec = if rendition.starts_with("audio") { "mp4a.40.2" } else { "avc1.64001e" };
    output(rendition, "init.mp4", Role::Init(InitSegment { codec: codec.to_owned() }))
}

pub fn segment(rendition: &str, sequence: i32) -> Output {
    let segment = MediaSegment {
        sequence,
        start_seconds: f64::from(sequence) * 4.0,
        seconds: 4.0,
        frames: 100,
        keyframe_bytes: 3,
    };
    output(rendition, &format!("seg_{sequence}.m4s"), Role::Segment(segment))
}

pub fn progressive(rendition: &str) -> Output {
    output(rendition, "video.mp4", Role::Progressive(ProgressiveFile {}))
}

pub fn poster() -> Output {
    Output { rendition_id: String::new(), ..output("images", "poster.jpg", Role::Poster(Poster {})) }
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
    let made = output("images", &format!("sprite_{sequence}.jpg"), Role::Thumbnails(sheet));
    Output { rendition_id: String::new(), ..made }
}

fn output(rendition: &str, name: &str, role: Role) -> Output {
    Output {
        name: format!("{rendition}/{name}"),
        size_bytes: BODY.len() as i64,
        rendition_id: rendition.to_owned(),
        role: Some(role),
    }
}

impl World {
    /// Starts the most urgent task, which must be one to encode.
    pub async fn encoding(&self, hint: &str) -> Encoding {
        Encoding::started(self.worker().start_task(start(hint)).await.unwrap().into_inner())
    }

    /// A new job that is planned; its first task is leased.
    pub async fn planned(&self, request_id: &str, source: &Source) -> Encoding {
        self.job("ann", request_id).await;
        let started = self.start().await;
        self.plan(&started, source).await
    }

    /// Plans a job whose PREPARE task was started.
    pub async fn plan(&self, started: &StartTaskResponse, source: &Source) -> Encoding {
        assert!(matches!(started.work, Some(Work::Prepare(_))), "{:?}", started.work);
        let lease = started.lease.clone().unwrap();
        let answer = self.worker().plan_job(plan_request(&lease, source)).await.unwrap().into_inner();
        Encoding::of(lease, started.output_prefix.clone(), &answer.encode.unwrap())
    }

    /// Puts objects below an attempt's prefix.
    pub async fn put(&self, prefix: &str, outputs: &[Output]) {
        for output in outputs {
            let key = format!("{prefix}{}", output.name);
            self.objects.put(&key, Bytes::from_static(BODY), "video/mp4").await.unwrap();
        }
    }

    /// Puts and records.
    pub async fn record(&self, task: &Encoding, outputs: Vec<Output>) {
        self.try_record(task, outputs).await.unwrap();
    }

    pub async fn try_record(&self, task: &Encoding, outputs: Vec<Output>) -> Result<(), Status> {
        self.put(&task.prefix, &outputs).await;
        let request = RecordOutputsRequest { lease: Some(task.lease.clone()), outputs };
        self.worker().record_outputs(request).await.map(drop)
    }

    /// Makes the whole share of a video of `all` segments, and completes the task.
    pub async fn make(&self, task: &Encoding, all: i32) {
        let mut outputs = Vec::new();
        for rendition in task.renditions() {
            outputs.push(init(&rendition));
            outputs.extend(task.places(all).map(|place| segment(&rendition, place)));
        }
        if task.work_unit.poster {
            outputs.push(poster());
        }
        if task.work_unit.thumbnails && !task.places(all).is_empty() {
            outputs.push(sheet(task.places(all).start));
        }
        self.record(task, outputs).await;
        self.complete(&task.lease).await;
    }

    /// Completes a task that recorded everything.
    pub async fn complete(&self, lease: &Lease) {
        self.worker().complete_task(complete(lease)).await.unwrap();
    }

    /// Makes all encoding tasks that are left, of a video of `all` segments.
    pub async fn make_rest(&self, hint: &str, all: i32) {
        while let Ok(started) = self.worker().start_task(start(hint)).await {
            self.make(&Encoding::started(started.into_inner()), all).await;
        }
    }

    /// Does whatever PACKAGE tasks there are; says which renditions they were for.
    pub async fn package(&self, hint: &str) -> Vec<String> {
        let mut packaged = Vec::new();
        while let Ok(started) = self.worker().start_task(start(hint)).await {
            let started = started.into_inner();
            let Some(Work::Package(task)) = started.work else { panic!("{:?}", started.work) };
            let [rendition] = &task.rendition_ids[..] else { panic!("{:?}", task.rendition_ids) };
            let file = progressive(rendition);
            self.put(&started.output_prefix, std::slice::from_ref(&file)).await;
            let request = CompleteTaskRequest { outputs: vec![file], ..complete(&started.lease.unwrap()) };
            self.worker().complete_task(request).await.unwrap();
            packaged.push(rendition.clone());
        }
        packaged.sort();
        packaged
    }

    /// Does a short job's one task, and lets dispatch finish it.
    pub async fn make_single(&self, started: &StartTaskResponse) {
        let task = self.plan(started, &source(16.0, true)).await;
        let files = ["360p", "240p"].map(progressive).to_vec();
        self.record(&task, files).await;
        self.make(&task, 4).await;
        self.transcode.sweep().await.unwrap();
    }

    /// An object's text below a job's folder; none when there is none.
    pub async fn text(&self, request_id: &str, job: &str, name: &str) -> Option<String> {
        let key = format!("{}{name}", folder(request_id, job));
        let object = self.objects.get(&key, None, None).await.ok()?;
        let bytes = object.body.collect().await.unwrap();
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// All keys below a job's folder, relative to it.
    pub async fn keys(&self, request_id: &str, job: &str) -> Vec<String> {
        let folder = folder(request_id, job);
        let found = self.objects.list(&folder).await.unwrap();
        found.into_iter().map(|(key, _)| key[folder.len()..].to_owned()).collect()
    }
}

/// A job's folder.
pub fn folder(request_id: &str, job: &str) -> String {
    format!("outputs/{request_id}/{}/", job.trim_start_matches("jobs/"))
}

/// What a worker that is done says.
pub fn complete(lease: &Lease) -> CompleteTaskRequest {
    CompleteTaskRequest { lease: Some(lease.clone()), ..CompleteTaskRequest::default() }
}

/// The segments that a media playlist lists, or any other addresses.
pub fn listed(playlist: &str) -> Vec<&str> {
    playlist.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// The job in a task's name.
pub fn job_of(lease: &Lease) -> String {
    lease.task.split("/tasks/").next().unwrap().to_owned()
}
