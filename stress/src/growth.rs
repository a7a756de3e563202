//! Whether something grows for as long as it runs.

/// The growth per second of values over time, as the median of the growth between every two of them (Theil and Sen):
/// neither a spike nor a step at the beginning moves it. `None` with fewer than three values.
pub(crate) fn per_second(values: &[(f64, f64)]) -> Option<f64> {
    if values.len() < 3 {
        return None;
    }
    let mut slopes: Vec<f64> = values
        .iter()
        .enumerate()
        .flat_map(|(place, from)| values[place + 1..].iter().map(move |to| (from, to)))
        .filter(|(from, to)| to.0 > from.0)
        .map(|(from, to)| (to.1 - from.1) / (to.0 - from.0))
        .collect();
    let middle = slopes.len() / 2;
    (!slopes.is_empty()).then(|| *slopes.select_nth_unstable_by(middle, f64::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(value: impl Fn(u32) -> f64) -> f64 {
        let values: Vec<(f64, f64)> = (0..200).map(|at| (f64::from(at), value(at))).collect();
        per_second(&values).unwrap()
    }

    #[test]
    fn finds_a_leak_behind_noise_and_spikes() {
        let leak = grown(|at| {
            let noise = f64::from(at * 7919 % 13);
            let spike = if at % 31 == 7 { 5_000.0 } else { 0.0 };
            1_000.0 + 2.0 * f64::from(at) + noise + spike
        });
        assert!((1.9..2.1).contains(&leak), "{leak}");
    }

    #[test]
    fn a_step_at_the_beginning_is_no_growth() {
        let step = grown(|at| if at < 20 { 0.0 } else { 4_096.0 });
        assert!(step.abs() < 1e-9, "{step}");
        let saw = grown(|at| f64::from(at % 10));
        assert!(saw.abs() < 0.05, "{saw}");
    }

    #[test]
    fn needs_something_to_compare() {
        assert_eq!(per_second(&[(0.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(per_second(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
    }
}
