//! Drill: what an attacker with the credentials at hand could do, tried out on canaries.
//!
//! Rights and locks are believed once they have refused something. What an attack came to is looked at afterwards where
//! the credentials can look; settings are set to what they are.

mod canary;
mod judge;

use dolmen_format::certificate::Role;
use dolmen_format::ledger::LockStrategy;
use dolmen_store::{Bucket, Hold, Lock, LockMode, LockSupport, Setting, Store, StoreError};
use dolmen_store::{Place, StoreErrorKind};

use crate::environment::Environment;
use crate::error::Result;
use crate::finding::chain;
use crate::lease::lock_mode;
use crate::objects::Objects;
use canary::{Canaries, Target};
pub use judge::may;

/// Something that an attacker would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attack {
    /// Deletes a version that is locked, where the policy locks.
    DeleteVersion,
    /// Has a lock end sooner.
    ShortenLock,
    /// Deletes what a lock in governance mode keeps.
    BypassGovernance,
    /// Lifts a legal hold.
    RemoveHold,
    /// Puts other bytes under a name.
    Overwrite,
    /// Puts a delete marker over a name.
    Hide,
    /// Changes the rules by which the bucket deletes.
    ChangeLifecycle,
    /// Changes the lock that the bucket gives.
    ChangeDefaultRetention,
    /// Has the bucket keep no versions.
    SuspendVersioning,
    /// Makes credentials of its own.
    CreateKey,
}

impl Attack {
    /// Its name, as scripts read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeleteVersion => "delete-version",
            Self::ShortenLock => "shorten-lock",
            Self::BypassGovernance => "bypass-governance",
            Self::RemoveHold => "remove-hold",
            Self::Overwrite => "overwrite",
            Self::Hide => "hide",
            Self::ChangeLifecycle => "change-lifecycle",
            Self::ChangeDefaultRetention => "change-default-retention",
            Self::SuspendVersioning => "suspend-versioning",
            Self::CreateKey => "create-key",
        }
    }
}

/// What became of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The store did not let it happen.
    Refused,
    /// It happened and harmed nothing: what was there is still there.
    Absorbed,
    /// It did what the attacker wants.
    Succeeds,
}

/// An attack that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Which.
    pub attack: Attack,
    /// What became of it.
    pub outcome: Outcome,
    /// In a few words.
    pub detail: String,
    /// Whether it succeeded and the role should not be able to do that.
    pub falls_short: bool,
}

/// What a drill came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The attacks that were made.
    pub tried: Vec<Tried>,
    /// Those that were not, and why.
    pub left_out: Vec<(Attack, &'static str)>,
}

impl Report {
    /// Whether nothing succeeded that should not.
    pub fn is_ok(&self) -> bool {
        !self.tried.iter().any(|tried| tried.falls_short)
    }
}

/// Attacks a store with the credentials at hand, and judges by what a role may do under a strategy. Canaries that may be
/// deleted are deleted afterwards; locked ones stay for a day, and prune takes them.
///
/// Cost: some forty requests.
pub fn run(
    objects: &Objects,
    environment: &Environment,
    strategy: LockStrategy,
    role: Role,
) -> Result<Report> {
    let store = objects.store();
    let mode =
        lock_mode(strategy).filter(|_| store.capabilities().locks == LockSupport::ObjectLock);
    let mut drill = Drill {
        store,
        canaries: Canaries::new(store, environment),
        mode,
        judged: (strategy, role),
        report: Report::default(),
    };
    objects.block_on(async {
        let attacked = drill.attack().await;
        drill.canaries.clear().await;
        attacked
    })?;
    Ok(drill.report)
}

/// What a call came to, as far as an attacker cares.
enum Answer<T> {
    Done(T),
    Refused(String),
    Unsupported,
}

/// Tells a refusal from a store that does not answer.
fn answer<T>(called: std::result::Result<T, StoreError>) -> Result<Answer<T>> {
    match called {
        Ok(done) => Ok(Answer::Done(done)),
        Err(error) => match error.kind {
            StoreErrorKind::Unsupported => Ok(Answer::Unsupported),
            StoreErrorKind::Locked
            | StoreErrorKind::Denied
            | StoreErrorKind::NotFound
            | StoreErrorKind::Exists
            | StoreErrorKind::Other => Ok(Answer::Refused(chain(&error))),
            StoreErrorKind::NoSpace
            | StoreErrorKind::TooLarge
            | StoreErrorKind::ShortRead
            | StoreErrorKind::Sealed
            | StoreErrorKind::OutcomeUnknown
            | StoreErrorKind::Unavailable => Err(error.into()),
        },
    }
}

const NO_CANARY: &str = "these credentials may put no canary, and the store has none";
const NO_LOCKS: &str = "the policy locks nothing here";
const NO_SUCH_THING: &str = "this store has no such thing";
const NO_GOVERNANCE: &str =
    "no lock in governance mode could be put that it would have to go around";
const UNTOLD: &str = "the store does not tell, or it could not be tried without changing something";

struct Drill<'a> {
    store: &'a dyn Store,
    canaries: Canaries<'a>,
    /// The mode of the policy's locks.
    mode: Option<LockMode>,
    judged: (LockStrategy, Role),
    report: Report,
}

impl<'a> Drill<'a> {
    /// Makes every attack, in the order of the list.
    async fn attack(&mut self) -> Result<()> {
        match self.canaries.target(self.mode).await? {
            Some(target) => self.attack_locks(&target).await?,
            None => {
                for attack in [
                    Attack::DeleteVersion,
                    Attack::ShortenLock,
                    Attack::RemoveHold,
                ] {
                    self.leave_out(attack, NO_CANARY);
                }
            }
        }
        self.bypass().await?;
        self.overwrite().await?;
        self.hide().await?;
        for (attack, setting) in [
            (Attack::ChangeLifecycle, Setting::Lifecycle),
            (Attack::ChangeDefaultRetention, Setting::DefaultRetention),
            (Attack::SuspendVersioning, Setting::Versioning),
        ] {
            self.change(attack, setting).await?;
        }
        self.create_key().await?;
        self.report.tried.sort_by_key(|tried| tried.attack);
        Ok(())
    }

    /// What one locked canary is good for, the delete last.
    async fn attack_locks(&mut self, target: &Target) -> Result<()> {
        if self.mode.is_some() {
            self.shorten(target).await?;
            self.remove_hold(target).await?;
        } else {
            self.leave_out(Attack::ShortenLock, NO_LOCKS);
            self.leave_out(Attack::RemoveHold, NO_LOCKS);
        }
        let deleted = self.store.delete_version(&target.object).await;
        self.took_away(Attack::DeleteVersion, target, answer(deleted)?)
            .await
    }

    async fn shorten(&mut self, target: &Target) -> Result<()> {
        let before = self.canaries.lock_of(target).await?;
        let Some(lock) = before.or(target.lock) else {
            self.leave_out(
                Attack::ShortenLock,
                "the canary has no lock that these credentials see",
            );
            return Ok(());
        };
        let sooner = Lock {
            until: lock.until.saturating_add_seconds(-60),
            ..lock
        };
        let asked = answer(self.store.extend(&target.object, sooner).await)?;
        let after = self.canaries.lock_of(target).await?;
        let is_shorter = after.is_some_and(|after| after.until < lock.until);
        let (outcome, detail) = match asked {
            Answer::Unsupported => {
                self.leave_out(Attack::ShortenLock, NO_SUCH_THING);
                return Ok(());
            }
            _ if is_shorter => (Outcome::Succeeds, "the lock ends sooner".to_owned()),
            Answer::Refused(why) => (Outcome::Refused, why),
            Answer::Done(()) if after.is_some() => {
                let detail = "the store said yes, and the lock is as it was";
                (Outcome::Absorbed, detail.to_owned())
            }
            Answer::Done(()) => (Outcome::Succeeds, UNSEEN.to_owned()),
        };
        self.tell(Attack::ShortenLock, outcome, detail);
        Ok(())
    }

    /// The right that places holds lifts them, too.
    async fn remove_hold(&mut self, target: &Target) -> Result<()> {
        let attack = Attack::RemoveHold;
        match answer(self.store.hold(&target.object, Hold::On).await)? {
            Answer::Unsupported => self.leave_out(attack, NO_SUCH_THING),
            Answer::Refused(why) => {
                let detail =
                    format!("it may place none, and who may not place them lifts none: {why}");
                self.tell(attack, Outcome::Refused, detail);
            }
            Answer::Done(()) => match answer(self.store.hold(&target.object, Hold::Off).await)? {
                Answer::Done(()) => {
                    self.tell(attack, Outcome::Succeeds, "it lifts legal holds".to_owned());
                }
                Answer::Refused(why) => {
                    let detail = format!(
                        "{} stays held until the owner lifts that: {why}",
                        target.object.key
                    );
                    self.tell(attack, Outcome::Refused, detail);
                }
                Answer::Unsupported => self.leave_out(attack, NO_SUCH_THING),
            },
        }
        Ok(())
    }

    async fn bypass(&mut self) -> Result<()> {
        let attack = Attack::BypassGovernance;
        let (Some(bucket), Some(_)) = (self.bucket(), self.mode) else {
            self.leave_out(attack, NO_LOCKS);
            return Ok(());
        };
        let Some(target) = self.canaries.target(Some(LockMode::Governance)).await? else {
            self.leave_out(attack, NO_CANARY);
            return Ok(());
        };
        let lock = self.canaries.lock_of(&target).await?.or(target.lock);
        let is_kept = lock.is_some_and(|lock| lock.mode == LockMode::Governance);
        match answer(bucket.delete_bypassing(&target.object).await)? {
            // What nothing keeps, no bypass deleted.
            Answer::Done(()) if !is_kept => self.leave_out(attack, NO_GOVERNANCE),
            answered => self.took_away(attack, &target, answered).await?,
        }
        Ok(())
    }

    async fn overwrite(&mut self) -> Result<()> {
        let Some(target) = self.canaries.target(self.mode).await? else {
            self.leave_out(Attack::Overwrite, NO_CANARY);
            return Ok(());
        };
        let put = self
            .store
            .put(&target.object.key, JUNK.into(), None, Place::OnTop);
        let put = answer(put.await)?;
        self.took_away(Attack::Overwrite, &target, put).await
    }

    async fn hide(&mut self) -> Result<()> {
        let Some(target) = self.canaries.target(self.mode).await? else {
            self.leave_out(Attack::Hide, NO_CANARY);
            return Ok(());
        };
        let hidden = answer(self.store.hide(&target.object.key).await)?;
        self.took_away(Attack::Hide, &target, hidden).await
    }

    /// Tells what became of an attack that should have taken a canary away.
    async fn took_away<T>(
        &mut self,
        attack: Attack,
        target: &Target,
        answered: Answer<T>,
    ) -> Result<()> {
        let (outcome, detail) = match answered {
            Answer::Unsupported => {
                self.leave_out(attack, NO_SUCH_THING);
                return Ok(());
            }
            Answer::Refused(why) => (Outcome::Refused, why),
            Answer::Done(_) => match self.canaries.is_there(target).await? {
                Some(true) => (Outcome::Absorbed, "the version is still there".to_owned()),
                Some(false) => (Outcome::Succeeds, "the version is gone".to_owned()),
                None => (Outcome::Succeeds, UNSEEN.to_owned()),
            },
        };
        self.tell(attack, outcome, detail);
        Ok(())
    }

    async fn change(&mut self, attack: Attack, setting: Setting) -> Result<()> {
        let Some(bucket) = self.bucket() else {
            self.leave_out(attack, NO_SUCH_THING);
            return Ok(());
        };
        match answer(bucket.set_again(setting).await)? {
            Answer::Done(()) => {
                let detail = "it could: the setting was set to what it is";
                self.tell(attack, Outcome::Succeeds, detail.to_owned());
            }
            Answer::Refused(why) => self.tell(attack, Outcome::Refused, why),
            Answer::Unsupported => self.leave_out(attack, UNTOLD),
        }
        Ok(())
    }

    async fn create_key(&mut self) -> Result<()> {
        let attack = Attack::CreateKey;
        let Some(bucket) = self.bucket() else {
            self.leave_out(attack, NO_SUCH_THING);
            return Ok(());
        };
        let (outcome, detail) = match answer(bucket.may_create_keys().await)? {
            Answer::Done(true) => (Outcome::Succeeds, "the store says that it may".to_owned()),
            Answer::Done(false) => (
                Outcome::Refused,
                "the store says that it may not".to_owned(),
            ),
            Answer::Refused(why) => (Outcome::Refused, why),
            Answer::Unsupported => {
                self.leave_out(attack, UNTOLD);
                return Ok(());
            }
        };
        self.tell(attack, outcome, detail);
        Ok(())
    }

    fn bucket(&self) -> Option<&'a dyn Bucket> {
        self.store.bucket()
    }

    fn tell(&mut self, attack: Attack, outcome: Outcome, detail: String) {
        let (strategy, role) = self.judged;
        self.report.tried.push(Tried {
            attack,
            outcome,
            detail,
            falls_short: outcome == Outcome::Succeeds && !may(role, attack, strategy),
        });
    }

    fn leave_out(&mut self, attack: Attack, why: &'static str) {
        self.report.left_out.push((attack, why));
    }
}

const UNSEEN: &str = "the store said yes, and these credentials cannot see what became of it";
const JUNK: &[u8] = b"junk";

#[cfg(test)]
mod tests;
