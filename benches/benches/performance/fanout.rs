//! What comet's fan-out costs, beside a plain loop of `send` in the same run.
//!
//! Comet and the raw sender have as many connections each, held by two
//! processes of the same reader. They take turns, a block of passes each, and
//! send the very same bytes. A figure is the median over the pairs of blocks,
//! which a burst of other work on the machine hardly moves.

use std::path::Path;

use anyhow::{Context as _, ensure};
use halley_proto::halley::delivery::All;
use halley_proto::halley::delivery::item::Target as To;
use tokio::time::{Instant, sleep};

use crate::cores::Cores;
use crate::figure::{Sample, Target, as_f64, format_number, median};
use crate::job::Job;
use crate::process::{CpuTime, Helper};
use crate::protocol::{Announced, OPERATION, ROOM, Speaks};
use crate::server::Server;

/// Writes of each side before it is the other's turn, as near as whole passes come.
const BLOCK_WRITES: usize = 10_000;
/// Turns of each side for one figure.
const BLOCKS: usize = 9;
/// Messages of a write that has more than one.
const MANY: usize = 8;
/// Comet's counter of system calls that wrote.
const WRITES: &str = "halley_comet_writes_total";
/// By how much writes and reads may differ from passes times members.
const CALLS_OFF_MAX: f64 = 0.02;

/// Members of one room over one transport.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FanOut {
    pub(crate) members: usize,
    pub(crate) speaks: Speaks,
}

/// How the messages of a pass come to comet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// One message to the room.
    One,
    /// Eight messages to the room that job has merged into one batch.
    Batch,
    /// Eight messages to the room, one right after another. Where the machine is
    /// busy, a pass may begin before the last of them.
    Gathered,
    /// One message to everyone.
    Everyone,
}

const HOWS: [How; 4] = [How::One, How::Batch, How::Gathered, How::Everyone];

impl How {
    fn name(self) -> &'static str {
        match self {
            Self::One => "1 message per write",
            Self::Batch => "8 per write, one batch",
            Self::Gathered => "8 per write, gathered",
            Self::Everyone => "broadcast to all",
        }
    }

    fn target(self) -> Target {
        Target::AtMost(match self {
            Self::One => 1.10,
            Self::Batch | Self::Gathered => 1.40,
            Self::Everyone => 1.25,
        })
    }

    /// Items of a pass, and messages of an item.
    fn items(self) -> (usize, usize) {
        match self {
            Self::One | Self::Everyone => (1, 1),
            Self::Batch => (1, MANY),
            Self::Gathered => (MANY, 1),
        }
    }

    fn to(self) -> To {
        match self {
            Self::One | Self::Batch | Self::Gathered => To::Room(ROOM.to_owned()),
            Self::Everyone => To::All(All {
                operation: OPERATION.0,
                speed: 0,
            }),
        }
    }

    /// What each member gets in a pass.
    fn bytes(self, speaks: Speaks) -> Vec<u8> {
        let (items, messages) = self.items();
        speaks.frame(messages).repeat(items)
    }
}

impl FanOut {
    pub(crate) fn name(self) -> String {
        let members = format_number(as_f64(self.members as u64));
        format!("{}, {members} members", self.speaks.as_str())
    }

    pub(crate) async fn run(self, halley: &Path) -> anyhow::Result<Vec<Sample>> {
        let mut sides = Sides::start(self, halley).await?;
        let mut samples = Vec::new();
        for how in HOWS {
            let measured = sides.measure(how).await;
            samples.push(measured.with_context(|| how.name())?);
        }
        Ok(samples)
    }
}

/// Both sides with their connections.
struct Sides {
    case: FanOut,
    server: Server,
    job: Job,
    comet_reader: Helper,
    raw: Helper,
    raw_reader: Helper,
    _cores: Cores,
}

/// What one side's block came to.
#[derive(Clone, Copy, Debug)]
struct Spent {
    cpu_ns: u64,
    /// System calls.
    writes: u64,
    reads: u64,
}

impl Sides {
    async fn start(case: FanOut, halley: &Path) -> anyhow::Result<Self> {
        let members = case.members.to_string();
        let server = Server::start(halley).await?;
        let address = match case.speaks {
            Speaks::WebSocket => server.websocket,
            Speaks::Tcp | Speaks::Nothing => server.tcp,
        };
        let speaks = case.speaks.as_str();
        let mut comet_reader = Helper::start(&["reader", speaks, &address.to_string(), &members])?;
        comet_reader.expect("ready").await.context("log in")?;
        let job = Job::open(server.grpc).await?;
        let mut raw = Helper::start(&["raw", &members])?;
        let address = raw.hear().await?;
        let nothing = Speaks::Nothing.as_str();
        let mut raw_reader = Helper::start(&["reader", nothing, &address, &members])?;
        raw_reader.expect("ready").await?;
        raw.expect("ready").await?;
        // Only now: how many threads there are is up to the cores that they find.
        let cores = Cores::take()?;
        cores.give_sender(server.pid()?)?;
        cores.give_sender(raw.pid()?)?;
        cores.give_receiver(comet_reader.pid()?)?;
        cores.give_receiver(raw_reader.pid()?)?;
        Ok(Self {
            case,
            server,
            job,
            comet_reader,
            raw,
            raw_reader,
            _cores: cores,
        })
    }

    async fn measure(&mut self, how: How) -> anyhow::Result<Sample> {
        let block = Announced {
            passes: (BLOCK_WRITES / self.case.members).max(1),
            bytes: how.bytes(self.case.speaks),
        };
        // Buffers grow, and code is read from the disk.
        self.raw_block(&block).await?;
        self.comet_block(how, &block).await?;
        let mut pairs = Vec::with_capacity(BLOCKS);
        for _ in 0..BLOCKS {
            let raw = self.raw_block(&block).await?;
            pairs.push((raw, self.comet_block(how, &block).await?));
        }
        let (items, messages) = how.items();
        let writes = as_f64((block.passes * self.case.members) as u64);
        let deliveries = writes * as_f64((items * messages) as u64);
        let typical = |of: fn(&(Spent, Spent)) -> u64| {
            median(pairs.iter().map(|pair| as_f64(of(pair))).collect())
        };
        let calls = [
            typical(|(raw, _)| raw.reads),
            typical(|(_, comet)| comet.reads),
            typical(|(_, comet)| comet.writes),
        ];
        let is_off = |calls: &f64| (calls / writes - 1.0).abs() > CALLS_OFF_MAX;
        ensure!(
            how == How::Gathered || !calls.iter().any(is_off),
            "calls that read from the raw sender, that read from comet, that wrote: {calls:?} instead of {writes}",
        );
        let ratios = pairs
            .iter()
            .map(|(raw, comet)| as_f64(comet.cpu_ns) / as_f64(raw.cpu_ns));
        Ok(Sample {
            figure: format!("{}: {}", self.case.name(), how.name()),
            unit: "× raw",
            value: median(ratios.collect()),
            target: Some(how.target()),
            beside: vec![
                ("raw µs", typical(|(raw, _)| raw.cpu_ns) / 1e3 / deliveries),
                (
                    "Halley µs",
                    typical(|(_, comet)| comet.cpu_ns) / 1e3 / deliveries,
                ),
                ("messages per write", deliveries / calls[2]),
            ],
        })
    }

    async fn raw_block(&mut self, block: &Announced) -> anyhow::Result<Spent> {
        let pid = self.raw.pid()?;
        self.raw.tell(&block.to_string()).await?;
        announce(&mut self.raw_reader, block).await?;
        let before = CpuTime::at_rest(pid).await?;
        for _ in 0..block.passes {
            let begun = Instant::now();
            self.raw.tell("").await?;
            self.raw_reader.expect("received").await?;
            rest(begun).await;
        }
        Ok(Spent {
            cpu_ns: CpuTime::at_rest(pid).await?.since(&before),
            reads: self.raw_reader.hear().await?.parse()?,
            writes: (block.passes * self.case.members) as u64,
        })
    }

    async fn comet_block(&mut self, how: How, block: &Announced) -> anyhow::Result<Spent> {
        let pid = self.server.pid()?;
        announce(&mut self.comet_reader, block).await?;
        let written = self.server.counter(WRITES).await?;
        let before = CpuTime::at_rest(pid).await?;
        let (to, (items, messages)) = (how.to(), how.items());
        for _ in 0..block.passes {
            let begun = Instant::now();
            self.job.push(&to, items, messages).await?;
            self.comet_reader.expect("received").await?;
            rest(begun).await;
        }
        Ok(Spent {
            cpu_ns: CpuTime::at_rest(pid).await?.since(&before),
            reads: self.comet_reader.hear().await?.parse()?,
            writes: self.server.counter(WRITES).await? - written,
        })
    }
}

/// Waits for as long as a pass took, which is how long comet would leave the room
/// alone: a write costs another amount after a rest, so both sides have one.
async fn rest(begun: Instant) {
    sleep(begun.elapsed()).await;
}

async fn announce(reader: &mut Helper, block: &Announced) -> anyhow::Result<()> {
    reader.tell(&block.to_string()).await?;
    reader.expect("listening").await
}
