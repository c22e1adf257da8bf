//! Restores as a whole: what comes back, what stays, what is lost with what is damaged.

mod damage;
mod overwrite;
mod round_trip;
mod select;
mod sparse;
mod stop;
mod world;
