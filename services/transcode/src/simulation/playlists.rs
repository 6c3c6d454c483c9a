//! The playlists in the object store: written conditionally, on the version that was there.

use std::collections::BTreeMap;

use super::ledger::PublicationRead;

/// A playlist: its version, and what it lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Playlist {
    version: u64,
    generation: u32,
    segments: u32,
}

/// Result of a conditional write.
pub(super) enum Put {
    Written(u64),
    /// Nothing was written: another version is there.
    Found(u64),
}

/// The playlists of all jobs, and those that were replaced by an older one.
#[derive(Default)]
pub(super) struct Playlists {
    playlists: BTreeMap<u32, Playlist>,
    last_version: u64,
    shrunk: Option<u32>,
}

impl Playlists {
    /// Writes the playlist of a job if `known` is the version that is there; none for nothing.
    pub(super) fn put(&mut self, job: u32, read: &PublicationRead, known: Option<u64>) -> Put {
        let found = self.playlists.get(&job).copied();
        if let Some(found) = found.filter(|found| known != Some(found.version)) {
            return Put::Found(found.version);
        }
        self.last_version += 1;
        let (generation, segments) = (read.generation, read.segments);
        if found.is_some_and(|found| (generation, segments) < (found.generation, found.segments)) {
            self.shrunk = Some(job);
        }
        self.playlists.insert(job, Playlist { version: self.last_version, generation, segments });
        Put::Written(self.last_version)
    }

    /// A job whose playlist was replaced by an older one since the last call.
    pub(super) fn take_shrunk(&mut self) -> Option<u32> {
        self.shrunk.take()
    }
}
