//! Generates the message types, and with the `grpc` feature the services.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = ["config", "limit", "resource", "route", "trace"]
        .map(|name| format!("opentracy/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=opentracy/v1");
    let descriptors = protox::compile(protos, ["."])?;
    let grpc = std::env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .build_client(grpc)
        .build_server(grpc)
        .compile_fds(descriptors)?;
    Ok(())
}
