//! Apache Kafka with its own controllers (`KRaft`).

mod broker;
mod jars;
mod metadata;
mod properties;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use broker::Broker;
use jars::Jars;

/// The releases that Halley is tested with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KafkaVersion {
    /// 4.3.1: the rebalance protocol of KIP-848; not for goim's clients.
    #[default]
    V4_3,
    /// 3.9.1: the last line that goim's clients can speak to.
    V3_9,
}

impl KafkaVersion {
    /// As in the names of the jars.
    fn number(self) -> &'static str {
        match self {
            Self::V4_3 => "4.3.1",
            Self::V3_9 => "3.9.1",
        }
    }
}

/// A certificate, and the key to it.
#[derive(Clone, Debug)]
pub struct KafkaCertificate {
    /// The certificate and those above it, as PEM.
    pub chain: String,
    /// The key in PKCS#8, as PEM.
    pub key: String,
}

/// What to start.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Which release.
    pub version: KafkaVersion,
    /// Number of brokers, each of them a controller too.
    pub brokers: u16,
    /// Whether it runs for so long that the optimising compiler pays.
    pub lives_long: bool,
    /// Name and password of a user, who must show them (SASL, PLAIN or
    /// SCRAM-SHA-256) at the addresses of [`Kafka::authenticated_brokers`].
    pub user: Option<(String, String)>,
    /// What the brokers show at these addresses, which then are in TLS.
    pub certificate: Option<KafkaCertificate>,
    /// Settings of the brokers beyond those made here, or instead of them.
    pub properties: BTreeMap<String, String>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            version: KafkaVersion::default(),
            brokers: 1,
            lives_long: false,
            user: None,
            certificate: None,
            properties: BTreeMap::new(),
        }
    }
}

/// A Kafka cluster of one broker or several. Topics are not created by their
/// use; a new group begins without waiting for more members.
#[derive(Debug)]
pub struct Kafka {
    brokers: Vec<Broker>,
}

impl Kafka {
    /// Fetches what a start needs, for those who cannot fetch it then.
    pub fn prepare(version: KafkaVersion) -> Result<()> {
        Jars::get(version)?;
        Ok(())
    }

    /// Starts one and waits until every broker sees all of them.
    pub fn start(options: &KafkaOptions) -> Result<Self> {
        ensure!(options.brokers > 0, "a cluster has at least one broker");
        let jars = Jars::get(options.version)?;
        let mut brokers = (0..options.brokers)
            .map(|_| Broker::reserve(jars.clone(), options.lives_long))
            .collect::<Result<Vec<_>>>()?;
        let controllers: Vec<_> = brokers.iter().map(Broker::controller).collect();
        for (broker, id) in brokers.iter().zip(1..) {
            let properties = properties::of_broker(id, broker, &controllers, options);
            broker.format(&properties, options.user.as_ref())?;
        }
        for broker in &mut brokers {
            broker.spawn()?;
        }
        for broker in &mut brokers {
            broker.wait_until_ready(usize::from(options.brokers))?;
        }
        Ok(Self { brokers })
    }

    /// Addresses for clients, with commas between them.
    pub fn brokers(&self) -> String {
        let addresses: Vec<_> = self.brokers.iter().map(Broker::address).collect();
        addresses.join(",")
    }

    /// Addresses at which clients must authenticate, if there is a user.
    pub fn authenticated_brokers(&self) -> String {
        let addresses: Vec<_> = self.brokers.iter().map(Broker::authenticated).collect();
        addresses.join(",")
    }

    /// The process id of a broker, counted from 0, while it runs.
    pub fn pid(&self, broker: usize) -> Option<u32> {
        self.brokers[broker].pid()
    }

    /// `kill -9` of a broker; returns when it is gone.
    pub fn kill(&mut self, broker: usize) {
        self.brokers[broker].kill();
    }

    /// Starts a broker on the same port with the same data and waits until it
    /// is back; one that runs is killed first.
    pub fn restart(&mut self, broker: usize) -> Result<()> {
        let broker = &mut self.brokers[broker];
        broker.kill();
        broker.spawn()?;
        broker.wait_until_ready(1)
    }
}
