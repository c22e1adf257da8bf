//! Whether everything that the snapshots need is there and readable.
//!
//! A check believes no cache: it reads every signed object, holds the listing of packs against the index,
//! walks every tree down to the places of its data, and sees that each snapshot's manifest names all of
//! them. Packs are read first, where that is asked for, so that one walk of the trees can name the files
//! that broken packs take with them.
//!
//! Memory: some dozen bytes for each pack, each tree and list node, and each run of neighbouring frames
//! that such a node uses; one bit for each frame; and as many packs as there are threads.

mod attest;
mod history;
mod manifests;
mod nodes;
mod packs;
mod sink;
mod snapshots;
mod standing;
mod trees;
mod verify;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dolmen_format::{ObjectKey, PackId, Timestamp};
use dolmen_state::index::BlobIndex;
use dolmen_state::state::Remembered;
use dolmen_store::{StoreError, StoreErrorKind};

use crate::error::{Error, Result};
use crate::finding::{Finding, Findings, Nature, counted};
use crate::index::Index;
use crate::numbers::{self, Missing};
use crate::objects::Source;
use crate::repository::Repository;
use crate::snapshots::{SnapshotList, segments_of};
use crate::strays::Strays;

pub use self::attest::attest;
pub(crate) use self::packs::choose;
use self::sink::Sink;
pub(crate) use self::standing::verify as verify_standing;

/// What to check.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which packs are read in full.
    pub read_data: ReadData,
    /// Threads that read packs, each with one pack in memory.
    pub threads: usize,
    /// The client's index cache. It is not believed, but held against what the store says.
    pub cache: Option<PathBuf>,
    /// What this client knows by itself: what is gone of it is damage.
    pub remembered: Remembered,
    /// Look at the snapshots that lived then. Of those that are gone nothing is said: they may have been retired since.
    pub at: Option<Timestamp>,
}

/// Which packs are read in full.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ReadData {
    /// None.
    None,
    /// Every one.
    All,
    /// Those that no attestation names.
    Unattested,
    /// Those whose ids fall into part `n`, from 1, of `t`: all `t` parts together are all packs.
    Part {
        /// Which part.
        n: u64,
        /// Of how many.
        t: u64,
    },
    /// That many of a hundred, at random.
    Percent(f64),
    /// About so many bytes, at random.
    Bytes(u64),
}

/// What the caller sees while a check runs.
pub trait Observer: Sync {
    /// Something is damaged.
    fn finding(&self, finding: &Finding);
    /// Something is odd and harmless.
    fn notice(&self, text: &str);
}

/// Counters to show while a check runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Packs read.
    pub packs: AtomicU64,
    /// Packs to be read.
    pub total_packs: AtomicU64,
    /// Bytes of packs read.
    pub bytes: AtomicU64,
    /// Set by the caller to interrupt.
    pub cancel: AtomicBool,
}

impl Progress {
    fn check_cancelled(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// All damage, sorted.
    pub findings: Findings,
    /// Snapshots there should be.
    pub snapshots: u64,
    /// How many of them miss something, or are gone themselves.
    pub snapshots_damaged: u64,
    /// Packs that are missing or are not what they should be.
    pub broken_packs: Vec<PackId>,
    /// Packs that were read in full and are whole, and that no attestation names.
    pub attestable: Vec<PackId>,
    /// Packs read in full.
    pub packs_read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Whether something could not be read for want of a right, and nothing shows more than that is wrong.
    pub is_unread: bool,
    /// Whether rebuilding the index could mend something.
    pub suggest_repair_index: bool,
}

/// Checks a repository.
///
/// Cost: seven listings; one request for each object that is no pack, one more for each that does not verify, one for each
/// pack to be read, and up to two for each tree, list or manifest node.
pub fn run(
    repository: &Repository,
    options: &Options,
    observer: &dyn Observer,
    progress: &Progress,
) -> Result<Report> {
    let sink = Sink::new(observer);
    let mut report = Report::default();
    standing::check(repository, &sink)?;
    progress.check_cancelled()?;
    let list = SnapshotList::load_from(repository, options.at, Source::Store)?;
    let entries = list.snapshots.iter().chain(&list.incomplete);
    let listed: BTreeSet<_> = segments_of(entries.chain(&list.checkpoints))
        .into_iter()
        .collect();
    let missing = numbers::missing(&list, &options.remembered);
    let told = told_of(&list, &missing, &options.remembered);
    let strays = Strays::new(repository, |key| told.contains(key));
    let unusable = sink.judge(&strays, &list.findings)?;
    let damaged = list.damaged().filter(|key| unusable.contains(key));
    let damaged = damaged.map(|key| key.id()).collect();
    let mut unread = list.findings.iter();
    sink.doubt(unread.any(|finding| finding.nature == Nature::Unreadable));
    let gone = match options.at {
        None => history::check(repository, &list, damaged, &missing, &sink),
        Some(_) => damaged,
    };
    sink.doubt(false);
    progress.check_cancelled()?;
    let index = Index::load(repository, None)?;
    let whole: BTreeSet<_> = index.segment_ids().collect();
    let strays = Strays::new(repository, |key| {
        let is_listed = matches!(key, ObjectKey::Index(..)) && listed.contains(&key.id());
        is_listed && !whole.contains(&key.id())
    });
    report.suggest_repair_index = !sink.judge(&strays, &index.findings)?.is_empty();
    index.prefer(repository, &listed)?;
    compare_cache(options, &index, &sink)?;

    let mut health = packs::compare(repository, &index.blobs, &list.facts, &sink)?;
    let attested = &list.facts.attested;
    report.attestable = packs::read(
        &packs::Context {
            repository,
            index: &index.blobs,
            attested,
            options,
        },
        &mut health,
        &sink,
        progress,
    )?;
    sink.doubt(true);
    snapshots::check(
        &snapshots::Context {
            repository,
            index: &index,
            list: &list,
        },
        &health,
        gone,
        &sink,
        progress,
        &mut report,
    )?;
    report.suggest_repair_index |= health.index_is_wrong;
    report.broken_packs = health.broken_packs();
    report.packs_read = progress.packs.load(Ordering::Relaxed);
    report.bytes_read = progress.bytes.load(Ordering::Relaxed);
    report.is_unread = repository.objects.was_denied() && !sink.has_damage();
    report.findings = sink.finish();
    Ok(report)
}

/// The snapshots and records that others, or this client, tell of and that are not there whole.
fn told_of(list: &SnapshotList, missing: &Missing, remembered: &Remembered) -> BTreeSet<ObjectKey> {
    let signed = remembered.signed.iter().map(|own| own.reference);
    let signed = signed.map(|own| ObjectKey::Ledger(own.writer, own.digest));
    let mut told: BTreeSet<_> = missing.objects.keys().copied().chain(signed).collect();
    let stated = list.facts.stamps.iter();
    for (stamp, id) in stated {
        told.remove(&ObjectKey::Ledger(stamp.writer, *id));
    }
    for entry in list.all() {
        told.remove(&entry.key());
    }
    told
}

/// Says so when the client's cached index is another than that in the store: a backup that believed it
/// would leave data out.
fn compare_cache(options: &Options, index: &Index, sink: &Sink<'_>) -> Result<()> {
    let Some(cache) = options.cache.as_deref() else {
        return Ok(());
    };
    let (cached, _missing) = BlobIndex::open(Some(cache), &index.segments)?;
    let fresh = &index.blobs;
    let mut wrong = 0_u64;
    cached.for_each_blob(|id, found| {
        let pack = cached.pack(found.pack);
        let same = |known: &dolmen_state::index::Location| {
            fresh.pack(known.pack) == pack
                && (known.kind, known.ordinal) == (found.kind, found.ordinal)
                && (known.offset, known.length) == (found.offset, found.length)
        };
        let is_known = pack.is_some() && fresh.locations(id).iter().any(same);
        wrong = wrong.saturating_add(u64::from(!is_known));
    });
    if wrong > 0 {
        let (folder, wrong) = (cache.display(), counted(wrong, "place"));
        sink.notice(&format!(
            "the cached index in {folder} is wrong in {wrong}: remove the folder, it is made anew"
        ));
    }
    Ok(())
}

/// Whether a store failed as a whole, not one object.
fn is_fatal(error: &StoreError) -> bool {
    error.kind == StoreErrorKind::Unavailable
}
