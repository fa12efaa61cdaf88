//! `--query-groups`: which queries are ranked for together; `--groups-only`: and not alone.

use crate::Result;
use crate::artefact::Input;
use crate::cli::train_groups::note_aside;
use crate::influence::{Grouped, Grouping, Groups};

/// From `all`, `class`, `confusion` or a path.
pub(super) fn parse(text: &str) -> std::result::Result<Grouping, String> {
    match text {
        "" => Err("expected all, class, confusion or a file".into()),
        "all" => Ok(Grouping::All),
        "class" => Ok(Grouping::Class),
        "confusion" => Ok(Grouping::Confusion),
        file => Ok(Grouping::File(file.into())),
    }
}

/// Notes a file of groups among the inputs, if it is one for queries with these `ids`, and says how many others of the data set, which
/// the inputs know, it names.
pub(super) fn note_file(
    grouping: Option<&Grouping>,
    ids: &[usize],
    inputs: &mut Vec<Input>,
) -> Result<()> {
    let Some(Grouping::File(path)) = grouping else {
        return Ok(());
    };
    let test = inputs.iter().find(|input| input.role == "test");
    let of = test.and_then(|input| input.rows).unwrap_or_default();
    let (_, aside) = Groups::from_file(path, Grouped::Queries { of }, ids)?;
    note_aside(path, aside, "are not asked about");
    inputs.push(Input::of_file("query-groups", path.clone())?);
    Ok(())
}
