//! Saying of packs that they are what they say of themselves.

use dolmen_format::PackId;
use dolmen_format::ledger::Fact;
use dolmen_state::state::Instance;

use crate::error::Result;
use crate::ledger;
use crate::repository::Repository;

/// Packs that one record names: 2 MiB of ids.
const ATTESTED_MAX: usize = 1 << 16;

/// Attests packs that a check read in full and found whole: any client may build upon them. The client's own history must
/// be settled.
///
/// Cost: one put for each 65,536 packs.
pub fn attest(repository: &Repository, instance: &mut Instance, packs: &[PackId]) -> Result<()> {
    for packs in packs.chunks(ATTESTED_MAX) {
        let packs = packs.to_vec();
        ledger::write(repository, instance, Fact::Attestation { packs })?;
    }
    Ok(())
}
