//! The CRDs of others that our objects belong to, on the cluster of a test.

use std::process::Command;

/// Installs them, and waits until the API server knows and describes them.
pub fn install() {
    let folder = run(&mut Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/definitions")));
    run(Command::new("kubectl").args(["apply", "--server-side", "--filename", folder.trim()]));
    run(Command::new("kubectl").args([
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "--filename",
        folder.trim(),
    ]));
    // The description follows later, and tells no one.
    let described = ["com.coreos.monitoring", "io.argoproj", "io.fluxcd.toolkit"];
    loop {
        let text = run(Command::new("kubectl").args(["get", "--raw", "/openapi/v2"]));
        if described.iter().all(|group| text.contains(group)) {
            return;
        }
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
