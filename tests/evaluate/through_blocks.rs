//! A run through residual blocks, held against measurements that were made elsewhere.

use crate::command_line::{refused, run};
use crate::evaluate::command::results;
use ascribe::artefact::RunFolder;
use ascribe::evaluate::{Ids, RefitEnd, Retrained, Work};
use ascribe::influence::read_rankings;
use ndarray::Array2;
use std::collections::BTreeMap;

#[test]
fn a_run_through_blocks_takes_measurements_made_elsewhere() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let train = "train --train builtin:digits-train --test builtin:digits-test --architecture cifar-resnet8-w8 --side 8 \
                 --epochs 1 --batch-size 32 --augmentation none --out source";
    run(folder, train);
    let transfer = "transfer --source source --train builtin:digits-train --test builtin:digits-test --images 40 --blocks 1 \
                    --epochs 2 --batch-size 20 --augmentation none --out model";
    run(folder, transfer);
    let rank = "rank --model model --blocks 1 --queries 3 --damping 1e-1 --scores --skip-train --solver identity --out run";
    run(folder, rank);
    let record = RunFolder::read(folder.join("model")).unwrap();
    let ids: Vec<usize> = record.result("train_ids").unwrap();
    let rankings = read_rankings(&folder.join("run/rankings.parquet")).unwrap();
    let queries: Vec<usize> = rankings.iter().map(|ranking| ranking.query).collect();
    let scores: Array2<f32> = ndarray_npy::read_npy(folder.join("run/scores.npy")).unwrap();
    // Measurements that are just what the scores predict: the first half of the images left out but for one.
    let left_out: Vec<Vec<usize>> = (0..20)
        .map(|subset| (0..20).filter(|&at| at != subset).collect())
        .collect();
    let rise = |subset: usize, query: usize| -> f64 {
        left_out[subset]
            .iter()
            .map(|&at| f64::from(scores[[query, at]]))
            .sum()
    };
    let retrained = Retrained {
        losses: Array2::from_shape_fn((20, 3), |(subset, query)| 1.0 + rise(subset, query)),
        left_out: left_out.clone(),
        hits: None,
        hits_before: None,
        before: vec![1.0; 3],
        refits: Vec::new(),
        work: Work::default(),
        losses_alone: false,
    };
    let ids = Ids {
        train: &ids,
        queries: &queries,
    };
    std::fs::create_dir(folder.join("elsewhere")).unwrap();
    retrained
        .write(&folder.join("elsewhere"), "lds", ids, &BTreeMap::new())
        .unwrap();
    let read = Retrained::read(&folder.join("elsewhere"), "lds", ids, &BTreeMap::new()).unwrap();
    assert_eq!(read, retrained);
    let words = "evaluate run --lds 20 --retrained elsewhere --compare direct,knn --draws 50 --out evidence";
    run(folder, words);
    let rows = results(folder, "evidence")["lds"]["rows"].clone();
    let spearman = |at: usize| rows[at]["agreement"]["spearman"]["value"].as_f64().unwrap();
    assert!(spearman(0) > 1.0 - 1e-9 && spearman(2) < 0.9, "{rows}");
    // Nothing is asked but of what is there.
    run(
        folder,
        "evaluate run --retrained elsewhere --draws 50 --out usual",
    );
    let found = results(folder, "usual");
    assert_eq!(found["lds"]["retrainings"], 20);
    assert!(found["leave_one_out"].is_null() && found["fit"]["gradient_norm"].is_null());
    for (words, part) in [
        (
            "evaluate run --out x",
            "--leave-one-out: the run goes through residual blocks",
        ),
        (
            "evaluate run --lds 20 --out x",
            "--lds: the run goes through residual blocks",
        ),
        (
            "evaluate run --lds 20 --randomise --retrained elsewhere --out x",
            "--randomise",
        ),
    ] {
        let message = refused(folder, words);
        assert!(message.contains(part), "{message}");
    }
    // What heads that were fitted again say is about other scores.
    let end = RefitEnd {
        gradient_norm: 1e-12,
        converged: true,
        steps: 5,
    };
    let of_heads = Retrained {
        refits: vec![end; 20],
        ..retrained.clone()
    };
    let heads = folder.join("heads");
    std::fs::create_dir(&heads).unwrap();
    of_heads
        .write(&heads, "lds", ids, &BTreeMap::new())
        .unwrap();
    let message = refused(folder, "evaluate run --lds 20 --retrained heads --out x");
    assert!(
        message.contains("heads: holds heads that were fitted again"),
        "{message}"
    );
    // A subset without a measurement.
    let short = Retrained {
        losses: retrained.losses.clone(),
        left_out: left_out[..19].to_vec(),
        ..retrained.clone()
    };
    short
        .write(&folder.join("elsewhere"), "lds", ids, &BTreeMap::new())
        .unwrap();
    let other = folder.join("other");
    std::fs::create_dir(&other).unwrap();
    retrained
        .write(&other, "lds", ids, &BTreeMap::new())
        .unwrap();
    std::fs::copy(
        folder.join("elsewhere/lds_measurements.parquet"),
        other.join("lds_measurements.parquet"),
    )
    .unwrap();
    let message = refused(folder, "evaluate run --lds 20 --retrained other --out x");
    assert!(
        message.contains("subset 19, query") && message.contains("no row"),
        "{message}"
    );
    let mut twice = retrained.clone();
    let repeated = twice.left_out[0][0];
    twice.left_out[0].push(repeated);
    twice.write(&other, "lds", ids, &BTreeMap::new()).unwrap();
    let message = refused(folder, "evaluate run --lds 20 --retrained other --out x");
    assert!(
        message.contains("of subset 0 once more; make the measurements again"),
        "{message}"
    );
}
