//! The store against a real server.

#[cfg(test)]
mod bucket;
#[cfg(test)]
mod buckets;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod locks;
#[cfg(test)]
mod options;
#[cfg(test)]
#[expect(dead_code, reason = "the tests of the program use more of it")]
#[path = "../support/proxy.rs"]
mod proxy;
#[cfg(test)]
#[path = "../support/seaweed.rs"]
mod seaweed;
#[cfg(test)]
mod strict;
