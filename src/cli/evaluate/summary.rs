//! What came out, in a few lines or as JSON.

use super::asked::LEAVE_GROUP_OUT;
use super::checks::MergedClasses;
use crate::Result;
use crate::artefact::RunRecord;
use crate::evaluate::{
    Comparison, Copies, Detection, GroupsLeftOut, Interval, RemovalCurve, SeedAgreement, Side,
};
use crate::influence::NATS;
use serde_json::json;
use std::collections::BTreeMap;

/// Prints the record of a finished evaluation.
pub(super) fn print(record: &RunRecord, as_json: bool) -> Result<()> {
    if as_json {
        say!(
            "{}",
            json!({ "out": record.folder, "results": record.results })
        );
        return Ok(());
    }
    for (name, title) in [
        ("leave_one_out", "leave-one-out"),
        ("lds", "LDS"),
        (LEAVE_GROUP_OUT, "leave-group-out"),
    ] {
        if let Some(comparison) = record.result_if_any::<Comparison>(name)? {
            agreements(title, &comparison);
        }
        // One seed agrees with none.
        let agreement = record.result_if_any::<Option<SeedAgreement>>(&format!("{name}_seeds"))?;
        agreement.flatten().iter().for_each(seeds);
    }
    let left_out = record.result_if_any::<GroupsLeftOut>("groups_left_out")?;
    left_out.iter().for_each(groups);
    if let Some(found) = record.result_if_any::<Vec<Detection>>("mislabels")? {
        say!("mislabels:");
        found.iter().for_each(detection);
    }
    if let Some(curves) = record.result_if_any::<Vec<RemovalCurve>>("removal")? {
        say!("removal:");
        curves.iter().for_each(removal);
    }
    if let Some(found) = record.result_if_any::<BTreeMap<String, Copies>>("duplicates")? {
        say!("duplicates:");
        for (name, copies) in &found {
            say!("  {name}: copy ranked first {}", interval(&copies.first));
        }
    }
    let checks = record.result_if_any::<BTreeMap<String, BTreeMap<String, f64>>>("randomise")?;
    for (check, found) in checks.iter().flatten() {
        say!("same ranking at {check} (near 1: the model plays no part):");
        for (name, same) in found {
            say!("  {name}: {same:.3}");
        }
    }
    if let Some(found) = record.result_if_any::<MergedClasses>("classes")? {
        say!("own class, of which the head was not told:");
        for (name, own) in &found.own_class {
            say!("  {name}: most helpful image {}", interval(&own.first));
        }
    }
    say!("results in {}", record.folder.display());
    Ok(())
}

fn agreements(title: &str, comparison: &Comparison) {
    say!(
        "{title}: {} retrainings, {} queries; with 95 % intervals",
        comparison.retrainings,
        comparison.queries
    );
    for row in &comparison.rows {
        let difference = match &row.minus_first {
            None => String::new(),
            Some(found) => format!(
                "; minus run {} (p {:.3})",
                interval(&found.spearman),
                found.p
            ),
        };
        // Of scores in another unit nothing but the order can be read.
        let slope = match row.unit == NATS {
            true => format!(", slope {}", interval(&row.agreement.slope)),
            false => String::new(),
        };
        say!(
            "  {}: Spearman {}, Pearson {}{slope}; {:.2} s{difference}",
            row.name,
            interval(&row.agreement.spearman),
            interval(&row.agreement.pearson),
            row.seconds,
        );
    }
}

/// What no estimator can be expected to surpass.
fn seeds(found: &SeedAgreement) {
    say!(
        "  one seed with another: Spearman {:.3}; the true effects would reach {:.3} with the mean of {}",
        found.one_with_another,
        found.most_to_expect,
        found.seeds,
    );
}

/// What happens without each group.
fn groups(found: &GroupsLeftOut) {
    let share = |found: Option<Interval>| known(found.map(|share| format!("{:.3}", share.value)));
    say!(
        "without a group of training images, means of {} queries (right with all: {}):",
        found.queries,
        share(found.correct),
    );
    for group in &found.groups {
        let predicted = group.predicted.get("run");
        say!(
            "  {} ({} images): loss rises by {} nats, predicted {}; right {}, change {}",
            group.group,
            group.images,
            mean(&group.actual, found.queries),
            known(predicted.map(|rise| format!("{rise:.3}"))),
            share(group.correct),
            known(group.correct_change.as_ref().map(interval)),
        );
    }
}

fn detection(found: &Detection) {
    let [tenth, fifth] = &found.recall;
    say!(
        "  {}: AUC {}, recall {:.2} in 10 %, {:.2} in 20 %",
        found.ranker,
        interval(&found.auc),
        tenth.value,
        fifth.value
    );
}

/// The curve's last point.
fn removal(curve: &RemovalCurve) {
    let side = match curve.side {
        Side::Removal => "removal",
        Side::Support => "support",
    };
    if let Some(last) = curve.points.last() {
        say!(
            "  {side} of {} by {}: loss rises by {} nats, {:.2} right",
            last.images,
            curve.method,
            mean(&last.rise, curve.queries),
            last.correct.value,
        );
    }
}

/// Something that measurements made elsewhere may not say.
fn known(found: Option<String>) -> String {
    found.unwrap_or_else(|| "–".into())
}

/// A mean of so many.
fn mean(of: &Interval, count: usize) -> String {
    let without = || format!("{:.3} [–]", of.value);
    of.over(count).as_ref().map_or_else(without, interval)
}

fn interval(Interval { value, low, high }: &Interval) -> String {
    format!("{value:.3} [{low:.3}, {high:.3}]")
}
