//! Bounds of what callers have in progress: calls, and bytes of request bodies.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::config::Limits;

/// A single caller gets at most this part of the bytes of all.
const LARGEST_SHARE: usize = 8;
/// Larger bodies leave this part of the bytes to smaller ones, such as those of sign-in. The number of calls bounds these.
const SMALL_BODIES_SHARE: usize = 4;
const SMALL_BODY_BYTES: usize = 16 << 10;

/// What all callers have in progress.
pub(crate) struct Admission {
    limits: Limits,
    in_progress: Mutex<InProgress>,
}

#[derive(Default)]
struct InProgress {
    by_caller: HashMap<Arc<str>, Usage>,
    body_bytes: usize,
}

#[derive(Default)]
struct Usage {
    calls: usize,
    body_bytes: usize,
}

/// What callers have in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Users and addresses with calls.
    pub callers: usize,
    /// Memory reserved for request bodies.
    pub body_bytes: usize,
    /// Open connections.
    pub connections: usize,
}

/// Whose bound a call counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallerKind {
    /// A signed-in user.
    User,
    /// The address of a call without a valid token.
    Address,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, in_progress: Mutex::default() })
    }

    /// Admits a call. `None` if the caller has too many in progress.
    pub(crate) fn admit(self: &Arc<Self>, caller: &str, kind: CallerKind) -> Option<CallPermit> {
        let most = match kind {
            CallerKind::User => self.limits.calls_per_user,
            CallerKind::Address => self.limits.calls_per_address,
        };
        let caller: Arc<str> = caller.into();
        let mut in_progress = self.lock();
        let usage = in_progress.by_caller.entry(Arc::clone(&caller)).or_default();
        if usage.calls >= most {
            return None;
        }
        usage.calls += 1;
        Some(CallPermit { admission: Arc::clone(self), caller })
    }

    pub(crate) fn load(&self) -> Load {
        let in_progress = self.lock();
        Load { callers: in_progress.by_caller.len(), body_bytes: in_progress.body_bytes, connections: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, InProgress> {
        self.in_progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An admitted call. In progress until it is dropped.
pub(crate) struct CallPermit {
    admission: Arc<Admission>,
    caller: Arc<str>,
}

impl CallPermit {
    /// Reserves memory for a request body. `None` if all callers, or this one, have reserved too much.
    pub(crate) fn reserve(&self, bytes: usize) -> Option<BodyBytes<'_>> {
        let most = self.admission.limits.body_bytes;
        let for_this = if bytes <= SMALL_BODY_BYTES { most } else { most - most / SMALL_BODIES_SHARE };
        let mut in_progress = self.admission.lock();
        if in_progress.body_bytes.saturating_add(bytes) > for_this {
            return None;
        }
        let usage = in_progress.by_caller.get_mut(&self.caller)?;
        // A single body may always be as large as its method allows.
        if usage.body_bytes > 0 && usage.body_bytes.saturating_add(bytes) > most / LARGEST_SHARE {
            return None;
        }
        usage.body_bytes += bytes;
        in_progress.body_bytes += bytes;
        Some(BodyBytes { permit: self, bytes })
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        let mut in_progress = self.admission.lock();
        if let Some(usage) = in_progress.by_caller.get_mut(&self.caller) {
            usage.calls -= 1;
            if usage.calls == 0 {
                in_progress.by_caller.remove(&self.caller);
            }
        }
    }
}

/// Memory reserved for a request body, given back on drop.
pub(crate) struct BodyBytes<'a> {
    permit: &'a CallPermit,
    bytes: usize,
}

impl Drop for BodyBytes<'_> {
    fn drop(&mut self) {
        let mut in_progress = self.permit.admission.lock();
        in_progress.body_bytes -= self.bytes;
        if let Some(usage) = in_progress.by_caller.get_mut(&self.permit.caller) {
            usage.body_bytes -= self.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Arc<Admission> {
        let limits =
            Limits { calls_per_user: 3, calls_per_address: 2, body_bytes: 800 << 10, ..Limits::default() };
        Admission::new(limits)
    }

    #[test]
    fn admit_counts_each_caller_by_itself() {
        let admission = admission();
        let admit = |caller| admission.admit(caller, CallerKind::Address);
        let (first, second) = (admit("a"), admit("a"));
        assert!(first.is_some() && second.is_some() && admit("a").is_none());
        assert!(admit("b").is_some());
        drop(first);
        assert!(admit("a").is_some());
        drop(second);
        assert!(admission.lock().by_caller.is_empty());
    }

    #[test]
    fn reserve_leaves_bytes_for_other_callers() {
        let admission = admission();
        let (one, other) = (
            admission.admit("a", CallerKind::User).unwrap(),
            admission.admit("b", CallerKind::User).unwrap(),
        );
        let first = one.reserve(60 << 10).unwrap();
        assert!(one.reserve(41 << 10).is_none(), "more than an eighth");
        let second = one.reserve(40 << 10).unwrap();
        assert!(other.reserve(501 << 10).is_none(), "more than large bodies get");
        let large = other.reserve(500 << 10).unwrap();
        let third = admission.admit("c", CallerKind::Address).unwrap();
        assert!(third.reserve(17 << 10).is_none());
        assert!(third.reserve(16 << 10).is_some(), "a small body");
        drop((first, second, large));
        assert_eq!(admission.lock().body_bytes, 0);
        assert!(one.reserve(600 << 10).is_some());
    }
}
