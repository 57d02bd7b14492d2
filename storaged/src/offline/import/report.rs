//! What became of what was found.

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is here now.
    Taken,
    /// It, or another of its name, was here before.
    Known,
    /// Its time has passed.
    Expired,
    /// It makes no sense.
    Malformed,
}

/// Rows by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportTally {
    /// Here now.
    pub taken: u64,
    /// They, or others of their names, were here before, or were acknowledged here.
    pub known: u64,
    /// Their time has passed.
    pub expired: u64,
    /// They make no sense.
    pub malformed: u64,
}

impl ImportTally {
    pub(crate) const fn count(&mut self, fate: Fate) {
        match fate {
            Fate::Taken => self.taken += 1,
            Fate::Known => self.known += 1,
            Fate::Expired => self.expired += 1,
            Fate::Malformed => self.malformed += 1,
        }
    }

    pub(crate) const fn add(&mut self, other: &Self) {
        self.taken += other.taken;
        self.known += other.known;
        self.expired += other.expired;
        self.malformed += other.malformed;
    }

    /// All of them.
    pub const fn seen(&self) -> u64 {
        self.taken + self.known + self.expired + self.malformed
    }
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportPart {
    /// It was gone through.
    Read {
        /// What one of the things in it is called.
        of: &'static str,
        /// What became of them.
        tally: ImportTally,
    },
    /// It was not, and why.
    Left(&'static str),
}

impl ImportPart {
    pub(crate) const fn left(why: &'static str) -> Self {
        Self::Left(why)
    }
}

/// What became of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// What became of each file, by its name.
    pub parts: Vec<(String, ImportPart)>,
    /// Mailboxes that hold more than they could be sent now.
    pub over_quota: u64,
}
