//! How far counted work is that may be long or short: images through a network, fits, files.
//!
//! Nothing is said in its first seconds; then there is a bar on a terminal, and a line now and then elsewhere.

use super::progress::and_left;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Work that is shorter needs no bar.
const SHORT: Duration = Duration::from_secs(2);
/// The least time between two lines.
const LEAST: Duration = Duration::from_secs(30);
/// The share of the time so far that passes between two lines, so that long work does not fill a log.
const SHARE: u32 = 20;

/// Whether it is time for another line of work that began and last spoke then.
pub(super) fn is_due((began, said): (Instant, Instant), now: Instant) -> bool {
    now - said >= LEAST.max((now - began) / SHARE)
}

/// Some work under way.
pub(super) struct Counting {
    /// As in "features of test images".
    what: String,
    /// What is counted, as in "images".
    unit: &'static str,
    on_terminal: bool,
    bar: Option<ProgressBar>,
    began: Instant,
    said: Instant,
}

impl Counting {
    /// Begins now.
    pub(super) fn new(what: impl Into<String>, unit: &'static str) -> Self {
        let now = Instant::now();
        Self {
            what: what.into(),
            unit,
            on_terminal: std::io::stderr().is_terminal(),
            bar: None,
            began: now,
            said: now,
        }
    }

    /// Shows that so many are done, of how many.
    pub(super) fn show(&mut self, done: usize, total: usize) {
        if self.on_terminal {
            self.draw(done, total);
        } else if let Some(line) = self.line((done, total), Instant::now()) {
            note!("{line}");
        }
    }

    fn draw(&mut self, done: usize, total: usize) {
        let so_far = self.began.elapsed();
        if self.bar.is_none() && done < total && so_far >= SHORT {
            let template = format!(
                "{{prefix}} {{bar:40}} {{human_pos}}/{{human_len}} {}, {{per_sec}}, {{eta}} left",
                self.unit
            );
            let style = ProgressStyle::with_template(&template);
            let bar = ProgressBar::new(total as u64)
                .with_prefix(self.what.clone())
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_elapsed(so_far);
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
        }
    }

    /// What to say, if it is time to.
    fn line(&mut self, (done, total): (usize, usize), now: Instant) -> Option<String> {
        if done == 0 || done >= total || !is_due((self.began, self.said), now) {
            return None;
        }
        self.said = now;
        let left = and_left(now - self.began, (done, total));
        let (what, unit) = (&self.what, self.unit);
        Some(format!("{what}: {done} of {total} {unit}{left}"))
    }
}

impl Drop for Counting {
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
    fn short_work_says_nothing_and_long_work_a_line_now_and_then() {
        let mut counting = Counting::new("loss sensitivity", "images");
        let began = counting.began;
        let mut at = |seconds: u64, done: usize| {
            counting.line((done, 1000), began + Duration::from_secs(seconds))
        };
        assert_eq!(at(10, 100), None);
        assert_eq!(at(40, 0), None);
        let line = "loss sensitivity: 200 of 1000 images, 3 minutes left";
        assert_eq!(at(45, 200).as_deref(), Some(line));
        assert_eq!(at(70, 300), None);
        assert!(at(3600, 400).is_some());
        assert_eq!(at(3700, 500), None);
        assert!(at(3790, 500).is_some());
        assert_eq!(at(9000, 1000), None);
    }
}
