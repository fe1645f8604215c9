//! Links under `routing/`: they may lead anywhere, but not back, and nothing is read by two names.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::os::unix::fs::symlink;
use std::path::Path;

use strowger::config;
use tempfile::TempDir;

const FIRST: &str = "[[number]]\ndid = \"+12015550101\"\n";
const SECOND: &str = "[[number]]\ndid = \"+12015550102\"\n";

/// A configuration with a number in `routing/a.toml` and one in `routing/deep/b.toml`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("config/routing/deep")).unwrap();
    std::fs::write(folder.path().join("config/strowger.toml"), "[node]\n").unwrap();
    std::fs::write(folder.path().join("config/routing/a.toml"), FIRST).unwrap();
    std::fs::write(folder.path().join("config/routing/deep/b.toml"), SECOND).unwrap();
    folder
}

/// How many numbers there are, or what is wrong.
fn read(folder: &Path) -> Result<usize, String> {
    let root = std::fs::canonicalize(folder).unwrap();
    match config::load(&root.join("config"), &|_| None) {
        Ok(loaded) => Ok(loaded.config.numbers.len()),
        Err(errors) => Err(config::plain(&errors, &[]).replace(root.to_str().unwrap(), "")),
    }
}

#[test]
fn a_link_that_leads_back_is_one_mistake_that_names_the_link() {
    for (link, to, back) in [
        ("loop", ".", "/config/routing"),
        ("up", "..", "/config"),
        ("top", "/", "/"),
        ("deep/back", "..", "/config/routing"),
        ("deep/self", "../deep", "/config/routing/deep"),
        ("deep/through", "../../../there", "/config/routing"),
    ] {
        let folder = folder();
        // A folder elsewhere that leads here.
        std::fs::create_dir(folder.path().join("there")).unwrap();
        std::fs::write(folder.path().join("there/c.toml"), SECOND.replace("102", "103")).unwrap();
        symlink("../config/routing", folder.path().join("there/again")).unwrap();
        symlink(to, folder.path().join("config/routing").join(link)).unwrap();
        let link = if link == "deep/through" { "deep/through/again" } else { link };
        let said = read(folder.path()).unwrap_err();
        let expected = format!(
            "/config/routing/{link}:1:1: the link leads back to {back}, in which it lies itself; remove the link, or have it lead to a folder outside\n"
        );
        assert_eq!(said, expected);
    }
}

#[test]
fn a_folder_that_lies_too_deep_is_a_mistake() {
    let folder = folder();
    let deep = |depth: usize| folder.path().join("config/routing").join(vec!["d"; depth].join("/"));
    std::fs::create_dir_all(deep(8)).unwrap();
    std::fs::write(deep(8).join("c.toml"), SECOND.replace("102", "103")).unwrap();
    assert_eq!(read(folder.path()), Ok(3));
    std::fs::create_dir_all(deep(9)).unwrap();
    let said = read(folder.path()).unwrap_err();
    assert!(
        said.ends_with(
            "/d/d/d:1:1: the folder lies deeper than 8 below routing, and is not read; move it further up\n"
        ),
        "{said}"
    );
}

#[test]
fn a_link_to_a_folder_or_a_file_elsewhere_is_read() {
    let folder = folder();
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("c.toml"), SECOND.replace("102", "103")).unwrap();
    std::fs::write(folder.path().join("d.csv"), "did\n+12015550104\n").unwrap();
    symlink(&elsewhere, folder.path().join("config/routing/there")).unwrap();
    symlink("../../d.csv", folder.path().join("config/routing/d.csv")).unwrap();
    assert_eq!(read(folder.path()), Ok(4));
    // All of it may be one, as where a version is put in place at once.
    std::fs::rename(folder.path().join("config"), folder.path().join("version-1")).unwrap();
    symlink("version-1", folder.path().join("config")).unwrap();
    symlink("d.csv", folder.path().join("e.csv")).unwrap();
    assert_eq!(read(folder.path()), Ok(4));
}

#[test]
fn a_file_or_folder_of_two_names_is_told_once_as_what_it_is() {
    for (link, to, other) in [
        ("a-again.toml", "a.toml", "a.toml"),
        ("0.toml", "a.toml", "a.toml"),
        ("again", "deep", "deep"),
        ("z", "deep", "deep"),
        ("deep/a.toml", "../a.toml", "a.toml"),
    ] {
        let folder = folder();
        symlink(to, folder.path().join("config/routing").join(link)).unwrap();
        let expected = format!(
            "/config/routing/{link}:1:1: it is /config/routing/{other} by another name: what it says would be there twice; remove one of the two\n"
        );
        assert_eq!(read(folder.path()), Err(expected));
    }
}
