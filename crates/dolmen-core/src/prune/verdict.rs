//! What becomes of one object. Pure.

use dolmen_format::Timestamp;

use crate::lease::{Terms, deletable, lapse};

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is needed.
    Live,
    /// Nothing live needs it, and its lease ends then.
    Leased(Timestamp),
    /// Nothing live needs it, and a legal hold keeps it until that is lifted.
    Held,
    /// It goes.
    Delete,
}

/// Judges an object that nothing live needs: it was stored, and freed by what ended, at these times.
pub fn judge(
    stored_at: Timestamp,
    freed: Option<Timestamp>,
    terms: &Terms,
    now: Timestamp,
) -> Verdict {
    let until = deletable(lapse(stored_at, freed, terms), terms);
    if until <= now {
        Verdict::Delete
    } else {
        Verdict::Leased(until)
    }
}

/// Judges an object that nothing live needs by its lock, where the store keeps locks: it goes when that has lapsed, as the
/// earlier clock says. `None`: it has none.
pub fn judge_lock(until: Option<Timestamp>, now: Timestamp) -> Verdict {
    match until {
        Some(until) if until > now => Verdict::Leased(until),
        Some(_) | None => Verdict::Delete,
    }
}

#[cfg(test)]
mod tests {
    use dolmen_format::ledger::{Keep, LockStrategy, Policy};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    /// L 20 s, M 6 s, δ 5 s.
    fn terms() -> Terms {
        let policy = Policy {
            protect_seconds: 20,
            generation_seconds: 10,
            interval_seconds: 2,
            lock: LockStrategy::None,
            keep: Keep::default(),
            classes: Vec::new(),
            previous: None,
        };
        Terms::try_from(&policy).unwrap()
    }

    #[test]
    fn an_object_goes_a_delay_after_its_lease_and_not_before() {
        let judged = |freed, now| judge(at(100), freed, &terms(), at(now));
        assert_eq!(judged(None, 100), Verdict::Leased(at(131)));
        assert_eq!(judged(None, 130), Verdict::Leased(at(131)));
        assert_eq!(judged(None, 131), Verdict::Delete);
        assert_eq!(judged(Some(at(500)), 530), Verdict::Leased(at(531)));
        assert_eq!(judged(Some(at(500)), 531), Verdict::Delete);
        // Freed before it was stored again: the later counts.
        assert_eq!(judged(Some(at(10)), 130), Verdict::Leased(at(131)));
    }
}
