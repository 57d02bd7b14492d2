//! Compiles the `.proto` files with `protox`, so that nobody needs a `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let services = [
        "refusal",
        "caller",
        "mailbox",
        "recovery",
        "exchange",
        "guardian",
        "escrow",
        "keys",
        "admission",
        "offload",
        "recall",
        "telemetry",
        "admin",
    ];
    let mut files: Vec<String> =
        services.iter().map(|service| format!("relay/storage/v1/{service}.proto")).collect();
    files.push("relay/federation/v1/peer.proto".to_owned());
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
