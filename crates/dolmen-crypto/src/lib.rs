//! Keys, seals, signatures and keyed ids
