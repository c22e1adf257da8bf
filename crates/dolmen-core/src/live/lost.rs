//! Parts of manifests that cannot be read.

use dolmen_crypto::CryptoError;
use dolmen_format::{FormatError, ObjectKey};
use dolmen_store::StoreErrorKind;

use super::NodePlace;
use crate::finding::{Finding, chain};
use crate::pack::BlobError;

/// Lost nodes that are kept; more are only counted.
pub const LOST_MAX: usize = 1000;

/// A part of manifests that cannot be read: what it names is not known.
#[derive(Debug)]
pub struct LostNode {
    /// The first snapshot that needs it, in the order in which they were added.
    pub first: ObjectKey,
    /// The last one. Those between may need it too.
    pub last: ObjectKey,
    /// What is lost.
    pub part: LostPart,
    /// Why.
    pub problem: NodeProblem,
}

/// Which part of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostPart {
    /// The root, in the snapshot itself.
    Root,
    /// A node in a frame of its own. Where it is said to lie in several, the first of them.
    Node(NodePlace),
}

/// Why a part of a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NodeProblem {
    /// The snapshot itself cannot be used, as the caller says.
    #[error("the snapshot cannot be used: {0}")]
    Snapshot(String),
    /// The box in the snapshot does not open.
    #[error("it does not open")]
    Sealed(#[source] CryptoError),
    /// The frame cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[source] BlobError),
    /// The frame holds something else.
    #[error("the frame holds another")]
    Altered,
    /// Its bytes are no node.
    #[error("it is damaged")]
    Encoding(#[source] FormatError),
    /// It has another level or begins with another pack than what names it says.
    #[error("it lies out of its place")]
    Misplaced,
}

impl LostNode {
    /// Whether this user may not read it: it may be whole.
    pub(crate) fn is_withheld(&self) -> bool {
        let NodeProblem::Unreadable(BlobError::Store { source, .. }) = &self.problem else {
            return false;
        };
        source.kind == StoreErrorKind::Denied
    }

    /// What to tell the user.
    pub fn finding(&self) -> Finding {
        let problem = chain(&self.problem);
        let mut lost = match self.part {
            LostPart::Root => "the manifest's root is lost".to_owned(),
            LostPart::Node(NodePlace { pack, ordinal }) => {
                format!("a manifest node in frame {ordinal} of pack {pack} is lost")
            }
        };
        if self.last != self.first {
            lost = format!("{lost}, for snapshots up to {} too", self.last);
        }
        Finding::new(self.first.to_string(), format!("{lost}: {problem}"))
    }
}

/// What was lost: all of it counted, some of it kept.
#[derive(Debug, Default)]
pub(super) struct Losses {
    pub(super) shown: Vec<LostNode>,
    pub(super) count: u64,
}

impl Losses {
    pub(super) fn add(&mut self, lost: LostNode) {
        self.count = self.count.saturating_add(1);
        if self.shown.len() < LOST_MAX {
            self.shown.push(lost);
        }
    }
}
