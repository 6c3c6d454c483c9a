//! Resource names, task ids and object keys.

/// File name of the HLS multivariant playlist in a job's folder.
pub(crate) const HLS_MASTER_PLAYLIST: &str = "master.m3u8";
/// File name of the DASH manifest in a job's folder.
pub(crate) const DASH_MANIFEST: &str = "manifest.mpd";
/// File name of the WebVTT index of the thumbnails in a job's folder.
pub(crate) const THUMBNAILS_INDEX: &str = "thumbnails.vtt";

/// Longest id in a resource name, bytes.
const MAX_ID_LEN: usize = 64;
/// Longest output name below an attempt's prefix, bytes.
const MAX_OUTPUT_NAME_LEN: usize = 200;

/// Resource name of a job: `jobs/{job}`.
pub(crate) fn job_name(id: &str) -> String {
    format!("jobs/{id}")
}

/// Resource name of a task: `jobs/{job}/tasks/{task}`.
pub(crate) fn task_name(job: &str, task: &str) -> String {
    format!("jobs/{job}/tasks/{task}")
}

/// Id of a task. Unique for ever: a restarted job has a new generation.
pub(crate) fn new_task_id(job: &str, generation: i32, index: i32) -> String {
    format!("{job}g{generation}t{index}")
}

/// The job id of `jobs/{job}`.
pub(crate) fn job_id(name: &str) -> Option<&str> {
    name.strip_prefix("jobs/").filter(|id| is_id(id))
}

/// The job id and the task id of `jobs/{job}/tasks/{task}`.
pub(crate) fn task_name_ids(name: &str) -> Option<(&str, &str)> {
    let (job, task) = name.strip_prefix("jobs/")?.split_once("/tasks/")?;
    (is_id(job) && is_id(task)).then_some((job, task))
}

fn is_id(text: &str) -> bool {
    (1..=MAX_ID_LEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Key prefix of a job's outputs. The playlists are in this folder and refer to everything else by relative URI.
pub(crate) fn job_folder(output_prefix: &str, job: &str) -> String {
    format!("{output_prefix}{job}/")
}

/// Path of one attempt's outputs, relative to the job's folder. Short, because every line of a playlist contains it.
pub(crate) fn attempt_path(generation: i32, task_index: i32, fencing_token: i64) -> String {
    format!("{generation}.{task_index}.{fencing_token}/")
}

/// Generation of an output whose path, relative to the job's folder, begins with an [`attempt_path`]; none for playlists.
pub(crate) fn path_generation(path: &str) -> Option<i32> {
    path.split_once('.').filter(|_| path.contains('/'))?.0.parse().ok()
}

/// File name of a rendition's media playlist in the job's folder.
pub(crate) fn media_playlist_name(rendition: &str) -> String {
    format!("{rendition}.m3u8")
}

/// File name of a rendition's I-frame playlist in the job's folder.
pub(crate) fn iframe_playlist_name(rendition: &str) -> String {
    format!("{rendition}.iframes.m3u8")
}

/// `prefix` followed by an output's name; none when the name is invalid or could leave the prefix.
pub(crate) fn output_key(prefix: &str, name: &str) -> Option<String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let has_valid_parts =
        name.split('/').all(|part| !part.is_empty() && !part.bytes().all(|byte| byte == b'.'));
    let is_valid = name.len() <= MAX_OUTPUT_NAME_LEN && name.bytes().all(is_allowed) && has_valid_parts;
    is_valid.then(|| format!("{prefix}{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_key_stays_below_prefix() {
        assert_eq!(output_key("p/", "720p/init.mp4").as_deref(), Some("p/720p/init.mp4"));
        for bad in ["", "/a", "a//b", "../a", "a/../b", "a/..", ".", "a b", "ä", "a\\b", "a/"] {
            assert_eq!(output_key("p/", bad), None, "{bad:?}");
        }
    }

    #[test]
    fn path_generation_of_outputs_only() {
        assert_eq!(path_generation(&format!("{}720p/seg_1.m4s", attempt_path(12, 3, 4))), Some(12));
        for playlist in ["master.m3u8", "manifest.mpd", "1.iframes.m3u8", ""] {
            assert_eq!(path_generation(playlist), None, "{playlist}");
        }
    }

    #[test]
    fn names_parse_what_they_format() {
        assert_eq!(task_name_ids(&task_name("j1", "t1")), Some(("j1", "t1")));
        let task = new_task_id("j1", 1, 1350);
        assert_eq!(task, "j1g1t1350");
        assert_eq!(task_name_ids(&task_name("j1", &task)), Some(("j1", "j1g1t1350")));
        assert_eq!(job_id("jobs/../x"), None);
        assert_eq!(job_id("videos/x"), None);
        assert_eq!(task_name_ids("jobs/a/tasks/"), None);
    }
}
