//! Writes a job's playlists to the object store, each only when it has changed.
//!
//! Every write is conditional: it replaces what this process wrote last, or what it found while it had the claim on the
//! job. So a process that was stopped in the middle of a write and continues much later replaces nothing newer.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher as _},
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use reelmill_media::playlists::{
    Presentation, dash, hls,
    thumbnails::{self, Sheet},
};
use reelmill_platform::{
    clock::Clock,
    objects::{Objects, Present},
};

use crate::{
    db::{Db, JobRow},
    domain::{DASH_MANIFEST, HLS_MASTER_PLAYLIST, THUMBNAILS_INDEX, job_folder},
    error::TranscodeError,
};

/// Objects of one job written concurrently.
const CONCURRENT_WRITES: usize = 4;
/// `Cache-Control` of files that do not change any more.
const FINAL_CACHE_CONTROL: &str = "public, max-age=3600";
const HLS_CONTENT_TYPE: &str = "application/vnd.apple.mpegurl";
const DASH_CONTENT_TYPE: &str = "application/dash+xml";
const WEBVTT_CONTENT_TYPE: &str = "text/vtt";

/// What this process wrote last of a job, by file name.
#[derive(Default)]
pub(super) struct WrittenFiles(HashMap<String, WrittenFile>);

struct WrittenFile {
    /// Hash of the text and its `Cache-Control`.
    hash: u64,
    etag: String,
}

/// A text file in a job's folder.
struct TextFile {
    name: String,
    text: String,
    content_type: &'static str,
    cache_control: Option<&'static str>,
}

impl TextFile {
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.text, self.cache_control).hash(&mut hasher);
        hasher.finish()
    }
}

/// Writer of playlists.
#[derive(Clone)]
pub(super) struct PlaylistWriter {
    pub(super) objects: Objects,
    pub(super) db: Db,
    /// Id of this process in claims.
    pub(super) process: String,
    pub(super) clock: Clock,
}

impl PlaylistWriter {
    /// Writes the HLS playlists; the master playlist last, because it refers to the others, and not before the video is
    /// playable.
    pub(super) async fn write_hls(
        &self,
        job: &JobRow,
        written: &mut WrittenFiles,
        presentation: &Presentation,
        is_playable: bool,
    ) -> Result<(), TranscodeError> {
        let cache_control = presentation.complete.then_some(FINAL_CACHE_CONTROL);
        let file = |name: String, text: String| TextFile {
            name,
            text,
            content_type: HLS_CONTENT_TYPE,
            cache_control,
        };
        let media = presentation.tracks.iter().flat_map(|track| {
            let iframes = hls::iframes(track).map(|text| file(track.iframe_playlist(), text));
            std::iter::once(file(track.playlist(), hls::media(track))).chain(iframes)
        });
        self.write_changed(job, written, media.collect()).await?;
        if is_playable {
            let master = file(HLS_MASTER_PLAYLIST.to_owned(), hls::master(presentation));
            self.write_changed(job, written, vec![master]).await?;
        }
        Ok(())
    }

    /// Writes the final playlists: HLS, DASH, and the index of the thumbnails if there are any.
    pub(super) async fn write_final(
        &self,
        job: &JobRow,
        written: &mut WrittenFiles,
        presentation: &Presentation,
        sheets: &[Sheet],
    ) -> Result<(), TranscodeError> {
        self.write_hls(job, written, presentation, true).await?;
        let mut files = vec![TextFile {
            name: DASH_MANIFEST.to_owned(),
            text: dash::manifest(presentation),
            content_type: DASH_CONTENT_TYPE,
            cache_control: Some(FINAL_CACHE_CONTROL),
        }];
        if !sheets.is_empty() {
            files.push(TextFile {
                name: THUMBNAILS_INDEX.to_owned(),
                text: thumbnails::webvtt(sheets, presentation.end_seconds()),
                content_type: WEBVTT_CONTENT_TYPE,
                cache_control: Some(FINAL_CACHE_CONTROL),
            });
        }
        self.write_changed(job, written, files).await
    }

    async fn write_changed(
        &self,
        job: &JobRow,
        written: &mut WrittenFiles,
        files: Vec<TextFile>,
    ) -> Result<(), TranscodeError> {
        let is_changed =
            |file: &TextFile| written.0.get(&file.name).is_none_or(|written| written.hash != file.hash());
        let changed: Vec<_> = files.into_iter().filter(is_changed).collect();
        let with_etags = changed.into_iter().map(|file| {
            let etag = written.0.get(&file.name).map(|written| written.etag.clone());
            (file, etag)
        });
        let with_etags: Vec<_> = with_etags.collect();
        let mut writes = stream::iter(with_etags)
            .map(|(file, etag)| async move {
                let result = self.write(job, &file, etag).await;
                (file, result)
            })
            .buffer_unordered(CONCURRENT_WRITES);
        // Remembered one by one: an interrupted publication continues from there.
        while let Some((file, result)) = writes.next().await {
            match result {
                Ok(etag) => {
                    let hash = file.hash();
                    written.0.insert(file.name, WrittenFile { hash, etag });
                }
                Err(error) => {
                    written.0.remove(&file.name);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Writes a file; returns its ETag. `known` is the ETag of what this process wrote last.
    async fn write(
        &self,
        job: &JobRow,
        file: &TextFile,
        known: Option<String>,
    ) -> Result<String, TranscodeError> {
        let key = format!("{}{}", job_folder(&job.output_prefix, &job.id), file.name);
        let put = async |present: Present| {
            let bytes = Bytes::from(file.text.clone());
            self.objects.put_if(&key, bytes, file.content_type, file.cache_control, &present).await
        };
        if let Some(etag) = put(known.map_or(Present::Nothing, Present::ETag)).await? {
            return Ok(etag);
        }
        // Another process has published the job since this one did last, or before it.
        let found = self.objects.head(&key).await?.ok_or(TranscodeError::PublishedByOther)?;
        // What was found is certainly older than this only if this process still has the claim under which it read the
        // segments.
        if !self.db.has_publication_claim(&job.id, &self.process, self.clock.now_millis()).await? {
            return Err(TranscodeError::PublishedByOther);
        }
        put(Present::ETag(found.etag)).await?.ok_or(TranscodeError::PublishedByOther)
    }
}
