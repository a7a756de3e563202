//! Generates the services from the .proto files without an installed protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "goim/protocol.proto",
        "goim/comet.proto",
        "goim/logic.proto",
        "halley/delivery.proto",
        "halley/node.proto",
        "halley/push_log.proto",
    ];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        // goim's method is named Connect, which collides with the constructor
        // that the transport feature generates.
        .build_transport(false)
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
