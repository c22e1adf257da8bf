//! The top of the tree: which names of which places stand there, and what they are called.

use super::place::{Place, Root};
use super::roots::RootNode;
use super::scan::{Contents, Listing, Source, Task};
use crate::directory::{Directory, LIST, PASS};
use crate::error::FsError;
use crate::key::{self, PathKey};
use crate::metadata::{Links, Metadata, stat};
use crate::names::{Names, NamesBuilder};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The roots of one place.
pub(super) struct Top<'r> {
    place: &'r Place,
    roots: RootNode,
}

/// A place that could be opened.
pub(super) struct OpenTop<'r> {
    top: &'r Top<'r>,
    directory: Arc<Directory>,
    contents: Contents,
    device: u64,
    mount: u64,
}

/// Some of a place's names that are neighbours in the tree.
pub(super) struct Run<'r> {
    top: &'r OpenTop<'r>,
    renamed: Option<Renamed>,
}

/// The only file of a run, which has another name in the tree.
struct Renamed {
    name_bytes: usize,
    tree_name: Box<[u8]>,
}

impl<'r> Top<'r> {
    /// Sorts the roots by their places, in the order in which these appear.
    pub(super) fn all(roots: &'r [Root]) -> Vec<Self> {
        let mut tops: Vec<(&Place, Vec<&PathKey>)> = Vec::new();
        for root in roots {
            match tops.iter_mut().find(|(place, _)| *place == &*root.place) {
                Some((_, keys)) => keys.push(&root.key),
                None => tops.push((&root.place, vec![&root.key])),
            }
        }
        let top = |(place, keys): (_, Vec<_>)| Self {
            place,
            roots: RootNode::new(keys),
        };
        tops.into_iter().map(top).collect()
    }

    /// The absolute path.
    pub(super) fn path(&self) -> Vec<u8> {
        let path = self.place.path().to_bytes();
        if path.is_empty() { b"/" } else { path }.to_vec()
    }

    pub(super) fn open(&'r self) -> Result<OpenTop<'r>, FsError> {
        let (contents, how) = if self.roots.is_root {
            (Contents::All, LIST)
        } else {
            (Contents::Roots, PASS)
        };
        let directory = Directory::open_named(self.place.opened(), self.place.path(), how)?;
        let statx = stat(&*directory.fd()?, c".", Links::Keep)?;
        Ok(OpenTop {
            top: self,
            directory,
            contents,
            device: Metadata::from_statx(&statx)?.device,
            mount: statx.stx_mnt_id,
        })
    }
}

/// What is to be walked, in the order of the tree.
///
/// The names of a run are there when they had to be known beforehand; else they are still to be listed. Directories that
/// could not be listed are told with the reason.
pub(super) struct Plan<'r> {
    pub(super) runs: Vec<Run<'r>>,
    pub(super) names: Vec<Option<Names>>,
    pub(super) failed: Vec<(Vec<u8>, FsError)>,
}

impl<'r> Plan<'r> {
    /// Decides what stands at the top.
    pub(super) fn new(tops: &'r [OpenTop<'r>], roots: &[Root]) -> Self {
        if let [top] = tops {
            // Nothing can collide: the names are read when they are needed.
            return Self {
                runs: vec![Run { top, renamed: None }],
                names: vec![None],
                failed: Vec::new(),
            };
        }
        let mut failed = Vec::new();
        let listings: Vec<Names> = tops.iter().map(|top| top.list(&mut failed)).collect();
        let mut claims = Claims::default();
        for root in roots {
            let place = tops
                .iter()
                .zip(&listings)
                .enumerate()
                .find(|(_, (top, _))| top.top.place == &*root.place);
            // A place that could not be opened has been told of.
            let Some((number, (_, listing))) = place else {
                continue;
            };
            match root.key.components().next() {
                Some(name) => claims.claim(number, name),
                None => listing.iter().for_each(|name| claims.claim(number, name)),
            }
        }
        let (runs, names) = claims.into_runs(tops, &mut failed);
        Self {
            runs,
            names,
            failed,
        }
    }
}

/// Who has which name at the top.
#[derive(Default)]
struct Claims<'n> {
    /// By the name in the tree, the number of the place and the name there.
    taken: BTreeMap<Vec<u8>, (usize, &'n [u8])>,
    known: BTreeSet<(usize, &'n [u8])>,
}

impl<'n> Claims<'n> {
    /// Finds a name for a place's file, the same for the same file.
    ///
    /// As restic does it, but for one thing: there a number that makes the name of another file of the same place
    /// silently replaces that file.
    fn claim(&mut self, place: usize, name: &'n [u8]) {
        if !self.known.insert((place, name)) {
            return;
        }
        let mut tree_name = name.to_vec();
        let mut number = 0_usize;
        while self.taken.contains_key(&tree_name) {
            number = number.saturating_add(1);
            tree_name = [name, format!("-{number}").as_bytes()].concat();
        }
        self.taken.insert(tree_name, (place, name));
    }

    /// Makes runs of neighbours that lie in the same place and keep their names.
    fn into_runs<'r>(
        self,
        tops: &'r [OpenTop<'r>],
        failed: &mut Vec<(Vec<u8>, FsError)>,
    ) -> (Vec<Run<'r>>, Vec<Option<Names>>) {
        let mut runs: Vec<(usize, Option<Renamed>, NamesBuilder)> = Vec::new();
        for (tree_name, (place, name)) in self.taken {
            let renamed = (tree_name != name).then(|| Renamed {
                name_bytes: name.len(),
                tree_name: tree_name.into(),
            });
            let added = match runs.last_mut() {
                Some((last, None, names)) if *last == place && renamed.is_none() => names.add(name),
                _ => {
                    let mut names = NamesBuilder::default();
                    let added = names.add(name);
                    runs.push((place, renamed, names));
                    added
                }
            };
            if let (Err(error), Some(top)) = (added, tops.get(place)) {
                failed.push((top.top.path(), error));
            }
        }
        let runs = runs.into_iter().filter_map(|(place, renamed, names)| {
            let top = tops.get(place)?;
            Some((Run { top, renamed }, Some(names.sorted())))
        });
        runs.unzip()
    }
}

impl OpenTop<'_> {
    /// The names of a place all of whose contents are walked.
    fn list(&self, failed: &mut Vec<(Vec<u8>, FsError)>) -> Names {
        if self.contents == Contents::Roots {
            return Names::default();
        }
        let (names, failure) = match self.directory.fd() {
            Ok(fd) => Names::read(&*fd, &mut Vec::new()),
            Err(error) => (NamesBuilder::default(), Some(error)),
        };
        failed.extend(failure.map(|error| (self.top.path(), error)));
        names.sorted()
    }
}

impl Run<'_> {
    /// The work that it is.
    pub(super) fn task(&self, names: Option<Names>) -> Task<'_> {
        let source = Source {
            directory: Arc::clone(&self.top.directory),
            contents: self.top.contents,
            roots: Some(&self.top.top.roots),
            device: self.top.device,
            mount: self.top.mount,
            run: self,
        };
        match names {
            None => Task::Open(source),
            Some(names) => Task::Continue {
                listing: Arc::new(Listing::partial(source, names)),
                start: 0,
            },
        }
    }

    /// What the only file of the run is called in the tree, if that is not its name.
    pub(super) fn tree_name(&self) -> Option<&[u8]> {
        self.renamed.as_ref().map(|renamed| &*renamed.tree_name)
    }

    /// The key bytes in the tree of a directory of this run, by its absolute path.
    pub(super) fn key_bytes(&self, path: &[u8]) -> Vec<u8> {
        let place_bytes = self.top.top.place.path().to_bytes().len();
        let below = path
            .get(place_bytes.saturating_add(1)..)
            .unwrap_or_default();
        let mut bytes = Vec::with_capacity(below.len());
        let kept = match &self.renamed {
            Some(renamed) if !below.is_empty() => {
                key::push(&mut bytes, &renamed.tree_name);
                below.get(renamed.name_bytes..).unwrap_or_default()
            }
            Some(_) | None => below,
        };
        bytes.extend(kept.iter().map(|&byte| if byte == b'/' { 0 } else { byte }));
        bytes
    }
}
