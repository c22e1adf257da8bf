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
    /// The lock of the snapshot object itself is not among those that the commit rule looks at.
    ForgetOwnLock,
    /// Locks are extended by key.
    ExtendLatest,
    /// Presence and lock are those of the newest version.
    TrustLatest,
    /// Renewal goes by maintenance's clock alone.
    RenewByLocalClock,
    /// Prune goes by maintenance's clock alone.
    PruneByLocalClock,
    /// Prune acts on a listing of any age.
    StaleListing,
    /// A snapshot that a plain listing does not show has ended.
    AbsenceIsDeath,
    /// A checkpoint ends the life of the snapshot that it names.
    CheckpointEndsSnapshot,
    /// An undo is written, and nothing else.
    UndoWithoutExtending,
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
    pub const ALL: [Self; 19] = [
        Self::DropCommitRule,
        Self::CommitBeforePut,
        Self::ForgetOwnLock,
        Self::ExtendLatest,
        Self::TrustLatest,
        Self::RenewByLocalClock,
        Self::PruneByLocalClock,
        Self::StaleListing,
        Self::AbsenceIsDeath,
        Self::CheckpointEndsSnapshot,
        Self::UndoWithoutExtending,
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

/// How often things may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Ticks from the start.
    pub ticks: u8,
    /// Clients that do anything: 1 or 2.
    pub clients: u8,
    /// Objects under `snapshots/` at a time, at most [`crate::SLOTS`].
    pub slots: u8,
    /// Crashes of clients.
    pub crashes: u8,
    /// Retirements by honest people.
    pub retirements: u8,
    /// Undos by honest people.
    pub undos: u8,
    /// Acts of the attacker.
    pub attacks: u8,
    /// Checkpoints of honest clients.
    pub checkpoints: u8,
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
    /// L, G and I: a tick is a second.
    pub terms: Terms,
    /// Ticks by which one client's clock is ahead.
    pub client_ahead: i8,
    /// Ticks by which maintenance's clock is ahead.
    pub maintenance_ahead: i8,
    /// Which horizon is asserted.
    pub horizon: Horizon,
    /// The bounds.
    pub limits: Limits,
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

    /// The configurations that are explored.
    #[expect(clippy::too_many_lines, reason = "it is a list")]
    pub fn all() -> Result<Vec<Self>, TermsError> {
        let base = Self {
            name: "locks: clients, checkpoints, crashes",
            flavour: Flavour::Compliance,
            regime: Regime::Promised,
            credential: Credential::Nothing,
            terms: terms(3, 1, 1)?,
            client_ahead: 0,
            maintenance_ahead: 0,
            horizon: Horizon::Seen,
            limits: Limits {
                ticks: 8,
                clients: 2,
                slots: 2,
                crashes: 0,
                retirements: 0,
                undos: 0,
                attacks: 0,
                checkpoints: 0,
            },
            mutation: None,
        };
        let named = |name, limits| Self {
            name,
            limits,
            ..base
        };
        let retiring = Limits {
            ticks: 5,
            retirements: 1,
            undos: 1,
            ..base.limits
        };
        let crashing = Limits {
            crashes: 1,
            checkpoints: 1,
            slots: 3,
            ticks: 3,
            ..base.limits
        };
        let lockless = |config| Self {
            flavour: Flavour::None,
            regime: Regime::Free,
            ..config
        };
        Ok(vec![
            named(
                "locks, checkpoint and crash",
                Limits {
                    ticks: 4,
                    clients: 1,
                    ..crashing
                },
            ),
            named(
                "locks, two clients",
                Limits {
                    ticks: 8,
                    clients: 2,
                    ..base.limits
                },
            ),
            named(
                "locks, forget and undo",
                Limits {
                    ticks: 10,
                    clients: 1,
                    ..retiring
                },
            ),
            Self {
                regime: Regime::Free,
                ..named(
                    "locks, forget and undo, maintenance may be dead",
                    Limits {
                        ticks: 10,
                        clients: 1,
                        ..retiring
                    },
                )
            },
            Self {
                terms: terms(4, 2, 1)?,
                client_ahead: 2,
                maintenance_ahead: -2,
                ..named(
                    "locks, generation 2, clocks apart",
                    Limits {
                        ticks: 8,
                        clients: 2,
                        ..base.limits
                    },
                )
            },
            Self {
                regime: Regime::Promised,
                credential: Credential::Client,
                ..named(
                    "locks, client key stolen",
                    Limits {
                        ticks: 5,
                        clients: 1,
                        attacks: 1,
                        slots: 3,
                        ..base.limits
                    },
                )
            },
            Self {
                regime: Regime::Free,
                credential: Credential::Client,
                ..named(
                    "locks, client key stolen, maintenance may be dead",
                    Limits {
                        ticks: 5,
                        clients: 1,
                        attacks: 1,
                        slots: 3,
                        ..base.limits
                    },
                )
            },
            Self {
                regime: Regime::Free,
                credential: Credential::Retention,
                ..named(
                    "locks, retention key stolen",
                    Limits {
                        ticks: 6,
                        clients: 1,
                        attacks: 2,
                        slots: 3,
                        ..base.limits
                    },
                )
            },
            Self {
                regime: Regime::Free,
                credential: Credential::Admin,
                ..named(
                    "locks, passphrase stolen",
                    Limits {
                        ticks: 5,
                        clients: 1,
                        attacks: 1,
                        slots: 3,
                        ..base.limits
                    },
                )
            },
            Self {
                regime: Regime::Promised,
                credential: Credential::Maintenance,
                ..named(
                    "locks, maintenance key stolen",
                    Limits {
                        ticks: 5,
                        clients: 1,
                        attacks: 2,
                        slots: 2,
                        ..base.limits
                    },
                )
            },
            Self {
                regime: Regime::Promised,
                credential: Credential::Admin,
                ..named(
                    "locks, passphrase stolen, a person undoes",
                    Limits {
                        ticks: 6,
                        clients: 1,
                        attacks: 1,
                        undos: 1,
                        ..base.limits
                    },
                )
            },
            lockless(named(
                "no locks, two clients and a crash",
                Limits {
                    ticks: 6,
                    clients: 2,
                    checkpoints: 0,
                    ..crashing
                },
            )),
            lockless(named(
                "no locks, checkpoint and crash",
                Limits {
                    ticks: 10,
                    clients: 1,
                    ..crashing
                },
            )),
            lockless(named(
                "no locks, forget and undo",
                Limits {
                    ticks: 8,
                    clients: 2,
                    ..retiring
                },
            )),
            lockless(named(
                "no locks, one client, forget and undo",
                Limits {
                    ticks: 10,
                    clients: 1,
                    ..retiring
                },
            )),
            lockless(Self {
                terms: terms(5, 1, 1)?,
                maintenance_ahead: 3,
                ..named(
                    "no locks, δ of 2, maintenance's clock ahead",
                    Limits {
                        ticks: 10,
                        clients: 1,
                        ..retiring
                    },
                )
            }),
        ])
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
