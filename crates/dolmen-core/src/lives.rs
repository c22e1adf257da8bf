//! Which snapshots and checkpoints live, and from when on those that do not are free.

use std::collections::BTreeMap;

use dolmen_format::Timestamp;
use dolmen_format::ledger::{Class, LockStrategy, Policy};
use dolmen_format::signed::{Reference, Stamp};
use dolmen_store::LockSupport;

use crate::lease::{self, Checkpoint, InForce, Policies, Received, Standing, Terms};
use crate::ledger::{Facts, PolicyRecord};
use crate::repository::Repository;
use crate::snapshots::{SnapshotEntry, SnapshotList};

/// Whether a snapshot or checkpoint lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// What it needs is protected.
    Live,
    /// What it needed is kept for a lease from then on.
    Ended(Timestamp),
}

/// The terms in force at a time, which is the earlier clock's; `None` where the root's policy makes none.
pub fn terms(facts: &Facts, at: Timestamp) -> Option<Terms> {
    in_force(facts, at).map(|found| found.terms)
}

/// How objects are locked at a time.
pub fn lock(facts: &Facts, at: Timestamp) -> LockStrategy {
    in_force(facts, at).map_or(facts.policy().policy.lock, |found| found.lock)
}

/// Whether what lives is to be locked at a time, so that a lock that is missing is one too few.
pub fn promises_locks(facts: &Facts, at: Timestamp) -> bool {
    lease::lock_mode(lock(facts, at)).is_some()
}

/// Whether what lives is locked: the policy promises it, and the store keeps locks.
pub(crate) fn locks_what_lives(repository: &Repository, facts: &Facts, at: Timestamp) -> bool {
    repository.objects.store().capabilities().locks == LockSupport::ObjectLock
        && promises_locks(facts, at)
}

/// The protection classes that count for this client, with their policies: the one in force and, where policies contradict
/// each other, each of these. A class that more than doubles the longest protection of the last policy that the user
/// confirmed, or of the root's, waits like a policy that does.
pub fn classes(facts: &Facts) -> Vec<(&PolicyRecord, Vec<Class>)> {
    let consented = consented(facts, |record| record.stored_at);
    let policies = std::iter::once(facts.policy()).chain(facts.undecided_policies());
    let counting = policies.map(|policy| {
        let classes = consented.counting_classes(facts, policy);
        (policy, classes.cloned().collect::<Vec<_>>())
    });
    counting
        .filter(|(_, classes)| !classes.is_empty())
        .collect()
}

/// Whether a class of a policy would wait for a confirmation on every machine.
pub fn classes_wait(facts: &Facts, policy: &Policy) -> bool {
    let promised_max = consented(facts, |record| record.stored_at).promised_max();
    policy
        .classes
        .iter()
        .any(|class| class.protect_seconds > promised_max)
}

/// The terms to protect by: the longer of what is in force by the earlier clock, by which a shorter policy is let in, and
/// by the later one, by which a longer one is.
pub fn terms_between(facts: &Facts, earlier: Timestamp, later: Timestamp) -> Option<Terms> {
    let both = [earlier, later].map(|at| terms(facts, at));
    both.into_iter().flatten().max_by_key(Terms::lease_seconds)
}

/// The terms by which something may already have been let go: the shorter of what is in force by the earlier clock and by
/// the later one.
pub fn terms_relied_on(facts: &Facts, earlier: Timestamp, later: Timestamp) -> Option<Terms> {
    let (first, second) = (terms(facts, earlier)?, terms(facts, later)?);
    Some(if first.lease_seconds() <= second.lease_seconds() {
        first
    } else {
        second
    })
}

/// A policy counts from the store's time on, or from the older one that a witness tells of, whichever protects longer: a
/// stolen passphrase can sign both a shorter policy and a witness that dates it back.
fn in_force(facts: &Facts, at: Timestamp) -> Option<InForce> {
    let times: [fn(&PolicyRecord) -> Timestamp; 2] =
        [|record| record.stored_at, |record| record.received];
    let both = times.map(|time| lease::effective(&consented(facts, time).policies, at));
    both.into_iter().flatten().reduce(InForce::with)
}

/// The policies that wait for this client's user to confirm them: by themselves, or their protection classes.
pub fn waiting(facts: &Facts) -> Vec<&PolicyRecord> {
    consented(facts, |record| record.stored_at).waiting
}

/// Whether a policy with these terms would wait for a confirmation on every machine.
pub fn waits(facts: &Facts, terms: &Terms) -> bool {
    let base = consented(facts, |record| record.stored_at).base;
    base.is_some_and(|base| lease::needs_confirmation(&base, terms))
}

/// Policies as this client takes them.
#[derive(Default)]
struct Consented<'f> {
    policies: Policies,
    waiting: Vec<&'f PolicyRecord>,
    /// The terms that others are compared with.
    base: Option<Terms>,
    /// The longest protection that the policy with these terms promises, in seconds.
    promised_seconds: u64,
}

/// Splits the policies into those that count for this client and those that wait: one that more than doubles a time of
/// the root's, or of the last one that the user confirmed, waits, since a stolen passphrase could else lock junk for a
/// century, be it in many small steps.
fn consented(facts: &Facts, time: fn(&PolicyRecord) -> Timestamp) -> Consented<'_> {
    let mut consented = Consented::default();
    for record in facts.policies() {
        if !consented.take(facts, record, time, None) {
            return Consented::default();
        }
    }
    for (place, record) in facts.doubtful_policies() {
        consented.take(facts, record, time, Some(place));
    }
    let policy = facts.policy();
    let counting = consented.counting_classes(facts, policy).count();
    let is_named = consented.waiting.contains(&policy);
    if counting < policy.policy.classes.len() && !is_named {
        consented.waiting.push(policy);
    }
    consented
}

impl<'f> Consented<'f> {
    /// Nothing is protected for longer without a confirmation.
    const fn promised_max(&self) -> u64 {
        self.promised_seconds.saturating_mul(2)
    }

    fn counting_classes<'p>(
        &self,
        facts: &Facts,
        policy: &'p PolicyRecord,
    ) -> impl Iterator<Item = &'p Class> + use<'p> {
        let id = policy.reference.map(|reference| reference.digest);
        let is_confirmed = id.is_some_and(|id| facts.confirmed.contains(&id));
        let longest = if is_confirmed {
            u64::MAX
        } else {
            self.promised_max()
        };
        let classes = policy.policy.classes.iter();
        classes.filter(move |class| class.protect_seconds <= longest)
    }

    /// Takes a policy in; `place`: it is in doubt. Returns whether there are terms to go by.
    fn take(
        &mut self,
        facts: &Facts,
        record: &'f PolicyRecord,
        time: fn(&PolicyRecord) -> Timestamp,
        place: Option<usize>,
    ) -> bool {
        let Ok(terms) = Terms::try_from(&record.policy) else {
            return self.base.is_some();
        };
        let id = record.reference.map(|reference| reference.digest);
        let is_confirmed = id.is_some_and(|id| facts.confirmed.contains(&id));
        let waits = |base: &Terms| lease::needs_confirmation(base, &terms);
        if self.base.as_ref().is_some_and(waits) && !is_confirmed {
            self.waiting.push(record);
            return true;
        }
        if self.base.is_none() || (is_confirmed && place.is_none()) {
            self.base = Some(terms);
            let classes = record.policy.classes.iter();
            let longest = classes.map(|class| class.protect_seconds).max();
            self.promised_seconds = terms.protect_seconds().max(longest.unwrap_or(0));
        }
        let received = Received {
            terms,
            lock: record.policy.lock,
            received: time(record),
            is_sole: record.is_sole,
        };
        match place {
            Some(place) => self.policies.doubtful.push((place, received)),
            None => self.policies.chain.push(received),
        }
        true
    }
}

/// Decides the life of every snapshot, retired or not, and of every checkpoint. What has ended and is gone is not among
/// them: nobody waits for what it needed.
pub fn lives<'l>(
    list: &'l SnapshotList,
    terms: &Terms,
    now: Timestamp,
) -> Vec<(&'l SnapshotEntry, Life)> {
    let mut lives = with_gone(list, terms, now);
    lives.retain(|(entry, life)| *life == Life::Live || !list.recalled.is_gone(&entry.key()));
    lives
}

/// As [`lives`], with what has ended and is gone.
pub(crate) fn with_gone<'l>(
    list: &'l SnapshotList,
    terms: &Terms,
    now: Timestamp,
) -> Vec<(&'l SnapshotEntry, Life)> {
    let live = list.snapshots.iter().chain(&list.quarantined);
    let live = live.map(|entry| (entry, Life::Live));
    let retired = list.retired.iter().map(|entry| {
        let ended = list.facts.retired.get(&entry.id);
        (
            entry,
            ended.map_or(Life::Live, |ended| Life::Ended(ended.ended_at(now))),
        )
    });
    let mut lives: Vec<_> = live.chain(retired).collect();
    let successors = Successors::of(list);
    // An incomplete snapshot is kept like a checkpoint.
    let kept_like = list.incomplete.iter().chain(&list.checkpoints);
    // Apart: what a revoked signer planted displaces nothing.
    let (trusted, others): (Vec<_>, Vec<_>) =
        kept_like.partition(|entry| list.facts.trusts(&entry.id));
    for kept_like in [trusted, others] {
        let checkpoints: Vec<_> = kept_like
            .iter()
            .map(|entry| Checkpoint {
                id: entry.id,
                signer: entry.snapshot.stamp.writer,
                received: entry.stored_at,
                succeeded: successors.first_of(entry),
            })
            .collect();
        let standings = lease::standings(&checkpoints, terms, now);
        for (entry, standing) in kept_like.into_iter().zip(standings) {
            lives.push(match standing {
                Standing::Live => (entry, Life::Live),
                Standing::Ended { at, .. } => (entry, Life::Ended(at)),
            });
        }
    }
    lives
}

/// What was stored after a checkpoint and carries on from it: by the same signer from the same state folder, whatever
/// others claim to follow.
struct Successors {
    /// When the first object that names a head was stored.
    by_head: BTreeMap<Reference, Timestamp>,
    /// When the snapshot with a number was stored: a checkpoint bears that of the coming one.
    by_stamp: BTreeMap<Stamp, Timestamp>,
}

impl Successors {
    fn of(list: &SnapshotList) -> Self {
        let (mut by_head, mut by_stamp) = (BTreeMap::new(), BTreeMap::new());
        for entry in list.all().filter(|entry| list.facts.trusts(&entry.id)) {
            let stamp = entry.snapshot.stamp;
            for head in &entry.snapshot.heads {
                if (head.writer, head.instance) == (stamp.writer, stamp.instance) {
                    note(&mut by_head, *head, entry.stored_at);
                }
            }
            if entry.snapshot.checkpoint == 0 {
                note(&mut by_stamp, stamp, entry.stored_at);
            }
        }
        Self { by_head, by_stamp }
    }

    fn first_of(&self, entry: &SnapshotEntry) -> Option<Timestamp> {
        let by_head = self.by_head.get(&entry.snapshot.reference(entry.id));
        // A snapshot bears its own number.
        let is_checkpoint = entry.snapshot.checkpoint > 0;
        let by_stamp = self
            .by_stamp
            .get(&entry.snapshot.stamp)
            .filter(|_| is_checkpoint);
        by_head.into_iter().chain(by_stamp).min().copied()
    }
}

fn note<K: Ord>(times: &mut BTreeMap<K, Timestamp>, key: K, at: Timestamp) {
    let first = times.entry(key).or_insert(at);
    *first = at.min(*first);
}

#[cfg(test)]
mod tests {
    use dolmen_format::snapshot::{Body, Snapshot, Summary};
    use dolmen_format::{InstanceId, ObjectId, WriterId};

    use super::*;
    use crate::fixture;
    use crate::lease::{Asked, ExtensionCost};
    use crate::ledger::{Origin, fold};

    fn entry(id: u8, snapshot: Snapshot) -> SnapshotEntry {
        let at = Timestamp::from_seconds(i64::from(id));
        SnapshotEntry {
            id: ObjectId([id; 32]),
            snapshot,
            body: Some(Body {
                hostname: String::new(),
                username: String::new(),
                uid: 0,
                gid: 0,
                paths: Vec::new(),
                tags: Vec::new(),
                excludes: Vec::new(),
                program_version: String::new(),
                tree: None,
                summary: Summary::default(),
                backup_start: at,
                backup_end: at,
            }),
            received: at,
            stored_at: at,
            first_stored_at: at,
            lock: dolmen_store::LockStatus::None,
            version: None,
        }
    }

    /// Whether a checkpoint lives beside another one that names it as its head and is signed like this.
    fn lives_beside(planted_by: impl FnOnce(&mut Stamp)) -> bool {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let repository = fixture::repository(&runtime);
        let checkpoint = |number| Snapshot {
            checkpoint: number,
            ..fixture::snapshot(&repository, b"")
        };
        let own = entry(1, checkpoint(1));
        let mut next = checkpoint(2);
        next.heads = vec![own.snapshot.reference(own.id)];
        planted_by(&mut next.stamp);
        let next = entry(2, next);
        let origin = Origin {
            admin: repository.admin_id(),
            policy: repository.root().policy.clone(),
            stored_at: Timestamp::default(),
        };
        let list = SnapshotList {
            snapshots: Vec::new(),
            retired: Vec::new(),
            quarantined: Vec::new(),
            incomplete: Vec::new(),
            checkpoints: vec![own, next],
            suspicious: BTreeMap::new(),
            facts: fold(&BTreeMap::new(), &[], origin),
            receipts: crate::ledger::Receipts::default(),
            listed_at: Timestamp::default(),
            findings: Vec::new(),
            recalled: crate::recall::Recalled::default(),
        };
        let asked = Asked {
            protect_seconds: 100,
            generation_seconds: None,
            interval_seconds: None,
            extension: ExtensionCost::Free,
        };
        let terms = Terms::with_defaults(&asked).unwrap();
        let lives = lives(&list, &terms, Timestamp::from_seconds(10));
        lives
            .iter()
            .any(|(entry, life)| entry.id == ObjectId([1; 32]) && *life == Life::Live)
    }

    #[test]
    fn a_checkpoint_ends_by_its_own_signers_and_instances_successor_alone() {
        assert!(!lives_beside(|_| {}));
        assert!(lives_beside(|stamp| stamp.writer = WriterId([9; 16])));
        assert!(lives_beside(|stamp| stamp.instance = InstanceId([9; 16])));
    }
}
