//! The audit's page in a browser: opened from a disk, without errors or requests, each view, keys, links and decisions.

mod browser;
mod driver;
mod example;
mod lists;
mod through_blocks;
mod words;

use browser::Browser;
use example::{HOSTILE, large_audit, many_classes_audit, unlabelled_audit};
use serde_json::json;

const RIGHT: char = '\u{e014}';

fn opened(queries: usize, embed: bool) -> Option<(Browser, tempfile::TempDir)> {
    let browser = Browser::start()?;
    let folder = tempfile::tempdir().unwrap();
    large_audit(queries, folder.path(), embed);
    Some((browser, folder))
}

fn is_clean(browser: &Browser) {
    assert_eq!(browser.console(), [""; 0]);
    assert_eq!(browser.network(), [""; 0]);
}

#[test]
fn every_view_shows_what_the_record_says() {
    let Some((browser, folder)) = opened(600, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "");
    let said = browser.text("return document.querySelector('.paired').textContent");
    for words in [
        "On the same 1,234 test images",
        "−3.0 points (95 %: −5.0 to +1.0) at rank 1, +12.5 points (95 %: +10.5 to +16.5) over the first 10",
        "both have 25.0 % (95 %: 23.0 to 29.0); rank-biased overlap 0.30 (0.28 to 0.34)",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let cards = "return document.querySelectorAll('.card').length";
    browser.visit("#/queries?state=wrong-0", "Test images");
    assert!(
        browser
            .text("return document.getElementById('found').textContent")
            .contains("200 test images")
    );
    browser.visit("#/query/1003", "Test image 1003");
    assert!(browser.run(cards).as_u64().unwrap() >= 40);
    let said = browser.text("return document.querySelector('.verdict').parentElement.textContent");
    assert!(
        said.contains("+3.00 millinats")
            && said.contains("+2.50 millinats")
            && said.contains("The head fitted again without 2 images says ")
            && said.contains("Fewer, chosen otherwise, may be enough."),
        "{said}"
    );
    browser.visit("#/query/1001", "Test image 1001");
    let said = browser.text("return document.querySelector('.verdict').parentElement.textContent");
    assert!(
        said.contains("Leaving out up to 100 images did not change the prediction. The fit without 150 images did not converge"),
        "{said}"
    );
    for (hash, heading) in [
        ("#/training/mislabels?by=self", "Training images"),
        ("#/training/duplicates", "Training images"),
        ("#/training/overall?by=harm", "Training images"),
        ("#/image/5", "Training image 5"),
        ("#/confusions/0/1", "Confusions"),
        ("#/decisions", "Decisions"),
        ("#/query/1", "Not found"),
        ("#/nowhere", "Not found"),
    ] {
        browser.visit(hash, heading);
    }
    is_clean(&browser);
}

/// The reader decides how alike duplicates are; the address keeps it.
#[test]
fn groups_of_training_images_stand_with_what_is_predicted_and_measured() {
    let Some((browser, folder)) = opened(30, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "");
    browser.visit("#/training/groups", "Training images");
    let rows = "return [...document.querySelectorAll('table.groups tbody tr')].map((row) => [...row.cells].slice(0, 5).map((cell) => cell.textContent))";
    let first = json!([
        "lab A",
        "1,600",
        "+2.00",
        "+3.00[+2.00, +4.00]",
        "−2.0[−2.1, −1.9]"
    ]);
    let second = json!([HOSTILE, "1,600", "−1.00", "not measured", ""]);
    assert_eq!(browser.run(rows), json!([first, second, first, second]));
    browser.click("table.groups a");
    browser.wait(
        "return document.getElementById('found')?.textContent.startsWith('1,600 training images')",
    );
    browser.visit("#/query/1003", "Test image 1003");
    let bars = "return [...document.querySelectorAll('.model')].map((model) => [...model.querySelectorAll('a[href*=\"group=\"]')].map((link) => link.textContent))";
    let found = browser.run(bars);
    let behind = json!(["lab A", HOSTILE]);
    assert!(
        (found.as_array().unwrap().iter())
            .filter(|links| **links == behind)
            .count()
            == 2,
        "{found}"
    );
    is_clean(&browser);
}

#[test]
fn fewer_and_more_duplicates_are_shown_as_is_asked_for() {
    let Some((browser, folder)) = opened(20, true) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "");
    let pairs = |count: usize| {
        browser.wait(&format!(
            "return document.querySelector('main').textContent.includes('within the training set: {count}')"
        ));
    };
    browser.visit("#/training/duplicates", "Training images");
    // One of them is of training images that a test image is equal to.
    pairs(2);
    assert!(
        browser
            .run("return document.getElementById('compared')")
            .is_null()
    );
    browser.run(
        "const slider = document.getElementById('alike'); slider.value = 0.91; slider.dispatchEvent(new Event('input'))",
    );
    pairs(3);
    assert!(
        browser
            .text("return location.hash")
            .ends_with("duplicates?alike=0.91")
    );
    browser.visit("#/training/duplicates?alike=0.98", "Training images");
    pairs(1);
    // Among how many images look-alikes were sought, where it was not all.
    browser.run("page.training.compared = { model: 1, images: 3000 }; route.show();");
    browser.wait("return document.getElementById('compared') !== null");
    let said = browser.text("return document.getElementById('compared').textContent");
    assert!(
        said.contains("among the 3,000 of 3,200 training images that robust was trained on"),
        "{said}"
    );
    // An image says what it is alike to by the limit that the audit was made with.
    let also = "return document.querySelector('main').textContent.includes('Also in the data')";
    browser.visit("#/image/11", "Training image 11");
    assert_eq!(browser.run(also), true);
    browser.visit("#/image/13", "Training image 13");
    assert_eq!(browser.run(also), false);
    is_clean(&browser);
}

/// No image is called right, wrong or labelled; in the place of confusions are predictions, and the least sure come first.
#[test]
fn test_images_without_labels_are_called_neither_right_nor_wrong() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    unlabelled_audit(60, folder.path());
    browser.open(&folder.path().join("index.html"), "");
    let main = "return document.querySelector('main').textContent";
    let coloured =
        "return document.querySelectorAll('.card.right, .card.wrong, .card.mixed, .badge').length";
    let said = browser.text(main);
    assert!(
        said.contains("Least sure") && !said.contains("Surely wrong"),
        "{said}"
    );
    assert!(
        browser
            .text("return document.getElementById('views').textContent")
            .contains("Predictions")
    );
    browser.visit("#/queries", "Test images");
    let said = browser.text(main);
    for word in ["Label", "wrong", "right", "→"] {
        assert!(!said.contains(word), "{word}: {said}");
    }
    assert!(said.contains("Predicted") && said.contains(" %"), "{said}");
    assert_eq!(browser.run(coloured), json!(0));
    browser.visit("#/query/1003", "Test image 1003, predicted ");
    let said = browser.text(main);
    assert!(
        said.contains("new-3.png") && !said.contains("labelled"),
        "{said}"
    );
    assert_eq!(browser.run(coloured), json!(0));
    // Nor do labels differ from what is predicted.
    browser.run("page.training.label.fill((page.queries.label[1] + 1) % 10)");
    browser.visit("#/training/duplicates", "Training images");
    let said = browser.text(main);
    assert!(
        said.contains("equal pixels") && !said.contains("labels differ"),
        "{said}"
    );
    browser.visit("#/confusions", "Predictions");
    let said = browser.text(main);
    assert!(
        said.contains("Predicted as") && !said.contains("labels") && !said.contains("rightly"),
        "{said}"
    );
    // A table would be its diagonal alone.
    assert_eq!(
        browser.run("return document.querySelector('.matrix')"),
        json!(null)
    );
    is_clean(&browser);
}

#[test]
fn text_of_a_data_set_is_text() {
    let Some((browser, folder)) = opened(20, true) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "#/query/1000");
    assert!(
        browser
            .text("return document.querySelector('main').textContent")
            .contains(HOSTILE)
    );
    assert_eq!(
        browser.run(
            "return window.hostile === undefined && !document.querySelector('main img, main b')"
        ),
        true
    );
    is_clean(&browser);
}

/// What makes a page slow is what it shows: the first view and a query's hold as much whether the run has sixty queries or ten
/// thousand, and long lists hold the part in view. Seconds are printed; they are the machine's matter.
#[test]
fn a_large_run_shows_no_more_at_once_than_a_small_one() {
    let elements = |queries: usize| {
        let (browser, folder) = opened(queries, false)?;
        let count = || {
            browser
                .run("return document.querySelectorAll('*').length")
                .as_u64()
        };
        let opening = browser.open(&folder.path().join("index.html"), "");
        let first = count().unwrap();
        let turning = [1, queries / 2, queries - 1].map(|at| {
            let id = 1000 + at;
            browser.visit(&format!("#/query/{id}"), &format!("Test image {id}"))
        });
        eprintln!("{queries} queries: {opening:.2} s to open, {turning:.3?} s for a query");
        let query = count().unwrap();
        browser.visit("#/queries", "Test images");
        let cards = browser
            .run("return document.querySelectorAll('.card').length")
            .as_u64();
        is_clean(&browser);
        Some((first, query, cards.unwrap()))
    };
    let (Some(small), Some(large)) = (elements(60), elements(10_000)) else {
        return;
    };
    assert!(
        large.0 <= small.0 + 200 && large.1 <= small.1 + 200,
        "{small:?} {large:?}"
    );
    assert!(
        (50..500).contains(&large.2),
        "{} cards for 10,000 images",
        large.2
    );
}

#[test]
fn a_cell_says_whether_nothing_is_behind_it_or_nothing_was_computed() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "");
    browser.visit("#/confusions", "Confusions");
    let change = |change: &str, said: &str| {
        browser.run(&format!(
            "for (const cell of page.confusions.flat()) {{ {change} }} route.show();"
        ));
        browser.wait(&format!(
            "return document.querySelector('main').textContent.includes('{said}')"
        ));
    };
    let uncomputed = "return document.querySelector('main').textContent.includes('fullest cells')";
    change(
        "cell.harmful = { train: [], score: [], certified: null };",
        "None: no mean score is below 0.",
    );
    assert_eq!(browser.run(uncomputed), false);
    change(
        "cell.computed = false;",
        "Mean scores were computed for the fullest cells alone.",
    );
    is_clean(&browser);
}

/// Tables of classes, and choices of a class on each image, do not grow with all classes that there are.
#[test]
fn many_classes_are_listed_and_chosen_from_where_they_are_asked_for() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    many_classes_audit(200, 500, folder.path());
    browser.open(&folder.path().join("index.html"), "");
    let count = |what: &str| {
        let script = format!("return document.querySelectorAll('{what}').length");
        browser.run(&script).as_u64().unwrap()
    };
    // Two lists a model in the place of a table of 201 classes.
    assert_eq!((count(".matrix"), count(".fullest")), (0, 4));
    assert_eq!(count(".fullest tbody tr"), 120);
    assert!(count("*") < 1500, "{} elements", count("*"));
    browser.click(".fullest a");
    browser
        .wait("return document.querySelector('main h1').textContent === 'Confusions' && document.querySelectorAll('.fullest a[aria-current]').length === 2");
    // Of many classes a table has those that occur.
    browser.run(
        "for (const model of page.overview.models) model.cells = model.cells.slice(0, 9); route.show();",
    );
    browser.wait("return document.querySelectorAll('.matrix').length === 2");
    assert!(count(".matrix td") < 2 * 18 * 18, "{}", count(".matrix td"));
    let left_out = "return document.querySelector('main').textContent.includes('classes of no test image and no prediction left out')";
    assert_eq!(browser.run(left_out), true);
    browser.visit("#/training/mislabels", "Training images");
    browser.wait("return document.querySelectorAll('select.decide').length > 10");
    assert_eq!(
        count("select.decide option"),
        2 * count("select.decide"),
        "before one is opened"
    );
    // One that is predicted as a class that would not be the first by itself.
    browser.run(
        "const said = (menu) => page.training.models[0].prediction[positionOf(Number(menu.dataset.decide))];
         const other = (menu) => said(menu) > 1 && said(menu) !== page.training.label[positionOf(Number(menu.dataset.decide))];
         const menu = [...document.querySelectorAll('select.decide')].find(other);
         window.chosen = menu.dataset.decide;
         window.predicted = className(said(menu));
         menu.focus();",
    );
    let menu = "document.querySelector(`[data-decide='${window.chosen}']`)";
    // All classes but its own, and two choices besides.
    browser.wait(&format!("return {menu}.options.length === 501"));
    let first = format!("return {menu}.options[2].textContent === window.predicted");
    assert_eq!(browser.run(&first), true);
    browser.run(&format!(
        "{menu}.value = '400'; {menu}.dispatchEvent(new Event('change'));"
    ));
    browser.wait(&format!(
        "return {menu}.selectedOptions[0].textContent === 'class 400' && {menu}.title === 'relabel as class 400'"
    ));
    let others = 2 * count("select.decide");
    assert!(count("select.decide option") <= 501 + others);
    is_clean(&browser);
}

/// The list is drawn again at every pause; who types goes on where they were.
#[test]
fn what_is_typed_in_two_goes_is_found_as_one_word() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "");
    for (hash, heading) in [
        ("#/queries", "Test images"),
        ("#/training/mislabels", "Training images"),
    ] {
        browser.visit(hash, heading);
        browser.run("document.getElementById('find').focus()");
        let shown = |text: &str| {
            browser.wait(&format!(
                "return document.querySelector('main').dataset.shown === '{hash}?find={text}'"
            ));
        };
        "dig".chars().for_each(|key| browser.press(key));
        shown("dig");
        "it".chars().for_each(|key| browser.press(key));
        shown("digit");
        let value = "return document.getElementById('find').value";
        assert_eq!(browser.text(value), "digit", "{hash}");
    }
    // Who has gone on to another view before the pause finds nothing changed there.
    browser.press('s');
    browser.visit("#/confusions", "Confusions");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(browser.text("return location.hash"), "#/confusions");
    is_clean(&browser);
}

/// Numbers on the fullest cells, and names on images that are left out, in light and in dark.
#[test]
fn numbers_on_colours_and_names_of_excluded_images_can_be_read() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "");
    browser.visit("#/confusions", "Confusions");
    let least = "
        const channels = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((part) => Number(part) / (text.startsWith('rgb') ? 255 : 1));
        const linear = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        const light = (text) => channels(text).map(linear).reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0.05);
        const contrast = (cell) => {
            cell.style.setProperty('--share', 1);
            const both = [getComputedStyle(cell).backgroundColor, getComputedStyle(cell.firstChild).color].map(light);
            return Math.max(...both) / Math.min(...both);
        };
        return Math.min(...['hit', 'miss'].map((kind) => contrast(document.querySelector(`.matrix .${kind} a`).parentElement)));";
    for theme in ["light", "dark"] {
        browser.run(&format!(
            "document.documentElement.dataset.theme = '{theme}'"
        ));
        let least = browser.run(least).as_f64().unwrap();
        assert!((4.5..21.0).contains(&least), "{theme}: {least}");
    }
    browser.run("document.querySelector('[data-train]').focus()");
    browser.press('x');
    browser.wait("return document.querySelector('.card.exclude') !== null");
    let opacity = |of: &str| {
        browser.text(&format!(
            "return getComputedStyle(document.querySelector('{of}')).opacity"
        ))
    };
    assert_eq!(
        [opacity(".card.exclude"), opacity(".card.exclude .thumb")],
        ["1", "0.55"]
    );
    is_clean(&browser);
}

/// Where an image stands in both models' lists.
#[test]
fn a_decision_leaves_the_keyboard_on_the_choice_that_it_was_made_with() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "");
    browser.visit("#/query/1003", "Test image 1003");
    browser.run(
        "window.menus = () => [...document.querySelectorAll(`[data-decide='${window.chosen}']`)];
         window.chosen = document.querySelector('select.decide').dataset.decide;
         const second = window.menus()[1];
         second.focus({ preventScroll: true });
         second.value = 'exclude';
         second.dispatchEvent(new Event('change'));",
    );
    browser.wait("return window.menus().length > 1 && window.menus().every((menu) => menu.value === 'exclude')");
    browser.wait("return window.menus().indexOf(document.activeElement) === 1");
    is_clean(&browser);
}

/// Other data under the same title and ids.
#[test]
fn decisions_on_data_that_have_changed_are_not_taken_up() {
    let Some((browser, folder)) = opened(20, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "");
    browser.run("decisions.decide(3, { decision: 'exclude' });");
    let decided = |data: &str| {
        let script = format!(
            "page.overview.data = '{data}'; decisions.restore(); return decisions.of(3) !== undefined"
        );
        browser.run(&script)
    };
    assert_eq!(decided("0f1f"), false);
    assert_eq!(decided("0f1e"), true);
    is_clean(&browser);
}

#[test]
fn decisions_are_made_by_key_exported_and_read_again() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "#/query/1000");
    browser.press(RIGHT);
    browser.wait("return document.querySelector('main h1').textContent.includes('1001')");
    browser.run("document.querySelector('.held [data-train]').focus()");
    browser.press('x');
    browser.wait("return document.getElementById('decided').textContent === '1'");
    browser.press('5');
    browser.wait("return document.querySelector('main h1').textContent === 'Decisions'");
    browser.click("#export");
    let saved = browser.downloaded("decisions.csv");
    assert!(
        saved.starts_with("train,decision,label,file,data\n")
            && saved.contains(",exclude,,some/")
            && saved.ends_with(".png,0f1e\n"),
        "{saved}"
    );
    let changed = folder.path().join("mine.csv");
    std::fs::write(&changed, format!("{saved}7,relabel,1\n")).unwrap();
    browser.type_into("#import", changed.to_str().unwrap());
    browser.wait("return document.getElementById('decided').textContent === '2'");
    // What another tab has decided in the meantime stays.
    browser.run(
        "const name = Object.keys(localStorage).find((name) => name.startsWith('ascribe:Digits'));\
         const made = JSON.parse(localStorage.getItem(name));\
         localStorage.setItem(name, JSON.stringify([...made, [11, { decision: 'exclude' }]]));",
    );
    browser.open(&folder.path().join("index.html"), "#/query/1002");
    browser.run("document.querySelector('.held [data-train=\"12\"], .held [data-train]').focus()");
    browser.press('x');
    browser.wait("return document.getElementById('decided').textContent === '4'");
    browser.press('5');
    browser.wait("return document.querySelector('main h1').textContent === 'Decisions'");
    // An earlier round's, on an image that this model was not trained on; and those on other data.
    let header = "train,decision,label,file,data";
    let earlier = format!(
        "{header}\n{},exclude,,\"a,b.png\",0f1e\n",
        example::TRAINING + 5
    );
    std::fs::write(&changed, earlier).unwrap();
    browser.type_into("#import", changed.to_str().unwrap());
    browser.wait("return document.getElementById('decided').textContent === '5'");
    browser
        .wait("return document.querySelector('main').textContent.includes('a,b.png: this model')");
    std::fs::write(&changed, format!("{header}\n3,exclude,,,0f1f\n")).unwrap();
    browser.type_into("#import", changed.to_str().unwrap());
    browser
        .wait("return document.querySelector('main .alert').textContent.includes('another data')");
    std::fs::write(&changed, "train,decision,label\n999999,exclude,\n").unwrap();
    browser.type_into("#import", changed.to_str().unwrap());
    browser.wait("return document.querySelector('main .alert').textContent.includes('999999')");
    // What other programs write, as ascribe transfer takes it; two decisions on one image.
    let class = browser.run("return page.overview.classes[2]");
    let class = class.as_str().unwrap();
    let other = format!(
        ",label,decision,train,note\n0,,exclude,20.0,\"far, off\"\n1, {class} , relabel,21.0,\n"
    );
    std::fs::write(&changed, &other).unwrap();
    browser.type_into("#import", changed.to_str().unwrap());
    browser
        .wait("return decisions.of(21)?.label === 2 && decisions.of(20)?.decision === 'exclude'");
    std::fs::write(&changed, format!("{other}2,,exclude,20,\n")).unwrap();
    browser.type_into("#import", changed.to_str().unwrap());
    browser.wait("return document.querySelector('main .alert').textContent.includes('line 4: another decision on image 20')");
    is_clean(&browser);
}

/// All images decided on, as after a file of decisions was read: the page holds those in sight, and a choice among them takes its
/// decision back by key.
#[test]
fn many_decisions_are_a_long_list() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "#/training/mislabels");
    browser.wait("return document.querySelector('.held [data-train]') !== null");
    browser.run(
        "window.saved = 'train,decision,label\\n' + page.training.id.map((id) => `${id},exclude,`).join('\\n');\
         decisions.read(window.saved);",
    );
    let all = browser.text("return String(page.training.id.length)");
    browser.visit("#/decisions", "Decisions");
    let shown = "return document.querySelectorAll('#main select.decide').length";
    let shown = browser.run(shown).as_u64().unwrap();
    assert!(
        (1..200).contains(&shown) && shown < all.parse().unwrap(),
        "{shown} of {all}"
    );
    browser.run("document.querySelector('#main select.decide').focus()");
    browser.press('x');
    browser.wait(&format!(
        "return Number(document.getElementById('decided').textContent) === {all} - 1"
    ));
    // However long a class's name is, none reaches into the next row.
    browser.run(
        "page.overview.classes[1] = 'of the African kind '.repeat(6);\
         decisions.decide(page.training.id[0], { decision: 'relabel', label: 1 });\
         route.show();",
    );
    browser.wait("return document.querySelector('.held > strong')?.title.startsWith('relabel as of the African')");
    let beyond = "return [...document.querySelectorAll('.long-grid > div')]
        .filter((cell) => cell.scrollHeight > cell.clientHeight).length";
    assert_eq!(browser.run(beyond), 0);
    is_clean(&browser);
}

/// Folders 1, 2 and 10 in the order of their names: a number that is a name is that class's, not the one at that place.
#[test]
fn relabels_are_exported_by_names_that_may_be_numbers_of_other_classes() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "#/training/mislabels");
    browser.wait("return document.querySelector('.held [data-train]') !== null");
    browser.run(
        "page.overview.classes.splice(0, 5, '0', '1', '10', '11, \"so\"', '2');\
         decisions.decide(3, { decision: 'relabel', label: 4 });\
         decisions.decide(4, { decision: 'relabel', label: 3 });",
    );
    let saved = browser.text("return decisions.csv()");
    assert!(
        saved.contains("3,relabel,2,") && saved.contains("4,relabel,\"11, \"\"so\"\"\","),
        "{saved}"
    );
    browser.run("decisions.decide(3, null); decisions.decide(4, null);");
    let read = "return decisions.read(window.saved)";
    browser.run(&format!("window.saved = {};", serde_json::json!(saved)));
    assert!(browser.run(read).is_null());
    browser.wait("return decisions.of(3).label === 4 && decisions.of(4).label === 3");
    is_clean(&browser);
}

/// As in the audit of a run that was made with the decision.
#[test]
fn a_decision_for_the_label_that_an_image_has_is_shown_and_can_be_taken_back() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "#/training/mislabels");
    browser.wait("return document.querySelector('.held [data-train]') !== null");
    browser.run("decisions.decide(3, { decision: 'relabel', label: page.training.label[page.training.id.indexOf(3)] });");
    browser.open(&folder.path().join("index.html"), "#/decisions");
    browser.wait("return document.querySelector('[data-decide=\"3\"]') !== null");
    let shown = browser.text(
        "const menu = document.querySelector('[data-decide=\"3\"]'); return menu.selectedOptions[0].parentElement.label",
    );
    assert_eq!(shown, "relabel as");
    browser.run(
        "const menu = document.querySelector('[data-decide=\"3\"]'); menu.value = ''; menu.dispatchEvent(new Event('change'));",
    );
    browser.wait("return decisions.of(3) === undefined");
    is_clean(&browser);
}

#[test]
fn a_leak_of_several_training_images_is_a_duplicate_among_these_too() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "#/training/duplicates");
    let heading =
        "return [...document.querySelectorAll('main h2')].map((it) => it.textContent).join('; ')";
    browser.wait("return document.querySelector('main h2') !== null");
    let said = browser.text(heading);
    assert!(
        said.contains("Leaks from training to test: 1 group")
            && said.contains("Duplicates within the training set: 2 groups"),
        "{said}"
    );
    // Long groups are folded, and unfold.
    browser.run(
        "page.training.duplicates[0].training = [...Array(30).keys()]; route.show({ keep: true });",
    );
    browser.wait("return document.querySelector('main details summary')?.textContent === '7 more'");
    browser.run("document.querySelector('main details').open = true");
    browser.wait("return document.querySelectorAll('main details .card').length === 7");
    browser.run("route.show({ keep: true });");
    browser.wait("return document.querySelector('main details')?.open && document.querySelectorAll('main details .card').length === 7");
    is_clean(&browser);
}

#[test]
fn each_model_s_column_has_the_labels_it_was_trained_on() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(
        &folder.path().join("index.html"),
        "#/training/mislabels?model=1",
    );
    browser.wait("return document.querySelector('.held [data-train]') !== null");
    // Decided between the two runs: what the second was trained on is what is predicted.
    browser.run(
        "const first = trainingOrder(1, 'loss')[0];\
         const columns = page.training.models[1];\
         window.first = first;\
         columns.label[first] = columns.prediction[first] = (page.training.label[first] + 1) % 10;",
    );
    for (model, label) in [
        (1, "page.training.models[1].label"),
        (0, "page.training.label"),
    ] {
        browser.visit(
            &format!("#/training/mislabels?by=loss&model={model}&label="),
            "Training images",
        );
        browser.run("route.refine({ label: null })");
        let card = "document.querySelector(`[data-train='${window.first}'] .name`)";
        browser.wait(&format!("return {card} !== null"));
        let (found, expected) = (
            browser.text(&format!("return {card}.textContent")),
            browser.text(&format!("return className({label}[window.first])")),
        );
        assert_eq!(found, expected, "model {model}");
    }
    is_clean(&browser);
}

#[test]
fn a_list_shows_numbers_whole_and_names_as_far_as_there_is_room() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "");
    browser.run("page.training.models[0].held.fill(0.00123456);");
    browser.visit("#/training/mislabels", "Training images");
    browser.wait("return document.querySelectorAll('.long-grid .card').length > 10");
    let cut = "return [...document.querySelectorAll('.long-grid .card > span:last-child')]
        .filter((number) => number.scrollWidth > number.clientWidth).map((number) => number.textContent)";
    assert_eq!(browser.run(cut), json!([]));
    browser.resize(390, 844);
    // Two columns.
    browser.wait("return document.querySelector('.long-grid .held').clientWidth > 150");
    is_clean(&browser);
}

#[test]
fn a_phone_has_two_rows_of_header_and_nothing_beyond_its_edge() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.resize(390, 844);
    browser.open(&folder.path().join("index.html"), "");
    let header = "return document.querySelector('.bar').getBoundingClientRect().height";
    let height = browser.run(header).as_f64().unwrap();
    assert!((30.0..90.0).contains(&height), "{height}");
    // Whatever leads elsewhere can be hit, in a row that may be scrolled.
    for selector in ["#views a:nth-child(5)", "#views a:nth-child(2)"] {
        browser.click(selector);
        let wanted = format!("document.querySelector('{selector}').getAttribute('href')");
        browser.wait(&format!(
            "return document.querySelector('main').dataset.shown === {wanted}"
        ));
    }
    browser.click("#theme");
    let name = "return document.querySelector('#views a:nth-child(2)').textContent";
    assert_eq!(browser.text(name), "Test images");
    for (hash, heading) in [
        ("#/overview", ""),
        ("#/query/1003", "Test image 1003"),
        ("#/training/mislabels", "Training images"),
        ("#/confusions/0/1", "Confusions"),
    ] {
        browser.visit(hash, heading);
        let beyond = "return document.documentElement.scrollWidth === 390 ? '' : [...document.querySelectorAll('*')]
            .filter((element) => element.getBoundingClientRect().right > 390).map((element) => element.outerHTML.slice(0, 60)).join()";
        assert_eq!(browser.text(beyond), "", "{hash}");
    }
    browser
        .run("for (let id = 0; id < 12; id += 1) decisions.decide(id, { decision: 'exclude' });");
    for width in [390, 360] {
        browser.resize(width, 844);
        let count = format!(
            "return document.getElementById('decided').getBoundingClientRect().right <= {width} - 12"
        );
        assert_eq!(browser.run(&count), true, "{width}");
    }
    browser.resize(390, 844);
    let whole = "return unbroken('off by 4e-11 (--certify K)').filter((part) => part.className === 'unbroken').map((part) => part.textContent)";
    assert_eq!(browser.run(whole), json!(["4e-11", "--certify"]));
    // Nor with names that are longer than the pictures, or the page, are wide.
    browser.run(
        "page.overview.classes = page.overview.classes.map((name) => `${name} of the African kind_${'x'.repeat(90)}`);
         page.queries.models[0].prediction[0] = (page.queries.label[0] + 1) % 10;",
    );
    for (hash, heading) in [
        ("#/queries", "Test images"),
        ("#/query/1001", "Test image 1001"),
        ("#/image/5", "Training image 5"),
        ("#/confusions", "Confusions"),
    ] {
        browser.visit(hash, heading);
        let width = "return document.documentElement.scrollWidth";
        assert_eq!(browser.run(width), 390, "{hash}");
    }
    let headings = "const widths = [...document.querySelectorAll('.matrix thead th span')]
        .map((name) => name.getBoundingClientRect().width); return Math.max(...widths) < 40";
    assert_eq!(browser.run(headings), true);
    is_clean(&browser);
}

#[test]
fn paper_is_white_and_holds_no_navigation_and_whole_tables() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "");
    browser.run("document.documentElement.dataset.theme = 'dark'");
    let ink = "return getComputedStyle(document.body).color";
    let on_screen = browser.text(ink);
    browser.devtools("Emulation.setEmulatedMedia", &json!({ "media": "print" }));
    // The width of A4 between its margins.
    browser.resize(687, 1000);
    assert_eq!(on_screen, "rgb(232, 233, 236)");
    assert_eq!(browser.text(ink), "rgb(27, 29, 33)");
    for (hash, heading) in [("#/overview", ""), ("#/query/1003", "Test image 1003")] {
        browser.visit(hash, heading);
        let seen = "return [...document.querySelectorAll('.bar, button, .button, .steps, select')]
            .filter((element) => element.getClientRects().length).length";
        assert_eq!(browser.run(seen), 0, "{hash}");
        let beyond = "return [...document.querySelectorAll('main *')].filter((element) => !element.closest('.unseen, .strip'))
            .filter((element) => element.getBoundingClientRect().right > 688).map((element) => element.outerHTML.slice(0, 80))";
        assert_eq!(browser.run(beyond), json!([]), "{hash}");
        let kept = "return [...document.querySelectorAll('figure, .held, table')]
            .every((element) => getComputedStyle(element).breakInside === 'avoid')";
        assert_eq!(browser.run(kept), true, "{hash}");
    }
    // Nor is a name drawn over its neighbour's.
    browser.run("page.overview.classes.fill('of the African kind'); route.show();");
    browser
        .wait("return document.querySelector('.held .name').textContent === 'of the African kind'");
    let wider = "return [...document.querySelectorAll('.held .card')]
        .filter((card) => card.offsetWidth > card.parentElement.offsetWidth).length";
    assert_eq!(browser.run(wider), 0);
    is_clean(&browser);
}

/// Working through a long list: neighbours in its order, and the same place again on the way back.
#[test]
fn a_long_list_is_gone_through_without_losing_the_place() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "");
    browser.visit("#/training/mislabels?by=self&label=3", "Training images");
    browser.wait("return document.querySelectorAll('.long-grid .card').length > 10");
    let scrolled = "return Math.abs(window.scrollY - 1500) < 2";
    browser.run("window.scrollTo(0, 1500)");
    browser.wait(scrolled);
    // The first card that is in sight.
    let seen = "[...document.querySelectorAll('.long-grid .card')].find((card) => card.getBoundingClientRect().top > 100)";
    browser.wait(&format!("return Boolean({seen})"));
    let first = browser.text(&format!("return {seen}.getAttribute('href')"));
    browser.run(&format!("{seen}.click()"));
    browser
        .wait("return document.querySelector('main h1').textContent.startsWith('Training image ')");
    assert_eq!(browser.run("return window.scrollY"), 0);
    let place = |browser: &Browser| {
        browser.text("return document.querySelector('.steps .quiet').textContent")
    };
    let before = place(&browser);
    browser.press(RIGHT);
    browser.wait(&format!("return document.querySelector('main').dataset.shown !== '{first}' && document.querySelector('.steps .quiet').textContent !== '{before}'"));
    browser.press('x');
    browser.wait("return document.getElementById('decided').textContent === '1'");
    browser.wait("return document.querySelector('select.decide').value === 'exclude'");
    browser.press('u');
    browser.wait("return document.querySelector('main h1').textContent === 'Training images'");
    browser.wait(scrolled);
    // A decision in the list, too, leaves it where it is, and the keyboard on it.
    let decide = format!("{seen}.parentElement.querySelector('select')");
    browser.run(&format!(
        "const select = {decide}; select.focus({{ preventScroll: true }}); select.value = 'exclude'; select.dispatchEvent(new Event('change'));"
    ));
    browser.wait("return document.getElementById('decided').textContent === '2'");
    browser.wait("return document.activeElement.matches('select.decide')");
    browser.wait(scrolled);
    // The browser's own way back.
    browser.run(&format!("{seen}.click()"));
    browser
        .wait("return document.querySelector('main h1').textContent.startsWith('Training image ')");
    browser.run("history.back()");
    browser.wait("return document.querySelector('main h1').textContent === 'Training images'");
    browser.wait(scrolled);
    browser.wait("return document.activeElement.matches('.card')");
    // Another way in begins at the top.
    browser.visit("#/overview", "");
    browser.visit("#/training/mislabels", "Training images");
    browser.wait("return window.scrollY === 0");
    is_clean(&browser);
}

#[test]
fn a_long_list_is_printed_whole() {
    let Some((browser, folder)) = opened(60, false) else {
        return;
    };
    browser.open(
        &folder.path().join("index.html"),
        "#/training/mislabels?label=3",
    );
    let cards = "return document.querySelectorAll('.long-grid .card').length";
    browser.wait("return document.querySelectorAll('.long-grid .card').length > 10");
    let listed = browser.text("return document.getElementById('found').textContent");
    let all: u64 = listed.split(' ').next().unwrap().parse().unwrap();
    let in_sight = browser.run(cards).as_u64().unwrap();
    assert!(in_sight < all, "{in_sight} of {listed}");
    // The width of A4 between its margins, where the screen's columns would not fit.
    browser.devtools("Emulation.setEmulatedMedia", &json!({ "media": "print" }));
    browser.resize(687, 1000);
    browser.run("window.dispatchEvent(new Event('beforeprint'))");
    assert_eq!(browser.run(cards).as_u64(), Some(all));
    // And what it is a list of.
    let chosen = "return [...document.querySelectorAll('.tabs a, .field')].filter((element) => element.getClientRects().length)
        .map((element) => element.querySelector('select')?.selectedOptions[0].textContent ?? element.textContent)";
    let class = browser.text("return className(3)");
    assert_eq!(
        browser.run(chosen),
        json!([
            "Suspected mislabels",
            "natural",
            "held-out loss",
            class,
            "all"
        ])
    );
    let title = "return getComputedStyle(document.querySelector('main'), '::before').content";
    assert!(browser.text(title).contains("Digits, natural and robust"));
    // What is in line with text is cut with it.
    let beyond = "return [...document.querySelectorAll('.long-grid *:not(bdi)')]
        .filter((element) => element.getBoundingClientRect().right > 688).map((element) => element.outerHTML.slice(0, 80))";
    assert_eq!(browser.run(beyond), json!([]));
    browser.devtools("Emulation.setEmulatedMedia", &json!({ "media": "screen" }));
    browser.resize(1280, 900);
    browser.run("window.dispatchEvent(new Event('afterprint'))");
    assert!(browser.run(cards).as_u64().unwrap() < all);
    is_clean(&browser);
}

/// What was decided on its images before comes back with them; what a file says of them is counted.
#[test]
fn a_group_is_left_out_as_a_whole_and_taken_back() {
    let Some((browser, folder)) = opened(30, false) else {
        return;
    };
    browser.open(&folder.path().join("index.html"), "");
    browser.run(
        "decisions.decide(4, { decision: 'exclude' });\
         decisions.decide(6, { decision: 'relabel', label: 2 });",
    );
    browser.visit("#/training/groups", "Training images");
    let shows = |group: &str, said: &str| {
        browser.wait(&format!(
            "return document.getElementById('group-{group}').parentElement.textContent === '{said}'"
        ));
    };
    let decided = |count: usize| {
        browser.wait(&format!(
            "return document.getElementById('decided').textContent === '{count}'"
        ));
    };
    let exclude = "Exclude all 1,600 images";
    shows("0-0", &format!("{exclude}1 of 1,600 excluded"));
    shows("0-1", exclude);
    browser.run("document.getElementById('group-0-0').focus()");
    browser.press(' ');
    // Both models have the group; the keyboard stays on the button.
    shows("1-0", "Take backexcluded");
    shows("0-1", exclude);
    browser.wait("return document.activeElement.id === 'group-0-0'");
    decided(1600);
    let csv = browser.text("return decisions.csv()");
    assert_eq!(csv.lines().count(), 1601);
    let rows = "\n4,exclude,,some/4.png,0f1e\n6,exclude,,some/6.png,0f1e\n8,exclude,";
    assert!(csv.contains(rows), "{csv}");
    browser.click("#group-0-0");
    shows("0-0", &format!("{exclude}1 of 1,600 excluded"));
    decided(2);
    assert_eq!(browser.run("return decisions.of(6).label"), json!(2));

    let read = |csv: &str| browser.run(&format!("decisions.read({}); route.show();", json!(csv)));
    let some: Vec<&str> = csv.lines().take(13).collect();
    read(&some.join("\n"));
    shows("0-0", &format!("{exclude}12 of 1,600 excluded"));
    read(&csv);
    shows("0-0", "Take backexcluded");
    browser.click("#group-0-0");
    shows("0-0", exclude);
    decided(0);
    is_clean(&browser);
}

#[test]
fn colours_follow_the_system_until_a_theme_is_chosen() {
    let Some((browser, folder)) = opened(20, false) else {
        return;
    };
    let system = |theme: &str| {
        let features = json!([{ "name": "prefers-color-scheme", "value": theme }]);
        browser.devtools(
            "Emulation.setEmulatedMedia",
            &json!({ "features": features }),
        );
    };
    // Of the text, and of a line in a picture.
    let shows = |[ink, line]: [&str; 2]| {
        browser.wait(&format!(
            "const colours = [[document.body, 'color'], [document.querySelector('.chart .chance'), 'stroke']]
                .map(([element, name]) => getComputedStyle(element)[name]);
             return colours.join('; ') === '{ink}; {line}'"
        ));
    };
    let light = ["rgb(27, 29, 33)", "rgb(92, 97, 107)"];
    let dark = ["rgb(232, 233, 236)", "rgb(160, 166, 178)"];
    system("light");
    browser.open(&folder.path().join("index.html"), "");
    shows(light);
    system("dark");
    shows(dark);
    browser.click("#theme");
    shows(light);
    browser.click("#theme");
    system("light");
    shows(dark);
    is_clean(&browser);
}
