//! The files of a machine, and what they hold.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::dice::Dice;

/// What lies below a folder: for each path the hash of its content, `None` for a folder.
pub type Picture = BTreeMap<String, Option<blake3::Hash>>;

/// Files that a machine has at most.
const FILES_MAX: usize = 12;
/// Bytes of a file at most.
const FILE_BYTES_MAX: u64 = 300_000;

/// Looks at everything below `root`.
pub fn look(root: &Path) -> io::Result<Picture> {
    let (mut picture, mut pending) = (Picture::new(), vec![root.to_path_buf()]);
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.strip_prefix(root).unwrap_or(&path);
            let name = name.to_string_lossy().into_owned();
            if path.is_dir() {
                picture.insert(name, None);
                pending.push(path);
            } else {
                picture.insert(name, Some(blake3::hash(&fs::read(&path)?)));
            }
        }
    }
    Ok(picture)
}

/// Changes some files below `root`: new ones, other content, other names, fewer.
pub fn edit(root: &Path, dice: &mut Dice) -> io::Result<()> {
    for _ in 0..dice.between(1, 4) {
        let mut files: Vec<PathBuf> = look(root)?
            .into_iter()
            .filter(|(_, hash)| hash.is_some())
            .map(|(name, _)| root.join(name))
            .collect();
        files.sort();
        let chosen = dice.pick(&files).cloned();
        match (dice.below(10), chosen) {
            (0, Some(file)) => fs::remove_file(file)?,
            (1 | 2, Some(file)) => {
                let to = fresh_name(root, dice);
                fs::create_dir_all(to.parent().unwrap_or(root))?;
                fs::rename(file, to)?;
            }
            (3 | 4, Some(file)) => append(&file, dice)?,
            (5, Some(file)) => {
                // The same content twice.
                let to = fresh_name(root, dice);
                fs::create_dir_all(to.parent().unwrap_or(root))?;
                fs::copy(file, to)?;
            }
            (_, Some(file)) if files.len() >= FILES_MAX => fs::remove_file(file)?,
            (_, _) => {
                let to = fresh_name(root, dice);
                fs::create_dir_all(to.parent().unwrap_or(root))?;
                fs::write(to, content(dice))?;
            }
        }
    }
    Ok(())
}

/// Dates everything below `root` alike, and `root` itself: when a run happens is not part of its world.
pub fn date_alike(root: &Path) -> io::Result<()> {
    let date = |path: &Path| fs::File::open(path)?.set_modified(SystemTime::UNIX_EPOCH);
    for name in look(root)?.keys() {
        date(&root.join(name))?;
    }
    date(root)
}

fn append(file: &Path, dice: &mut Dice) -> io::Result<()> {
    let mut content = fs::read(file)?;
    let length = dice.below(2000);
    content.extend(dice.bytes(usize::try_from(length).unwrap_or(0)));
    fs::write(file, content)
}

fn fresh_name(root: &Path, dice: &mut Dice) -> PathBuf {
    let folder = ["", "a", "a/b", "c"];
    let folder = dice.pick(&folder).copied().unwrap_or_default();
    root.join(folder)
        .join(format!("f{:06x}", dice.below(1 << 24)))
}

/// Most files are small; some are several frames long; some are like others.
fn content(dice: &mut Dice) -> Vec<u8> {
    let length = match dice.below(4) {
        0 => dice.below(FILE_BYTES_MAX),
        1 => dice.below(20_000),
        _ => dice.below(500),
    };
    let length = usize::try_from(length).unwrap_or(0).saturating_add(1);
    match dice.below(4) {
        0 => crate::dice::noise(dice.below(4), length),
        1 => b"the same line again\n".repeat(length / 20 + 1),
        _ => dice.bytes(length),
    }
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Removes a folder, if it is there.
pub fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_edits_alike() {
        let pictures = [1, 1, 2].map(|seed| {
            let folder = tempfile::tempdir().unwrap();
            let mut dice = Dice::new(seed);
            for _ in 0..20 {
                edit(folder.path(), &mut dice).unwrap();
            }
            look(folder.path()).unwrap()
        });
        assert_eq!(pictures[0], pictures[1]);
        assert_ne!(pictures[0], pictures[2]);
    }
}
