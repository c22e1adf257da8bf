//! What is explored: the store, the attacker, the bounds, and what is broken on purpose.

use dolmen_core::lease::{Asked, ExtensionCost, Terms, TermsError};

/// What the store enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Locks that nobody can shorten, and versions.
    Compliance,
    /// Nothing: leases are computed. Who holds its credential can do all, so that only honest races are explored.
    None,
}

/// What maintenance is known to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regime {
    /// It renews at least every M.
    Promised,
    /// It may run at any time, or never.
    Free,
}

/// What the attacker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// There is none.
    Nothing,
    /// A client's: puts, also on top of what is there, and hides.
    Client,
    /// The one that sets locks.
    Retention,
    /// The passphrase: retires and undoes.
    Admin,
    /// Maintenance's own: sets locks and deletes versions whose locks have lapsed.
    Maintenance,
}

/// A rule of the protocol that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Every snapshot that is stored counts.
    DropCommitRule,
    /// The commit rule is decided by the clock before the snapshot's put.
    CommitBeforePut,
    /// The commit rule goes by the client's clock when the answer comes.
    CommitByLocalClock,
    /// The store's clock counts from the start of the second that it states, for protecting too.
    ProtectFromStartOfSecond,
    /// The lock of the snapshot object itself is not among those that the commit rule looks at.
    ForgetOwnLock,
    /// Locks are extended by key.
    ExtendLatest,
    /// Presence and lock are those of the newest version.
    TrustLatest,
    /// What a put finds there already counts as locked like what it puts.
    PresentIsLocked,
    /// Renewal forgets the snapshot's own object.
    RenewPacksOnly,
    /// Renewal goes by maintenance's clock alone.
    RenewByLocalClock,
    /// Prune goes by maintenance's clock alone.
    PruneByLocalClock,
    /// Prune acts on a listing of any age.
    StaleListing,
    /// A snapshot that a plain listing does not show has ended.
    AbsenceIsDeath,
    /// Prune keeps nothing for checkpoints.
    ForgetCheckpoints,
    /// A checkpoint ends the life of the snapshot that it names.
    CheckpointEndsSnapshot,
    /// An undo is written, and nothing else.
    UndoWithoutExtending,
    /// Without locks: a lease counts from receipt alone, whatever has ended since.
    LeaseFromReceipt,
    /// Without locks: an undo counts whenever it arrives.
    UndoWithoutDeadline,
    /// Maintenance misses one interval more than M has room for.
    RenewTooRarely,
    /// An object is due below L, without the margin.
    ForgetMargin,
    /// Without locks: a client reuses whatever is there.
    ReuseUnneeded,
    /// Without locks: what a run has put itself counts for ever, as long as its listing is young.
    OwnPacksNeverLapse,
    /// Without locks: what only a late snapshot or checkpoint needs may be reused.
    ReuseThroughLate,
    /// Without locks: a snapshot says nothing of the listing it relies on, so that a late one is shown as whole.
    SignNoListing,
    /// Without locks: nothing waits for δ.
    ForgetDelay,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::DropCommitRule,
        Self::CommitBeforePut,
        Self::CommitByLocalClock,
        Self::ProtectFromStartOfSecond,
        Self::ForgetOwnLock,
        Self::ExtendLatest,
        Self::TrustLatest,
        Self::PresentIsLocked,
        Self::RenewPacksOnly,
        Self::RenewByLocalClock,
        Self::PruneByLocalClock,
        Self::StaleListing,
        Self::AbsenceIsDeath,
        Self::ForgetCheckpoints,
        Self::CheckpointEndsSnapshot,
        Self::UndoWithoutExtending,
        Self::LeaseFromReceipt,
        Self::UndoWithoutDeadline,
        Self::RenewTooRarely,
        Self::ForgetMargin,
        Self::ReuseUnneeded,
        Self::OwnPacksNeverLapse,
        Self::ReuseThroughLate,
        Self::SignNoListing,
        Self::ForgetDelay,
    ];
}

/// Which horizon property 2 asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Horizon {
    /// What a run of maintenance has seen has L left from then on.
    Seen,
    /// Everything that lives has L left at any moment, as DESIGN §1 says.
    Always,
}

/// A configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Short, for the report.
    pub name: &'static str,
    /// What the store enforces.
    pub flavour: Flavour,
    /// What maintenance does.
    pub regime: Regime,
    /// What the attacker holds.
    pub credential: Credential,
    /// L, G and I.
    pub terms: Terms,
    /// A tick is a second, or where the store states whole seconds a part of one.
    pub ticks_per_second: u8,
    /// Ticks by which the clients' clocks are ahead.
    pub clients_ahead: [i8; 2],
    /// Ticks by which maintenance's clock is ahead.
    pub maintenance_ahead: i8,
    /// Which horizon is asserted.
    pub horizon: Horizon,
    /// What is broken on purpose.
    pub mutation: Option<Mutation>,
}

impl Config {
    /// Whether a rule is broken on purpose.
    pub(crate) fn breaks(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// The same with a rule broken.
    #[must_use]
    pub fn breaking(self, mutation: Mutation) -> Self {
        Self {
            mutation: Some(mutation),
            ..self
        }
    }

    /// The configurations that are explored at every change: a few seconds each.
    pub fn short() -> Result<Vec<Self>, TermsError> {
        let (locks, lockless) = Self::bases()?;
        let (promised, free) = (Regime::Promised, Regime::Free);
        Ok(vec![
            locks,
            locks.against(Credential::Nothing, free, "locks, maintenance may be dead"),
            locks.against(Credential::Client, promised, "locks, client key stolen"),
            locks.against(
                Credential::Client,
                free,
                "locks, client key stolen, maintenance may be dead",
            ),
            locks.against(
                Credential::Retention,
                free,
                "locks, retention key stolen, maintenance may be dead",
            ),
            locks.against(Credential::Admin, promised, "locks, passphrase stolen"),
            locks.against(
                Credential::Admin,
                free,
                "locks, passphrase stolen, maintenance may be dead",
            ),
            locks.against(
                Credential::Maintenance,
                free,
                "locks, maintenance key stolen, maintenance may be dead",
            ),
            lockless,
        ])
    }

    /// Those that take minutes.
    pub fn long() -> Result<Vec<Self>, TermsError> {
        let (locks, lockless) = Self::bases()?;
        let promised = Regime::Promised;
        let coarse = Self {
            ticks_per_second: 2,
            ..locks
        };
        Ok(vec![
            locks.against(
                Credential::Retention,
                promised,
                "locks, retention key stolen",
            ),
            locks.against(
                Credential::Maintenance,
                promised,
                "locks, maintenance key stolen",
            ),
            Self {
                name: "locks, generation 2, clocks apart",
                terms: terms(3, 2, 1)?,
                clients_ahead: [1, -1],
                maintenance_ahead: -1,
                ..locks
            },
            Self {
                name: "no locks, δ of 2, maintenance's clock ahead",
                terms: terms(5, 1, 1)?,
                maintenance_ahead: 3,
                ..lockless
            },
            coarse.against(
                Credential::Nothing,
                Regime::Free,
                "locks, coarse clock, maintenance may be dead",
            ),
            coarse.against(Credential::Nothing, promised, "locks, coarse clock"),
        ])
    }

    /// Two honest ones to vary: with locks, and without.
    fn bases() -> Result<(Self, Self), TermsError> {
        let locks = Self {
            name: "locks",
            flavour: Flavour::Compliance,
            regime: Regime::Promised,
            credential: Credential::Nothing,
            terms: terms(3, 1, 1)?,
            ticks_per_second: 1,
            clients_ahead: [0, 0],
            maintenance_ahead: 0,
            horizon: Horizon::Seen,
            mutation: None,
        };
        let lockless = Self {
            name: "no locks",
            flavour: Flavour::None,
            regime: Regime::Free,
            ..locks
        };
        Ok((locks, lockless))
    }

    /// The same against somebody who holds a credential, with maintenance like this.
    fn against(self, credential: Credential, regime: Regime, name: &'static str) -> Self {
        Self {
            name,
            regime,
            credential,
            ..self
        }
    }
}

/// Terms of these numbers.
pub fn terms(protect: u64, generation: u64, interval: u64) -> Result<Terms, TermsError> {
    Terms::with_defaults(&Asked {
        protect_seconds: protect,
        generation_seconds: Some(generation),
        interval_seconds: Some(interval),
        extension: ExtensionCost::Free,
    })
}
