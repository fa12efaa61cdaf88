//! `ascribe train --robust-training` and `ascribe inspect --test` as a user meets them.

use crate::command_line::{both, refused, run};

const TRAIN: &str = "train --train builtin:digits-train --test builtin:digits-test --architecture cifar-resnet8-w4 --side 8 \
                     --images 200 --batch-size 32 --epochs 4 --augmentation none --evaluate-every 0";

fn accuracy(result: &serde_json::Value) -> f64 {
    result["accuracy"].as_f64().unwrap()
}

#[test]
fn fast_and_free_models_are_measured_alike_by_train_and_inspect() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (way, radius) in [("fast", "0.3"), ("free --replays 3", "0.3")] {
        let out = way.split(' ').next().unwrap();
        let measured = "--eval-epsilon 0.1,0.5 --eval-steps 5 --eval-restarts 2";
        let adversary = format!("--adversary l2 --epsilon {radius} --robust-training {way}");
        run(
            folder,
            &format!("{TRAIN} {adversary} {measured} --out {out}"),
        );
        let record = ascribe::artefact::RunFolder::read(folder.join(out)).unwrap();
        let attacked: serde_json::Value = record.result("test_attacked").unwrap();
        let clean: serde_json::Value = record.result("test").unwrap();
        let text = run(
            folder,
            &format!("inspect {out} --test builtin:digits-test {measured} --json"),
        );
        let found: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(found["attacked"], attacked);
        assert_eq!(found["clean"], clean);
        let [small, large] = [0, 1].map(|index| accuracy(&attacked[index]));
        assert!(accuracy(&clean) >= small && small >= large, "{found}");
        assert!(accuracy(&clean) > large, "the attack does nothing: {found}");
    }
    // Looks of the guard: one after each of the epochs, in which 200 images make seven batches.
    let looks = std::fs::read_to_string(folder.join("fast/guard.csv")).unwrap();
    assert_eq!(looks.lines().count(), 5, "{looks}");
    assert!(!folder.join("free/guard.csv").exists());
    let text = run(
        folder,
        "inspect fast --test builtin:digits-test --images 50 --eval-adversary linf --eval-epsilon 0.05",
    );
    assert!(text.contains("PGD-20, L∞ ε = 0.05: accuracy"), "{text}");
    assert!(text.contains("50 of builtin:digits-test"), "{text}");
    // Ten classes as the model has, but of other names than its numbers.
    for class in 'a'..='j' {
        let place = folder.join("letters").join(class.to_string());
        std::fs::create_dir_all(&place).unwrap();
        image::GrayImage::new(8, 8)
            .save(place.join("1.png"))
            .unwrap();
    }
    for (test, notes) in [("builtin:digits-test", 0), ("letters", 1)] {
        let (_, noted) = both(folder, &format!("inspect fast --test {test} --images 10"));
        let by_position = "matched by their position: a of the test set with 0 of the model";
        assert_eq!(noted.matches(by_position).count(), notes, "{noted}");
    }
    let message = refused(folder, "inspect builtin:robust --test builtin:digits-test");
    assert!(
        message.contains("100 classes") && message.contains("10 classes"),
        "{message}"
    );
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let l2 = "--adversary l2 --epsilon 0.3";
    for (options, expected) in [
        (
            "--robust-training fast".to_owned(),
            "--robust-training: is for training against an adversary",
        ),
        (
            format!("{l2} --robust-training fast --steps 3"),
            "--steps: ",
        ),
        (
            format!("{l2} --robust-training fast --guard-every 0"),
            "--guard-every: ",
        ),
        (
            format!("{l2} --robust-training free --replays 1"),
            "--replays: ",
        ),
        (
            format!("{l2} --robust-training free --step-size 1"),
            "--robust-training: ",
        ),
        (
            "--epsilon 0.3".to_owned(),
            "--epsilon: is for training against an adversary: give --adversary",
        ),
        ("--steps 5".to_owned(), "--steps: is for training against"),
        (
            "--replays 3".to_owned(),
            "--replays: is for training against",
        ),
        (
            "--guard-every 3".to_owned(),
            "--guard-every: is for training against",
        ),
        (
            format!("{l2} --replays 3"),
            "--replays: is for --robust-training free",
        ),
        (
            format!("{l2} --robust-training free --guard-every 3"),
            "--guard-every: is for --robust-training fast",
        ),
        (
            format!("{l2} --eval-adversary linf"),
            "--eval-adversary: needs --eval-epsilon",
        ),
        (format!("{l2} --steps 0"), "--steps: "),
        (format!("{l2} --step-size -1"), "--step-size: "),
        (format!("{l2} --eval-epsilon 0.1,0"), "--eval-epsilon: "),
        (format!("{l2} --eval-steps 0"), "--eval-steps: "),
        (format!("{l2} --eval-restarts 0"), "--eval-restarts: "),
        (
            "--eval-adversary linf".to_owned(),
            "--eval-adversary: needs --eval-epsilon",
        ),
        (
            "--eval-steps 5".to_owned(),
            "--eval-steps: needs --eval-epsilon",
        ),
        (
            "--eval-restarts 5".to_owned(),
            "--eval-restarts: needs --eval-epsilon",
        ),
        ("--memory 0".to_owned(), "--memory: "),
        ("--memory -2".to_owned(), "--memory: "),
        ("--precision tf32".to_owned(), "--precision: "),
        ("--nondeterministic".to_owned(), "--nondeterministic: "),
        ("--device cuda:77".to_owned(), "--device: cuda:77: "),
        ("--learning-rate 0".to_owned(), "--learning-rate: "),
        (
            "--learning-rate -1e-3".to_owned(),
            "--learning-rate: expected a positive number, found -0.001",
        ),
        ("--l2 -.5".to_owned(), "--l2: "),
        (
            "--adversary l2 --epsilon -8/255".to_owned(),
            "--epsilon: expected a positive number",
        ),
        (
            "--adversary l2 --epsilon 1e-39".to_owned(),
            "--epsilon: expected a number from 1e-15 to 1e15, found 1e-39",
        ),
        (
            format!("{l2} --step-size 1e39"),
            "--step-size: expected a positive number of at most 3.4e38, found 1e39",
        ),
        (
            "--l2 1e39".to_owned(),
            "--l2: expected 0 or a positive number of at most",
        ),
        (
            format!("{l2} --eval-epsilon -0.1,0.2"),
            "--eval-epsilon: expected a positive number",
        ),
    ] {
        let message = refused(folder.path(), &format!("{TRAIN} {options} --out out"));
        assert!(message.contains(expected), "{options}: {message}");
        assert!(!folder.path().join("out").exists(), "{options}");
    }
    let message = refused(folder.path(), "inspect builtin:robust --eval-epsilon 0.1");
    assert!(message.contains("--test"), "{message}");
}
