//! Display names of users.

use crate::error::AuthError;

const MAX_CHARS: usize = 200;

/// Parses a display name, which may be empty. Surrounding white space is removed.
pub(crate) fn parse(text: &str) -> Result<String, AuthError> {
    let name = text.trim();
    if name.chars().count() > MAX_CHARS || name.contains(char::is_control) {
        let message = "must be at most 200 characters, none of them control characters";
        return Err(AuthError::Field { field: "display_name", message });
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_trims_and_limits_the_name() {
        assert_eq!(parse("  Ada \u{1F680} ").unwrap(), "Ada \u{1F680}");
        assert!(parse(&"é".repeat(200)).is_ok());
        assert!(parse(&"é".repeat(201)).is_err() && parse("a\0b").is_err());
    }
}
