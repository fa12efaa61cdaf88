//! What `ascribe study --plan` says.

use crate::study::{Plan, Spec, Timing};
use crate::train::Crew;
use serde_json::{Value, json};

/// The plan as an object.
pub(super) fn plan_object(spec: &Spec, plan: &Plan, crew: Crew) -> Value {
    let timing = |((source, blocks), timing): (&(usize, String), &Timing)| {
        json!({
            "source": spec.sources[*source].name,
            "blocks": blocks,
            "seconds_an_image_trained_on": timing.training,
            "seconds_an_image_measured": timing.testing,
        })
    };
    json!({
        "runs": plan.measured,
        "judging_runs": plan.judging,
        "finished": plan.finished,
        "to_do": plan.left(),
        "timings": plan.timings.iter().map(timing).collect::<Vec<_>>(),
        "at_once": crew.at_once,
        "seconds": plan.seconds,
    })
}

/// The plan in lines.
pub(super) fn print_plan(spec: &Spec, plan: &Plan, crew: Crew) {
    say!(
        "{}: sources {}, target sets {}, numbers of images {}, of blocks {}, of epochs {}, seeds up to {}",
        counted(plan.measured),
        spec.sources.len(),
        spec.targets.len(),
        spec.images.len(),
        spec.blocks.len(),
        spec.epochs.len(),
        spec.seeds.len()
    );
    if let Some(search) = &spec.search {
        say!(
            "{} more that judge {} candidates of the search",
            plan.judging,
            search.candidates.len()
        );
    }
    say!("{} finished, {} to do", plan.finished, plan.left());
    for ((source, blocks), timing) in &plan.timings {
        say!(
            "{}, blocks {blocks}: {:.2} ms an image trained on, {:.2} ms an image measured",
            spec.sources[*source].name,
            1e3 * timing.training,
            1e3 * timing.testing
        );
    }
    if plan.left() > 0 {
        say!(
            "about {} with {} at a time",
            duration(plan.seconds),
            counted(crew.at_once)
        );
    }
}

/// So many runs, in words.
pub(super) fn counted(runs: usize) -> String {
    match runs {
        1 => "1 run".to_owned(),
        _ => format!("{runs} runs"),
    }
}

/// In words, to two figures or so.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 6000.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
