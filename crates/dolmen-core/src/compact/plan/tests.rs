use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;
const DAY: i64 = 86_400;
const NOW: Timestamp = Timestamp::from_seconds(1_000 * DAY);

const fn limits() -> Limits {
    Limits {
        max_unused: MaxUnused::Share(50),
        prices: Prices::S3,
        repack_bytes_max: u64::MAX,
        now: NOW,
    }
}

const fn pack(stored_bytes: u64, needed_bytes: u64) -> PackUse {
    PackUse {
        stored_bytes,
        needed_bytes,
        received: Timestamp::from_seconds(900 * DAY),
        locked_until: None,
        recipient: None,
    }
}

const fn small(stored_bytes: u64) -> PackUse {
    PackUse {
        recipient: Some(Recipient::Read),
        ..pack(stored_bytes, stored_bytes)
    }
}

fn chosen(uses: &[PackUse], limits: &Limits) -> Vec<usize> {
    plan(uses, needed(uses), limits).into_iter().collect()
}

fn needed(uses: &[PackUse]) -> u64 {
    uses.iter().map(|pack| pack.needed_bytes).sum()
}

#[test]
fn the_most_wasteful_go_first_until_little_is_wasted() {
    let uses = [
        pack(32 * MIB, 31 * MIB),
        pack(32 * MIB, MIB),
        pack(32 * MIB, 20 * MIB),
        pack(32 * MIB, 32 * MIB),
    ];
    // Of 84 MiB needed, 4.4 may be wasted beside them.
    assert_eq!(chosen(&uses, &limits()), [1, 2]);
    let generous = Limits {
        max_unused: MaxUnused::Bytes(13 * MIB),
        ..limits()
    };
    assert_eq!(chosen(&uses, &generous), [1]);
    let unlimited = Limits {
        max_unused: MaxUnused::Unlimited,
        ..limits()
    };
    assert!(plan(&uses, needed(&uses), &unlimited).is_empty());
    let strict = Limits {
        max_unused: MaxUnused::Bytes(0),
        ..limits()
    };
    assert_eq!(chosen(&uses, &strict), [0, 1, 2]);
}

#[test]
fn a_locked_pack_is_repacked_where_that_pays() {
    let locked = |needed_bytes, received: i64, until: i64| PackUse {
        received: Timestamp::from_seconds(received * DAY),
        locked_until: Some(Timestamp::from_seconds(until * DAY)),
        ..pack(32 * MIB, needed_bytes)
    };
    let pays = |pack: PackUse| chosen(&[pack], &limits()) == [0];
    // Mostly dead, and old: it is likely to stay for another 500 days.
    assert!(pays(locked(2 * MIB, 500, 1033)));
    // The same, young: what is saved does not pay for reading it.
    assert!(!pays(locked(2 * MIB, 990, 1033)));
    // A little dead.
    assert!(!pays(locked(30 * MIB, 500, 1033)));
    // Locked for longer than it is likely to be there.
    assert!(!pays(locked(2 * MIB, 950, 1060)));
}

#[test]
fn few_small_packs_and_those_of_different_readers_are_left_alone() {
    let merged = |uses: &[PackUse]| chosen(uses, &limits());
    assert!(merged(&[small(MIB), small(MIB), small(MIB)]).is_empty());
    assert_eq!(merged(&[small(MIB); 4]), [0, 1, 2, 3]);
    assert_eq!(
        merged(&[small(7 * MIB), small(7 * MIB), small(7 * MIB)]),
        [0, 1, 2]
    );
    // A large one waits for the small ones to grow.
    let uses = [
        small(7 * MIB),
        small(MIB),
        small(MIB),
        small(MIB),
        small(MIB),
    ];
    assert_eq!(merged(&uses), [1, 2, 3, 4]);
    let nodes = PackUse {
        recipient: Some(Recipient::Maintain),
        ..small(MIB)
    };
    assert!(merged(&[small(MIB), small(MIB), nodes, nodes]).is_empty());
}

#[test]
fn small_packs_that_come_one_by_one_are_written_a_logarithmic_number_of_times() {
    let (mut packs, mut written, mut added) = (Vec::<PackUse>::new(), 0_u64, 0_u64);
    for _ in 0..2_000 {
        packs.push(small(20_000));
        added += 20_000;
        let chosen = plan(&packs, needed(&packs), &limits());
        let bytes: u64 = chosen.iter().map(|at| packs[*at].stored_bytes).sum();
        if bytes > 0 {
            written += bytes;
            for at in chosen.iter().rev() {
                packs.remove(*at);
            }
            packs.push(small(bytes));
        }
        // Nothing new: nothing to do.
        assert!(plan(&packs, needed(&packs), &limits()).is_empty());
        assert!(packs.len() < 40, "{}", packs.len());
    }
    assert!(written < 8 * added, "{written} of {added}");
}

fn a_use() -> impl Strategy<Value = PackUse> {
    let recipient = prop_oneof![Just(Recipient::Read), Just(Recipient::Maintain)];
    let lock = proptest::option::of(900_i64..1_100);
    (1_u64..64 * MIB, 0_u64..=1000, 0_i64..1_000, lock, recipient).prop_map(
        |(stored_bytes, share, received, lock, recipient)| PackUse {
            stored_bytes,
            needed_bytes: stored_bytes * share / 1000,
            received: Timestamp::from_seconds(received * DAY),
            locked_until: lock.map(|day| Timestamp::from_seconds(day * DAY)),
            recipient: (stored_bytes < SMALL_BYTES_MAX).then_some(recipient),
        },
    )
}

proptest! {
    #[test]
    fn no_more_is_read_than_allowed_and_no_less_wasted(
        uses in proptest::collection::vec(a_use(), 0..60),
        repack_bytes_max in 0_u64..1 << 31,
    ) {
        let bounded = Limits { repack_bytes_max, ..limits() };
        let chosen = plan(&uses, needed(&uses), &bounded);
        let read: u64 = chosen.iter().map(|at| uses[*at].stored_bytes).sum();
        prop_assert!(read <= repack_bytes_max);

        let chosen = plan(&uses, needed(&uses), &limits());
        let left = uses.iter().enumerate().filter(|(at, pack)| {
            !chosen.contains(at) && pack.locked_until.is_none()
        });
        let wasted: u64 = left.map(|(_, pack)| pack.unneeded_bytes()).sum();
        prop_assert!(u128::from(wasted) * 950 <= u128::from(needed(&uses)) * 50);
    }
}
