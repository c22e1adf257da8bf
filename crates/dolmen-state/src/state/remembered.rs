//! What a client knows by itself of a repository, whatever the store shows.

use std::sync::LazyLock;

use dolmen_format::ObjectKey;
use dolmen_format::signed::Reference;

use super::{GivenUp, Sightings, Signed};

/// What a client's instances wrote last, and what its user gave up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remembered {
    /// The snapshots, or checkpoints, that they made last.
    pub heads: Vec<Reference>,
    /// The latest ledger records that they signed, without those given up: nothing that follows them need be there.
    pub signed: Vec<Signed>,
    /// What the user takes as lost for good.
    pub given_up: GivenUp,
}

impl Remembered {
    /// What a client knows that was never here.
    pub fn nothing() -> &'static Self {
        static NOTHING: LazyLock<Remembered> = LazyLock::new(Remembered::default);
        &NOTHING
    }

    /// Adds the signed records to what was seen, as far as their bytes are known.
    pub fn add_to(&self, sightings: &mut Sightings) {
        for Signed {
            reference,
            sighting,
        } in &self.signed
        {
            // Without its bytes it would count by a time that nobody stated.
            if let Some(sighting) = sighting {
                let key = ObjectKey::Ledger(reference.writer, reference.digest);
                sightings.note(key.to_string(), sighting.clone());
            }
        }
    }
}
