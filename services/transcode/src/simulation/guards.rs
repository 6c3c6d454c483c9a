//! The guards of the dispatcher, each of which can be taken out to see that the simulation fails without it.

/// A rule that protects the jobs from faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Calls present the fencing token of their lease.
    Fencing,
    /// No lease is released soon after the dispatcher or its database was unavailable.
    Grace,
    /// A repeated StartTask call gets the lease of the first one.
    Nonce,
    /// A task has a limited number of attempts.
    Budgets,
    /// Only a queued task can be leased.
    Claims,
    /// One process at a time publishes a job.
    PublicationClaims,
    /// The tasks of an owner are as far apart in the order as they cost.
    FairOrder,
    /// A new attempt continues after the recorded segments.
    Resume,
    /// A job fails for its file only after a second attempt agrees.
    SecondOpinion,
}

impl Guard {
    /// All guards.
    pub const ALL: [Self; 9] = [
        Self::Fencing,
        Self::Grace,
        Self::Nonce,
        Self::Budgets,
        Self::Claims,
        Self::PublicationClaims,
        Self::FairOrder,
        Self::Resume,
        Self::SecondOpinion,
    ];

    /// The name in arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fencing => "fencing",
            Self::Grace => "grace",
            Self::Nonce => "nonce",
            Self::Budgets => "budgets",
            Self::Claims => "claims",
            Self::PublicationClaims => "publication-claims",
            Self::FairOrder => "fair-order",
            Self::Resume => "resume",
            Self::SecondOpinion => "second-opinion",
        }
    }
}

/// The guards in force: all, or all but one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Guards {
    pub(super) without: Option<Guard>,
}

impl Guards {
    pub(super) fn has(self, guard: Guard) -> bool {
        self.without != Some(guard)
    }
}
