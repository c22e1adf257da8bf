//! The program on buckets of a real server.

mod faults;
mod machine;
mod promises;
#[path = "../../../dolmen-s3/tests/support/proxy.rs"]
mod proxy;
#[path = "../../../dolmen-s3/tests/support/seaweed.rs"]
mod seaweed;
mod setup;
#[expect(dead_code, reason = "the tests of folders use more of it")]
#[path = "../cli/world.rs"]
mod world;
mod wrecked;
