//! What a killed run goes on from: after a solved block, the state of every sink and the reports so far, in one file of the
//! run folder that is whole or absent.
//!
//! The file begins with its own SHA-256 and that of everything that decides the numbers: options, blocks, digests, ids, labels,
//! residuals of both sides. One that is damaged, or of anything else, is passed over with a note and scoring begins anew.
//!
//! A block is recorded where the last record is some seconds old, and fifty times as old as recording took: small runs
//! never do, large ones lose two hundredths of their time at most.

use super::{RankOptions, SinkState};
use crate::artefact::{digest_bytes, write_atomically};
use crate::solve::{Outcome, Report};
use crate::{Error, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How many times longer than recording took the next record waits.
const PATIENCE: u32 = 50;
/// Hexadecimal digits of a SHA-256.
const DIGEST: usize = 64;
/// Their order is the format's.
const OUTCOMES: [Outcome; 8] = [
    Outcome::Converged,
    Outcome::Direct,
    Outcome::Approximate,
    Outcome::LimitReached,
    Outcome::NegativeCurvature,
    Outcome::Diverged,
    Outcome::AtRounding,
    Outcome::Stalled,
];

/// What can be recorded.
pub(super) trait Recordable {
    /// Its states; `None` where it cannot go on elsewhere.
    fn save(&mut self) -> Result<Option<Vec<SinkState>>>;

    /// Takes its states up; `false` where they do not fit.
    fn restore(&mut self, states: &mut std::slice::Iter<SinkState>) -> Result<bool>;

    /// Goes back to before the first block.
    fn begin_anew(&mut self) -> Result<()>;
}

impl<A: Recordable, B: Recordable> Recordable for (A, B) {
    fn save(&mut self) -> Result<Option<Vec<SinkState>>> {
        let (first, second) = (self.0.save()?, self.1.save()?);
        Ok(first
            .zip(second)
            .map(|(first, second)| [first, second].concat()))
    }

    fn restore(&mut self, states: &mut std::slice::Iter<SinkState>) -> Result<bool> {
        Ok(self.0.restore(states)? && self.1.restore(states)?)
    }

    fn begin_anew(&mut self) -> Result<()> {
        self.0.begin_anew()?;
        self.1.begin_anew()
    }
}

impl<T: Recordable> Recordable for [T] {
    fn save(&mut self) -> Result<Option<Vec<SinkState>>> {
        let mut states = Vec::new();
        for part in self {
            let Some(part) = part.save()? else {
                return Ok(None);
            };
            states.extend(part);
        }
        Ok(Some(states))
    }

    fn restore(&mut self, states: &mut std::slice::Iter<SinkState>) -> Result<bool> {
        for part in self {
            if !part.restore(states)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn begin_anew(&mut self) -> Result<()> {
        self.iter_mut().try_for_each(T::begin_anew)
    }
}

/// Records blocks, and takes up those that an earlier process recorded.
pub(super) struct Checkpoint<'a> {
    /// `None`: nothing is recorded.
    place: Option<Place<'a>>,
    /// Rows whose scores were taken up.
    pub(super) resumed: usize,
}

struct Place<'a> {
    file: PathBuf,
    /// Of everything that decides the numbers.
    key: String,
    least: Duration,
    last: Instant,
    cost: Duration,
    say: &'a dyn Fn(&str),
}

/// What a file holds.
#[derive(Debug, Default, PartialEq)]
struct Recorded {
    /// Rows that are done.
    rows: usize,
    reports: Vec<Report>,
    /// One for each sink of each set.
    sinks: Vec<SinkState>,
}

impl<'a> Checkpoint<'a> {
    /// Records nothing.
    pub(super) fn none() -> Self {
        Self {
            place: None,
            resumed: 0,
        }
    }

    /// Records in `folder` what is decided by `options` and `material`; `say` takes notes for the user.
    pub(super) fn new(
        folder: &Path,
        options: &RankOptions,
        material: &[u8],
        say: &'a dyn Fn(&str),
    ) -> Self {
        let decisive = RankOptions {
            record_every: Duration::ZERO,
            ..options.clone()
        };
        let decisive = format!("{decisive:?}");
        Self::keyed(folder, &decisive, material, options.record_every, say)
    }

    /// Records in `folder`, `least` apart, what is decided by two descriptions of any form.
    pub(super) fn keyed(
        folder: &Path,
        decisive: &str,
        material: &[u8],
        least: Duration,
        say: &'a dyn Fn(&str),
    ) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let mut text = format!("{version} {decisive} ").into_bytes();
        text.extend(material);
        Self {
            place: Some(Place {
                file: file(folder),
                key: digest_bytes(&text),
                least,
                last: Instant::now(),
                cost: Duration::ZERO,
                say,
            }),
            resumed: 0,
        }
    }

    /// Puts all sinks, which have begun, and reports where the earlier process left them; how many rows need no more
    /// solving comes back.
    pub(super) fn resume<R: Recordable + ?Sized>(
        &mut self,
        sets: &mut R,
        reports: &mut Vec<Report>,
    ) -> Result<usize> {
        let Some(place) = &mut self.place else {
            return Ok(0);
        };
        let bytes = match std::fs::read(&place.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            read => read.map_err(Error::io(&place.file, "read"))?,
        };
        let pass_over = |reason: &str| {
            let file = place.file.display();
            (place.say)(&format!("{file}: {reason}; scoring begins anew"));
        };
        let recorded = match Recorded::decode(&bytes, &place.key) {
            Ok(recorded) => recorded,
            Err(reason) => {
                pass_over(reason);
                return Ok(0);
            }
        };
        let mut states = recorded.sinks.iter();
        if !sets.restore(&mut states)? || states.len() > 0 {
            pass_over("does not fit what else is in the folder");
            sets.begin_anew()?;
            return Ok(0);
        }
        (place.say)(&format!("{} rows were scored before", recorded.rows));
        *reports = recorded.reports;
        self.resumed = recorded.rows;
        Ok(recorded.rows)
    }

    /// Notes that the first `rows` rows are done, if it is time to.
    pub(super) fn block_is_done<R: Recordable + ?Sized>(
        &mut self,
        sets: &mut R,
        rows: usize,
        reports: &[Report],
    ) -> Result<()> {
        let Some(place) = &mut self.place else {
            return Ok(());
        };
        if place.last.elapsed() < place.least.max(PATIENCE * place.cost) {
            return Ok(());
        }
        let began = Instant::now();
        let Some(sinks) = sets.save()? else {
            self.place = None;
            return Ok(());
        };
        let recorded = Recorded {
            rows,
            reports: reports.to_vec(),
            sinks,
        };
        write_atomically(&place.file, &recorded.encode(&place.key))?;
        place.last = Instant::now();
        // Recording at every block, where that is asked for, does not wait.
        place.cost = began.elapsed().min(place.least);
        Ok(())
    }
}

/// Removes the record in `folder`, if there is one.
pub(super) fn remove(folder: &Path) -> Result<()> {
    let file = file(folder);
    match std::fs::remove_file(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(Error::io(&file, "remove")),
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join(".scored")
}

impl Recorded {
    /// Digest of what follows; key; rows, reports and sinks as little-endian numbers of 8 bytes.
    fn encode(&self, key: &str) -> Vec<u8> {
        let mut bytes = vec![0; DIGEST];
        bytes.extend(key.as_bytes());
        let mut number = |value: u64| bytes.extend(value.to_le_bytes());
        number(self.rows as u64);
        number(self.reports.len() as u64);
        for report in &self.reports {
            let code = OUTCOMES.iter().position(|&known| known == report.outcome);
            number(code.unwrap_or(OUTCOMES.len()) as u64);
            number(report.residual.to_bits());
            number(report.iterations as u64);
        }
        number(self.sinks.len() as u64);
        for sink in &self.sinks {
            number(sink.integers.len() as u64);
            sink.integers.iter().for_each(|&integer| number(integer));
            number(sink.numbers.len() as u64);
            sink.numbers
                .iter()
                .for_each(|value| number(value.to_bits()));
        }
        let digest = digest_bytes(&bytes[DIGEST..]);
        bytes[..DIGEST].copy_from_slice(digest.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8], key: &str) -> std::result::Result<Self, &'static str> {
        const DAMAGED: &str = "is damaged";
        let (digest, body) = bytes.split_at_checked(DIGEST).ok_or(DAMAGED)?;
        if digest != digest_bytes(body).as_bytes() {
            return Err(DAMAGED);
        }
        let (found, body) = body.split_at_checked(DIGEST).ok_or(DAMAGED)?;
        if found != key.as_bytes() {
            return Err("is of another run");
        }
        let mut numbers = body
            .as_chunks::<8>()
            .0
            .iter()
            .map(|raw| u64::from_le_bytes(*raw));
        Self::read(&mut numbers).ok_or(DAMAGED)
    }

    fn read(numbers: &mut impl Iterator<Item = u64>) -> Option<Self> {
        let mut recorded = Self {
            rows: numbers.next()? as usize,
            ..Self::default()
        };
        for _ in 0..numbers.next()? {
            recorded.reports.push(Report {
                outcome: *OUTCOMES.get(numbers.next()? as usize)?,
                residual: f64::from_bits(numbers.next()?),
                iterations: numbers.next()? as usize,
            });
        }
        for _ in 0..numbers.next()? {
            let mut list = || -> Option<Vec<u64>> {
                let count = numbers.next()?;
                (0..count).map(|_| numbers.next()).collect()
            };
            recorded.sinks.push(SinkState {
                integers: list()?,
                numbers: list()?.into_iter().map(f64::from_bits).collect(),
            });
        }
        numbers.next().is_none().then_some(recorded)
    }
}

#[cfg(test)]
mod tests;
