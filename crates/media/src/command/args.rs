//! Arguments that several commands have in common.

use crate::probe::Source;

/// The demuxers an upload may be read with. None of them opens another URL.
const FORMATS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,mpegvideo,avi,flv,live_flv,asf,ogg,mxf,dv,\
                       mp3,aac,flac,wav,w64,aiff,amr,ac3,eac3,caf,rm,nut,h264,hevc,m4v,ivf,gxf,wtv";
/// Bytes of a file that are read at most to know all tracks, if the default does not suffice.
const DEEP_PROBE_BYTES: u32 = 256 << 20;
/// The longest part of a transport stream without packets that is skipped, bytes.
const MAX_HOLE_BYTES: u32 = 64 << 20;
/// ffmpeg's name of MPEG-TS.
pub const TRANSPORT_STREAM: &str = "mpegts";
/// The most streams that a file may have.
pub const MAX_STREAMS: u32 = 128;

/// Splits a command line at white space.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// An upload, which is read over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct InputFile<'a> {
    /// Its address.
    pub uri: &'a str,
    /// ffmpeg's name of its container, if it is known.
    pub container: &'a str,
    /// Whether tracks of MPEG-TS that follow one another under other PIDs are one track.
    pub merges_tracks: bool,
}

impl<'a> InputFile<'a> {
    /// A file at an address, as a source describes it.
    pub fn of(uri: &'a str, source: &'a Source) -> Self {
        Self { uri, container: &source.container, merges_tracks: source.merges_tracks }
    }

    /// Options of the demuxer.
    pub(super) fn demuxer(self) -> Vec<String> {
        let mut args = words(&format!(
            "-protocol_whitelist http,tcp -format_whitelist {FORMATS} -max_streams {MAX_STREAMS}"
        ));
        if self.container == TRANSPORT_STREAM {
            // What follows missing data is read.
            args.extend(words(&format!("-resync_size {MAX_HOLE_BYTES}")));
        }
        if self.merges_tracks {
            args.extend(words("-merge_pmt_versions 1"));
        }
        args
    }

    /// Options of the demuxer, and the input itself.
    pub(super) fn args(self) -> Vec<String> {
        let mut args = self.demuxer();
        args.extend(["-i".into(), self.uri.into()]);
        args
    }
}

/// How far the demuxer reads to know all tracks, `seconds` at most.
pub(super) fn probe_limits(seconds: f64) -> Vec<String> {
    words(&format!("-probesize {DEEP_PROBE_BYTES} -analyzeduration {:.0}", seconds * 1_000_000.0))
}

/// Keeps versions, dates and names of this machine or of the uploader out of published files.
pub(super) fn bitexact() -> Vec<String> {
    words("-flags +bitexact -fflags +bitexact -map_metadata -1 -map_chapters -1")
}
