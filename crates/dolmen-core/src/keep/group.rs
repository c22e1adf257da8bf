//! Groups of snapshots that compete for the same slots.

use std::str::FromStr;

use dolmen_format::WriterId;

use super::{Candidate, KeepError};

/// What snapshots of a group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "a set of four fields")]
pub struct GroupBy {
    /// The host.
    pub host: bool,
    /// The set of paths.
    pub paths: bool,
    /// The set of tags.
    pub tags: bool,
    /// The writer, in whatever maintenance retires: that never spans writers unless the policy says so.
    pub writer: bool,
}

impl Default for GroupBy {
    /// restic's: host and paths.
    fn default() -> Self {
        Self {
            host: true,
            paths: true,
            tags: false,
            writer: false,
        }
    }
}

impl FromStr for GroupBy {
    type Err = KeepError;

    /// Reads names with commas between them; the empty text is one group.
    fn from_str(text: &str) -> Result<Self, KeepError> {
        let mut group_by = Self {
            host: false,
            paths: false,
            tags: false,
            writer: false,
        };
        for name in text.split(',') {
            match name {
                "host" | "hosts" => group_by.host = true,
                "path" | "paths" => group_by.paths = true,
                "tag" | "tags" => group_by.tags = true,
                "" => {}
                _ => {
                    return Err(KeepError::Grouping {
                        found: name.to_owned(),
                    });
                }
            }
        }
        Ok(group_by)
    }
}

impl GroupBy {
    /// The group of a snapshot.
    pub(super) fn key(self, candidate: &Candidate) -> GroupKey {
        GroupKey {
            host: self.host.then(|| candidate.host.clone()),
            paths: self.paths.then(|| sorted(&candidate.paths)),
            tags: self.tags.then(|| sorted(&candidate.tags)),
            writer: self.writer.then_some(candidate.writer),
        }
    }
}

/// Names a group; `None` is what snapshots were not grouped by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// The host.
    pub host: Option<Vec<u8>>,
    /// The paths, sorted.
    pub paths: Option<Vec<Vec<u8>>>,
    /// The tags, sorted.
    pub tags: Option<Vec<Vec<u8>>>,
    /// The writer.
    pub writer: Option<WriterId>,
}

fn sorted(names: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_singular_and_plural() {
        let read = |text: &str| text.parse::<GroupBy>();
        assert_eq!(read("host,paths"), Ok(GroupBy::default()));
        assert_eq!(read("hosts,path,"), Ok(GroupBy::default()));
        let one = read("").unwrap();
        assert!(!one.host && !one.paths && !one.tags && !one.writer);
        assert!(read("tag").unwrap().tags);
        assert_eq!(
            read("host,writer").unwrap_err().to_string(),
            "`writer` is nothing to group by; use host, paths and tags, or nothing"
        );
    }
}
