use super::*;
use crate::study::{Axes, ImageCount};

const SPEC: &str = r#"
images = [20, 40, "all"]
blocks = [0, "all"]
epochs = 3
seeds = 3
seeds-of-images = { 40 = 2, all = 1 }
epochs-of-images = { 40 = 5 }
augmentation = "none"

[source.robust]
model = "builtin:robust"
epsilon = 0.25
norm = "l2"

[source.natural]
model = "models/natural"

[target.digits]
train = "builtin:digits-train"
test = "digits/test.parquet"
transform = { downscale = 4 }
test-images = 50
l2 = 0.25
"#;

fn read(text: &str) -> Result<Spec> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spec.toml");
    std::fs::write(&file, text).unwrap();
    Spec::read(&file)
}

#[test]
fn a_key_is_no_misspelling_of_one_that_is_left_out() {
    let without = SPEC.replace("seeds-of-images = { 40 = 2, all = 1 }\n", "");
    assert!(read(&without).is_ok());
    let alone = "norm = \"l2\"\nsource-deviation = [1, 1, 1]";
    let message = refusal("norm = \"l2\"", alone);
    assert!(
        message.contains("one of mean and deviation alone"),
        "{message}"
    );
    let message = refusal("norm = \"l2\"", "nrom = \"l2\"");
    assert!(message.contains("did you mean norm?"), "{message}");
}

fn refusal(from: &str, to: &str) -> String {
    assert!(SPEC.contains(from), "{from}");
    let message = read(&SPEC.replacen(from, to, 1)).unwrap_err().to_string();
    assert!(
        message.contains("spec.toml: ") && !message.contains('\n'),
        "{message}"
    );
    message
}

#[test]
fn a_spec_says_what_it_says() {
    let spec = read(SPEC).unwrap();
    let (few, some) = (ImageCount::Number(20), ImageCount::Number(40));
    assert_eq!(
        (&spec.images[..], &spec.epochs[..]),
        (&[few, some, ImageCount::All][..], &[3][..])
    );
    assert_eq!(spec.blocks, [Blocks::Last(0), Blocks::All]);
    assert_eq!(
        [few, some, ImageCount::All].map(|images| spec.seeds_of(images)),
        [&[0, 1, 2][..], &[0, 1], &[0]]
    );
    assert_eq!([few, some].map(|images| spec.epochs_of(images)), [[3], [5]]);
    // Of a set of 60 images and one of 40: none is taken twice.
    let cells = spec.cells(&[60, 40]);
    let of = |target: usize| -> Vec<_> {
        let cells = cells.iter();
        let first = cells.filter(|cell| {
            (cell.source, cell.target, cell.seed) == (0, target, 0) && cell.blocks == Blocks::All
        });
        first.map(|cell| (cell.images, cell.epochs)).collect()
    };
    assert_eq!(of(0), [(20, 3), (60, 3), (40, 5)]);
    assert_eq!(of(1), [(20, 3), (40, 5)]);
    // All of a set that are a number on the axis too are runs of that number.
    let axes = |text: &str, total| Axes::of(&read(text).unwrap(), &[total]).epochs_of_images;
    let epochs = |pairs: &[(usize, usize)]| {
        BTreeMap::from([("digits".to_owned(), pairs.iter().copied().collect())])
    };
    assert_eq!(axes(SPEC, 40), epochs(&[(40, 5)]));
    let all = SPEC.replace("{ 40 = 5 }", "{ all = 5 }");
    assert_eq!(axes(&all, 60), epochs(&[(60, 5)]));
    assert!(axes(&all, 40).is_empty());
    let names: Vec<_> = spec.sources.iter().map(|source| &source.name[..]).collect();
    assert_eq!(names, ["natural", "robust"]);
    assert!(
        spec.sources[0].model.is_absolute() && spec.sources[0].model.ends_with("models/natural")
    );
    assert_eq!(spec.sources[1].model, Path::new("builtin:robust"));
    let target = &spec.targets[0];
    assert_eq!(
        (target.transform.downscale, target.test_images),
        (Some(4), Some(50))
    );
    assert_eq!(target.recipe["l2"], 0.25);
    // Not in the spec: as `ascribe transfer` has it.
    assert_eq!(spec.options.recipe.learning_rate, 0.1);
    assert_eq!(spec.search, None);
}

/// As `ascribe train --epsilon` takes it.
#[test]
fn a_radius_is_a_number_or_a_fraction() {
    for (written, radius) in [
        ("8", 8.0),
        ("0.25", 0.25),
        ("\"0.25\"", 0.25),
        ("\"8/255\"", 8.0 / 255.0),
    ] {
        let spec = read(&SPEC.replace("epsilon = 0.25", &format!("epsilon = {written}")));
        assert_eq!(spec.unwrap().sources[1].epsilon, radius, "{written}");
    }
    let natural = SPEC.replace("epsilon = 0.25\nnorm = \"l2\"", "epsilon = 0");
    assert!(
        read(&natural)
            .unwrap()
            .sources
            .iter()
            .all(|it| it.epsilon == 0.0)
    );
}

#[test]
fn a_search_is_all_combinations() {
    let search = "[search]\nlearning-rate = [0.1, 0.01]\nl2 = [0, 5e-4, 1e-3]\nvalidation = 0.25\n";
    let spec = SPEC.replace("l2 = 0.25\n", "");
    let search = read(&format!("{spec}{search}")).unwrap().search.unwrap();
    assert_eq!((search.candidates.len(), search.validation), (6, 0.25));
    assert_eq!(search.candidates[0]["learning-rate"], 0.1);
    for (text, part) in [
        ("learning-rate = [0.1]", "two candidates"),
        (
            "learning-rate = [0.1, -1]",
            "search.learning-rate: expected a positive number, found -1",
        ),
        ("learning-rat = [0.1, 1]", "did you mean learning-rate?"),
        (
            "l2 = [0, 1]\n[target.own]\ntrain = \"a\"\ntest = \"b\"\nl2 = 0.5",
            "target.own.l2: expected one or the other, found a value, and search.l2",
        ),
        (
            "learning-rate = [0.1, 1]\nvalidation = 1.5",
            "search.validation",
        ),
    ] {
        let message = read(&format!("{spec}[search]\n{text}\n"))
            .unwrap_err()
            .to_string();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (from, to, parts) in [
        (
            "images = [",
            "imagess = [",
            &["imagess", "did you mean images?"][..],
        ),
        ("seeds = 3", "sedes = 3", &["sedes", "did you mean seeds?"]),
        (
            "augmentation",
            "augmentatoin",
            &["did you mean augmentation?"],
        ),
        (
            "\"none\"",
            "\"flop\"",
            &["augmentation", "flop", "standard"],
        ),
        (
            "epsilon = 0.25",
            "epsilno = 0.25",
            &["source.robust.epsilno", "did you mean epsilon?"],
        ),
        (
            "epsilon = 0.25",
            "epsilon = -1",
            &["source.robust.epsilon", "-1"],
        ),
        (
            "epsilon = 0.25",
            "epsilon = \"8 of 255\"",
            &["source.robust.epsilon", "\"8/255\", found 8 of 255;"],
        ),
        (
            "epsilon = 0.25",
            "epsilon = \"1/0\"",
            &["source.robust.epsilon", "found 1/0;"],
        ),
        (
            "epsilon = 0.25\nnorm = \"l2\"",
            "epsilon = 8\nnorm = \"linf\"",
            &[
                "source.robust.epsilon: expected at most 1, since pixels are in [0, 1], found 8; 8 of 255 is \"8/255\";",
            ],
        ),
        (
            "epsilon = 0.25",
            "epsilon = 1e-39",
            &["source.robust.epsilon: expected a number from 1e-15 to 1e15, found 1e-39;"],
        ),
        ("norm = \"l2\"", "", &["source.robust.norm"]),
        (
            "epsilon = 0.25",
            "",
            &["source.robust.epsilon", "above 0, as there is a norm"],
        ),
        (
            "test-images = 50",
            "test-images = -5",
            &["target.digits.test-images", "-5"],
        ),
        (
            "{ downscale = 4 }",
            "\"gray\"",
            &["target.digits.transform", "gray", "greyscale"],
        ),
        (
            "images = [20, 40, \"all\"]",
            "images = [20, -40]",
            &["images: ", "-40"],
        ),
        (
            "images = [20, 40, \"all\"]",
            "images = [20, 20]",
            &["different"],
        ),
        ("images = [20, 40, \"all\"]", "images = []", &["images: "]),
        ("\"all\"]", "\"most\"]", &["images: ", "most"]),
        ("epochs = 3", "epochs = 0", &["epochs: "]),
        ("epochs = 3", "", &["epochs: ", "nothing"]),
        ("seeds = 3", "seeds = 0", &["seeds: "]),
        (
            "{ 40 = 2,",
            "{ 40 = 9,",
            &["seeds-of-images", "from 1 to 3"],
        ),
        ("{ 40 = 5 }", "{ 50 = 5 }", &["epochs-of-images", "50"]),
        (
            "{ 40 = 5 }",
            "{ 40 = 0 }",
            &["epochs-of-images", "from 1 up"],
        ),
        ("blocks = [0, \"all\"]", "blocks = -1", &["blocks: ", "-1"]),
        (
            "augmentation = \"none\"",
            "momentum = 1",
            &["momentum: expected a number from 0", "found 1"],
        ),
        (
            "l2 = 0.25",
            "precision = \"tf32\"",
            &["target.digits.precision", "learning-rate"],
        ),
        ("seeds = 3", "seeds = ", &["line 5"]),
        ("[target.digits]", "[target]", &["target"]),
    ] {
        let message = refusal(from, to);
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    let message = Spec::read(Path::new("nowhere.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("nowhere.toml") && message.contains("check the path"),
        "{message}"
    );
}
