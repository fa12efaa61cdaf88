//! Every `ascribe` command in a `sh` block of README.md and docs, typed in order in an empty folder, does its work.

use crate::digit_archives::write_features;
use crate::inputs::fetch::mirror;
use assert_cmd::Command;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::path::Path;

/// The lines of all ```sh blocks that call the program.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        match line.trim() {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside && line.starts_with("ascribe ") => {
                found.push(line.split_whitespace().skip(1).map(str::to_owned).collect());
            }
            _ => {}
        }
    }
    found
}

/// The `origins.csv` of the docs: where each training image is from.
fn write_origins(folder: &Path) {
    let mut table = "train,group\n".to_owned();
    for image in 0..200 {
        let origin = ["Lyon", "Kyoto", "Quito"][image * image % 7 % 3];
        table += &format!("{image},{origin}\n");
    }
    std::fs::write(folder.join("origins.csv"), table).unwrap();
}

/// A hub on loopback; its robust ImageNet model is a small one of another kind.
fn hub() -> &'static str {
    use std::sync::OnceLock;
    static HUB: OnceLock<mirror::Mirror> = OnceLock::new();
    let start = || {
        let mirror = mirror::Mirror::start();
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/checkpoints/robustness.ckpt");
        let content = std::fs::read(file).unwrap();
        let served = mirror::Served {
            linked: Some(ascribe::artefact::digest_bytes(&content)),
            content,
            ..mirror::Served::default()
        };
        mirror.serve(
            "/madrylab/robust-imagenet-models/resolve/main/resnet50_l2_eps3.ckpt",
            served,
        );
        mirror
    };
    &HUB.get_or_init(start).address
}

fn run_all(commands: &[Vec<String>], folder: &Path) {
    for words in commands {
        let output = Command::cargo_bin("ascribe")
            .unwrap()
            .args(words)
            .env("HF_ENDPOINT", hub())
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "ascribe {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn the_commands_of_the_solvers_page_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let commands = commands(&std::fs::read_to_string(root.join("docs/solvers.md")).unwrap());
    assert!(commands.len() >= 7, "{commands:?}");
    let folder = tempfile::tempdir().unwrap();
    write_features(folder.path(), 200);
    write_origins(folder.path());
    run_all(&commands, folder.path());
}

#[test]
fn the_commands_of_pages_that_stand_alone_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in ["sources", "training"] {
        let page = std::fs::read_to_string(root.join(format!("docs/{page}.md"))).unwrap();
        let commands = commands(&page);
        assert!(!commands.is_empty());
        run_all(&commands, tempfile::tempdir().unwrap().path());
    }
}

/// The first ```toml block of a page.
fn spec(page: &str) -> String {
    let lines = page.lines().skip_while(|line| *line != "```toml").skip(1);
    let lines: Vec<&str> = lines.take_while(|line| *line != "```").collect();
    lines.join("\n")
}

#[test]
fn the_commands_of_the_studies_page_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/study.md")).unwrap();
    let commands = commands(&page);
    assert!(commands.len() >= 6, "{commands:?}");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("study.toml"), spec(&page)).unwrap();
    run_all(&commands, folder.path());
    for stem in ["figure1", "figure2", "blocks", "epsilon"] {
        assert!(
            folder.path().join(format!("figures/{stem}.svg")).exists(),
            "{stem}"
        );
    }
}

/// The columns of a Parquet file.
fn columns(path: &Path) -> Vec<String> {
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let schema = reader.metadata().file_metadata().schema_descr();
    let columns = schema.columns().iter();
    columns.map(|column| column.name().to_owned()).collect()
}

#[test]
fn the_page_of_files_has_every_file_and_column() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/files.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    run_all(&commands(&page), folder.path());
    let mut tables = 0;
    for run in ["head-rank", "blocks-rank"] {
        for entry in std::fs::read_dir(folder.path().join(run)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if !name.ends_with(".parquet") {
                continue;
            }
            tables += 1;
            let row = (page.lines()).find(|line| line.starts_with('|') && line.contains(name));
            let row = row.unwrap_or_else(|| panic!("{name} of {run} is not there"));
            // That of the first training rankings says "the same".
            let row = match name {
                "train_rankings.parquet" => &page,
                _ => row,
            };
            for column in columns(&path) {
                let is_there = row.contains(&format!("`{column}`"));
                assert!(is_there || column.starts_with("layer"), "{name}: {column}");
            }
        }
    }
    assert!(tables >= 10, "{tables}");
}

#[test]
fn the_readme_does_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let commands = commands(&std::fs::read_to_string(root.join("README.md")).unwrap());
    assert!(commands.len() >= 7, "{commands:?}");
    let folder = tempfile::tempdir().unwrap();
    let page = std::fs::read_to_string(root.join("docs/study.md")).unwrap();
    std::fs::write(folder.path().join("study.toml"), spec(&page)).unwrap();
    // With what it tells scripts, in the same run.
    assert_eq!(commands[0], ["demo"]);
    let mut demo = Command::cargo_bin("ascribe").unwrap();
    let demo = demo.current_dir(folder.path()).args(["demo", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&demo.output().unwrap().stdout).unwrap();
    run_all(&commands[1..], folder.path());
    // Pages that go on with the README's model; a decision as the audit's page exports it.
    std::fs::write(
        folder.path().join("decisions.csv"),
        "train,decision,label\n0,exclude,\n1,relabel,0\n",
    )
    .unwrap();
    for page in ["through-blocks", "unrolled", "evaluate", "audit"] {
        let page = std::fs::read_to_string(root.join(format!("docs/{page}.md"))).unwrap();
        run_all(&self::commands(&page), folder.path());
    }
    let demo = folder.path().join("ascribe-demo");
    for stem in ["figure5", "figure6"] {
        for format in ["svg", "png", "csv"] {
            assert!(
                std::fs::metadata(demo.join(format!("{stem}.{format}")))
                    .unwrap()
                    .len()
                    > 500,
                "{stem}.{format}"
            );
        }
    }
    for run in [
        "ascribe-demo/natural",
        "ascribe-demo/robust",
        "robust-rank",
        "features-rank",
    ] {
        let record = ascribe::artefact::RunFolder::read(folder.path().join(run)).unwrap();
        let accuracy: f64 = record.result("test_accuracy").unwrap();
        assert!(accuracy > 0.5, "{run}: {accuracy}");
        let models = told["models"].as_array().unwrap().iter();
        let mut models = models.filter(|model| run.ends_with(model["source"].as_str().unwrap()));
        if let Some(model) = models.next() {
            assert_eq!(model["test_accuracy"], accuracy);
            assert!(model["class_match_percent"].as_f64().unwrap() > 30.0);
            assert!(model["seconds"].as_f64().unwrap() <= told["seconds"].as_f64().unwrap());
        }
    }
    assert_eq!(told["page"], "ascribe-demo/audit/index.html");
    let mut left = told["figures"]
        .as_array()
        .unwrap()
        .iter()
        .chain([&told["page"]]);
    assert!(left.all(|file| folder.path().join(file.as_str().unwrap()).exists()));
    // Again into the same folder: the demo replaces its own results, but nothing else, by whatever name.
    for (own, file) in [("own", "models/large.pt"), ("own-too", "natural/image.png")] {
        let file = folder.path().join(own).join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "mine").unwrap();
        let mut demo = Command::cargo_bin("ascribe").unwrap();
        let demo = demo.current_dir(folder.path());
        let output = demo.args(["demo", "--out", own]).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains("which no demo left there"), "{message}");
        assert!(file.exists());
    }
    // In the last folder that is looked at: all before is taken for what a demo left.
    std::fs::write(demo.join("models/robust/notes.txt"), "mine").unwrap();
    let output = Command::cargo_bin("ascribe")
        .unwrap()
        .arg("demo")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && message.lines().count() == 1,
        "{message}"
    );
    let expected = "holds models/robust/notes.txt, which no demo left there";
    assert!(message.contains(expected), "{message}");
}
