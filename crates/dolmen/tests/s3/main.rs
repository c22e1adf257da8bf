//! The program on buckets of a real server.

#[cfg(test)]
mod drill;
#[cfg(test)]
mod duties;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod init;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod kit;
#[cfg(test)]
mod liar;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod options;
#[cfg(test)]
mod planted;
#[cfg(test)]
mod promises;
#[cfg(test)]
#[path = "../../../dolmen-s3/tests/support/proxy.rs"]
mod proxy;
#[cfg(test)]
mod requests;
#[cfg(test)]
#[path = "../../../dolmen-s3/tests/support/seaweed.rs"]
mod seaweed;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod setup;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod traps;
#[cfg(test)]
mod walk;
#[cfg(test)]
mod withheld;
#[cfg(test)]
#[expect(dead_code, reason = "the tests of folders use more of it")]
#[path = "../cli/world.rs"]
mod world;
#[cfg(test)]
mod wrecked;
