//! Upload of one file: create or resume an upload session, send the missing parts, complete the session.

use std::{cell::RefCell, collections::HashSet, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use reelmill_proto::upload::{
    AbortUploadSessionRequest, CompleteUploadSessionRequest, CompletedPart, CreateUploadSessionRequest,
    GetUploadSessionRequest, UploadSession, Video, upload_service_client::UploadServiceClient,
    upload_session::State,
};
use tonic::Request;

use super::{
    part_layout::{PartLayout, StoredPart},
    part_sender::PartSender,
    resume::{ResumeFile, Unfinished},
    source::Source,
};
use crate::{
    args::UploadArgs, console::Console, error::ClientError, progress_bars::ByteBar, retry::Backoff,
    server::Server, text, video,
};

/// Time limit for completing a session: the object store joins the parts, which takes long for large files.
const COMPLETE_TIMEOUT: Duration = Duration::from_secs(110);
/// How many times a session that an earlier run is completing is polled before the command fails.
const MAX_COMPLETING_POLLS: u32 = 30;

/// Uploads files, one at a time.
pub struct FileUpload<'a> {
    /// The upload service.
    pub server: &'a Server,
    /// Where intermediate steps are printed.
    pub console: Console,
    /// The unfinished uploads of earlier runs.
    pub resume_file: ResumeFile,
    /// Sends bytes to the object store.
    pub http: reqwest::Client,
    /// The command's arguments.
    pub args: &'a UploadArgs,
    /// The bar of the current transfer.
    pub bar: RefCell<Option<ByteBar>>,
}

impl FileUpload<'_> {
    /// Uploads one file, or the parts of it that the object store lacks, and returns its video.
    pub async fn run(&self, source: &Source) -> Result<Video, ClientError> {
        let (session, requested) = self.session(source).await?;
        if session.state() == State::Completed {
            self.resume_file.remove(source.fingerprint()).await?;
            return video::get(self.server, &session.video).await;
        }
        let sent = self.send(source, &session, &requested).await;
        if sent.as_ref().is_err_and(ClientError::is_file_changed) {
            // No later run can resume it.
            self.abort(source, &session.name).await;
        }
        sent
    }

    /// Sends what the object store lacks, and completes the session.
    async fn send(
        &self,
        source: &Source,
        session: &UploadSession,
        requested: &[i32],
    ) -> Result<Video, ClientError> {
        let layout = PartLayout::new(session, source.size())?;
        let mut parts = self.verified_parts(source, layout, session).await?;
        let stored: HashSet<i32> = parts.iter().map(|part| part.part_number).collect();
        if !stored.is_empty() {
            let (stored, count) = (stored.len(), layout.count());
            self.console.info(&format!("resuming: {stored} of {count} parts are uploaded already"));
        }
        parts.extend(self.send_missing(source, layout, session, requested, &stored).await?);
        source.check_unchanged()?;
        self.complete(source, &session.name, parts).await
    }

    /// Aborts a session. If that fails, too, the server expires it.
    async fn abort(&self, source: &Source, name: &str) {
        let request = AbortUploadSessionRequest { name: name.to_owned() };
        let aborted = self
            .server
            .call(async |channel| {
                UploadServiceClient::new(channel).abort_upload_session(request.clone()).await
            })
            .await;
        let removed = self.resume_file.remove(source.fingerprint()).await;
        if let Err(error) = aborted.map(|_| ()).and(removed) {
            self.console.info(&format!("{name} was not aborted: {error}"));
        }
    }

    /// Removes the bar of the current transfer, so that it is not drawn over what is printed next.
    pub fn clear_bar(&self) {
        if let Some(bar) = self.bar.take() {
            bar.clear();
        }
    }

    /// Sends the parts that the object store lacks, in the order that the server requested.
    async fn send_missing(
        &self,
        source: &Source,
        layout: PartLayout,
        session: &UploadSession,
        requested: &[i32],
        stored: &HashSet<i32>,
    ) -> Result<Vec<CompletedPart>, ClientError> {
        let stored_bytes: u64 =
            stored.iter().filter_map(|&number| layout.range(number)).map(|range| range.length).sum();
        let bar = ByteBar::new(self.console, &source.file_name(), source.size(), stored_bytes);
        self.bar.replace(Some(bar.clone()));
        let sender =
            PartSender { server: self.server, http: &self.http, source, upload: &session.name, layout, bar };
        let missing = layout.missing(requested, stored);
        let sent = sender.send(&missing, usize::from(self.args.parallel)).await;
        self.clear_bar();
        sent
    }

    /// The session of an earlier run for this file with the same options, or a new one; and the numbers of missing parts, if
    /// known, in the order that the server requests them.
    async fn session(&self, source: &Source) -> Result<(UploadSession, Vec<i32>), ClientError> {
        let found = self.resume_file.find(source.fingerprint())?.filter(|_| !self.args.no_resume);
        let name = match found {
            // Perhaps it was created: the same request id then returns it.
            Some(Unfinished::Requested(id)) => Some(self.create_session(source, &id).await?.0.name),
            Some(Unfinished::Created(name)) => Some(name),
            None => None,
        };
        if let Some(name) = name
            && let Some(session) = self.unfinished_session(source, &name).await?
        {
            return Ok((session, Vec::new()));
        }
        self.create_session(source, &uuid::Uuid::new_v4().simple().to_string()).await
    }

    /// A session of an earlier run, if it can still be used. Waits for one that is being completed.
    async fn unfinished_session(
        &self,
        source: &Source,
        name: &str,
    ) -> Result<Option<UploadSession>, ClientError> {
        let mut backoff = Backoff::new();
        for _ in 0..MAX_COMPLETING_POLLS {
            let session = self.get_session(name).await?;
            match resume_decision(&session, source.size()) {
                ResumeDecision::Resume => return Ok(Some(session)),
                ResumeDecision::Wait => tokio::time::sleep(backoff.next_delay()).await,
                ResumeDecision::StartOver => {
                    self.resume_file.remove(source.fingerprint()).await?;
                    return Ok(None);
                }
            }
        }
        Err(ClientError::Unreachable {
            server: self.server.address().to_owned(),
            cause: format!("{name} is still being completed; run the same command again later"),
        })
    }

    /// A session by its name; an empty one if it no longer exists.
    async fn get_session(&self, name: &str) -> Result<UploadSession, ClientError> {
        let request = GetUploadSessionRequest { name: name.to_owned() };
        let response = self
            .server
            .call(async |channel| UploadServiceClient::new(channel).get_upload_session(request.clone()).await)
            .await;
        match response {
            Ok(response) => Ok(response.upload_session.unwrap_or_default()),
            Err(error) if error.is_not_found() => Ok(UploadSession::default()),
            Err(error) => Err(error),
        }
    }

    /// Creates a session, or returns the one that was created with the same request id; and the part numbers in the order
    /// that the server requests them.
    async fn create_session(
        &self,
        source: &Source,
        request_id: &str,
    ) -> Result<(UploadSession, Vec<i32>), ClientError> {
        // Saved before the call: its response may be lost.
        self.resume_file.add(source.fingerprint(), request_id, "").await?;
        let request = CreateUploadSessionRequest {
            display_name: self.args.title.clone().unwrap_or_default(),
            file_name: source.file_name(),
            size_bytes: i64::try_from(source.size()).unwrap_or(i64::MAX),
            request_id: request_id.to_owned(),
            options: self.args.encoding.options(),
        };
        let response = self
            .server
            .call(async |channel| {
                UploadServiceClient::new(channel).create_upload_session(request.clone()).await
            })
            .await?;
        let session = response.upload_session.unwrap_or_default();
        self.resume_file.add(source.fingerprint(), request_id, &session.name).await?;
        Ok((session, response.signed_parts.iter().map(|part| part.part_number).collect()))
    }

    /// The parts that the object store has and whose MD5, where known, equals that of the file.
    async fn verified_parts(
        &self,
        source: &Source,
        layout: PartLayout,
        session: &UploadSession,
    ) -> Result<Vec<CompletedPart>, ClientError> {
        let verify = async |part: StoredPart| {
            let is_same = match (&part.md5, layout.range(part.number)) {
                (Some(md5), Some(range)) => source.md5(range).await? == *md5,
                _ => true,
            };
            Ok(is_same.then_some(CompletedPart { part_number: part.number, etag: part.etag }))
        };
        let verified: Vec<Option<CompletedPart>> = stream::iter(layout.stored_parts(&session.parts))
            .map(verify)
            .buffer_unordered(usize::from(self.args.parallel))
            .try_collect()
            .await?;
        Ok(verified.into_iter().flatten().collect())
    }

    async fn complete(
        &self,
        source: &Source,
        name: &str,
        mut parts: Vec<CompletedPart>,
    ) -> Result<Video, ClientError> {
        parts.sort_by_key(|part| part.part_number);
        let message = CompleteUploadSessionRequest { name: name.to_owned(), parts };
        let response = self
            .server
            .call(async |channel| {
                let mut request = Request::new(message.clone());
                request.set_timeout(COMPLETE_TIMEOUT);
                UploadServiceClient::new(channel).complete_upload_session(request).await
            })
            .await?;
        self.resume_file.remove(source.fingerprint()).await?;
        let video = response.video.ok_or_else(video::missing_video)?;
        self.console.info(&format!("uploaded {} as {}", text::sanitize(&source.file_name()), video.name));
        Ok(video)
    }
}

/// What to do with the session of an earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResumeDecision {
    /// Send the missing parts, or nothing if the session is completed.
    Resume,
    /// Poll again: an earlier call is completing it.
    Wait,
    /// Create a new session.
    StartOver,
}

fn resume_decision(session: &UploadSession, size: u64) -> ResumeDecision {
    if u64::try_from(session.size_bytes) != Ok(size) {
        return ResumeDecision::StartOver;
    }
    match session.state() {
        State::Open | State::Completed => ResumeDecision::Resume,
        State::Completing => ResumeDecision::Wait,
        State::Aborted | State::Unspecified => ResumeDecision::StartOver,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(state: State) -> UploadSession {
        UploadSession { state: state.into(), size_bytes: 10, ..UploadSession::default() }
    }

    #[test]
    fn resume_decision_follows_the_state_of_the_session() {
        assert_eq!(resume_decision(&session(State::Open), 10), ResumeDecision::Resume);
        assert_eq!(resume_decision(&session(State::Completing), 10), ResumeDecision::Wait);
        assert_eq!(resume_decision(&session(State::Completed), 10), ResumeDecision::Resume);
        assert_eq!(resume_decision(&session(State::Aborted), 10), ResumeDecision::StartOver);
    }

    #[test]
    fn resume_decision_other_file_size_starts_over() {
        assert_eq!(resume_decision(&session(State::Open), 11), ResumeDecision::StartOver);
    }
}
