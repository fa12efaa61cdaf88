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
    for (file, bytes) in [("2.png", "x"), ("10.JPG", "y"), (".a.png", "")] {
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
    // Class folders are gone through as they are; images beside them are refused here too, by the folder's name.
    create_dir(root.join("cat")).unwrap();
    write(root.join("cat/1.png"), "z").unwrap();
    assert!(message(read_unlabelled(root)).contains("found the folder cat beside 10.JPG; move"));
    for file in ["2.png", "10.JPG"] {
        std::fs::remove_file(root.join(file)).unwrap();
    }
    assert_eq!(read_unlabelled(root).unwrap().labels, [0]);
}

#[test]
fn what_is_no_image_is_refused_among_images_alone_as_in_class_folders() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let alone = root.join("cat");
    create_dir(&alone).unwrap();
    write(alone.join("1.jpg"), "x").unwrap();
    for files in ["2.TIF", "0004", "a.pdf", "a.pdf b.zip"] {
        let files: Vec<&str> = files.split(' ').collect();
        for file in &files {
            write(alone.join(file), "x").unwrap();
        }
        let said = match &files[..] {
            [file] => format!("found {file}; convert or remove it; ascribe inspect "),
            _ => "found a.pdf; convert or remove it; 1 more: ascribe inspect ".to_owned(),
        };
        for found in [read_unlabelled(&alone), read(root)] {
            let message = found.err().unwrap().to_string();
            assert!(message.contains(&said), "{message}");
        }
        for file in &files {
            std::fs::remove_file(alone.join(file)).unwrap();
        }
    }
    write(alone.join("README.txt"), "x").unwrap();
    assert_eq!(read_unlabelled(&alone).unwrap().labels, [0]);
    let refused = read(root).err().unwrap().to_string();
    assert!(refused.contains("found README.txt"), "{refused}");
}

/// Whoever may read everything, as the superuser, finds nothing wrong here.
#[cfg(unix)]
#[test]
fn a_class_folder_that_cannot_be_read_is_one_fault_of_several() {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for class in ["cat", "dog"] {
        create_dir(root.join(class)).unwrap();
    }
    write(root.join("dog/notes.txt"), "x").unwrap();
    let permit = |mode| std::fs::set_permissions(root.join("cat"), Permissions::from_mode(mode));
    permit(0).unwrap();
    let readable = std::fs::read_dir(root.join("cat")).is_ok();
    let faults = Listing::read(root).unwrap().faults;
    permit(0o700).unwrap();
    let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(readable || said[0].contains("cat: cannot read"), "{said:?}");
    assert!(said[1].contains("found notes.txt"), "{said:?}");
}

#[test]
fn weights_beside_class_folders_make_no_model_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for class in ["cat", ".cache"] {
        create_dir(root.join(class)).unwrap();
    }
    for file in ["x.pt", "1.png", "cat/notes.txt", ".cache/1.png"] {
        write(root.join(file), "x").unwrap();
    }
    assert!(!has_class_folders(root));
    write(root.join("cat/1.png"), "x").unwrap();
    // One folder of pictures is that of a model's curves.
    assert!(!has_class_folders(root));
    create_dir(root.join("dog")).unwrap();
    assert!(!has_class_folders(root));
    write(root.join("dog/1.png"), "x").unwrap();
    assert!(has_class_folders(root));
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
        message.contains("found 1.png, which is no file; remove it"),
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
    assert!(message.contains(refused), "{message}");
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
    assert!(message.contains(found), "{message}");
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
fn of_a_folder_of_idx_or_matlab_files_the_images_file_is_asked_for() {
    let idx = ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"];
    let idx_remedy = "give the path of the images file itself (*images*idx3*)";
    let matlab = ["test_32x32.mat", "train_32x32.MAT"];
    let matlab_remedy = "give the path of the file itself (*_32x32.mat)";
    for (files, remedy) in [(idx, idx_remedy), (matlab, matlab_remedy)] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let raw = root.join("raw");
        create_dir(&raw).unwrap();
        for file in files {
            write(raw.join(file), "x").unwrap();
        }
        // torchvision keeps them in a folder of this name, which looks like a class.
        for found in [read(&raw), read_unlabelled(&raw), read(root)] {
            let message = found.err().unwrap().to_string();
            assert!(message.contains(remedy), "{message}");
        }
    }
    // Pictures that were unpacked from one, named after it.
    let pictures = tempfile::tempdir().unwrap();
    write(pictures.path().join("train-images-idx3-1.png"), "x").unwrap();
    assert_eq!(read_unlabelled(pictures.path()).unwrap().labels, [0]);
}
