//! What the page says of scores, names and addresses that are not the usual ones.

use super::browser::Browser;
use super::example::many_classes_audit;
use super::{is_clean, opened};
use serde_json::json;

#[test]
fn scores_that_were_divided_are_not_called_rises_of_a_loss() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "");
    let meaning = "return [...document.querySelectorAll('main section')].find((part) => part.querySelector('h2')?.textContent === 'What a score means').textContent";
    let usual = browser.text(meaning);
    assert!(
        usual.contains("It is the predicted rise") && !usual.contains("divided"),
        "{usual}"
    );
    let shown = |units: [&str; 2]| {
        browser.run(&format!(
            "page.overview.models.forEach((model, at) => {{ model.unit = {}[at]; }}); route.show();",
            json!(units)
        ));
        let named = format!(
            "return document.querySelector('main').textContent.includes('{}')",
            units[1]
        );
        browser.wait(&named);
        browser.text(meaning)
    };
    let one = shown(["nats", "cosine"]);
    assert!(
        one.contains("It is the predicted rise")
            && one.contains("Scores of robust were divided (--normalise)")
            && one.contains("nats and cosine"),
        "{one}"
    );
    let both = shown(["cosine", "root nats"]);
    assert!(
        both.contains("Its sign is that of the predicted rise")
            && both.contains("Scores were divided"),
        "{both}"
    );
    is_clean(&browser);
}

#[test]
fn images_that_are_alike_are_not_called_leaks_before_they_were_looked_at() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "");
    let panel = "const panel = [...document.querySelectorAll('.panel')].find((panel) => panel.textContent.toLowerCase().includes('leaks from'));
        return panel.querySelector('h3').textContent + ': ' + panel.querySelector('p').textContent";
    let with = |groups: serde_json::Value| {
        browser.run(&format!(
            "document.querySelector('main').replaceChildren();
             page.training.duplicates = {groups}.map(([kind, queries]) => ({{ kind, similarity: 1, training: [5], queries }}));
             route.show();"
        ));
        browser.wait("return document.querySelector('.panel') !== null");
        browser.text(panel)
    };
    assert_eq!(
        with(json!([["pixels", [1]]])),
        "Leaks from training to test: 1 test image equal to a training image"
    );
    assert_eq!(
        with(json!([["near", [1, 2]], ["near", [2]]])),
        "Perhaps leaks from training to test: 2 test images alike but not equal: look at them"
    );
    assert_eq!(
        with(json!([["pixels", [1]], ["near", [1, 2]]])),
        "Leaks from training to test: 1 test image equal to a training image, 1 alike but not equal: look at it"
    );
    is_clean(&browser);
}

/// Of a list that is longer than the screen.
#[test]
fn a_confusion_that_was_chosen_is_in_sight_and_named_in_its_own_direction() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    many_classes_audit(200, 500, folder.path());
    browser.open(&folder.path().join("index.html"), "#/confusions");
    browser.run(
        "page.overview.classes = page.overview.classes.map((_, at) => `חתול ${at}`); route.show();",
    );
    browser.wait("return document.querySelector('.fullest a').textContent.includes('חתול')");
    let order = "const [label, prediction] = [...document.querySelectorAll('.fullest a:has(bdi) bdi')].map((name) => name.getBoundingClientRect());
        return label.right < prediction.left";
    assert_eq!(browser.run(order), true);
    let more = browser.text("return document.querySelector('main').textContent");
    assert!(
        more.contains("more pairs") && more.contains("more classes"),
        "{more}"
    );
    browser.click(".fullest a");
    browser.wait("return document.activeElement.matches('h2')");
    let in_sight = "const { top, bottom } = document.activeElement.getBoundingClientRect(); return top >= 0 && bottom <= 900";
    assert_eq!(browser.run(in_sight), true);
    // The way back leads to where the reader was.
    browser.run("window.scrollTo(0, 0)");
    browser.wait("return window.scrollY === 0");
    browser.visit("#/overview", "");
    browser.run("history.back()");
    browser.wait("return document.querySelector('main h1').textContent === 'Confusions'");
    assert_eq!(browser.run("return window.scrollY"), 0);
    is_clean(&browser);
}

#[test]
fn an_address_that_was_cut_is_not_found() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "#/%E0");
    let said = browser.text("return document.querySelector('main').textContent");
    assert!(
        said.contains("Not found") && said.contains("There is no view called “%E0”."),
        "{said}"
    );
    is_clean(&browser);
}
