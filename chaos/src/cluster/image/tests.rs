use super::*;

fn layer(directory: &Path, name: &str, content: &str) -> Layer {
    let source = directory.join(format!("{name}.source"));
    std::fs::write(&source, content).expect("a file");
    Layer::from_files(&directory.join(format!("{name}.tar")), &[(name, &source, 0o755)]).expect("a layer")
}

#[test]
fn an_archive_tells_which_image_it_holds() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let layers = [
        layer(directory.path(), "base", "1"),
        layer(directory.path(), "program", "2"),
    ];
    let written = write_archive(
        &directory.path().join("a.tar"),
        "localhost/a:1",
        &layers,
        &ImageConfig::default(),
    )
    .expect("written");
    assert_eq!(Archive::open(&written.path).expect("readable"), written);
}

#[test]
fn equal_inputs_give_the_same_digest_and_another_program_another() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let archive = |file: &str, program: &str| {
        let layers = [
            layer(directory.path(), "base", "1"),
            layer(directory.path(), "program", program),
        ];
        write_archive(
            &directory.path().join(file),
            "localhost/a:1",
            &layers,
            &ImageConfig::default(),
        )
        .expect("written")
    };
    let [first, same, other] = [archive("1.tar", "x"), archive("2.tar", "x"), archive("3.tar", "y")];
    assert_eq!(first.digest, same.digest);
    assert_ne!(first.digest, other.digest);
    let read = |archive: &Archive| std::fs::read(&archive.path).expect("readable");
    assert!(read(&first) == read(&same), "even the bytes are equal");
}

#[test]
fn every_blob_of_an_archive_lies_under_its_own_digest() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let layers = [layer(directory.path(), "base", "1")];
    let config = ImageConfig {
        entrypoint: vec!["/base".to_owned()],
        ..ImageConfig::default()
    };
    let archive = write_archive(&directory.path().join("a.tar"), "localhost/a:1", &layers, &config).expect("written");
    let mut tar = tar::Archive::new(File::open(&archive.path).expect("readable"));
    let mut blobs = 0;
    for entry in tar.entries().expect("entries") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        let Some(named) = path.strip_prefix("blobs/sha256/") else {
            continue;
        };
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("content");
        assert_eq!(format!("sha256:{named}"), digest(&content));
        blobs += 1;
    }
    assert_eq!(blobs, 3, "a manifest, a configuration and a layer");
}

#[test]
fn a_file_that_is_no_archive_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("wrong.tar");
    layer(directory.path(), "wrong", "1");
    let error = Archive::open(&path).expect_err("it has no index");
    assert!(
        error.to_string().contains("wrong.tar") && error.to_string().contains("index.json"),
        "{error}"
    );
}
