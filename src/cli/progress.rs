//! Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere.

use crate::train::{Check, Epoch, Observer};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long the rest of `total` parts will take where `done` took `so_far`, in words to put behind others; nothing at either end.
pub(super) fn and_left(so_far: Duration, (done, total): (usize, usize)) -> String {
    match total.saturating_sub(done) {
        rest @ 1.. if done > 0 => {
            let left = HumanDuration(so_far.mul_f64(rest as f64 / done as f64));
            format!(", {left} left")
        }
        _ => String::new(),
    }
}

/// How fast work goes that is told of from time to time; what was done before it was first told of may be an earlier process's.
#[derive(Default)]
pub(super) struct Pace(OnceLock<(usize, Instant)>);

impl Pace {
    /// What [`and_left`] says of `done` of `total`, by what was done since the first time.
    pub(super) fn and_left(&self, (done, total): (usize, usize)) -> String {
        let (first, began) = *self.0.get_or_init(|| (done, Instant::now()));
        let since = [done, total].map(|parts| parts.saturating_sub(first));
        and_left(began.elapsed(), since.into())
    }
}

/// Shows training epoch by epoch.
pub(super) struct TrainingProgress {
    epochs: usize,
    bar: Option<ProgressBar>,
    began: Instant,
    /// The first epoch that is seen; that of a training that goes on is a later one.
    first: Option<usize>,
}

impl TrainingProgress {
    pub(super) fn new(epochs: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let template = "{msg} {wide_bar} {pos}/{len} images, {per_sec}, {eta} left";
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        });
        Self {
            epochs,
            bar,
            began: Instant::now(),
            first: None,
        }
    }
}

impl TrainingProgress {
    fn left_after(&self, epoch: usize) -> String {
        let first = self.first.unwrap_or(epoch);
        let all = (self.epochs + 1).saturating_sub(first);
        let done = (epoch + 1).saturating_sub(first);
        and_left(self.began.elapsed(), (done, all))
    }

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
            let before = epoch.saturating_sub(1) * total;
            bar.set_length((self.epochs * total) as u64);
            bar.set_message(format!("epoch {epoch}/{}", self.epochs));
            bar.set_position((before + done) as u64);
            if self.first.is_none() {
                bar.reset_eta();
            }
        }
        if self.first.is_none() {
            (self.first, self.began) = (Some(epoch), Instant::now());
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
            "epoch {}/{}: train loss {:.4}, accuracy {:.2} %{test}; {:.1} s{}",
            row.epoch,
            self.epochs,
            row.train_loss,
            100.0 * row.train_accuracy,
            row.seconds,
            self.left_after(row.epoch)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_as_long_as_what_is_done() {
        let left = |done, total| and_left(Duration::from_secs(60), (done, total));
        assert_eq!(left(2, 10), ", 4 minutes left");
        assert_eq!((left(0, 10), left(10, 10)), (String::new(), String::new()));
    }

    #[test]
    fn a_pace_is_that_since_the_first_time() {
        let pace = Pace::default();
        assert_eq!(pace.and_left((900, 1000)), "");
        let pace = Pace(OnceLock::from((
            900,
            Instant::now() - Duration::from_secs(120),
        )));
        assert_eq!(pace.and_left((920, 1000)), ", 8 minutes left");
    }

    #[test]
    fn a_training_that_goes_on_counts_from_where_it_does() {
        let mut progress = TrainingProgress::new(10);
        progress.batch(8, 0, 100);
        progress.began = Instant::now() - Duration::from_secs(120);
        assert_eq!(progress.left_after(8), ", 4 minutes left");
        assert_eq!(progress.left_after(10), "");
    }
}
