//! What a run's record says of model, data and scores, in a table.

use super::subject::Subject;
use super::through::Through;
use super::unrolled::UNROLLED;
use crate::artefact::RunRecord;
use crate::influence::Measurement;
use crate::report::Fact;
use crate::solve::Method;
use clap::ValueEnum;
use serde_json::Value;

/// What a run's record says of model, data and scores.
pub(super) fn facts(subject: &Subject) -> Vec<Fact> {
    let (record, through) = (subject.record, &subject.through);
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        facts.extend(value.map(|value| Fact {
            name: name.into(),
            value,
        }));
    };
    let number = |key: &str| record.results.get(key).and_then(Value::as_f64);
    let count = |key: &str| {
        let value = record.results.get(key).and_then(Value::as_u64);
        value.map(|value| value.to_string())
    };
    let option = |key: &str| record.options.get(key).and_then(Value::as_f64);
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    fact("test accuracy", number("test_accuracy").map(percent));
    let test_loss = match Measurement::of(record) {
        Measurement::Label => "test loss",
        Measurement::Prediction => "test loss at the predictions",
    };
    fact(
        test_loss,
        number("test_loss").map(|loss| format!("{loss:.4} nats")),
    );
    fact("training accuracy", number("train_accuracy").map(percent));
    fact(
        "training loss",
        number("train_loss").map(|loss| format!("{loss:.4} nats")),
    );
    fact("scores through", Some(through.part()));
    fact("net shares of helpful scores", of_shares(subject.shares));
    if !through.is_head() {
        let curvature = record.options.get("curvature").and_then(Value::as_str);
        fact("parameters", count("parameters"));
        fact("curvature", curvature.map(str::to_owned));
    }
    fact("solver", method(record, through).map(in_words));
    // One that was typed is short; that of `trained` has all of its digits.
    let written = |damping: f64| match damping.to_string() {
        digits if digits.len() < 9 => digits,
        _ => format!("{damping:.2e}"),
    };
    fact(
        "damping",
        option("damping")
            .filter(|_| is_damped(record, through))
            .map(written),
    );
    for role in ["train", "test"] {
        let path = record
            .input(role)
            .map(|input| input.path.display().to_string());
        fact(&format!("{role} images"), path);
    }
    facts
}

/// What stands for a method in the table.
fn in_words(method: &str) -> String {
    match method {
        UNROLLED => "none: training was differentiated".into(),
        solver => solver.into(),
    }
}

/// Whether the damping of the run has any effect on its scores.
pub(super) fn is_damped(record: &RunRecord, through: &Through) -> bool {
    method(record, through)
        .is_none_or(|method| Method::from_str(method, true).is_ok_and(Method::is_damped))
}

/// The solver that ran: what `auto` chose.
pub(super) fn method<'a>(record: &'a RunRecord, through: &Through) -> Option<&'a str> {
    let planned = record
        .results
        .get("plan")
        .and_then(|plan| plan.get("method"));
    let given = record.options.get("solver");
    let method = planned.or(given).and_then(Value::as_str)?;
    // Runs through blocks that left no plan.
    match (method, through) {
        ("auto", Through::Blocks { .. }) => Some("cg"),
        _ => Some(method),
    }
}

/// Each segment's part, the head first: shares of either sign cancel, what is left adds up to the whole, and a part below 0 works
/// against the others.
fn of_shares(shares: &[(String, f64)]) -> Option<String> {
    let sum: f64 = shares.iter().map(|(_, share)| share).sum();
    let part = |(name, share): &(String, f64)| format!("{name} {:.1} %", 100.0 * share / sum);
    let parts: Vec<String> = shares.iter().rev().map(part).collect();
    (sum > 0.0).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_parts_of_their_sum() {
        let shares = [("layer3.1".to_owned(), 5e-3), ("head".to_owned(), -1e-3)];
        let said = of_shares(&shares).unwrap();
        assert_eq!(said, "head -25.0 %, layer3.1 125.0 %");
        assert_eq!(of_shares(&[]), None);
    }
}
