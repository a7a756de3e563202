//! Ports for engines, which have to know theirs beforehand and keep it over a
//! restart.

use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context as _, Result};

use crate::cache;

/// Below the ports that systems give to connections.
const FIRST: u16 = 6500;
const COUNT: u16 = 3000;

/// A port that no other engine of this user takes as long as this exists.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// A free port. It is not soon the same again: clients of an engine that
    /// is gone may still try to reach it.
    pub(crate) fn reserve() -> Result<Self> {
        static TAKEN: AtomicU16 = AtomicU16::new(0);
        let process = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
        for _ in 0..COUNT {
            let step = TAKEN.fetch_add(1, Ordering::Relaxed);
            // Processes that start one after another are apart.
            let place = process.wrapping_mul(17).wrapping_add(step) % COUNT;
            let number = FIRST + place;
            let lock = cache::lock_file(&format!("port-{number}"))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error).context("lock a port"),
            }
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self {
                    number,
                    _lock: lock,
                });
            }
        }
        anyhow::bail!("no free port from {FIRST} to {}", FIRST + COUNT - 1);
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}
