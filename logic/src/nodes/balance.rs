//! goim's rule for who is next: a node's weight, plus what it lacks of its
//! share of the connections.
//!
//! Half of the connections count, so the shares settle at `2w/W - 1/n` (never
//! below zero), which is `w/W` when all weights are equal.

/// What the rule knows of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    /// Fixed weight, from the node itself.
    pub(super) weight: i64,
    /// Connections it reported, plus clients sent there since.
    pub(super) connections: i64,
}

const CURRENT_WEIGHT_MIN: i64 = 1;
const CURRENT_WEIGHT_MAX: i64 = 1 << 20;

/// The weight of a node at this moment: the highest goes first.
///
/// `total` sums up all nodes; `gain` multiplies the node's weight.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the rule is goim's, in double precision and truncating"
)]
pub(super) fn current_weight(node: Load, total: Load, gain: f64) -> i64 {
    if total.connections <= 0 {
        return 0;
    }
    let weight = node.weight as f64 * gain;
    let total_weight = total.weight.saturating_add(weight as i64) - node.weight;
    let total_connections = total.connections as f64;
    let lack = weight / total_weight as f64 - 0.5 * node.connections as f64 / total_connections;
    let lacking = lack * total_connections;
    // Rounds halves down.
    let rounded = if lacking.floor() - lacking >= -0.5 {
        lacking.floor()
    } else {
        lacking.ceil()
    };
    let current = (weight + rounded) as i64;
    if lack < 0.0 {
        current.max(CURRENT_WEIGHT_MIN)
    } else {
        current.min(CURRENT_WEIGHT_MAX)
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn load(weight: i64, connections: i64) -> Load {
        Load {
            weight,
            connections,
        }
    }

    #[test]
    fn nothing_connected_means_no_preference() {
        assert_eq!(current_weight(load(10, 0), load(20, 0), 1.6), 0);
    }

    #[test]
    fn values_match_those_taken_by_hand() {
        // 10/30 - 0.5 * 240590/909440 = 0.2010600 -> 182,851.67 -> 182,852.
        let total = load(30, 909_440);
        assert_eq!(current_weight(load(10, 240_590), total, 1.0), 182_862);
        // 16/36 - 0.5 * 375420/909440 = 0.2380425 -> 216,485.56 -> 216,486.
        assert_eq!(current_weight(load(10, 375_420), total, 1.6), 216_502);
        // 10/30 - 0.5 * 293430/909440 = 0.1720069 -> 156,431.67 -> 156,432.
        assert_eq!(current_weight(load(10, 293_430), total, 1.0), 156_442);
    }

    #[test]
    fn halves_go_down() {
        // (1/2 - 0.5 * 0/3) * 3 = 1.5 -> 1.
        assert_eq!(current_weight(load(1, 0), load(2, 3), 1.0), 2);
        // (1/2 - 0.5 * 1) * 3 = 0.
        assert_eq!(current_weight(load(1, 3), load(2, 3), 1.0), 1);
        // (1/2 - 0.5 * 2/3) * 3 = 0.5 -> 0.
        assert_eq!(current_weight(load(1, 2), load(2, 3), 1.0), 1);
    }

    #[test]
    fn the_current_weight_is_bounded() {
        // 1/100 - 0.5 * 1 < 0.
        assert_eq!(current_weight(load(1, 1_000), load(100, 1_000), 1.0), 1);
        assert_eq!(
            current_weight(load(99, 0), load(100, 1_000_000_000), 1.0),
            1 << 20
        );
    }

    #[test]
    fn the_gain_truncates_the_total() {
        // fw = 1.6, W' = 2 + 1 - 1 = 2; 0.8 * 10 = 8 -> trunc(1.6 + 8) = 9.
        assert_eq!(current_weight(load(1, 0), load(2, 10), 1.6), 9);
    }

    proptest! {
        #[test]
        fn clients_settle_where_the_rule_says(weights in proptest::collection::vec(1_i64..=20, 2..5)) {
            let mut nodes: Vec<_> = weights.iter().map(|&weight| load(weight, 0)).collect();
            let mut total = load(weights.iter().sum(), 0);
            for _ in 0..20_000 {
                let next = (0..nodes.len())
                    .max_by_key(|&at| current_weight(nodes[at], total, 1.0))
                    .unwrap();
                nodes[next].connections += 1;
                total.connections += 1;
            }

            // The fixed point: everyone above `level` is served, the others wait.
            let shares = expected_shares(&weights);
            for (node, share) in nodes.iter().zip(shares) {
                let got = node.connections as f64 / total.connections as f64;
                prop_assert!((got - share).abs() < 0.02, "{weights:?}: {nodes:?}, expected {share}");
            }
        }
    }

    /// Fills the nodes' lack (`2w/W`) down to one level until all clients are
    /// placed.
    fn expected_shares(weights: &[i64]) -> Vec<f64> {
        let sum: i64 = weights.iter().sum();
        let wants: Vec<f64> = weights
            .iter()
            .map(|&w| 2.0 * w as f64 / sum as f64)
            .collect();
        let (mut low, mut high) = (0.0, 2.0);
        for _ in 0..60 {
            let level = f64::midpoint(low, high);
            let placed: f64 = wants.iter().map(|want| (want - level).max(0.0)).sum();
            if placed > 1.0 {
                low = level;
            } else {
                high = level;
            }
        }
        wants.iter().map(|want| (want - low).max(0.0)).collect()
    }
}
