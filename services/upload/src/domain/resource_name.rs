//! Resource names (AIP-122) and ids.

const MAX_ID_BYTES: usize = 64;

/// The id in `uploads/{id}`. `None` if the name is malformed.
pub(crate) fn upload_id(name: &str) -> Option<&str> {
    id_in("uploads/", name)
}

/// The id in `videos/{id}`. `None` if the name is malformed.
pub(crate) fn video_id(name: &str) -> Option<&str> {
    id_in("videos/", name)
}

/// `uploads/{id}`
pub(crate) fn upload_name(id: &str) -> String {
    format!("uploads/{id}")
}

/// `videos/{id}`
pub(crate) fn video_name(id: &str) -> String {
    format!("videos/{id}")
}

/// `users/{id}`
pub(crate) fn user_name(id: &str) -> String {
    format!("users/{id}")
}

/// A new id: UUIDv7, so that ids sort by creation time.
pub(crate) fn new_id() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

fn id_in<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    let id = name.strip_prefix(prefix)?;
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    ((1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(is_allowed)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn video_id_of_video_name_returns_id() {
        assert_eq!(video_id("videos/0192abc"), Some("0192abc"));
        assert_eq!(video_id(&video_name(&new_id())).map(str::len), Some(32));
    }

    #[test]
    fn video_id_of_malformed_name_returns_none() {
        for name in ["videos/", "video/1", "videos/a/b", "videos/../x", "uploads/1", "videos/A", ""] {
            assert_eq!(video_id(name), None, "{name}");
        }
    }
}
