//! The thief: whatever the machine itself may do to the folder with the backups.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use dolmen_core::Random as _;

use super::tree;
use super::world::{Home, Site};
use crate::exit::{Exit, Failure, Outcome};
use crate::random::SystemRandom;
use crate::render;

/// Attacks a repository, and confesses what was done.
pub(super) fn attack(site: &mut Site, home: &Home) -> Outcome<Vec<String>> {
    let mut deeds = Vec::new();
    // With the passphrase, a backup of ransom notes is a backup like any other.
    let notes = home.folder().join("ransom");
    let written = std::fs::create_dir_all(&notes)
        .and_then(|()| std::fs::write(notes.join("READ_ME.txt"), "Your files are gone. Pay.\n"));
    written.map_err(|error| failed(&notes, &error))?;
    site.backup(&notes, "thief")?;
    deeds.push("adds a backup of its own, a ransom note, as the newest".to_owned());

    let mut files = Vec::new();
    tree::list(&site.folder, &mut files)?;
    let below = |folder: &str| -> Vec<PathBuf> {
        let folder = site.folder.join(folder);
        files
            .iter()
            .filter(|path| path.starts_with(&folder))
            .cloned()
            .collect()
    };
    let segments = below("index");
    for path in &segments {
        std::fs::remove_file(path).map_err(|error| failed(path, &error))?;
    }
    let count = u64::try_from(segments.len()).unwrap_or(u64::MAX);
    deeds.push(format!(
        "deletes the index: {}",
        render::count(count, "object")
    ));

    if let Some((pack, bytes)) = largest(&below("packs"))? {
        overwrite_middle(&pack, bytes)?;
        let garbled = render::bytes(bytes / 3);
        deeds.push(format!(
            "overwrites {garbled} in the middle of the largest pack with garbage"
        ));
    }
    let writer = below("snapshots")
        .first()
        .and_then(|path| path.parent().map(Path::to_path_buf));
    if let Some(folder) = writer {
        let name = site
            .environment()
            .bytes::<32>()
            .iter()
            .fold(String::new(), |name, byte| name + &format!("{byte:02x}"));
        let path = folder.join(name);
        std::fs::write(&path, garbage(4096)).map_err(|error| failed(&path, &error))?;
        deeds.push("plants a snapshot that nobody signed".to_owned());
    }
    Ok(deeds)
}

fn largest(packs: &[PathBuf]) -> Outcome<Option<(PathBuf, u64)>> {
    let mut largest: Option<(PathBuf, u64)> = None;
    for pack in packs {
        let bytes = std::fs::metadata(pack)
            .map_err(|error| failed(pack, &error))?
            .len();
        if largest.as_ref().is_none_or(|(_, most)| bytes > *most) {
            largest = Some((pack.clone(), bytes));
        }
    }
    Ok(largest)
}

fn overwrite_middle(pack: &Path, bytes: u64) -> Outcome<()> {
    let third = bytes / 3;
    let garbage = garbage(usize::try_from(third).unwrap_or(0));
    OpenOptions::new()
        .write(true)
        .open(pack)
        .and_then(|file| file.write_all_at(&garbage, third))
        .map_err(|error| failed(pack, &error))
}

fn garbage(bytes: usize) -> Vec<u8> {
    let mut garbage = vec![0; bytes];
    SystemRandom.fill(&mut garbage);
    garbage
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("cannot attack {}: {error}", path.display()),
    )
}
