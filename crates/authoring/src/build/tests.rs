use super::*;
use crate::{PolicyKind, create};

fn project(language: Language) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path(), "team-label", language, PolicyKind::Mutating).unwrap();
    folder
}

#[test]
fn a_folder_that_is_no_project_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = build(folder.path(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, PolicyBuildError::Project(ProjectError::Missing { .. })), "{error}");
}

#[test]
fn a_cel_policy_has_nothing_to_build() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("wardset.yaml"), "language: cel\nname: a\noutput: a.wasm\n").unwrap();
    let error = build(folder.path(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, PolicyBuildError::NothingToBuild), "{error}");
    assert!(error.to_string().contains("wardset policy test"), "{error}");
}

#[test]
fn names_the_tools_that_npm_installs() {
    if tool::find("node", &[]).is_none() {
        // Then the missing program is Node itself, which this machine lacks.
        let error = build(project(Language::Ts).path(), &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("`node`"), "{error}");
        return;
    }
    let error = build(project(Language::Ts).path(), &mut |_| {}).unwrap_err().to_string();
    assert_eq!(error, "failed to find `tsc` in `node_modules`\nhint: run `npm install`");
}

#[test]
fn a_module_with_more_memory_than_a_sandbox_names_the_stack() {
    // Zig's own default: 16 MiB of stack, and one page of data.
    let error = PolicyBuildError::Memory { pages: 257 }.to_string();
    assert!(error.contains("found 257 pages") && error.contains("--stack 65536"), "{error}");
}

#[test]
fn only_engines_with_a_stored_program_are_not_reproducible() {
    let languages: Vec<_> = Language::ALL.into_iter().filter(|language| !reproducible(*language)).collect();
    assert_eq!(languages, [Language::Ts, Language::Python]);
}

/// Makes a project of C whose compiler only fails, with links to a folder outside.
#[cfg(unix)]
fn project_with_link(link: &str) -> (tempfile::TempDir, tempfile::TempDir) {
    let (folder, outside) = (project(Language::C), tempfile::tempdir().unwrap());
    let bin = folder.path().join(".venv/bin");
    fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink("/bin/false", bin.join("python-zig")).unwrap();
    let link = folder.path().join(link);
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(outside.path(), link).unwrap();
    (folder, outside)
}

#[cfg(unix)]
#[test]
fn never_writes_through_a_link() {
    for link in ["build", "build/core.wasm", "team-label.wasm", "out"] {
        let (folder, outside) = project_with_link(link);
        if link == "out" {
            let text = "language: c\nname: team-label\noutput: out/team-label.wasm\n";
            fs::write(folder.path().join("wardset.yaml"), text).unwrap();
        }
        let error = build(folder.path(), &mut |_| {}).unwrap_err();
        assert!(matches!(&error, PolicyBuildError::Link { path } if path.ends_with(link)), "{link}: {error}");
        assert!(error.to_string().contains("found a link\nhint: remove the link"), "{error}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{link}");
    }
}

#[cfg(unix)]
#[test]
fn a_partial_module_replaces_a_link_and_not_its_target() {
    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (folder.path().join("target"), folder.path().join("a.wasm.partial"));
    fs::write(&target, "mine").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    write_new(&link, b"new").unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"mine");
    assert_eq!(fs::read(&link).unwrap(), b"new");
}

#[cfg(unix)]
#[test]
fn python_finds_the_packages_of_the_project() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = project(Language::Python);
    let bin = folder.path().join(".venv/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir(folder.path().join("gen")).unwrap();
    let tool = bin.join("componentize-py");
    fs::write(&tool, "#!/bin/sh\necho \"environment: $VIRTUAL_ENV\"\nexit 1\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let error = build(folder.path(), &mut |_| {}).unwrap_err().to_string();
    let environment = fs::canonicalize(folder.path()).unwrap().join(".venv");
    assert!(error.ends_with(&format!("environment: {}", environment.display())), "{error}");
}

#[test]
fn a_digest_is_that_of_sha256() {
    assert_eq!(digest(b"abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn the_folder_of_the_project_comes_first() {
    let folder = project(Language::C);
    let bin = folder.path().join(".venv/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join("python"), "").unwrap();
    let build = Build {
        folder: folder.path().to_owned(),
        project: Project::read(folder.path()).unwrap(),
        progress: &mut |_| {},
    };
    assert_eq!(tool::find("python", &build.python_folders()), Some(bin.join("python")));
    assert_eq!(
        build.missing("`x`").to_string(),
        "failed to find `x`\nhint: run `python3 -m venv .venv && .venv/bin/pip install -r requirements.txt`"
    );
}
