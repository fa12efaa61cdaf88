//! Classes of a model and of a data set that nothing but their position tells apart.

use crate::data::Dataset;
use crate::model::ResNet;

/// Says so where classes which agree are matched by their position; `called` is what the set is to the command.
pub(super) fn note_matched_by_position(model: &ResNet, set: &Dataset, called: &str) {
    let classes = (set.classes(), set.has_class_names());
    if let Some(words) = by_position(model.classes(), classes, called) {
        note!("ascribe: {words}");
    }
}

/// That in words; nothing where their names are the same.
fn by_position(own: &[String], (theirs, named): (&[String], bool), called: &str) -> Option<String> {
    let (one, other) = own.iter().zip(theirs).find(|(one, other)| one != other)?;
    let numbered = if named { "model" } else { called };
    Some(format!(
        "the classes of the {numbered} are numbers, so that they are matched by their position: {other} of the {called} with {one} of the model"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::numbered;

    #[test]
    fn classes_that_no_name_tells_apart_are_said_to_be_matched_by_position() {
        let by_position =
            |own: &[String], theirs: (&[String], bool)| by_position(own, theirs, "test set");
        let names = ["cat", "dog", "eel"].map(str::to_owned);
        assert_eq!(by_position(&names, (&names, true)), None);
        // Numbers are compared as numbers, of however many classes.
        assert_eq!(by_position(&numbered(3), (&numbered(2), false)), None);
        let told = by_position(&numbered(3), (&names, true)).unwrap();
        assert!(
            told.starts_with("the classes of the model are numbers"),
            "{told}"
        );
        assert!(
            told.ends_with(": cat of the test set with 0 of the model"),
            "{told}"
        );
        let told = by_position(&names, (&numbered(2), false)).unwrap();
        assert!(
            told.starts_with("the classes of the test set are numbers"),
            "{told}"
        );
        assert!(
            told.ends_with(": 0 of the test set with cat of the model"),
            "{told}"
        );
        // Folders by their names, as text.
        let folders = ["0", "10", "2"].map(str::to_owned);
        let told = by_position(&numbered(3), (&folders, true)).unwrap();
        assert!(
            told.ends_with(": 10 of the test set with 1 of the model"),
            "{told}"
        );
    }
}
