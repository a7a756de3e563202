//! Makes sure that the topics are there.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::RDKafkaRespErr;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::Config;

/// How long one question to Kafka may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How a missing topic is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CreateTopic {
    /// Partitions: the number of consumers that can share the topic. Each has
    /// requests of its own, so many cost more than few. 0: a missing topic is
    /// an error.
    pub partitions: u16,
    /// Copies of each partition; 0: as many as the brokers think right.
    pub replication: u16,
}

impl Default for CreateTopic {
    fn default() -> Self {
        Self {
            partitions: 6,
            replication: 0,
        }
    }
}

/// Topics that have to be there.
#[derive(Debug)]
pub struct Topics {
    kafka: Config,
    names: Vec<String>,
    create: CreateTopic,
    are_there: OnceCell<()>,
}

impl Topics {
    /// The topics `names`; nothing is asked yet.
    pub fn new(kafka: Config, names: Vec<String>, create: CreateTopic) -> Self {
        Self {
            kafka,
            names,
            create,
            are_there: OnceCell::new(),
        }
    }

    /// Looks for the topics, and makes those missing, until it once succeeds.
    /// The error says what is wrong.
    pub async fn ensure(&self) -> Result<(), String> {
        self.are_there
            .get_or_try_init(async || {
                for name in &self.names {
                    if !self.is_there(name).await? {
                        self.create(name).await?;
                    }
                }
                Ok(())
            })
            .await
            .copied()
    }

    async fn is_there(&self, name: &str) -> Result<bool, String> {
        // A producer's question would make the topic on brokers that do so by
        // themselves, with settings that nobody chose.
        let fixed = [("allow.auto.create.topics", "false".to_owned())];
        let client = self.kafka.client(&fixed);
        let topic = name.to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = client.create()?;
            let metadata = consumer.fetch_metadata(Some(&topic), TIMEOUT)?;
            let topics = metadata.topics();
            let error = topics.first().and_then(MetadataTopic::error);
            Ok::<_, KafkaError>(error)
        });
        let error = asked.await.map_err(|error| error.to_string())?;
        match error.map_err(|error| format!("ask for topic {name}: {error}"))? {
            None => Ok(true),
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => Ok(false),
            Some(error) => Err(format!(
                "ask for topic {name}: {}",
                RDKafkaErrorCode::from(error)
            )),
        }
    }

    async fn create(&self, name: &str) -> Result<(), String> {
        let CreateTopic {
            partitions,
            replication,
        } = self.create;
        if partitions == 0 {
            return Err(format!(
                "topic {name} is missing: create it, or let halley do so by create_topic.partitions"
            ));
        }
        let replication = match replication {
            0 => -1,
            replication => i32::from(replication),
        };
        let explain = |error: &dyn std::fmt::Display| format!("create topic {name}: {error}");
        let admin: AdminClient<DefaultClientContext> = self
            .kafka
            .client(&[])
            .create()
            .map_err(|error| explain(&error))?;
        let replication = TopicReplication::Fixed(replication);
        let topic = NewTopic::new(name, i32::from(partitions), replication);
        let options = AdminOptions::new()
            .request_timeout(Some(TIMEOUT))
            .operation_timeout(Some(TIMEOUT));
        let results = admin
            .create_topics([&topic], &options)
            .await
            .map_err(|error| explain(&error))?;
        for result in results {
            match result {
                // Another node was quicker.
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {
                    tracing::info!(name, partitions, "topic created");
                }
                Err((_, code)) => return Err(explain(&code)),
            }
        }
        Ok(())
    }
}
