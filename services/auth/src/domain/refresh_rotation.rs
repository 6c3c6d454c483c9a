//! Decides about a presented refresh token.

/// How long after its use a presented token counts as a race of two tabs rather than as theft, milliseconds.
pub(crate) const REUSE_GRACE_MILLIS: i64 = 10_000;

/// Stored state of a refresh token and its session. Times are Unix milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenState {
    /// When the session was ended.
    pub session_end_time: Option<i64>,
    /// When the session expires.
    pub session_expire_time: i64,
    /// When the token was exchanged for its successor.
    pub use_time: Option<i64>,
    /// Whether the call repeats the one that exchanged it, and the successor is unused.
    pub is_repeated: bool,
}

/// What to do with a presented refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RotationDecision {
    /// Exchange it for its successor.
    Rotate,
    /// Return its successor again: the response that contained it may have been lost.
    Repeat,
    /// Reject it: it was used within the grace period.
    RejectSpent,
    /// Reject it and end the session: one of two holders has stolen it.
    EndSession,
    /// Reject it: the session was ended.
    RejectEnded,
    /// Reject it: the session has expired.
    RejectExpired,
}

/// Decides about a token presented at `now`.
pub(crate) fn decide(state: TokenState, now: i64) -> RotationDecision {
    match state {
        TokenState { session_end_time: Some(_), .. } => RotationDecision::RejectEnded,
        TokenState { session_expire_time, .. } if now >= session_expire_time => {
            RotationDecision::RejectExpired
        }
        TokenState { use_time: None, .. } => RotationDecision::Rotate,
        TokenState { is_repeated: true, .. } => RotationDecision::Repeat,
        // The use may be in the near future: clocks of replicas differ.
        TokenState { use_time: Some(used), .. } if now.saturating_sub(used) <= REUSE_GRACE_MILLIS => {
            RotationDecision::RejectSpent
        }
        TokenState { use_time: Some(_), .. } => RotationDecision::EndSession,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decide_about_used_token_depends_on_grace_period() {
        let state = TokenState {
            session_end_time: None,
            session_expire_time: 1_000_000,
            use_time: Some(5_000),
            is_repeated: false,
        };
        assert_eq!(decide(state, 4_000), RotationDecision::RejectSpent);
        assert_eq!(decide(state, 15_000), RotationDecision::RejectSpent);
        assert_eq!(decide(state, 15_001), RotationDecision::EndSession);
        assert_eq!(decide(state, 1_000_000), RotationDecision::RejectExpired);
        let repeated = TokenState { is_repeated: true, ..state };
        assert_eq!(decide(repeated, 999_999), RotationDecision::Repeat);
        assert_eq!(decide(repeated, 1_000_000), RotationDecision::RejectExpired);
        let ended = TokenState { session_end_time: Some(6_000), ..repeated };
        assert_eq!(decide(ended, 7_000), RotationDecision::RejectEnded);
    }

    /// A session with all its refresh tokens, as stored.
    struct StoredSession {
        /// Use time of each token. Each is the successor of the one before.
        tokens: Vec<Option<i64>>,
        end_time: Option<i64>,
        expire_time: i64,
    }

    const TTL: i64 = 60_000;

    impl StoredSession {
        fn present(&mut self, token: usize, is_same_request: bool, now: i64) -> RotationDecision {
            let state = TokenState {
                session_end_time: self.end_time,
                session_expire_time: self.expire_time,
                use_time: self.tokens[token],
                is_repeated: is_same_request && self.tokens.get(token + 1) == Some(&None),
            };
            let decision = decide(state, now);
            match decision {
                RotationDecision::Rotate => {
                    self.tokens[token] = Some(now);
                    self.tokens.push(None);
                    self.expire_time = now + TTL;
                }
                RotationDecision::EndSession => self.end_time = Some(now),
                RotationDecision::Repeat
                | RotationDecision::RejectSpent
                | RotationDecision::RejectEnded
                | RotationDecision::RejectExpired => {}
            }
            decision
        }

        fn unused(&self) -> usize {
            self.tokens.iter().filter(|used| used.is_none()).count()
        }
    }

    proptest! {
        #[test]
        fn decide_keeps_one_unused_token_and_ended_sessions_ended(
            steps in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), 0..20_000_i64), 1..60)
        ) {
            let mut session = StoredSession { tokens: vec![None], end_time: None, expire_time: TTL };
            let (mut now, mut has_ended) = (0, false);
            for (which, is_same_request, wait) in steps {
                now += wait;
                let decision = session.present(which.index(session.tokens.len()), is_same_request, now);
                prop_assert_eq!(session.unused(), 1);
                let rejects_session =
                    matches!(decision, RotationDecision::RejectEnded | RotationDecision::RejectExpired);
                prop_assert!(!has_ended || rejects_session);
                has_ended |= rejects_session || decision == RotationDecision::EndSession;
            }
        }

        #[test]
        fn decide_rotates_only_unused_token_of_live_session(
            session_end_time in prop::option::of(0..100_000_i64),
            session_expire_time in 0..100_000_i64,
            use_time in prop::option::of(0..100_000_i64),
            is_repeated: bool,
            now in 0..100_000_i64,
        ) {
            let state = TokenState { session_end_time, session_expire_time, use_time, is_repeated };
            let is_alive = session_end_time.is_none() && now < session_expire_time;
            prop_assert_eq!(decide(state, now) == RotationDecision::Rotate, is_alive && use_time.is_none());
            let repeats = is_alive && use_time.is_some() && is_repeated;
            prop_assert_eq!(decide(state, now) == RotationDecision::Repeat, repeats);
        }
    }
}
