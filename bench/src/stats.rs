//! Medians of few, noisy figures.

use serde::Serialize;

/// The middle of several measurements, and the quarters around it: an average would follow the round in which the
/// machine did something else.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub median: f64,
    /// A quarter of the measurements is below.
    pub low: f64,
    /// A quarter of the measurements is above.
    pub high: f64,
}

impl Summary {
    /// `None` without measurements.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |quarter: usize| {
            // Between two neighbours where the place falls between them.
            let (place, rest) = (last * quarter / 4, last * quarter % 4);
            let next = sorted[(place + 1).min(last)];
            sorted[place] + (next - sorted[place]) * [0.0, 0.25, 0.5, 0.75][rest]
        };
        Some(Self {
            median: at(2),
            low: at(1),
            high: at(3),
        })
    }

    /// Of `above[i] / below[i]`: two figures of one round share what the machine did in it.
    pub fn of_ratios(above: &[f64], below: &[f64]) -> Option<Self> {
        Self::of(above.iter().zip(below).map(|(above, below)| above / below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(values: &[f64]) -> Option<(f64, f64, f64)> {
        Summary::of(values.iter().copied()).map(|s| (s.low, s.median, s.high))
    }

    #[test]
    fn quarters() {
        assert_eq!(summary(&[]), None);
        assert_eq!(summary(&[3.0]), Some((3.0, 3.0, 3.0)));
        assert_eq!(summary(&[2.0, 1.0]), Some((1.25, 1.5, 1.75)));
        assert_eq!(summary(&[5.0, 1.0, 3.0, 2.0, 4.0]), Some((2.0, 3.0, 4.0)));
        assert_eq!(summary(&[1.0, 1e9, 1.0, 1.0, 1.0]), Some((1.0, 1.0, 1.0)));
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let ratio = Summary::of_ratios(&[1.0, 10.0, 100.0], &[2.0, 20.0, 200.0]);
        assert_eq!(ratio.map(|r| (r.low, r.high)), Some((0.5, 0.5)));
    }
}
