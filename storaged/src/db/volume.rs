//! The data directory and the volume that it is on: who owns it, how much fits, and whether what is in it is sound.

pub(crate) mod damage;
pub(crate) mod directory;
pub(crate) mod disk_space;
pub(crate) mod generation;
pub(crate) mod replacement;
