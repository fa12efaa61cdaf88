use super::*;
use std::fs::{create_dir, write};

#[test]
fn ids_follow_class_then_name_and_hidden_files_stay_out() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    // As text "a-b/1.png" sorts before "a/2.jpeg"; as paths class a comes first.
    for class in ["a-b", "a", ".cache", "__MACOSX"] {
        create_dir(root.join(class)).unwrap();
    }
    for (file, bytes) in [
        ("a-b/1.png", "x"),
        ("a/2.jpeg", "y"),
        ("a/10.JPG", "z"),
        ("a/.DS_Store", ""),
        ("a/Thumbs.db", ""),
        ("a-b/desktop.ini", ""),
        ("SHA256SUMS", ""),
    ] {
        write(root.join(file), bytes).unwrap();
    }
    let stored = read(root).unwrap();
    assert_eq!(stored.classes.unwrap(), ["a", "a-b"]);
    assert_eq!(stored.labels, [0, 0, 1]);
    let (Images::Encoded(images), Places::Files(files)) = (stored.images, stored.places) else {
        panic!("not files")
    };
    assert_eq!(files, ["a/10.JPG", "a/2.jpeg", "a-b/1.png"]);
    assert_eq!(images, [b"z", b"y", b"x"]);
}

#[test]
fn an_image_beside_the_class_folders_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    create_dir(folder.path().join("cat")).unwrap();
    for file in ["cat/1.png", "2.png"] {
        write(folder.path().join(file), "x").unwrap();
    }
    let message = read(folder.path()).err().unwrap().to_string();
    assert!(message.contains("found 2.png; move it"), "{message}");
}

#[test]
fn images_alone_are_a_set_where_labels_are_not_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let message = |found: Result<Stored>| found.err().unwrap().to_string();
    assert!(message(read_unlabelled(root)).contains("found neither"));
    for (file, bytes) in [
        ("2.png", "x"),
        ("10.JPG", "y"),
        ("notes.txt", ""),
        (".a.png", ""),
    ] {
        write(root.join(file), bytes).unwrap();
    }
    let labelled = message(read(root));
    let parts = [
        "found images alone;",
        "class folders",
        "--measurement prediction",
    ];
    assert!(
        parts.iter().all(|part| labelled.contains(part)),
        "{labelled}"
    );
    let stored = read_unlabelled(root).unwrap();
    let (Images::Encoded(images), Places::Files(files)) = (stored.images, stored.places) else {
        panic!("not files")
    };
    assert_eq!(
        (files, images),
        (
            vec!["10.JPG".into(), "2.png".into()],
            vec![b"y".to_vec(), b"x".to_vec()]
        )
    );
    assert_eq!((stored.labels, stored.classes), (vec![0, 0], None));
    // Class folders are gone through as they are; images beside them are refused here too.
    create_dir(root.join("cat")).unwrap();
    write(root.join("cat/1.png"), "z").unwrap();
    assert!(message(read_unlabelled(root)).contains("found 10.JPG; move it"));
    for file in ["2.png", "10.JPG"] {
        std::fs::remove_file(root.join(file)).unwrap();
    }
    assert_eq!(read_unlabelled(root).unwrap().labels, [0]);
}

#[test]
fn pictures_of_other_formats_among_images_alone_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for file in [
        "1.jpg",
        "notes.txt",
        "labels.csv",
        "facts.json",
        "readme.md",
    ] {
        write(root.join(file), "x").unwrap();
    }
    assert_eq!(read_unlabelled(root).unwrap().labels, [0]);
    let message = || read_unlabelled(root).err().unwrap().to_string();
    for file in ["2.TIF", "3.heic", "0004"] {
        write(root.join(file), "x").unwrap();
        assert!(
            message().contains(&format!("found {file}; convert")),
            "{}",
            message()
        );
        std::fs::remove_file(root.join(file)).unwrap();
    }
    for file in ["2.TIF", "3.heic"] {
        write(root.join(file), "x").unwrap();
    }
    assert!(
        message().contains("found 2.TIF and 1 more like it; "),
        "{}",
        message()
    );
}

#[cfg(unix)]
#[test]
fn a_class_folder_that_leads_nowhere_is_refused_and_not_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let message = || read(root).err().unwrap().to_string();
    std::os::unix::fs::symlink("moved/cat", root.join("cat")).unwrap();
    assert!(
        message().contains("found cat, which cannot be followed"),
        "{}",
        message()
    );
    create_dir(root.join("dog")).unwrap();
    write(root.join("dog/1.png"), "x").unwrap();
    assert!(
        message().contains("found cat, which cannot be followed"),
        "{}",
        message()
    );
    std::fs::create_dir_all(root.join("moved/cat")).unwrap();
    assert!(!message().contains("cat, which"), "{}", message());
}

#[cfg(unix)]
#[test]
fn a_pipe_among_images_alone_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("1.png")).unwrap();
    let message = read_unlabelled(folder.path()).err().unwrap().to_string();
    assert!(
        message.ends_with("found 1.png, which is no file; remove it"),
        "{message}"
    );
}

#[cfg(unix)]
#[test]
fn control_characters_are_shown_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    create_dir(folder.path().join("ca\nt")).unwrap();
    let message = read(folder.path()).err().unwrap().to_string();
    assert!(message.contains(r"found ca\nt; rename it"), "{message}");
}

/// macOS has no such names.
#[cfg(all(unix, not(target_os = "macos")))]
#[test]
fn names_that_are_no_text_are_refused_among_images_alone_and_parquet_files() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root.join("1.png"), "x").unwrap();
    write(root.join(OsStr::from_bytes(b"caf\xe9.parquet")), "x").unwrap();
    let refused = "expected names in UTF-8, found caf\u{fffd}.parquet; rename it";
    let message = read_unlabelled(root).err().unwrap().to_string();
    assert!(message.ends_with(refused), "{message}");
    assert!(parquet_files(root).unwrap().is_empty());
    write(root.join("train.parquet"), "x").unwrap();
    let message = parquet_files(root).unwrap_err().to_string();
    assert!(message.ends_with(refused), "{message}");
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    create_dir(folder.path().join("cat")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("cat/1.png")).unwrap();
    let message = read(folder.path()).err().unwrap().to_string();
    let found = "found 1.png, which is no file; remove it";
    assert!(message.ends_with(found), "{message}");
}

#[test]
fn a_folder_of_one_parquet_file_or_one_split_is_that() {
    let folder = tempfile::tempdir().unwrap();
    let there = || parquet_files(folder.path()).unwrap();
    let put = |name: &str| write(folder.path().join(name), "").unwrap();
    assert!(there().is_empty());
    put("train-00000-of-00002.parquet");
    let message = parquet_files(folder.path()).unwrap_err().to_string();
    assert!(message.contains("found train-00000-of-00002"), "{message}");
    put("train-00001-of-00002.parquet");
    assert_eq!(there().len(), 2);
    put("test.parquet");
    let message = parquet_files(folder.path()).unwrap_err().to_string();
    let parts = ["found test.parquet, train-0", "'train-*.parquet'"];
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn of_a_folder_of_idx_files_the_images_file_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let raw = root.join("raw");
    create_dir(&raw).unwrap();
    for file in ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"] {
        write(raw.join(file), "x").unwrap();
    }
    // torchvision keeps them in a folder of this name, which looks like a class.
    for found in [read(&raw), read_unlabelled(&raw), read(root)] {
        let message = found.err().unwrap().to_string();
        let remedy = "give the path of the images file itself (*images*idx3*)";
        assert!(message.contains(remedy), "{message}");
    }
    // Pictures that were unpacked from one, named after it.
    let pictures = root.join("pictures");
    create_dir(&pictures).unwrap();
    write(pictures.join("train-images-idx3-1.png"), "x").unwrap();
    assert_eq!(read_unlabelled(&pictures).unwrap().labels, [0]);
}
