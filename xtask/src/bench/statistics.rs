//! Medians, quantiles and ranges.

/// The median of some values, with the smallest and the largest one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// Returns the spread of these values; `None` without values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let sorted = sorted(values);
        Some(Self {
            median: quantile(&sorted, 0.5)?,
            low: *sorted.first()?,
            high: *sorted.last()?,
        })
    }
}

/// Returns the values in ascending order.
pub fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Returns the median; `None` without values.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    quantile(&sorted(values), 0.5)
}

/// Returns a quantile of sorted values, interpolated between its two neighbors.
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let position = share.clamp(0.0, 1.0) * sorted.len().saturating_sub(1) as f64;
    let below = *sorted.get(position.floor() as usize)?;
    let above = *sorted.get(position.ceil() as usize)?;
    Some(below + (above - below) * position.fract())
}

/// Returns the distance of two positive values as a share of the smaller one.
pub fn deviation(one: f64, other: f64) -> f64 {
    let (low, high) = (one.min(other), one.max(other));
    if low > 0.0 {
        high / low - 1.0
    } else {
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::{Spread, deviation, median, quantile, sorted};

    #[test]
    fn the_median_of_an_even_number_of_values_lies_between_the_middle_two() {
        assert_eq!(median([9.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([]), None);
    }

    #[test]
    fn quantiles_are_interpolated_between_neighbors() {
        let values = sorted([40.0, 0.0, 10.0, 30.0, 20.0]);
        assert_eq!(quantile(&values, 0.0), Some(0.0));
        assert_eq!(quantile(&values, 0.25), Some(10.0));
        assert_eq!(quantile(&values, 0.9), Some(36.0));
        assert_eq!(quantile(&values, 1.0), Some(40.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_spread_names_the_extremes_in_any_order() {
        let spread = Spread {
            median: 2.0,
            low: 1.0,
            high: 7.0,
        };
        assert_eq!(Spread::of([7.0, 1.0, 2.0]), Some(spread));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_deviation_does_not_depend_on_the_order() {
        assert!((deviation(100.0, 120.0) - 0.2).abs() < 1e-9);
        assert!((deviation(120.0, 100.0) - 0.2).abs() < 1e-9);
        assert_eq!(deviation(0.0, 1.0), f64::INFINITY);
    }
}
