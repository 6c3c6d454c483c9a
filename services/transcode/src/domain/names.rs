//! Resource names and object keys.

/// `jobs/{id}`
pub fn job_name(id: &str) -> String {
    format!("jobs/{id}")
}

/// `jobs/{job}/tasks/{task}`
pub fn task_name(job: &str, task: &str) -> String {
    format!("jobs/{job}/tasks/{task}")
}

/// The id of a job's task, never given to another: a job that starts anew does so in a new generation.
pub fn new_task_id(job: &str, generation: i32, ordinal: i32) -> String {
    format!("{job}g{generation}t{ordinal}")
}

/// The bare id in `jobs/{id}`.
pub fn job_id(name: &str) -> Option<&str> {
    name.strip_prefix("jobs/").filter(|id| is_id(id))
}

/// The bare task id in `jobs/{job}/tasks/{task}`.
pub fn task_id(name: &str) -> Option<&str> {
    let (job, task) = name.strip_prefix("jobs/")?.split_once("/tasks/")?;
    (is_id(job) && is_id(task)).then_some(task)
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The key of an output below its attempt's prefix; none where the name could leave the prefix.
pub fn output_key(prefix: &str, name: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let parts_named = name.split('/').all(|part| !part.is_empty() && !part.bytes().all(|byte| byte == b'.'));
    let good = name.len() <= 200 && name.bytes().all(plain) && parts_named;
    good.then(|| format!("{prefix}{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_stay_below_their_prefix() {
        assert_eq!(output_key("p/", "720p/init.mp4").as_deref(), Some("p/720p/init.mp4"));
        for bad in ["", "/a", "a//b", "../a", "a/../b", "a/..", ".", "a b", "ä", "a\\b", "a/"] {
            assert_eq!(output_key("p/", bad), None, "{bad:?}");
        }
    }

    #[test]
    fn names_are_read_back() {
        assert_eq!(task_id(&task_name("j1", "t1")), Some("t1"));
        assert_eq!(task_id(&task_name("j1", &new_task_id("j1", 1, 1350))), Some("j1g1t1350"));
        assert_eq!(job_id("jobs/../x"), None);
        assert_eq!(job_id("videos/x"), None);
        assert_eq!(task_id("jobs/a/tasks/"), None);
    }
}
