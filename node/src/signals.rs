use std::fmt;
use std::io;

use tokio::signal::unix;
use tokio::sync::mpsc;

/// What a process is asked from outside. Both ask for the same: an orderly end
/// the first time, an immediate one the second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    Terminate,
}

/// Where signals come from: the system, or a [`SignalSender`].
#[derive(Debug)]
pub struct Signals(Source);

#[derive(Debug)]
enum Source {
    System {
        interrupt: unix::Signal,
        terminate: unix::Signal,
    },
    Sender(mpsc::Receiver<Signal>),
}

/// Sends signals by hand, without involving the system.
#[derive(Clone, Debug)]
pub struct SignalSender(mpsc::Sender<Signal>);

/// More than the two that mean something are of no use.
const SENT_SIGNALS_MAX: usize = 8;

impl Signals {
    /// Takes over SIGINT and SIGTERM for as long as the process lives.
    pub fn system() -> io::Result<Self> {
        Ok(Self(Source::System {
            interrupt: unix::signal(unix::SignalKind::interrupt())?,
            terminate: unix::signal(unix::SignalKind::terminate())?,
        }))
    }

    /// Signals that come only from the sender.
    pub fn by_hand() -> (SignalSender, Self) {
        let (sender, receiver) = mpsc::channel(SENT_SIGNALS_MAX);
        (SignalSender(sender), Self(Source::Sender(receiver)))
    }

    /// The next signal; pending for ever once none can come.
    ///
    /// # Cancel safety
    ///
    /// A signal is never lost by dropping the future.
    pub async fn next(&mut self) -> Signal {
        let next = match &mut self.0 {
            Source::System {
                interrupt,
                terminate,
            } => tokio::select! {
                Some(()) = interrupt.recv() => Some(Signal::Interrupt),
                Some(()) = terminate.recv() => Some(Signal::Terminate),
                else => None,
            },
            Source::Sender(receiver) => receiver.recv().await,
        };
        match next {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

impl SignalSender {
    /// Sends a signal, unless enough are waiting already.
    pub fn send(&self, signal: Signal) {
        // A full queue holds more signals than anyone acts on.
        let _ = self.0.try_send(signal);
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}
