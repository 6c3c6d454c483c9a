//! The command `upload`: uploads files part by part and follows their videos.

mod file_upload;
mod part_layout;
mod part_sender;
mod resume;
mod source;

use std::cell::RefCell;

use reelmill_proto::upload::Video;

use self::{file_upload::FileUpload, resume::ResumeFile, source::Source};
use crate::{
    args::{ClientOptions, Until, UploadArgs},
    console::Console,
    error::ClientError,
    follow, http,
    profile_dir::ProfileDir,
    server::Server,
    video::{self, VIDEO_MESSAGE},
};

/// Runs `upload`. Ctrl-C leaves an unfinished upload, which the same command resumes.
pub async fn run(
    server: &Server,
    console: Console,
    options: &ClientOptions,
    args: UploadArgs,
) -> Result<(), ClientError> {
    // All files are checked before the first byte is sent.
    let sources = args.files.iter().map(|path| Source::open(path)).collect::<Result<Vec<_>, _>>()?;
    let upload = Upload {
        server,
        console,
        file_upload: FileUpload {
            server,
            console,
            resume_file: ResumeFile::new(
                ProfileDir::from_options(options)?,
                server.address(),
                &server.usable_credentials(None).await?.user,
                args.encoding.options().as_ref(),
            ),
            http: http::client(|builder| builder.redirect(reqwest::redirect::Policy::none()))?,
            args: &args,
            bar: RefCell::default(),
        },
        args: &args,
        uploaded: RefCell::default(),
        followed: RefCell::default(),
    };
    let result = tokio::select! {
        result = upload.upload_all(&sources) => result,
        _ = tokio::signal::ctrl_c() => Err(upload.interrupted()),
    };
    // The videos that were uploaded are printed even if a later file failed.
    let videos = upload.uploaded.take();
    let printed = print(console, &videos, sources.len());
    result.and(printed)?;
    videos.iter().find_map(video::failure_of).map_or(Ok(()), Err)
}

/// Prints the uploaded videos: a single value for a single file, a list for several files.
fn print(console: Console, videos: &[Video], files: usize) -> Result<(), ClientError> {
    let summaries: Vec<String> = videos.iter().map(video::summary).collect();
    match videos {
        [] => Ok(()),
        [video] if files == 1 => console.result(VIDEO_MESSAGE, video, &summaries.concat()),
        videos => console.results(VIDEO_MESSAGE, videos, &summaries.join("\n")),
    }
}

/// The state of one `upload` command.
struct Upload<'a> {
    server: &'a Server,
    console: Console,
    file_upload: FileUpload<'a>,
    args: &'a UploadArgs,
    /// The videos whose files are uploaded.
    uploaded: RefCell<Vec<Video>>,
    /// The name of the video that is being followed.
    followed: RefCell<Option<String>>,
}

impl Upload<'_> {
    async fn upload_all(&self, sources: &[Source]) -> Result<(), ClientError> {
        for source in sources {
            let video = self.file_upload.run(source).await?;
            let name = video.name.clone();
            self.uploaded.borrow_mut().push(video);
            if self.args.wait || self.args.until.is_some() || self.console.shows_progress() {
                self.followed.replace(Some(name.clone()));
                let until = self.args.until.unwrap_or(Until::Ready);
                let video = follow::follow(self.server, self.console, &name, until).await?;
                self.followed.replace(None);
                self.uploaded.borrow_mut().pop();
                self.uploaded.borrow_mut().push(video);
            }
        }
        Ok(())
    }

    fn interrupted(&self) -> ClientError {
        self.file_upload.clear_bar();
        ClientError::Interrupted(match self.followed.borrow().as_ref() {
            Some(name) => {
                format!("interrupted; the server keeps encoding: `reelmill watch {name}` follows the video")
            }
            None => "interrupted; run the same command again to resume the upload".to_owned(),
        })
    }
}
