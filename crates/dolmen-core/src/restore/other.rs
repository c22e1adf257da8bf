//! Symbolic links, pipes and devices.

use std::sync::Arc;

use dolmen_format::tree::{Device, NodeKind};
use dolmen_fs::{FsError, Node, PathKey, Replace, Target};

use super::Action;
use super::entry::{Linked, Meta};
use super::session::Session;

/// Something that is neither directory nor regular file.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) key: PathKey,
    pub(super) meta: Meta,
    pub(super) what: What,
    pub(super) replace: Replace,
    pub(super) linked: Option<Arc<Linked>>,
}

/// See [`Other`].
#[derive(Debug)]
pub(super) enum What {
    Symlink(Vec<u8>),
    Node(Node),
}

impl What {
    /// `None` for directories and regular files.
    pub(super) fn new(kind: NodeKind) -> Option<Self> {
        Some(match kind {
            NodeKind::Directory | NodeKind::File(_) => return None,
            NodeKind::Symlink(target) => Self::Symlink(target),
            NodeKind::Fifo => Self::Node(Node::Fifo),
            NodeKind::CharDevice(Device { major, minor }) => {
                Self::Node(Node::CharDevice { major, minor })
            }
            NodeKind::BlockDevice(Device { major, minor }) => {
                Self::Node(Node::BlockDevice { major, minor })
            }
        })
    }
}

impl Other {
    /// Makes it and says so.
    pub(super) fn make(&self, session: &Session<'_>) {
        let made = session
            .place
            .writable()
            .map_or(Ok(()), |target| self.make_in(session, target));
        match made {
            Ok(()) => {
                if let Some(linked) = &self.linked {
                    linked.set_whole();
                }
                session.done(&self.key, Action::Restored, 0, 0);
            }
            Err(error) => session.refused(&self.key, error),
        }
    }

    fn make_in(&self, session: &Session<'_>, target: &Target) -> Result<(), FsError> {
        match &self.what {
            What::Symlink(to) => target.symlink(&self.key, to, self.replace)?,
            What::Node(node) => target.make_node(&self.key, *node, self.replace)?,
        }
        let failed = target.apply(&self.key, &self.meta.attributes())?;
        session.attributes_failed(&self.key, &failed);
        Ok(())
    }
}
