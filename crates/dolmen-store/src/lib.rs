//! Where objects lie: the store trait, its backends and their contract
