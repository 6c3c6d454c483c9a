//! What an account's e-mail address, password and display name may be.

use crate::AuthError;

/// Longest e-mail address, in characters (RFC 5321, section 4.5.3.1.3, less the angle brackets).
const EMAIL_CHARS: usize = 254;
/// Longest part before the `@`, in bytes (RFC 5321, section 4.5.3.1.1).
const LOCAL_BYTES: usize = 64;
const DISPLAY_NAME_CHARS: usize = 200;
/// Shortest password, in bytes (NIST SP 800-63B, section 5.1.1.2).
const PASSWORD_MIN: usize = 8;
/// Longest password, in bytes.
pub(crate) const PASSWORD_MAX: usize = 1024;

/// An address that can be an e-mail address; only a message sent there could tell more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Email {
    /// As it was typed, less the white space around it.
    pub typed: String,
    /// What it is compared by.
    pub key: String,
}

impl Email {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, AuthError> {
        let typed = text.trim();
        let key = typed.to_lowercase();
        let (local, domain) = typed.rsplit_once('@').ok_or(AuthError::EmailInvalid)?;
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '@' | '<' | '>' | ',' | ';');
        let sane = !local.is_empty()
            && local.len() <= LOCAL_BYTES
            && !local.contains(odd)
            && domain.split('.').all(is_label)
            && [typed, &key].iter().all(|text| text.chars().count() <= EMAIL_CHARS);
        if sane { Ok(Self { typed: typed.to_owned(), key }) } else { Err(AuthError::EmailInvalid) }
    }
}

/// A label of a host name, of any script.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(|c| c.is_alphanumeric() || c == '-')
}

/// Refuses a password that is too short, too long, one character repeated, or the e-mail address.
pub(crate) fn check_password(password: &str, email: &Email) -> Result<(), AuthError> {
    if !(PASSWORD_MIN..=PASSWORD_MAX).contains(&password.len()) {
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

/// Trims a display name.
pub(crate) fn display_name(text: &str) -> Result<String, AuthError> {
    let name = text.trim();
    if name.chars().count() > DISPLAY_NAME_CHARS || name.contains(char::is_control) {
        let message = "must be at most 200 characters, none of them control characters";
        return Err(AuthError::Field { field: "display_name", message });
    }
    Ok(name.to_owned())
}

/// Whether a text can be one of our ids: what else comes in a resource's name is not worth asking the
/// database for (and Postgres does not take every text).
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A new id: time-ordered, 32 hexadecimal digits.
pub(crate) fn new_id() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses() {
        let email = Email::parse("  Ada.Lovelace+x@Example.ORG\n").unwrap();
        assert_eq!(email.typed, "Ada.Lovelace+x@Example.ORG");
        assert_eq!(email.key, "ada.lovelace+x@example.org");
        for good in ["a@b", "ünï@bücher.example", "\"o'hara\"@x-y.z", &format!("{}@b.c", "a".repeat(64))] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        let long_local = format!("{}@b.c", "a".repeat(65));
        let long = format!("a@{}", vec!["b".repeat(50); 6].join("."));
        for bad in ["", "@", "a", "a@", "@b", "a b@c", "a@b@c", "a@b..c", "a@.b", "a@-b", "a@b\0c", "a\0@b"] {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Email::parse(&long_local).is_err() && Email::parse(&long).is_err());
    }

    #[test]
    fn passwords() {
        let email = Email::parse("somebody@example.org").unwrap();
        for good in ["correct horse", "12345678", "påsswörd", &"ab".repeat(512)] {
            assert!(check_password(good, &email).is_ok(), "{good}");
        }
        for bad in ["", "1234567", "aaaaaaaaaaaa", "Somebody@Example.org", &"ab".repeat(513)] {
            assert!(check_password(bad, &email).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_and_ids() {
        assert_eq!(display_name("  Ada \u{1F680} ").unwrap(), "Ada \u{1F680}");
        assert!(display_name(&"é".repeat(200)).is_ok());
        assert!(display_name(&"é".repeat(201)).is_err() && display_name("a\0b").is_err());
        assert!(is_id(&new_id()));
        assert!(!is_id("") && !is_id("current") && !is_id(&"A".repeat(32)) && !is_id(&"\0".repeat(32)));
    }

    proptest! {
        #[test]
        fn what_is_an_address_stays_one(text in ".{0,300}") {
            if let Ok(email) = Email::parse(&text) {
                let again = Email::parse(&email.typed).unwrap();
                prop_assert_eq!(&again, &email);
                prop_assert!(!email.typed.contains('\0'));
            }
        }
    }
}
