//! Ledger records: signed facts about the repository (§10).

use minicbor::data::Type;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::error::FormatError;
use crate::ids::{InstanceId, Nonce, ObjectId, PackId, WriterId};
use crate::index::PackEntry;
use crate::limits::{CLASSES_MAX, PACK_FRAMES_MAX, STORE_IDENTITY_BYTES_MAX};
use crate::prologue::ObjectKind;
use crate::signed::{Reference, SignedBody, Stamp, check_count, check_stamp, decode_items};
use crate::time::Timestamp;

/// A signed fact.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Record {
    /// Who, and which.
    #[n(0)]
    pub stamp: Stamp,
    /// When, by the signer's clock.
    #[n(1)]
    pub time: Timestamp,
    /// Random.
    #[n(2)]
    pub nonce: Nonce,
    /// The signer's certificate; `None` for the admin.
    #[n(3)]
    pub certificate: Option<ObjectId>,
    /// What it says.
    #[n(4)]
    pub fact: Fact,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// How the repository is kept.
    Policy(Policy),
    /// These snapshots' lives have ended.
    Retirement {
        /// The snapshots.
        snapshots: Vec<Reference>,
        /// The policy that asked for it; `None` when a person did.
        policy: Option<Reference>,
    },
    /// A retirement is taken back for these snapshots.
    Undo {
        /// The retirement.
        retirement: Reference,
        /// The snapshots that live again.
        snapshots: Vec<Reference>,
    },
    /// A signer is not trusted beyond these cuts.
    Revocation {
        /// The signer.
        writer: WriterId,
        /// Its last trusted object in each instance.
        cuts: Vec<Cut>,
    },
    /// These packs were read in full and hold what they say.
    Attestation {
        /// The packs.
        packs: Vec<PackId>,
    },
    /// These objects were received at these times.
    Witness {
        /// Object and time of receipt.
        receipts: Vec<Receipt>,
    },
    /// Frames also lie in another pack now.
    Moves {
        /// The pack that was written, as a segment would state it; it lies under the signer's name.
        pack: PackEntry,
        /// Runs of frames.
        runs: Vec<MoveRun>,
    },
    /// These snapshots are as they should be, however suspicious they look.
    Acceptance {
        /// The snapshots.
        snapshots: Vec<Reference>,
    },
    /// A store was tried out, and kept what a strategy relies on.
    Probe(Probe),
}

/// How a repository is kept.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Policy {
    /// L: the protection period in seconds.
    #[n(0)]
    pub protect_seconds: u64,
    /// G: the generation in seconds.
    #[n(1)]
    pub generation_seconds: u64,
    /// I: the promised maintenance interval in seconds.
    #[n(2)]
    pub interval_seconds: u64,
    /// The lock strategy.
    #[n(3)]
    pub lock: LockStrategy,
    /// What maintenance keeps.
    #[n(4)]
    pub keep: Keep,
    /// Longer protection for what is kept longer.
    #[cbor(n(5), decode_with = "decode_items")]
    pub classes: Vec<Class>,
    /// The record of the policy that this one supersedes; `None`: the root's. Numbers of two instances of the admin
    /// cannot be compared: what counts is the length of this chain.
    #[n(6)]
    pub previous: Option<ObjectId>,
}

/// How snapshots are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum LockStrategy {
    /// Not at all: damage is found, not prevented.
    #[n(0)]
    None,
    /// Object Lock that nobody can shorten.
    #[n(1)]
    Compliance,
    /// Object Lock that a special right can shorten.
    #[n(2)]
    Governance,
    /// Legal holds.
    #[n(3)]
    Hold,
    /// Clients that can hide but not delete.
    #[n(4)]
    Hide,
    /// Linux's immutable flag, set by a guard.
    #[n(5)]
    Attribute,
}

/// A store that was tried out, and how it was then.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Probe {
    /// The store, named as snapshots name theirs. On any other one, a copy, this says nothing.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub store: Vec<u8>,
    /// The strategy that it was tried out for.
    #[n(1)]
    pub lock: LockStrategy,
    /// The lock that its bucket gave to what was put without one; `None`: none, or it was not told.
    #[n(2)]
    pub default_retention: Option<DefaultRetention>,
}

/// The lock that a bucket gives to what is put without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct DefaultRetention {
    /// Compliance or governance.
    #[n(0)]
    pub lock: LockStrategy,
    /// For how many days.
    #[n(1)]
    pub days: u32,
}

/// Keep rules; 0 is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(array)]
#[expect(missing_docs, reason = "restic's own names; docs/format.md lists them")]
pub struct Keep {
    #[n(0)]
    pub last: u32,
    #[n(1)]
    pub hourly: u32,
    #[n(2)]
    pub daily: u32,
    #[n(3)]
    pub weekly: u32,
    #[n(4)]
    pub monthly: u32,
    #[n(5)]
    pub yearly: u32,
}

/// Longer protection for one keep rule.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Class {
    /// The keep rule: `monthly` and so on.
    #[n(0)]
    pub rule: String,
    /// Its protection period in seconds.
    #[n(1)]
    pub protect_seconds: u64,
}

/// The last trusted object of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Cut {
    /// The instance.
    #[n(0)]
    pub instance: InstanceId,
    /// The number.
    #[n(1)]
    pub number: u64,
    /// The object.
    #[n(2)]
    pub digest: ObjectId,
}

/// When an object was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Receipt {
    /// The object.
    #[n(0)]
    pub object: ObjectId,
    /// The store's time.
    #[n(1)]
    pub received: Timestamp,
}

/// A run of frames that moved together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct MoveRun {
    /// Where they were written.
    #[n(0)]
    pub origin: PackId,
    /// The first one's ordinal there.
    #[n(1)]
    pub first_ordinal: u32,
    /// How many.
    #[n(2)]
    pub count: u32,
    /// The first one's position in the new pack's table.
    #[n(3)]
    pub position: u32,
}

impl SignedBody for Record {
    const KIND: ObjectKind = ObjectKind::Ledger;

    fn validate(&self) -> Result<(), FormatError> {
        check_stamp(&self.stamp)?;
        match &self.fact {
            Fact::Policy(policy) => policy.validate(),
            Fact::Moves { pack, runs } => {
                pack.validate()?;
                runs.iter().try_for_each(MoveRun::validate)
            }
            Fact::Probe(probe) => probe.validate(),
            Fact::Retirement { .. }
            | Fact::Undo { .. }
            | Fact::Revocation { .. }
            | Fact::Attestation { .. }
            | Fact::Witness { .. }
            | Fact::Acceptance { .. } => Ok(()),
        }
    }
}

impl Policy {
    pub(crate) fn validate(&self) -> Result<(), FormatError> {
        check_count("classes", self.classes.len(), CLASSES_MAX)
    }
}

impl Probe {
    fn validate(&self) -> Result<(), FormatError> {
        check_count("store identity", self.store.len(), STORE_IDENTITY_BYTES_MAX)?;
        let retention = self.default_retention.map(|retention| retention.lock);
        match retention {
            None | Some(LockStrategy::Compliance | LockStrategy::Governance) => Ok(()),
            Some(
                LockStrategy::None
                | LockStrategy::Hold
                | LockStrategy::Hide
                | LockStrategy::Attribute,
            ) => Err(FormatError::Invalid {
                field: "default retention",
            }),
        }
    }
}

impl MoveRun {
    /// A run lies within what a pack can hold, in the old pack and in the new one.
    fn validate(&self) -> Result<(), FormatError> {
        let fits = |first: u32| {
            let end = u64::from(first).saturating_add(u64::from(self.count));
            usize::try_from(end).is_ok_and(|end| end <= PACK_FRAMES_MAX)
        };
        if self.count > 0 && fits(self.first_ordinal) && fits(self.position) {
            Ok(())
        } else {
            Err(FormatError::Invalid { field: "moves" })
        }
    }
}

impl<C> Encode<C> for Fact {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        match self {
            Self::Policy(policy) => e.array(2)?.u8(1)?.encode_with(policy, ctx)?.ok(),
            Self::Retirement { snapshots, policy } => e
                .array(3)?
                .u8(2)?
                .encode_with(snapshots, ctx)?
                .encode_with(policy, ctx)?
                .ok(),
            Self::Undo {
                retirement,
                snapshots,
            } => e
                .array(3)?
                .u8(3)?
                .encode_with(retirement, ctx)?
                .encode_with(snapshots, ctx)?
                .ok(),
            Self::Revocation { writer, cuts } => e
                .array(3)?
                .u8(4)?
                .encode_with(writer, ctx)?
                .encode_with(cuts, ctx)?
                .ok(),
            Self::Attestation { packs } => e.array(2)?.u8(5)?.encode_with(packs, ctx)?.ok(),
            Self::Witness { receipts } => e.array(2)?.u8(6)?.encode_with(receipts, ctx)?.ok(),
            Self::Moves { pack, runs } => e
                .array(3)?
                .u8(7)?
                .encode_with(pack, ctx)?
                .encode_with(runs, ctx)?
                .ok(),
            Self::Acceptance { snapshots } => e.array(2)?.u8(8)?.encode_with(snapshots, ctx)?.ok(),
            Self::Probe(probe) => e.array(2)?.u8(9)?.encode_with(probe, ctx)?.ok(),
        }
    }
}

impl<'b, C> Decode<'b, C> for Fact {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        // The length of the array is checked when the record is encoded again.
        if d.datatype()? != Type::Array {
            return Err(decode::Error::type_mismatch(d.datatype()?));
        }
        d.array()?;
        match d.u8()? {
            1 => Ok(Self::Policy(d.decode_with(ctx)?)),
            2 => Ok(Self::Retirement {
                snapshots: d.decode_with(ctx)?,
                policy: d.decode_with(ctx)?,
            }),
            3 => Ok(Self::Undo {
                retirement: d.decode_with(ctx)?,
                snapshots: d.decode_with(ctx)?,
            }),
            4 => Ok(Self::Revocation {
                writer: d.decode_with(ctx)?,
                cuts: d.decode_with(ctx)?,
            }),
            5 => Ok(Self::Attestation {
                packs: d.decode_with(ctx)?,
            }),
            6 => Ok(Self::Witness {
                receipts: d.decode_with(ctx)?,
            }),
            7 => Ok(Self::Moves {
                pack: d.decode_with(ctx)?,
                runs: d.decode_with(ctx)?,
            }),
            8 => Ok(Self::Acceptance {
                snapshots: d.decode_with(ctx)?,
            }),
            9 => Ok(Self::Probe(d.decode_with(ctx)?)),
            code => Err(decode::Error::custom(FormatError::Unknown {
                field: "type of fact",
                found: u64::from(code),
            })),
        }
    }
}
