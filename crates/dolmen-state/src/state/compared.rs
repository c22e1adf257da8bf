//! What a maintainer found when it held places of moved frames against each other.

use std::collections::BTreeSet;

use dolmen_format::ObjectId;
use minicbor::{Decode, Encode};

/// A record of moves, and what its frames were held against: another record of moves, or a pack that frames were written
/// into. A pack and itself: it was read whole, and is what its name and its table say.
pub type Comparison = (ObjectId, ObjectId);

/// Comparisons that are remembered of each kind: 64 MiB in memory at most. Those beyond are made again when they are wanted.
pub const COMPARISONS_MAX: usize = 1 << 18;

/// The results of comparisons. Losing them costs comparing again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Compared {
    /// Every frame that both name is the same in both places.
    #[n(0)]
    pub equal: BTreeSet<Comparison>,
    /// Some frame of a pack, which was read whole, is another where the record says that it also lies.
    #[n(1)]
    pub different: BTreeSet<Comparison>,
}

impl Compared {
    /// Whether a pack was read whole, and is what its name and its table say.
    pub fn is_whole(&self, pack: &ObjectId) -> bool {
        self.equal.contains(&(*pack, *pack))
    }

    /// Forgets what names a record that `keep` says no to, and what is beyond [`COMPARISONS_MAX`].
    pub fn trim(&mut self, keep: impl Fn(&ObjectId) -> bool) {
        for kind in [&mut self.equal, &mut self.different] {
            kind.retain(|(record, _)| keep(record));
            while kind.len() > COMPARISONS_MAX {
                kind.pop_last();
            }
        }
    }
}
