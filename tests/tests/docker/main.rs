//! The relay under Docker Compose, with a real engine and the images of `deploy/docker/build.sh`:
//! `cargo test --test docker -- --ignored`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod doctor;
mod kernel;
mod neighbours;
mod policy;
mod promises;
mod replacing;
mod runbooks;
mod variables;
