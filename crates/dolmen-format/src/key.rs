//! Where an object lies: the layout of a repository (§1).

use core::fmt;
use core::str::FromStr;

use crate::error::FormatError;
use crate::ids::{ObjectId, WriterId};

/// The key of an object. A name in a listing that does not parse as one is foreign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// `root/<id>`
    Root(ObjectId),
    /// `keys/<id>`: a certificate or a bundle.
    Key(ObjectId),
    /// `packs/<writer>/<aa>/<id>`
    Pack(WriterId, ObjectId),
    /// `index/<writer>/<id>`
    Index(WriterId, ObjectId),
    /// `snapshots/<writer>/<id>`
    Snapshot(WriterId, ObjectId),
    /// `ledger/<signer>/<id>`
    Ledger(WriterId, ObjectId),
    /// `canary/<id>`
    Canary(ObjectId),
}

/// The folders that hold objects. What lies beside them in a store is none of Dolmen's.
pub const FOLDERS: [&str; 7] = [
    "root",
    "keys",
    "packs",
    "index",
    "snapshots",
    "ledger",
    "canary",
];

impl ObjectKey {
    /// The id at the end of the key.
    pub const fn id(&self) -> ObjectId {
        match self {
            Self::Root(id)
            | Self::Key(id)
            | Self::Pack(_, id)
            | Self::Index(_, id)
            | Self::Snapshot(_, id)
            | Self::Ledger(_, id)
            | Self::Canary(id) => *id,
        }
    }

    /// The writer under whose name the object lies.
    pub const fn writer(&self) -> Option<WriterId> {
        match self {
            Self::Pack(writer, _)
            | Self::Index(writer, _)
            | Self::Snapshot(writer, _)
            | Self::Ledger(writer, _) => Some(*writer),
            Self::Root(_) | Self::Key(_) | Self::Canary(_) => None,
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(id) => write!(f, "root/{id}"),
            Self::Key(id) => write!(f, "keys/{id}"),
            Self::Pack(writer, id) => write!(f, "packs/{writer}/{:02x}/{id}", id.0[0]),
            Self::Index(writer, id) => write!(f, "index/{writer}/{id}"),
            Self::Snapshot(writer, id) => write!(f, "snapshots/{writer}/{id}"),
            Self::Ledger(signer, id) => write!(f, "ledger/{signer}/{id}"),
            Self::Canary(id) => write!(f, "canary/{id}"),
        }
    }
}

impl FromStr for ObjectKey {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        let invalid = || FormatError::Invalid {
            field: "object key",
        };
        let mut parts = name.split('/');
        let mut next = || parts.next().ok_or_else(invalid);
        let key = match next()? {
            "root" => Self::Root(next()?.parse()?),
            "keys" => Self::Key(next()?.parse()?),
            "canary" => Self::Canary(next()?.parse()?),
            "packs" => {
                let (writer, _fan) = (next()?.parse()?, next()?);
                Self::Pack(writer, next()?.parse()?)
            }
            "index" => Self::Index(next()?.parse()?, next()?.parse()?),
            "snapshots" => Self::Snapshot(next()?.parse()?, next()?.parse()?),
            "ledger" => Self::Ledger(next()?.parse()?, next()?.parse()?),
            _ => return Err(invalid()),
        };
        // The fan-out digits and the end are right when the key spells the same again.
        if key.to_string() == name {
            Ok(key)
        } else {
            Err(invalid())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_parse_to_what_they_print() {
        let (writer, id) = (WriterId([1; 16]), ObjectId([0xfe; 32]));
        for key in [
            ObjectKey::Root(id),
            ObjectKey::Key(id),
            ObjectKey::Pack(writer, id),
            ObjectKey::Index(writer, id),
            ObjectKey::Snapshot(writer, id),
            ObjectKey::Ledger(writer, id),
            ObjectKey::Canary(id),
        ] {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        let wrong_fan = format!("packs/{writer}/00/{id}");
        assert!(wrong_fan.parse::<ObjectKey>().is_err());
        assert!(format!("root/{id}/x").parse::<ObjectKey>().is_err());
        assert!("".parse::<ObjectKey>().is_err());
    }
}
