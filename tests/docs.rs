//! Links between the pages of the documentation lead somewhere, in the repository and in the site made of `docs/`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages.extend(pages_in_docs(&path));
        } else if path.extension().is_some_and(|ending| ending == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    pages
}

/// Folders below that of the repository hold pages of others.
fn pages_in_docs(folder: &Path) -> Vec<PathBuf> {
    if folder.starts_with(Path::new(ROOT).join("docs")) { pages(folder) } else { Vec::new() }
}

/// The text outside of code that is set apart.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// Targets of the links in a page.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).filter(|target| !target.contains("://")).collect()
}

/// What the headings of a page are called in links, as GitHub and mdBook make it.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text);
    let headings = headings.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// What is wrong with a link in `page`.
fn problem(page: &Path, link: &str) -> Option<String> {
    let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = if target.is_empty() { page.to_owned() } else { page.parent().unwrap().join(target) };
    let Ok(path) = path.canonicalize() else { return Some(format!("no file '{target}'")) };
    let docs = Path::new(ROOT).join("docs").canonicalize().unwrap();
    if page.starts_with(&docs) && !path.starts_with(&docs) {
        return Some(format!("'{target}' is no part of the site"));
    }
    let missing =
        !anchor.is_empty() && !anchors(&fs::read_to_string(&path).unwrap()).contains(&anchor.to_owned());
    missing.then(|| format!("no heading '{anchor}' in '{target}'"))
}

#[test]
fn links_lead_somewhere() {
    let root = Path::new(ROOT).canonicalize().unwrap();
    let all = [pages(&root), pages(&root.join("docs"))].concat();
    let mut count = 0;
    let mut wrong = Vec::new();
    for page in &all {
        let links = links(&fs::read_to_string(page).unwrap());
        count += links.len();
        wrong.extend(
            links.iter().filter_map(|link| Some(format!("{}: {}", page.display(), problem(page, link)?))),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The search itself works.
    assert!(all.len() > 10 && count > 50, "{} pages, {count} links", all.len());
}

#[test]
fn broken_links_are_found() {
    let page = Path::new(ROOT).canonicalize().unwrap().join("docs/method.md");
    assert_eq!(links("a [b](c.md) ```[d](e.md)``` [f](https://g) [h](i.md#j)"), ["c.md", "i.md#j"]);
    assert!(problem(&page, "none.md").unwrap().contains("no file"));
    assert!(problem(&page, "../src/convert.rs").unwrap().contains("no part of the site"));
    assert!(problem(&page, "numerics.md#nothing-of-that-name").unwrap().contains("no heading"));
    assert_eq!(problem(&page, "numerics.md"), None);
}
