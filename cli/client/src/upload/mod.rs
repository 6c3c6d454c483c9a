//! `upload`: files into the store, part by part, and on until they play.

mod memory;
mod plan;
mod send;
mod source;

use std::{cell::RefCell, collections::HashSet, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use reelmill_proto::upload::{
    CompleteUploadSessionRequest, CompletedPart, CreateUploadSessionRequest, GetUploadSessionRequest,
    UploadSession, Video, upload_service_client::UploadServiceClient,
};
use tonic::Request;

use self::{
    memory::Memory,
    plan::{Former, Held, Layout},
    send::Sender,
    source::Source,
};
use crate::{
    ClientError, ClientOptions, Until, UploadArgs,
    bars::ByteBar,
    error::root_cause,
    follow::{self, VIDEO},
    library,
    output::Console,
    profile::Profile,
    retry,
    server::{Server, USER_AGENT},
    text,
};

/// Joining the parts of a very large file takes a store a while.
const JOIN_TIMEOUT: Duration = Duration::from_secs(110);
/// How often an upload that is being joined by an earlier run is looked at again.
const LOOKS: u32 = 30;

/// Runs `upload`. Ctrl-C leaves an unfinished upload where it can be resumed.
pub async fn run(
    server: &Server,
    console: Console,
    options: &ClientOptions,
    args: UploadArgs,
) -> Result<(), ClientError> {
    // A wrong name or an empty file among several is told before the first byte is sent.
    let sources = args.files.iter().map(|path| Source::open(path)).collect::<Result<Vec<_>, _>>()?;
    let upload = Upload {
        server,
        console,
        memory: Memory::new(
            Profile::of(options)?,
            server.address(),
            &server.current_credentials(None).await?.user,
            args.encoding.options().as_ref(),
        ),
        http: http_client()?,
        args: &args,
        done: RefCell::default(),
        followed: RefCell::default(),
        bar: RefCell::default(),
    };
    let ended = tokio::select! {
        ended = upload.all(&sources) => ended,
        _ = tokio::signal::ctrl_c() => Err(upload.interrupted()),
    };
    // What was done is told also where a later file broke the command off.
    let videos = upload.done.take();
    let printed = print(console, &videos, sources.len());
    ended.and(printed)?;
    videos.iter().find_map(follow::failure_of).map_or(Ok(()), Err)
}

/// Prints the videos that came of so many files: one video by itself, of several files always a list.
fn print(console: Console, videos: &[Video], files: usize) -> Result<(), ClientError> {
    let people: Vec<String> = videos.iter().map(follow::summary).collect();
    match videos {
        [] => Ok(()),
        [video] if files == 1 => console.result(VIDEO, video, &people.concat()),
        videos => console.results(VIDEO, videos, &people.join("\n")),
    }
}

fn http_client() -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(Duration::from_secs(10))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| ClientError::failed("HTTP_CLIENT_FAILED", root_cause(&error)))
}

struct Upload<'a> {
    server: &'a Server,
    console: Console,
    memory: Memory,
    http: reqwest::Client,
    args: &'a UploadArgs,
    /// The videos whose files are whole.
    done: RefCell<Vec<Video>>,
    /// The one of them that is followed now.
    followed: RefCell<Option<String>>,
    /// What shows the transfer that is under way.
    bar: RefCell<Option<ByteBar>>,
}

impl Upload<'_> {
    async fn all(&self, sources: &[Source]) -> Result<(), ClientError> {
        for source in sources {
            let video = self.file(source).await?;
            let name = video.name.clone();
            self.done.borrow_mut().push(video);
            if self.args.wait || self.args.until.is_some() || self.console.is_live() {
                self.followed.replace(Some(name.clone()));
                let until = self.args.until.unwrap_or(Until::Ready);
                let followed = follow::follow(self.server, self.console, &name, until).await?;
                self.followed.replace(None);
                self.done.borrow_mut().pop();
                self.done.borrow_mut().push(followed);
            }
        }
        Ok(())
    }

    fn interrupted(&self) -> ClientError {
        // What is under way may hold the bar a little longer; it must not be drawn over the last words.
        if let Some(bar) = self.bar.take() {
            bar.clear();
        }
        ClientError::Interrupted(match self.followed.borrow().as_ref() {
            Some(name) => format!("interrupted; the server goes on: `reelmill watch {name}` follows it"),
            None => "interrupted; run the same command again to resume the upload".to_owned(),
        })
    }

    /// Uploads one file, or what is missing of it.
    async fn file(&self, source: &Source) -> Result<Video, ClientError> {
        let former = if self.args.no_resume { None } else { self.former(source).await? };
        let (session, asked) = match former {
            Some((session, Former::Whole)) => {
                self.memory.forget(source.stamp()).await?;
                return library::get(self.server, &session.video).await;
            }
            Some((session, _)) => (session, Vec::new()),
            None => self.begin(source).await?,
        };
        let layout = Layout::of(&session, source.size())?;
        let mut parts = self.there(source, layout, &session).await?;
        let there: HashSet<i32> = parts.iter().map(|part| part.part_number).collect();
        if !there.is_empty() {
            self.console.note(&format!("resuming: {} of {} parts are there", there.len(), layout.count()));
        }
        let done: u64 =
            there.iter().filter_map(|&number| layout.range(number)).map(|range| range.length).sum();
        let bar = ByteBar::new(self.console, &source.file_name(), source.size(), done);
        self.bar.replace(Some(bar.clone()));
        let sender = Sender {
            server: self.server,
            http: &self.http,
            source,
            upload: &session.name,
            layout,
            bar: bar.clone(),
        };
        let sent = sender.send(&layout.missing(&asked, &there), usize::from(self.args.parallel)).await;
        bar.clear();
        self.bar.take();
        parts.extend(sent?);
        source.unchanged()?;
        self.complete(source, &session.name, parts).await
    }

    /// The upload of this very file, to be encoded so, that an earlier run left unfinished, where it is still of use.
    async fn former(&self, source: &Source) -> Result<Option<(UploadSession, Former)>, ClientError> {
        let Some(name) = self.memory.recall(source.stamp())? else { return Ok(None) };
        for look in 0..LOOKS {
            let request = GetUploadSessionRequest { name: name.clone() };
            let answer = self
                .server
                .signed_in(async |channel| {
                    UploadServiceClient::new(channel).get_upload_session(request.clone()).await
                })
                .await;
            let session = match answer {
                Ok(answer) => answer.upload_session.unwrap_or_default(),
                Err(error) if error.is_not_found() => UploadSession::default(),
                Err(error) => return Err(error),
            };
            match plan::former(&session, source.size()) {
                Former::Joining => tokio::time::sleep(retry::backoff(look)).await,
                Former::Gone => {
                    self.memory.forget(source.stamp()).await?;
                    return Ok(None);
                }
                former => return Ok(Some((session, former))),
            }
        }
        Err(ClientError::Unreachable {
            server: self.server.address().to_owned(),
            cause: format!("{name} is still being joined; try again later"),
        })
    }

    /// Opens a new upload; returns it and the order in which the server wants its first parts.
    async fn begin(&self, source: &Source) -> Result<(UploadSession, Vec<i32>), ClientError> {
        let request = CreateUploadSessionRequest {
            display_name: self.args.title.clone().unwrap_or_default(),
            file_name: source.file_name(),
            size_bytes: i64::try_from(source.size()).unwrap_or(i64::MAX),
            request_id: uuid::Uuid::new_v4().simple().to_string(),
            options: self.args.encoding.options(),
        };
        let answer = self
            .server
            .signed_in(async |channel| {
                UploadServiceClient::new(channel).create_upload_session(request.clone()).await
            })
            .await?;
        let session = answer.upload_session.unwrap_or_default();
        self.memory.note(source.stamp(), &session.name).await?;
        Ok((session, answer.signed_parts.iter().map(|part| part.part_number).collect()))
    }

    /// The parts that the store holds already, compared with the file.
    async fn there(
        &self,
        source: &Source,
        layout: Layout,
        session: &UploadSession,
    ) -> Result<Vec<CompletedPart>, ClientError> {
        let compare = async |held: Held| {
            let range = layout.range(held.number);
            let same = match (&held.md5, range) {
                (Some(md5), Some(range)) => source.md5(range).await? == *md5,
                _ => true,
            };
            Ok(same.then_some(CompletedPart { part_number: held.number, etag: held.etag }))
        };
        let compared: Vec<Option<CompletedPart>> = stream::iter(layout.held(&session.parts))
            .map(compare)
            .buffer_unordered(usize::from(self.args.parallel))
            .try_collect()
            .await?;
        Ok(compared.into_iter().flatten().collect())
    }

    async fn complete(
        &self,
        source: &Source,
        name: &str,
        mut parts: Vec<CompletedPart>,
    ) -> Result<Video, ClientError> {
        parts.sort_by_key(|part| part.part_number);
        let message = CompleteUploadSessionRequest { name: name.to_owned(), parts };
        let answer = self
            .server
            .signed_in(async |channel| {
                let mut request = Request::new(message.clone());
                request.set_timeout(JOIN_TIMEOUT);
                UploadServiceClient::new(channel).complete_upload_session(request).await
            })
            .await?;
        self.memory.forget(source.stamp()).await?;
        let video = answer
            .video
            .ok_or_else(|| ClientError::failed("ANSWER_INVALID", "the server answered without a video"))?;
        self.console.note(&format!("uploaded {} as {}", text::harmless(&source.file_name()), video.name));
        Ok(video)
    }
}
