use super::*;
use crate::data::{digits_test, digits_train};
use crate::influence::RankedImage;

fn ranking(query: usize, query_label: usize, first: Option<(usize, usize, f64)>) -> QueryRanking {
    let image = |(train, train_label, score)| RankedImage {
        train,
        train_label,
        score,
        certificate: None,
    };
    let helpful = first.into_iter().map(image).collect();
    QueryRanking {
        query,
        query_label,
        query_prediction: 0,
        helpful,
        harmful: Vec::new(),
    }
}

#[test]
fn one_query_of_each_class_depends_on_the_seed_alone() {
    let rankings: Vec<QueryRanking> = (0..90)
        .map(|query| ranking(query, query % 3 * 2, None))
        .collect();
    let chosen = one_per_class(&rankings, 7);
    assert_eq!(
        chosen.iter().map(|query| query % 3 * 2).collect::<Vec<_>>(),
        [0, 2, 4]
    );
    let reversed: Vec<QueryRanking> = rankings.iter().rev().cloned().collect();
    assert_eq!(one_per_class(&reversed, 7), chosen);
    // Another class more or less does not change the draw of the others.
    let two: Vec<QueryRanking> = rankings
        .iter()
        .filter(|ranking| ranking.query_label > 0)
        .cloned()
        .collect();
    assert_eq!(one_per_class(&two, 7), chosen[1..]);
    let draws: std::collections::HashSet<_> =
        (0..20).map(|seed| one_per_class(&rankings, seed)).collect();
    assert!(draws.len() > 15);
}

#[test]
fn examples_are_looked_up_by_query_and_id() {
    let (train, test) = (digits_train().unwrap(), digits_test().unwrap());
    let (first, second) = (test.label(5), test.label(8));
    let rankings = [
        ranking(8, second, Some((3, 3, -0.5))),
        ranking(5, first, Some((12, 2, 0.25))),
    ];
    let models = [ModelImages {
        model: "natural",
        unit: NATS,
        predicted: false,
        rankings: &rankings,
        train: &train,
    }];
    let figure = HelpfulExamples::of(&[5, 8], &models, &test).unwrap();
    let helpful: Vec<_> = figure.models[0]
        .helpful
        .iter()
        .map(|image| (image.train, image.class, image.score))
        .collect();
    assert_eq!(helpful, [(12, 2, 0.25), (3, 3, -0.5)]);
    assert_eq!(figure.queries[0].picture, test.get(5).unwrap().image.into());
    assert_eq!(
        figure.models[0].helpful[1].picture,
        train.get(3).unwrap().image.into()
    );
}

#[test]
fn rankings_of_other_data_are_refused() {
    let (train, test) = (digits_train().unwrap(), digits_test().unwrap());
    let label = test.label(5);
    let message = |rankings: &[QueryRanking]| {
        let models = [ModelImages {
            model: "natural",
            unit: NATS,
            predicted: false,
            rankings,
            train: &train,
        }];
        HelpfulExamples::of(&[5], &models, &test)
            .unwrap_err()
            .to_string()
    };
    let missing = message(&[ranking(6, test.label(6), Some((12, 2, 0.25)))]);
    assert!(
        missing.contains("rankings.parquet of natural: expected query 5")
            && missing.ends_with("; choose --images among its queries: 6"),
        "{missing}"
    );
    assert!(message(&[ranking(5, label, None)]).contains("query 5"));
    let other = message(&[ranking(5, (label + 1) % 10, Some((12, 2, 0.25)))]);
    assert!(
        other.contains("label of query 5 in rankings.parquet of natural")
            && other.contains("the data the run was made from"),
        "{other}"
    );
    assert!(
        message(&[ranking(5, label, Some((12, 3, 0.25)))]).contains("label of training image 12")
    );
    assert!(message(&[ranking(5, label, Some((1000, 3, 0.25)))]).contains("example id"));
    let infinite = message(&[ranking(5, label, Some((12, 2, f64::INFINITY)))]);
    assert!(
        infinite.contains("not a finite number at training image 12"),
        "{infinite}"
    );
}

#[test]
fn a_query_of_which_two_models_predict_different_classes_is_refused_as_such() {
    let (train, test) = (digits_train().unwrap(), digits_test().unwrap());
    let class = test.label(5);
    let [first, second] =
        [class, (class + 1) % 10].map(|class| [ranking(5, class, Some((12, 2, 0.25)))]);
    let model = |model, rankings| ModelImages {
        model,
        unit: NATS,
        predicted: true,
        rankings,
        train: &train,
    };
    let models = [model("natural", &first), model("robust", &second)];
    HelpfulExamples::of(&[5], &models[..1], &test).unwrap();
    let message = HelpfulExamples::of(&[5], &models, &test)
        .unwrap_err()
        .to_string();
    let expected = format!(
        "class of query 5 in robust: expected {class}, as in the first run, found {}; choose other --images, or draw each run alone",
        (class + 1) % 10
    );
    assert_eq!(message, expected);
}

#[test]
fn no_query_and_no_model_cannot_be_drawn() {
    let test = digits_test().unwrap();
    for queries in [&[] as &[usize], &[5]] {
        let message = HelpfulExamples::of(queries, &[], &test)
            .unwrap_err()
            .to_string();
        assert!(message.contains("0 models"), "{message}");
    }
}

#[test]
fn wordnet_ids_are_not_drawn() {
    let names = [
        "n01770393 scorpion",
        "n02099712 Labrador retriever",
        "cat",
        "n0177 x",
        "n01770393",
    ];
    let shown = names.map(crate::figure::image_grid::without_wordnet_id);
    assert_eq!(
        shown,
        [
            "scorpion",
            "Labrador retriever",
            "cat",
            "n0177 x",
            "n01770393"
        ]
    );
}
