//! The image as the OCI image specification (1.1) describes it: blobs by digest, and `index.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::root::Root;
use crate::replace::replace;
use crate::{archive, digests};

/// The facts about an image that its files don't tell.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The name of its program and of its repository.
    pub(crate) name: &'static str,
    /// The processor, as images name it.
    pub(crate) architecture: &'static str,
    /// The time of all files and of the image.
    pub(crate) created: Timestamp,
    /// The commit of the sources.
    pub(crate) revision: Option<String>,
}

/// A packed image.
#[derive(Debug)]
pub(crate) struct Image {
    /// The files of the layout by path.
    files: BTreeMap<String, Vec<u8>>,
    digest: String,
    layer_size: usize,
    created: Timestamp,
}

impl Image {
    /// Packs the files as an image with one layer.
    ///
    /// # Errors
    /// A path is too long for an archive.
    pub(crate) fn pack(root: &Root, facts: &Facts) -> Result<Self> {
        let mut image =
            Self { files: BTreeMap::new(), digest: String::new(), layer_size: 0, created: facts.created };
        let tar = layer(root, facts.created).context("failed to pack the layer")?;
        let packed = archive::gzip(&tar).context("failed to compress the layer")?;
        image.layer_size = packed.len();
        let layer = image.blob(LAYER, packed);
        let config = image.blob(CONFIG, text(config(facts, &digest(&tar))));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [layer],
            "annotations": labels(facts),
        });
        let mut manifest = image.blob(MANIFEST, text(manifest));
        text_of(&manifest["digest"]).clone_into(&mut image.digest);
        manifest["platform"] = json!({ "architecture": facts.architecture, "os": "linux" });
        // containerd and Docker take the name from the second annotation, other tools the tag from the first.
        manifest["annotations"] = json!({
            "org.opencontainers.image.ref.name": VERSION,
            "io.containerd.image.name": reference(facts.name),
        });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
        image.files.insert("index.json".into(), text(index));
        image.files.insert("oci-layout".into(), text(json!({ "imageLayoutVersion": "1.0.0" })));
        // `docker load` before Docker 25 reads this file instead of `index.json`.
        let docker = json!([{
            "Config": blob_path(text_of(&config["digest"])),
            "RepoTags": [format!("{}:{VERSION}", facts.name)],
            "Layers": [blob_path(text_of(&layer["digest"]))],
        }]);
        image.files.insert("manifest.json".into(), text(docker));
        Ok(image)
    }

    /// Returns the digest of the manifest, as registries show it.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// Returns the bytes of the compressed layer.
    pub(crate) fn layer_size(&self) -> usize {
        self.layer_size
    }

    /// Writes the image as a folder, and replaces an earlier one.
    ///
    /// # Errors
    /// The system refuses a file.
    pub(crate) fn write_folder(&self, folder: &Path) -> Result<()> {
        replace(folder, |partial| {
            fs::create_dir_all(partial.join(BLOBS))?;
            for (path, bytes) in &self.files {
                fs::write(partial.join(path), bytes)?;
            }
            Ok(())
        })
    }

    /// Writes the image as an archive of that folder, and replaces an earlier one.
    ///
    /// # Errors
    /// The system refuses the file.
    pub(crate) fn write_archive(&self, archive: &Path) -> Result<()> {
        replace(archive, |partial| {
            let mut tar = tar::Builder::new(fs::File::create(partial)?);
            for folder in ["blobs", BLOBS] {
                archive::append_folder(&mut tar, folder, self.created)?;
            }
            for (path, bytes) in &self.files {
                archive::append_file(&mut tar, path, bytes, 0o644, self.created)?;
            }
            Ok(tar.into_inner()?.sync_all()?)
        })
    }

    fn blob(&mut self, kind: &str, bytes: Vec<u8>) -> Value {
        let digest = digest(&bytes);
        let descriptor = json!({ "mediaType": kind, "digest": digest, "size": bytes.len() });
        self.files.insert(blob_path(&digest), bytes);
        descriptor
    }
}

/// Returns the files as a tar archive.
fn layer(root: &Root, created: Timestamp) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for folder in root.folders() {
        archive::append_folder(&mut tar, folder, created)?;
    }
    for (path, file) in root.entries() {
        archive::append_file(&mut tar, path, &file.bytes, file.mode, created)?;
    }
    tar.into_inner()
}

fn config(facts: &Facts, layer: &str) -> Value {
    json!({
        "architecture": facts.architecture,
        "os": "linux",
        "created": facts.created.to_string(),
        "config": {
            "User": "65532:65532",
            "ExposedPorts": { "8443/tcp": {}, "8081/tcp": {} },
            "Entrypoint": [format!("/{}", facts.name)],
            "Labels": labels(facts),
        },
        "rootfs": { "type": "layers", "diff_ids": [layer] },
        "history": [{ "created": facts.created.to_string(), "created_by": "cargo xtask image" }],
    })
}

/// Returns the labels, which are also the manifest's annotations. The Dockerfile has the same, except time and commit.
fn labels(facts: &Facts) -> BTreeMap<&'static str, String> {
    let mut labels = BTreeMap::from([
        ("org.opencontainers.image.title", facts.name.to_owned()),
        ("org.opencontainers.image.description", DESCRIPTION.to_owned()),
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE").to_owned()),
        ("org.opencontainers.image.version", VERSION.to_owned()),
        ("org.opencontainers.image.created", facts.created.to_string()),
    ]);
    labels.extend(facts.revision.clone().map(|revision| (REVISION, revision)));
    labels
}

fn digest(bytes: &[u8]) -> String {
    format!("{SHA256}{}", digests::sha256(bytes))
}

fn blob_path(digest: &str) -> String {
    format!("{BLOBS}/{}", digest.trim_start_matches(SHA256))
}

/// Returns a value as text with sorted keys. Without the sort, their order would depend on the features of serde_json, and so
/// on the crates that are built with this one.
fn text(mut value: Value) -> Vec<u8> {
    value.sort_all_objects();
    value.to_string().into_bytes()
}

/// Every value that asks is a string.
fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Returns the name under which a node finds the image of a program.
pub(crate) fn reference(name: &str) -> String {
    format!("docker.io/library/{name}:{VERSION}")
}

/// The label with the commit.
pub(crate) const REVISION: &str = "org.opencontainers.image.revision";

/// Version of the program, which the image has as its tag.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

const DESCRIPTION: &str = "The admission gate for Kubernetes DaemonSets";
const BLOBS: &str = "blobs/sha256";
const SHA256: &str = "sha256:";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::repository::Repository;

    fn facts() -> Facts {
        Facts {
            name: "wardset",
            architecture: "amd64",
            created: Timestamp::from_second(1_700_000_000).unwrap(),
            revision: None,
        }
    }

    /// A root whose files were added in this order.
    fn image(files: &[(&str, &str, u32)]) -> Image {
        Image::pack(&Root::with(files), &facts()).unwrap()
    }

    fn manifest(image: &Image) -> Value {
        serde_json::from_slice(&image.files[&blob_path(image.digest())]).unwrap()
    }

    const PROGRAM_FILE: (&str, &str, u32) = ("wardset", "program", 0o755);
    const USER: (&str, &str, u32) = ("etc/passwd", "wardset:x:65532\n", 0o644);

    #[test]
    fn same_files_make_the_same_bytes() {
        let (one, other) = (image(&[PROGRAM_FILE, USER]), image(&[USER, PROGRAM_FILE]));
        assert_eq!(one.digest(), other.digest());
        let folder = tempfile::tempdir().unwrap();
        let archives = [folder.path().join("one.tar"), folder.path().join("other.tar")];
        one.write_archive(&archives[0]).unwrap();
        other.write_archive(&archives[1]).unwrap();
        assert!(fs::read(&archives[0]).unwrap() == fs::read(&archives[1]).unwrap());
        // A change of the crates that pack shows here. It gives every image another digest.
        assert_eq!(
            manifest(&one)["layers"][0]["digest"],
            "sha256:b909530a2f1d7d30af121846e216909e74ad9305c9f1301ba390aa04b003c771"
        );
        assert_ne!(one.digest(), image(&[PROGRAM_FILE]).digest());
    }

    #[test]
    fn layer_has_sorted_entries_of_root_with_one_time() {
        let one = image(&[PROGRAM_FILE, USER]);
        let manifest = manifest(&one);
        let layer = &one.files[&blob_path(text_of(&manifest["layers"][0]["digest"]))];
        assert_eq!(manifest["layers"][0]["size"], layer.len());
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&layer[..]).read_to_end(&mut tar).unwrap();
        let mut entries = Vec::new();
        for entry in tar::Archive::new(&tar[..]).entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.mtime().unwrap(), 1_700_000_000);
            entries.push((entry.path().unwrap().display().to_string(), header.mode().unwrap()));
        }
        let expected = [("etc/", 0o755), ("etc/passwd", 0o644), ("wardset", 0o755)];
        assert_eq!(entries, expected.map(|(path, mode)| (path.to_owned(), mode)));
        let config = &one.files[&blob_path(text_of(&manifest["config"]["digest"]))];
        let config: Value = serde_json::from_slice(config).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], json!([digest(&tar)]));
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    }

    #[test]
    fn folder_is_a_layout_whose_blobs_have_their_digests() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("oci");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("left-over"), "").unwrap();
        let one = image(&[PROGRAM_FILE, USER]);
        one.write_folder(&folder).unwrap();
        assert!(!folder.join("left-over").exists());
        let index: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
        assert_eq!(index["manifests"][0]["digest"], one.digest());
        assert_eq!(
            fs::read_to_string(folder.join("oci-layout")).unwrap(),
            r#"{"imageLayoutVersion":"1.0.0"}"#
        );
        let mut blobs = 0;
        for entry in fs::read_dir(folder.join(BLOBS)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(digest(&fs::read(&path).unwrap()), format!("sha256:{name}"));
            blobs += 1;
        }
        assert_eq!(blobs, 3);
    }

    #[test]
    fn dockerfile_makes_the_same_image() {
        let root = Repository::find().unwrap().root().to_owned();
        let text = fs::read_to_string(root.join("Dockerfile")).unwrap();
        let image = config(&facts(), "")["config"].take();
        let lines: Vec<&str> = text.lines().collect();
        for line in [
            format!("USER {}", text_of(&image["User"])),
            "EXPOSE 8443 8081".to_owned(),
            format!("ENTRYPOINT {}", image["Entrypoint"]),
        ] {
            assert!(lines.contains(&line.as_str()), "the Dockerfile has no line `{line}`");
        }
        for (label, value) in labels(&facts()) {
            let line = format!("{label}=\"{value}\"");
            let found = lines.iter().any(|one| one.trim_end_matches(" \\").ends_with(&line));
            assert_eq!(
                found,
                label != "org.opencontainers.image.created",
                "`LABEL {line}` in the Dockerfile"
            );
        }
        assert_eq!(image["ExposedPorts"], json!({ "8443/tcp": {}, "8081/tcp": {} }));
        let package = fs::read_to_string(root.join("Cargo.toml")).unwrap();
        assert!(package.contains(&format!("description = \"{DESCRIPTION}\"")));
    }
}
