//! Whose nodes a fleet has.

use std::fmt;

/// Whose process it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of goim's.
    Goim,
    /// One of Halley's.
    Halley,
}

/// Whose the nodes of a role are: one node, or one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// One of goim's.
    Goim,
    /// One of Halley's.
    Halley,
    /// One of each.
    Both,
}

/// Which nodes there are of each role.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Who holds the clients.
    pub comet: Nodes,
    /// Who takes the pushes.
    pub logic: Nodes,
    /// goim's and Halley's cannot share their work.
    pub job: Kind,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Goim => "goim",
            Self::Halley => "halley",
        })
    }
}

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Goim => "goim",
            Self::Halley => "halley",
            Self::Both => "both",
        })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.comet, self.logic, self.job)
    }
}

impl Nodes {
    /// One after the other.
    pub(super) fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Goim => &[Kind::Goim],
            Self::Halley => &[Kind::Halley],
            Self::Both => &[Kind::Goim, Kind::Halley],
        }
    }
}

impl Mix {
    /// One node of each role, all goim's.
    pub const GOIM: Self = Self {
        comet: Nodes::Goim,
        logic: Nodes::Goim,
        job: Kind::Goim,
    };

    /// All that may be mixed.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for comet in [Nodes::Goim, Nodes::Halley, Nodes::Both] {
            for logic in [Nodes::Goim, Nodes::Halley, Nodes::Both] {
                for job in [Kind::Goim, Kind::Halley] {
                    all.push(Self { comet, logic, job });
                }
            }
        }
        all
    }

    /// Whether no node is goim's.
    pub fn is_all_halley(self) -> bool {
        [self.comet, self.logic] == [Nodes::Halley; 2] && self.job == Kind::Halley
    }
}
