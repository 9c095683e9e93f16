//! The layers of `src/`: which folder may use which others, and that no circle is among them.
//!
//! The table is drawn in ARCHITECTURE.md as it stands here. Tests in files of their own
//! (`tests.rs`, `tests/`) are left out, and so is what stands under `#[cfg(test)]`.

use super::{Complaints, Source, code_lines, is_rust};
use std::collections::{BTreeMap, BTreeSet};

/// Each folder and all that it may use, from the ground up: a row names only rows above it.
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

/// What lies in `src/` itself: the library, the program and its signals.
const ROOT_FILES: &[&str] = &["lib.rs", "main.rs", "signals.rs"];

/// Everything that the layers are against, in all sources together.
pub(super) fn complaints(texts: &[(String, String)], architecture: &str) -> Vec<String> {
    let layers = layers();
    let mut complaints = Vec::new();
    let mut used = BTreeMap::<&str, BTreeSet<String>>::new();
    for (name, text) in texts {
        let Some(path) = name.strip_prefix("src/").filter(|_| is_code(name)) else {
            continue;
        };
        let Some((folder, _)) = path.split_once('/') else {
            if !ROOT_FILES.contains(&path) {
                complaints.push(format!("{name}:1: belongs in a folder"));
            }
            continue;
        };
        let Some(allowed) = layers.iter().find(|(each, _)| *each == folder) else {
            complaints.push(format!("{name}:1: the table of layers has no {folder}/"));
            continue;
        };
        for (line, used_folder) in folders_used(&Source { name, text }) {
            if used_folder == folder {
                continue;
            }
            if !allowed.1.contains(&used_folder.as_str()) {
                complaints.push(format!(
                    "{name}:{line}: {folder}/ may not use {used_folder}"
                ));
            }
            used.entry(folder).or_default().insert(used_folder);
        }
    }
    for (folder, allowed) in &layers {
        let used = used.remove(folder).unwrap_or_default();
        for idle in allowed.iter().filter(|it| !used.contains(**it)) {
            complaints.push(format!(
                "src/{folder}/mod.rs:1: does not use {idle}/ any more"
            ));
        }
    }
    if !architecture.contains(LAYERS) {
        complaints.push("ARCHITECTURE.md:1: draws other layers than the table".to_owned());
    }
    for (index, line) in architecture.lines().enumerate() {
        for file in line.split('`').skip(1).step_by(2).filter(|it| is_rust(it)) {
            let is_there = texts.iter().any(|(name, _)| {
                let folder = name.strip_suffix(file);
                folder.is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
            });
            if !is_there {
                complaints.push(format!("ARCHITECTURE.md:{}: there is no {file}", index + 1));
            }
        }
    }
    complaints.extend(circles(texts, "loadtest/src/"));
    complaints
}

/// The rows of the table.
///
/// # Panics
///
/// If a row names one that is not above it: then there could be circles.
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

/// Folders of a crate that use each other in a circle; a file beside them is one of them.
fn circles(texts: &[(String, String)], root: &str) -> Option<String> {
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
    // Whoever uses nobody that is left is on no circle.
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

/// Whether a file holds nothing but tests.
pub(super) fn is_test(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

/// The folders that a file's code names, by line.
fn folders_used(file: &Source<'_>) -> Complaints {
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
    /// How many modules of its crate a file is under, itself included.
    fn depth(&self) -> usize {
        let (_, path) = self.name.split_once("src/").unwrap_or(("", self.name));
        path.trim_end_matches(".rs")
            .split('/')
            .filter(|name| !["mod", "lib", "main"].contains(name))
            .count()
    }
}

#[test]
fn layers_see_what_they_forbid() {
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
    let mut found = complaints(&texts, LAYERS);
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
