//! `ascribe rerun` and what runs leave for it: the same again from anywhere, refusals, and folders of commands that failed.

use assert_cmd::Command;
use image::codecs::png::PngEncoder;
use std::fs;
use std::path::Path;

/// A command, `words` parted by spaces, typed in `folder`.
fn ascribe(folder: &Path, words: &str) -> Command {
    let mut command = Command::cargo_bin("ascribe").unwrap();
    command.current_dir(folder).args(words.split(' '));
    command
}

fn succeeds(folder: &Path, words: &str) -> String {
    let output = ascribe(folder, words).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The one line of a command that fails with exit code 1, and what it printed before.
fn fails(folder: &Path, words: &str) -> (String, String) {
    let output = ascribe(folder, words).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{words}");
    let error = String::from_utf8(output.stderr).unwrap();
    let line = error.lines().last().unwrap_or_default().to_owned();
    assert!(line.starts_with("ascribe: "), "{words}: {error}");
    (line, String::from_utf8(output.stdout).unwrap())
}

const TRANSFER: &str = "transfer --source builtin:robust --train builtin:digits-train --test builtin:digits-test --images 60 \
                        --blocks 1 --epochs 2 --batch-size 20 --augmentation none --out model";

#[test]
fn every_kind_of_run_comes_out_the_same_from_another_folder() {
    let place = tempfile::tempdir().unwrap();
    let there = place.path().canonicalize().unwrap();
    let [made, elsewhere] = ["made", "elsewhere"].map(|name| there.join(name));
    fs::create_dir(&made).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    let study = "images = [40]\nblocks = [1]\nepochs = 1\nseeds = 2\nbatch-size = 20\naugmentation = \"none\"\n\
                 [source.robust]\nmodel = \"builtin:robust\"\nside = 8\n\
                 [target.digits]\ntrain = \"builtin:digits-train\"\ntest = \"builtin:digits-test\"\n";
    fs::write(made.join("study.toml"), study).unwrap();
    let runs = [
        ("model", TRANSFER),
        ("rank", "rank --model model --scores --bottom 5 --out=rank"),
        (
            "blocks",
            "rank --model model --blocks 1 --queries 3 --damping 1e-1 --out blocks",
        ),
        (
            "evidence",
            "evaluate rank --leave-one-out 5 --lds 4 --compare ekfac --queries 20 --out evidence",
        ),
        (
            "audit",
            "--threads 1 audit rank --measure 0 --skip-sensitivity --out audit",
        ),
        (
            "source",
            "train --train builtin:digits-train --test builtin:digits-test --images 50 --side 8 \
                    --architecture cifar-resnet8-w8 --epochs 1 --augmentation none --out source",
        ),
        ("study", "study study.toml --jobs 1 --out study"),
    ];
    for (folder, words) in runs {
        succeeds(&made, words);
        let again = format!("{folder}-again");
        let printed = succeeds(&elsewhere, &format!("rerun ../made/{folder}"));
        let first = printed.lines().next().unwrap();
        assert!(
            first.starts_with("$ ascribe ") && first.contains(&again),
            "{printed}"
        );
        let last = printed.lines().last().unwrap();
        // What is said leads there from where it was typed.
        let [was, is] = [folder, &again].map(|name| made.join(name).display().to_string());
        let same = format!("{is}: the same as {was}, in all ");
        assert!(last.starts_with(&same), "{printed}");
        let out = format!(" --out={is}");
        assert!(first.contains(&out), "{printed}");
        assert!(made.join(again).join("run.json").exists());
    }
    // Runs are taken up from elsewhere by other commands too.
    succeeds(
        &elsewhere,
        "evaluate ../made/rank --leave-one-out 5 --retrain 1 --queries 5 --out evidence",
    );
    succeeds(
        &elsewhere,
        "audit ../made/rank --measure 0 --skip-sensitivity --out audit",
    );
    // What a study would take for its own work, and itself.
    let (line, _) = fails(&made, "rerun study");
    let taken = "study-again: already holds a finished run; choose another --out, or remove it";
    assert!(line.ends_with(taken), "{line}");
    let record = fs::read(made.join("study/run.json")).unwrap();
    let (line, _) = fails(&made, "rerun study --out study");
    let itself = "study: holds what is repeated; choose another --out";
    assert!(line.ends_with(itself), "{line}");
    assert_eq!(fs::read(made.join("study/run.json")).unwrap(), record);
    let (part, _) = fails(
        &made,
        &format!("rerun study/runs/{}", first_name(&made.join("study/runs"))),
    );
    assert!(
        part.ends_with("is one run of a study; rerun the study's folder"),
        "{part}"
    );
}

/// Files that are not the run's do not count; those that are no longer what it left are told, whatever is in them now.
#[test]
fn what_is_not_as_it_was_left_is_told() {
    let place = tempfile::tempdir().unwrap();
    let there = place.path();
    succeeds(there, TRANSFER);
    succeeds(there, "rank --model model --skip-train --scores --out rank");
    succeeds(there, "figure matrix rank --out figures");
    let cells = fs::read_to_string(there.join("figures/influence_matrix.csv")).unwrap();
    assert!(
        cells.contains("test") && !cells.contains("train,"),
        "{cells}"
    );
    fs::write(there.join("rank/notes.txt"), "mine").unwrap();
    let said = succeeds(there, "inspect rank --check");
    assert!(said.contains("as the run left it"), "{said}");
    let said = succeeds(there, "rerun rank --out again");
    assert!(said.contains("again: the same as rank"), "{said}");

    let table = there.join("rank/rankings.parquet");
    let bytes = fs::read(&table).unwrap();
    fs::write(&table, &bytes[..bytes.len() / 2]).unwrap();
    fs::remove_file(there.join("rank/scores.npy")).unwrap();
    let output = ascribe(there, "inspect rank --check").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    for fault in [
        "rankings.parquet is not what the run left",
        "scores.npy is gone",
    ] {
        assert!(said.contains(fault), "{said}");
    }
    let (line, said) = fails(there, "rerun rank --out once-more");
    let expected = "rankings.parquet: differs; the file before is not what its run left";
    assert!(said.contains(expected), "{said}");
    assert!(line.ends_with("put back what was there"), "{line}");
    let (line, _) = fails(there, "inspect model/model.safetensors --check");
    assert!(line.contains("a data set of images or a run"), "{line}");
}

fn first_name(folder: &Path) -> String {
    let entry = fs::read_dir(folder).unwrap().next().unwrap().unwrap();
    entry.file_name().into_string().unwrap()
}

/// Eight images of two classes, the first of them brighter by `more`.
fn write_images(folder: &Path, more: u8) {
    for (class, value) in [("dark", 20u8), ("light", 200)] {
        fs::create_dir_all(folder.join(class)).unwrap();
        for at in 0..4u8 {
            let pixel = value + at + if at == 0 { more } else { 0 };
            let picture = image::GrayImage::from_pixel(8, 8, image::Luma([pixel]));
            let file = folder.join(class).join(format!("{at}.png"));
            let png = PngEncoder::new(fs::File::create(file).unwrap());
            picture.write_with_encoder(png).unwrap();
        }
    }
}

/// Makes a run's record that of another processor, which left the file as it is now.
fn made_elsewhere(run: &Path, file: &str) {
    let path = run.join("run.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["processor"] = "Abacus".into();
    let digest = ascribe::artefact::digest_file(run.join(file)).unwrap();
    record["results"]["digests"][file] = digest.into();
    fs::write(&path, serde_json::to_vec_pretty(&record).unwrap()).unwrap();
}

#[test]
fn what_has_changed_is_refused_and_what_comes_out_otherwise_is_told() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    write_images(&place.join("images"), 0);
    let transfer = "transfer --source builtin:natural --train images --test images --blocks 0 --epochs 1 --batch-size 4 \
                    --augmentation none --out model";
    succeeds(place, transfer);
    write_images(&place.join("images"), 5);
    let (line, _) = fails(place, "rerun model");
    let start = "ascribe: model: cannot be repeated: input was images (train, digest ";
    assert!(line.starts_with(start), "{line}");
    assert!(!place.join("model-again").exists());

    write_images(&place.join("images"), 0);
    let history = fs::read_to_string(place.join("model/training.csv")).unwrap();
    fs::write(
        place.join("model/training.csv"),
        history.replace("\n1,", "\n2,"),
    )
    .unwrap();
    let (line, printed) = fails(place, "rerun model --out second");
    assert!(printed.contains("\ntraining.csv: 1 of "), "{printed}");
    assert!(
        line.contains("second: expected the 3 files of ")
            && line.contains(", found 1 that differ; "),
        "{line}"
    );

    let (line, _) = fails(place, "rerun model --out second");
    assert!(
        line.contains("second: already holds this finished run; choose another --out"),
        "{line}"
    );
    made_elsewhere(&place.join("model"), "training.csv");
    let (line, _) = fails(place, "rerun model --out elsewhere");
    assert!(
        line.contains(" than on Abacus, where it was made"),
        "{line}"
    );

    let (line, _) = fails(place, "rerun images");
    assert!(
        line.contains("images: holds no run.json; give the output folder of an ascribe command"),
        "{line}"
    );
    let file = place.join("model/run.json");
    let record = fs::read_to_string(&file).unwrap();
    fs::write(&file, record.replace("--epochs", "--eons")).unwrap();
    let (line, _) = fails(place, "rerun model --out third");
    assert!(
        line.contains("run.json: arguments: expected a command of this version of ascribe that leaves a run, found "),
        "{line}"
    );
    let expected =
        "found unexpected argument '--eons' found; type the command that `ascribe inspect` shows";
    assert!(line.contains(expected), "{line}");
    let (start, rest) = record.split_once("\"arguments\": [").unwrap();
    let (_, rest) = rest.split_once(']').unwrap();
    let itself = format!("{start}\"arguments\": [\"rerun\", \"model\"]{rest}");
    fs::write(&file, itself).unwrap();
    let (line, _) = fails(place, "rerun model --out third");
    assert!(
        line.contains("that leaves a run, found ascribe rerun model"),
        "{line}"
    );
    let version = format!("\"ascribe\": \"{}\"", env!("CARGO_PKG_VERSION"));
    let older = record.replace(&version, "\"ascribe\": \"0.0.7\"");
    for older in [older.replace("--epochs", "--eons"), older] {
        fs::write(&file, older).unwrap();
        let (line, _) = fails(place, "rerun model --out third");
        assert!(line.ends_with("; repeat it with version 0.0.7"), "{line}");
    }
}

#[test]
fn a_figure_says_how_it_came_about_and_is_drawn_again_from_that() {
    let place = tempfile::tempdir().unwrap();
    let there = place.path().canonicalize().unwrap();
    let [made, elsewhere] = ["made", "elsewhere"].map(|name| there.join(name));
    fs::create_dir(&made).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    succeeds(&made, TRANSFER);
    succeeds(&made, "rank --model model --scores --out rank");
    for figure in ["5 rank --seed 2", "6 rank --names robust", "matrix rank"] {
        succeeds(&made, &format!("figure {figure} --out figures"));
    }
    let record = fs::read_to_string(made.join("figures/figure6.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["options"]["names"], serde_json::json!(["robust"]));
    let digest = ascribe::artefact::digest_file(made.join("rank/run.json")).unwrap();
    assert_eq!(record["inputs"][0]["digest"], digest);
    let csv = ascribe::artefact::digest_file(made.join("figures/figure6.csv")).unwrap();
    assert_eq!(record["results"]["digests"]["figure6.csv"], csv);
    let shown = succeeds(&made, "inspect figures/figure6.json");
    assert!(
        shown.contains(&format!("figure6.csv, sha256 {csv}")),
        "{shown}"
    );

    // Their folder is no run.
    for command in ["rerun", "inspect"] {
        let (line, _) = fails(&made, &format!("{command} figures"));
        let expected = "ascribe: figures: holds no run.json; give one of its figures: \
                        figures/figure5.json, figures/figure6.json, figures/influence_matrix.json";
        assert_eq!(line, expected);
    }
    // A data set beside them is shown.
    let digits = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/digits/test.parquet");
    let beside = made.join("figures/test.parquet");
    fs::copy(digits, &beside).unwrap();
    let shown = succeeds(&made, "inspect figures");
    assert!(shown.starts_with("data set "), "{shown}");
    fs::remove_file(beside).unwrap();

    for stem in ["figure5", "figure6", "influence_matrix"] {
        let printed = succeeds(&elsewhere, &format!("rerun ../made/figures/{stem}.json"));
        let last = printed.lines().last().unwrap();
        let [was, is] = ["figures", "figures-again"].map(|name| made.join(name));
        let same = format!(
            "{}: the same as {}, in all 4 files",
            is.display(),
            was.display()
        );
        assert_eq!(last, same);
    }
    for (out, reason) in [
        ("figures", "figures: holds what is repeated"),
        ("figures-again", "figures-again: already holds figure6.json"),
    ] {
        let (line, _) = fails(&made, &format!("rerun figures/figure6.json --out {out}"));
        assert!(line.contains(reason), "{line}");
    }
    // Found where it is said to lie, from where that is said.
    fs::rename(made.join("rank"), there.join("moved")).unwrap();
    let moved = "rerun ../made/figures/figure6.json --out moved --moved rank=../moved";
    let printed = succeeds(&elsewhere, moved);
    assert!(printed.contains("\nmoved: the same as "), "{printed}");
    fs::rename(there.join("moved"), made.join("rank")).unwrap();
    // A run's record may be named itself, too.
    let printed = succeeds(&elsewhere, "rerun ../made/rank/run.json");
    assert!(printed.contains("rank-again: the same as "), "{printed}");

    // An option that there is no more, and the record that has it.
    let file = made.join("figures/figure5.json");
    let drawn = fs::read_to_string(&file).unwrap();
    fs::write(&file, drawn.replace("--seed", "--colours")).unwrap();
    let (line, _) = fails(&made, "rerun figures/figure5.json --out second");
    assert!(
        line.contains("figures/figure5.json: arguments: ") && line.contains("'--colours'"),
        "{line}"
    );

    let picture = made.join("figures/figure6.csv");
    let table = fs::read_to_string(&picture).unwrap();
    fs::write(&picture, table.replacen("robust", "other", 1)).unwrap();
    let (line, printed) = fails(&made, "rerun figures/figure6.json --out third");
    assert!(printed.contains("\nfigure6.csv: 1 of "), "{printed}");
    assert!(
        line.contains("expected the 4 files of figures, found 1 that differ"),
        "{line}"
    );
    fs::remove_dir_all(made.join("rank")).unwrap();
    succeeds(&made, "rank --model model --scores --top 3 --out rank");
    let (line, _) = fails(&made, "rerun figures/figure6.json --out fourth");
    assert!(
        line.contains("figures: cannot be repeated: input was "),
        "{line}"
    );
}

#[test]
fn what_is_no_longer_as_a_run_left_it_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    succeeds(place, TRANSFER);
    succeeds(place, "rank --model model --scores --out one");
    succeeds(
        place,
        "rank --model model --scores --damping 1e-1 --out other",
    );
    for (file, command) in [
        ("rankings.parquet", "figure 6 one --out figures"),
        ("self_influence.parquet", "audit one --out audit"),
        ("scores.npy", "audit one --out audit"),
        ("train_scores.npy", "figure matrix one --out figures"),
    ] {
        let [own, kept] = [format!("one/{file}"), "kept".to_owned()].map(|name| place.join(name));
        fs::copy(&own, &kept).unwrap();
        let mut foreign = fs::read(place.join("other").join(file)).unwrap();
        // Where the damping changes nothing, a byte is enough.
        let at = foreign.len() / 2;
        foreign[at] ^= 1;
        fs::write(&own, foreign).unwrap();
        let (line, _) = fails(place, command);
        let expected =
            format!("one/{file}: is not what ascribe rank left here; put the original back");
        assert!(line.contains(&expected), "{line}");
        fs::copy(&kept, &own).unwrap();
    }
    succeeds(place, "figure 6 one --out figures");
}

#[test]
fn a_run_may_be_called_study() {
    let place = tempfile::tempdir().unwrap();
    let transfer = TRANSFER.replace("--out model", "--out study");
    succeeds(place.path(), &transfer);
    succeeds(place.path(), "rerun study");
}

#[test]
fn a_command_that_failed_can_be_typed_again_once_its_input_is_mended() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    write_images(&place.join("images"), 0);
    let damaged = place.join("images/dark/2.png");
    let whole = fs::read(&damaged).unwrap();
    fs::write(&damaged, &whole[..whole.len() / 2]).unwrap();
    let transfer = "transfer --source builtin:natural --train images --test images --blocks 0 --epochs 1 --batch-size 4 \
                    --augmentation none --out deep/model";
    let (line, _) = fails(place, transfer);
    assert!(line.contains("2.png"), "{line}");
    assert!(!place.join("deep/model").exists());
    fs::write(&damaged, &whole).unwrap();
    succeeds(place, transfer);
}

#[cfg(target_os = "linux")]
#[test]
fn a_reader_that_is_gone_costs_no_result_and_a_full_disk_is_told() {
    use std::process::Stdio;
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let binary = assert_cmd::cargo::cargo_bin!("ascribe");
    let run = |out: &str, stdout: Stdio, stderr: Stdio| {
        let words = format!("{} {out}", TRANSFER.trim_end_matches(" model"));
        let mut command = std::process::Command::new(binary);
        command
            .current_dir(place)
            .args(words.split(' '))
            .stdout(stdout)
            .stderr(stderr);
        command.spawn().unwrap().wait_with_output().unwrap()
    };
    // Pipes that nobody reads.
    let closed = || Stdio::from(std::io::pipe().unwrap().1);
    let output = run("gone", closed(), closed());
    assert_eq!(output.status.code(), Some(0));
    assert!(place.join("gone/model.safetensors").exists());

    let full = Stdio::from(fs::File::options().write(true).open("/dev/full").unwrap());
    let output = run("full", full, Stdio::piped());
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    let line = error.lines().last().unwrap();
    assert!(
        line.starts_with("ascribe: standard output: cannot write: No space left on device"),
        "{line}"
    );
    assert!(place.join("full/model.safetensors").exists());
}

#[test]
fn scripts_are_told_what_came_out_the_same_and_what_did_not() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let told = |words: &str, code: i32| -> serde_json::Value {
        let mut command = Command::cargo_bin("ascribe").unwrap();
        let output = (command.current_dir(place).args(words.split_whitespace())).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words}: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let transfer = "transfer --source builtin:natural --train builtin:digits-train --test builtin:digits-test \
                    --images 20 --blocks 0 --epochs 1 --augmentation none --json --out model";
    told(transfer, 0);
    // What the repeated command prints goes to standard error.
    let same = told("rerun model --json", 0);
    let expected = serde_json::json!({
        "run": "model", "out": "model-again", "same": true, "files": 3, "differing": [],
    });
    assert_eq!(same, expected);

    // Or, where that is not asked for, nowhere.
    let said = succeeds(place, "rerun model --out third");
    assert!(!said.contains("--json") && !said.contains('{'), "{said}");

    let table = place.join("model/training.csv");
    let history = fs::read_to_string(&table).unwrap();
    fs::write(&table, history.replace("\n1,", "\n2,")).unwrap();
    let other = told("rerun model --out second --json", 1);
    assert_eq!(other["same"], false);
    assert_eq!(other["differing"].as_array().unwrap().len(), 1);
    let file = &other["differing"][0];
    assert_eq!(file["file"], "training.csv");
    assert_eq!(file["as_left"], false);
    assert_eq!(file["found"]["kind"], "values");
    assert_eq!(file["found"]["differing"], 1);
    assert_eq!(file["found"]["largest"], 1.0);
}

#[test]
fn a_run_is_repeated_whatever_its_folder_is_called_and_wherever_its_model_lies() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    succeeds(place, TRANSFER);
    succeeds(place, "rank --model=model --skip-train --top 3 --out=-rank");
    let printed = succeeds(place, "rerun ./-rank");
    assert!(
        printed.contains("-rank-again: the same as -rank, "),
        "{printed}"
    );
    fs::create_dir(place.join("elsewhere")).unwrap();
    fs::rename(place.join("model"), place.join("elsewhere/model")).unwrap();
    let (line, _) = fails(place, "rerun ./-rank --out second");
    assert!(line.contains("model"), "{line}");
    // Said in a folder below, from where the new place leads there.
    let below = place.join("elsewhere");
    let words = "rerun ../-rank --moved model=model --out ../second";
    let printed = succeeds(&below, words);
    assert!(printed.contains("elsewhere/model"), "{printed}");
    assert!(printed.contains("the same as "), "{printed}");
}
