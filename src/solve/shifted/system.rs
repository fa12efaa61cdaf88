//! One shifted system on its way: x, e and ζ of every row.

use crate::Result;
use crate::operator::Vectors;
use crate::solve::Outcome;

/// One row of one system.
#[derive(Clone)]
pub(super) struct Track {
    /// ζ
    pub(super) zeta: f64,
    /// ρ, the last ζ over the one before
    ratio: f64,
    /// How it ended, once it has.
    pub(super) end: Option<Outcome>,
    pub(super) iterations: usize,
}

/// One shifted system, for all rows; vectors `[running, p]`.
pub(super) struct System {
    /// δ
    shift: f64,
    pub(super) tracks: Vec<Track>,
    value: Vectors,
    /// e = d/ζ
    pub(super) direction: Vectors,
    /// Solutions of the rows that have left: `places[row]` is the row's position in the concatenated blocks.
    finished: Vec<Vectors>,
    places: Vec<usize>,
}

impl System {
    /// The system of a shift δ at x = 0.
    pub(super) fn new(shift: f64, right_hand_sides: &Vectors) -> Result<Self> {
        let count = right_hand_sides.count();
        let start = Track {
            zeta: 1.0,
            ratio: 1.0,
            end: None,
            iterations: 0,
        };
        Ok(Self {
            shift,
            tracks: vec![start; count],
            value: right_hand_sides.zeros_like()?,
            direction: right_hand_sides.clone(),
            finished: Vec::new(),
            places: (0..count).collect(),
        })
    }

    /// The solutions of all rows, once all have left, `[k, p]`.
    pub(super) fn value(&self) -> Result<Vectors> {
        Vectors::concatenate(&self.finished)?.select(&self.places)
    }

    /// x ← x + α ζ e for the rows that go on, after a step α in the base; `carries` are β/α of the step before.
    pub(super) fn step(&mut self, rows: &[usize], steps: &[f64], carries: &[f64]) -> Result<()> {
        let mut lengths = vec![0.0; rows.len()];
        for (slot, &row) in rows.iter().enumerate() {
            let track = &mut self.tracks[row];
            if track.end.is_none() {
                let (step, carry) = (steps[slot], carries[slot]);
                track.ratio = 1.0 / (1.0 + self.shift * step + step * carry * (1.0 - track.ratio));
                track.zeta *= track.ratio;
                track.iterations += 1;
                lengths[slot] = step * track.zeta;
            }
        }
        if self.goes_on(rows) {
            self.value = self.value.add_scaled(&lengths, &self.direction)?;
        }
        Ok(())
    }

    /// e ← r + β ρ e.
    pub(super) fn turn(&mut self, rows: &[usize], residual: &Vectors, turns: &[f64]) -> Result<()> {
        if !self.goes_on(rows) {
            return Ok(());
        }
        let turn = |(&row, turn): (&usize, &f64)| match self.tracks[row].end {
            None => turn * self.tracks[row].ratio,
            Some(_) => 0.0,
        };
        let turns: Vec<f64> = rows.iter().zip(turns).map(turn).collect();
        self.direction = residual.add_scaled(&turns, &self.direction)?;
        Ok(())
    }

    fn goes_on(&self, rows: &[usize]) -> bool {
        rows.iter().any(|&row| self.tracks[row].end.is_none())
    }

    /// Moves the `leaving` slots out of the block.
    pub(super) fn retire(
        &mut self,
        rows: &[usize],
        leaving: &[usize],
        staying: &[usize],
    ) -> Result<()> {
        let offset: usize = self.finished.iter().map(Vectors::count).sum();
        for (position, &slot) in leaving.iter().enumerate() {
            self.places[rows[slot]] = offset + position;
        }
        self.finished.push(self.value.select(leaving)?);
        if !staying.is_empty() {
            self.value = self.value.select(staying)?;
            self.direction = self.direction.select(staying)?;
        }
        Ok(())
    }
}
