//! Noting what lives, so that its life goes on should the store not show it some day.

use dolmen_format::ObjectKind;
use dolmen_state::state::{Sighting, Sightings};

use crate::objects::{Listed, Source};
use crate::repository::Repository;

/// Notes what is there and lives: of snapshots and records the bytes, of roots and keys the names. What segments and
/// packs are needed, snapshots tell.
///
/// Cost: nothing for what is noted already; else one request for each object of which this client keeps no copy.
pub(super) fn note(
    repository: &Repository,
    sightings: &mut Sightings,
    found: &[(Listed, u64)],
    kind: ObjectKind,
) {
    match kind {
        ObjectKind::Snapshot | ObjectKind::Ledger => {
            let is_noted = |object: &Listed| {
                let noted = sightings.get(&object.key.to_string());
                noted.is_some_and(|noted| !noted.body.is_empty())
            };
            let found = found.iter().map(|(object, _)| object);
            let new: Vec<_> = found.filter(|object| !is_noted(object)).cloned().collect();
            let (objects, source) = (&repository.objects, Source::Copies);
            objects.fetch_small(&new, kind, source, |object, fetched| {
                // What cannot be read now is noted when it can.
                if let Ok(found) = fetched {
                    let sighting = Sighting {
                        stored_at: found.copy.stored_at,
                        body: found.body.to_vec(),
                    };
                    sightings.note(object.key.to_string(), sighting);
                }
            });
        }
        ObjectKind::Root | ObjectKind::Certificate | ObjectKind::Bundle => {
            for (object, _) in found {
                let first = object.copies.first();
                let sighting = Sighting {
                    stored_at: first.map(|copy| copy.stored_at).unwrap_or_default(),
                    body: Vec::new(),
                };
                sightings.note(object.key.to_string(), sighting);
            }
        }
        ObjectKind::Index | ObjectKind::Pack => {}
    }
}
