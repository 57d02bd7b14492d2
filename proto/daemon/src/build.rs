//! What this binary was built from.

/// Version of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit, or `unknown`.
pub const SHA: &str = env!("RELAY_BUILD_SHA");
/// Branch or tag, or `unknown`.
pub const REF: &str = env!("RELAY_BUILD_REF");
/// Time of the commit, or `unknown`.
pub const TIME: &str = env!("RELAY_BUILD_TIME");

/// The body of `/build-info`.
pub(crate) fn json() -> serde_json::Value {
    serde_json::json!({ "version": VERSION, "sha": SHA, "ref": REF, "built_at": TIME })
}
