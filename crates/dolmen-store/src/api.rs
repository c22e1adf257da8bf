//! Whose words a store speaks: who asks which rights, and what a request costs.

use crate::error::Operation;

/// Whose names for rights, and whose prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// Amazon's S3 and what copies it.
    S3,
    /// Backblaze B2's own.
    B2,
}

impl Api {
    /// Returns the class in which one request is billed; one page of a listing is a request.
    ///
    /// That S3 bills a change of retention as a put is assumed: no price list says so. A lock on B2 is read from a
    /// listing, which asks for no right to read bodies.
    pub const fn price_class(self, operation: Operation) -> PriceClass {
        match (self, operation) {
            (Self::S3, Operation::Hide | Operation::DeleteVersion) => PriceClass::Free,
            (
                _,
                Operation::Put
                | Operation::Extend
                | Operation::Hold
                | Operation::Hide
                | Operation::DeleteVersion
                | Operation::SetAside,
            )
            | (
                Self::S3,
                Operation::ListVersions
                | Operation::Open
                | Operation::Create
                | Operation::Configure,
            ) => PriceClass::A,
            (_, Operation::Get | Operation::Now) | (Self::S3, Operation::LockOf) => PriceClass::B,
            (
                Self::B2,
                Operation::ListVersions
                | Operation::LockOf
                | Operation::Open
                | Operation::Create
                | Operation::Configure,
            ) => PriceClass::C,
        }
    }
}

/// A row of a store's price list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PriceClass {
    /// On S3 puts, copies, listings and changes of retention, the dear ones. On B2 uploads, hides, deletes and changes of
    /// retention, which cost nothing.
    A,
    /// Downloads and questions about one object.
    B,
    /// On B2 listings, copies and settings. S3 has no such class.
    C,
    /// Never billed.
    Free,
}

#[cfg(test)]
mod tests {
    use PriceClass::{A, B, C, Free};

    use super::*;

    #[test]
    fn renewing_is_dear_on_s3_and_listing_on_b2() {
        let classes = |api: Api| {
            [
                Operation::Put,
                Operation::Get,
                Operation::ListVersions,
                Operation::LockOf,
                Operation::Extend,
                Operation::Hide,
                Operation::DeleteVersion,
            ]
            .map(|operation| api.price_class(operation))
        };
        assert_eq!(classes(Api::S3), [A, B, A, B, A, Free, Free]);
        assert_eq!(classes(Api::B2), [A, B, C, C, A, A, A]);
    }
}
