//! Medians of a few noisy figures.

use serde::Serialize;

/// The median of several measurements and the quartiles. A mean would be distorted by a round in
/// which the machine was busy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub median: f64,
    /// The lower quartile.
    pub low: f64,
    /// The upper quartile.
    pub high: f64,
}

impl Summary {
    /// Returns `None` without measurements.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |quarter: usize| {
            // Interpolates if the position is between two measurements.
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

    /// Summarises `above[i] / below[i]`: two figures of one round were affected by the machine in
    /// the same way.
    pub fn of_ratios(above: &[f64], below: &[f64]) -> Option<Self> {
        Self::of(above.iter().zip(below).map(|(above, below)| above / below))
    }
}

/// The distribution of measurements: what a client can rely on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    /// The 99th percentile.
    pub p99: f64,
    pub most: f64,
}

impl Spread {
    /// Returns `None` without measurements.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        // The smallest measurement with this percentage of all at or below it.
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100);
            sorted.get(rank.checked_sub(1)?).copied()
        };
        Some(Self {
            median: at(50)?,
            p99: at(99)?,
            most: at(100)?,
        })
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
    fn hundredths() {
        assert_eq!(Spread::of([]), None);
        let spread =
            |last: u32| Spread::of((1..=last).map(f64::from)).map(|s| (s.median, s.p99, s.most));
        assert_eq!(spread(1), Some((1.0, 1.0, 1.0)));
        assert_eq!(spread(100), Some((50.0, 99.0, 100.0)));
        assert_eq!(spread(1000), Some((500.0, 990.0, 1000.0)));
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let ratio = Summary::of_ratios(&[1.0, 10.0, 100.0], &[2.0, 20.0, 200.0]);
        assert_eq!(ratio.map(|r| (r.low, r.high)), Some((0.5, 0.5)));
    }
}
