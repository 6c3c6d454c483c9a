//! Object keys. They consist of ids only: names given by users never become part of a key.

/// Folder of all source files.
pub(crate) const SOURCES: &str = "sources";
/// Folder of all outputs.
pub(crate) const OUTPUTS: &str = "outputs";

/// Key of an uploaded source file.
pub(crate) fn source_key(video: &str, upload: &str) -> String {
    format!("{}{upload}", source_prefix(video))
}

/// Key prefix of a video's source files.
pub(crate) fn source_prefix(video: &str) -> String {
    format!("{SOURCES}/{video}/")
}

/// Key prefix of a video's outputs.
pub(crate) fn output_prefix(video: &str) -> String {
    format!("{OUTPUTS}/{video}/")
}

/// The part of an output key below the video's prefix. `None` if the key is not an output of the video.
pub(crate) fn path_in_outputs<'a>(video: &str, key: &'a str) -> Option<&'a str> {
    key.strip_prefix(&output_prefix(video)).filter(|path| !path.is_empty())
}
