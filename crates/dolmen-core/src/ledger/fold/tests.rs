use dolmen_format::Nonce;
use dolmen_format::certificate::Role;
use dolmen_format::ledger::{Keep, LockStrategy, Record};

use super::super::Signer;
use super::*;

const WRITER: WriterId = WriterId([1; 16]);
const INSTANCE: InstanceId = InstanceId([2; 16]);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn id(number: u8) -> ObjectId {
    ObjectId([number; 32])
}

fn stamp(number: u64) -> Stamp {
    Stamp {
        writer: WRITER,
        instance: INSTANCE,
        number,
    }
}

fn named(number: u8) -> Reference {
    reference(&stamp(u64::from(number)), id(number))
}

fn policy(protect_seconds: u64, previous: Option<u8>) -> Policy {
    Policy {
        protect_seconds,
        generation_seconds: 1,
        interval_seconds: 1,
        lock: LockStrategy::None,
        keep: Keep::default(),
        classes: Vec::new(),
        previous: previous.map(id),
    }
}

/// Records with the ids, numbers and receipt times 1, 2, 3…
fn ledger(facts: impl IntoIterator<Item = Fact>) -> BTreeMap<ObjectId, Entry> {
    let numbered = (1_u8..).zip(facts);
    numbered
        .map(|(number, fact)| (id(number), entry(number, fact)))
        .collect()
}

fn entry(number: u8, fact: Fact) -> Entry {
    let time = at(i64::from(number));
    Entry {
        record: Record {
            stamp: stamp(u64::from(number)),
            time,
            nonce: Nonce([0; 16]),
            certificate: None,
            fact,
        },
        signer: Signer::ADMIN,
        stored_at: time,
        received: time,
    }
}

fn retirement(snapshots: &[u8]) -> Fact {
    Fact::Retirement {
        snapshots: snapshots.iter().map(|number| named(*number)).collect(),
        policy: None,
    }
}

fn undo(retirement: u8, snapshots: &[u8]) -> Fact {
    Fact::Undo {
        retirement: named(retirement),
        snapshots: snapshots.iter().map(|number| named(*number)).collect(),
    }
}

fn folded(records: &BTreeMap<ObjectId, Entry>) -> Facts {
    fold(records, &[], first())
}

fn first() -> PolicyRecord {
    PolicyRecord {
        reference: None,
        policy: policy(100, None),
        stored_at: at(0),
    }
}

fn in_force(facts: impl IntoIterator<Item = Fact>) -> u64 {
    folded(&ledger(facts)).policy().policy.protect_seconds
}

fn retired(facts: &Facts) -> Vec<ObjectId> {
    facts.retired.keys().copied().collect()
}

#[test]
fn the_roots_policy_is_in_force_until_one_supersedes_it() {
    assert_eq!(in_force([]), 100);
    assert_eq!(in_force([Fact::Policy(policy(7, None))]), 7);
    let chain = [
        Fact::Policy(policy(7, None)),
        Fact::Policy(policy(8, Some(1))),
        Fact::Policy(policy(9, Some(2))),
    ];
    assert_eq!(in_force(chain.clone()), 9);
    let facts = folded(&ledger(chain));
    let all: Vec<_> = facts
        .policies()
        .map(|record| record.policy.protect_seconds)
        .collect();
    assert_eq!(all, [100, 7, 8, 9]);
}

#[test]
fn of_two_policies_that_supersede_the_same_one_neither_counts() {
    let fork = [Fact::Policy(policy(7, None)), Fact::Policy(policy(8, None))];
    assert_eq!(in_force(fork.clone()), 100);
    assert_eq!(folded(&ledger(fork.clone())).findings.len(), 1);
    // Until one supersedes either of them.
    let healed = fork.into_iter().chain([Fact::Policy(policy(9, Some(1)))]);
    assert_eq!(in_force(healed), 9);
}

#[test]
fn a_policy_whose_chain_is_broken_counts_for_nothing() {
    let records = ledger([
        Fact::Policy(policy(7, None)),
        Fact::Policy(policy(1, Some(99))),
        Fact::Policy(policy(2, Some(2))),
    ]);
    let facts = folded(&records);
    assert_eq!(facts.policy().policy.protect_seconds, 7);
    assert_eq!(facts.findings.len(), 2);
}

#[test]
fn an_undo_takes_back_what_it_names_and_nothing_else() {
    let facts = folded(&ledger([retirement(&[10, 11, 12]), undo(1, &[11])]));
    assert_eq!(retired(&facts), [id(10), id(12)]);
    // Retired again, it is dead again.
    let again = folded(&ledger([
        retirement(&[10, 11]),
        undo(1, &[10, 11]),
        retirement(&[11]),
    ]));
    assert_eq!(retired(&again), [id(11)]);
    assert_eq!(again.retired[&id(11)].stored_at, at(3));
    assert_eq!(again.retired[&id(11)].by, [named(3)]);
}

#[test]
fn the_latest_retirement_in_force_tells_from_when_on_it_lapses() {
    let facts = folded(&ledger([retirement(&[10]), retirement(&[10])]));
    assert_eq!(facts.retired[&id(10)].stored_at, at(2));
    assert_eq!(facts.retired[&id(10)].by.len(), 2);
}

#[test]
fn a_retirement_that_shares_its_number_counts_for_nothing() {
    let records = ledger([retirement(&[10])]);
    let twin = [(stamp(1), id(77))];
    let facts = fold(&records, &twin, first());
    assert_eq!(retired(&facts), []);
    assert_eq!(facts.findings.len(), 1);
}

#[test]
fn the_order_of_arrival_means_nothing() {
    let mut records = ledger([
        retirement(&[10, 11]),
        undo(1, &[11]),
        Fact::Policy(policy(7, None)),
        Fact::Policy(policy(8, Some(3))),
    ]);
    let before = folded(&records);
    for (at_least, entry) in (50..).zip(records.values_mut()) {
        entry.record.time = at(100 - at_least);
        entry.received = at(100 - at_least);
    }
    let after = folded(&records);
    assert_eq!(retired(&before), retired(&after));
    assert_eq!(before.policy().policy, after.policy().policy);
}

#[test]
fn who_may_not_state_a_fact_is_known_by_the_role() {
    let signer = |role| Signer {
        role,
        may_attest: false,
    };
    let by_policy = Fact::Retirement {
        snapshots: Vec::new(),
        policy: Some(named(9)),
    };
    let attestation = Fact::Attestation { packs: Vec::new() };
    let witness = Fact::Witness {
        receipts: Vec::new(),
    };
    let cases = [
        (Fact::Policy(policy(1, None)), [true, false, false, false]),
        (retirement(&[1]), [true, false, false, false]),
        (by_policy, [true, false, true, false]),
        (undo(1, &[1]), [true, false, true, false]),
        (witness, [true, true, true, false]),
        (attestation, [false, false, false, false]),
    ];
    for (fact, expected) in cases {
        let roles = [Role::Admin, Role::Backup, Role::Maintain, Role::Restore];
        let may = roles.map(|role| signer(role).may_state(&fact));
        assert_eq!(may, expected, "{fact:?}");
    }
}
