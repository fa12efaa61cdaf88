//! What an earlier demo left in the folder, which gives way; nothing else does.

use super::{Demo, FIGURES, MODELS};
use crate::artefact::{
    Condition, LOCK, RunRecord, Status, file_names, left_files, lock_folder, read_json,
    remove_unfinished,
};
use crate::figure::Style;
use crate::{Error, Result};
use std::fs::{DirEntry, File};
use std::path::{Path, PathBuf};

/// How the names of files end that the runs of a demo leave: those of a killed run have no digests yet.
const ENDINGS: [&str; 6] = ["csv", "html", "js", "parquet", "png", "safetensors"];

impl Demo {
    /// Takes the folder for this process and removes what an earlier demo left there.
    pub(super) fn take(&self) -> Result<File> {
        // A folder that is refused is left as it is; one at work is in flux.
        if !self.out.join(LOCK).exists() {
            self.earlier()?;
        }
        std::fs::create_dir_all(&self.out).map_err(Error::io(&self.out, "create"))?;
        let lock = lock_folder(&self.out)?;
        let earlier = self.earlier()?;
        let runs = earlier.iter().filter(|path| path.is_dir());
        let _locks: Vec<File> = runs.map(|run| lock_folder(run)).collect::<Result<_>>()?;
        for path in &earlier {
            let removed = match path.is_dir() {
                true => std::fs::remove_dir_all(path),
                false => std::fs::remove_file(path),
            };
            removed.map_err(Error::io(path, "remove"))?;
        }
        remove_unfinished(&self.out)?;
        Ok(lock)
    }

    /// The run folders and files that an earlier demo left; refuses a folder that holds anything else.
    fn earlier(&self) -> Result<Vec<PathBuf>> {
        if !self.out.exists() {
            return Ok(Vec::new());
        }
        let mut left = visible(&self.out)?;
        let models = self.out.join("models");
        if models.is_dir() {
            left.retain(|path| *path != models);
            left.extend(visible(&models)?);
        }
        // As a run leaves its folder that was killed before it began.
        left.retain(|path| !visible(path).is_ok_and(|names| names.is_empty()));
        for path in left.iter().filter(|path| !self.is_half_drawn(path)) {
            if let Some(other) = self.other_in(path)? {
                let other = other.strip_prefix(&self.out).unwrap_or(&other);
                let reason = format!("holds {}, which no demo left there", other.display());
                return Err(Error::conflict(&self.out, reason, "choose another --out"));
            }
        }
        Ok(left)
    }

    /// Whether a file is of a figure without a record, as a demo leaves it that is killed while it draws: the rankings are finished, and
    /// there is no audit.
    fn is_half_drawn(&self, path: &Path) -> bool {
        let is_ranked = |name: &str| {
            let file = self.out.join(name).join("run.json");
            let record = read_json::<RunRecord>(&file);
            record.is_ok_and(|it| it.status == Status::Finished && self.types(&file, &it))
        };
        let is_of_figure = FIGURES.iter().any(|name| *path == self.out.join(name));
        is_of_figure
            && path.is_file()
            && !path.with_extension("json").exists()
            && !self.out.join("audit/run.json").exists()
            && MODELS.into_iter().all(is_ranked)
    }

    /// The first file of a run folder, or the file itself, that no demo left as it is.
    fn other_in(&self, path: &Path) -> Result<Option<PathBuf>> {
        let is_run = path.is_dir();
        let file = match is_run {
            true => path.join("run.json"),
            false => path.with_extension("json"),
        };
        let record = read_json::<RunRecord>(&file);
        let Some(record) = record.ok().filter(|record| self.types(&file, record)) else {
            return Ok(Some(path.to_path_buf()));
        };
        let (noted, is_at_work) = (left_files(&file)?, record.status == Status::Running);
        let is_left = |own: &PathBuf| {
            let ending = own.extension().and_then(|ending| ending.to_str());
            let mut as_left = noted.iter().filter(|it| it.condition == Condition::AsLeft);
            *own == file
                || as_left.any(|it| *own == file.with_file_name(&it.name))
                || is_at_work && ending.is_some_and(|ending| ENDINGS.contains(&ending))
        };
        let files: Vec<PathBuf> = match is_run {
            true => (file_names(path)?.into_iter())
                .map(|name| path.join(name))
                .collect(),
            false => vec![path.to_path_buf()],
        };
        Ok(files.into_iter().find(|own| !is_left(own)))
    }

    /// Whether the words of the record at `file` are those that a demo types for it; names alone would take a user's own for it.
    fn types(&self, file: &Path, record: &RunRecord) -> bool {
        let here = std::env::current_dir().unwrap_or_default();
        // A path may have been typed elsewhere, and otherwise.
        let same = |(then, now): (&String, &String)| {
            let [then_there, now_there] = [record.directory.join(then), here.join(now)];
            let is_one = || Some(then_there.canonicalize().ok()? == now_there.canonicalize().ok()?);
            then == now || then_there == now_there || is_one() == Some(true)
        };
        let typed = &record.arguments;
        self.records().iter().any(|(own, words)| {
            own == file && words.len() == typed.len() && typed.iter().zip(words).all(same)
        })
    }

    /// The record of each command, and the words that are typed for it; of figures in every style.
    fn records(&self) -> Vec<(PathBuf, Vec<String>)> {
        let mut records = vec![(self.out.join("audit/run.json"), self.audit())];
        for name in MODELS {
            let [model, rank] = [self.model(name), self.path(name)].map(PathBuf::from);
            records.push((model.join("run.json"), self.transfer(name)));
            records.push((rank.join("run.json"), self.rank(name)));
        }
        for number in ["5", "6"] {
            for style in [Style::Paper, Style::Screen] {
                let file = self.out.join(format!("figure{number}.json"));
                records.push((file, self.draw(number, style)));
            }
        }
        records
    }
}

/// What lies in a folder but hidden files, in the order of the names.
fn visible(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>())
        .map_err(Error::io(folder, "read"))?;
    let is_visible = |entry: &DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
    let entries = entries.iter().filter(|entry| is_visible(entry));
    let mut paths: Vec<PathBuf> = entries.map(DirEntry::path).collect();
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artefact::{Options, RecordBeside, RunFolder};
    use crate::cli::demo::owned;
    use crate::cli::output::Json;
    use std::fs;

    fn demo(out: &Path) -> Demo {
        Demo {
            out: out.to_path_buf(),
            style: Style::default(),
            json: Json::default(),
        }
    }

    fn begun(folder: &Path, words: &[String]) -> RunFolder {
        let (words, options) = (words.to_vec(), Options::new());
        let command = words[0].clone();
        RunFolder::open_or_create(folder, &command, words, options, Vec::new()).unwrap()
    }

    /// A finished run of those words, with a file.
    fn run(folder: &Path, words: &[String]) {
        let run = begun(folder, words);
        fs::create_dir(run.file("data")).unwrap();
        fs::write(run.file("data/a.csv"), "made").unwrap();
        run.finish().unwrap();
    }

    fn figure(out: &Path, stem: &str, words: &[String]) {
        let (words, options) = (words.to_vec(), Options::new());
        let record = RecordBeside::begin("figure", words.into(), options, Vec::new()).unwrap();
        let picture = out.join(format!("{stem}.svg"));
        fs::write(&picture, "drawn").unwrap();
        record.finish(out, stem, &[picture]).unwrap();
    }

    /// What a demo leaves, in a new folder.
    fn left(place: &Path) -> Demo {
        let demo = demo(&place.join("out"));
        for (file, words) in demo.records() {
            if file.ends_with("run.json") {
                run(file.parent().unwrap(), &words);
            }
        }
        figure(&demo.out, "figure5", &demo.draw("5", Style::Paper));
        figure(&demo.out, "figure6", &demo.draw("6", Style::Screen));
        demo
    }

    fn refusal(demo: &Demo) -> String {
        demo.take().unwrap_err().to_string()
    }

    #[test]
    fn what_a_demo_left_goes_whatever_hides_there() {
        let place = tempfile::tempdir().unwrap();
        let demo = left(place.path());
        for name in [".DS_Store", "models/.DS_Store", ".figure5.svg.x1.partial"] {
            fs::write(demo.out.join(name), "hidden").unwrap();
        }
        // Killed at its work, and before it had begun.
        fs::remove_dir_all(demo.out.join("robust")).unwrap();
        let killed = begun(&demo.out.join("robust"), &demo.rank("robust"));
        fs::write(killed.file("solves.parquet"), "some").unwrap();
        drop(killed);
        fs::remove_dir_all(demo.out.join("audit")).unwrap();
        fs::create_dir(demo.out.join("audit")).unwrap();
        fs::write(demo.out.join("audit/.lock"), "").unwrap();

        let lock = demo.take().unwrap();
        for name in ["natural", "robust", "models/natural", "models/robust"] {
            assert!(!demo.out.join(name).exists(), "{name}");
        }
        let names = visible(&demo.out).unwrap();
        assert_eq!(names, ["audit", "models"].map(|name| demo.out.join(name)));
        assert!(!demo.out.join(".figure5.svg.x1.partial").exists());
        assert!(demo.out.join(".DS_Store").exists());
        drop(lock);
        demo.take().unwrap();
    }

    #[test]
    fn a_figure_that_was_half_drawn_goes() {
        let place = tempfile::tempdir().unwrap();
        let demo = left(place.path());
        fs::remove_dir_all(demo.out.join("audit")).unwrap();
        for name in ["figure6.svg", "figure6.json"] {
            fs::remove_file(demo.out.join(name)).unwrap();
        }
        fs::write(demo.out.join("figure6.csv"), "rank,share").unwrap();
        demo.take().unwrap();
        let names = visible(&demo.out).unwrap();
        assert_eq!(names, [demo.out.join("models")]);
    }

    #[test]
    fn a_users_own_stays_whatever_it_is_called() {
        type Add<'a> = &'a dyn Fn(&Demo);
        let own = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let others: [(&str, Add); 10] = [
            ("natural", &|demo| {
                fs::remove_dir_all(demo.out.join("natural")).unwrap();
                let words = own("rank --model mine --out natural");
                run(&demo.out.join("natural"), &words);
            }),
            ("models/mine", &|demo| {
                let words = demo.transfer("mine");
                run(&demo.out.join("models/mine"), &words);
            }),
            ("natural/notes.txt", &|demo| {
                fs::write(demo.out.join("natural/notes.txt"), "mine").unwrap();
            }),
            ("natural/mine/run.json", &|demo| {
                let run = begun(&demo.out.join("natural/mine"), &own("rank"));
                run.finish().unwrap();
            }),
            ("audit/data/a.csv", &|demo| {
                fs::write(demo.out.join("audit/data/a.csv"), "mine").unwrap();
            }),
            ("figure5.pdf", &|demo| {
                fs::write(demo.out.join("figure5.pdf"), "mine").unwrap();
            }),
            ("figure6.json", &|demo| {
                figure(&demo.out, "figure6", &own("figure 6 natural --out out"));
            }),
            ("figure5.svg", &|demo| {
                fs::remove_file(demo.out.join("figure5.json")).unwrap();
            }),
            // Before a demo draws.
            ("figure5.svg", &|demo| {
                fs::remove_file(demo.out.join("figure5.json")).unwrap();
                for run in ["audit", "robust"] {
                    fs::remove_dir_all(demo.out.join(run)).unwrap();
                }
            }),
            ("robust/notes.txt", &|demo| {
                fs::remove_dir_all(demo.out.join("robust")).unwrap();
                let killed = begun(&demo.out.join("robust"), &demo.rank("robust"));
                fs::write(killed.file("notes.txt"), "mine").unwrap();
            }),
        ];
        for (file, add) in others {
            let place = tempfile::tempdir().unwrap();
            let demo = left(place.path());
            add(&demo);
            let message = refusal(&demo);
            let expected = format!("holds {file}, which no demo left there; choose another --out");
            assert!(message.ends_with(&expected), "{message}");
            assert!(demo.out.join(file).exists(), "{file}");
            assert!(demo.out.join("models/natural/data/a.csv").exists());
            assert!(!demo.out.join(LOCK).exists());
        }
    }

    #[test]
    fn a_path_may_have_been_typed_otherwise() {
        let place = tempfile::tempdir().unwrap();
        let demo = left(place.path());
        let record: RunRecord = read_json(demo.out.join("natural/run.json")).unwrap();
        let there = RunRecord {
            directory: place.path().to_path_buf(),
            arguments: owned(&[
                "rank",
                "--model",
                "out/models/natural",
                "--bottom",
                "20",
                "--out",
                "./out/natural",
            ]),
            ..record
        };
        let file = demo.out.join("natural/run.json");
        assert!(demo.types(&file, &there));
        let elsewhere = RunRecord {
            directory: place.path().join("out"),
            ..there
        };
        assert!(!demo.types(&file, &elsewhere));
    }

    #[test]
    fn a_folder_at_work_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let demo = left(place.path());
        let model = demo.out.join("models/robust");
        let run = lock_folder(&model).unwrap();
        let message = refusal(&demo);
        let expected = format!("{}: another process is at work", model.display());
        assert!(message.starts_with(&expected), "{message}");
        assert!(demo.out.join("natural/run.json").exists());
        drop(run);
        let first = demo.take().unwrap();
        let message = refusal(&demo);
        let expected = format!("{}: another process is at work", demo.out.display());
        assert!(message.starts_with(&expected), "{message}");
        drop(first);
        demo.take().unwrap();
    }
}
