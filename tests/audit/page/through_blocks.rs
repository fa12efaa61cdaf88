//! Pages of a run through a block that kept no score matrix, alone and beside one of the head: no view is empty without a reason.

use super::browser::Browser;
use crate::command_line::run;

#[test]
fn a_run_through_a_block_says_what_it_does_not_know() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    for words in [
        "transfer --source builtin:natural --train builtin:digits-train --test builtin:digits-test --images 40 --blocks 1 \
         --epochs 1 --batch-size 20 --augmentation none --out model",
        "rank --model model --blocks 1 --queries 12 --damping 1e-1 --out block",
        "rank --model model --queries 12 --damping 1e-1 --out head",
        "audit block --skip-sensitivity --out alone",
        "audit block head --measure 2 --skip-sensitivity --out both",
    ] {
        run(folder, words);
    }
    let main = "return document.querySelector('main').textContent";
    let reason = "rank again with --scores";
    let queries: Vec<usize> =
        ascribe::influence::read_rankings(&folder.join("block/rankings.parquet"))
            .unwrap()
            .iter()
            .map(|ranking| ranking.query)
            .collect();
    let train: Vec<usize> = ascribe::artefact::RunFolder::read(folder.join("model"))
        .unwrap()
        .result("train_ids")
        .unwrap();
    for (page, measured) in [
        ("alone", "--retrain SEEDS"),
        ("both", "trained again, in the same batches"),
    ] {
        browser.open(&folder.join(page).join("index.html"), "");
        let said = browser.text(main);
        for part in ["the last block and the head", measured, reason] {
            assert!(said.contains(part), "{page}, {part}: {said}");
        }
        for (hash, heading, part) in [
            ("#/queries", "Test images", "12 test images"),
            ("#/training/overall", "Training images", reason),
            (
                "#/training/mislabels",
                "Training images",
                "Self-influence is not known",
            ),
            ("#/training/duplicates", "Training images", "Leaks"),
            ("#/confusions", "Confusions", reason),
            ("#/decisions", "Decisions", ""),
        ] {
            browser.visit(hash, heading);
            let said = browser.text(main);
            assert!(said.contains(part), "{page} {hash}: {said}");
        }
        let (query, image) = (queries[3], train[0]);
        browser.visit(&format!("#/query/{query}"), &format!("Test image {query}"));
        browser.visit(
            &format!("#/image/{image}"),
            &format!("Training image {image}"),
        );
        super::is_clean(&browser);
    }
    // The run of the head has what the other lacks, and one can get there.
    browser.visit("#/training/overall", "Training images");
    browser.run(
        "const select = document.getElementById('select-model');
         select.value = '1';
         select.dispatchEvent(new Event('change'));",
    );
    browser.wait("return document.getElementById('found') !== null");
    assert!(!browser.text(main).contains(reason));
    // Both are one model's: its mistakes are shown once.
    browser.visit("#/overview", "block and head");
    let panels = "return [...document.querySelectorAll('.first h3')].map((panel) => panel.textContent).join('|')";
    let panels = browser.text(panels);
    assert!(
        panels.contains("Surely wrong|Perhaps mislabelled"),
        "{panels}"
    );
    super::is_clean(&browser);
}
