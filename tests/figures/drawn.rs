//! What the files of a figure say.

use crate::figures::{pixels, texts};
use ascribe::Error;
use ascribe::data::{Dataset, digits_test, digits_train};
use ascribe::figure::{
    self, ClassMatch, Figure, Format, HelpfulExamples, ModelImages, ModelRankings, Style,
    one_per_class,
};
use ascribe::influence::{QueryRanking, RankedImage};
use std::path::{Path, PathBuf};

const FORMATS: [Format; 2] = [Format::Svg, Format::Png];

/// For paper; what differs on screens is tested with every figure.
fn write(
    figure: &impl Figure,
    folder: &Path,
    stem: &str,
    formats: &[Format],
) -> ascribe::Result<Vec<PathBuf>> {
    figure::write(figure, folder, stem, formats, Style::Paper).map(|written| written.files)
}

/// 3,200 or 10,000 queries of ten classes whose image at rank k has their class as often as `share(k)` says: every query
/// has its own threshold between 0 and 1, evenly spread and shuffled by rank.
fn rankings(count: usize, share: impl Fn(f64) -> f64, itself: bool) -> Vec<QueryRanking> {
    let query = |query: usize| {
        let query_label = query % 10;
        let image = |rank: usize| {
            let threshold = ((query * 7919 + rank * 104_729) % count) as f64 / count as f64;
            let matches = threshold < share(rank as f64);
            let train_label = if matches {
                query_label
            } else {
                (query_label + 1 + (query / 10 + rank) % 9) % 10
            };
            let itself = itself && rank == 1 + query % 3;
            RankedImage {
                train: if itself { query } else { count + rank },
                train_label: if itself { query_label } else { train_label },
                score: 1.0 / rank as f64,
                certificate: None,
            }
        };
        let helpful = (1..=101).map(image).collect();
        QueryRanking {
            query,
            query_label,
            query_prediction: query_label,
            helpful,
            harmful: Vec::new(),
        }
    };
    (0..count).map(query).collect()
}

/// Curves like those the paper shows.
fn class_match() -> ClassMatch {
    let robust = |rank: f64| 0.25 + 0.54 * (-0.33 * (rank - 1.0).powf(0.55)).exp();
    let natural = |rank: f64| 0.25 + 0.30 * (-0.012 * (rank - 1.0)).exp();
    let models = [
        (
            "natural",
            rankings(3200, natural, true),
            rankings(10_000, natural, false),
        ),
        (
            "robust",
            rankings(3200, robust, true),
            rankings(10_000, robust, false),
        ),
    ];
    let labels: Vec<usize> = (models[0].1.iter())
        .map(|query| query.query_label)
        .collect();
    let models: Vec<ModelRankings> = models
        .iter()
        .map(|(model, train, test)| ModelRankings {
            predicted: false,
            model,
            train,
            test,
            labels: &labels,
            images: Some(["train", "test"]),
        })
        .collect();
    ClassMatch::of(&models).unwrap()
}

/// Digits, with the training image of the smallest distance (and, for the second model, of the smallest distance of means)
/// as the most helpful.
fn helpful_examples() -> HelpfulExamples {
    let (train, test) = (digits_train().unwrap(), digits_test().unwrap());
    let near = |query: &[u8], image: &[u8]| -> f64 {
        let square = |(a, b): (&u8, &u8)| (f64::from(*a) - f64::from(*b)).powi(2);
        -query.iter().zip(image).map(square).sum::<f64>()
    };
    let alike = |query: &[u8], image: &[u8]| -> f64 {
        let mean = |pixels: &[u8]| pixels.iter().map(|pixel| f64::from(*pixel)).sum::<f64>();
        -(mean(query) - mean(image)).abs()
    };
    let (first, second) = (
        nearest(&train, &test, near, 0.04),
        nearest(&train, &test, alike, 2e-5),
    );
    let models = [("robust", &first), ("natural", &second)].map(|(model, rankings)| ModelImages {
        model,
        unit: "nats",
        predicted: false,
        rankings,
        train: &train,
    });
    HelpfulExamples::of(&one_per_class(&first, 0), &models, &test).unwrap()
}

fn nearest(
    train: &Dataset,
    test: &Dataset,
    closeness: fn(&[u8], &[u8]) -> f64,
    scale: f64,
) -> Vec<QueryRanking> {
    let pixels = |set: &Dataset, id| set.get(id).unwrap().image.pixels;
    let training: Vec<Vec<u8>> = (0..train.len()).map(|id| pixels(train, id)).collect();
    let queries = (0..test.len()).map(|query| {
        let image = pixels(test, query);
        let closest = |a: &usize, b: &usize| {
            closeness(&image, &training[*a]).total_cmp(&closeness(&image, &training[*b]))
        };
        let best = (0..train.len()).max_by(closest).unwrap();
        let score = scale * (1.0 + (query % 7) as f64);
        QueryRanking {
            query,
            query_label: test.label(query),
            query_prediction: 0,
            helpful: vec![RankedImage {
                train: best,
                train_label: train.label(best),
                score,
                certificate: None,
            }],
            harmful: Vec::new(),
        }
    });
    queries.collect()
}

/// A folder of this test alone, left for looking at the pictures.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("figures")
        .join(name)
}

fn svg(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn figure_6_says_what_it_shows() {
    let figure = class_match();
    let folder = folder("class_match");
    let written = write(&figure, &folder, "figure6", &FORMATS).unwrap();
    let names: Vec<_> = written
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(names, ["figure6.svg", "figure6.png", "figure6.csv"]);
    let svg = svg(&written[0]);
    let texts = texts(&svg);
    let has = |text: &str| texts.iter().filter(|found| **found == text).count();
    assert_eq!(has("Rank of the training image"), 3);
    assert_eq!(has("Queries matched by class (%)"), 1);
    assert_eq!(
        [
            has("(a) training images, self included"),
            has("(a’) training images, self excluded"),
            has("(b) test images")
        ],
        [1; 3]
    );
    assert_eq!((has("3,200 queries"), has("10,000 queries")), (2, 1));
    assert_eq!((has("natural"), has("robust")), (3, 3));
    for curve in figure.panels.iter().flat_map(|panel| &panel.curves) {
        let top = curve.top_one_percent().unwrap();
        let three = curve.three_of_top_five_percent.unwrap();
        for number in [top, three, curve.chance_percent] {
            assert!(has(&format!("{number:.1} %")) > 0, "{number}");
        }
        assert!(figure.caption().contains(&format!(
            "{} top 1 {top:.1} %, at least 3 of the top 5 {three:.1} %",
            curve.model
        )));
    }
    // A curve has as many points as ranks, and its band twice as many.
    let lengths = |tag: &str| -> Vec<usize> {
        let elements = svg
            .split(tag)
            .skip(1)
            .map(|rest| rest.split_once("points=\"").unwrap().1);
        elements
            .map(|points| points.split_once('"').unwrap().0.split_whitespace().count())
            .collect()
    };
    assert_eq!(
        lengths("<polyline ")
            .iter()
            .filter(|length| **length == 100)
            .count(),
        6
    );
    assert_eq!(
        lengths("<polygon ")
            .iter()
            .filter(|length| **length >= 198)
            .count(),
        6
    );
    assert!(svg.contains("<title>Class match") && svg.contains("width=\"180.00mm\""));
}

#[test]
fn figure_6_table_holds_every_point() {
    let figure = class_match();
    let folder = tempfile::tempdir().unwrap();
    let written = write(&figure, folder.path(), "figure6", &[]).unwrap();
    let mut table = csv::Reader::from_path(&written[0]).unwrap();
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let mut rows = rows.iter();
    for panel in &figure.panels {
        for curve in &panel.curves {
            for point in &curve.points {
                let row = rows.next().unwrap();
                assert_eq!(
                    [&row[0], &row[1], &row[2]],
                    [
                        panel.queries.letter(),
                        panel.queries.description(),
                        &curve.model
                    ]
                );
                assert_eq!(
                    (row[3].parse(), row[4].parse()),
                    (Ok(curve.query_count), Ok(point.rank))
                );
                let three = curve.three_of_top_five_percent.unwrap();
                let numbers = [
                    point.match_percent,
                    point.low_percent,
                    point.high_percent,
                    curve.chance_percent,
                    three,
                ];
                for (cell, number) in row.iter().skip(5).zip(numbers) {
                    assert_eq!(cell.parse(), Ok(number));
                }
            }
        }
    }
    assert!(rows.next().is_none());
    let json = serde_json::to_string(&figure).unwrap();
    assert_eq!(serde_json::from_str::<ClassMatch>(&json).unwrap(), figure);
}

#[test]
fn figure_5_says_what_it_shows() {
    let figure = helpful_examples();
    let written = write(&figure, &folder("helpful_examples"), "figure5", &FORMATS).unwrap();
    let svg = svg(&written[0]);
    let texts = texts(&svg);
    assert_eq!(svg.matches("<image ").count(), 30);
    assert_eq!(svg.matches("href=\"data:image/png;base64,").count(), 30);
    for text in [
        "Test image",
        "robust",
        "natural",
        "score: millinats",
        "score: micronats",
    ] {
        assert!(texts.contains(&text), "{text} in {texts:?}");
    }
    let labels = texts.iter().filter(|text| text.len() == 1).count();
    assert_eq!(labels, 30);
    let images = figure
        .models
        .iter()
        .flat_map(|model| figure.queries.iter().zip(&model.helpful));
    let agreeing = images
        .filter(|(query, image)| query.class == image.class)
        .count();
    assert!((1..20).contains(&agreeing));
    // A frame is a polygon, a tick has three corners, the two strokes of a cross two each, all in their colours.
    let corners = |colour: &str, corners: usize| {
        let lines = svg
            .lines()
            .filter(|line| line.starts_with("<polyline") && line.contains(colour));
        lines
            .filter(|line| line.split_once("points=\"").unwrap().1.matches(',').count() == corners)
            .count()
    };
    let frames = svg
        .lines()
        .filter(|line| line.starts_with("<polygon") && line.contains("#009E73"));
    assert_eq!(
        (frames.count(), corners("#009E73", 3)),
        (agreeing, agreeing)
    );
    assert_eq!(corners("#555555", 2), 2 * (20 - agreeing));
}

#[test]
fn figure_5_table_names_every_pair() {
    let figure = helpful_examples();
    let folder = tempfile::tempdir().unwrap();
    let written = write(&figure, folder.path(), "figure5", &[]).unwrap();
    let mut table = csv::Reader::from_path(&written[0]).unwrap();
    let header =
        "class,query,query_label,model,train,train_label,score_positive_helpful,unit,match";
    assert_eq!(
        table
            .headers()
            .unwrap()
            .iter()
            .collect::<Vec<_>>()
            .join(","),
        header
    );
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 20);
    for (row, at) in rows.iter().zip(0..) {
        let (query, model) = (&figure.queries[at / 2], &figure.models[at % 2]);
        let image = &model.helpful[at / 2];
        assert_eq!(
            (row[0].parse(), row[1].parse()),
            (Ok(query.class), Ok(query.query))
        );
        assert_eq!(
            [&row[2], &row[3], &row[5]],
            [&query.label, &model.model, &image.label]
        );
        assert_eq!(
            (row[4].parse(), row[6].parse()),
            (Ok(image.train), Ok(image.score))
        );
        assert_eq!(&row[7], "nats");
        assert_eq!(row[8].parse(), Ok(query.class == image.class));
    }
}

#[test]
fn pictures_decode_at_300_dots_an_inch_and_show_something() {
    let folder = tempfile::tempdir().unwrap();
    let (sixth, fifth) = (class_match(), helpful_examples());
    write(&sixth, folder.path(), "figure6", &[Format::Png]).unwrap();
    write(&fifth, folder.path(), "figure5", &[Format::Png]).unwrap();
    for (name, (width, height)) in [
        ("figure6.png", sixth.size(Style::Paper)),
        ("figure5.png", fifth.size(Style::Paper)),
    ] {
        let image = pixels(&folder.path().join(name));
        let dots = |length: f64| (length / 25.4 * 300.0) as u32;
        assert!(
            image.width().abs_diff(dots(width)) <= 1 && image.height().abs_diff(dots(height)) <= 1
        );
        let dark = image
            .pixels()
            .filter(|pixel| pixel.0.iter().all(|value| *value < 120))
            .count();
        let white = image.pixels().filter(|pixel| pixel.0 == [255; 3]).count();
        assert!(
            dark > 2000 && white > image.len() / 12,
            "{name}: {dark} dark, {white} white"
        );
        // Nothing reaches the edge of the sheet.
        let edge = image
            .enumerate_pixels()
            .filter(|(x, y, _)| *x < 9 || *y < 9 || *x >= image.width() - 9);
        assert!(
            edge.into_iter().all(|(_, _, pixel)| pixel.0 == [255; 3]),
            "{name}"
        );
    }
    let one = pixels(&folder.path().join("figure5.png"));
    let green = one
        .pixels()
        .filter(|pixel| pixel.0 == [0, 158, 115])
        .count();
    assert!(green > 1000, "frames: {green}");
}

#[test]
fn names_and_labels_are_text_whatever_they_hold() {
    let (mut sixth, mut fifth) = (class_match(), helpful_examples());
    sixth.panels[0].curves[0].model = "<b>&\u{1b}\u{ffff}".into();
    fifth.queries[0].label = "<script>".into();
    fifth.models[0].model = "a model with a name that is longer than its column is wide".into();
    let folder = tempfile::tempdir().unwrap();
    write(&sixth, folder.path(), "figure6", &FORMATS).unwrap();
    write(&fifth, folder.path(), "figure5", &FORMATS).unwrap();
    let (sixth, fifth) = (
        svg(&folder.path().join("figure6.svg")),
        svg(&folder.path().join("figure5.svg")),
    );
    assert!(sixth.contains("&lt;b&gt;&amp;\u{fffd}\u{fffd}") && !sixth.contains("<b>"));
    // XML has no place for them.
    assert!(!sixth.contains(['\u{1b}', '\u{ffff}']));
    assert!(!fifth.contains("<script>") && texts(&fifth).iter().any(|text| text.ends_with('…')));
}

#[test]
fn one_to_many_models_and_panels_can_be_drawn() {
    let mut figure = class_match();
    let many: Vec<_> = (0..9)
        .flat_map(|_| figure.panels[2].curves.clone())
        .collect();
    figure.panels[2].curves = many;
    write(&figure, &folder("many_models"), "figure6", &FORMATS).unwrap();
    figure.panels.drain(..2);
    figure.panels[0].curves.truncate(1);
    figure.panels[0].curves[0].points.truncate(1);
    write(&figure, &folder("one_point"), "figure6", &FORMATS).unwrap();
    let mut examples = helpful_examples();
    examples.queries.truncate(1);
    examples
        .models
        .iter_mut()
        .for_each(|model| model.helpful.truncate(1));
    write(&examples, &folder("one_query"), "figure5", &FORMATS).unwrap();
    for _ in 0..4 {
        examples.queries.extend_from_within(..);
        examples
            .models
            .iter_mut()
            .for_each(|model| model.helpful.extend_from_within(..));
    }
    write(&examples, &folder("two_bands"), "figure5", &FORMATS).unwrap();
}

#[test]
fn records_that_cannot_be_drawn_leave_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |figure: &ClassMatch| {
        let error = write(figure, folder.path(), "figure6", &FORMATS).unwrap_err();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        error.to_string()
    };
    assert!(refused(&ClassMatch { panels: Vec::new() }).contains("at least one curve"));
    let mut infinite = class_match();
    infinite.panels[1].curves[0].points[6].high_percent = f64::NAN;
    let message = refused(&infinite);
    assert!(
        message.contains("natural") && message.contains("not a finite number at rank 7"),
        "{message}"
    );
    let mut gap = class_match();
    gap.panels[0].curves[1].points.remove(3);
    let message = refused(&gap);
    assert!(message.contains("expected rank 4, found 5"), "{message}");
    let mut examples = helpful_examples();
    examples.models[1].helpful.pop();
    let message = write(&examples, folder.path(), "figure5", &FORMATS)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("examples of natural: expected 10"),
        "{message}"
    );
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = write(&class_match(), &file.join("figures"), "figure6", &FORMATS).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Io {
                action: "create",
                ..
            }
        ),
        "{error}"
    );
    let error = write(&class_match(), &file, "figure6", &FORMATS).unwrap_err();
    assert!(
        error.to_string().starts_with(&file.display().to_string()),
        "{error}"
    );
}
