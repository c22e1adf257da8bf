//! What each role may do to a store.

use dolmen_format::certificate::Role;
use dolmen_format::ledger::LockStrategy;

use super::Attack;

/// Whether a role should be able to do what an attack does, by the table of roles and the promise of the strategy. Pure.
///
/// What is locked nobody takes away, the admin neither. Where nothing is locked whoever deletes by right does.
pub const fn may(role: Role, attack: Attack, strategy: LockStrategy) -> bool {
    let is_admin = matches!(role, Role::Admin);
    let deletes = matches!(role, Role::Admin | Role::Maintain);
    match attack {
        Attack::DeleteVersion => match strategy {
            LockStrategy::None | LockStrategy::Hide => deletes,
            LockStrategy::Compliance
            | LockStrategy::Governance
            | LockStrategy::Hold
            | LockStrategy::Attribute => false,
        },
        Attack::Overwrite | Attack::Hide => deletes && matches!(strategy, LockStrategy::None),
        Attack::ShortenLock => false,
        Attack::RemoveHold => is_admin || (deletes && matches!(strategy, LockStrategy::Hold)),
        Attack::BypassGovernance
        | Attack::ChangeLifecycle
        | Attack::ChangeDefaultRetention
        | Attack::SuspendVersioning
        | Attack::CreateKey => is_admin,
    }
}
