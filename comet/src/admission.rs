//! Who may connect: bounds in total, per address and in handshake.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::quality::RandomState;
use parking_lot::Mutex;

/// The bounds.
#[allow(clippy::struct_field_names)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdmissionLimits {
    /// Connections in all.
    pub(crate) connections_max: usize,
    /// Connections from one address; 0: no bound of its own.
    pub(crate) connections_per_address_max: usize,
    /// Connections that have not logged in.
    pub(crate) handshakes_max: usize,
}

/// Counts who is in; see the [module](self).
#[derive(Debug)]
pub(crate) struct Admission {
    limits: AdmissionLimits,
    connections: AtomicUsize,
    handshakes: AtomicUsize,
    addresses: Mutex<HashMap<Ipv6Addr, u32, RandomState>>,
}

/// Why a socket was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The node is full.
    Connections,
    /// The address has too many.
    Address,
    /// Too many have not logged in.
    Handshakes,
}

impl Refused {
    /// The metric's label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "refused_connections",
            Self::Address => "refused_address",
            Self::Handshakes => "refused_handshakes",
        }
    }
}

/// The place of one connection, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    address: Ipv6Addr,
}

/// The place of one handshake, given back when dropped.
#[derive(Debug)]
pub(crate) struct HandshakePermit(Arc<Admission>);

impl Admission {
    /// Nobody is in yet.
    pub(crate) fn new(limits: AdmissionLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            connections: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            addresses: Mutex::default(),
        })
    }

    /// Lets a socket in, if the bounds allow.
    pub(crate) fn admit(
        self: &Arc<Self>,
        address: IpAddr,
    ) -> Result<(Permit, HandshakePermit), Refused> {
        let handshake = self.handshake()?;
        if self.connections.fetch_add(1, Ordering::Relaxed) >= self.limits.connections_max {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Connections);
        }
        // IPv4 as IPv6 writes it, which takes less room than an `IpAddr`.
        let address = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let mut addresses = self.addresses.lock();
        let count = addresses.entry(address).or_insert(0);
        *count += 1;
        // From here on dropping the permit undoes the count.
        let permit = Permit {
            admission: Arc::clone(self),
            address,
        };
        let max = self.limits.connections_per_address_max;
        let is_over = max > 0 && *count as usize > max;
        drop(addresses);
        if is_over {
            return Err(Refused::Address);
        }
        Ok((permit, handshake))
    }

    /// Connections, logged in or not.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Distinct addresses.
    pub(crate) fn addresses(&self) -> usize {
        self.addresses.lock().len()
    }

    fn handshake(self: &Arc<Self>) -> Result<HandshakePermit, Refused> {
        let permit = HandshakePermit(Arc::clone(self));
        if self.handshakes.fetch_add(1, Ordering::Relaxed) >= self.limits.handshakes_max {
            return Err(Refused::Handshakes);
        }
        Ok(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.connections.fetch_sub(1, Ordering::Relaxed);
        let mut addresses = self.admission.addresses.lock();
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    fn limits(total: usize, address: usize, handshakes: usize) -> Arc<Admission> {
        Admission::new(AdmissionLimits {
            connections_max: total,
            connections_per_address_max: address,
            handshakes_max: handshakes,
        })
    }

    #[test]
    fn each_bound_refuses_and_recovers() {
        let refused = |admission: &Arc<Admission>| admission.admit(HERE).err();

        let admission = limits(1, 0, 9);
        let held = admission.admit(THERE).ok();
        assert_eq!(refused(&admission), Some(Refused::Connections));
        drop(held);
        assert_eq!(refused(&admission), None);

        let admission = limits(9, 1, 9);
        let held = (admission.admit(HERE).ok(), admission.admit(THERE).ok());
        assert_eq!(refused(&admission), Some(Refused::Address));
        assert_eq!(admission.addresses(), 2);
        drop(held);
        assert_eq!(admission.addresses(), 0);
        assert_eq!(refused(&admission), None);

        let admission = limits(9, 0, 1);
        let (permit, handshake) = admission.admit(HERE).expect("admitted");
        assert_eq!(refused(&admission), Some(Refused::Handshakes));
        drop(handshake);
        assert_eq!(refused(&admission), None);
        drop(permit);
        assert_eq!(admission.connections(), 0);
    }
}
