use super::*;
use crate::data::digits_test;

fn ranked(train: usize, score: f64) -> Ranked {
    let certified = None;
    Ranked {
        train,
        score,
        certified,
    }
}

/// Two queries and three training images in two classes, at one model.
pub(super) fn small_audit() -> Audit {
    let image = |id, label| LabelledImage { id, label };
    let query = |prediction: usize| ModelQuery {
        prediction,
        probabilities: vec![
            0.25 + 0.5 * (1 - prediction) as f64,
            0.25 + 0.5 * prediction as f64,
        ],
        loss: 0.3,
        helpful: vec![ranked(2, 3e-3), ranked(0, 1e-3)],
        harmful: vec![ranked(1, -2e-3)],
        groups: Vec::new(),
        removal: None,
        flip: None,
    };
    let training = ModelTrainingImage {
        label: 0,
        prediction: 0,
        probability: 0.9,
        loss: 0.1,
        held_out_loss: Some(0.2),
        self_influence: Some(1e-3),
        mean_score: None,
    };
    Audit {
        title: "<b>digits</b>".into(),
        classes: vec![
            "</script><img src=x onerror=alert(1)>".into(),
            "one & only".into(),
        ],
        queries: vec![image(10, 0), image(11, 1)],
        left_out: 0,
        training: vec![image(3, 0), image(4, 1), image(5, 0)],
        labelled: true,
        training_data: TrainingData {
            digest: "0f1e".into(),
            rows: 6,
            files: Vec::new(),
            query_files: Vec::new(),
        },
        models: vec![AuditedModel {
            name: "natural".into(),
            facts: Vec::new(),
            statements: Vec::new(),
            unit: "nats".into(),
            class_match: Vec::new(),
            queries: vec![query(0), query(0)],
            training: vec![Some(training), None, Some(training)],
            groups: Vec::new(),
            confusions: Vec::new(),
            absences: Vec::new(),
        }],
        duplicates: Vec::new(),
        paired: Vec::new(),
        compared: Compared {
            model: 0,
            images: 2,
        },
        alike: 0.95,
    }
}

fn pictures<'a>(name: &str, count: usize, get: &'a GetImage<'a>) -> Pictures<'a> {
    Pictures {
        layout: Layout::new(name, count, 8),
        get,
    }
}

fn written(embed: bool) -> tempfile::TempDir {
    let digits = digits_test().unwrap();
    let get = |position: usize| Ok(digits.get(position)?.image);
    let folder = tempfile::tempdir().unwrap();
    let pictures = [pictures("test", 2, &get), pictures("train", 3, &get)];
    write(&small_audit(), &pictures, embed, folder.path()).unwrap();
    folder
}

fn text(folder: &tempfile::TempDir, name: &str) -> String {
    std::fs::read_to_string(folder.path().join(name)).unwrap()
}

#[test]
fn the_folder_holds_page_pieces_and_sheets() {
    let folder = written(false);
    let page = text(&folder, "index.html");
    assert!(page.contains("&lt;b&gt;digits&lt;"), "the title is escaped");
    assert!(
        !page.contains("onerror=alert"),
        "classes are in the data alone"
    );
    let query = text(&folder, "data/query-0.js");
    assert!(
        query.contains("\"train\":[2,0]") && query.contains("0.003"),
        "{query}"
    );
    let image = text(&folder, "data/image-0.js");
    assert!(image.contains("\"helps\":[[0,0.003],[1,0.003]]"), "{image}");
    for name in ["overview", "queries", "training", "confusions"] {
        assert!(
            !text(&folder, &format!("data/{name}.js")).contains('<'),
            "{name}"
        );
    }
    for name in ["test-0", "train-0"] {
        let png = std::fs::read(folder.path().join(format!("images/{name}.png"))).unwrap();
        assert!(image::load_from_memory(&png).is_ok());
    }
}

#[test]
fn an_embedded_page_is_one_file_that_asks_for_nothing() {
    let folder = written(true);
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["index.html"]);
    let page = text(&folder, "index.html");
    assert!(page.contains("ascribe.take(\"query-0\"") && page.contains("ascribe.image(\"test-0\""));
    for address in ["http://", "https://", "@import", "src=\"", "srcset"] {
        let count = page.matches(address).count();
        // The name of SVG's elements is no address.
        let known = page.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(
            count,
            if address == "http://" { known } else { 0 },
            "{address}"
        );
    }
}

#[test]
fn lists_that_do_not_fit_and_scores_that_are_no_numbers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    type Spoil = fn(&mut Audit);
    let spoil: [(&str, Spoil); 5] = [
        ("queries of natural", |audit| audit.queries.truncate(1)),
        ("training images of natural", |audit| {
            audit.models[0].training.truncate(2)
        }),
        ("a training image below", |audit| {
            audit.models[0].queries[0].helpful[0].train = 3
        }),
        ("probabilities", |audit| {
            audit.models[0].queries[1].probabilities.truncate(1)
        }),
        ("score", |audit| {
            audit.models[0].queries[1].harmful[0].score = f64::NAN
        }),
    ];
    for (what, spoil) in spoil {
        let mut audit = small_audit();
        spoil(&mut audit);
        let reason = write(&audit, &[], false, folder.path())
            .unwrap_err()
            .to_string();
        assert!(reason.contains(what), "{what}: {reason}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn tables_hold_what_the_page_lists() {
    let folder = tempfile::tempdir().unwrap();
    let mut audit = small_audit();
    audit.duplicates.clear();
    write_tables(&audit, folder.path()).unwrap();
    let read = |name: &str| {
        let mut table = csv::Reader::from_path(folder.path().join(name)).unwrap();
        let header = table.headers().unwrap().clone();
        let rows: Vec<_> = table.records().map(std::result::Result::unwrap).collect();
        (header, rows)
    };
    let (header, rows) = read("training_images.csv");
    let of_models = audit.models.iter().flat_map(|model| &model.training);
    assert_eq!(rows.len(), of_models.flatten().count());
    let at = |name: &str| header.iter().position(|column| column == name).unwrap();
    let first = &rows[0];
    assert_eq!(&first[at("held_out_loss")], "0.2");
    assert_eq!(&first[at("mean_score")], "");
    assert_eq!(&first[at("positive")], "helpful");
    assert_eq!(first[at("class")], audit.classes[0]);
    let (header, rows) = read("duplicates.csv");
    assert!(
        rows.is_empty()
            && header.iter().eq([
                "group",
                "kind",
                "similarity",
                "set",
                "image",
                "file",
                "label",
                "class"
            ])
    );
    let (header, rows) = read("measured.csv");
    assert!(rows.is_empty() && header.len() == 11);
    audit.models[0].queries[1].removal = Some(Removal {
        images: 2,
        predicted: 0.5,
        measured: 0.25,
        converged: None,
    });
    audit.models[0].queries[0].flip = Some(Flip {
        images: vec![2, 0],
        before: 0,
        prediction: 1,
        tried: 3,
        unsettled: None,
    });
    write_tables(&audit, folder.path()).unwrap();
    let (_, rows) = read("measured.csv");
    let expected = [
        ["10", "refit", "", "", "", "", "2"],
        ["11", "training", "2", "0.5", "0.25", "", ""],
    ];
    let columns = [1, 5, 6, 7, 8, 9, 10];
    for (row, expected) in rows.iter().zip(expected) {
        assert_eq!(columns.map(|at| &row[at]), expected);
    }
    assert_eq!(rows.len(), 2);
    let group = Duplicates {
        kind: Likeness::Pixels,
        similarity: 1.0,
        training: vec![1],
        queries: vec![0],
    };
    audit.duplicates.push(group);
    write_tables(&audit, folder.path()).unwrap();
    let (_, rows) = read("duplicates.csv");
    let sets: Vec<&str> = rows.iter().map(|row| &row[3]).collect();
    assert_eq!(sets, ["train", "test"]);
    assert_eq!(rows[0][4], audit.training[1].id.to_string());
    assert_eq!(&rows[0][1], "pixels");
    assert_eq!(&rows[1][6], "0");
    assert_eq!(rows[1][7], audit.classes[0]);
    // What is predicted for a test image without labels is no label of its.
    audit.labelled = false;
    write_tables(&audit, folder.path()).unwrap();
    let (_, rows) = read("duplicates.csv");
    assert_eq!([&rows[1][6], &rows[1][7]], ["", ""]);
    assert_eq!(&rows[0][6], "1");
}
