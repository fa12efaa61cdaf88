//! Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere.

use crate::train::{Check, Epoch, Observer};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// Shows training epoch by epoch.
pub(super) struct TrainingProgress {
    epochs: usize,
    bar: Option<ProgressBar>,
}

impl TrainingProgress {
    pub(super) fn new(epochs: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let template =
                "{msg} {wide_bar} {pos}/{len} images, {per_sec}, {eta} left in this epoch";
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        });
        Self { epochs, bar }
    }
}

impl TrainingProgress {
    fn say(&self, line: String) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => note!("{line}"),
        }
    }
}

impl Observer for TrainingProgress {
    fn batch(&mut self, epoch: usize, done: usize, total: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_message(format!("epoch {epoch}/{}", self.epochs));
            bar.set_position(done as u64);
        }
    }

    fn epoch(&mut self, row: &Epoch) {
        let test = match (row.test_loss, row.test_accuracy) {
            (Some(loss), Some(accuracy)) => {
                format!("; test loss {loss:.4}, accuracy {:.2} %", 100.0 * accuracy)
            }
            _ => String::new(),
        };
        let line = format!(
            "epoch {}/{}: train loss {:.4}, accuracy {:.2} %{test}; {:.1} s",
            row.epoch,
            self.epochs,
            row.train_loss,
            100.0 * row.train_accuracy,
            row.seconds
        );
        self.say(line);
    }

    fn check(&mut self, check: &Check) {
        let share = |accuracy: f64| format!("{:.1} %", 100.0 * accuracy);
        let [single, several] = [check.single_step_accuracy, check.ten_step_accuracy].map(share);
        let seen = format!("right under one step {single}, under ten {several}");
        let place = format!(
            "epoch {}/{}, batch {}",
            check.epoch, self.epochs, check.batch
        );
        if check.collapsed {
            self.say(format!(
                "{place}: {seen}: catastrophic overfitting; back to the weights of the look before, on with three steps"
            ));
        }
    }
}

impl Drop for TrainingProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
