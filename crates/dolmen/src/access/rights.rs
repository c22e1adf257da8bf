//! What each role may do, whoever stores.

use super::{Grant, LockName, Role};

/// What a role may do beyond looking and reading.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a right of its own")]
pub(super) struct Rights {
    /// The folders that it adds objects to, each with its slash; an empty one is the whole repository.
    pub(super) writes: Vec<String>,
    /// Setting and extending locks.
    pub(super) extends: bool,
    /// Placing legal holds, and for prune lifting them.
    pub(super) holds: bool,
    /// Putting delete markers.
    pub(super) hides: bool,
    /// Deleting versions.
    pub(super) deletes: bool,
}

impl Rights {
    /// Those of the role that is asked for.
    pub(super) fn of(grant: &Grant) -> Self {
        let (is_held, is_hidden) = (grant.lock == LockName::Hold, grant.lock == LockName::Hide);
        let maintains = matches!(grant.role, Role::Renew | Role::Prune | Role::Owner);
        let extends = match grant.role {
            Role::Backup => grant.client_retention,
            Role::Renew | Role::Owner => true,
            // A hold is lifted over a new lock.
            Role::Prune => is_held,
            Role::Restore => false,
        };
        Self {
            writes: written(grant),
            extends: extends && !is_hidden,
            holds: is_held && maintains,
            hides: matches!(grant.role, Role::Prune | Role::Owner),
            deletes: grant.role == Role::Prune && !is_hidden,
        }
    }
}

fn written(grant: &Grant) -> Vec<String> {
    let own = |kind: &str| format!("{kind}/{}/", grant.writer);
    let canary = || "canary/".to_owned();
    match grant.role {
        Role::Backup => vec![own("packs"), own("index"), own("snapshots"), canary()],
        // Compaction writes packs and segments; retirements, undos and moves are facts.
        Role::Prune => vec![own("packs"), own("index"), own("ledger"), canary()],
        Role::Restore if grant.attests => vec![own("ledger")],
        // Where nothing is locked, what is hidden is put again.
        Role::Renew if grant.lock == LockName::Hide => vec![String::new()],
        Role::Owner => vec![String::new()],
        Role::Renew | Role::Restore => Vec::new(),
    }
}
