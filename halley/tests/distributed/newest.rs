//! One key, two comets.

use halley_client::Transport;
use halley_tests::cluster::Cluster;

use crate::support::{Client, push};

/// Logins of the one key.
const LOGINS: usize = 1000;

/// A key that logs in on one comet and then on another, over and over, with
/// the older connection's end at any time after: a push always goes to the
/// newest.
pub(crate) async fn every_push_reaches_the_newest_connection(cluster: &mut Cluster) {
    let mut random = Dice(0x9e37_79b9_7f4a_7c15);
    let mut older: Vec<Client> = Vec::new();
    for number in 0..LOGINS {
        let comet = &cluster.comets[random.below(2)];
        let http = cluster.logics[random.below(2)].http;
        let user = (77, "moving", "live://moving");
        let mut newest = Client::log_in(Transport::Tcp, comet.tcp, user).await;
        if random.below(2) == 0 {
            // Their ends reach logic after this login, or after the next ones.
            older.clear();
        }
        let what = if random.below(2) == 0 {
            "keys?keys=moving"
        } else {
            "mids?mids=77"
        };
        let answer = push(http, what, number.to_string()).await;
        assert_eq!(
            answer.body["data"]["accepted"], 1,
            "login {number}: {answer:?}"
        );
        assert_eq!(newest.message().await, number.to_string());
        older.push(newest);
    }
}

/// Numbers without a pattern that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end).expect("a small number")
    }
}
