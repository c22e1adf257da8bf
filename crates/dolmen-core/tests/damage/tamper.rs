//! Each kind of object, missing, cut, flipped, swapped, replayed.

use std::path::{Path, PathBuf};

use dolmen_core::check::{ReadData, Report};
use dolmen_core::finding::chain;
use dolmen_core::{Error, Finding};

use crate::world::{Notes, Reading, World};

const KINDS: [&str; 6] = ["root", "keys", "ledger", "packs", "index", "snapshots"];

/// What is done to an object.
#[derive(Debug, Clone)]
enum Tampering {
    Missing,
    Cut(usize),
    Longer,
    Flipped(usize),
    /// Its bytes and those of another change places.
    Swapped(PathBuf),
    /// Under its name lies another repository's object.
    Replayed(PathBuf),
}

impl Tampering {
    fn apply(&self, path: &Path) {
        let body = std::fs::read(path).unwrap();
        match self {
            Self::Missing => std::fs::remove_file(path).unwrap(),
            Self::Cut(bytes) => std::fs::write(path, &body[..*bytes]).unwrap(),
            Self::Longer => std::fs::write(path, [body.as_slice(), &[0; 100]].concat()).unwrap(),
            Self::Flipped(at) => {
                let mut flipped = body;
                flipped[*at] ^= 0x20;
                std::fs::write(path, flipped).unwrap();
            }
            Self::Swapped(other) => {
                std::fs::write(path, std::fs::read(other).unwrap()).unwrap();
                std::fs::write(other, body).unwrap();
            }
            Self::Replayed(other) => std::fs::write(path, std::fs::read(other).unwrap()).unwrap(),
        }
    }
}

/// Everything that is tried on one object.
fn tamperings(world: &World, other: &World, kind: &str, path: &Path) -> Vec<Tampering> {
    let bytes = usize::try_from(std::fs::metadata(path).unwrap().len()).unwrap();
    let mut all = vec![Tampering::Missing, Tampering::Longer];
    all.extend([0, 7, bytes / 2, bytes - 1].map(Tampering::Cut));
    let flips = [
        0,
        9,
        11,
        13,
        20,
        40,
        bytes / 3,
        bytes / 2,
        bytes.saturating_sub(900),
        bytes - 70,
        bytes - 2,
    ];
    all.extend(
        flips
            .iter()
            .filter(|at| **at < bytes)
            .map(|at| Tampering::Flipped(*at)),
    );
    let mates = world.objects(kind).into_iter().filter(|mate| mate != path);
    all.extend(mates.map(Tampering::Swapped));
    all.extend(other.objects(kind).into_iter().map(Tampering::Replayed));
    all
}

fn names(finding: &Finding, id: &str) -> bool {
    finding.subject.contains(id) || finding.problem.contains(id)
}

/// Whether a finding is of the object, or of the number that it leaves open. What does not even begin like an object, and
/// what no known signer's name is on, may be junk: that is only mentioned.
fn is_told(report: &Report, notes: &Notes, id: &str) -> bool {
    let is_of = |finding: &Finding| names(finding, id) || finding.problem.contains("missing");
    let notices = notes.notices.lock().unwrap();
    report.findings.iter().any(is_of) || notices.iter().any(|notice| notice.contains(id))
}

fn is_clear(error: &Error) -> bool {
    !matches!(error, Error::Internal { .. }) && !chain(error).is_empty()
}

/// Every file that a check names is lost, and every lost one is named.
fn check_names_the_lost(findings: &[Finding], reading: &Reading, what: &str) {
    for lost in &reading.lost {
        assert!(
            findings.iter().any(|finding| finding.subject == *lost),
            "{what}: {lost}"
        );
    }
    for whole in &reading.whole {
        assert!(
            !findings.iter().any(|finding| finding.subject == *whole),
            "{what}: {whole}"
        );
    }
}

#[test]
fn whatever_is_done_to_an_object_is_found() {
    let (world, other) = (World::new(1), World::new(2));
    let saved = world.save();
    let files = world.read_all().whole.len();
    for kind in KINDS {
        let paths = world.objects(kind);
        assert!(!paths.is_empty(), "{kind}");
        for path in paths {
            let id = path.file_name().unwrap().to_str().unwrap().to_owned();
            for tampering in tamperings(&world, &other, kind, &path) {
                let what = format!("{kind}/{id} {tampering:?}");
                tampering.apply(&path);
                let (report, notes) = world.check(ReadData::All);
                assert!(
                    is_told(&report, &notes, &id),
                    "{what}: {:?}",
                    report.findings
                );
                let reading = world.read_all();
                if !matches!(kind, "index" | "snapshots") {
                    check_names_the_lost(&report.findings, &reading, &what);
                }
                if matches!(kind, "root" | "keys" | "ledger") {
                    assert_eq!(reading.whole.len(), files, "{what}");
                    assert_eq!(report.snapshots_damaged, 0, "{what}");
                } else if reading.whole.len() < files {
                    assert_ne!(report.snapshots_damaged, 0, "{what}: {:?}", report.findings);
                }
                world.heal(&saved);
            }
        }
    }
    assert_eq!(world.check(ReadData::All).0.findings, []);
}

/// Without reading packs, all is found but what hides within a pack's own size.
#[test]
fn the_structure_tells_what_is_missing_or_cut() {
    let world = World::new(1);
    let saved = world.save();
    for kind in KINDS {
        for path in world.objects(kind) {
            let mut all = vec![Tampering::Missing, Tampering::Cut(30)];
            if kind != "packs" {
                all.push(Tampering::Flipped(60));
            }
            for tampering in all {
                tampering.apply(&path);
                let (report, _) = world.check(ReadData::None);
                assert_ne!(report.findings, [], "{} {tampering:?}", path.display());
                assert_eq!(report.packs_read, 0);
                world.heal(&saved);
            }
        }
    }
}

#[test]
fn objects_of_another_repository_under_their_own_names_are_found() {
    let (world, other) = (World::new(1), World::new(2));
    let saved = world.save();
    let files = world.read_all().whole.len();
    for kind in KINDS {
        for path in other.objects(kind) {
            let id = path.file_name().unwrap().to_str().unwrap();
            // Both below the stranger's name and below that of the writer.
            let relative = path.strip_prefix(other.path("store")).unwrap();
            let own = relative.to_str().unwrap().replace(
                &other.repository.writer().to_string(),
                &world.repository.writer().to_string(),
            );
            for target in [relative.to_str().unwrap(), own.as_str()] {
                let target = world.path("store").join(target);
                std::fs::create_dir_all(target.parent().unwrap()).unwrap();
                std::fs::copy(&path, &target).unwrap();
                let (report, notes) = world.check(ReadData::All);
                assert!(is_told(&report, &notes, id), "{kind}");
                // Whole as they are, none of them was ever this repository's: nothing is lost.
                assert_eq!(report.findings, [], "{kind}");
                assert_eq!(world.read_all().whole.len(), files);
                world.heal(&saved);
            }
        }
    }
}

/// What a backup can see without reading packs, it makes good.
fn check_latest(world: &World, kind: &str, tampering: &Tampering, what: &str) {
    if kind == "packs" && !matches!(tampering, Tampering::Missing | Tampering::Cut(_)) {
        return;
    }
    let latest = world.latest();
    let reading = world.read_all();
    let lost = reading.lost.iter().find(|lost| lost.contains(&latest));
    assert_eq!(lost, None, "{what}");
    assert!(
        reading.whole.iter().any(|whole| whole.contains(&latest)),
        "{what}"
    );
}

#[test]
fn the_next_backup_succeeds_or_says_why_not() {
    let (world, other) = (World::new(1), World::new(2));
    let saved = world.save();
    for kind in KINDS {
        for path in world.objects(kind) {
            let bytes = usize::try_from(std::fs::metadata(&path).unwrap().len()).unwrap();
            let mut all = vec![Tampering::Missing, Tampering::Cut(bytes / 2)];
            all.extend([40, bytes - 5].map(Tampering::Flipped));
            all.extend(
                other
                    .objects(kind)
                    .into_iter()
                    .take(1)
                    .map(Tampering::Replayed),
            );
            for tampering in all {
                let what = format!("{} {tampering:?}", path.display());
                tampering.apply(&path);
                match world.backup() {
                    Err(error) => assert!(is_clear(&error), "{what}: {error}"),
                    Ok(_) => check_latest(&world, kind, &tampering, &what),
                }
                world.heal(&saved);
            }
        }
    }
}

#[test]
fn a_removed_head_is_damage_even_with_all_that_it_needs() {
    let world = World::new(1);
    let head = world.head().unwrap();
    let path = world.objects("snapshots").into_iter();
    let path = path
        .into_iter()
        .find(|path| path.ends_with(head.digest.to_string()))
        .unwrap();
    std::fs::remove_file(path).unwrap();
    let (report, _) = world.check(ReadData::None);
    assert!(
        report
            .findings
            .iter()
            .any(|finding| names(finding, &head.digest.to_string()))
    );
    assert_eq!((report.snapshots, report.snapshots_damaged), (2, 1));
}
