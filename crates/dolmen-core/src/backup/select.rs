//! What a backup leaves out.

use dolmen_fs::pattern::PatternList;
use dolmen_fs::{DirectoryView, Kind, Metadata, Select, Selection};

/// `--exclude-if-present NAME[:HEADER]`.
#[derive(Debug, Clone)]
pub struct IfPresent {
    /// The file that marks a directory.
    pub name: Vec<u8>,
    /// What that file must begin with; empty: anything.
    pub header: Vec<u8>,
}

impl IfPresent {
    /// The tag of <https://bford.info/cachedir/>.
    pub fn cachedir_tag() -> Self {
        Self {
            name: b"CACHEDIR.TAG".to_vec(),
            header: b"Signature: 8a477f597d28d172789f06886806bc55".to_vec(),
        }
    }
}

/// Decides what a backup takes.
#[derive(Debug, Clone)]
pub struct Selector {
    excludes: PatternList,
    /// Directories marked by one of these keep only the mark.
    pub if_present: Vec<IfPresent>,
    /// Files above this many bytes are left out.
    pub larger_than: Option<u64>,
    /// Absolute paths of the client's own folders: repository and cache.
    pub own_folders: Vec<Vec<u8>>,
}

impl Selector {
    /// Leaves out what matches `excludes`.
    pub fn new(excludes: PatternList) -> Self {
        Self {
            excludes,
            if_present: Vec::new(),
            larger_than: None,
            own_folders: Vec::new(),
        }
    }
}

impl Select for Selector {
    fn select(&self, path: &[u8], metadata: &Metadata, directory: &DirectoryView<'_>) -> Selection {
        let too_large = metadata.kind == Kind::File
            && self
                .larger_than
                .is_some_and(|limit| metadata.size_bytes > limit);
        let own = metadata.kind == Kind::Directory
            && self.own_folders.iter().any(|folder| folder == path);
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let marked = self.if_present.iter().any(|mark| {
            mark.name != name
                && directory.contains(&mark.name)
                && (mark.header.is_empty() || directory.file_starts_with(&mark.name, &mark.header))
        });
        if too_large || own || marked || self.excludes.matches(path) {
            Selection::Exclude
        } else {
            Selection::Include
        }
    }
}
