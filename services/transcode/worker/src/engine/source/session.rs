//! An open source.

use std::{io, sync::Arc, time::Duration};

use reelmill_media::{command::InputFile, probe::Source};
use reqwest::Client;

use crate::engine::{
    activity::Activity,
    source::{address::SourceAddress, proxy::SourceProxy, reader::SourceReader},
};

/// An open source: a caching reader and the proxy that ffmpeg reads it through. One task uses one session for
/// everything, so that no block is fetched twice.
pub struct Session {
    reader: Arc<SourceReader>,
    proxy: SourceProxy,
    activity: Activity,
}

impl Session {
    pub(crate) async fn open(
        http: Client,
        source: SourceAddress,
        retry_window: Duration,
    ) -> io::Result<Self> {
        let activity = Activity::new();
        let reader = SourceReader::new(http, source, retry_window, activity.clone());
        let reader = Arc::new(reader);
        let proxy = SourceProxy::start(Arc::clone(&reader)).await?;
        Ok(Self { reader, proxy, activity })
    }

    pub(crate) fn reader(&self) -> &SourceReader {
        &self.reader
    }

    /// URL of the proxy, for ffmpeg.
    pub(crate) fn uri(&self) -> &str {
        self.proxy.uri()
    }

    /// The file for ffprobe, as a source describes it.
    pub(crate) fn file<'a>(&'a self, source: &'a Source) -> InputFile<'a> {
        InputFile::of(self.uri(), source)
    }

    /// The file for ffprobe, in a container that ffmpeg names so; an empty name if it is unknown.
    pub(crate) fn file_of<'a>(&'a self, container: &'a str) -> InputFile<'a> {
        InputFile { uri: self.uri(), container, merges_tracks: false }
    }

    /// Loopback port of the proxy, for the jail.
    pub(crate) fn port(&self) -> u16 {
        self.proxy.port()
    }

    /// Activity of the task that uses the session.
    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }
}
