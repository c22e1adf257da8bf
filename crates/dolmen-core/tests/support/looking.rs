//! How audits and recoveries look.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use dolmen_core::audit::{self, Depth};
use dolmen_core::check::ReadData;
use dolmen_state::Compared;
use dolmen_state::state::Remembered;

static GO_ON: AtomicBool = AtomicBool::new(false);
static NOTHING: Compared = Compared {
    equal: BTreeSet::new(),
    different: BTreeSet::new(),
};

/// At all bytes, with nothing remembered.
pub(crate) fn look(scratch: &Path, read_data: ReadData) -> audit::Options<'_> {
    audit::Options {
        depth: Depth::Hashes(read_data),
        remembered: Remembered::nothing(),
        compared: &NOTHING,
        index_cache: None,
        scratch,
        cancel: &GO_ON,
    }
}
