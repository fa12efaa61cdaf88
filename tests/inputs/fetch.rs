//! `ascribe fetch` against a mirror on loopback.

pub(crate) mod mirror;

use ascribe::artefact::digest_bytes;
use mirror::{Mirror, Served};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

const TRAIN: &str = "/datasets/ylecun/mnist/resolve/77f3279092a1c1579b2250db8eafed0ad422088c/mnist/train-00000-of-00001.parquet";
const TEST: &str = "/datasets/ylecun/mnist/resolve/77f3279092a1c1579b2250db8eafed0ad422088c/mnist/test-00000-of-00001.parquet";

fn content(seed: u8) -> Vec<u8> {
    (0..10_000_u32)
        .map(|at| (at * at / 7) as u8 ^ seed)
        .collect()
}

fn whole(content: &[u8]) -> Served {
    Served {
        content: content.to_vec(),
        linked: Some(digest_bytes(content)),
        ..Served::default()
    }
}

fn run(mirror: &str, folder: &Path, words: &[&str]) -> Output {
    let mut command = assert_cmd::Command::cargo_bin("ascribe").unwrap();
    for name in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ] {
        command.env_remove(name);
    }
    command
        .env("HF_ENDPOINT", mirror)
        .current_dir(folder)
        .args(words)
        .output()
        .unwrap()
}

#[track_caller]
fn fetched(mirror: &Mirror, folder: &Path, words: &[&str]) -> String {
    let output = run(&mirror.address, folder, words);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The one line on standard error that is not about progress.
#[track_caller]
fn refused(mirror: &str, folder: &Path, words: &[&str], parts: &[&str]) {
    let output = run(mirror, folder, words);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("fetching "))
        .collect();
    assert_eq!(lines.len(), 1, "{text}");
    for part in parts {
        assert!(
            lines[0].contains(part),
            "`{part}` is missing in: {}",
            lines[0]
        );
    }
}

fn lock(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("fetch.json")).unwrap()).unwrap()
}

/// The names in a folder, hidden ones included.
fn names(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().unwrap();
    let mut names: Vec<String> = entries
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mnist() -> (Mirror, TempDir) {
    let mirror = Mirror::start();
    mirror.serve(TRAIN, whole(&content(0)));
    mirror.serve(TEST, whole(&content(1)));
    (mirror, tempfile::tempdir().unwrap())
}

#[test]
fn a_data_set_arrives_whole_and_a_second_fetch_asks_for_nothing() {
    let (mirror, place) = mnist();
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/digits/test.parquet");
    let digits = fs::read(digits).unwrap();
    mirror.serve(TEST, whole(&digits));
    let said = fetched(&mirror, place.path(), &["fetch", "mnist"]);
    assert!(
        said.contains("MNIST") && said.contains("licence: ") && said.contains("as hub has it"),
        "{said}"
    );
    let folder = place.path().join("mnist");
    assert_eq!(
        names(&folder),
        ["fetch.json", "test.parquet", "train.parquet"]
    );
    assert_eq!(fs::read(folder.join("train.parquet")).unwrap(), content(0));
    let record = &lock(&folder)["files"]["train.parquet"];
    assert_eq!(record["sha256"], digest_bytes(&content(0)));
    assert_eq!(record["checked_against"], serde_json::json!(["hub"]));
    assert_eq!(mirror.ranges().len(), 2);

    let said = fetched(&mirror, place.path(), &["fetch", "MNIST"]);
    assert!(said.contains("as hub has it"), "{said}");
    assert_eq!(&lock(&folder)["files"]["train.parquet"], record);
    assert_eq!(mirror.ranges().len(), 0);

    let said = fetched(&mirror, place.path(), &["inspect", "mnist/test.parquet"]);
    assert!(said.contains("Parquet") && said.contains("10; "), "{said}");
}

#[test]
fn a_model_is_taken_from_its_folder() {
    let mirror = Mirror::start();
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/checkpoints/robustness.ckpt");
    let path = "/madrylab/robust-imagenet-models/resolve/main/resnet50_l2_eps3.ckpt";
    mirror.serve(path, whole(&fs::read(fixture).unwrap()));
    let place = tempfile::tempdir().unwrap();
    fetched(&mirror, place.path(), &["fetch", "resnet50-l2-eps3"]);
    let said = fetched(
        &mirror,
        place.path(),
        &["inspect", "resnet50-l2-eps3", "--json"],
    );
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["architecture"], "cifar-resnet18-w2");
    assert_eq!(report["fits"], true);
}

#[test]
fn a_wrong_digest_is_thrown_away() {
    // The hub announces another file than it sends.
    let (mirror, place) = mnist();
    let served = Served {
        linked: Some(digest_bytes(b"another file")),
        ..whole(&content(0))
    };
    mirror.serve(TRAIN, served);
    let parts = [
        "train.parquet: content: expected sha256 ",
        "(the hub)",
        "thrown away",
    ];
    refused(&mirror.address, place.path(), &["fetch", "mnist"], &parts);
    assert_eq!(names(&place.path().join("mnist")), ["fetch.json"]);

    // The hub agrees with itself, but not with the registry.
    let path = "/datasets/uoft-cs/cifar10/resolve/0b2714987fa478483af9968de7c934580d0bb9a2/plain_text/train-00000-of-00001.parquet";
    mirror.serve(path, whole(&content(0)));
    let parts = ["expected sha256 8428b53a88a11ac3", "(the registry)"];
    refused(
        &mirror.address,
        place.path(),
        &["fetch", "cifar10", "--out", "ten"],
        &parts,
    );
    assert_eq!(names(&place.path().join("ten")), ["fetch.json"]);
}

/// Nobody published a digest: the first fetch's counts.
#[test]
fn a_recorded_digest_is_checked_ever_after() {
    let (mirror, place) = mnist();
    let plain = |content: &[u8]| Served {
        linked: None,
        ..whole(content)
    };
    mirror.serve(TRAIN, plain(&content(0)));
    let said = fetched(&mirror, place.path(), &["fetch", "mnist"]);
    assert!(said.contains("nobody has published one"), "{said}");
    let folder = place.path().join("mnist");
    assert_eq!(
        lock(&folder)["files"]["train.parquet"]["checked_against"],
        serde_json::json!([])
    );

    fs::write(folder.join("train.parquet"), "altered").unwrap();
    let parts = [
        "train.parquet: content",
        "(fetch.json)",
        "remove it and fetch again",
    ];
    refused(&mirror.address, place.path(), &["fetch", "mnist"], &parts);

    fs::remove_file(folder.join("train.parquet")).unwrap();
    mirror.serve(TRAIN, plain(&content(7)));
    let parts = [
        "recorded at the first fetch",
        "thrown away; choose another --out to take the new file, or remove mnist",
    ];
    refused(&mirror.address, place.path(), &["fetch", "mnist"], &parts);
    mirror.serve(TRAIN, plain(&content(0)));
    fetched(&mirror, place.path(), &["fetch", "mnist"]);

    let parts = ["holds mnist", "choose another --out"];
    refused(
        &mirror.address,
        place.path(),
        &["fetch", "svhn", "--out", "mnist"],
        &parts,
    );
    // A file of that name that is nobody's download.
    fs::create_dir(place.path().join("mine")).unwrap();
    fs::write(place.path().join("mine/train.parquet"), "mine").unwrap();
    let parts = [
        "train.parquet",
        "stands where the download would",
        "move it away",
    ];
    refused(
        &mirror.address,
        place.path(),
        &["fetch", "mnist", "--out", "mine"],
        &parts,
    );
}

/// As where a mirror asks to log in; nobody published a digest that it would differ from.
#[test]
fn a_page_in_the_place_of_a_file_is_thrown_away() {
    let (mirror, place) = mnist();
    let page = b"<!DOCTYPE html><html><body>Log in</body></html>";
    let served = Served {
        linked: None,
        ..whole(page)
    };
    mirror.serve(TRAIN, served);
    let parts = [
        "train.parquet: content: expected the file itself, found a web page",
        "thrown away; look for the file there with a browser",
    ];
    refused(&mirror.address, place.path(), &["fetch", "mnist"], &parts);
    assert_eq!(names(&place.path().join("mnist")), ["fetch.json"]);
    let record = lock(&place.path().join("mnist"));
    assert_eq!(record["files"], serde_json::json!({}));
    mirror.serve(TRAIN, whole(&content(0)));
    fetched(&mirror, place.path(), &["fetch", "mnist"]);
}

/// It may be an older one, or half of it: nothing that was not fetched is taken for the file, or written over.
#[test]
fn another_file_in_the_place_of_one_with_a_published_digest_is_refused() {
    let (mirror, place) = mnist();
    let folder = place.path().join("ten");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("train.parquet"), "mine").unwrap();
    let parts = [
        "ten/train.parquet: content: expected sha256 8428b53a88a11ac3",
        "(the registry), found ",
        "remove it and fetch again",
    ];
    let words = ["fetch", "cifar10", "--out", "ten"];
    refused(&mirror.address, place.path(), &words, &parts);
    assert_eq!(mirror.ranges().len(), 0);
    assert_eq!(names(&folder), ["train.parquet"]);
    assert_eq!(fs::read(folder.join("train.parquet")).unwrap(), b"mine");
}

#[test]
fn a_damaged_record_of_a_fetch_is_refused_by_its_name() {
    let (mirror, place) = mnist();
    fetched(&mirror, place.path(), &["fetch", "mnist"]);
    let record = place.path().join("mnist/fetch.json");
    let whole = fs::read(&record).unwrap();
    mirror.ranges();
    for damaged in [&whole[..whole.len() / 2], b"{}", b""] {
        fs::write(&record, damaged).unwrap();
        let parts = [
            "fetch.json: line ",
            "expected a complete JSON record",
            "restore the file or make it again",
        ];
        refused(&mirror.address, place.path(), &["fetch", "mnist"], &parts);
        assert_eq!(fs::read(&record).unwrap(), damaged);
    }
    assert_eq!(mirror.ranges().len(), 0);
}

#[test]
fn a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let (mirror, place) = mnist();
    let refusing = |refusals: &[u16]| Served {
        refusals: refusals.to_vec(),
        ..whole(&content(0))
    };
    mirror.serve(TRAIN, refusing(&[403]));
    let parts = ["the server answered 403", "look for the file there"];
    refused(&mirror.address, place.path(), &["fetch", "mnist"], &parts);
    assert_eq!(mirror.ranges().len(), 1);

    mirror.serve(TRAIN, refusing(&[503, 429]));
    fetched(&mirror, place.path(), &["fetch", "mnist"]);
    // Three times for the one file, once for the other.
    assert_eq!(mirror.ranges().len(), 4);
    let found = fs::read(place.path().join("mnist/train.parquet")).unwrap();
    assert_eq!(found, content(0));
}

#[test]
fn a_server_that_stays_busy_is_given_up() {
    let (mirror, place) = mnist();
    let served = Served {
        refusals: vec![500; 9],
        ..whole(&content(0))
    };
    mirror.serve(TRAIN, served);
    let parts = ["the server answered 500", "check the network"];
    refused(&mirror.address, place.path(), &["fetch", "mnist"], &parts);
    assert_eq!(mirror.ranges().len(), 5);
}

#[test]
fn a_cut_connection_is_taken_up_where_it_broke() {
    let (mirror, place) = mnist();
    let served = Served {
        cuts: vec![1000, 2500, 0],
        ..whole(&content(0))
    };
    mirror.serve(TRAIN, served);
    fetched(&mirror, place.path(), &["fetch", "mnist"]);
    assert_eq!(
        fs::read(place.path().join("mnist/train.parquet")).unwrap(),
        content(0)
    );
    let range = |from: usize| Some(format!("bytes={from}-"));
    assert_eq!(
        mirror.ranges(),
        [None, range(1000), range(3500), range(3500), None]
    );
}

#[test]
fn a_fetch_that_failed_goes_on_in_another_process() {
    let (mirror, place) = mnist();
    let cuts = [&[4000][..], &[0; 8]].concat();
    let served = Served {
        cuts,
        ..whole(&content(0))
    };
    mirror.serve(TRAIN, served);
    let parts = ["4000 bytes are kept", "check the network"];
    refused(&mirror.address, place.path(), &["fetch", "mnist"], &parts);
    let folder = place.path().join("mnist");
    assert_eq!(names(&folder), [".train.parquet.recorded", "fetch.json"]);
    mirror.ranges();
    mirror.serve(TRAIN, whole(&content(0)));
    fetched(&mirror, place.path(), &["fetch", "mnist"]);
    assert_eq!(mirror.ranges()[0], Some("bytes=4000-".into()));
    assert_eq!(fs::read(folder.join("train.parquet")).unwrap(), content(0));
    assert_eq!(
        names(&folder),
        ["fetch.json", "test.parquet", "train.parquet"]
    );
}

/// As where the network goes in the middle of a file.
#[test]
fn a_server_that_went_is_asked_again_and_what_it_sent_is_kept() {
    let place = tempfile::tempdir().unwrap();
    // One connection for the redirect, one for the file.
    let short = Mirror::start_for(2);
    let served = Served {
        cuts: vec![4000],
        ..whole(&content(0))
    };
    short.serve(TRAIN, served);
    let parts = [
        "the connection was refused",
        "4000 bytes are kept and the next fetch goes on from there",
    ];
    refused(&short.address, place.path(), &["fetch", "mnist"], &parts);
    let mirror = Mirror::start();
    mirror.serve(TRAIN, whole(&content(0)));
    mirror.serve(TEST, whole(&content(1)));
    fetched(&mirror, place.path(), &["fetch", "mnist"]);
    assert_eq!(mirror.ranges()[0], Some("bytes=4000-".into()));
}

/// What was begun belongs to another file now, or nobody can tell: from the beginning.
#[test]
fn a_file_that_changed_or_cannot_be_told_is_begun_anew() {
    let begun = |first: Served, second: Served| {
        let (mirror, place) = mnist();
        let cuts = [&[4000][..], &[0; 8]].concat();
        mirror.serve(TRAIN, Served { cuts, ..first });
        let output = run(&mirror.address, place.path(), &["fetch", "mnist"]);
        assert_eq!(output.status.code(), Some(1));
        mirror.ranges();
        mirror.serve(TRAIN, second.clone());
        fetched(&mirror, place.path(), &["fetch", "mnist"]);
        assert_eq!(
            fs::read(place.path().join("mnist/train.parquet")).unwrap(),
            second.content
        );
        mirror.ranges()
    };
    let untagged = Served {
        linked: None,
        ..whole(&content(0))
    };
    // Another file by the hub's tag.
    assert!(begun(whole(&content(0)), whole(&content(3))).contains(&None));
    // A mirror without tags: the first request of the second process asks for everything.
    assert_eq!(begun(untagged.clone(), untagged.clone())[0], None);
    // The storage's own tag will do.
    let tagged = Served {
        etag: Some("abc".into()),
        ..untagged
    };
    assert_eq!(begun(tagged.clone(), tagged)[0], Some("bytes=4000-".into()));
    // A mirror that sends everything whatever was asked for.
    let whole_only = Served {
        no_ranges: true,
        ..whole(&content(0))
    };
    assert_eq!(
        begun(whole(&content(0)), whole_only)[0],
        Some("bytes=4000-".into())
    );
}

/// Bytes that came without a tag are not taken for those of the tag that came before.
#[test]
fn bytes_of_one_mirror_are_not_continued_by_another() {
    let (mirror, place) = mnist();
    let tagged = |content: &[u8], cuts: &[usize]| Served {
        content: content.to_vec(),
        etag: Some("abc".into()),
        cuts: cuts.to_vec(),
        ..Served::default()
    };
    let cuts = |first: usize| [&[first][..], &[0; 8]].concat();
    mirror.serve(TRAIN, tagged(&content(0), &cuts(4000)));
    assert!(
        !run(&mirror.address, place.path(), &["fetch", "mnist"])
            .status
            .success()
    );
    let untagged = Served {
        etag: None,
        ..tagged(&content(5), &[2000; 9])
    };
    mirror.serve(TRAIN, untagged);
    assert!(
        !run(&mirror.address, place.path(), &["fetch", "mnist"])
            .status
            .success()
    );
    mirror.serve(TRAIN, tagged(&content(0), &[]));
    fetched(&mirror, place.path(), &["fetch", "mnist"]);
    let found = fs::read(place.path().join("mnist/train.parquet")).unwrap();
    assert_eq!(found, content(0));
}

#[test]
fn no_network_no_such_file_no_such_name_are_one_line_each() {
    let place = tempfile::tempdir().unwrap();
    // A port that was free a moment ago and that nobody listens at.
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let parts = [
        "the connection was refused",
        "check the network, or set HF_ENDPOINT to a mirror",
    ];
    refused(&closed, place.path(), &["fetch", "mnist"], &parts);
    let parts = ["no.such.host.invalid", "check the network"];
    refused(
        "http://no.such.host.invalid",
        place.path(),
        &["fetch", "mnist"],
        &parts,
    );
    let parts = [
        "mirror.example: HF_ENDPOINT is no address",
        "begin it with https://",
    ];
    refused("mirror.example", place.path(), &["fetch", "mnist"], &parts);
    let mirror = Mirror::start();
    let parts = [
        "mnist/train-00000-of-00001.parquet",
        "404",
        "look for the file there",
    ];
    refused(&mirror.address, place.path(), &["fetch", "mnist"], &parts);
    assert!(
        names(place.path()).is_empty(),
        "a folder where nothing came is taken away again"
    );
    let parts = ["fetching resnet50-l2-eps4", "did you mean resnet50-l2-eps"];
    let output = run(
        &mirror.address,
        place.path(),
        &["fetch", "resnet50-l2-eps4"],
    );
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    let listed = fetched(&mirror, place.path(), &["fetch", "--list"]);
    assert!(
        listed.lines().count() == 61 && listed.contains("kmnist"),
        "{listed}"
    );
}

#[test]
fn scripts_are_told_what_came_and_what_there_is() {
    let (mirror, place) = mnist();
    let told = |words: &[&str]| -> Value {
        serde_json::from_str(&fetched(&mirror, place.path(), words)).unwrap()
    };
    let found = told(&["fetch", "mnist", "--json"]);
    assert_eq!(
        (&found["name"], &found["out"]),
        (&"mnist".into(), &"mnist".into())
    );
    let files = found["files"].as_array().unwrap();
    assert_eq!(files.len(), 2);
    for (name, seed) in [("train", 0), ("test", 1)] {
        let path = format!("mnist/{name}.parquet");
        let file = files.iter().find(|file| file["path"] == path).unwrap();
        assert_eq!(file["bytes"], 10_000);
        assert_eq!(file["sha256"], digest_bytes(&content(seed)));
        assert_eq!(file["checked_against"], serde_json::json!(["hub"]));
    }
    let all = told(&["fetch", "--list", "--json"]);
    let all = all["entries"].as_array().unwrap();
    assert_eq!(all.len(), 61);
    let entry = all.iter().find(|entry| entry["name"] == "mnist").unwrap();
    assert_eq!(entry["licence"], found["licence"]);
    assert_eq!(entry["about"], found["about"]);
}
