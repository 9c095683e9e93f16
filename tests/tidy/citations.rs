//! Citations: every document and section that a source, a transcript or another document names.
//!
//! Sources cite a file below `docs/`, a comma and a section in quotes, or the number of one.
//! Documents have links, with or without an anchor, and sources in backticks.

use super::is_rust;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Returns an error for each citation and link to nothing.
pub(super) fn errors(root: &Path, sources: &[(String, String)]) -> Vec<String> {
    let mut documents = BTreeMap::new();
    let mut citing = sources.to_vec();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path.strip_prefix(root).expect("under the root");
            let name = name.display().to_string();
            let hidden = ["target", "node_modules", ".git", ".ci"];
            if path.is_dir() && !hidden.iter().any(|it| path.ends_with(it)) {
                folders.push(path);
            } else if path.extension() == Some("md".as_ref()) {
                documents.insert(name, fs::read_to_string(path).expect("UTF-8"));
            } else if name.starts_with("tests/transcripts/")
                && path.extension() == Some("txt".as_ref())
            {
                citing.push((name, fs::read_to_string(path).expect("UTF-8")));
            }
        }
    }
    let mut errors = Vec::new();
    for (name, text) in &citing {
        let wrong = citations(text)
            .into_iter()
            .filter(|it| !is_there(it, &documents));
        errors.extend(wrong.map(|it| format!("{name}: cites {it}, which is not there")));
    }
    for (name, text) in &documents {
        let wrong = links(name, text)
            .into_iter()
            .filter(|it| !leads_somewhere(it, root, &documents));
        errors.extend(wrong.map(|it| format!("{name}: links to {it}, which is not there")));
        if name != "CHANGELOG.md" {
            errors.extend(missing_sources(name, text, sources));
        }
    }
    errors
}

/// Returns an error for each source in backticks that is not there.
fn missing_sources(name: &str, text: &str, sources: &[(String, String)]) -> Vec<String> {
    let mut errors = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let code = line.split('`').skip(1).step_by(2);
        for file in code.filter(|it| is_rust(it) && !it.contains([' ', '*'])) {
            let is_there = sources.iter().any(|(source, _)| {
                let folder = source.strip_suffix(file);
                folder.is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
            });
            if !is_there {
                errors.push(format!("{name}:{number}: there is no {file}"));
            }
        }
    }
    errors
}

/// Returns the citations in the comments of a text: a document, and a section if one is named.
fn citations(text: &str) -> Vec<String> {
    let comments = text.lines().filter_map(|line| {
        let line = line.trim_start();
        let is_comment = line.starts_with("//") || line.starts_with('#');
        is_comment.then(|| line.trim_start_matches(['/', '!', '#']).trim_start())
    });
    let text = comments.collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for (at, _) in text.match_indices("docs/") {
        let rest = &text[at..];
        let Some(end) = rest.find(".md").map(|end| end + 3) else {
            break;
        };
        let (document, mut rest) = rest.split_at(end);
        if document.contains([' ', '*', '`']) {
            continue;
        }
        let number: String = rest
            .chars()
            .skip(1)
            .take_while(char::is_ascii_digit)
            .collect();
        if rest.starts_with(' ') && !number.is_empty() {
            found.push(format!("{document} {number}"));
            continue;
        }
        let mut separator = ", \"";
        let before = found.len();
        while let Some((section, behind)) = rest
            .strip_prefix(separator)
            .and_then(|it| it.split_once('"'))
        {
            found.push(format!("{document} {section}"));
            (rest, separator) = (behind, " and \"");
        }
        if found.len() == before {
            found.push(document.to_owned());
        }
    }
    found
}

fn is_there(citation: &str, documents: &BTreeMap<String, String>) -> bool {
    let (document, section) = citation.split_once(' ').unwrap_or((citation, ""));
    let is_section = |line: &str| {
        let heading = line.trim_start_matches('#');
        let is_heading = heading.len() < line.len();
        is_heading
            && (heading.trim() == section || heading.trim().starts_with(&format!("{section}. ")))
    };
    let text = documents.get(document);
    text.is_some_and(|text| section.is_empty() || text.lines().any(is_section))
}

/// Returns the targets of the links in a document, relative to the root, but for those of the web.
fn links(document: &str, text: &str) -> Vec<String> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    let targets = targets.map(|(target, _)| target);
    let targets = targets.filter(|it| !it.contains("://") && !it.contains([' ', '\n']));
    let resolve = |target: &str| {
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let mut path = PathBuf::from(document);
        if !file.is_empty() {
            path.pop();
            for part in Path::new(file).components() {
                if part == Component::ParentDir {
                    assert!(path.pop(), "{document}: {target}");
                } else {
                    path.push(part);
                }
            }
        }
        format!("{}#{anchor}", path.display())
    };
    targets.map(resolve).collect()
}

fn leads_somewhere(link: &str, root: &Path, documents: &BTreeMap<String, String>) -> bool {
    let (file, anchor) = link.split_once('#').expect("it was made so");
    if anchor.is_empty() {
        return root.join(file).exists();
    }
    let anchor_of = |line: &str| -> String {
        let heading = line.trim_start_matches('#').trim().to_ascii_lowercase();
        let kept = heading
            .chars()
            .filter(|it| it.is_alphanumeric() || " -_".contains(*it));
        kept.map(|it| if it == ' ' { '-' } else { it }).collect()
    };
    let headings = |text: &String| {
        let mut lines = text.lines().filter(|line| line.starts_with('#'));
        lines.any(|line| anchor_of(line) == anchor)
    };
    documents.get(file).is_some_and(headings)
}

#[test]
fn citations_and_links_to_nothing_are_seen() {
    let document = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let documents = BTreeMap::from([
        document("docs/a.md", "# A\n\n## The first\n\n## 2. Second\n"),
        document("README.md", "[a](docs/a.md#the-first) [b](docs/b.md)"),
    ]);
    let text = "// docs/a.md, \"The\n// first\" and \"Third\"; docs/a.md 2, docs/a.md 3\n\
        let x = \"docs/none.md\"; // docs/b.md\n# docs/b.md, docs/*.md\n";
    let cited = citations(text);
    let wrong: Vec<_> = cited
        .iter()
        .filter(|it| !is_there(it, &documents))
        .collect();
    assert_eq!(cited.len(), 5, "{cited:?}");
    assert_eq!(wrong, ["docs/a.md Third", "docs/a.md 3", "docs/b.md"]);

    let found = links(
        "docs/x.md",
        "[r](../README.md) [s](a.md#the-first) [t](#u) [v](http://w)",
    );
    assert_eq!(found, ["README.md#", "docs/a.md#the-first", "docs/x.md#u"]);
    let sources = [document("src/a/b.rs", "")];
    let missing = missing_sources("docs/a.md", "`b.rs` `a/b.rs`\n`c.rs`", &sources);
    assert_eq!(missing, ["docs/a.md:2: there is no c.rs"]);
    let leads = |link: &str| leads_somewhere(link, Path::new("/nowhere"), &documents);
    assert!(leads("docs/a.md#the-first") && !leads("docs/a.md#none") && !leads("docs/b.md#"));
}
