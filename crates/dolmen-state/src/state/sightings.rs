//! What maintenance has seen alive: the store may stop showing it, and its life goes on.

use std::collections::BTreeMap;

use dolmen_format::Timestamp;
use minicbor::{Decode, Encode};

/// Bytes of bodies that are remembered of each kind of object: some 5000 snapshots.
pub const SIGHTED_BYTES_MAX: usize = 16 << 20;
/// Objects that are remembered of each kind.
pub const SIGHTED_OBJECTS_MAX: usize = 1 << 14;

/// Objects that maintenance has seen, by their keys. A key is `kind/…` or `kind/signer/…`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Sightings {
    #[n(0)]
    objects: BTreeMap<String, Sighting>,
}

/// An object that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Sighting {
    /// When the store had received it, by the store's clock.
    #[n(0)]
    pub stored_at: Timestamp,
    /// Its bytes; empty where only its name is remembered.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub body: Vec<u8>,
}

/// Objects that share what may be remembered.
#[derive(Debug, Default)]
struct Kind<'s> {
    objects: usize,
    body_bytes: usize,
    /// What each signer takes of it, with its objects.
    signers: BTreeMap<&'s str, Signer<'s>>,
}

#[derive(Debug, Default)]
struct Signer<'s> {
    body_bytes: usize,
    /// Oldest first once they are sorted.
    objects: Vec<(Timestamp, &'s str, usize)>,
}

impl Sightings {
    /// What was seen under a key.
    pub fn get(&self, key: &str) -> Option<&Sighting> {
        self.objects.get(key)
    }

    /// What was seen of a kind, in the order of the keys.
    pub fn of_kind<'s>(&'s self, prefix: &'s str) -> impl Iterator<Item = (&'s str, &'s Sighting)> {
        let objects = self.objects.range(prefix.to_owned()..);
        objects
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, sighting)| (key.as_str(), sighting))
    }

    /// Notes an object. What was seen first stays.
    pub fn note(&mut self, key: String, sighting: Sighting) {
        let known = self.objects.entry(key).or_insert_with(|| Sighting {
            stored_at: sighting.stored_at,
            body: Vec::new(),
        });
        if known.body.is_empty() {
            known.body = sighting.body;
        }
    }

    /// Forgets what `keep` says no to.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.objects.retain(|key, _| keep(key));
    }

    /// Forgets what is too much: of the signer that takes the most of a kind the newest bodies, then the newest names, so
    /// that whoever floods a repository displaces nobody's objects but its own. Returns how many it were.
    pub fn trim(&mut self) -> usize {
        self.trim_to(SIGHTED_BYTES_MAX, SIGHTED_OBJECTS_MAX)
    }

    fn trim_to(&mut self, bytes_max: usize, objects_max: usize) -> usize {
        let (mut names, mut bodies) = (Vec::new(), Vec::new());
        for kind in self.kinds().values_mut() {
            while kind.objects > objects_max {
                let most = kind.signers.values_mut().max_by_key(|of| of.objects.len());
                let Some((_, key, bytes)) = most.and_then(Signer::forget_newest) else {
                    break;
                };
                kind.objects = kind.objects.saturating_sub(1);
                kind.body_bytes = kind.body_bytes.saturating_sub(bytes);
                names.push(key.to_owned());
            }
            while kind.body_bytes > bytes_max {
                let most = kind.signers.values_mut().max_by_key(|of| of.body_bytes);
                let Some((_, key, bytes)) = most.and_then(Signer::forget_newest) else {
                    break;
                };
                kind.body_bytes = kind.body_bytes.saturating_sub(bytes);
                if bytes > 0 {
                    bodies.push(key.to_owned());
                }
            }
        }
        for key in &names {
            self.objects.remove(key);
        }
        for key in &bodies {
            if let Some(sighting) = self.objects.get_mut(key) {
                sighting.body = Vec::new();
            }
        }
        names.len().saturating_add(bodies.len())
    }

    fn kinds(&self) -> BTreeMap<&str, Kind<'_>> {
        let mut kinds: BTreeMap<&str, Kind<'_>> = BTreeMap::new();
        for (key, sighting) in &self.objects {
            let (kind, rest) = key.split_once('/').unwrap_or(("", key));
            let signer = rest.split_once('/').map_or("", |(signer, _)| signer);
            let kind = kinds.entry(kind).or_default();
            let bytes = sighting.body.len();
            kind.objects = kind.objects.saturating_add(1);
            kind.body_bytes = kind.body_bytes.saturating_add(bytes);
            let signer = kind.signers.entry(signer).or_default();
            signer.body_bytes = signer.body_bytes.saturating_add(bytes);
            signer.objects.push((sighting.stored_at, key, bytes));
        }
        let signers = kinds
            .values_mut()
            .flat_map(|kind| kind.signers.values_mut());
        signers.for_each(|signer| signer.objects.sort_unstable());
        kinds
    }
}

impl<'s> Signer<'s> {
    fn forget_newest(&mut self) -> Option<(Timestamp, &'s str, usize)> {
        let newest = self.objects.pop()?;
        self.body_bytes = self.body_bytes.saturating_sub(newest.2);
        Some(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(at: i64, bytes: usize) -> Sighting {
        Sighting {
            stored_at: Timestamp::from_seconds(at),
            body: vec![7; bytes],
        }
    }

    fn flooded() -> Sightings {
        let mut seen = Sightings::default();
        seen.note("snapshots/good/a".to_owned(), sighting(5, 40));
        for at in 0..10 {
            seen.note(format!("snapshots/thief/{at}"), sighting(at, 20));
        }
        seen.note("ledger/thief/x".to_owned(), sighting(1, 90));
        seen
    }

    #[test]
    fn a_flood_displaces_the_newest_of_its_own_signer_alone() {
        let mut seen = flooded();
        assert_eq!(seen.trim_to(100, 100), 7);
        assert_eq!(seen.get("snapshots/good/a").unwrap().body.len(), 40);
        let left = |seen: &Sightings, at: i64| {
            let found = seen.get(&format!("snapshots/thief/{at}"));
            found.map(|sighting| sighting.body.len())
        };
        assert_eq!([left(&seen, 2), left(&seen, 3)], [Some(20), Some(0)]);
        assert_eq!(seen.get("ledger/thief/x").unwrap().body.len(), 90);
        assert_eq!(seen.trim_to(100, 4), 7);
        assert_eq!([left(&seen, 2), left(&seen, 3)], [Some(20), None]);
        assert_eq!(seen.of_kind("snapshots/").count(), 4);
        assert_eq!(seen.trim_to(100, 4), 0);
    }

    #[test]
    fn what_was_seen_first_stays_and_a_name_gets_its_body() {
        let mut seen = Sightings::default();
        seen.note("keys/k".to_owned(), sighting(1, 0));
        seen.note("keys/k".to_owned(), sighting(2, 3));
        seen.note("keys/k".to_owned(), sighting(3, 5));
        assert_eq!(seen.get("keys/k"), Some(&sighting(1, 3)));
    }
}
