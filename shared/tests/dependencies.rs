//! The vocabulary stays a vocabulary: whoever takes it takes no runtime and no client along.

use std::process::Command;

#[test]
fn nothing_here_brings_a_runtime_or_a_client_along() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            env!("CARGO_PKG_NAME"),
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p}", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs this test, so it can be run");
    let text = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let packages: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(
        packages.contains(&"kube-core"),
        "this is not the tree that was meant: {text}"
    );
    for unwanted in ["tokio", "hyper", "tower", "kube-client", "kube-runtime"] {
        assert!(!packages.contains(&unwanted), "{unwanted} came in:\n{text}");
    }
}
