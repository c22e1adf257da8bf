//! Damage to every kind of object: check finds it, the rest can be read, the next backup knows what to do.

mod repair;
mod tamper;
mod world;
