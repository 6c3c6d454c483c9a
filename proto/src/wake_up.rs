//! Messages of the queue between the dispatcher and the workers.

/// Body of a wake-up that any worker can serve. A message has at least one character.
const ANY_BUILD: &str = "any";

/// A wake-up: there is a task for workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeUp {
    /// Name of the encoder build that must run the task; empty for any.
    pub required_build: String,
}

impl WakeUp {
    /// The wake-up as the body of a queue message.
    pub fn to_body(&self) -> String {
        if self.required_build.is_empty() { ANY_BUILD.to_owned() } else { self.required_build.clone() }
    }

    /// The wake-up of a queue message.
    pub fn from_body(body: &str) -> Self {
        let required_build = if body == ANY_BUILD { String::new() } else { body.to_owned() };
        Self { required_build }
    }

    /// Whether a worker with this encoder build can serve it.
    pub fn accepts(&self, encoder_build: &str) -> bool {
        self.required_build.is_empty() || self.required_build == encoder_build
    }
}

#[cfg(test)]
mod tests {
    use super::WakeUp;

    #[test]
    fn from_body_returns_what_to_body_wrote() {
        for required_build in ["", "output 4, ffmpeg version 5"] {
            let wake_up = WakeUp { required_build: required_build.to_owned() };
            assert_eq!(WakeUp::from_body(&wake_up.to_body()), wake_up);
        }
        let wake_up = WakeUp { required_build: "a".to_owned() };
        assert!(wake_up.accepts("a") && !wake_up.accepts("b"));
        assert!(WakeUp::from_body("any").accepts("b"));
    }
}
