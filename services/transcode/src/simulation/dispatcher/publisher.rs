//! Publishes jobs, as in `publisher/`: one publication of a job at a time per replica, under a claim, by conditional writes.

use std::collections::BTreeMap;

use reelmill_platform::clock::duration_millis;

use super::{Io, Replica};
use crate::{
    publisher::{CLAIM_TTL_MS, OVERDUE_AFTER, RETRY_INTERVAL, SWEEP_INTERVAL},
    simulation::{
        context::Context,
        event_queue::Millis,
        events::{Event, PublicationStep},
        ledger::PublicationRead,
        playlists::Put,
    },
};

/// Shortest interval between two publications of a job: the default of `publish_interval`.
const PUBLISH_INTERVAL: Millis = 1000;

/// The publications of a replica, by job.
#[derive(Default)]
pub(super) struct Publications(BTreeMap<u32, Publication>);

#[derive(Default)]
struct Publication {
    /// When the next one begins, if it is requested.
    start: Option<Millis>,
    paused_until: Millis,
    /// What the one that is running has read.
    running: Option<PublicationRead>,
    is_running: bool,
    /// Version of the playlist that this replica wrote last.
    known: Option<u64>,
}

impl Replica {
    /// Id of this process in claims; never 0.
    fn process_id(&self) -> u64 {
        let index = u64::try_from(self.index).unwrap_or(0);
        (index << 32) + u64::from(self.process) + 1
    }

    /// Requests a publication of a job: now, or when its pause is over.
    pub(super) fn request_publication(&mut self, job: u32, skips_pause: bool, context: &mut Context) {
        let replica = self.address();
        let publication = self.publications.0.entry(job).or_default();
        let pause_end = if skips_pause { 0 } else { publication.paused_until };
        let start = pause_end.max(context.now + 1);
        if publication.start.is_none_or(|known| known > start) {
            publication.start = Some(start);
            context.at(start, Event::Publication { replica, job, step: PublicationStep::Begin });
        }
    }

    pub(in crate::simulation) fn sweep_publications(&mut self, io: &mut Io<'_>) {
        let replica = self.address();
        io.context.after(duration_millis(SWEEP_INTERVAL), Event::SweepPublications { replica });
        if !self.has_database(io.context) {
            return;
        }
        let before = self.now(io.context) - duration_millis(OVERDUE_AFTER);
        for job in io.ledger.jobs_to_publish(before) {
            self.request_publication(job, false, io.context);
        }
    }

    pub(in crate::simulation) fn publish(&mut self, job: u32, step: PublicationStep, io: &mut Io<'_>) {
        match step {
            PublicationStep::Begin => self.begin_publication(job, io),
            PublicationStep::Put => self.put_playlist(job, io),
            PublicationStep::PutFound { found } => self.put_found(job, found, io),
        }
    }

    fn begin_publication(&mut self, job: u32, io: &mut Io<'_>) {
        let process = self.process_id();
        let now = self.now(io.context);
        let has_database = self.has_database(io.context);
        let Some(publication) = self.publications.0.get_mut(&job) else { return };
        // A request while one is running starts after it.
        if publication.is_running || publication.start.is_none_or(|start| start > io.context.now) {
            return;
        }
        publication.start = None;
        if !has_database {
            return self.end_publication(job, duration_millis(RETRY_INTERVAL), true, io);
        }
        if io.ledger.read_publication(job).is_none() {
            self.publications.0.remove(&job);
            return;
        }
        if !io.ledger.claim_publication(job, process, now, now + CLAIM_TTL_MS) {
            return self.end_publication(job, PUBLISH_INTERVAL, true, io);
        }
        publication.running = io.ledger.read_publication(job);
        publication.is_running = true;
        let delay = io.context.network.delay(io.context.now, &mut io.context.random);
        let event = Event::Publication { replica: self.address(), job, step: PublicationStep::Put };
        io.context.after(delay, event);
    }

    /// Writes the playlist if it is what this replica wrote last; otherwise looks what is there.
    fn put_playlist(&mut self, job: u32, io: &mut Io<'_>) {
        let now = self.now(io.context);
        let (process, is_available) = (self.process_id(), io.context.outages.object_store <= io.context.now);
        let has_database = self.has_database(io.context);
        let Some(publication) = self.publications.0.get_mut(&job) else { return };
        let Some(read) = publication.running else { return };
        if !is_available {
            return self.fail_publication(job, io);
        }
        match io.playlists.put(job, &read, publication.known) {
            Put::Written(version) => {
                publication.known = Some(version);
                self.finish_publication(job, &read, io);
            }
            Put::Found(found) => {
                publication.known = None;
                if !has_database || !io.ledger.has_publication_claim(job, process, now) {
                    return self.fail_publication(job, io);
                }
                let delay = io.context.network.delay(io.context.now, &mut io.context.random);
                let step = PublicationStep::PutFound { found };
                io.context.after(delay, Event::Publication { replica: self.address(), job, step });
            }
        }
    }

    /// Replaces what was found, while this replica had the claim.
    fn put_found(&mut self, job: u32, found: u64, io: &mut Io<'_>) {
        let Some(publication) = self.publications.0.get_mut(&job) else { return };
        let Some(read) = publication.running else { return };
        if io.context.outages.object_store > io.context.now {
            return self.fail_publication(job, io);
        }
        match io.playlists.put(job, &read, Some(found)) {
            Put::Written(version) => {
                publication.known = Some(version);
                self.finish_publication(job, &read, io);
            }
            Put::Found(_) => self.fail_publication(job, io),
        }
    }

    /// Takes the job's next step, and releases the claim.
    fn finish_publication(&mut self, job: u32, read: &PublicationRead, io: &mut Io<'_>) {
        if !self.has_database(io.context) {
            return self.end_publication(job, duration_millis(RETRY_INTERVAL), true, io);
        }
        let owner = io.ledger.job(job).map(|job| job.spec.owner);
        if read.counts.encoding == 0 && io.ledger.finish(job, read) {
            if !self.survives_commit(io.context) {
                return;
            }
            if let Some(owner) = owner {
                self.request(owner, io.context);
            }
        }
        io.ledger.release_publication(job, self.process_id(), read.unpublished_since);
        self.end_publication(job, PUBLISH_INTERVAL, false, io);
    }

    fn fail_publication(&mut self, job: u32, io: &mut Io<'_>) {
        if self.has_database(io.context) {
            io.ledger.release_publication(job, self.process_id(), None);
        }
        self.end_publication(job, duration_millis(RETRY_INTERVAL), true, io);
    }

    fn end_publication(&mut self, job: u32, pause: Millis, repeats: bool, io: &mut Io<'_>) {
        let replica = self.address();
        let now = io.context.now;
        let Some(publication) = self.publications.0.get_mut(&job) else { return };
        publication.is_running = false;
        publication.running = None;
        publication.paused_until = now + pause;
        if repeats || publication.start.is_some() {
            // Requested while it ran: at once if it is the job's next step, which counts here as any request.
            let start = publication.start.filter(|_| !repeats).unwrap_or(now + pause).max(now + 1);
            publication.start = Some(start);
            io.context.at(start, Event::Publication { replica, job, step: PublicationStep::Begin });
        }
    }
}
