//! E-mail addresses.

use crate::error::AuthError;

/// Longest address (RFC 5321, section 4.5.3.1.3, without the angle brackets).
const MAX_CHARS: usize = 254;
/// Longest local part (RFC 5321, section 4.5.3.1.1).
const MAX_LOCAL_PART_BYTES: usize = 64;
/// Longest label of a host name (RFC 1035, section 2.3.4).
const MAX_LABEL_BYTES: usize = 63;

/// A syntactically valid e-mail address. Whether it exists is not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Email {
    /// The address as typed, without surrounding white space.
    pub typed: String,
    /// The address in lower case: the unique key.
    pub key: String,
}

impl Email {
    /// Parses an address.
    pub fn parse(text: &str) -> Result<Self, AuthError> {
        let typed = text.trim();
        let key = typed.to_lowercase();
        let (local, domain) = typed.rsplit_once('@').ok_or(AuthError::EmailInvalid)?;
        let is_forbidden =
            |c: char| c.is_whitespace() || c.is_control() || matches!(c, '@' | '<' | '>' | ',' | ';');
        let is_valid = !local.is_empty()
            && local.len() <= MAX_LOCAL_PART_BYTES
            && !local.contains(is_forbidden)
            && domain.split('.').all(is_label)
            && [typed, &key].iter().all(|text| text.chars().count() <= MAX_CHARS);
        if is_valid { Ok(Self { typed: typed.to_owned(), key }) } else { Err(AuthError::EmailInvalid) }
    }
}

/// Whether a text is a label of a host name, in any script.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= MAX_LABEL_BYTES
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(|c| c.is_alphanumeric() || c == '-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parse_valid_address_returns_typed_form_and_key() {
        let email = Email::parse("  Ada.Lovelace+x@Example.ORG\n").unwrap();
        assert_eq!(email.typed, "Ada.Lovelace+x@Example.ORG");
        assert_eq!(email.key, "ada.lovelace+x@example.org");
        let longest_local = format!("{}@b.c", "a".repeat(64));
        for valid in ["a@b", "ünï@bücher.example", "\"o'hara\"@x-y.z", &longest_local] {
            assert!(Email::parse(valid).is_ok(), "{valid}");
        }
    }

    #[test]
    fn parse_invalid_address_returns_error() {
        for invalid in
            ["", "@", "a", "a@", "@b", "a b@c", "a@b@c", "a@b..c", "a@.b", "a@-b", "a@b\0c", "a\0@b"]
        {
            assert!(Email::parse(invalid).is_err(), "{invalid:?}");
        }
        let long_local = format!("{}@b.c", "a".repeat(65));
        let long = format!("a@{}", vec!["b".repeat(50); 6].join("."));
        assert!(Email::parse(&long_local).is_err() && Email::parse(&long).is_err());
    }

    proptest! {
        #[test]
        fn parse_typed_form_returns_the_same_address(text in ".{0,300}") {
            if let Ok(email) = Email::parse(&text) {
                let again = Email::parse(&email.typed).unwrap();
                prop_assert_eq!(&again, &email);
                prop_assert!(!email.typed.contains('\0'));
            }
        }
    }
}
