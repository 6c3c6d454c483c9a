//! Outputs that were recorded of a job, over all attempts at its tasks, and the playlists that follow from them.

use async_trait::async_trait;
use reelmill_media::plan::{AUDIO_SAMPLE_RATE, Plan};
use reelmill_media::playlists::thumbnails::{self, Sheet};
use reelmill_media::playlists::{Presentation, Segment, Track, TrackKind, dash, hls};
use reelmill_worker::engine::{Content, Output, OutputKind, OutputSink, SinkError};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A recorded output, and the prefix of the attempt that uploaded it.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub prefix: String,
    pub output: Output,
}

impl Recorded {
    /// URI relative to the presentation.
    pub fn uri(&self) -> String {
        format!("{}/{}", self.prefix, self.output.name)
    }
}

/// All uploaded and recorded outputs of a job. Uploads go to a folder.
#[derive(Clone, Default)]
pub struct RecordedOutputs {
    root: PathBuf,
    recorded: Arc<Mutex<Vec<Recorded>>>,
    /// Names of the uploaded outputs by attempt, whether recorded or not.
    uploaded: Arc<Mutex<HashMap<String, Vec<String>>>>,
}

impl RecordedOutputs {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), ..Self::default() }
    }

    /// A sink for the outputs of an attempt. With a limit, uploads of later segments never complete.
    pub fn sink(&self, prefix: &str, max_segments: Option<usize>) -> Arc<FolderSink> {
        let segments_left = max_segments.map(AtomicUsize::new);
        Arc::new(FolderSink { outputs: self.clone(), prefix: prefix.to_owned(), segments_left })
    }

    /// Recorded outputs, in the order of recording.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.recorded.lock().expect("lock").clone()
    }

    /// Names of the outputs that an attempt uploaded.
    pub fn uploaded_in(&self, prefix: &str) -> Vec<String> {
        self.uploaded.lock().expect("lock").get(prefix).cloned().unwrap_or_default()
    }

    /// Content of an output.
    pub fn bytes(&self, recorded: &Recorded) -> Vec<u8> {
        std::fs::read(self.root.join(recorded.uri())).expect("object")
    }

    /// Content of all recorded outputs by name.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let recorded = self.recorded();
        recorded.iter().map(|recorded| (recorded.output.name.clone(), self.bytes(recorded))).collect()
    }

    /// The first recorded output that matches.
    pub fn find(&self, matches: impl Fn(&Output) -> bool) -> Option<Recorded> {
        self.recorded().into_iter().find(|recorded| matches(&recorded.output))
    }

    /// A rendition with its init segment and all media segments.
    pub fn track(&self, kind: TrackKind, id: &str, lead: f64) -> Track {
        let recorded = self.recorded();
        let of_track: Vec<_> = recorded.iter().filter(|recorded| recorded.output.rendition == id).collect();
        let mut track = Track {
            id: id.to_owned(),
            init: String::new(),
            codec: String::new(),
            presentation_time_offset: if matches!(kind, TrackKind::Subtitles { .. }) { 0.0 } else { lead },
            kind,
            segments: Vec::new(),
            complete: true,
        };
        let mut segments = BTreeMap::new();
        for recorded in of_track {
            match &recorded.output.kind {
                OutputKind::Init { codec } => {
                    track.init = recorded.uri();
                    track.codec.clone_from(codec);
                }
                OutputKind::Segment { sequence, start, seconds, keyframe_bytes, .. } => {
                    let segment = Segment {
                        uri: recorded.uri(),
                        start: *start,
                        seconds: *seconds,
                        bytes: recorded.output.size_bytes,
                        keyframe_bytes: *keyframe_bytes,
                    };
                    segments.insert(*sequence, segment);
                }
                _ => {}
            }
        }
        let sequences: Vec<u32> = segments.keys().copied().collect();
        assert_eq!(sequences, (0..sequences.len() as u32).collect::<Vec<_>>(), "{id}: no segment is missing");
        track.segments = segments.into_values().collect();
        track
    }

    /// Thumbnail sheets in order.
    pub fn sheets(&self) -> Vec<Sheet> {
        let mut sheets = BTreeMap::new();
        for recorded in self.recorded() {
            if let OutputKind::Thumbnails { sequence, start, interval, count, columns, tile } =
                recorded.output.kind
            {
                sheets.insert(sequence, Sheet { uri: recorded.uri(), start, interval, count, columns, tile });
            }
        }
        sheets.into_values().collect()
    }

    /// The presentation of all playable tracks.
    fn presentation(&self, plan: &Plan) -> Presentation {
        let tracks = track_kinds(plan)
            .into_iter()
            .map(|(id, kind)| self.track(kind, &id, plan.presentation_time_offset()));
        let tracks = tracks.filter(|track| !track.segments.is_empty()).collect();
        Presentation { tracks, complete: true }
    }

    /// Writes the playlists, as the transcode service does when all outputs are recorded.
    pub fn publish(&self, plan: &Plan) {
        let presentation = self.presentation(plan);
        let write = |name: &str, text: String| std::fs::write(self.root.join(name), text).expect("write");
        for track in &presentation.tracks {
            write(&track.playlist(), hls::media(track));
            if let Some(text) = hls::iframes(track) {
                write(&track.iframe_playlist(), text);
            }
        }
        write("master.m3u8", hls::master(&presentation));
        write("manifest.mpd", dash::manifest(&presentation));
        write("thumbnails.vtt", thumbnails::webvtt(&self.sheets(), presentation.end_seconds()));
    }
}

/// Id and kind of each track of a plan.
fn track_kinds(plan: &Plan) -> Vec<(String, TrackKind)> {
    let mut kinds = Vec::new();
    if let Some(video_plan) = &plan.video {
        kinds.extend(video_plan.rungs.iter().map(|rung| {
            let kind =
                TrackKind::Video { size: rung.size, rate: rung.rate(video_plan.rate), range: rung.range };
            (rung.id.clone(), kind)
        }));
    }
    kinds.extend(plan.audio.iter().map(|audio| {
        let kind = TrackKind::Audio {
            channels: audio.channels,
            sample_rate: AUDIO_SAMPLE_RATE,
            language: audio.language.clone(),
            name: audio.name.clone(),
            default: audio.default,
        };
        (audio.id.clone(), kind)
    }));
    kinds.extend(plan.subtitles.iter().map(|text| {
        let (language, name) = (text.language.clone(), text.name.clone());
        let kind = TrackKind::Subtitles { language, name, default: text.default, forced: text.forced };
        (text.id.clone(), kind)
    }));
    kinds
}

/// Writes the outputs of one attempt to the job's folder.
pub struct FolderSink {
    outputs: RecordedOutputs,
    prefix: String,
    /// Segments that can still be uploaded.
    segments_left: Option<AtomicUsize>,
}

#[async_trait]
impl OutputSink for FolderSink {
    async fn put(&self, name: &str, content: Content, _content_type: &'static str) -> Result<(), SinkError> {
        if let Some(left) = self.segments_left.as_ref().filter(|_| name.ends_with(".m4s"))
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err()
        {
            std::future::pending::<()>().await;
        }
        let path = self.outputs.root.join(&self.prefix).join(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        match content {
            Content::Bytes(bytes) => std::fs::write(path, bytes).expect("write"),
            Content::File(file, size) => assert_eq!(std::fs::copy(file, path).expect("copy"), size),
        }
        let mut uploaded = self.outputs.uploaded.lock().expect("lock");
        uploaded.entry(self.prefix.clone()).or_default().push(name.to_owned());
        Ok(())
    }

    async fn record(&self, outputs: &[Output]) -> Result<(), SinkError> {
        let uploaded = self.outputs.uploaded_in(&self.prefix);
        let mut recorded = self.outputs.recorded.lock().expect("lock");
        for output in outputs {
            assert!(uploaded.contains(&output.name), "{} is recorded before it is uploaded", output.name);
            // The first attempt that records an output wins.
            if !recorded.iter().any(|recorded| recorded.output.name == output.name) {
                recorded.push(Recorded { prefix: self.prefix.clone(), output: output.clone() });
            }
        }
        Ok(())
    }
}
