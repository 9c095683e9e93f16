//! Tests of the document parser and runner: they find errors in documents.

use super::blocks::{Kind, blocks_of};
use super::shell::{Script, fits, ports_of, run};
use std::time::Duration;

fn error_of(text: &str) -> String {
    let blocks = blocks_of("made_up.md", text).expect("its fences are known");
    run("made_up.md", &blocks[..1], Duration::from_millis(300))
        .err()
        .unwrap_or_default()
}

#[test]
fn an_unknown_fence_is_an_error() {
    for (text, expected) in [
        (
            "a\n```\nb\n```\n",
            "made_up.md:2: no test knows what a ``` block is",
        ),
        (
            "```bash\n```\n",
            "made_up.md:1: no test knows what a ```bash block is",
        ),
        (
            "```sh not run:\n```\n",
            "no test knows what a ```sh not run: block is",
        ),
        ("```sh\n", "made_up.md:1: the fence is never closed"),
    ] {
        let found = blocks_of("made_up.md", text).expect_err(text);
        assert!(found.contains(expected), "{found}");
    }
    let rust = "//! ```sh\n//! true\n//! ```\n\n/// ```\nfn a() {}\n";
    let found = blocks_of("a.rs", rust).expect("only the module comment counts");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].kind, Kind::Commands { runs_on: false });
    assert_eq!(found[0].text, "true\n");
}

#[test]
fn output_is_compared_per_command() {
    let script = Script::of_console("$ a\n1\n$ b \\\n> c\n$ d\n2\n> 3\n");
    let found = format!("{script:?}");
    let expected = "Script { commands: [\"a\", \"b \\\\\\nc\", \"d\"], \
                    shown: [Some(\"1\\n\"), Some(\"\"), Some(\"2\\n> 3\\n\")] }";
    assert_eq!(found, expected);

    for (shown, printed) in [
        ("a\n", "a"),
        ("a...c", "abc"),
        ("...", ""),
        ("...", "a\nb"),
        ("a\n...\nd", "a\nb\nc\nd\n"),
        ("a\n...\nb\n...", "a\nb"),
        ("1...2...3", "1 3 2 3"),
        ("...\n... a\n...", "0 b\n1 a\n"),
    ] {
        assert!(fits(shown, printed), "{shown:?} {printed:?}");
    }
    for (shown, printed) in [
        ("a", "ab"),
        ("a...c", "ab"),
        ("...c", "cb"),
        ("a...b...c", "a c"),
        ("a...d", "a\nd"),
        ("...\nb", "a"),
        ("a\nb", "a"),
    ] {
        assert!(!fits(shown, printed), "{shown:?} {printed:?}");
    }
}

#[test]
fn failed_commands_and_other_output_are_errors() {
    assert_eq!(
        error_of("```console\n$ echo a; echo b\na\nb\n$ true\n```\n"),
        ""
    );
    assert_eq!(
        error_of("```sh\ntest -x scripts/ws.py # is there\n```\n"),
        ""
    );
    let wrong = error_of("```console\n$ echo a\nb\n```\n");
    assert!(
        wrong.starts_with("made_up.md:1: echo a\nprints\na\n\nand not\nb\n"),
        "{wrong}"
    );
    let failed = error_of("```sh\nfalse\ntrue\n```\n");
    assert!(
        failed.starts_with("made_up.md:1: ends with Some(1)"),
        "{failed}"
    );
    let silent = error_of("```console goes on\n$ sleep 1000\nready\n```\n");
    assert!(
        silent.starts_with("made_up.md:1: sleep 1000\nprints"),
        "{silent}"
    );
}

#[test]
fn ports_are_those_of_loopback_addresses() {
    let text = "http://127.0.0.1:80/ localhost:8080 (\"127.0.0.1\", 9000) 10.0.0.1:1 127.0.0.1:x";
    let ports: Vec<u16> = ports_of(text).into_iter().map(|(_, port)| port).collect();
    assert_eq!(ports, [80, 8080, 9000]);
}
