//! Long lists: walked through by keyboard, searched, printed, and of runs without pictures.

use super::{is_clean, opened};
use serde_json::json;

const TAB: char = '\u{e004}';

/// Rows come and go as the focus moves on; what has it stays.
#[test]
fn a_long_list_is_walked_through_by_keyboard() {
    let Some((browser, folder)) = opened(600, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "#/queries");
    browser.wait("return document.querySelectorAll('.long-grid .card').length > 10");
    let place =
        "return Number(document.activeElement.closest('[role=listitem]')?.ariaPosInSet ?? 0)";
    browser.run("document.querySelector('.long-grid .card').focus()");
    let drawn = "return document.querySelectorAll('.long-grid .card').length";
    let at_once = browser.run(drawn).as_u64().unwrap();
    let steps = 2 * at_once;
    for _ in 0..steps {
        browser.press(TAB);
    }
    assert_eq!(browser.run(place).as_u64(), Some(steps + 1));
    assert!(browser.run(drawn).as_u64().unwrap() < 2 * at_once);
    let in_order = "const places = [...document.querySelectorAll('.long-grid > *')].map((item) => Number(item.ariaPosInSet));
        return places.every((place, at) => at === 0 || place === places[at - 1] + 1)";
    assert_eq!(browser.run(in_order), true);
    is_clean(&browser);
}

/// Also where the reader has not scrolled.
#[test]
fn the_way_up_leads_to_the_image_that_was_opened() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "#/queries");
    browser.wait("return document.querySelectorAll('.long-grid .card').length > 10");
    let opened = browser.text(
        "const card = document.querySelectorAll('.long-grid .card')[3]; card.click(); return card.getAttribute('href')",
    );
    browser.wait("return document.querySelector('main h1').textContent.startsWith('Test image ')");
    browser.press('u');
    browser.wait("return document.querySelector('main h1').textContent === 'Test images'");
    let focused = "return document.activeElement.getAttribute('href') ?? ''";
    assert_eq!(browser.text(focused), opened);
    is_clean(&browser);
}

/// By whole numbers, in ids, files and names of classes.
#[test]
fn numbers_are_found_in_ids_files_and_names() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "");
    browser.run(
        "page.overview.classes = page.overview.classes.map((_, at) => String(100 * at));
         page.queries.file = page.queries.id.map((id) => `some/picture_0${id - 900}.png`);",
    );
    let found = |typed: &str| {
        browser.visit(&format!("#/queries?find={typed}"), "Test images");
        browser.run(&format!(
            "return queryOrder(new URLSearchParams('find={typed}')).map((at) => page.queries.id[at])"
        ))
    };
    // An id, not a part of one; a number in a file's name; both.
    assert_eq!(found("1007"), json!([1007]));
    assert_eq!(found("107"), json!([1007]));
    assert_eq!(found("07"), json!([]));
    assert_eq!(found("picture+0107.png"), json!([1007]));
    let of_class = "const fits = (at) => [page.queries.label[at], ...page.queries.models.map(({ prediction }) => prediction[at])].includes(3);
        return page.queries.id.filter((_, at) => fits(at))";
    assert_eq!(found("300"), browser.run(of_class));
    browser.visit("#/training/mislabels?find=300", "Training images");
    browser.wait("return document.querySelectorAll('.long-grid .card').length > 10");
    let names = "return [...new Set([...document.querySelectorAll('.long-grid .name')].map((name) => name.textContent))]";
    assert_eq!(browser.run(names).as_array().map(Vec::len), Some(2));
    is_clean(&browser);
}

#[test]
fn without_pictures_and_on_paper_cards_say_which_image_they_are_of() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "#/query/1003");
    browser.wait("return document.querySelector('main [data-train]') !== null");
    browser.run("page.overview.layouts = {}; route.show();");
    browser
        .wait("return document.querySelector('main figure .thumb.none')?.textContent === '1003'");
    let numbers = "return [...document.querySelectorAll('.held .card')].every((card) =>
        card.querySelector('.thumb').textContent === String(page.training.id[card.dataset.train]))";
    assert_eq!(browser.run(numbers), true);
    let seen = "return [...document.querySelectorAll('.held .identity')].filter((name) => name.getClientRects().length).length";
    assert_eq!(browser.run(seen), 0);
    browser.devtools("Emulation.setEmulatedMedia", &json!({ "media": "print" }));
    let cards = browser.run("return document.querySelectorAll('.held .card').length");
    assert!(cards.as_u64().unwrap() > 10);
    assert_eq!(browser.run(seen), cards);
    let first = browser.text("return document.querySelector('.held .card').title");
    let shown = browser.text("return document.querySelector('.held .identity').textContent");
    assert!(
        first.starts_with(&format!("{shown}, some/")) && shown.starts_with("training "),
        "{first} {shown}"
    );
    is_clean(&browser);
}

/// 2,000 of them.
#[test]
fn a_printed_list_says_how_many_more_there_are() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "#/training/mislabels");
    browser.wait("return document.querySelectorAll('.long-grid .card').length > 10");
    browser.run("window.dispatchEvent(new Event('beforeprint'))");
    assert_eq!(
        browser.text("return document.querySelector('.long-grid > p').textContent"),
        "and 1,200 more"
    );
    is_clean(&browser);
}
