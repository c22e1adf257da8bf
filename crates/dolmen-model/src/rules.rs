//! The rules, as `dolmen_core::lease` and `dolmen_core::prune` decide them, on ticks.

use dolmen_core::forget::deadlines;
use dolmen_core::lease::{Clocks, Commit, Reliance, commit, is_incomplete, lapse};
use dolmen_core::prune::{Verdict as Fate, judge, judge_lock};
use dolmen_format::{ObjectId, Timestamp};
use dolmen_store::StoreTime;

use crate::config::{Config, Flavour, Mutation};

const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// An object whose grid has this phase.
fn id(phase: u8) -> ObjectId {
    let mut id = [0; 32];
    if let Some(place) = id.get_mut(24) {
        *place = phase;
    }
    ObjectId(id)
}

/// Whose clock beside the store's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The tick that it is.
    pub now: u8,
    /// Ticks by which the local clock is ahead.
    pub ahead: i8,
}

impl Moment {
    fn local(self) -> u8 {
        self.now.saturating_add_signed(self.ahead)
    }
}

impl Config {
    /// A tick as a time.
    fn at(&self, tick: u8) -> Timestamp {
        let (seconds, rest) = self.split(tick);
        let nanos = NANOS_PER_SECOND
            .checked_div(u32::from(self.ticks_per_second))
            .unwrap_or(0)
            .saturating_mul(u32::from(rest));
        Timestamp { seconds, nanos }
    }

    /// A time as a tick, the next one if it lies between two; what is beyond all ticks is the last one.
    fn tick(&self, at: Timestamp) -> u8 {
        let per_second = u64::from(self.ticks_per_second);
        let whole = u64::try_from(at.seconds).unwrap_or(0);
        let nanos = u64::from(at.nanos).saturating_mul(per_second);
        let rest = nanos.div_ceil(u64::from(NANOS_PER_SECOND));
        ticks(whole.saturating_mul(per_second).saturating_add(rest))
    }

    /// Whole seconds of a tick, and the ticks beyond.
    fn split(&self, tick: u8) -> (i64, u8) {
        let per_second = self.ticks_per_second;
        let seconds = tick.checked_div(per_second).unwrap_or(0);
        (
            i64::from(seconds),
            tick.checked_rem(per_second).unwrap_or(0),
        )
    }

    /// What the store states of a tick: itself, or where ticks are shorter than a second the second that it lies in.
    fn stated(&self, tick: u8) -> StoreTime {
        if self.ticks_per_second == 1 {
            return StoreTime::exact(self.at(tick));
        }
        StoreTime::within_second(self.split(tick).0)
    }

    /// The same where it is to protect.
    fn stated_to_protect(&self, tick: u8) -> StoreTime {
        let stated = self.stated(tick);
        if self.breaks(Mutation::ProtectFromStartOfSecond) {
            return StoreTime::exact(stated.earliest);
        }
        stated
    }

    fn clocks(&self, moment: Moment) -> Clocks {
        Clocks {
            local: self.at(moment.local()),
            store: self.stated_to_protect(moment.now),
            remembered_store: None,
            confirmed: false,
        }
    }

    /// Ticks of a length of time.
    fn length(&self, seconds: u64) -> u8 {
        ticks(seconds.saturating_mul(u64::from(self.ticks_per_second)))
    }

    pub(crate) fn has_locks(&self) -> bool {
        self.flavour == Flavour::Compliance
    }

    pub(crate) fn protect(&self) -> u8 {
        self.length(self.terms.protect_seconds())
    }

    pub(crate) fn margin(&self) -> u8 {
        self.length(self.terms.margin_seconds())
    }

    pub(crate) fn delay(&self) -> u8 {
        self.length(self.terms.delay_seconds())
    }

    pub(crate) fn generation(&self) -> u8 {
        self.length(self.terms.generation_seconds())
    }

    /// Ticks after which nothing asks how long ago something was.
    pub(crate) fn memory(&self) -> u8 {
        let lease = self.protect().saturating_add(self.margin());
        let skew = if self.breaks(Mutation::PruneByLocalClock) {
            self.maintenance_ahead.unsigned_abs()
        } else {
            // A clock that is ahead lets nothing go earlier.
            self.maintenance_ahead.min(0).unsigned_abs()
        };
        lease
            .saturating_add(self.delay())
            .saturating_add(skew)
            .saturating_add(1)
    }

    /// The lock that a put carries.
    pub(crate) fn put_lock(&self, phase: u8, moment: Moment) -> u8 {
        if !self.has_locks() {
            return 0;
        }
        let from = self.clocks(moment).protect_from();
        self.tick(self.terms.retain_until(&id(phase), from))
    }

    /// The lock that an object gets if it is due; the old one else.
    pub(crate) fn renewed_lock(&self, phase: u8, lock: u8, moment: Moment) -> u8 {
        let mut clocks = self.clocks(moment);
        if self.breaks(Mutation::RenewByLocalClock) {
            clocks.store = StoreTime::exact(clocks.local);
        }
        let from = clocks.protect_from();
        let next = if self.breaks(Mutation::ForgetMargin) {
            let wanted = self.tick(from).saturating_add(self.protect());
            (lock < wanted).then(|| self.terms.retain_until(&id(phase), from))
        } else {
            clocks.next(&self.terms, &id(phase), Some(self.at(lock)))
        };
        next.map_or(lock, |next| self.tick(next).max(lock))
    }

    /// By which time prune judges; `None`: nothing is let go.
    fn let_go_at(&self, now: u8) -> Option<Timestamp> {
        let ahead = self.maintenance_ahead;
        let clocks = self.clocks(Moment { now, ahead });
        if self.breaks(Mutation::PruneByLocalClock) {
            return Some(clocks.local);
        }
        clocks.let_go_at().ok()
    }

    /// Whether prune lets an object go that nothing live needs: its lock has lapsed, or the lease that is computed from its
    /// receipt and its release.
    pub(crate) fn is_over(&self, now: u8, lock: u8, since: u8) -> bool {
        let Some(let_go_at) = self.let_go_at(now) else {
            return false;
        };
        if self.has_locks() {
            return judge_lock(Some(self.at(lock)), let_go_at) == Fate::Delete
                && self.is_lapsed(now, lock);
        }
        if self.breaks(Mutation::ForgetDelay) {
            return lapse(self.at(since), None, &self.terms) <= let_go_at;
        }
        judge(self.at(since), None, &self.terms, let_go_at) == Fate::Delete
    }

    /// Whether the store lets go of a version.
    pub(crate) fn is_lapsed(&self, now: u8, lock: u8) -> bool {
        judge_lock(Some(self.at(lock)), self.at(now)) == Fate::Delete
    }

    /// Until when a retirement can be undone for sure.
    pub(crate) fn undo_until(&self, retired: u8) -> u8 {
        if self.has_locks() {
            retired.saturating_add(self.protect())
        } else {
            self.tick(deadlines(self.at(retired), &self.terms).0)
        }
    }

    /// The commit rule, when the put's answer comes. `relied` is a lock, or where there are none the begin of a listing.
    pub(crate) fn commits(&self, relied: u8, answered: Moment) -> bool {
        let reliance = if self.has_locks() {
            Reliance::Locks(Some(self.at(relied)))
        } else {
            Reliance::Listing(self.stated(relied))
        };
        let answer = if self.breaks(Mutation::CommitByLocalClock) {
            StoreTime::exact(self.at(answered.local()))
        } else {
            self.stated_to_protect(answered.now)
        };
        commit(reliance, answer, &self.terms) == Commit::Committed
    }

    /// The reader's rule. Without locks the signed part states what a listing is as good as: a lock that ends L + M after it.
    pub(crate) fn is_late(&self, relied: u8, received: u8) -> bool {
        let received = self.stated(received).earliest;
        let lease = i64::try_from(self.terms.lease_seconds()).unwrap_or(i64::MAX);
        let relied = self.at(relied).seconds;
        let until = if self.has_locks() {
            Some(relied)
        } else {
            Some(relied.saturating_add(lease)).filter(|_| !self.breaks(Mutation::SignNoListing))
        };
        is_incomplete(until, received, &self.terms)
    }

    /// Whether a listing may still be acted on.
    pub(crate) fn is_fresh(&self, listed: u8, now: u8) -> bool {
        self.breaks(Mutation::StaleListing) || now.saturating_sub(listed) < self.delay()
    }

    /// Whether packs of a run that nothing else needs yet are too old to build upon.
    pub(crate) fn is_aged(&self, own_since: u8, now: u8) -> bool {
        !self.breaks(Mutation::OwnPacksNeverLapse)
            && own_since != 0
            && now.saturating_sub(own_since) >= self.protect()
    }
}

fn ticks(ticks: u64) -> u8 {
    u8::try_from(ticks).unwrap_or(u8::MAX)
}
