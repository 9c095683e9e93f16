//! Tests of every example, started and used as its documentation describes.
//!
//! The clients are tungstenite and plain TCP. Messages that docs/dialects/README.md, "Documented
//! samples" gives byte for byte are compared exactly, except names that the original generates.

mod process;

mod originals;
mod patterns;

use process::executable;
use std::path::Path;
use std::process::Command;

/// Every example and its default address.
const EXAMPLES: [(&str, &str); 10] = [
    ("chat", "127.0.0.1:8080"),
    ("easyws", "127.0.0.1:8080"),
    ("edk", "127.0.0.1:8080"),
    ("game", "127.0.0.1:8080"),
    ("live_data", "127.0.0.1:8080"),
    ("notifications", "127.0.0.1:8080"),
    ("projectforge", "127.0.0.1:40000"),
    ("publisher", "127.0.0.1:8080"),
    ("wserver", "127.0.0.1:12345"),
    ("wsrv", "127.0.0.1:8800"),
];

#[test]
fn every_example_is_listed_and_documents_its_address() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = std::fs::read_dir(folder).expect("the examples are there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .map(|path| path.file_stem().expect("a file").to_string_lossy().into())
        .collect();
    names.sort();
    assert_eq!(names, EXAMPLES.map(|(name, _)| name));

    for (name, address) in EXAMPLES {
        let help = Command::new(executable(name)).arg("--help").output();
        let help = help.expect("the example can be executed").stdout;
        let help = String::from_utf8(help).expect("help is text");
        let line = format!("--listen <LISTEN>      Address to listen on [default: {address}]");
        let words =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        let (help, line) = (words(&help).join(" "), words(&line).join(" "));
        assert!(help.contains(&line), "{name}: {help}");
    }
}
