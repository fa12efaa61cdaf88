use super::*;
use crate::artefact::{processor, read_json};
use serde_json::{Value, json};

fn options(epochs: u64, threads: u64) -> Options {
    let value = json!({ "epochs": epochs, "seed": 7, "threads": threads });
    serde_json::from_value(value).unwrap()
}

fn input(path: &str, digest: &str, rows: usize) -> Input {
    Input {
        role: "train".into(),
        path: path.into(),
        digest: digest.into(),
        rows: Some(rows),
    }
}

fn open(path: &Path, options: Options, input: Input) -> Result<RunFolder> {
    let arguments = vec!["train".into(), "--data".into(), "a b".into()];
    RunFolder::open_or_create(path, "train", arguments, options, vec![input])
}

fn plain(path: &Path) -> Result<RunFolder> {
    open(
        path,
        options(10, 2),
        input("digits", "0123456789abcdef", 100),
    )
}

/// A run that was killed on the way, with something to go on from.
fn killed(path: &Path) {
    let run = plain(path).unwrap();
    std::fs::write(path.join("checkpoint"), b"4 epochs").unwrap();
    drop(run);
}

/// The message after the path.
fn refusal<T: std::fmt::Debug>(path: &Path, result: Result<T>) -> String {
    let message = result.unwrap_err().to_string();
    assert!(!message.contains('\n'));
    message
        .strip_prefix(&format!("{}: ", path.display()))
        .unwrap()
        .to_owned()
}

#[test]
fn a_run_is_recorded_and_read_back() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("deep/run");
    let mut run = plain(&path).unwrap();
    assert!(!run.is_resuming());
    run.set_classes(vec!["cat".into(), "dog".into()]).unwrap();
    run.stage("training").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    run.stage("scoring").unwrap();
    run.set_result("accuracy", json!({ "test": 0.5 })).unwrap();
    let finished = run.finish().unwrap();
    let record = RunFolder::read(&path).unwrap();
    assert_eq!(record, finished);
    assert_eq!(record.status, Status::Finished);
    assert_eq!(record.input("train").unwrap().rows, Some(100));
    assert_eq!(record.results["accuracy"]["test"], 0.5);
    assert_eq!(record.stages[1].name, "scoring");
    assert!(record.stages[0].seconds >= 0.02 && record.stages[1].seconds < record.seconds);
    assert!(cfg!(not(target_os = "linux")) || record.stages[0].peak_memory_bytes > Some(1 << 20));
    assert!(
        record.started_at.ends_with('Z') && record.started_at.len() == 20,
        "{}",
        record.started_at
    );
    let names: Vec<_> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["run.json"]);
}

#[test]
fn the_same_unfinished_run_resumes_with_other_threads_and_another_path_to_the_same_data() {
    let place = tempfile::tempdir().unwrap();
    let mut run = plain(place.path()).unwrap();
    run.stage("training").unwrap();
    run.set_result("epochs_done", 4).unwrap();
    let (first_stage, started_at) = (
        run.record().stages[0].seconds,
        run.record().started_at.clone(),
    );
    std::fs::write(place.path().join("checkpoint"), b"4 epochs").unwrap();
    drop(run); // as a kill would
    std::fs::write(place.path().join(".scores.npy.x1.partial"), b"half").unwrap();
    let mut run = open(
        place.path(),
        options(10, 8),
        input("moved", "0123456789abcdef", 100),
    )
    .unwrap();
    assert!(run.is_resuming());
    assert!(!place.path().join(".scores.npy.x1.partial").exists());
    run.stage("training").unwrap();
    let record = run.finish().unwrap();
    assert_eq!(record.result::<u64>("epochs_done").unwrap(), 4);
    assert_eq!(record.stages.len(), 1);
    assert!(record.stages[0].seconds > first_stage);
    assert_eq!(record.started_at, started_at);
    assert_eq!(record.processor, processor());
}

#[test]
fn every_processor_that_a_run_was_made_on_is_named_once() {
    let here = || "B, AVX2".to_owned();
    assert_eq!(in_turn("", here()), "");
    assert_eq!(in_turn("B, AVX2", here()), "B, AVX2");
    assert_eq!(in_turn("A", here()), "A; B, AVX2");
    assert_eq!(in_turn("A; B, AVX2; C", here()), "A; B, AVX2; C");
}

#[test]
fn a_finished_run_is_refused() {
    let place = tempfile::tempdir().unwrap();
    plain(place.path()).unwrap().finish().unwrap();
    let message = refusal(place.path(), plain(place.path()));
    assert_eq!(
        message,
        "already holds this finished run; choose another --out, or remove the folder"
    );
    assert!(!place.path().join(LOCK).exists());
}

#[test]
fn another_run_is_refused_with_the_first_difference() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    killed(path);
    let end = "; choose another --out, or remove the folder";
    let message = refusal(
        path,
        open(
            path,
            options(20, 2),
            input("digits", "0123456789abcdef", 100),
        ),
    );
    assert_eq!(
        message,
        format!("holds another run: --epochs was 10, is now 20{end}")
    );

    let mut more = options(10, 2);
    more.insert("l2".into(), 0.5.into());
    let message = refusal(
        path,
        open(path, more, input("digits", "0123456789abcdef", 100)),
    );
    assert_eq!(
        message,
        format!("holds another run: --l2 was not set, is now 0.5{end}")
    );

    let message = refusal(
        path,
        open(
            path,
            options(10, 2),
            input("digits", "fedcba9876543210", 100),
        ),
    );
    let expected = "holds another run: input was digits (train, digest 0123456789ab…, 100 rows), \
                    is now digits (train, digest fedcba987654…, 100 rows)";
    assert_eq!(message, format!("{expected}{end}"));

    let message = refusal(
        path,
        open(
            path,
            options(10, 2),
            input("digits", "0123456789abcdef", 99),
        ),
    );
    assert!(message.contains("99 rows)"), "{message}");

    let message = refusal(
        path,
        RunFolder::open_or_create(path, "train", vec![], options(10, 2), vec![]),
    );
    assert!(message.contains("is now absent"), "{message}");

    let message = refusal(
        path,
        RunFolder::open_or_create(path, "rank", vec![], Options::new(), vec![]),
    );
    let expected = "holds another run: command was train, is now rank; choose another --out";
    assert_eq!(message, expected);
}

/// As `rank --model m --out m`.
#[test]
fn a_folder_that_the_run_reads_is_not_offered_for_removal() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run");
    killed(&path);
    let weights = path.join("checkpoint").display().to_string();
    let message = refusal(&path, open(&path, options(10, 2), input(&weights, "0", 1)));
    assert!(message.ends_with("; choose another --out"), "{message}");
}

#[test]
fn a_run_among_the_images_that_it_reads_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let images = place.path().join("pets");
    std::fs::create_dir_all(images.join("cat")).unwrap();
    let at = |out: &str, input: Input| open(&place.path().join(out), options(10, 2), input);
    let pets = || input(&images.display().to_string(), "0", 4);
    for out in ["pets/run", "pets/cat/runs/run", "pets/../pets/run"] {
        let message = refusal(&place.path().join(out), at(out, pets()));
        let expected = format!(
            "lies among the images of {}; choose an --out outside the images",
            images.display()
        );
        assert_eq!(message, expected);
    }
    assert_eq!(std::fs::read_dir(&images).unwrap().count(), 1);
    drop(at("pets-run", pets()).unwrap());
    drop(at("pets/../run", pets()).unwrap());
    // Hidden folders are no classes.
    drop(at("pets/.runs/new/run", pets()).unwrap());
    // Weights, as those of the model that is ranked, and files of many images.
    let weights = Input {
        rows: None,
        ..pets()
    };
    drop(at("pets/run", weights).unwrap());
    for name in ["features.npy", "train.parquet", "data_batch_1.bin"] {
        let file = images.join(name);
        std::fs::write(&file, "").unwrap();
        drop(at("pets/run", pets()).unwrap());
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn one_run_of_a_study_is_not_taken_for_a_study() {
    let place = tempfile::tempdir().unwrap();
    let begin = |options: Options| {
        RunFolder::open_or_extend(place.path(), "study", vec![], options, vec![])
    };
    begin(options(10, 2)).unwrap().finish().unwrap();
    let spec = || Options::from([("spec".into(), "spec.toml".into())]);
    let message = refusal(place.path(), begin(spec()));
    assert_eq!(message, "is one run of a study; choose another --out");
    std::fs::remove_file(place.path().join(RECORD)).unwrap();
    begin(spec()).unwrap().finish().unwrap();
    begin(spec()).unwrap();
}

#[test]
fn a_place_where_no_folder_can_be_made_is_refused_before_any_work() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path().canonicalize().unwrap();
    let file = place.join("file");
    std::fs::write(&file, "").unwrap();
    for out in [file.clone(), file.join("runs/run")] {
        let message = refusal(&file, RunFolder::check_place(&out));
        assert_eq!(message, "is no folder; choose another --out");
    }
    for out in [place.clone(), place.join("runs/run")] {
        RunFolder::check_place(&out).unwrap();
    }
}

#[test]
fn another_version_does_not_continue_a_run() {
    let place = tempfile::tempdir().unwrap();
    killed(place.path());
    let file = place.path().join(RECORD);
    let mut record: Value = read_json(&file).unwrap();
    record["ascribe"] = "0.0.1".into();
    write_json(&file, &record).unwrap();
    let message = refusal(place.path(), plain(place.path()));
    assert!(
        message.contains("it was begun by ascribe 0.0.1, this is"),
        "{message}"
    );
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let place = tempfile::tempdir().unwrap();
    let first = plain(place.path()).unwrap();
    let message = refusal(place.path(), plain(place.path()));
    let expected =
        "another process is at work in this folder; wait for it to end, or choose another --out";
    assert_eq!(message, expected);
    std::fs::write(place.path().join("checkpoint"), b"4 epochs").unwrap();
    drop(first);
    assert!(plain(place.path()).unwrap().is_resuming());
}

#[test]
fn a_run_that_fails_with_nothing_to_go_on_from_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run");
    let mut run = plain(&path).unwrap();
    run.stage("decoding").unwrap();
    drop(run);
    assert!(!path.exists());
    // A folder that was there stays.
    std::fs::create_dir(&path).unwrap();
    drop(plain(&path).unwrap());
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
    // What a killed run left stays, whatever fails afterwards.
    killed(&path);
    drop(plain(&path).unwrap());
    assert!(plain(&path).unwrap().is_resuming());
}

#[test]
fn a_run_repeats_another_only_with_its_options_and_inputs() {
    let place = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| place.path().join(name));
    let repeated = plain(&first).unwrap().finish().unwrap();
    let repeat = |options: Options| {
        let invocation = Invocation {
            arguments: vec!["train".into()],
            repeated: Some(Box::new(repeated.clone())),
        };
        let input = input("moved", "0123456789abcdef", 100);
        RunFolder::open_or_create(&second, "train", invocation, options, vec![input])
    };
    let message = refusal(&first, repeat(options(20, 2)));
    let start = "cannot be repeated: --epochs was 10, is now 20; ";
    assert!(message.starts_with(start), "{message}");
    assert!(!second.exists());
    repeat(options(10, 8)).unwrap().finish().unwrap();
}

#[test]
fn paths_of_a_run_begin_where_it_was_typed() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run");
    killed(&path);
    std::fs::write(place.path().join("digits"), b"").unwrap();
    let mut record: RunRecord = read_json(path.join(RECORD)).unwrap();
    assert_eq!(record.directory, std::env::current_dir().unwrap());
    record.directory = place.path().to_path_buf();
    record.status = Status::Finished;
    write_json(path.join(RECORD), &record).unwrap();
    let found = RunFolder::read(&path).unwrap();
    assert_eq!(found.inputs[0].path, place.path().join("digits"));
    let absent = Path::new("builtin:digits");
    assert_eq!(found.located(absent), absent);
}

#[test]
fn a_folder_with_other_files_or_a_file_is_refused_and_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let thesis = place.path().join("thesis.tex");
    std::fs::write(&thesis, b"years of work").unwrap();
    let message = refusal(place.path(), plain(place.path()));
    let expected =
        "holds other files (thesis.tex) and no run.json; choose a new or empty folder as --out";
    assert_eq!(message, expected);
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    assert_eq!(
        refusal(&thesis, plain(&thesis)),
        "is a file, not a folder; choose another --out"
    );
}

#[test]
fn a_cut_short_record_is_a_format_error() {
    let place = tempfile::tempdir().unwrap();
    killed(place.path());
    let file = place.path().join(RECORD);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    for error in [
        plain(place.path()).unwrap_err(),
        RunFolder::read(place.path()).unwrap_err(),
    ] {
        assert!(
            matches!(&error, Error::Format { path, .. } if *path == file),
            "{error}"
        );
    }
}

#[test]
fn consumers_get_finished_runs_only() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run");
    let message = refusal(&path, RunFolder::read(&path));
    assert!(
        message.starts_with("cannot read: ") && message.ends_with("; check the path"),
        "{message}"
    );
    std::fs::create_dir(&path).unwrap();
    let message = refusal(&path, RunFolder::read(&path));
    assert_eq!(
        message,
        "holds no run.json; give the output folder of an ascribe command"
    );
    let run = plain(&path).unwrap();
    let message = refusal(&path, RunFolder::read(&path));
    let expected =
        "holds an unfinished run; wait for it, or resume it with: ascribe train --data 'a b'";
    assert_eq!(message, expected);
    // Relative paths of the command begin where it was typed.
    let file = path.join(RECORD);
    let mut record: RunRecord = read_json(&file).unwrap();
    record.directory = "/old place".into();
    write_json(&file, &record).unwrap();
    let message = refusal(&path, RunFolder::read(&path));
    let expected = "or resume it in '/old place' with: ascribe train --data 'a b'";
    assert!(message.ends_with(expected), "{message}");
    run.finish().unwrap();
    RunFolder::read(&path).unwrap();
}
