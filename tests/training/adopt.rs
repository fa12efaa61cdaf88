//! `ascribe adopt`: a model that was fine-tuned elsewhere is ranked, explained and audited as one of our own transfers is; and what is
//! refused or said of models that do not belong to the images.

use crate::command_line::{ascribe, both, run};
use crate::run_record::record;
use crate::training::DIGITS;
use candle_core::{Device, Tensor, safetensors};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// What a command that fails says, be it one line or how to use it.
fn said(folder: &Path, words: &str) -> String {
    let output = ascribe(folder, words);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{words}: {said}");
    said
}

/// A transfer of ours, whose last block and head were trained on all images; and its tensors alone, as PyTorch would keep them, with
/// what they do not say.
fn trained_elsewhere(folder: &Path) -> String {
    run(
        folder,
        &format!(
            "transfer --source builtin:natural {DIGITS} --blocks 1 --epochs 1 --augmentation none --l2 1e-3 --out ours"
        ),
    );
    let ours = ascribe::model::read_model(&folder.join("ours/model.safetensors"), &Device::Cpu);
    let ours = ours.unwrap();
    let tensors: HashMap<String, Tensor> = ours.tensors().clone().into_iter().collect();
    safetensors::save(&tensors, folder.join("bare.safetensors")).unwrap();
    let three = |numbers: [f64; 3]| numbers.map(|number| number.to_string()).join(",");
    let pixels = ours.normalisation();
    format!(
        "--source-mean {} --source-deviation {} --side {}",
        three(pixels.mean),
        three(pixels.deviation),
        ours.side()
    )
}

#[test]
fn a_model_from_elsewhere_is_ranked_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let pixels = trained_elsewhere(folder);
    let adopt = format!("adopt --source bare.safetensors {pixels} {DIGITS}");
    let (told, noted) = both(
        folder,
        &format!("{adopt} --l2 1e-3 --blocks 1 --out adopted"),
    );
    assert!(
        told.contains("test accuracy") && noted.is_empty(),
        "{told}{noted}"
    );
    let [ours, adopted] = ["ours", "adopted"].map(|run| record(folder, run));
    for name in ["accuracy", "loss"] {
        let value = |record: &Value| record["results"]["test"][name].as_f64().unwrap();
        assert!((value(&ours) - value(&adopted)).abs() < 1e-6, "{name}");
    }
    assert_eq!(ours["classes"], adopted["classes"]);

    let same = |options: &str, file: &str| {
        let [ours, adopted] = ["ours", "adopted"].map(|model| {
            let out = format!("{model}-{}", options.len());
            run(
                folder,
                &format!("rank --model {model} {options} --out {out}"),
            );
            std::fs::read(folder.join(out).join(file)).unwrap()
        });
        assert!(ours == adopted, "{options}: {file}");
    };
    same("--queries 5 --scores", "scores.npy");
    same(
        "--blocks 1 --queries 2 --solver ekfac --scores --skip-train",
        "scores.npy",
    );

    let ranked = "adopted-20";
    run(folder, &format!("figure 6 {ranked} --out figures"));
    run(folder, &format!("audit {ranked} --out audit"));
    let page = std::fs::read_to_string(folder.join("audit/data/overview.js")).unwrap();
    assert!(page.contains("adopted"), "{page}");
    run(folder, &format!("evaluate {ranked} --lds 4 --out evidence"));
    let message = said(
        folder,
        &format!("evaluate {ranked} --lds 4 --retrain 1 --out no"),
    );
    assert!(
        message.contains("--retrain") && message.contains("elsewhere"),
        "{message}"
    );
    let told = run(folder, "rerun adopted");
    assert!(told.contains("the same as"), "{told}");
}

#[test]
fn decisions_on_the_images_are_taken() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let decisions = "train,decision,label\n3,exclude,\n8,relabel,2\n";
    std::fs::write(folder.join("decisions.csv"), decisions).unwrap();
    let adopt = format!("adopt --source builtin:natural {DIGITS} --l2 0 --out adopted");
    let message = said(folder, &format!("{adopt} --exclude decisions.csv"));
    assert!(
        message.contains("outputs") && message.contains("ascribe transfer"),
        "{message}"
    );

    run(
        folder,
        &format!(
            "transfer --source builtin:natural {DIGITS} --images 40 --blocks 0 --epochs 1 --augmentation none --out ours"
        ),
    );
    let adopt = format!("adopt --source ours {DIGITS} --l2 0 --out adopted");
    let decisions = "--exclude decisions.csv --relabel decisions.csv";
    run(folder, &format!("{adopt} {decisions}"));
    let results = &record(folder, "adopted")["results"];
    let ids = results["train_ids"].as_array().unwrap();
    assert_eq!(ids[..4], [0, 1, 2, 4]);
    assert_eq!(results["relabelled"], serde_json::json!({"8": 2}));
    run(
        folder,
        "rank --model adopted --queries 2 --skip-train --out rank",
    );
    run(
        folder,
        &format!("adopt --source ours {DIGITS} --l2 0 --side 8 --resize 10 --out closer"),
    );
    let told = run(folder, "inspect closer/model.safetensors");
    assert!(told.contains("8 × 8, the middle of 10"), "{told}");
    assert_eq!(record(folder, "rank")["inputs"][2]["role"], "model");
    let (_, noted) = both(folder, "figure 6 rank --out figures");
    assert!(noted.contains("--skip-train"), "{noted}");
    let table = std::fs::read_to_string(folder.join("figures/figure6.csv")).unwrap();
    assert!(
        table.lines().skip(1).all(|row| row.starts_with("b,")),
        "{table}"
    );

    // The same weights with other labels are another model's images: what was ranked is not taken up with them.
    std::fs::remove_dir_all(folder.join("adopted")).unwrap();
    run(folder, &format!("{adopt} --exclude decisions.csv"));
    for command in ["evaluate rank --lds 4", "audit rank"] {
        let message = said(folder, &format!("{command} --out no"));
        let line = "adopted/run.json: has changed since rank was made";
        assert!(message.contains(line), "{command}: {message}");
    }
    std::fs::remove_dir_all(folder.join("adopted")).unwrap();
    run(folder, &format!("{adopt} {decisions}"));
    run(folder, "audit rank --measure 0 --out audit");
}

#[test]
fn what_does_not_belong_together_is_told() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let pixels = trained_elsewhere(folder);
    for (options, part) in [
        ("--source bare.safetensors --l2 1e-3", "--source-mean"),
        ("--source bare.safetensors --l2 -1", "--l2"),
        ("--source bare.safetensors --l2 nan", "--l2"),
        ("--source nowhere.pt --l2 0", "nowhere.pt"),
        ("--source ours --l2 0 --blocks 99", "--blocks"),
        ("--source ours", "--l2"),
        ("--source ours --l2 0 --resize 4", "--resize"),
    ] {
        let message = said(folder, &format!("adopt {DIGITS} {options} --out no"));
        assert!(message.contains(part), "{options}: {message}");
        assert!(!folder.join("no").exists(), "{options}");
    }
    // The outputs turned round: right of another model, wrong of this one.
    let mut tensors = safetensors::load(folder.join("bare.safetensors"), &Device::Cpu).unwrap();
    for name in ["fc.weight", "fc.bias"] {
        let order = Tensor::new(&[1u32, 2, 3, 4, 5, 6, 7, 8, 9, 0], &Device::Cpu).unwrap();
        let turned = tensors[name].index_select(&order, 0).unwrap();
        tensors.insert(name.into(), turned);
    }
    safetensors::save(&tensors, folder.join("turned.safetensors")).unwrap();
    // Data without class names take the model's.
    let idx = folder.join("idx");
    std::fs::create_dir(&idx).unwrap();
    let pixels_of = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 7, 9];
    std::fs::write(idx.join("x-images-idx3-ubyte"), pixels_of).unwrap();
    std::fs::write(
        idx.join("x-labels-idx1-ubyte"),
        [0, 0, 8, 1, 0, 0, 0, 2, 9, 0],
    )
    .unwrap();
    let unnamed = "--train idx/x-images-idx3-ubyte --test idx/x-images-idx3-ubyte";
    run(
        folder,
        &format!("adopt --source ours {unnamed} --l2 0 --out unnamed"),
    );
    assert_eq!(
        record(folder, "unnamed")["classes"],
        record(folder, "ours")["classes"]
    );
    // Letters are no numbers, and a model without class names has nothing else.
    for class in 'a'..='j' {
        let place = folder.join("letters").join(class.to_string());
        std::fs::create_dir_all(&place).unwrap();
        let image = image::GrayImage::new(8, 8);
        image.save(place.join("1.png")).unwrap();
    }
    let letters = "--train letters --test letters";
    let bare = format!("bare.safetensors {pixels}");
    for (model, data, out, first) in [
        (&*bare, letters, "lettered", ["a", "0"]),
        ("lettered", unnamed, "numbered", ["0", "a"]),
    ] {
        let line = format!("adopt --source {model} {data} --l2 0 --out {out}");
        let (_, noted) = both(folder, &line);
        let [of_set, of_model] = first;
        let by_position = format!(
            "matched by their position: {of_set} of the training set with {of_model} of the model"
        );
        assert_eq!(noted.matches(&by_position).count(), 1, "{noted}");
        assert_eq!(record(folder, out)["classes"][0], "a");
    }
    let line = format!("adopt --source turned.safetensors {pixels} {DIGITS} --l2 0 --out turned");
    let (_, noted) = both(folder, &line);
    assert!(noted.contains("order of the data's classes"), "{noted}");
}
