//! Checks of project rules that rustfmt and clippy do not cover.
//!
//! Each rule is a small function from a source file to errors. One test applies all rules to every
//! source and script and prints all errors in the form `file:line: text`; another tests each rule
//! with violations.

mod citations;
mod dialects;
mod layers;

use dialects::dialects_have_their_places;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut errors = String::new();

    let texts: Vec<(String, String)> = files(root)
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("sources are readable UTF-8");
            let name = path.strip_prefix(root).expect("under the root");
            (name.display().to_string(), text)
        })
        .collect();
    for (name, text) in &texts {
        let file = Source { name, text };
        let rules = if file.is_rust() { RULES } else { SCRIPT_RULES };
        for rule in rules {
            for (line, complaint) in rule(&file) {
                writeln!(errors, "{name}:{line}: {complaint}").expect("writing to a String");
            }
        }
    }
    let architecture = fs::read_to_string(root.join("ARCHITECTURE.md"));
    for complaint in layers::errors(&texts, &architecture.expect("it is there")) {
        writeln!(errors, "{complaint}").expect("writing to a String");
    }
    for error in citations::errors(root, &texts) {
        writeln!(errors, "{error}").expect("writing to a String");
    }
    for name in dead_files(&texts) {
        writeln!(errors, "{name}:1: no `mod` leads to this file").expect("writing to a String");
    }

    assert!(errors.is_empty(), "\n\n{errors}");
}

#[derive(Clone, Copy)]
struct Source<'a> {
    name: &'a str,
    text: &'a str,
}

type Errors = Vec<(usize, String)>;
type Rule = fn(&Source<'_>) -> Errors;

const RULES: &[Rule] = &[
    starts_with_a_module_comment,
    lines_are_plain,
    pure_layers_stay_pure,
    unsafe_has_its_places,
    dialects_have_their_places,
    publications_take_the_steps,
    stays_small,
    tests_name_no_paths,
];

const SCRIPT_RULES: &[Rule] = &[lines_are_plain, scripts_document_their_usage];

/// Every file begins with a module comment.
fn starts_with_a_module_comment(file: &Source<'_>) -> Errors {
    if file.text.starts_with("//! ") {
        Vec::new()
    } else {
        error("no `//!` comment saying what this file is for")
    }
}

/// Lines are ASCII, have at most 100 columns, no trailing white space and no reminders.
fn lines_are_plain(file: &Source<'_>) -> Errors {
    // Split in halves, so that this file passes the rule.
    let reminders = [
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
        concat!("XX", "X"),
        concat!("dbg", "!"),
    ];

    let mut errors = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let mut error = |what: String| errors.push((index + 1, what));
        if line.len() > COLUMNS_MAX {
            error(format!("{} columns, at most {COLUMNS_MAX}", line.len()));
        }
        if !line.is_ascii() {
            error("not ASCII".to_owned());
        }
        if line.ends_with([' ', '\t']) {
            error("trailing white space".to_owned());
        }
        if let Some(reminder) = reminders.iter().find(|reminder| names(line, reminder)) {
            error(format!("leftover {reminder}"));
        }
    }
    if !file.text.ends_with('\n') {
        errors.push((file.text.lines().count(), "no end of line".to_owned()));
    }
    errors
}

/// Protocols and shard are pure: time, bytes and random numbers are arguments.
fn pure_layers_stay_pure(file: &Source<'_>) -> Errors {
    const PURE: &[&str] = &[
        "src/codec/",
        "src/dialect/",
        "src/shard/",
        "src/vocabulary/",
        "src/ws/",
    ];
    const WORLDLY: &[&str] = &[
        "tokio",
        "hyper",
        "io_uring",
        "rustix",
        "Instant",
        "SystemTime",
        "std::env",
        "std::fs",
        "std::net",
        "std::os",
        "std::process",
        "std::thread",
        "async",
        ".await",
        "unsafe",
        "getrandom",
        "rand",
        "RandomState",
        "thread_local",
    ];

    if !PURE.iter().any(|layer| file.name.starts_with(layer)) {
        return Vec::new();
    }
    code_lines(file.text)
        .flat_map(|(line, code)| {
            WORLDLY
                .iter()
                .filter(|word| names(&code, word))
                .map(|word| (line, format!("`{word}` in a pure layer")))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// `unsafe` is allowed in files of the driver that state the reason, and where a C function or a
/// test's allocator requires it.
fn unsafe_has_its_places(file: &Source<'_>) -> Errors {
    let mut squeezed = String::new();
    for (_, code) in code_lines(file.text) {
        squeezed.extend(code.split_whitespace());
    }
    let says_why = squeezed.contains("[expect(unsafe_code,");
    let allowed = match file.name {
        "src/main.rs" => usize::from(says_why),
        // The floor of the load test has its own ring.
        "tests/allocations.rs" | "loadtest/src/floor/ring.rs" if says_why => usize::MAX,
        name if name.starts_with("src/driver/") && says_why => usize::MAX,
        _ => 0,
    };
    code_lines(file.text)
        .filter(|(_, code)| names(code, "unsafe"))
        .skip(allowed)
        .map(|(line, _)| (line, "`unsafe` outside its places".to_owned()))
        .collect()
}

/// Files and functions have a maximum number of lines.
fn stays_small(file: &Source<'_>) -> Errors {
    if file.name.starts_with("src/") && layers::is_test(file.name) {
        return Vec::new();
    }
    let code = file.text.split("\n#[cfg(test)]\nmod ").next();
    let code = code.expect("split yields at least one part");

    let mut errors = Vec::new();
    let lines = code.lines().count();
    if lines > FILE_LINES_MAX {
        let complaint = format!("{lines} lines before the tests, at most {FILE_LINES_MAX}");
        errors.push((1, complaint));
    }
    for (start, length) in functions(code) {
        if length > FUNCTION_LINES_MAX {
            let complaint = format!("function of {length} lines, at most {FUNCTION_LINES_MAX}");
            errors.push((start, complaint));
        }
    }
    errors
}

/// Modules of tests have no `#[path]`. Shared code is in `tests/support/`.
fn tests_name_no_paths(file: &Source<'_>) -> Errors {
    let is_test = file.name.starts_with("tests/");
    code_lines(file.text)
        .filter(|(_, code)| is_test && code.trim_start().starts_with("#[path"))
        .map(|(line, _)| (line, "a module by path".to_owned()))
        .collect()
}

/// A shell script begins with its usage and stops at the first failure. A Node.js script begins
/// with a comment.
fn scripts_document_their_usage(file: &Source<'_>) -> Errors {
    let extension = Path::new(file.name).extension();
    if extension.is_some_and(|it| it == "mjs") {
        return error_unless(file.text.starts_with("// "), "no comment saying what it is");
    }
    let mut lines = file.text.lines();
    if !lines.next().is_some_and(|line| line.starts_with("#!")) {
        return error("no interpreter line");
    }
    if extension.is_some_and(|it| it == "py") {
        let header = file.text.split("\"\"\"").nth(1).unwrap_or_default();
        return error_unless(header.contains("\nusage: "), "no usage in the docstring");
    }
    let header: Vec<&str> = lines
        .by_ref()
        .take_while(|line| line.starts_with('#'))
        .collect();
    let after = file.text.lines().nth(header.len() + 1);
    let mut errors = error_unless(
        header.iter().any(|line| line.starts_with("# usage: ")),
        "no usage in the header",
    );
    errors.extend(error_unless(
        after == Some("set -euo pipefail"),
        "no `set -euo pipefail` right behind the header",
    ));
    errors
}

/// Only the last step of `publish.rs`, deliver, enqueues a publication.
fn publications_take_the_steps(file: &Source<'_>) -> Errors {
    const PUBLISH: &str = "src/shard/publish.rs";
    const OWN_CHANNELS: &str = "src/shard/own_channels.rs";
    let callers = [
        (".fan_out_on_own_channels(", &[PUBLISH][..]),
        (".fan_out(", &[PUBLISH, OWN_CHANNELS]),
        (".fan_out_to(", &[OWN_CHANNELS]),
    ];
    if !file.name.starts_with("src/") {
        return Errors::new();
    }
    let mut errors = Errors::new();
    for (line, code) in code_lines(file.text) {
        for (call, files) in callers {
            if code.contains(call) && !files.contains(&file.name) {
                errors.push((line, format!("{call}..) is for {}", files.join(" and "))));
            }
        }
    }
    errors
}

/// Returns the files under a `src/` or `tests/` folder that no `mod` includes.
fn dead_files(texts: &[(String, String)]) -> Vec<&str> {
    let mut alive = BTreeSet::new();
    let mut pending: Vec<&str> = texts
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| is_root(name))
        .collect();
    while let Some(name) = pending.pop() {
        if !alive.insert(name) {
            continue;
        }
        let Some((_, text)) = texts.iter().find(|(other, _)| other == name) else {
            continue;
        };
        for wanted in modules(name, text) {
            let found = texts.iter().find(|(other, _)| wanted.contains(other));
            pending.extend(found.map(|(other, _)| other.as_str()));
        }
    }
    texts
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| is_rust(name) && !alive.contains(name))
        .collect()
}

/// Returns `true` if cargo finds the file by itself.
fn is_root(name: &str) -> bool {
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
    match folder {
        "src" | "loadtest/src" | "tests/support/src" => file == "lib.rs" || file == "main.rs",
        "examples" | "tests" | "benches" | "loadtest/tests" => is_rust(name),
        _ => file == "main.rs" && folder.starts_with("tests/"),
    }
}

/// Returns the two possible files of each module that a file declares.
fn modules(name: &str, text: &str) -> Vec<[String; 2]> {
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
    let stem = file.trim_end_matches(".rs");
    let home = if is_root(name) || stem == "mod" {
        folder.to_owned()
    } else {
        format!("{folder}/{stem}")
    };
    let mut path = None;
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            path = rest.split('"').next();
        }
        let declared = line.trim().strip_suffix(';');
        let declared = declared.and_then(|line| line.split_once("mod "));
        let Some((visibility, module)) = declared else {
            continue;
        };
        if visibility.is_empty() || visibility.starts_with("pub") {
            found.push(match path.take() {
                Some(path) => [format!("{folder}/{path}"), String::new()],
                // Within `mod tests { }`.
                None if line.starts_with(' ') => [
                    format!("{home}/tests/{module}.rs"),
                    format!("{home}/tests/{module}/mod.rs"),
                ],
                None => [
                    format!("{home}/{module}.rs"),
                    format!("{home}/{module}/mod.rs"),
                ],
            });
        }
    }
    found
}

/// Returns first line and length of every function that is not nested.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, &str, bool)> = None;
    for (index, line) in text.lines().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        if open.is_none() && begins_function(line) {
            open = Some((index, indent, false));
        }
        let Some((start, outer, has_body)) = &mut open else {
            continue;
        };
        if indent != *outer {
            continue;
        }
        if !*has_body {
            *has_body = line.ends_with('{');
            if line.ends_with(';') || line.ends_with('}') {
                open = None;
            }
        } else if line.trim_start().starts_with('}') {
            found.push((*start + 1, index - *start + 1));
            open = None;
        }
    }
    found
}

fn begins_function(line: &str) -> bool {
    let is_modifier = |word: &str| {
        word.starts_with("pub") || ["const", "async", "unsafe", "default"].contains(&word)
    };
    let code = code_of(line);
    let mut words = code.split_whitespace();
    words.find(|word| !is_modifier(word)) == Some("fn")
}

/// Returns `true` if code has this word as a whole identifier.
fn names(code: &str, word: &str) -> bool {
    let is_part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    code.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|at| code.as_bytes().get(at));
        let after = code.as_bytes().get(at + word.len());
        (word.starts_with('.') || !is_part(before)) && !is_part(after)
    })
}

/// Returns numbered lines without comments and without the contents of strings.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, String)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, code_of(line)))
}

fn code_of(line: &str) -> String {
    let mut code = String::new();
    let (mut quoted, mut escaped) = (false, false);
    for (at, letter) in line.char_indices() {
        if quoted {
            quoted = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
        } else if line[at..].starts_with("//") {
            break;
        } else {
            // A quote in a character literal begins no string.
            quoted = letter == '"' && !line[..at].ends_with('\'');
            code.push(letter);
        }
    }
    code
}

impl Source<'_> {
    fn is_rust(&self) -> bool {
        is_rust(self.name)
    }
}

fn is_rust(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|it| it == "rs")
}

fn error(what: &str) -> Errors {
    vec![(1, what.to_owned())]
}

fn error_unless(fine: bool, what: &str) -> Errors {
    if fine { Vec::new() } else { error(what) }
}

/// Returns the paths of all sources and scripts.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let folders = ["src", "examples", "tests", "benches", "loadtest", "scripts"];
    let mut pending: Vec<PathBuf> = folders.map(|folder| root.join(folder)).into();
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).expect("the folders are there") {
            let path = entry.expect("a readable folder").path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() {
                if !path.ends_with("target") && !path.ends_with("node_modules") {
                    pending.push(path);
                }
            } else if let Some("rs" | "sh" | "py" | "mjs") = extension {
                found.push(path);
            } else if path.parent().is_some_and(|it| it.ends_with("scripts")) {
                panic!("{} is neither a shell nor a Python script", path.display());
            }
        }
    }
    found.sort();
    assert!(found.len() > 1);
    found
}

const COLUMNS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Asserts that a rule finds violations on these lines.
#[track_caller]
fn check(rule: Rule, name: &str, text: &str, lines: &[usize]) {
    let found = rule(&Source { name, text });
    let found: Vec<usize> = found.into_iter().map(|(line, _)| line).collect();
    assert_eq!(found, lines, "{name}: {text}");
}

#[test]
fn an_enqueue_outside_the_steps_is_found() {
    let calls = "self.fan_out(a);\nself.fan_out_to(b);\n";
    check(
        publications_take_the_steps,
        "src/shard/a.rs",
        calls,
        &[1, 2],
    );
    check(
        publications_take_the_steps,
        "src/shard/publish.rs",
        calls,
        &[2],
    );
}

#[test]
fn violations_of_every_rule_are_found() {
    check(starts_with_a_module_comment, "src/a.rs", "use b;\n", &[1]);
    check(lines_are_plain, "src/a.rs", "a\nb \n\u{e9}\n", &[2, 3]);
    check(lines_are_plain, "src/a.rs", &"x".repeat(101), &[1, 1]);

    let worldly = "use std::net::A;\nlet operand = \"tokio\"; // tokio\nx.await\n";
    check(pure_layers_stay_pure, "src/ws/a.rs", worldly, &[1, 3]);
    check(pure_layers_stay_pure, "src/driver/a.rs", worldly, &[]);

    let careless = "//! x\nunsafe { a() }\n";
    let careful = "//! x\n\n#![expect(unsafe_code, reason = \"r\")]\nunsafe { a() }\n";
    check(unsafe_has_its_places, "src/driver/a.rs", careless, &[2]);
    check(unsafe_has_its_places, "src/driver/a.rs", careful, &[]);
    check(unsafe_has_its_places, "src/a.rs", careful, &[4]);
    let call = "#[expect(unsafe_code, r)]\nunsafe { a() };\nunsafe { b() };\n";
    check(unsafe_has_its_places, "src/main.rs", call, &[3]);

    let partial =
        "use crate::dialect::echo;\nlet is_edk = 1; // edk\nlet a = [\"wsrv\", \"a \\\"wsrv\"];\n";
    let sources =
        "\"tap\"\nlet wserver_first = r#\"\nsay \"wsrv\"\"#;\n\"echo\"; tap_path(Echo, 'e')";
    check(dialects_have_their_places, "src/a.rs", partial, &[1, 2, 3]);
    check(dialects_have_their_places, "src/a.rs", sources, &[1, 2]);
    let own = "use crate::dialect::projectforge::{A, EasywsB};\n";
    check(
        dialects_have_their_places,
        "src/handler/projectforge.rs",
        own,
        &[1],
    );
    check(dialects_have_their_places, "src/dialect/a.rs", own, &[]);
    let declared = "pub mod projectforge;\nprojectforge::a();\n";
    check(
        dialects_have_their_places,
        "src/handler/mod.rs",
        declared,
        &[2],
    );
    let tested = "a\n#[cfg(test)]\nmod tests {\nwsrv();\n}\n";
    check(dialects_have_their_places, "src/a.rs", tested, &[]);

    let body = "    a();\n".repeat(69);
    check(stays_small, "a.rs", &format!("fn a() {{\n{body}}}\n"), &[1]);
    let signature = format!("x\npub(crate) const fn a(\n    b: c,\n) {{\n{body}}}\n");
    check(stays_small, "a.rs", &signature, &[2]);
    check(stays_small, "a.rs", &"x\n".repeat(601), &[1]);
    let tested = format!("x\n#[cfg(test)]\nmod tests {{\n{}", "x\n".repeat(601));
    check(stays_small, "a.rs", &tested, &[]);
    check(stays_small, "src/a/tests.rs", &"x\n".repeat(601), &[]);

    let by_path = "mod a;\n#[path = \"../b.rs\"]\nmod b;\n";
    check(tests_name_no_paths, "tests/t/main.rs", by_path, &[2]);
    check(tests_name_no_paths, "benches/b.rs", by_path, &[]);

    let script = "#!/bin/bash\n# Does it.\n#\n# usage: a.sh\nset -euo pipefail\n";
    check(scripts_document_their_usage, "a.sh", script, &[]);
    check(scripts_document_their_usage, "a.sh", "x\n", &[1]);
    let silent = "#!/bin/bash\n# Does it.\nexit\n";
    check(scripts_document_their_usage, "a.sh", silent, &[1, 1]);
    check(scripts_document_their_usage, "a.py", "#!x\n", &[1]);
    check(scripts_document_their_usage, "a.mjs", "x\n", &[1]);
}

#[test]
fn a_file_without_a_mod_is_dead() {
    let texts = [
        ("src/lib.rs", "pub mod a;\n// mod b;\n"),
        (
            "src/a/mod.rs",
            "pub(crate) mod c;\nmod tests {\n    mod e;\n",
        ),
        ("src/a/c.rs", "mod d;\n"),
        ("src/a/c/d.rs", ""),
        ("src/a/d.rs", ""),
        ("src/a/tests/e.rs", ""),
        ("src/b.rs", ""),
        ("benches/t.rs", "#[path = \"support/u.rs\"]\nmod u;\n"),
        ("benches/support/u.rs", ""),
        ("tests/t/main.rs", "mod u;\n"),
        ("tests/t/u.rs", ""),
        ("tests/support/src/lib.rs", "pub mod v;\n"),
        ("tests/support/src/v.rs", ""),
    ]
    .map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(dead_files(&texts), ["src/a/d.rs", "src/b.rs"]);
}
