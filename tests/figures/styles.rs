//! Every figure for paper and for screens: the same record and table, another picture.

mod records;

use crate::figures::{pixels, texts};
use ascribe::figure::{Figure, Format, Style, write};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

const FORMATS: [Format; 2] = [Format::Svg, Format::Png];

/// SHA-256 of what is drawn for paper, the SVG's bytes and the PNG's pixels. Those of SVGs, but of the damping
/// path, whose names have stood on white since, and of groups left out, which are newer, are from before there were styles. Where a look is
/// changed on purpose, the failing test prints the new ones.
const PAPER: [(&str, &str, &str); 10] = [
    (
        "class_match",
        "09d1383ec2d11d0c55b451c3dbeb7fc324971114dc64170c2290dc823cd3e30c",
        "28d6eacbbc3923534621562e3023fa53b04079b043903e12d957841f22210574",
    ),
    (
        "damping_path",
        "0cd3e79e2423678e054db1d43f25e3f63a759982d5a7dac409c34d5663edb7f4",
        "5e1a1eede4aeec2c6d8985888d7fa0cc30747aed6fc45ed813c51f0f81f2d71b",
    ),
    (
        "groups_left_out",
        "7eed56ad83ac32a8dad6b06ddf76dff54eaf7aeaad1f4a77bcfdb31c0ea29c6b",
        "716ec70a0a920bc20656e551e2152ae3a6c3d652e49abd56df6eb345294a648e",
    ),
    (
        "helpful_examples",
        "8400a0a0bd51077118428b9c73302aefa24142f5ceb56cc31c0eb20d81f6ac32",
        "33fd7346087a8fdf79c622b93b327bf3c212213a35a5bbda046f5e663a6a2306",
    ),
    (
        "influence_matrix",
        "22a5285c91723fa5808f5c959c2fee53005f760eb07c8c7a1ed1764cb512a3cf",
        "44651a498844032e7d2d736344823fcd8e2c038c4b15eab3401f1d97c87e365c",
    ),
    (
        "leave_one_out",
        "1eb01a254944aa83182e775eeb59a803fc841a7e9b460ec639fa8dfca2b14fe4",
        "4c0c73863c67fb9aa943dad2493502c6abdc21222d061c3d089c744906137650",
    ),
    (
        "loss_sensitivity",
        "3468e7a428117e6d853833eac217193d2468a976cd0a49517111dada21ae216c",
        "6d798f6283b5ab6f12bc1d7fdffce6dd25c5716202fbb0c7b086a47a9dab354a",
    ),
    (
        "quality_and_cost",
        "506ea7c0b8a74cc54d4983a0fda9e055b4388d4141a2abd56b0549b72fcdf756",
        "b7e08dda06ac9515a68f2126698f9bde0e037e120aed380be399ae12a56524e5",
    ),
    (
        "removal_curves",
        "77fc81eeb7e4ecd19b30c6a03f82133c5817ae25cec95bec5b18dcd17dde71ba",
        "3b85cb4a8a279faefbc66ad3ee4dab8eb47ed096f9b6a4dc2dc1743a218dd8e9",
    ),
    (
        "transfer_accuracy",
        "7f932bbbe6a96c562dfdb9f3c1e3e17d28ee61c10aa924169862b5c6c0da714d",
        "1e48a1fd189589bcc4e5085895ffbdf42f5e515ff7024ccc9d8b943084c14687",
    ),
];

/// A figure in both styles, left for looking at.
struct Written {
    name: &'static str,
    paper: PathBuf,
    screen: PathBuf,
}

impl Written {
    fn of(name: &'static str, figure: &impl Figure) -> Self {
        let [paper, screen] = [Style::Paper, Style::Screen].map(|style| {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("figures/{style}"));
            write(figure, &folder, name, &FORMATS, style).unwrap();
            folder.join(name)
        });
        Self {
            name,
            paper,
            screen,
        }
    }
}

static WRITTEN: LazyLock<[Written; 10]> = LazyLock::new(|| {
    [
        Written::of("class_match", &records::class_match()),
        Written::of("damping_path", &records::damping_path()),
        Written::of("groups_left_out", &records::groups_left_out()),
        Written::of("helpful_examples", &records::helpful_examples()),
        Written::of("influence_matrix", &records::influence_matrix()),
        Written::of("leave_one_out", &records::leave_one_out()),
        Written::of("loss_sensitivity", &records::loss_sensitivity()),
        Written::of("quality_and_cost", &records::quality_and_cost()),
        Written::of("removal_curves", &records::removal_curves()),
        Written::of("transfer_accuracy", &records::transfer_accuracy()),
    ]
});

fn text(stem: &Path, extension: &str) -> String {
    std::fs::read_to_string(stem.with_extension(extension)).unwrap()
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The words of an SVG in their order, whatever lines they are broken into; numbers of an axis aside, of which a wider one
/// has more.
fn words(svg: &str) -> Vec<String> {
    let words = texts(svg).into_iter().flat_map(str::split_whitespace);
    let mut words: Vec<String> = words
        .filter(|word| word.chars().any(char::is_alphabetic))
        .map(|word| word.trim_matches([',', '.']).to_lowercase())
        .collect();
    words.sort();
    words.dedup();
    words
}

#[test]
fn both_styles_draw_the_same_record() {
    let mut found = Vec::new();
    for Written {
        name,
        paper,
        screen,
    } in WRITTEN.iter()
    {
        assert_eq!(text(paper, "csv"), text(screen, "csv"), "{name}");
        let (on_paper, on_screen) = (text(paper, "svg"), text(screen, "svg"));
        assert_ne!(on_paper, on_screen, "{name}");
        let head = |svg: &str| svg.split_once("<title>").unwrap().1[..200].to_owned();
        assert_eq!(head(&on_paper), head(&on_screen), "{name}");
        let missing: Vec<String> = words(&on_paper)
            .into_iter()
            .filter(|word| !words(&on_screen).contains(word) && !word.contains("1e"))
            .collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
        assert!(!on_screen.contains('…'), "{name}: a label is cut");
        let digests = (
            digest(on_paper.as_bytes()),
            digest(&pixels(&paper.with_extension("png"))),
        );
        found.push((*name, digests.0, digests.1));
    }
    let found: Vec<(&str, &str, &str)> = found
        .iter()
        .map(|(name, svg, png)| (*name, svg.as_str(), png.as_str()))
        .collect();
    assert_eq!(found, PAPER, "{found:#?}");
}

/// Records of before do not say whose classes are predicted: nobody's were.
#[test]
fn records_that_do_not_say_whose_classes_are_predicted_are_read() {
    fn read<R: Serialize + DeserializeOwned + PartialEq + Debug>(record: &R) {
        let json = serde_json::to_string(record).unwrap();
        let before = json.replace(",\"predicted\":false", "");
        assert_ne!(before, json);
        let [before, now] = [before, json].map(|it| serde_json::from_str::<R>(&it).unwrap());
        assert_eq!(before, now);
    }
    read(&records::class_match());
    read(&records::helpful_examples());
    read(&records::influence_matrix());
    read(&records::loss_sensitivity());
}

#[test]
fn screens_get_larger_type_on_a_white_sheet_of_fewer_pixels() {
    for Written {
        name,
        paper,
        screen,
    } in WRITTEN.iter()
    {
        let [on_paper, on_screen] = [paper, screen].map(|it| pixels(&it.with_extension("png")));
        assert!(on_screen.width() <= on_paper.width().min(1800), "{name}");
        // Of one size in dots of the sheet, of which the screen's are fewer.
        let sizes = |svg: &str| -> Vec<String> {
            let sizes = svg.split("font-size=\"").skip(1);
            let mut sizes: Vec<_> = sizes
                .map(|rest| rest.split('"').next().unwrap().to_owned())
                .collect();
            sizes.sort();
            sizes.dedup();
            sizes
        };
        let svg = text(screen, "svg");
        assert_eq!(sizes(&svg), sizes(&text(paper, "svg")), "{name}");
        assert!(
            sizes(&svg)
                .iter()
                .all(|size| size.parse::<f64>().unwrap() >= 57.0)
        );
        let width: f64 = svg.split('"').nth(3).unwrap().parse().unwrap();
        assert!(
            (width - 0.8 * f64::from(on_screen.width())).abs() <= 1.0,
            "{name}: {width}"
        );
        // White to the edge, and nothing drawn there.
        let (width, height) = on_screen.dimensions();
        let edge = on_screen
            .enumerate_pixels()
            .filter(|(x, y, _)| *x < 9 || *y < 9 || *x >= width - 9 || *y >= height - 9);
        let mut drawn = edge.filter(|(_, _, pixel)| pixel.0 != [255; 3]);
        assert_eq!(drawn.next(), None, "{name}");
    }
}

#[test]
fn few_and_many_parts_fit_the_sheet_of_a_screen() {
    let draw = |name: &str, figure: &dyn Fn(&Path) -> PathBuf| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("figures/screen_parts");
        let image = pixels(&figure(&folder.join(name)));
        let (width, height) = image.dimensions();
        let edge = |x: u32, y: u32| x < 9 || y < 9 || x >= width - 9 || y >= height - 9;
        let drawn = image
            .enumerate_pixels()
            .find(|(x, y, pixel)| edge(*x, *y) && pixel.0 != [255; 3]);
        assert!(
            drawn.is_none() && width <= 1800,
            "{name}: {width}, {drawn:?}"
        );
    };
    fn png(figure: &impl Figure, stem: &Path) -> PathBuf {
        let (folder, name) = (stem.parent().unwrap(), stem.file_name().unwrap());
        let name = name.to_str().unwrap();
        let written = write(figure, folder, name, &[Format::Png], Style::Screen);
        written.unwrap().files.swap_remove(0)
    }
    for panels in [1, 2] {
        let mut figure = records::class_match();
        figure.panels.truncate(panels);
        draw(&format!("class_match_{panels}"), &|stem| png(&figure, stem));
    }
    let mut matrix = records::influence_matrix();
    let mut third = matrix.panels[..2].to_vec();
    third
        .iter_mut()
        .for_each(|panel| panel.model = "third".into());
    matrix.panels.extend(third);
    draw("three_models", &|stem| png(&matrix, stem));
    let mut examples = records::helpful_examples();
    examples.models[0].model = "a model with a long name, longer than there is room".into();
    examples.queries.truncate(2);
    (examples.models.iter_mut()).for_each(|model| model.helpful.truncate(2));
    draw("two_queries", &|stem| png(&examples, stem));
    let mut accuracy = records::transfer_accuracy();
    accuracy.summary.difference.clear();
    draw("accuracy_alone", &|stem| png(&accuracy, stem));
}
