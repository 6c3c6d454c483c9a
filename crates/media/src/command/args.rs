//! Arguments that several commands have in common.

/// The demuxers an upload may be read with. None of them opens another URL.
const FORMATS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,mpegvideo,avi,flv,live_flv,asf,ogg,mxf,dv,\
                       mp3,aac,flac,wav,w64,aiff,amr,ac3,eac3,caf,rm,nut,h264,hevc,m4v,ivf,gxf,wtv";
/// Bytes of a file that are read at most to know all tracks, if the default does not suffice.
const DEEP_PROBE_BYTES: u32 = 256 << 20;
/// The most streams that a file may have.
pub const MAX_STREAMS: u32 = 128;

/// Splits a command line at white space.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Limits of the demuxer for an upload, which is read over HTTP.
pub(super) fn demuxer_limits() -> Vec<String> {
    words(&format!("-protocol_whitelist http,tcp -format_whitelist {FORMATS} -max_streams {MAX_STREAMS}"))
}

/// How far the demuxer reads to know all tracks, `seconds` at most.
pub(super) fn probe_limits(seconds: f64) -> Vec<String> {
    words(&format!("-probesize {DEEP_PROBE_BYTES} -analyzeduration {:.0}", seconds * 1_000_000.0))
}

/// Keeps versions, dates and names of this machine or of the uploader out of published files.
pub(super) fn bitexact() -> Vec<String> {
    words("-flags +bitexact -fflags +bitexact -map_metadata -1 -map_chapters -1")
}
