//! What a user takes as lost for good: nothing waits for it, and nobody is told of it again.

use std::collections::BTreeSet;

use dolmen_format::{InstanceId, ObjectId, WriterId};
use minicbor::{Decode, Encode};

/// Objects, and ranges of numbers, that are kept; what comes after that is told of again.
const GIVEN_UP_MAX: usize = 1 << 16;

/// Objects and numbers that were given up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct GivenUp {
    #[n(0)]
    objects: BTreeSet<ObjectId>,
    #[n(1)]
    numbers: BTreeSet<NumberRange>,
}

/// Numbers of an instance, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct NumberRange {
    /// Who signs.
    #[n(0)]
    pub writer: WriterId,
    /// Under which instance.
    #[n(1)]
    pub instance: InstanceId,
    /// The first.
    #[n(2)]
    pub first: u64,
    /// The last.
    #[n(3)]
    pub last: u64,
}

impl NumberRange {
    /// One number.
    pub const fn of_one(writer: WriterId, instance: InstanceId, number: u64) -> Self {
        Self {
            writer,
            instance,
            first: number,
            last: number,
        }
    }

    /// Whether a number is one of these.
    pub fn has(&self, writer: WriterId, instance: InstanceId, number: u64) -> bool {
        (self.writer, self.instance) == (writer, instance)
            && (self.first..=self.last).contains(&number)
    }
}

impl GivenUp {
    /// Whether an object was given up.
    pub fn has(&self, object: &ObjectId) -> bool {
        self.objects.contains(object)
    }

    /// Whether all numbers of a range were given up.
    pub fn covers(&self, range: &NumberRange) -> bool {
        let mut first = range.first;
        // Each look finds a range that was given up and leaves the numbers behind it.
        while first <= range.last {
            let known = self.numbers.iter();
            let lasts = known
                .filter(|known| known.has(range.writer, range.instance, first))
                .map(|known| known.last);
            match lasts.max() {
                Some(last) if last == u64::MAX => return true,
                Some(last) => first = last.saturating_add(1),
                None => return false,
            }
        }
        true
    }

    /// Gives objects up, as far as there is room.
    pub fn add_objects(&mut self, objects: impl IntoIterator<Item = ObjectId>) {
        let room = GIVEN_UP_MAX.saturating_sub(self.objects.len());
        self.objects.extend(objects.into_iter().take(room));
    }

    /// Gives numbers up, as far as there is room.
    pub fn add_numbers(&mut self, numbers: impl IntoIterator<Item = NumberRange>) {
        let room = GIVEN_UP_MAX.saturating_sub(self.numbers.len());
        self.numbers.extend(numbers.into_iter().take(room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(writer: u8, first: u64, last: u64) -> NumberRange {
        NumberRange {
            writer: WriterId([writer; 16]),
            instance: InstanceId([7; 16]),
            first,
            last,
        }
    }

    #[test]
    fn a_gap_that_grows_is_told_of_again() {
        let mut given_up = GivenUp::default();
        given_up.add_numbers([range(1, 3, 5)]);
        assert!(given_up.covers(&range(1, 3, 5)));
        assert!(given_up.covers(&range(1, 4, 4)));
        assert!(!given_up.covers(&range(1, 3, 6)));
        assert!(!given_up.covers(&range(2, 3, 5)));
    }

    #[test]
    fn numbers_given_up_one_after_the_other_are_given_up_together() {
        let mut given_up = GivenUp::default();
        given_up.add_numbers([range(1, 3, 3), range(1, 4, 4), range(1, 6, u64::MAX)]);
        assert!(given_up.covers(&range(1, 3, 4)));
        assert!(given_up.covers(&range(1, 7, u64::MAX)));
        assert!(!given_up.covers(&range(1, 3, 5)));
        assert!(!given_up.covers(&range(1, 4, 6)));
    }

    #[test]
    fn what_is_given_up_is_bounded_and_the_first_stay() {
        let mut given_up = GivenUp::default();
        for number in 0..=u64::try_from(GIVEN_UP_MAX).unwrap() {
            given_up.add_numbers([range(1, number, number)]);
        }
        assert_eq!(given_up.numbers.len(), GIVEN_UP_MAX);
        assert!(given_up.covers(&range(1, 0, 0)));
    }
}
