//! A Redis Cluster.

use std::time::Duration;

use anyhow::Result;

use super::Redis;
use crate::port::Port;
use crate::wait;

const MASTERS: u16 = 3;
const SLOTS: u16 = 16_384;

/// A Redis Cluster of three masters without replicas.
#[derive(Debug)]
pub struct RedisCluster {
    masters: Vec<Redis>,
    /// Of the connections between the masters, in their order.
    buses: Vec<Port>,
}

impl RedisCluster {
    /// Starts one and waits until all masters serve all slots.
    pub fn start() -> Result<Self> {
        let mut cluster = Self {
            masters: Vec::new(),
            buses: Vec::new(),
        };
        for number in 0..MASTERS {
            let bus = Port::reserve()?;
            let arguments = [
                "--cluster-enabled yes --cluster-config-file nodes.conf",
                "--cluster-node-timeout 2000 --cluster-port",
            ]
            .iter()
            .flat_map(|part| part.split(' '))
            .map(str::to_owned)
            .chain([bus.number().to_string()]);
            let redis = Redis::start_with(arguments.collect())?;
            let first = number * (SLOTS / MASTERS);
            let last = if number + 1 == MASTERS {
                SLOTS - 1
            } else {
                first + SLOTS / MASTERS - 1
            };
            let (first, last) = (first.to_string(), last.to_string());
            redis.call(&["CLUSTER", "ADDSLOTSRANGE", &first, &last])?;
            let epoch = (number + 1).to_string();
            redis.call(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch])?;
            cluster.masters.push(redis);
            cluster.buses.push(bus);
        }
        for (other, bus) in cluster.masters.iter().zip(&cluster.buses).skip(1) {
            let (port, bus) = (other.port().to_string(), bus.number().to_string());
            cluster.masters[0].call(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus])?;
        }
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// `redis://127.0.0.1:<port>` of each master.
    pub fn urls(&self) -> Vec<String> {
        self.masters.iter().map(Redis::url).collect()
    }

    /// `kill -9` of one master, counted from 0.
    pub fn kill(&mut self, master: usize) {
        self.masters[master].kill();
    }

    /// Starts a master again, empty, and waits until all serve all slots; the
    /// others have to run.
    pub fn restart(&mut self, master: usize) -> Result<()> {
        self.masters[master].restart()?;
        self.wait_until_ready()
    }

    /// Forgets everything.
    pub fn flush_all(&self) -> Result<()> {
        self.masters.iter().try_for_each(Redis::flush_all)
    }

    fn wait_until_ready(&self) -> Result<()> {
        let deadline = Duration::from_mins(1);
        wait::until("cluster is ready", deadline, || {
            for redis in &self.masters {
                let info = redis.call(&["CLUSTER", "INFO"])?;
                let nodes = format!("cluster_known_nodes:{MASTERS}\r\n");
                if !info.contains("cluster_state:ok\r\n") || !info.contains(&nodes) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }
}
