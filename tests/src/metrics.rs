//! Metrics as a process shows them.

/// All samples at one moment.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: String,
    value: f64,
}

impl Samples {
    /// Reads the text format.
    ///
    /// # Panics
    ///
    /// When a line is none of that format.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.map(Sample::parse).collect())
    }

    /// The sum over the samples of this name that have all of the `labels`,
    /// which are written as in the text: `outcome="offline"`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "only counts are asked for"
    )]
    pub fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        self.0
            .iter()
            .filter(|sample| sample.name == name)
            .filter(|sample| labels.iter().all(|label| sample.labels.contains(label)))
            .map(|sample| sample.value)
            .sum::<f64>() as u64
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (key, value) = line.rsplit_once(' ').expect("a name and a value");
        let (name, labels) = key.split_once('{').unwrap_or((key, ""));
        Self {
            name: name.to_owned(),
            labels: labels.to_owned(),
            value: value.parse().expect("a number"),
        }
    }
}
