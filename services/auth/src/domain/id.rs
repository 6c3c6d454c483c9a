//! Ids of users, sessions and refresh tokens.

const ID_CHARS: usize = 32;

/// A new id: UUIDv7 as 32 hexadecimal digits, so that ids sort by creation time.
pub(crate) fn new_id() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

/// Whether a text has the form of an id. Anything else is not looked up; Postgres rejects some texts.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == ID_CHARS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_id_accepts_only_generated_ids() {
        assert!(is_id(&new_id()));
        assert!(!is_id("") && !is_id("current") && !is_id(&"A".repeat(32)) && !is_id(&"\0".repeat(32)));
    }
}
