//! When a checkpoint ends.

use std::collections::BTreeMap;

use dolmen_format::{SnapshotId, Timestamp, WriterId};

use super::{DAY, Terms, signed};

/// Checkpoints of one signer that live without a successor, the newest ones.
pub const UNDESCENDED_MAX: usize = 8;

/// A checkpoint lives this long at least if nothing descends from it, however short L is.
const UNDESCENDED_SECONDS_MIN: u64 = 30 * DAY;

/// What counts of a checkpoint. An incomplete snapshot is kept like one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// The object.
    pub id: SnapshotId,
    /// Its signer.
    pub signer: WriterId,
    /// Its receipt time.
    pub received: Timestamp,
    /// Receipt time of the first checkpoint or snapshot that descends from it.
    pub succeeded: Option<Timestamp>,
}

/// Whether a checkpoint lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// What it needs is kept.
    Live,
    /// It has ended.
    Ended {
        /// The time from which what it freed counts as free ([`super::lapse`]).
        at: Timestamp,
        /// Why.
        cause: Ended,
    },
}

/// Why a checkpoint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// Something that descends from it is stored.
    Succeeded,
    /// Nothing descended from it within max(L, 30 d).
    Aged,
    /// The signer has [`UNDESCENDED_MAX`] newer ones.
    Displaced,
}

/// Decides which checkpoints live at a time, in the order given.
pub fn standings(checkpoints: &[Checkpoint], terms: &Terms, now: Timestamp) -> Vec<Standing> {
    let mut undescended: BTreeMap<WriterId, Vec<(Timestamp, SnapshotId)>> = BTreeMap::new();
    for checkpoint in checkpoints.iter().filter(|one| one.succeeded.is_none()) {
        let of_signer = undescended.entry(checkpoint.signer).or_default();
        of_signer.push((checkpoint.received, checkpoint.id));
    }
    for of_signer in undescended.values_mut() {
        of_signer.sort_unstable();
    }
    let standing = |checkpoint: &Checkpoint| {
        let of_signer = undescended.get(&checkpoint.signer);
        let oldest_first = of_signer.map_or(&[][..], Vec::as_slice);
        let displaced = displaced_at(checkpoint, oldest_first);
        standing(checkpoint, displaced, terms, now)
    };
    checkpoints.iter().map(standing).collect()
}

/// When the eighth undescended one after it was received; `oldest_first` are the signer's.
fn displaced_at(
    checkpoint: &Checkpoint,
    oldest_first: &[(Timestamp, SnapshotId)],
) -> Option<Timestamp> {
    let own = (checkpoint.received, checkpoint.id);
    let place = oldest_first.binary_search(&own).ok()?;
    let displacing = oldest_first.get(place.checked_add(UNDESCENDED_MAX)?);
    displacing.map(|(received, _)| *received)
}

fn standing(
    checkpoint: &Checkpoint,
    displaced: Option<Timestamp>,
    terms: &Terms,
    now: Timestamp,
) -> Standing {
    let lifetime = terms.protect_seconds().max(UNDESCENDED_SECONDS_MIN);
    let aged = checkpoint.received.saturating_add_seconds(signed(lifetime));
    // A successor says best since when it is free; else the first of the other ends does.
    let succeeded = checkpoint.succeeded.map(|at| (at, Ended::Succeeded));
    let unsucceeded = [
        displaced.map(|at| (at, Ended::Displaced)),
        (now >= aged).then_some((aged, Ended::Aged)),
    ];
    let first = unsucceeded.into_iter().flatten().min_by_key(|(at, _)| *at);
    succeeded
        .or(first)
        .map_or(Standing::Live, |(at, cause)| Standing::Ended { at, cause })
}

#[cfg(test)]
mod tests {
    use dolmen_format::ObjectId;

    use super::super::terms::tests::terms;
    use super::*;

    const DAY_SECONDS: i64 = 24 * 60 * 60;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn checkpoint(number: u8, received: i64) -> Checkpoint {
        Checkpoint {
            id: ObjectId([number; 32]),
            signer: WriterId([1; 16]),
            received: at(received),
            succeeded: None,
        }
    }

    fn ended(seconds: i64, cause: Ended) -> Standing {
        let at = at(seconds);
        Standing::Ended { at, cause }
    }

    #[test]
    fn a_checkpoint_ends_when_a_successor_is_stored() {
        let one = Checkpoint {
            succeeded: Some(at(500)),
            ..checkpoint(1, 100)
        };
        let found = standings(&[one, checkpoint(2, 500)], &terms(100, 10, 10), at(600));
        assert_eq!(found, [ended(500, Ended::Succeeded), Standing::Live]);
    }

    #[test]
    fn a_checkpoint_without_successor_lives_for_the_period_but_a_month_at_least() {
        for (protect_days, lives_days) in [(1_u64, 30_i64), (90, 90)] {
            let terms = terms(protect_days * DAY, DAY, DAY / 3);
            let one = [checkpoint(1, 100)];
            let end = 100 + lives_days * DAY_SECONDS;
            assert_eq!(standings(&one, &terms, at(end - 1)), [Standing::Live]);
            assert_eq!(standings(&one, &terms, at(end)), [ended(end, Ended::Aged)]);
        }
    }

    #[test]
    fn a_signer_has_eight_without_successor() {
        let terms = terms(100, 10, 10);
        let mut all: Vec<_> = (0..10)
            .map(|number| checkpoint(number, 100 + i64::from(number)))
            .collect();
        let other = Checkpoint {
            signer: WriterId([2; 16]),
            ..checkpoint(99, 1)
        };
        all.push(other);
        let found = standings(&all, &terms, at(200));
        // The ninth came at 108 and the tenth at 109.
        assert_eq!(found[0], ended(108, Ended::Displaced));
        assert_eq!(found[1], ended(109, Ended::Displaced));
        assert!(found[2..].iter().all(|one| *one == Standing::Live));

        // Those that have a successor do not count.
        all[9].succeeded = Some(at(150));
        let found = standings(&all, &terms, at(200));
        assert_eq!(found[0], ended(108, Ended::Displaced));
        assert_eq!(found[1], Standing::Live);
    }
}
