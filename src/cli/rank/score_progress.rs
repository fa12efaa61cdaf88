//! How far scoring is: a bar for each set of queries on a terminal, a line now and then elsewhere.

use crate::cli::counting::is_due;
use indicatif::{HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// A bar before the first block of scores is there, which may be minutes of solving, and after it.
const AT_FIRST: &str = "{prefix} {bar:40} {human_pos}/{human_len} scores, {elapsed} so far";
const UNDER_WAY: &str = "{prefix} {bar:40} {human_pos}/{human_len} scores, {per_sec}, {eta} left";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// All sets of a run.
#[derive(Default)]
pub(super) struct ScoreProgress {
    bars: MultiProgress,
    sets: Vec<Set>,
}

/// One set of queries.
struct Set {
    name: String,
    /// On a terminal.
    bar: Option<ProgressBar>,
    began: Instant,
    /// Scores that were there when it began.
    from: usize,
    said: Instant,
}

impl ScoreProgress {
    pub(super) fn show(&mut self, name: &str, done: usize, total: usize) {
        let set = self.set(name, (done, total));
        if let Some(bar) = &set.bar {
            bar.set_position(done as u64);
            if done > set.from {
                bar.set_style(style(UNDER_WAY));
            }
            if done == total {
                bar.finish();
            }
        } else if let Some(line) = set.line((done, total), Instant::now()) {
            note!("{line}");
        }
    }

    /// Scores of an earlier process: they say nothing of the rate.
    pub(super) fn resume(&mut self, name: &str, done: usize, total: usize) {
        let set = self.set(name, (done, total));
        set.from = done;
        if let Some(bar) = &set.bar {
            bar.set_position(done as u64);
            bar.reset_eta();
        }
    }

    fn set(&mut self, name: &str, (done, total): (usize, usize)) -> &mut Set {
        let known = self.sets.iter().position(|set| set.name == name);
        let at = known.unwrap_or(self.sets.len());
        if known.is_none() {
            self.sets.push(Set::new(name, (done, total), &self.bars));
        }
        &mut self.sets[at]
    }
}

impl Set {
    fn new(name: &str, (done, total): (usize, usize), bars: &MultiProgress) -> Self {
        let now = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total as u64)
                .with_prefix(name.to_owned())
                .with_style(style(AT_FIRST))
                .with_position(done as u64);
            bar.reset_eta();
            let bar = bars.add(bar);
            bar.enable_steady_tick(Duration::from_secs(1));
            bar
        });
        Self {
            name: name.to_owned(),
            bar,
            began: now,
            from: done,
            said: now,
        }
    }

    /// What to say, if it is time to: at the end, and now and then before.
    fn line(&mut self, (done, total): (usize, usize), now: Instant) -> Option<String> {
        let name = &self.name;
        if done == total {
            return Some(format!("{name}: {total} scores"));
        }
        let new = done.saturating_sub(self.from);
        if new == 0 || !is_due((self.began, self.said), now) {
            return None;
        }
        self.said = now;
        let left = (now - self.began).mul_f64((total - done) as f64 / new as f64);
        let [done, total] = [done, total].map(|scores| HumanCount(scores as u64));
        let left = HumanDuration(left);
        Some(format!("{name}: {done} of {total} scores, {left} left"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_now_and_then_and_know_what_is_left() {
        let mut set = Set::new("test", (1000, 11_000), &MultiProgress::new());
        set.bar = None;
        let began = set.began;
        let mut at = |seconds: u64, done: usize| {
            set.line((done, 11_000), began + Duration::from_secs(seconds))
        };
        assert_eq!(at(10, 1500), None);
        let line = "test: 2,000 of 11,000 scores, 5 minutes left";
        assert_eq!(at(31, 2000).as_deref(), Some(line));
        assert_eq!(at(59, 3000), None);
        // After an hour it may be three minutes to the next.
        assert!(at(3600, 5000).is_some());
        assert_eq!(at(3700, 5100), None);
        assert!(at(3790, 5200).is_some());
        assert_eq!(at(3800, 11_000).as_deref(), Some("test: 11000 scores"));
    }
}
