use dolmen_format::Nonce;
use dolmen_format::certificate::Role;
use dolmen_format::ledger::{Cut, Keep, LockStrategy, Receipt, Record};

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
    fold(records, &[], origin())
}

fn origin() -> Origin {
    Origin {
        admin: WRITER,
        policy: policy(100, None),
        stored_at: at(0),
    }
}

/// A snapshot of this number and id that follows another.
fn known(reference: Reference, head: Option<Reference>) -> Known {
    Known {
        reference,
        checkpoint: 0,
        heads: head.into_iter().collect(),
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
    let twin = [known(reference(&stamp(1), id(77)), None)];
    let facts = fold(&records, &twin, origin());
    assert_eq!(retired(&facts), []);
    assert_eq!(facts.findings.len(), 1);
}

#[test]
fn a_retirement_stays_void_when_its_twin_was_retired_and_is_gone() {
    // Number 1 was a snapshot's too, which record 2 retired; its object is deleted.
    let twin = reference(&stamp(1), id(77));
    let retires_twin = Fact::Retirement {
        snapshots: vec![twin],
        policy: None,
    };
    let facts = folded(&ledger([retirement(&[10]), retires_twin]));
    assert_eq!(retired(&facts), [id(77)]);
    assert_eq!(facts.findings.len(), 1);
}

#[test]
fn policies_in_doubt_are_known_and_the_next_one_supersedes_the_longest_chain() {
    let chain = [
        Fact::Policy(policy(7, None)),
        Fact::Policy(policy(8, Some(1))),
    ];
    let facts = folded(&ledger(chain.clone()));
    assert!(!facts.is_policy_in_doubt());
    assert_eq!(facts.last_policy(), Some(id(2)));
    let twin = chain.into_iter().chain([Fact::Policy(policy(9, Some(1)))]);
    let facts = folded(&ledger(twin.clone()));
    assert!(facts.is_policy_in_doubt());
    let doubtful: Vec<_> = facts
        .doubtful_policies()
        .map(|(place, record)| (place, record.policy.protect_seconds))
        .collect();
    assert_eq!(doubtful, [(2, 8), (2, 9)]);
    assert!(matches!(facts.last_policy(), Some(last) if last == id(2) || last == id(3)));
    let settled = twin.chain([Fact::Policy(policy(20, Some(2)))]);
    let facts = folded(&ledger(settled));
    assert!(!facts.is_policy_in_doubt());
    let sole: Vec<_> = facts.policies().map(|record| record.is_sole).collect();
    assert_eq!(sole, [true, true, false, true]);
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
        (witness, [true, false, true, false]),
        (attestation, [false, false, false, false]),
    ];
    for (fact, expected) in cases {
        let roles = [Role::Admin, Role::Backup, Role::Maintain, Role::Restore];
        let may = roles.map(|role| signer(role).may_state(&fact));
        assert_eq!(may, expected, "{fact:?}");
    }
}

/// A maintain key's record.
fn maintained(number: u8, fact: Fact) -> (ObjectId, Entry) {
    let mut entry = entry(number, fact);
    entry.record.stamp = Stamp {
        writer: WriterId([8; 16]),
        ..stamp(u64::from(number))
    };
    entry.record.certificate = Some(id(200));
    entry.signer = Signer {
        role: Role::Maintain,
        may_attest: true,
    };
    (id(number), entry)
}

fn maintainers(number: u64, digest: u8) -> Reference {
    Reference {
        writer: WriterId([8; 16]),
        instance: INSTANCE,
        number,
        digest: id(digest),
    }
}

fn revocation(cuts: &[Reference]) -> Fact {
    let cut = |named: &Reference| Cut {
        instance: named.instance,
        number: named.number,
        digest: named.digest,
    };
    Fact::Revocation {
        writer: WriterId([8; 16]),
        cuts: cuts.iter().map(cut).collect(),
    }
}

#[test]
fn beyond_its_cut_a_revoked_signer_states_nothing() {
    let by_policy = |snapshots: &[u8]| match retirement(snapshots) {
        Fact::Retirement { snapshots, .. } => Fact::Retirement {
            snapshots,
            policy: Some(named(9)),
        },
        other => other,
    };
    let attest = |pack: u8| Fact::Attestation {
        packs: vec![id(pack)],
    };
    let mut records = BTreeMap::from([
        maintained(21, by_policy(&[10])),
        maintained(22, attest(1)),
        maintained(23, by_policy(&[11])),
        maintained(24, attest(2)),
    ]);
    let facts = folded(&records);
    assert_eq!(retired(&facts), [id(10), id(11)]);
    assert_eq!(facts.by_maintenance.len(), 2);
    records.insert(id(1), entry(1, revocation(&[maintainers(22, 22)])));
    let facts = folded(&records);
    assert_eq!(retired(&facts), [id(10)]);
    assert_eq!(facts.attested, BTreeSet::from([id(1)]));
    assert!(facts.trusts(&id(22)) && !facts.trusts(&id(23)));
    assert_eq!(facts.revoked().len(), 1);
    // No cut, no trust; and the object at the cut must be that one.
    for cut in [vec![], vec![maintainers(21, 99)]] {
        records.insert(id(1), entry(1, revocation(&cut)));
        assert_eq!(retired(&folded(&records)), [], "{cut:?}");
    }
}

#[test]
fn an_undo_that_counts_no_more_leaves_the_whole_lease() {
    let mut records = ledger([retirement(&[10])]);
    records.extend([maintained(24, undo(1, &[10]))]);
    assert_eq!(retired(&folded(&records)), []);
    records.insert(id(50), entry(50, revocation(&[])));
    let facts = folded(&records);
    assert_eq!(retired(&facts), [id(10)]);
    assert_eq!(facts.retired[&id(10)].stored_at, at(50));
}

#[test]
fn what_the_cut_does_not_descend_from_is_not_trusted() {
    let own = |number, digest| maintainers(number, digest);
    // 2 follows 1, 4 follows 3, which is gone; 5 is later, and 9 was planted under number 3, 8 under number 1.
    let snapshots = [
        known(own(1, 101), None),
        known(own(2, 102), Some(own(1, 101))),
        known(own(4, 104), Some(own(3, 103))),
        known(own(5, 105), Some(own(4, 104))),
        known(own(3, 109), Some(own(2, 102))),
        known(own(1, 108), None),
    ];
    let records = BTreeMap::from([(id(1), entry(1, revocation(&[own(4, 104)])))]);
    let facts = fold(&records, &snapshots, origin());
    let trusted: Vec<_> = snapshots
        .iter()
        .map(|one| facts.trusts(&one.reference.digest))
        .collect();
    // Of the two under number 1 nothing tells which the cut descends from.
    assert_eq!(trusted, [false, true, true, false, false, false]);
    let up_to_two = BTreeMap::from([(id(1), entry(1, revocation(&[own(2, 102)])))]);
    let facts = fold(&up_to_two, &snapshots, origin());
    assert!(facts.trusts(&id(101)) && !facts.trusts(&id(108)));
}

#[test]
fn nobody_revokes_the_admin_and_a_revoked_admin_key_revokes_nobody() {
    let names_admin = Fact::Revocation {
        writer: WRITER,
        cuts: Vec::new(),
    };
    let mut records = ledger([retirement(&[10]), names_admin]);
    let facts = folded(&records);
    assert_eq!(retired(&facts), [id(10)]);
    assert_eq!(facts.findings.len(), 1);
    // Another admin's key, revoked, revokes a third.
    let mut other = maintained(
        30,
        Fact::Revocation {
            writer: WriterId([7; 16]),
            cuts: Vec::new(),
        },
    );
    other.1.signer = Signer::ADMIN;
    records.extend([other]);
    assert_eq!(folded(&records).revoked().len(), 1);
    records.insert(id(40), entry(40, revocation(&[])));
    let facts = folded(&records);
    let revoked: Vec<_> = facts.revoked().keys().copied().collect();
    assert_eq!(revoked, [WriterId([8; 16])]);
}

#[test]
fn a_revoked_admins_policy_protects_on_and_lets_nothing_go() {
    let mut long = maintained(30, Fact::Policy(policy(500, None)));
    long.1.signer = Signer::ADMIN;
    let records = BTreeMap::from([long, (id(40), entry(40, revocation(&[])))]);
    let facts = folded(&records);
    assert_eq!(facts.policy().policy.protect_seconds, 100);
    assert!(!facts.is_policy_in_doubt());
    assert_eq!(facts.doubtful_policies().count(), 1);
    assert_eq!(facts.last_policy(), None);
}

#[test]
fn a_witness_dates_back_to_the_objects_own_time_at_most_and_never_forward() {
    let witness = |seconds: &[i64]| Fact::Witness {
        receipts: seconds
            .iter()
            .map(|seconds| Receipt {
                object: id(77),
                received: at(*seconds),
            })
            .collect(),
    };
    let received = |told: &[i64]| {
        let records = ledger([witness(told)]);
        receipts(&records, &[], WRITER).received(&id(77), at(100), at(200))
    };
    assert_eq!(received(&[]), at(200));
    assert_eq!(received(&[150]), at(150));
    assert_eq!(received(&[180, 120, 150]), at(120));
    assert_eq!(received(&[100]), at(100));
    // The signer's clock was ahead.
    assert_eq!(received(&[99]), at(100));
    assert_eq!(received(&[-1_000_000]), at(100));
    assert_eq!(received(&[201, 5000]), at(200));
    // Nor does one that a revoked key signed.
    let records = BTreeMap::from([
        maintained(24, witness(&[150])),
        (id(1), entry(1, revocation(&[]))),
    ]);
    let told = receipts(&records, &[], WRITER);
    assert_eq!(told.received(&id(77), at(100), at(200)), at(200));
}

#[test]
fn a_retirement_that_the_store_dates_far_back_ends_a_life_when_it_was_signed() {
    let ended = |stored, signed, now| {
        let retired = Retired {
            snapshot: named(10),
            by: Vec::new(),
            first_stored_at: at(stored),
            stored_at: at(stored),
            signed_at: at(signed),
        };
        retired.ended_at(at(now))
    };
    let day = APART_SECONDS_MAX;
    assert_eq!(ended(0, day, 2 * day), at(0));
    assert_eq!(ended(0, day + 1, 2 * day), at(day + 1));
    // What is dated in the future does not count before it has come.
    assert_eq!(ended(0, 9 * day, 2 * day), at(0));
    assert_eq!(ended(5 * day, 2 * day, 9 * day), at(5 * day));
}
