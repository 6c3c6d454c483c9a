//! Which passwords are accepted.

use super::email::Email;
use crate::error::AuthError;

/// Shortest password (NIST SP 800-63B, section 5.1.1.2).
const MIN_BYTES: usize = 8;
/// Longest password.
pub(crate) const MAX_BYTES: usize = 1024;

/// Rejects a password that is too short, too long, one repeated character, or the e-mail address.
pub(crate) fn check(password: &str, email: &Email) -> Result<(), AuthError> {
    if !(MIN_BYTES..=MAX_BYTES).contains(&password.len()) {
        return Err(AuthError::PasswordTooWeak("must be 8 to 1024 bytes long"));
    }
    let mut chars = password.chars();
    let first = chars.next();
    if chars.all(|c| Some(c) == first) {
        return Err(AuthError::PasswordTooWeak("must not be one character repeated"));
    }
    if password.to_lowercase() == email.key {
        return Err(AuthError::PasswordTooWeak("must not be the e-mail address"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_accepts_or_rejects_password() {
        let email = Email::parse("somebody@example.org").unwrap();
        for accepted in ["correct horse", "12345678", "påsswörd", &"ab".repeat(512)] {
            assert!(check(accepted, &email).is_ok(), "{accepted}");
        }
        for rejected in ["", "1234567", "aaaaaaaaaaaa", "Somebody@Example.org", &"ab".repeat(513)] {
            assert!(check(rejected, &email).is_err(), "{rejected}");
        }
    }
}
