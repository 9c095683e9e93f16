//! The layers of `src/`: the allowed dependencies of its folders, without cycles.
//!
//! ARCHITECTURE.md has the same table. Test files (`tests.rs`, `tests/`) and code under
//! `#[cfg(test)]` are not checked.

use super::{Errors, Source, code_lines, is_rust};
use std::collections::{BTreeMap, BTreeSet};

/// Each folder and the folders that it may use, bottom layer first. A row names only earlier rows.
const LAYERS: &str = "\
vocabulary <-
runtime    <-
codec      <- vocabulary
ws         <- vocabulary
dialect    <- vocabulary codec ws
shard      <- vocabulary codec ws dialect
config     <- vocabulary dialect
logging    <- config
mailbox    <- vocabulary shard
handler    <- vocabulary runtime codec ws dialect shard logging mailbox
auth       <- vocabulary codec config handler
api        <- vocabulary runtime codec config handler auth
http       <- vocabulary ws dialect shard config logging mailbox handler auth api
host       <- vocabulary runtime codec ws dialect shard logging mailbox handler auth api http
driver     <- vocabulary runtime shard config logging mailbox handler http host
hooks      <- vocabulary runtime codec dialect config logging handler
builtin    <- vocabulary runtime codec dialect shard config handler auth hooks
gateway    <- vocabulary runtime codec ws dialect shard config logging mailbox handler auth api
              http host driver hooks builtin
cli        <- vocabulary dialect config gateway
";

/// The files in `src/` itself: the library, the program and its signals.
const ROOT_FILES: &[&str] = &["lib.rs", "main.rs", "signals.rs"];

/// Returns all violations of the layers in all sources.
pub(super) fn errors(texts: &[(String, String)], architecture: &str) -> Vec<String> {
    let layers = layers();
    let mut errors = Vec::new();
    let mut used = BTreeMap::<&str, BTreeSet<String>>::new();
    for (name, text) in texts {
        let Some(path) = name.strip_prefix("src/").filter(|_| is_code(name)) else {
            continue;
        };
        let Some((folder, _)) = path.split_once('/') else {
            if !ROOT_FILES.contains(&path) {
                errors.push(format!("{name}:1: belongs in a folder"));
            }
            continue;
        };
        let Some(allowed) = layers.iter().find(|(each, _)| *each == folder) else {
            errors.push(format!("{name}:1: the table of layers has no {folder}/"));
            continue;
        };
        for (line, used_folder) in folders_used(&Source { name, text }) {
            if used_folder == folder {
                continue;
            }
            if !allowed.1.contains(&used_folder.as_str()) {
                errors.push(format!(
                    "{name}:{line}: {folder}/ may not use {used_folder}"
                ));
            }
            used.entry(folder).or_default().insert(used_folder);
        }
    }
    for (folder, allowed) in &layers {
        let used = used.remove(folder).unwrap_or_default();
        for idle in allowed.iter().filter(|it| !used.contains(**it)) {
            errors.push(format!(
                "src/{folder}/mod.rs:1: does not use {idle}/ any more"
            ));
        }
    }
    if !architecture.contains(LAYERS) {
        errors.push("ARCHITECTURE.md:1: draws other layers than the table".to_owned());
    }
    errors.extend(cycles(texts, "loadtest/src/"));
    errors
}

/// Parses the rows of the table.
///
/// # Panics
///
/// A row names one that is not above it, so there could be cycles.
fn layers() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut layers: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in LAYERS.lines() {
        if let Some((folder, below)) = line.split_once("<-") {
            layers.push((folder.trim(), below.split_whitespace().collect()));
        } else {
            let (_, below) = layers.last_mut().expect("a row goes on");
            below.extend(line.split_whitespace());
        }
    }
    for (index, (folder, below)) in layers.iter().enumerate() {
        for each in below {
            let is_above = layers[..index].iter().any(|(above, _)| above == each);
            assert!(
                is_above,
                "{folder} may use {each}, which is no row above it"
            );
        }
    }
    layers
}

/// Returns an error that names folders or files of a crate in a dependency cycle; `None` without a
/// cycle.
fn cycles(texts: &[(String, String)], root: &str) -> Option<String> {
    let mut uses = BTreeMap::<String, BTreeSet<String>>::new();
    for (name, text) in texts {
        let Some(path) = name.strip_prefix(root).filter(|_| is_code(name)) else {
            continue;
        };
        let folder = path
            .split('/')
            .next()
            .unwrap_or(path)
            .trim_end_matches(".rs");
        if folder != "main" {
            let used = folders_used(&Source { name, text }).into_iter();
            let others = used.map(|(_, used)| used).filter(|used| used != folder);
            uses.entry(folder.to_owned()).or_default().extend(others);
        }
    }
    // A node without remaining dependencies is on no cycle.
    while let Some(leaf) = uses
        .iter()
        .find(|(_, used)| !used.iter().any(|it| uses.contains_key(it)))
        .map(|(folder, _)| folder.clone())
    {
        uses.remove(&leaf);
    }
    let circle: Vec<String> = uses.into_keys().collect();
    (!circle.is_empty()).then(|| format!("{root}: a circle is among {}", circle.join(", ")))
}

fn is_code(name: &str) -> bool {
    is_rust(name) && !is_test(name)
}

/// Returns `true` for a file of tests.
pub(super) fn is_test(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

/// Returns the folders that a file's code uses, with their lines.
fn folders_used(file: &Source<'_>) -> Errors {
    let text = file.text.split("\n#[cfg(test)]\nmod ").next();
    let mut used = Vec::new();
    for (line, code) in code_lines(text.unwrap_or_default()) {
        for path in code.split(|letter: char| !(letter.is_alphanumeric() || "_:{".contains(letter)))
        {
            let mut names = path.split("::").skip_while(|name| name.is_empty());
            let mut depth = file.depth();
            let mut name = names.next().unwrap_or_default();
            if name == "crate" {
                depth = 0;
            } else if name != "super" {
                continue;
            }
            while name == "super" {
                depth = depth.saturating_sub(1);
                name = names.next().unwrap_or_default();
            }
            let first = if name == "crate" {
                names.next()
            } else {
                Some(name)
            };
            // `pub(crate)` names no folder.
            if let (0, Some(first)) = (depth, first.filter(|first| !first.is_empty())) {
                used.push((line, first.to_owned()));
            }
        }
    }
    used
}

impl Source<'_> {
    /// Returns the depth of a file's module in its crate.
    fn depth(&self) -> usize {
        let (_, path) = self.name.split_once("src/").unwrap_or(("", self.name));
        path.trim_end_matches(".rs")
            .split('/')
            .filter(|name| !["mod", "lib", "main"].contains(name))
            .count()
    }
}

#[test]
fn violations_of_layers_are_found() {
    let used = |name, text| -> Vec<String> {
        let found = folders_used(&Source { name, text }).into_iter();
        found.map(|(_, folder)| folder).collect()
    };
    let text = "use crate::a::{b, c};\nlet d = crate::e::f(super::g); // crate::h\n";
    assert_eq!(used("src/x/y.rs", text), ["a", "e"]);
    assert_eq!(
        used("src/x/mod.rs", "use super::g::h;\nsuper::super::i();\n"),
        ["g", "i"]
    );
    assert_eq!(
        used(
            "src/x/y/z.rs",
            "use super::super::super::g;\nuse super::super::h;\n"
        ),
        ["g"]
    );
    assert_eq!(used("src/x/y.rs", "use crate::{a, b};\n"), ["{a"]);
    assert!(
        used(
            "src/x/y.rs",
            "a();\n#[cfg(test)]\nmod tests {\nuse crate::a;\n"
        )
        .is_empty()
    );

    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let texts = [
        file("src/vocabulary/mod.rs", "use crate::ws;\n"),
        file("src/stray.rs", ""),
        file("src/strange/mod.rs", ""),
        file("src/strange/tests.rs", "use crate::cli;\n"),
        file("loadtest/src/a.rs", "use crate::b::c;\n"),
        file("loadtest/src/b/mod.rs", "use crate::a;\n"),
        file("loadtest/src/d.rs", "use crate::a;\n"),
    ];
    let mut found = errors(&texts, LAYERS);
    found.retain(|complaint| !complaint.contains("any more"));
    assert_eq!(
        found,
        [
            "src/vocabulary/mod.rs:1: vocabulary/ may not use ws",
            "src/stray.rs:1: belongs in a folder",
            "src/strange/mod.rs:1: the table of layers has no strange/",
            "loadtest/src/: a circle is among a, b, d",
        ]
    );
}
