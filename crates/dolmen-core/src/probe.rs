//! Probe: whether a store does what a strategy relies on, tried out on a canary.
//!
//! Some stores accept locks and delete all the same. What is asked here is asked of the store itself, and the answers count
//! for that very store alone.

use bytes::Bytes;
use dolmen_format::ledger::LockStrategy;
use dolmen_format::{ObjectId, ObjectKey, Timestamp};
use dolmen_store::{
    Hold, Lock, LockMode, LockStatus, LockSupport, ObjectRef, Place, StoreError, StoreErrorKind,
    StoreIdentity,
};

use crate::environment::Environment;
use crate::error::Result;
use crate::lease::lock_mode;
use crate::objects::{Objects, store_key};

/// How long a canary is locked: the shortest lock that every store takes, and an hour for the probe itself.
pub(crate) const LOCK_SECONDS: i64 = 25 * 60 * 60;

/// Something that a strategy relies on and a store does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unkept {
    /// It has no locks.
    #[error("it keeps no locks")]
    Locks,
    /// A put's lock is not there afterwards.
    #[error("it accepts a lock with a put and forgets it")]
    Put,
    /// An earlier end is applied.
    #[error("it lets a lock be shortened")]
    Shorten,
    /// A later end is not applied, or not the one that was asked for.
    #[error("it accepts an extension and does not apply it as asked")]
    Extend,
    /// A locked version can be deleted.
    #[error("it deletes what is locked")]
    Delete,
    /// A held version can be deleted.
    #[error("it deletes what a legal hold keeps")]
    Held,
    /// What is put on top replaces what was there.
    #[error("what is overwritten is gone")]
    Overwrite,
    /// What a marker hides cannot be read by its version.
    #[error("what is hidden is gone")]
    Hide,
}

impl Unkept {
    /// What to do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Locks => {
                "make a bucket with Object Lock (it can often not be turned on later), or choose another --lock"
            }
            Self::Put | Self::Shorten | Self::Extend | Self::Delete => {
                "its locks protect nothing: take another store, or --lock none and know that nothing is protected"
            }
            Self::Held => "choose --lock compliance, which does not rely on legal holds",
            Self::Overwrite | Self::Hide => {
                "turn versioning on, and take lifecycle rules off that delete old versions"
            }
        }
    }
}

/// What a probe of one store came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    store: StoreIdentity,
    unkept: Vec<Unkept>,
}

impl Answers {
    /// What the strategy relies on and this store does not do; `None`: these are the answers of another store.
    pub fn unkept(&self, store: &StoreIdentity) -> Option<&[Unkept]> {
        (self.store == *store).then_some(self.unkept.as_slice())
    }
}

/// What was seen of a canary. `None`: not tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    /// The lock of the put, as the store states it afterwards, less what was asked for, in seconds.
    put: Option<Stated>,
    /// The same after an earlier end was asked for.
    shortened: Option<Stated>,
    /// The same after a later one was.
    extended: Option<Stated>,
    /// Whether the version could be read by its name after each attack.
    after_overwrite: Option<bool>,
    after_hide: Option<bool>,
    after_delete: Option<bool>,
    after_delete_of_held: Option<bool>,
}

/// A lock as stated, against the one that must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stated {
    /// None, or an earlier end.
    Less,
    Exactly,
    More,
}

impl Stated {
    fn of(status: LockStatus, wanted: Lock) -> Self {
        match status.retention() {
            Some(lock) if lock.mode >= wanted.mode && lock.until == wanted.until => Self::Exactly,
            Some(lock) if lock.mode >= wanted.mode && lock.until > wanted.until => Self::More,
            Some(_) | None => Self::Less,
        }
    }
}

/// Judges what was seen. Pure.
fn judge(seen: Seen) -> Vec<Unkept> {
    let lost = Some(false);
    let found = [
        (Unkept::Put, seen.put == Some(Stated::Less)),
        (Unkept::Shorten, seen.shortened == Some(Stated::Less)),
        (
            Unkept::Extend,
            seen.extended
                .is_some_and(|stated| stated != Stated::Exactly),
        ),
        (Unkept::Overwrite, seen.after_overwrite == lost),
        (Unkept::Hide, seen.after_hide == lost),
        (Unkept::Delete, seen.after_delete == lost),
        (Unkept::Held, seen.after_delete_of_held == lost),
    ];
    let unkept = found.into_iter().filter(|(_, is_unkept)| *is_unkept);
    unkept.map(|(what, _)| what).collect()
}

/// Whether a strategy relies on what a store keeps, so that one is tried out.
pub(crate) const fn relies_on_store(strategy: LockStrategy) -> bool {
    match strategy {
        LockStrategy::Compliance
        | LockStrategy::Governance
        | LockStrategy::Hold
        | LockStrategy::Hide => true,
        LockStrategy::None | LockStrategy::Attribute => false,
    }
}

/// Probes a store for what a strategy relies on. The canary stays locked for a day; prune takes it.
///
/// Cost: none for a strategy that relies on nothing; else some fifteen requests.
pub fn run(
    objects: &Objects,
    environment: &Environment,
    strategy: LockStrategy,
) -> Result<Answers> {
    let store = objects.store();
    let (mode, holds) = (lock_mode(strategy), strategy == LockStrategy::Hold);
    let unkept = if !relies_on_store(strategy) {
        Vec::new()
    } else if mode.is_some() && store.capabilities().locks == LockSupport::None {
        vec![Unkept::Locks]
    } else {
        let body = Bytes::copy_from_slice(&environment.bytes::<32>());
        let seen = objects.block_on(Canary::put(objects, body, mode, holds))?;
        judge(seen)
    };
    Ok(Answers {
        store: store.identity().clone(),
        unkept,
    })
}

/// An object that may be attacked.
struct Canary<'o> {
    objects: &'o Objects,
    object: ObjectRef,
    body: Bytes,
}

impl Canary<'_> {
    /// Puts a canary and attacks it, the delete last.
    async fn put(
        objects: &Objects,
        body: Bytes,
        mode: Option<LockMode>,
        holds: bool,
    ) -> std::result::Result<Seen, StoreError> {
        let key = store_key(&ObjectKey::Canary(ObjectId::of(&body)))?;
        let store = objects.store();
        let from = store.now().await?.latest.ceil_seconds();
        let lock = mode.map(|mode| Lock {
            mode,
            until: Timestamp::from_seconds(from.saturating_add(LOCK_SECONDS)),
        });
        let put = store.put(&key, body.clone(), lock, Place::IfAbsent);
        let object = put.await?.object;
        let canary = Canary {
            objects,
            object,
            body,
        };
        let mut seen = Seen::default();
        if let Some(lock) = lock {
            canary.attack_lock(lock, &mut seen).await?;
        }
        let junk = Bytes::from_static(b"junk");
        store.put(&key, junk, None, Place::OnTop).await?;
        seen.after_overwrite = Some(canary.is_there().await?);
        if is_done(store.hide(&key).await)? {
            seen.after_hide = Some(canary.is_there().await?);
        }
        if lock.is_some() {
            is_done(store.delete_version(&canary.object).await)?;
            seen.after_delete = Some(canary.is_there().await?);
        }
        if holds {
            seen.after_delete_of_held = Some(canary.hold().await?);
        }
        Ok(seen)
    }

    /// Tries to shorten the lock, and extends it.
    async fn attack_lock(
        &self,
        lock: Lock,
        seen: &mut Seen,
    ) -> std::result::Result<(), StoreError> {
        let store = self.objects.store();
        seen.put = Some(Stated::of(store.lock_of(&self.object).await?, lock));
        let moved = |seconds: i64| Lock {
            until: lock.until.saturating_add_seconds(seconds),
            ..lock
        };
        // Whoever may bypass governance must say so in the request, which Dolmen never does.
        is_done(store.extend(&self.object, moved(-60)).await)?;
        seen.shortened = Some(Stated::of(store.lock_of(&self.object).await?, lock));
        let longer = moved(1);
        if is_done(store.extend(&self.object, longer).await)? {
            seen.extended = Some(Stated::of(store.lock_of(&self.object).await?, longer));
        }
        Ok(())
    }

    /// Whether a hold alone keeps a second canary, which is let go afterwards.
    async fn hold(&self) -> std::result::Result<bool, StoreError> {
        let store = self.objects.store();
        let mut body = self.body.to_vec();
        body.reverse();
        let body = Bytes::from(body);
        let key = store_key(&ObjectKey::Canary(ObjectId::of(&body)))?;
        let put = store.put(&key, body.clone(), None, Place::IfAbsent);
        let held = Canary {
            objects: self.objects,
            object: put.await?.object,
            body,
        };
        store.hold(&held.object, Hold::On).await?;
        is_done(store.delete_version(&held.object).await)?;
        let is_there = held.is_there().await?;
        if is_there {
            store.hold(&held.object, Hold::Off).await?;
            is_done(store.delete_version(&held.object).await)?;
        }
        Ok(is_there)
    }

    /// Whether the version has its bytes.
    async fn is_there(&self) -> std::result::Result<bool, StoreError> {
        let (key, version) = (&self.object.key, Some(&self.object.version));
        let bytes = u64::try_from(self.body.len()).unwrap_or(u64::MAX);
        match self.objects.store().get(key, version, None, bytes).await {
            Ok(body) => Ok(body == self.body),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Whether the store did something; that it refused, or that there is nothing to do it to, is an answer too.
fn is_done<T>(
    outcome: std::result::Result<T, StoreError>,
) -> std::result::Result<bool, StoreError> {
    match outcome {
        Ok(_) => Ok(true),
        Err(error)
            if matches!(
                error.kind,
                StoreErrorKind::Locked | StoreErrorKind::Denied | StoreErrorKind::NotFound
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dolmen_store::memory::Lie;
    use dolmen_store::{Credential, MemoryModel, MemoryOptions, MemoryStore};

    use super::*;
    use crate::fixture;

    fn probe(store: MemoryStore, strategy: LockStrategy) -> (Answers, StoreIdentity) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let objects = Objects::new(Arc::new(store), runtime.handle().clone(), "memory");
        let environment = fixture::repository(&runtime).environment;
        let answers = run(&objects, &environment, strategy).unwrap();
        (answers, objects.store().identity().clone())
    }

    fn unkept(model: MemoryModel, strategy: LockStrategy) -> Vec<Unkept> {
        let (answers, store) = probe(MemoryStore::new(model), strategy);
        answers.unkept(&store).unwrap().to_vec()
    }

    const LOCKS: [LockStrategy; 3] = [
        LockStrategy::Compliance,
        LockStrategy::Governance,
        LockStrategy::Hold,
    ];

    #[test]
    fn an_honest_store_keeps_everything() {
        for options in [MemoryOptions::LOCKS, MemoryOptions::VERSIONS] {
            for model in [MemoryModel::s3(options), MemoryModel::b2(options)] {
                assert_eq!(unkept(model, LockStrategy::Hide), []);
                for strategy in LOCKS.into_iter().filter(|_| options.locks) {
                    assert_eq!(unkept(model, strategy), [], "{strategy:?}");
                }
            }
        }
    }

    #[test]
    fn every_lie_about_locks_is_found_out() {
        for (lies, found) in [
            (&[Lie::DeletesLocked] as &'static [Lie], Unkept::Delete),
            (&[Lie::WeakensLocks], Unkept::Shorten),
            (&[Lie::IgnoresExtensions], Unkept::Extend),
            (&[Lie::ForgetsLocks], Unkept::Put),
            (&[Lie::ReplacesLocked], Unkept::Overwrite),
        ] {
            let model = MemoryModel::s3(MemoryOptions::LOCKS).lying(lies);
            for strategy in LOCKS {
                let unkept = unkept(model, strategy);
                assert!(unkept.contains(&found), "{lies:?}: {unkept:?}");
            }
        }
        let model = MemoryModel::s3(MemoryOptions::LOCKS).lying(&[Lie::DeletesHeld]);
        assert_eq!(unkept(model, LockStrategy::Hold), [Unkept::Held]);
        assert_eq!(unkept(model, LockStrategy::Compliance), []);
    }

    #[test]
    fn a_store_without_locks_or_versions_is_told_and_one_that_nothing_is_asked_of_is_left_alone() {
        let versions = MemoryModel::s3(MemoryOptions::VERSIONS);
        assert_eq!(unkept(versions, LockStrategy::Compliance), [Unkept::Locks]);
        let nothing = MemoryStore::new(versions).with_credential(Credential::nothing());
        let (answers, store) = probe(nothing, LockStrategy::None);
        assert_eq!(answers.unkept(&store), Some(&[] as &[Unkept]));
    }

    #[test]
    fn answers_count_for_their_store_alone() {
        let model = MemoryModel::s3(MemoryOptions::LOCKS);
        let (answers, _) = probe(MemoryStore::new(model), LockStrategy::Compliance);
        assert_eq!(answers.unkept(&StoreIdentity::new("a copy")), None);
    }

    #[test]
    fn a_key_that_may_not_delete_or_hide_probes_too() {
        let store = MemoryStore::new(MemoryModel::s3(MemoryOptions::LOCKS));
        let client = store.with_credential(Credential::locking_client());
        let (answers, store) = probe(client, LockStrategy::Compliance);
        assert_eq!(answers.unkept(&store), Some(&[] as &[Unkept]));
    }
}
