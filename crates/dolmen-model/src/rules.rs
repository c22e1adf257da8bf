//! The rules, as `dolmen_core::lease` and `dolmen_core::prune` decide them, on ticks.

use dolmen_core::lease::{Clocks, Commit, Reliance, Terms, commit, is_incomplete, lapse};
use dolmen_core::prune::{Verdict as Fate, judge};
use dolmen_format::{ObjectId, Timestamp};
use dolmen_store::StoreTime;

use crate::config::{Config, Flavour, Mutation};

/// A tick as a time.
fn at(tick: u8) -> Timestamp {
    Timestamp::from_seconds(i64::from(tick))
}

/// A time as a tick; what is beyond all ticks is the last one.
fn tick(at: Timestamp) -> u8 {
    u8::try_from(at.seconds.max(0)).unwrap_or(u8::MAX)
}

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
    /// The store's clock.
    pub now: u8,
    /// Ticks by which the local one is ahead.
    pub ahead: i8,
}

impl Moment {
    fn clocks(self) -> Clocks {
        Clocks {
            local: at(self.now).saturating_add_seconds(i64::from(self.ahead)),
            store: StoreTime::exact(at(self.now)),
            remembered_store: None,
            confirmed: false,
        }
    }

    fn local(self) -> u8 {
        tick(self.clocks().local)
    }
}

/// Ticks of L, M and δ.
pub(crate) fn ticks(seconds: u64) -> u8 {
    u8::try_from(seconds).unwrap_or(u8::MAX)
}

impl Config {
    pub(crate) fn has_locks(&self) -> bool {
        self.flavour == Flavour::Compliance
    }

    pub(crate) fn protect(&self) -> u8 {
        ticks(self.terms.protect_seconds())
    }

    pub(crate) fn margin(&self) -> u8 {
        ticks(self.terms.margin_seconds())
    }

    pub(crate) fn delay(&self) -> u8 {
        ticks(self.terms.delay_seconds())
    }

    /// Ticks after which nothing computed asks how long ago something was.
    pub(crate) fn memory(&self) -> u8 {
        let lease = self.protect().saturating_add(self.margin());
        let skew = self.maintenance_ahead.unsigned_abs();
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
        let from = moment.clocks().protect_from();
        tick(self.terms.retain_until(&id(phase), from))
    }

    /// The lock that an object gets if it is due; the old one else.
    pub(crate) fn renewed_lock(&self, phase: u8, lock: u8, moment: Moment) -> u8 {
        let mut clocks = moment.clocks();
        if self.breaks(Mutation::RenewByLocalClock) {
            clocks.store = StoreTime::exact(clocks.local);
        }
        let from = clocks.protect_from();
        let next = if self.breaks(Mutation::ForgetMargin) {
            let is_due = i64::from(lock) < from.seconds.saturating_add(i64::from(self.protect()));
            is_due.then(|| self.terms.retain_until(&id(phase), from))
        } else {
            clocks.next(&self.terms, &id(phase), Some(at(lock)))
        };
        next.map_or(lock, |next| tick(next).max(lock))
    }

    /// By which time prune judges.
    pub(crate) fn let_go_at(&self, now: u8) -> Option<u8> {
        let moment = Moment {
            now,
            ahead: self.maintenance_ahead,
        };
        if self.breaks(Mutation::PruneByLocalClock) {
            return Some(moment.local());
        }
        moment.clocks().let_go_at().ok().map(tick)
    }

    /// Whether a computed lease is over, and its delay too.
    pub(crate) fn is_free(&self, since: u8, let_go_at: u8) -> bool {
        if self.breaks(Mutation::ForgetDelay) {
            return tick(lapse(at(since), None, &self.terms)) <= let_go_at;
        }
        judge(at(since), None, &self.terms, at(let_go_at)) == Fate::Delete
    }

    /// Until when a retirement can be undone for sure.
    pub(crate) fn undo_until(&self, retired: u8) -> u8 {
        if self.has_locks() {
            retired.saturating_add(self.protect())
        } else {
            tick(lapse(at(retired), None, &self.terms))
        }
    }

    /// The commit rule. `relied` is a lock, or where there are none the begin of a listing.
    pub(crate) fn commits(&self, relied: u8, put_answer: u8) -> bool {
        let reliance = if self.has_locks() {
            Reliance::Locks(Some(at(relied)))
        } else {
            Reliance::Listing(StoreTime::exact(at(relied)))
        };
        let answer = StoreTime::exact(at(put_answer));
        commit(reliance, answer, &self.terms) == Commit::Committed
    }

    /// The reader's rule. Without locks the signed part states what a listing is as good as: a lock that ends L + M after it
    /// (the code does not do so yet).
    pub(crate) fn is_late(&self, relied: u8, received: u8) -> bool {
        if self.breaks(Mutation::SignNoListing) && !self.has_locks() {
            return is_incomplete(None, at(received), &self.terms);
        }
        let until = if self.has_locks() {
            i64::from(relied)
        } else {
            i64::from(relied).saturating_add(lease(&self.terms))
        };
        is_incomplete(Some(until), at(received), &self.terms)
    }

    /// Whether a listing may still be acted on.
    pub(crate) fn is_fresh(&self, listed: u8, now: u8) -> bool {
        self.breaks(Mutation::StaleListing) || now.saturating_sub(listed) < self.delay()
    }
}

fn lease(terms: &Terms) -> i64 {
    i64::try_from(terms.lease_seconds()).unwrap_or(i64::MAX)
}
