//! How messages travel: bounded before they are decoded, read field by field, and refused in one vocabulary.

pub(crate) mod bounds;
pub(crate) mod codec;
pub mod field;
mod status;
mod storage_error;

pub use status::refusal_of;
pub use storage_error::StorageError;
