//! What becomes of a refresh token that is shown: a rule without I/O.

/// Milliseconds within which a spent token that is shown again is taken for a race of two tabs, not a theft.
pub(crate) const GRACE_MILLIS: i64 = 10_000;

/// What is stored of a refresh token and its session. Times are Unix milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenState {
    /// When the session was ended.
    pub session_end: Option<i64>,
    /// When the session ends by itself.
    pub session_expire: i64,
    /// When the token was exchanged for its successor.
    pub use_time: Option<i64>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Spend it and issue its successor.
    Rotate,
    /// Refuse it, and nothing more.
    Spent,
    /// End the session: of two holders one stole it.
    Replayed,
    /// Refuse it: the session was ended.
    Ended,
    /// Refuse it: the session was idle for too long.
    Expired,
}

/// Decides about a token shown at `now`.
pub(crate) fn decide(state: TokenState, now: i64) -> Decision {
    match state {
        TokenState { session_end: Some(_), .. } => Decision::Ended,
        TokenState { session_expire, .. } if now >= session_expire => Decision::Expired,
        TokenState { use_time: None, .. } => Decision::Rotate,
        // Replicas' clocks differ a little: a use in the near future is as good as one just now.
        TokenState { use_time: Some(used), .. } if now.saturating_sub(used) <= GRACE_MILLIS => {
            Decision::Spent
        }
        TokenState { use_time: Some(_), .. } => Decision::Replayed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grace_ends_after_ten_seconds() {
        let state = TokenState { session_end: None, session_expire: 1_000_000, use_time: Some(5_000) };
        assert_eq!(decide(state, 4_000), Decision::Spent);
        assert_eq!(decide(state, 15_000), Decision::Spent);
        assert_eq!(decide(state, 15_001), Decision::Replayed);
        assert_eq!(decide(state, 1_000_000), Decision::Expired);
    }

    /// A session as the store keeps it, walked by arbitrary showings of arbitrary tokens of its family.
    struct Family {
        tokens: Vec<Option<i64>>,
        end: Option<i64>,
        expire: i64,
    }

    const TTL: i64 = 60_000;

    impl Family {
        fn show(&mut self, token: usize, now: i64) -> Decision {
            let state = TokenState {
                session_end: self.end,
                session_expire: self.expire,
                use_time: self.tokens[token],
            };
            let decision = decide(state, now);
            match decision {
                Decision::Rotate => {
                    self.tokens[token] = Some(now);
                    self.tokens.push(None);
                    self.expire = now + TTL;
                }
                Decision::Replayed => self.end = Some(now),
                Decision::Spent | Decision::Ended | Decision::Expired => {}
            }
            decision
        }

        fn unspent(&self) -> usize {
            self.tokens.iter().filter(|used| used.is_none()).count()
        }
    }

    proptest! {
        #[test]
        fn a_family_has_one_unspent_token_and_never_comes_back(
            steps in prop::collection::vec((any::<prop::sample::Index>(), 0..20_000_i64), 1..60)
        ) {
            let mut family = Family { tokens: vec![None], end: None, expire: TTL };
            let (mut now, mut over) = (0, false);
            for (which, wait) in steps {
                now += wait;
                let decision = family.show(which.index(family.tokens.len()), now);
                prop_assert_eq!(family.unspent(), 1);
                if over {
                    prop_assert!(matches!(decision, Decision::Ended | Decision::Expired));
                }
                over |= matches!(decision, Decision::Replayed | Decision::Ended | Decision::Expired);
            }
        }

        #[test]
        fn only_a_fresh_token_of_a_live_session_rotates(
            end in prop::option::of(0..100_000_i64),
            expire in 0..100_000_i64,
            used in prop::option::of(0..100_000_i64),
            now in 0..100_000_i64,
        ) {
            let state = TokenState { session_end: end, session_expire: expire, use_time: used };
            let rotates = end.is_none() && now < expire && used.is_none();
            prop_assert_eq!(decide(state, now) == Decision::Rotate, rotates);
        }
    }
}
