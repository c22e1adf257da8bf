//! What a snapshot needs, and where that may lie.

use std::collections::{BTreeMap, BTreeSet};

use dolmen_format::ledger::MoveRun;
use dolmen_format::{ObjectKey, PackId, WriterId};

/// What a snapshot needs.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Keys: its own, those of its segments and of the packs that its frames were written into.
    pub keys: BTreeSet<String>,
    /// The frames that it needs of each pack.
    pub frames: BTreeMap<String, BTreeSet<u32>>,
}

/// Where frames lie beside the packs that they were written into, as far as this world's own machines moved them.
#[derive(Debug, Default)]
pub struct Places(BTreeMap<(String, u32), BTreeSet<String>>);

impl Places {
    /// Notes that frames were moved.
    pub fn note(&mut self, writer: WriterId, pack: PackId, runs: &[MoveRun]) {
        let place = ObjectKey::Pack(writer, pack).to_string();
        for run in runs {
            let origin = ObjectKey::Pack(writer, run.origin).to_string();
            for ordinal in run.first_ordinal..run.first_ordinal.saturating_add(run.count) {
                let places = self.0.entry((origin.clone(), ordinal)).or_default();
                places.insert(place.clone());
            }
        }
    }

    /// The first key that lacks something: it is not so itself and, where it is a pack's, for some frame no other place is.
    pub fn lacks<'n>(&self, needs: &'n Needs, is_so: impl Fn(&str) -> bool) -> Option<&'n str> {
        let mut keys = needs.keys.iter();
        let lacking = keys.find(|key| !is_so(key) && !self.are_elsewhere(needs, key, &is_so));
        lacking.map(String::as_str)
    }

    /// Whether each frame that is needed of a pack lies in another place, too, for which something is so.
    pub fn are_elsewhere(&self, needs: &Needs, key: &str, is_so: impl Fn(&str) -> bool) -> bool {
        let is_elsewhere = |ordinal: &u32| {
            let places = self.0.get(&(key.to_owned(), *ordinal));
            places.is_some_and(|places| places.iter().any(|place| is_so(place)))
        };
        let frames = needs.frames.get(key);
        frames.is_some_and(|frames| frames.iter().all(is_elsewhere))
    }

    /// Every place of what these need.
    pub fn of(&self, needs: &Needs) -> BTreeSet<String> {
        let mut all = needs.keys.clone();
        for (key, frames) in &needs.frames {
            for ordinal in frames {
                let places = self.0.get(&(key.clone(), *ordinal));
                all.extend(places.into_iter().flatten().cloned());
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use dolmen_format::ObjectId;

    use super::*;

    #[test]
    fn a_pack_is_needed_until_each_of_its_frames_lies_elsewhere() {
        let writer = WriterId([1; 16]);
        let [origin, first, second] = [[1; 32], [2; 32], [3; 32]].map(ObjectId);
        let key = ObjectKey::Pack(writer, origin).to_string();
        let needs = Needs {
            keys: BTreeSet::from([key.clone()]),
            frames: BTreeMap::from([(key.clone(), BTreeSet::from([0, 2]))]),
        };
        let run = |first_ordinal| MoveRun {
            origin,
            first_ordinal,
            count: 1,
            position: 0,
        };
        let mut places = Places::default();
        places.note(writer, first, &[run(0), run(1)]);
        assert_eq!(places.lacks(&needs, |name| name != key), Some(&*key));
        places.note(writer, second, &[run(2)]);
        assert_eq!(places.lacks(&needs, |name| name != key), None);
        let gone = ObjectKey::Pack(writer, second).to_string();
        let lacks = places.lacks(&needs, |name| name != key && name != gone);
        assert_eq!(lacks, Some(&*key));
        assert_eq!(places.of(&needs).len(), 3);
    }
}
